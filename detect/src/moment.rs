//! The time for which something is decided, and what is known then.

use query::{Options, Query, QueryError, Recall, Value};
use window::{Labels, Snapshot, UnixNanos};

/// What queries are evaluated over.
#[derive(Debug)]
pub struct Moment<'a> {
    /// The window.
    pub snapshot: &'a Snapshot,
    /// Event time.
    pub at: UnixNanos,
    /// Limits of PromQL.
    pub options: &'a Options,
    /// What holds from one moment to the next.
    pub recall: &'a mut Recall,
}

impl Moment<'_> {
    /// What `query` says.
    ///
    /// # Errors
    /// As [`Query::instant`].
    pub fn value(&mut self, query: &Query) -> Result<Value, QueryError> {
        query.instant_recalling(self.snapshot, self.at, self.options, self.recall)
    }

    /// For which label sets `query` had data, see [`Query::observed`].
    ///
    /// # Errors
    /// As [`Query::observed`].
    pub fn observed(&mut self, query: &Query) -> Result<Option<Vec<Labels>>, QueryError> {
        query.observed_recalling(self.snapshot, self.at, self.options, self.recall)
    }
}
