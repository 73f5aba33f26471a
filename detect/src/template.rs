//! Text templates: the part of Go's that Prometheus's rules and Alertmanager's notifications use.
//!
//! One engine for both, so that what holds for annotations holds for messages. A template is read once, where every
//! function, variable and template that it names has to exist, and is then rendered over [`Value`]s. Steps and bytes
//! are bounded: a template ends, whatever it is given. An engine of another language would be less code here, and no
//! template of Alertmanager's users would run in it.

mod eval;
mod functions;
mod lex;
mod parse;
mod time;
mod value;

use std::{collections::BTreeMap, sync::Arc};

use self::parse::Node;
pub use self::value::Value;

/// What is wrong with a template, and in which of its lines, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the template: {message}")]
pub struct Fault {
    /// The line.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// Whether it may be right with other data, as an index beyond the end is.
    pub depends_on_data: bool,
}

/// How a value is written into the text, of which the first argument is what is written already; what the template
/// itself says is written as it is.
pub type Escape = fn(&str, &str) -> String;

/// Templates by name, for others to use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Library {
    defined: BTreeMap<String, Arc<[Node]>>,
}

/// A template that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: Arc<str>,
    body: Arc<[Node]>,
    library: Arc<Library>,
    /// Whether it is nothing but text.
    is_plain: bool,
}

/// Longest text of a template, in bytes.
const MAX_TEXT: usize = 256 << 10;

impl Library {
    /// Takes up every `define` of `text`; the later one of two with the same name counts.
    ///
    /// # Errors
    /// The first fault. What is used without being defined is found by [`Self::check`].
    pub fn define(&mut self, text: &str) -> Result<(), Fault> {
        let parsed = parse::parse(text, &[])?;
        self.defined.extend(parsed.defined);
        Ok(())
    }

    /// That every template which a template uses is there.
    ///
    /// # Errors
    /// The first use of one that is not.
    pub fn check(&self) -> Result<(), Fault> {
        self.defined.values().try_for_each(|body| self.check_body(body))
    }

    fn check_body(&self, body: &[Node]) -> Result<(), Fault> {
        for (name, line) in parse::used(body) {
            if !self.defined.contains_key(name) {
                let message = format!("there is no template {name:?}");
                return Err(Fault { line, message, depends_on_data: false });
            }
        }
        Ok(())
    }
}

impl Template {
    /// Reads `text`, which may use these variables (with their `$`) and what is in `library`.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse(text: &str, variables: &[&str], library: &Arc<Library>) -> Result<Self, Fault> {
        let parsed = parse::parse(text, variables)?;
        let library = if parsed.defined.is_empty() {
            Arc::clone(library)
        } else {
            let mut own = Library::clone(library);
            own.defined.extend(parsed.defined);
            own.check()?;
            Arc::new(own)
        };
        library.check_body(&parsed.body)?;
        let is_plain = parsed.body.iter().all(|node| matches!(node, Node::Text(_)));
        Ok(Self { text: text.into(), body: parsed.body, library, is_plain })
    }

    /// The template as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it says the same of everything.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The text for `dot` and the values of the variables, of at most `most` bytes.
    ///
    /// # Errors
    /// What cannot be done with the data, or that it takes too many steps or bytes.
    pub fn render(
        &self,
        dot: &Value,
        variables: &[(&str, Value)],
        escape: Escape,
        most: usize,
    ) -> Result<String, Fault> {
        eval::render(&self.body, &self.library.defined, dot, variables, escape, most)
    }
}

/// An [`Escape`] that changes nothing.
#[must_use]
pub fn plain(_written: &str, value: &str) -> String {
    value.to_owned()
}

#[cfg(test)]
mod tests;
