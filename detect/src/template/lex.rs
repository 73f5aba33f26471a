//! The words of one action: what stands between `{{` and `}}`.

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A keyword, a function, `true`, `false` or `nil`.
    Word(String),
    /// `.name`; whether it stands right behind what it is a field of.
    Field(String, bool),
    /// `.` alone.
    Dot,
    /// With its `$`, which may be all of it.
    Variable(String),
    Text(String),
    Int(i64),
    Number(f64),
    Open,
    Close,
    Pipe,
    Declare,
    Assign,
    Comma,
}

/// An action: its words, and how long it was up to behind its `}}`.
#[derive(Debug)]
pub(super) struct Action {
    pub(super) tokens: Vec<Token>,
    pub(super) length: usize,
    /// Whether the space behind it is left out.
    pub(super) trims: bool,
}

/// Reads the action that `text` begins with, behind its `{{`.
pub(super) fn action(text: &str) -> Result<Action, String> {
    if text.trim_start().starts_with("/*") {
        let end = text.find("*/").ok_or("a comment without `*/`")?;
        let behind = &text[end + 2..];
        let trims = behind.trim_start().starts_with("-}}");
        let close = behind.find("}}").ok_or("`{{` without `}}`")?;
        return Ok(Action { tokens: Vec::new(), length: end + 2 + close + 2, trims });
    }
    let (mut tokens, mut at) = (Vec::new(), 0);
    loop {
        let rest = &text[at..];
        let c = rest.chars().next().ok_or("`{{` without `}}`")?;
        if rest.starts_with("}}") {
            return Ok(Action { tokens, length: at + 2, trims: false });
        }
        let follows_space = at == 0 || text[..at].ends_with(char::is_whitespace);
        if rest.starts_with("-}}") && follows_space {
            return Ok(Action { tokens, length: at + 3, trims: true });
        }
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let is_glued =
            text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | ')' | '.' | '"' | '`'));
        let (token, length) = token(rest, is_glued)?;
        tokens.push(token);
        at += length;
    }
}

fn token(rest: &str, is_glued: bool) -> Result<(Token, usize), String> {
    let simple = [(":=", Token::Declare), ("(", Token::Open), (")", Token::Close), ("|", Token::Pipe)];
    for (sign, token) in simple.into_iter().chain([("=", Token::Assign), (",", Token::Comma)]) {
        if rest.starts_with(sign) {
            return Ok((token, sign.len()));
        }
    }
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
    let c = rest.chars().next().unwrap_or_default();
    match c {
        '"' => quoted(rest),
        '`' => {
            let length = rest[1..].find('`').ok_or("a text without its closing `")?;
            Ok((Token::Text(rest[1..=length].to_owned()), length + 2))
        }
        '$' => {
            let length: usize = 1 + name(&rest[1..]);
            Ok((Token::Variable(rest[..length].to_owned()), length))
        }
        '.' => {
            let length: usize = name(&rest[1..]);
            if length == 0 {
                return Ok((Token::Dot, 1));
            }
            Ok((Token::Field(rest[1..=length].to_owned(), is_glued), length + 1))
        }
        '0'..='9' | '-' | '+' => number(rest),
        c if c.is_alphabetic() || c == '_' => {
            let length: usize = name(rest);
            Ok((Token::Word(rest[..length].to_owned()), length))
        }
        c => Err(format!("unexpected {c:?}")),
    }
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let length = 1 + rest[1..].find(|c| !is_part(c)).unwrap_or(rest.len() - 1);
    let text = &rest[..length];
    let plain = text.replace('_', "");
    let token = plain.parse().map(Token::Int).or_else(|_| plain.parse().map(Token::Number));
    token.map(|token| (token, length)).map_err(|_| format!("expected a number, got {text:?}"))
}

fn quoted(rest: &str) -> Result<(Token, usize), String> {
    let (mut out, mut chars) = (String::new(), rest.char_indices().skip(1));
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(out), at + 1)),
            '\n' => break,
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(c @ ('"' | '\\' | '\'')) => out.push(c),
                Some(mark @ ('u' | 'x')) => {
                    let digits = if mark == 'u' { 4 } else { 2 };
                    let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    let c = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                    out.push(c.ok_or_else(|| format!("unknown escape \\{mark}{hex}"))?);
                }
                other => return Err(format!("unknown escape \\{}", other.unwrap_or_default())),
            },
            c => out.push(c),
        }
    }
    Err("a text without its closing \"".to_owned())
}
