//! Everything that can be wrong with a query, in words that a user can act on.

use std::{fmt, time::Duration};

use window::Labels;

/// A place in the text of a query, for people: both numbers start at 1, columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a query was not taken, or why it has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The text is longer than is parsed.
    #[error("query is {actual} bytes long, the limit is {limit}")]
    TooLong {
        /// Greatest length in bytes.
        limit: usize,
        /// Length of this text.
        actual: usize,
    },
    /// More operators, brackets and calls than are evaluated.
    #[error("query has {actual} operators and brackets, the limit is {limit}")]
    TooComplex {
        /// Greatest number.
        limit: usize,
        /// How many this query has.
        actual: usize,
    },
    /// More regular expressions than are compiled for one query.
    #[error("query has {actual} regular expressions, the limit is {limit}")]
    TooManyRegexes {
        /// Greatest number.
        limit: usize,
        /// How many this query has.
        actual: usize,
    },
    /// Not PromQL, or operands of the wrong type.
    #[error("parse error: {message}")]
    Syntax {
        /// What the parser said.
        message: String,
    },
    /// Not PromQL, at a known place.
    #[error("parse error at {at}: {message}")]
    SyntaxAt {
        /// What is wrong.
        message: String,
        /// Where.
        at: Position,
    },
    /// PromQL, but a part of it that is not built.
    #[error("{what} at {at} is not supported")]
    Unsupported {
        /// The kind of thing and its name: "function `topk`".
        what: String,
        /// Where it is first used.
        at: Position,
    },
    /// A duration in the text that is not above zero or is longer than any window.
    #[error("duration {text:?} at {at} is out of range: expected more than 0 s and at most 100 years")]
    Duration {
        /// As written.
        text: String,
        /// Where.
        at: Position,
    },
    /// A range query over something that has no value at each step.
    #[error("a range query needs a scalar or an instant vector, this expression is a {actual}")]
    NotRangeable {
        /// The type of the expression.
        actual: &'static str,
    },
    /// A range query that ends before it starts.
    #[error("end {end} is before start {start}")]
    EndBeforeStart {
        /// First step, seconds.
        start: f64,
        /// Requested end, seconds.
        end: f64,
    },
    /// A range query without a step.
    #[error("step must be at least 1 ns and at most 292 years, got {0:?}")]
    Step(Duration),
    /// A range query with more steps than are answered.
    #[error("the range holds {actual} steps, the limit is {limit}: use a larger step")]
    TooManySteps {
        /// [`crate::Options::max_steps`].
        limit: usize,
        /// Steps asked for.
        actual: u64,
    },
    /// The query reads or returns more samples than allowed.
    #[error("query would hold more than {limit} samples in memory")]
    TooManySamples {
        /// [`crate::Options::max_samples`].
        limit: usize,
    },
    /// The query looks at samples more often than allowed.
    #[error("query would visit samples more than {limit} times: use a larger step or a shorter range")]
    TooMuchWork {
        /// [`crate::Options::max_visits`].
        limit: u64,
    },
    /// The past cannot be read.
    #[error("{0}")]
    History(window::HistoryError),
    /// Two series of one vector have the same name and labels.
    #[error("vector cannot contain metrics with the same labelset: {labels} occurs more than once")]
    DuplicateLabels {
        /// The label set, with the name in front if there is one.
        labels: String,
    },
    /// Several series of the right side (or of both) belong to one match group.
    #[error(
        "found duplicate series for the match group {group} on the right hand-side of the operation: \
         [{first}, {second}]; many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    ManyToMany {
        /// The labels that were matched.
        group: Labels,
        /// One series of the group.
        first: String,
        /// Another one.
        second: String,
    },
    /// Several series of the left side match one of the right.
    #[error(
        "multiple matches for labels {group}: many-to-one matching must be explicit (group_left/group_right), \
         which is not supported"
    )]
    ManyToOne {
        /// The labels that were matched.
        group: Labels,
    },
}
