//! Matchers: conditions on labels, in Alertmanager's words and syntax. Routes, silences, inhibitions and filters
//! are made of them.

use std::fmt;

use detect::Labels;
use regex::Regex;
use serde::{Deserialize, Serialize};

/// The longest matcher, in bytes.
const MAX_BYTES: usize = 8 * 1024;
/// Compiled size of a regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// A condition on one label. A label that an alert does not have counts as empty.
#[derive(Clone, Debug)]
pub struct Matcher {
    name: String,
    value: String,
    is_equal: bool,
    /// Anchored at both ends.
    regex: Option<Regex>,
}

/// What is wrong with a matcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad matcher `{text}`: {reason}")]
pub struct MatcherError {
    text: String,
    reason: String,
}

impl MatcherError {
    fn new(text: &str, reason: impl Into<String>) -> Self {
        let text = text.chars().take(100).collect();
        Self { text, reason: reason.into() }
    }
}

/// As Alertmanager's API has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatcherJson {
    /// The label.
    pub name: String,
    /// What it is compared with.
    pub value: String,
    /// Whether `value` is a regular expression.
    pub is_regex: bool,
    /// Whether it has to match, or must not. Default true.
    #[serde(default = "yes")]
    pub is_equal: bool,
}

fn yes() -> bool {
    true
}

impl Matcher {
    /// A matcher of the label `name`; with `is_regex` the whole label has to match `value` (RE2 syntax).
    ///
    /// # Errors
    /// [`MatcherError`] for an empty name, a regular expression that is none or takes too much memory, and for
    /// more than 8 KiB.
    pub fn new(name: &str, value: &str, is_equal: bool, is_regex: bool) -> Result<Self, MatcherError> {
        let fault = |reason: String| MatcherError::new(&format!("{name}~{value}"), reason);
        if name.is_empty() {
            return Err(fault("expected the name of a label".into()));
        }
        if name.len() + value.len() > MAX_BYTES {
            return Err(fault(format!("expected at most {MAX_BYTES} bytes")));
        }
        let regex = is_regex.then(|| {
            let anchored = format!("^(?s:{value})$");
            regex::RegexBuilder::new(&anchored).size_limit(MAX_REGEX).build().map_err(|e| fault(e.to_string()))
        });
        let (name, value) = (name.to_owned(), value.to_owned());
        Ok(Self { name, value, is_equal, regex: regex.transpose()? })
    }

    /// That the label `name` is `value`.
    ///
    /// # Errors
    /// [`MatcherError`], as for [`Self::new`].
    pub fn equal(name: &str, value: &str) -> Result<Self, MatcherError> {
        Self::new(name, value, true, false)
    }

    /// Reads one matcher, as `severity="critical"` or `service=~web|api`. Quotes around name and value are optional.
    ///
    /// # Errors
    /// [`MatcherError`] says what was expected.
    pub fn parse(text: &str) -> Result<Self, MatcherError> {
        let mut reader = Reader { text, rest: text };
        reader.space();
        let matcher = reader.matcher()?;
        reader.space();
        if reader.rest.is_empty() { Ok(matcher) } else { Err(reader.fault("expected one matcher and no more")) }
    }

    /// Reads matchers between commas, in braces or not: `{severity="critical", service!="web"}`.
    ///
    /// # Errors
    /// [`MatcherError`] says what was expected.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, MatcherError> {
        let inner = text.trim();
        let inner = match inner.strip_prefix('{') {
            Some(open) => open.strip_suffix('}').ok_or_else(|| MatcherError::new(text, "expected `}` at the end"))?,
            None => inner,
        };
        let mut reader = Reader { text, rest: inner };
        let mut matchers = Vec::new();
        loop {
            reader.space();
            if reader.rest.is_empty() {
                return Ok(matchers);
            }
            matchers.push(reader.matcher()?);
            reader.space();
            if !reader.rest.is_empty() && !reader.eat(",") {
                return Err(reader.fault("expected `,` between matchers"));
            }
        }
    }

    /// Whether an alert with these labels is one that is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let actual = labels.get(&self.name).unwrap_or_default();
        let found = self.regex.as_ref().map_or(actual == self.value, |regex| regex.is_match(actual));
        found == self.is_equal
    }

    /// The label and the only value that it may have, if there is but one, and not the empty one.
    #[must_use]
    pub(crate) fn exactly(&self) -> Option<(&str, &str)> {
        let is_exact = self.regex.is_none() && self.is_equal && !self.value.is_empty();
        is_exact.then_some((&self.name, &self.value))
    }

    /// Whether a label that is not there matches.
    #[must_use]
    pub fn matches_empty(&self) -> bool {
        self.matches(&Labels::default())
    }

    /// As the API has it.
    #[must_use]
    pub fn to_json(&self) -> MatcherJson {
        let (name, value) = (self.name.clone(), self.value.clone());
        MatcherJson { name, value, is_regex: self.regex.is_some(), is_equal: self.is_equal }
    }

    /// From what the API has.
    ///
    /// # Errors
    /// [`MatcherError`], as for [`Self::new`].
    pub fn from_json(json: &MatcherJson) -> Result<Self, MatcherError> {
        Self::new(&json.name, &json.value, json.is_equal, json.is_regex)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match (self.is_equal, self.regex.is_some()) {
            (true, false) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (false, true) => "!~",
        };
        write!(f, "{}{operator}{:?}", self.name, self.value)
    }
}

