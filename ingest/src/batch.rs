//! What a decoded request looks like before it has a place in the window.
//!
//! The decoder (wire in, rows out) fills a [`Batch`] on any thread; [`crate::Intake`] applies it on
//! the one thread that owns the window. Wire types do not go past this line.

use std::sync::Arc;

use window::{LogColumns, Series, SeriesKey, SpanColumns, UnixNanos};

/// A point whose series is known by identity, with all that is needed to register it.
#[derive(Clone, Debug)]
pub struct IncomingPoint {
    /// Identity of the series.
    pub key: SeriesKey,
    /// Description, shared by the points of one series in one request.
    pub series: Arc<Series>,
    /// Event time.
    pub time: UnixNanos,
    /// Start of the sum's interval; `None` where the sender gave none.
    pub start: Option<UnixNanos>,
    /// The value; [`window::STALE_NAN_BITS`] where the sender said that there is no recorded value.
    pub value: f64,
}

/// The rows of one request.
#[derive(Debug, Default)]
pub struct Batch {
    /// Numbers.
    pub points: Vec<IncomingPoint>,
    /// Spans.
    pub spans: SpanColumns,
    /// Log records.
    pub logs: LogColumns,
    /// The sender's resources as (service, instance) pairs seen in this request: who is alive.
    pub feeds: Vec<Feed>,
    /// Items that the decoder refused, by reason.
    pub rejected: Rejections,
    /// Attributes that were not kept because another one of the same item had their name.
    pub repeated_attributes: u64,
}

/// One sender: a service instance, as its resource says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Feed {
    /// `service.namespace/service.name`.
    pub service: Arc<str>,
    /// `service.instance.id`, or a short hash of the remaining resource.
    pub instance: Arc<str>,
}

impl Batch {
    /// How many items it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len() + self.spans.len() + self.logs.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it occupies, roughly and never too low by more than the allocator's overhead.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.points.len() * size_of::<IncomingPoint>() + self.spans.bytes() + self.logs.bytes()
    }
}

/// How many items were refused, and the first reasons in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    /// Items refused: the count that partial success reports.
    pub count: u64,
    /// The first few distinct reasons, each naming the field and the limit.
    pub reasons: Vec<String>,
}

impl Rejections {
    const REASONS_KEPT: usize = 5;

    /// Notes `count` refused items; `reason` is built only if it will be kept.
    pub fn add(&mut self, count: u64, reason: impl FnOnce() -> String) {
        self.count += count;
        if self.reasons.len() < Self::REASONS_KEPT {
            let reason = reason();
            if !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }

    /// Adds what another part of the line refused.
    pub fn absorb(&mut self, other: Self) {
        self.count += other.count;
        for reason in other.reasons {
            if self.reasons.len() < Self::REASONS_KEPT && !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }

    /// The message for the answer: empty when nothing was refused.
    #[must_use]
    pub fn message(&self) -> String {
        self.reasons.join("; ")
    }
}
