//! An error on its way up, and the path that it collects there.

use std::fmt::Write as _;

use super::Fault;
use crate::otlp::cut;

/// Longest part of a path that is shown, in bytes; what is left out is in its middle.
const MAX_PATH: usize = 300;
/// Longest statement of what was expected and found, in bytes.
const MAX_REASON: usize = 200;
/// Longest piece of the sender's text within a reason, in bytes.
pub(super) const MAX_QUOTE: usize = 40;

/// What a step of reading gives.
pub(super) type Done<T = ()> = Result<T, Stop>;

/// Why reading stopped. Boxed, since every level hands it on and it hardly ever exists.
#[derive(Debug)]
pub(super) struct Stop(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` when the output would be too large.
    reason: Option<String>,
    /// From the innermost place outwards.
    path: Vec<Step>,
}

/// One step from a value to what is in it.
#[derive(Debug)]
pub(super) enum Step {
    /// The value of a known key.
    Key(&'static str),
    /// The value of a key that is not ours, shortened.
    Unknown(String),
    /// An element of an array.
    Index(usize),
}

impl Stop {
    pub(super) fn wrong(reason: impl Into<String>) -> Self {
        Self(Box::new(Inner { reason: Some(reason.into()), path: Vec::new() }))
    }

    pub(super) fn too_large() -> Self {
        Self(Box::new(Inner { reason: None, path: Vec::new() }))
    }

    /// Says that it happened at `step` of the value that is being read.
    pub(super) fn within(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }

    pub(super) fn into_fault(self) -> Fault {
        let Some(reason) = self.0.reason else { return Fault::TooLarge };
        let mut path = String::new();
        for step in self.0.path.iter().rev() {
            let separator = if path.is_empty() { "" } else { "." };
            let written = match step {
                Step::Key(key) => write!(path, "{separator}{key}"),
                Step::Unknown(key) => write!(path, "{separator}{key}"),
                Step::Index(index) => write!(path, "[{index}]"),
            };
            written.expect("a string takes whatever is written");
        }
        let reason = cut(&reason, MAX_REASON);
        Fault::Malformed(if path.is_empty() { reason.to_owned() } else { format!("{}: {reason}", shorten(&path)) })
    }
}

/// The path with its middle left out where it is too long: its end says what was read, its beginning in which part.
fn shorten(path: &str) -> String {
    if path.len() <= MAX_PATH {
        return path.to_owned();
    }
    let tail = path.ceil_char_boundary(path.len() - MAX_PATH / 2);
    format!("{}...{}", cut(path, MAX_PATH / 2), &path[tail..])
}
