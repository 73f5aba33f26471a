//! The fields of a body in JSON, read one by one, with everything that is wrong with them.

use serde_json::{Map, Value};

use super::{Problem, problem::Fault};

/// Fields that are being read.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    given: &'a Map<String, Value>,
    faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    /// The fields of `what`, of which those in `known` exist.
    pub(super) fn of(given: &'a Map<String, Value>, what: &str, known: &[&str]) -> Self {
        let unknown = given.keys().filter(|name| !known.contains(&name.as_str()));
        let fault = |name: &String| Fault {
            parameter: name.chars().take(100).collect(),
            detail: format!("is not a field of {what}; expected {}", known.join(", ")),
        };
        Self { given, faults: unknown.map(fault).collect() }
    }

    /// The value of a field; null where it is not given.
    pub(super) fn get(&self, name: &str) -> &'a Value {
        self.given.get(name).unwrap_or(&Value::Null)
    }

    /// Notes that a field is not as `expected`.
    pub(super) fn fault(&mut self, name: &str, expected: &str) {
        self.faults.push(Fault::new(name, expected, &self.get(name).to_string()));
    }

    /// Text of `least` to `most` bytes; empty, and a fault, where it is none.
    pub(super) fn text(&mut self, name: &str, least: usize, most: usize) -> String {
        let text = self.get(name).as_str().filter(|text| (least..=most).contains(&text.len()));
        if text.is_none() {
            self.fault(name, &format!("text of {least} to {most} bytes"));
        }
        text.unwrap_or_default().to_owned()
    }

    /// What was read, if nothing was wrong.
    ///
    /// # Errors
    /// Everything that was.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, Problem> {
        read.filter(|_| self.faults.is_empty()).ok_or_else(|| Problem::bad_parameters(self.faults))
    }
}
