//! What templates are rendered over.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use window::{Labels, UnixNanos};

/// A value of a template. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Go's `nil`.
    Nothing,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Number(f64),
    /// Text.
    Text(Arc<str>),
    /// Text that is written as it is.
    Safe(Arc<str>),
    /// A time.
    Time(UnixNanos),
    /// Several values.
    List(Arc<[Value]>),
    /// Labels, annotations or whatever has names that are not known beforehand: a name that is missing is empty text.
    Map(Arc<BTreeMap<String, Value>>),
    /// Fields with fixed names: another name is a fault.
    Record(Arc<BTreeMap<&'static str, Value>>),
}

impl Value {
    /// Text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// Names and texts.
    pub fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::Map(Arc::new(pairs.into_iter().map(|(name, text)| (name.to_owned(), Self::text(text))).collect()))
    }

    /// Labels.
    #[must_use]
    pub fn labels(labels: &Labels) -> Self {
        Self::map(labels.iter())
    }

    /// Fields with fixed names.
    pub fn record(fields: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        Self::Record(Arc::new(fields.into_iter().collect()))
    }

    /// What kind it is, for faults.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Number(_) => "a number",
            Self::Text(_) | Self::Safe(_) => "text",
            Self::Time(_) => "a time",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Record(_) => "a record",
        }
    }

    /// Whether a condition holds with it.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Number(value) => *value != 0.0,
            Self::Text(text) | Self::Safe(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Time(_) | Self::Record(_) => true,
        }
    }

    /// Appends it as Go prints it.
    pub(super) fn write(&self, out: &mut String) {
        // Writing into a string cannot fail.
        let _ = match self {
            Self::Nothing => write!(out, "<no value>"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Number(value) => write!(out, "{value}"),
            Self::Text(text) | Self::Safe(text) => write!(out, "{text}"),
            Self::Time(at) => write!(out, "{}", super::time::format(*at, "2006-01-02 15:04:05 -0700 MST")),
            Self::List(list) => {
                out.push('[');
                for (i, value) in list.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { " " });
                    value.write(out);
                }
                write!(out, "]")
            }
            Self::Map(map) => return write_pairs(out, "map[", "]", map.iter().map(|(n, v)| (n.as_str(), v))),
            Self::Record(map) => return write_pairs(out, "{", "}", map.iter().map(|(n, v)| (*n, v))),
        };
    }

    /// It as Go prints it.
    pub(super) fn printed(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// The text that it is.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Safe(text) => Some(text),
            _ => None,
        }
    }

    /// The number that it is.
    #[expect(clippy::cast_precision_loss, reason = "Go compares such numbers no better")]
    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }
}

fn write_pairs<'a>(out: &mut String, open: &str, close: &str, pairs: impl Iterator<Item = (&'a str, &'a Value)>) {
    out.push_str(open);
    for (i, (name, value)) in pairs.enumerate() {
        out.push_str(if i == 0 { "" } else { " " });
        out.push_str(name);
        out.push(':');
        value.write(out);
    }
    out.push_str(close);
}
