//! The text and a place in it: strict JSON (RFC 8259), read piece by piece where it stands.
//!
//! Strings without escapes are slices of the text. Nothing here recurses on what a sender chose, except
//! for skipping a value, and that stops at [`MAX_DEPTH`] like everything else.

use std::borrow::Cow;

use super::{
    MAX_DEPTH, number,
    stop::{Done, MAX_QUOTE, Stop},
};
use crate::otlp::cut;

/// A reader's place in a text.
#[derive(Debug)]
pub(super) struct Text<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Just behind the opening of an object or array, where no comma stands.
    is_first: bool,
    /// The text goes on behind its end here, but not in UTF-8.
    is_cut: bool,
}

/// A string of JSON between its quotes, escapes as they stand there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) text: &'a str,
    pub(super) has_escapes: bool,
}

impl<'a> Raw<'a> {
    pub(super) fn decoded(self) -> Done<Cow<'a, str>> {
        if !self.has_escapes {
            return Ok(Cow::Borrowed(self.text));
        }
        let mut decoded = String::new();
        unescape(self.text, |piece| {
            decoded.push_str(piece);
            Ok(())
        })?;
        Ok(Cow::Owned(decoded))
    }
}

impl<'a> Text<'a> {
    /// What is not UTF-8 ends the text; the reader then says so where it misses the rest.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let (text, is_cut) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, false),
            Err(_) => (bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid()), true),
        };
        Self { text, at: 0, depth: 0, is_first: false, is_cut }
    }

    /// The next byte that is not white space, which stays where it is.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Goes into the object or array that begins with `bracket`.
    pub(super) fn open(&mut self, bracket: u8, expected: &str) -> Done {
        if self.peek() != Some(bracket) {
            return Err(self.expected(expected));
        }
        if self.depth == MAX_DEPTH {
            return Err(Stop::wrong(format!("JSON nests deeper than {MAX_DEPTH} levels")));
        }
        self.at += 1;
        self.depth += 1;
        self.is_first = true;
        Ok(())
    }

    /// Goes to the next member or element; leaves the object or array and says false where there is none.
    pub(super) fn advance(&mut self, bracket: u8) -> Done<bool> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        match self.peek() {
            Some(byte) if byte == bracket => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(b',') if !is_first => {
                self.at += 1;
                Ok(true)
            }
            _ if is_first => Ok(true),
            _ => Err(self.broken(if bracket == b'}' { "',' or '}'" } else { "',' or ']'" })),
        }
    }

    /// The key of the next member, up to its value; `None` at the end of the object, which is left.
    pub(super) fn key(&mut self) -> Done<Option<Raw<'a>>> {
        if !self.advance(b'}')? {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(self.broken("a key in quotes"));
        }
        let key = self.string("a key")?;
        if self.peek() != Some(b':') {
            return Err(self.broken("':'"));
        }
        self.at += 1;
        Ok(Some(key))
    }

    /// A string. Its escapes are not looked at before it is decoded.
    pub(super) fn string(&mut self, expected: &str) -> Done<Raw<'a>> {
        if self.peek() != Some(b'"') {
            return Err(self.expected(expected));
        }
        let start = self.at + 1;
        let (mut end, mut has_escapes) = (start, false);
        loop {
            end = plain_end(self.text.as_bytes(), end);
            match self.text.as_bytes().get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    end += 2;
                }
                byte => {
                    self.at = end.min(self.text.len());
                    let expected = if byte.is_some() { "control characters to be escaped" } else { "'\"'" };
                    return Err(self.broken(expected));
                }
            }
        }
        self.at = end + 1;
        Ok(Raw { text: &self.text[start..end], has_escapes })
    }

    /// A number as it stands there; `None`, and nothing is read, where there is none.
    pub(super) fn number(&mut self) -> Option<&'a str> {
        self.peek();
        let number = &self.text[self.at..][..number::length(&self.text.as_bytes()[self.at..])];
        self.at += number.len();
        (!number.is_empty()).then_some(number)
    }

    /// Whether the next value is `word`, one of JSON's three; it is read if so.
    pub(super) fn word(&mut self, word: &str) -> bool {
        self.peek();
        let is_there = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        if is_there {
            self.at += word.len();
        }
        is_there
    }

    /// Where the reader is, to come [back](Self::back) to.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// Goes back to `place`, which is at the depth where the reader is now.
    pub(super) fn back(&mut self, place: usize) {
        self.at = place;
    }

    /// Passes any one value; it has to be valid nonetheless.
    pub(super) fn skip(&mut self) -> Done {
        match self.peek() {
            Some(b'{') => {
                self.open(b'{', "an object")?;
                while let Some(key) = self.key()? {
                    validate(key)?;
                    self.skip()?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.open(b'[', "an array")?;
                while self.advance(b']')? {
                    self.skip()?;
                }
                Ok(())
            }
            Some(b'"') => validate(self.string("a string")?),
            _ if self.word("null") || self.word("true") || self.word("false") || self.number().is_some() => Ok(()),
            _ => Err(self.broken("a value")),
        }
    }

    /// Makes sure that nothing but white space is left.
    pub(super) fn end(&mut self) -> Done {
        if self.peek().is_some() || self.is_cut { Err(self.broken("nothing after the request")) } else { Ok(()) }
    }

    /// An error about a value that is not what it should be.
    pub(super) fn expected(&mut self, expected: &str) -> Stop {
        self.peek();
        Stop::wrong(format!("expected {expected}, found {}", self.found()))
    }

    /// An error about a text that is not JSON here, so that its place is of use.
    fn broken(&mut self, expected: &str) -> Stop {
        Stop::wrong(format!("expected {expected}, found {} at byte {}", self.found(), self.at))
    }

    fn found(&mut self) -> String {
        let Some(byte) = self.text.as_bytes().get(self.at).copied() else {
            return if self.is_cut { "bytes that are not UTF-8".to_owned() } else { "the end of the text".to_owned() };
        };
        let place = self.at;
        let found = match byte {
            b'{' => "an object".to_owned(),
            b'[' => "an array".to_owned(),
            b'"' => self.string("").map_or_else(|_| "an unfinished string".to_owned(), |raw| quote(raw.text)),
            _ => match ["null", "true", "false"].into_iter().find(|word| self.word(word)).or_else(|| self.number()) {
                Some(value) => shorten(value).into_owned(),
                None => self.text[place..].chars().next().map_or_else(String::new, |c| format!("{c:?}")),
            },
        };
        self.at = place;
        found
    }
}

