//! A look at the text before the grammar sees it: limits on what it may cost to parse, and the
//! places of things, which the grammar's tree does not keep.

use promql_parser::util::unquote_string;

use crate::{Position, QueryError, select};

/// Greatest length of a query in bytes.
const MAX_BYTES: usize = 64 << 10;
/// Greatest number of operators and brackets; bounds the depth of the tree and so of the stack.
const MAX_OPERATORS: usize = 250;
/// Greatest number of regular expressions in a query.
const MAX_REGEXES: usize = 64;
/// Longest duration in a query: 100 years of seconds.
const MAX_SECONDS: f64 = 100.0 * 365.0 * 86_400.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind {
    Word,
    Number,
    Quoted,
    Symbol,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: TokenKind,
    text: &'a str,
    start: usize,
}

impl Token<'_> {
    fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word)
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.text == symbol
    }
}

/// The words and symbols of a query, with their places.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
}

impl<'a> Tokens<'a> {
    /// Splits `text` and checks the limits under which it is safe to parse.
    pub(crate) fn new(text: &'a str) -> Result<Self, QueryError> {
        if text.len() > MAX_BYTES {
            return Err(QueryError::TooLong { limit: MAX_BYTES, actual: text.len() });
        }
        let mut this = Self { text, tokens: Vec::new() };
        let mut start = 0;
        while let Some(token) = this.next_token(start)? {
            start = token.start + token.text.len();
            this.tokens.push(token);
        }
        this.check_brackets()?;
        this.check_operators()?;
        this.check_durations()?;
        this.check_regexes()?;
        Ok(this)
    }

