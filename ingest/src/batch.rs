//! What a decoded request looks like before it has a place in the window.
//!
//! The decoder (wire in, rows out) fills a [`Batch`] on any thread; [`crate::Intake`] applies it on
//! the one thread that owns the window. Wire types do not go past this line.

mod packed;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use window::{HistogramRow, LogColumns, Series, SeriesId, SpanColumns, UnixNanos};

use crate::known::WireKey;

/// The numbers of one request.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Numbers {
    /// Values, in the order sent.
    #[serde(with = "packed")]
    pub rows: Vec<NumberRow>,
    /// Histograms' points in the order sent; whose they are stands beside them, not in them.
    pub histograms: Vec<(SeriesRef, HistogramRow)>,
    /// Measurements that stand for others, with the traces in which they were made.
    pub exemplars: Vec<ExemplarRow>,
    /// The series that the decoder did not know, each once.
    pub strangers: Vec<Stranger>,
    /// When known series were given their numbers, see [`crate::KnownSeries`].
    pub epoch: u64,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberRow {
    /// Whose value it is.
    pub series: SeriesRef,
    /// Whether it stands for the point that was sent: of a histogram's count and sum only one does.
    pub is_item: bool,
    /// Event time.
    pub time: UnixNanos,
    /// Start of the sum's interval; [`UnixNanos::MIN`] where the sender gave none.
    pub start: UnixNanos,
    /// The value; [`window::STALE_NAN_BITS`] where the sender said that there is no recorded value.
    pub value: f64,
}

/// An exemplar of a point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExemplarRow {
    /// The point's series.
    pub series: SeriesRef,
    /// When it was measured.
    pub time: UnixNanos,
    /// What was measured.
    pub value: f64,
    /// Trace id; all zero when it belongs to none.
    pub trace_id: [u8; 16],
    /// Span id; all zero when it belongs to none.
    pub span_id: [u8; 8],
}

/// A series of a request: by number, or by its place among [`Numbers::strangers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesRef(u32);

/// Numbers of series stay below it: a registry of more would take hundreds of gigabytes.
const STRANGER: u32 = 1 << 31;

impl SeriesRef {
    /// A series by its number.
    #[inline]
    #[must_use]
    pub fn known(id: SeriesId) -> Self {
        Self(id.0 & !STRANGER)
    }

    /// A series by its place among the strangers; a request has fewer than 2^31 of them.
    #[inline]
    #[must_use]
    pub fn stranger(place: usize) -> Self {
        Self(u32::try_from(place).unwrap_or(u32::MAX) | STRANGER)
    }

    /// The number, or the place among the strangers.
    ///
    /// # Errors
    /// The place, when it is a stranger.
    #[inline]
    pub fn id(self) -> Result<SeriesId, usize> {
        if self.0 & STRANGER == 0 { Ok(SeriesId(self.0)) } else { Err((self.0 & !STRANGER) as usize) }
    }
}

/// A series that may have to be registered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stranger {
    /// How it was sent.
    pub wire: WireKey,
    /// What it is.
    pub series: Series,
    /// Whether every attribute sent for it has a name of its own. Others are looked at each time, so
    /// that what is left out is counted.
    pub is_regular: bool,
}

/// A value that was computed here, and the series that it belongs to.
#[derive(Clone, Debug)]
pub struct DerivedPoint {
    /// Description of the series.
    pub series: Arc<Series>,
    /// Event time.
    pub time: UnixNanos,
    /// The value.
    pub value: f64,
}

/// The rows of one request. Written down it is all but spans and log records: those stand in the request
/// itself, in fewer bytes and in a format that outlives ours.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Batch {
    /// Numbers.
    pub numbers: Numbers,
    /// Spans.
    #[serde(skip)]
    pub spans: SpanColumns,
    /// Log records.
    #[serde(skip)]
    pub logs: LogColumns,
    /// The sender's resources as (service, instance) pairs seen in this request: who is alive.
    pub feeds: Vec<Feed>,
    /// Attributes that were left out because another one of the same item had their name.
    pub repeated_attributes: u64,
    /// Items that the decoder refused, by reason.
    pub rejected: Rejections,
}

/// One sender: a service instance, as its resource says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Feed {
    /// `service.namespace/service.name`.
    pub service: Arc<str>,
    /// `service.instance.id`, or a short hash of the remaining resource.
    pub instance: Arc<str>,
}

impl Numbers {
    fn bytes(&self) -> usize {
        // A description is a few texts and labels.
        const DESCRIPTION: usize = 1024;
        self.rows.len() * size_of::<NumberRow>()
            + self.histograms.iter().map(|(_, row)| size_of_val(row) + 8 * row.view().values()).sum::<usize>()
            + self.exemplars.len() * size_of::<ExemplarRow>()
            + self.strangers.len() * (size_of::<Stranger>() + DESCRIPTION)
    }
}

impl Batch {
    /// How many items it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.rows.len() + self.numbers.histograms.len() + self.spans.len() + self.logs.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that it occupies, roughly and never too low by more than the allocator's overhead.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.numbers.bytes() + self.spans.bytes() + self.logs.bytes()
    }
}

/// How many items were refused, and the first reasons in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Notes something that the sender should know although nothing was refused.
    pub fn warn(&mut self, reason: impl FnOnce() -> String) {
        self.add(0, reason);
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