/// Two matchers are equal when they mean the same in the same words.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.to_json() == other.to_json()
    }
}

impl Eq for Matcher {}

/// Whether all of `matchers` match; true for none.
#[must_use]
pub fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn fault(&self, reason: &str) -> MatcherError {
        MatcherError::new(self.text, reason)
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn matcher(&mut self) -> Result<Matcher, MatcherError> {
        let name = self.word(|c| c.is_whitespace() || "{}!=~,\"'`\\".contains(c))?;
        self.space();
        let operators = [("=~", true, true), ("!~", false, true), ("!=", false, false), ("=", true, false)];
        let Some((_, is_equal, is_regex)) = operators.into_iter().find(|(token, ..)| self.eat(token)) else {
            return Err(self.fault("expected one of =, !=, =~ and !~ behind the name of a label"));
        };
        self.space();
        let value = if self.rest.starts_with('"') {
            self.quoted()?
        } else {
            // As it was before quotes were asked for: up to the comma.
            let end = self.rest.find(',').unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            value.trim_end().to_owned()
        };
        Matcher::new(&name, &value, is_equal, is_regex).map_err(|e| self.fault(&e.reason))
    }

    fn word(&mut self, ends: impl Fn(char) -> bool) -> Result<String, MatcherError> {
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Err(self.fault("expected the name of a label")) } else { Ok(word.to_owned()) }
    }

    fn quoted(&mut self) -> Result<String, MatcherError> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(out);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => out.push(c),
                    // As in Alertmanager's classic syntax, so that `\d` need not be escaped.
                    Some((_, c)) => out.extend(['\\', c]),
                    None => break,
                },
                c => out.push(c),
            }
        }
        Err(self.fault("expected `\"` at the end of a value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::from_pairs([("alertname", "Slow"), ("service", "web-1"), ("path", "a,b\"c")])
    }

    #[test]
    fn every_operator_means_what_it_says() {
        let cases = [
            ("service=web-1", true),
            ("service=\"web-1\"", true),
            (" service = web-1 ", true),
            ("service!=web-1", false),
            ("service=~web", false),
            ("service=~\"web-\\d\"", true),
            ("service=~web|web-1", true),
            ("service!~web-.", false),
            ("team=", true),
            ("team!=ops", true),
            ("team=~ops|", true),
            ("\"path\"=\"a,b\\\"c\"", true),
        ];
        for (text, expected) in cases {
            assert_eq!(Matcher::parse(text).map(|m| m.matches(&labels())), Ok(expected), "{text}");
        }
    }

    #[test]
    fn lists_are_read_with_and_without_braces() {
        let two = Matcher::parse_list("{alertname=Slow, service=~\"web-.*\"}").expect("is a list");
        assert_eq!(two, Matcher::parse_list("alertname=\"Slow\",service=~\"web-.*\",").expect("is a list"));
        assert!(all_match(&two, &labels()) && two.len() == 2);
        assert_eq!(two[1].to_string(), "service=~\"web-.*\"");
        assert_eq!(Matcher::parse_list("{}"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_matcher_is_said() {
        for text in ["", "a", "=b", "a=~\"(\"", "a=\"b", "a=\"b\" c=d", "a=\"b\"\"c\""] {
            let said = Matcher::parse(text).expect_err(text).to_string();
            assert!(said.starts_with("bad matcher `"), "{said}");
        }
        assert!(Matcher::parse_list("{a=\"b\"").is_err() && Matcher::parse_list("a=\"b\" c=\"d\"").is_err());
        assert!(Matcher::parse(&format!("a={}", "x".repeat(MAX_BYTES))).is_err());
        assert!(Matcher::parse("a=~(x{1000}){1000}").is_err(), "takes too much memory");
    }

    #[test]
    fn json_goes_both_ways() {
        let matcher = Matcher::parse("a!~\"b.*\"").expect("is one");
        assert_eq!(Matcher::from_json(&matcher.to_json()), Ok(matcher));
        let json: MatcherJson = serde_json::from_str(r#"{"name":"a","value":"b","isRegex":false}"#).expect("is JSON");
        assert!(json.is_equal);
    }
}