    fn next_token(&self, from: usize) -> Result<Option<Token<'a>>, QueryError> {
        let text: &'a str = self.text;
        let mut start = from;
        let first = loop {
            let Some(c) = text[start..].chars().next() else { return Ok(None) };
            if c == '#' {
                start = text[start..].find('\n').map_or(text.len(), |n| start + n);
            } else if c.is_whitespace() {
                start += c.len_utf8();
            } else {
                break c;
            }
        };
        let rest = &text[start..];
        let (kind, len) = match first {
            '"' | '\'' | '`' => (TokenKind::Quoted, self.quoted_len(rest, first, start)?),
            c if c.is_ascii_alphabetic() || c == '_' => {
                (TokenKind::Word, rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len()))
            }
            c if c.is_ascii_digit() || c == '.' => {
                (TokenKind::Number, rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len()))
            }
            _ => {
                let pair = ["==", "!=", "<=", ">=", "=~", "!~"].iter().any(|p| rest.starts_with(p));
                (TokenKind::Symbol, if pair { 2 } else { first.len_utf8() })
            }
        };
        Ok(Some(Token { kind, text: &rest[..len], start }))
    }

    fn quoted_len(&self, rest: &str, quote: char, start: usize) -> Result<usize, QueryError> {
        let mut escaped = false;
        for (i, c) in rest.char_indices().skip(1) {
            match c {
                // The grammar's crate cuts escapes by bytes, which only works for ASCII.
                c if escaped && !c.is_ascii() => {
                    let message = format!("unknown escape sequence \\{c}");
                    return Err(QueryError::SyntaxAt { message, at: self.position(start) });
                }
                _ if escaped => escaped = false,
                '\\' if quote != '`' => escaped = true,
                c if c == quote => return Ok(i + 1),
                _ => {}
            }
        }
        Err(QueryError::SyntaxAt { message: "string is not closed".into(), at: self.position(start) })
    }

    fn check_brackets(&self) -> Result<(), QueryError> {
        let mut open: Vec<&Token<'_>> = Vec::new();
        for token in self.tokens.iter().filter(|t| t.kind == TokenKind::Symbol) {
            let opening = match token.text {
                "(" | "[" | "{" => {
                    open.push(token);
                    continue;
                }
                ")" => "(",
                "]" => "[",
                "}" => "{",
                _ => continue,
            };
            if open.pop().is_none_or(|o| o.text != opening) {
                let message = format!("unexpected {:?}", token.text);
                return Err(QueryError::SyntaxAt { message, at: self.position(token.start) });
            }
        }
        match open.pop() {
            None => Ok(()),
            Some(o) => {
                let message = format!("{:?} is not closed", o.text);
                Err(QueryError::SyntaxAt { message, at: self.position(o.start) })
            }
        }
    }

    fn check_operators(&self) -> Result<(), QueryError> {
        let words = ["and", "or", "unless", "atan2"];
        let symbols = ["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "(", "[", "{"];
        let counts = |t: &&Token<'_>| words.iter().any(|w| t.is_word(w)) || symbols.iter().any(|s| t.is_symbol(s));
        let actual = self.tokens.iter().filter(counts).count();
        if actual > MAX_OPERATORS {
            return Err(QueryError::TooComplex { limit: MAX_OPERATORS, actual });
        }
        Ok(())
    }

    /// Bare numbers as durations: the grammar's crate converts them without a check of its own.
    fn check_durations(&self) -> Result<(), QueryError> {
        let mut in_brackets = false;
        for (i, token) in self.tokens.iter().enumerate() {
            in_brackets = token.is_symbol("[") || (in_brackets && !token.is_symbol("]"));
            let before = |n: usize| i.checked_sub(n).and_then(|j| self.tokens.get(j));
            let sign = before(1).is_some_and(|t| t.is_symbol("-") || t.is_symbol("+"));
            let after_offset = before(if sign { 2 } else { 1 }).is_some_and(|t| t.is_word("offset"));
            if !(in_brackets || after_offset) {
                continue;
            }
            let odd_word = ["inf", "nan"].iter().any(|w| token.is_word(w));
            let bare = token.text.parse::<f64>().ok();
            let exponent = token.text.ends_with(['e', 'E']) && !token.text.starts_with("0x");
            let too_long = bare.is_some_and(|secs| !(secs > 0.0 && secs <= MAX_SECONDS));
            if odd_word || (token.kind == TokenKind::Number && (too_long || exponent)) {
                return Err(QueryError::Duration { text: token.text.into(), at: self.position(token.start) });
            }
        }
        Ok(())
    }

    /// Compiles each regular expression under our size limit before the grammar's crate does so
    /// under its own, which is generous enough for one query to fill the memory.
    fn check_regexes(&self) -> Result<(), QueryError> {
        let pairs = self.tokens.iter().zip(self.tokens.iter().skip(1));
        let regexes = pairs.filter(|(op, _)| op.is_symbol("=~") || op.is_symbol("!~")).map(|(_, text)| text);
        let actual = regexes.clone().count();
        if actual > MAX_REGEXES {
            return Err(QueryError::TooManyRegexes { limit: MAX_REGEXES, actual });
        }
        for token in regexes.filter(|t| t.kind == TokenKind::Quoted) {
            let at = self.position(token.start);
            let pattern = unquote_string(token.text)
                .map_err(|e| QueryError::SyntaxAt { message: format!("string {}: {e}", token.text), at })?;
            select::compile(&pattern).map_err(|message| QueryError::SyntaxAt { message, at })?;
        }
        Ok(())
    }

    /// Words that stand before a parenthesis outside of label matchers, other than keywords: names
    /// of functions and of aggregations, in order.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&'a str, Position)> {
        const KEYWORDS: [&str; 16] = [
            "and",
            "or",
            "unless",
            "atan2",
            "by",
            "without",
            "on",
            "ignoring",
            "group_left",
            "group_right",
            "fill",
            "fill_left",
            "fill_right",
            "bool",
            "start",
            "end",
        ];
        let pairs = self.tokens.iter().zip(self.tokens.iter().skip(1));
        pairs
            .filter(|(word, paren)| word.kind == TokenKind::Word && paren.is_symbol("("))
            .filter(|(word, _)| !KEYWORDS.iter().any(|k| word.is_word(k)))
            .map(|(word, _)| (word.text, self.position(word.start)))
    }

    /// Where `word` stands first as a word, or the start of the text.
    pub(crate) fn find(&self, word: &str) -> Position {
        self.tokens
            .iter()
            .find(|t| t.is_word(word) || t.is_symbol(word))
            .map_or(Position { line: 1, column: 1 }, |t| self.position(t.start))
    }

    /// Where the first aggregation named `word` stands (and not a metric of that name).
    pub(crate) fn find_aggregation(&self, word: &str) -> Position {
        let pairs = self.tokens.iter().zip(self.tokens.iter().skip(1));
        pairs
            .filter(|(t, next)| {
                t.is_word(word) && (next.is_symbol("(") || next.is_word("by") || next.is_word("without"))
            })
            .map(|(t, _)| self.position(t.start))
            .next()
            .unwrap_or_else(|| self.find(word))
    }

    /// Where the first subquery's bracket stands.
    pub(crate) fn find_subquery(&self) -> Position {
        let mut bracket = 0;
        for token in &self.tokens {
            if token.is_symbol("[") {
                bracket = token.start;
            } else if token.is_symbol(":") && bracket > 0 {
                break;
            } else if token.is_symbol("]") {
                bracket = 0;
            }
        }
        self.position(bracket)
    }

    fn position(&self, start: usize) -> Position {
        let before = &self.text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        Position { line, column }
    }
}