/// A sender's string within an error.
fn quote(text: &str) -> String {
    format!("\"{}\"", shorten(text))
}

/// A piece of a sender's text within an error.
pub(super) fn shorten(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_QUOTE { Cow::Borrowed(text) } else { Cow::Owned(format!("{}...", cut(text, MAX_QUOTE))) }
}

/// The first place from `at` on that is a quote, a backslash or a control character; or the end.
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    // A byte's highest bit is set by the subtraction where the byte was less than `n`. Borrows may set it
    // in bytes above such a one as well, so that only the lowest is certain, which is all that is wanted.
    let less = |word: u64, n: u8| word.wrapping_sub(ONES * u64::from(n)) & !word;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let is_quote = less(word ^ (ONES * u64::from(b'"')), 1);
        let is_backslash = less(word ^ (ONES * u64::from(b'\\')), 1);
        let special = (is_quote | is_backslash | less(word, b' ')) & (ONES << 7);
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at)
        && !matches!(byte, b'"' | b'\\' | ..b' ')
    {
        at += 1;
    }
    at
}

fn validate(raw: Raw<'_>) -> Done {
    if raw.has_escapes { unescape(raw.text, |_| Ok(())) } else { Ok(()) }
}

/// Hands on the characters that `text` stands for, piece by piece.
pub(super) fn unescape(mut text: &str, mut put: impl FnMut(&str) -> Done) -> Done {
    while let Some(at) = text.find('\\') {
        put(&text[..at])?;
        let (character, length) = escape(&text[at..])?;
        put(character.encode_utf8(&mut [0; 4]))?;
        text = &text[at + length..];
    }
    put(text)
}

/// The character of the escape at the beginning of `text`, and the escape's length in bytes.
fn escape(text: &str) -> Done<(char, usize)> {
    let wrong = |length| {
        let found = text.chars().take(length).collect::<String>();
        Stop::wrong(format!("expected an escape of JSON, found {found} in a string"))
    };
    let character = match text.as_bytes().get(1) {
        Some(b'u') => {
            let first = unit(text, 2).ok_or_else(|| wrong(6))?;
            if let Some(character) = char::from_u32(first) {
                return Ok((character, 6));
            }
            let second = if text[6..].starts_with("\\u") { unit(text, 8) } else { None };
            let pair = second.filter(|second| first < 0xdc00 && (0xdc00..0xe000).contains(second));
            let combine = |second| char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            let half = || Stop::wrong(format!("expected a pair of surrogates, found \\u{first:04x} alone in a string"));
            return pair.and_then(combine).map(|character| (character, 12)).ok_or_else(half);
        }
        Some(&byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        _ => return Err(wrong(2)),
    };
    Ok((character, 2))
}

/// The UTF-16 code unit of the four hex digits at `at`.
fn unit(text: &str, at: usize) -> Option<u32> {
    let digits = text.as_bytes().get(at..at + 4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}
