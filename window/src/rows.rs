//! The rows that writers append and readers get back: plain values, no Arrow.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{SeriesId, UnixNanos};

/// Prometheus's staleness marker: the bit pattern of the NaN that says "this series ended here".
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether `value` is the staleness marker (any other NaN is a value).
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One value of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The series.
    pub series: SeriesId,
    /// Event time.
    pub time: UnixNanos,
    /// The value; NaN and infinities are kept, [`STALE_NAN_BITS`] ends the series.
    pub value: f64,
}

/// One value of a series that the reader already named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Event time.
    pub time: UnixNanos,
    /// The value.
    pub value: f64,
}

/// A measurement that stands for others of its series, and the trace in which it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The series.
    pub series: SeriesId,
    /// When it was measured.
    pub time: UnixNanos,
    /// What was measured.
    pub value: f64,
    /// Trace id; all zero when it belongs to none.
    pub trace_id: [u8; 16],
    /// Span id; all zero when it belongs to none.
    pub span_id: [u8; 8],
}

/// OpenTelemetry's span kinds, with their wire numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum SpanKind {
    /// Not said.
    #[default]
    Unspecified = 0,
    /// Within a process.
    Internal = 1,
    /// Handles a remote request.
    Server = 2,
    /// Makes a remote request.
    Client = 3,
    /// Sends a message.
    Producer = 4,
    /// Handles a message.
    Consumer = 5,
}

impl SpanKind {
    /// From the wire; unknown numbers are [`SpanKind::Unspecified`].
    #[must_use]
    pub fn from_wire(number: i32) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }

    /// The name that the span-metrics connector puts into `span_kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "SPAN_KIND_UNSPECIFIED",
            Self::Internal => "SPAN_KIND_INTERNAL",
            Self::Server => "SPAN_KIND_SERVER",
            Self::Client => "SPAN_KIND_CLIENT",
            Self::Producer => "SPAN_KIND_PRODUCER",
            Self::Consumer => "SPAN_KIND_CONSUMER",
        }
    }
}

/// One finished span, with the columns that detection and explanation use.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanRow {
    /// When it began.
    pub start: UnixNanos,
    /// When it ended: its event time.
    pub end: UnixNanos,
    /// `service.namespace/service.name`, or only the name.
    pub service: Arc<str>,
    /// Span name, cut at the configured length.
    pub name: Arc<str>,
    /// Span kind.
    pub kind: SpanKind,
    /// Whether its status code is Error.
    pub failed: bool,
    /// Trace id.
    pub trace_id: [u8; 16],
    /// Span id.
    pub span_id: [u8; 8],
    /// Parent's span id; all zero for a root.
    pub parent_span_id: [u8; 8],
    /// A bounded number of attributes as text, in the order sent.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
}

impl SpanRow {
    /// Duration in seconds; zero when the clock went backwards between start and end.
    #[must_use]
    pub fn duration_secs(&self) -> f64 {
        self.end.since(self.start).as_secs_f64()
    }
}

/// One log record.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow {
    /// Event time; the observed time where the record has none.
    pub time: UnixNanos,
    /// `service.namespace/service.name`, or only the name.
    pub service: Arc<str>,
    /// OpenTelemetry severity number, 0 (unspecified) to 24.
    pub severity: u8,
    /// Body as text, cut at the configured length.
    pub body: Arc<str>,
    /// Trace id; all zero when the record belongs to none.
    pub trace_id: [u8; 16],
    /// Span id; all zero when the record belongs to none.
    pub span_id: [u8; 8],
}
