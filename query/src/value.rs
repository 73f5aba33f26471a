//! What queries answer.

use std::{fmt, sync::Arc, time::Duration};

use window::{Labels, Sample};

/// The answer of an instant query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number; NaN and infinities are values.
    Scalar(f64),
    /// A text literal.
    String(String),
    /// One value per series, sorted by name and labels; empty when nothing matched.
    Vector(Vec<InstantSample>),
    /// The raw samples of each series (the query was a range selector), sorted by name and labels.
    Matrix(Vec<RangeSeries>),
}

/// The value of one series at the time of the query.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantSample {
    /// `__name__`, where the expression keeps it.
    pub name: Option<Arc<str>>,
    /// The other labels.
    pub labels: Labels,
    /// The value; NaN and infinities are values.
    pub value: f64,
}

/// One series of a range query or of a range selector.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeSeries {
    /// `__name__`, where the expression keeps it.
    pub name: Option<Arc<str>>,
    /// The other labels.
    pub labels: Labels,
    /// At least one, oldest first; steps without a value are left out.
    pub samples: Vec<Sample>,
}

/// A name in front of a label set, as PromQL writes a series.
pub(crate) struct Metric<'a>(pub(crate) Option<&'a str>, pub(crate) &'a Labels);

impl fmt::Display for Metric<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.unwrap_or_default(), self.1)
    }
}

/// How a query is evaluated, and how much it may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How old the newest sample of a series may be to count as its value. Default 5 min.
    pub lookback: Duration,
    /// Samples read from the window, plus samples returned. Default 50,000,000, as in Prometheus.
    pub max_samples: usize,
    /// Steps of a range query. Default 11,000, as in Prometheus.
    pub max_steps: usize,
    /// Visits to samples: each step of a range query visits each sample of its ranges again.
    /// Takes the place of a timeout, which would need a clock. Default 5,000,000,000: some seconds.
    pub max_visits: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { lookback: Duration::from_mins(5), max_samples: 50_000_000, max_steps: 11_000, max_visits: 5_000_000_000 }
    }
}
