//! One point of a histogram: owned by writers, borrowed by readers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{SeriesId, UnixNanos};

/// One point of a histogram or an exponential histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramRow {
    /// The series.
    pub series: SeriesId,
    /// Event time.
    pub time: UnixNanos,
    /// Since when it counts; `None` when the sender did not say.
    pub start: Option<UnixNanos>,
    /// Observations; 0 for [`Buckets::Ended`].
    pub count: u64,
    /// Their sum, where it was sent.
    pub sum: Option<f64>,
    /// The least observation, where it was sent.
    pub min: Option<f64>,
    /// The greatest observation, where it was sent.
    pub max: Option<f64>,
    /// How the observations are spread.
    pub buckets: Buckets,
}

/// How the observations of one point are spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Buckets {
    /// Counts between given bounds: `(-inf, b0], (b0, b1], ..., (bn, +inf)`.
    Explicit {
        /// Upper bounds, strictly increasing; shared between rows where the writer can.
        bounds: Arc<[f64]>,
        /// One more than `bounds`, or empty together with them when only the count is known.
        counts: Box<[u64]>,
    },
    /// Counts between powers of `2^(2^-scale)`.
    Exponential {
        /// Resolution: one more doubles the number of buckets.
        scale: i32,
        /// Observations within `zero_threshold` of zero.
        zero_count: u64,
        /// Half width of the zero bucket.
        zero_threshold: f64,
        /// Observations above the zero bucket.
        positive: ExpBuckets,
        /// Observations below it, by magnitude.
        negative: ExpBuckets,
    },
    /// `NO_RECORDED_VALUE`: the series ended before this time. Never a zero.
    Ended,
}

/// A run of exponential buckets: `counts[i]` lies in `(base^(offset+i), base^(offset+i+1)]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpBuckets {
    /// Index of the first bucket.
    pub offset: i32,
    /// Observations by bucket.
    pub counts: Box<[u64]>,
}

/// A row that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramView<'a> {
    /// The series.
    pub series: SeriesId,
    /// Event time.
    pub time: UnixNanos,
    /// Since when it counts.
    pub start: Option<UnixNanos>,
    /// Observations; 0 for [`BucketsView::Ended`].
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// The least observation.
    pub min: Option<f64>,
    /// The greatest observation.
    pub max: Option<f64>,
    /// How the observations are spread.
    pub buckets: BucketsView<'a>,
}

/// [`Buckets`] that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of `Buckets`")]
pub enum BucketsView<'a> {
    /// See [`Buckets::Explicit`].
    Explicit { bounds: &'a [f64], counts: &'a [u64] },
    /// See [`Buckets::Exponential`].
    Exponential {
        scale: i32,
        zero_count: u64,
        zero_threshold: f64,
        positive: ExpBucketsView<'a>,
        negative: ExpBucketsView<'a>,
    },
    /// See [`Buckets::Ended`].
    Ended,
}

/// [`ExpBuckets`] that somebody else holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpBucketsView<'a> {
    /// Index of the first bucket.
    pub offset: i32,
    /// Observations by bucket.
    pub counts: &'a [u64],
}

/// In which table a row is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Explicit,
    Exponential,
}

impl Shape {
    pub(super) const ALL: [Self; 2] = [Self::Explicit, Self::Exponential];
    pub(super) const COUNT: usize = Self::ALL.len();
}

impl HistogramRow {
    /// The row as readers see it.
    #[must_use]
    pub fn view(&self) -> HistogramView<'_> {
        let Self { series, time, start, count, sum, min, max, .. } = *self;
        HistogramView { series, time, start, count, sum, min, max, buckets: self.buckets.view() }
    }
}

impl Buckets {
    fn view(&self) -> BucketsView<'_> {
        match self {
            Self::Explicit { bounds, counts } => BucketsView::Explicit { bounds, counts },
            Self::Exponential { scale, zero_count, zero_threshold, positive, negative } => BucketsView::Exponential {
                scale: *scale,
                zero_count: *zero_count,
                zero_threshold: *zero_threshold,
                positive: positive.view(),
                negative: negative.view(),
            },
            Self::Ended => BucketsView::Ended,
        }
    }
}

impl ExpBuckets {
    fn view(&self) -> ExpBucketsView<'_> {
        ExpBucketsView { offset: self.offset, counts: &self.counts }
    }
}

impl HistogramView<'_> {
    /// The end of a series is kept with the explicit ones, whatever the series was.
    pub(super) fn shape(&self) -> Shape {
        match self.buckets {
            BucketsView::Explicit { .. } | BucketsView::Ended => Shape::Explicit,
            BucketsView::Exponential { .. } => Shape::Exponential,
        }
    }

    /// Bytes that the row takes in a chunk, its share of what is kept once a chunk left out.
    pub(crate) fn bytes(&self) -> usize {
        match self.buckets {
            BucketsView::Explicit { counts, .. } => 69 + 8 * counts.len(),
            BucketsView::Ended => 69,
            BucketsView::Exponential { positive, negative, .. } => {
                97 + 8 * (positive.counts.len() + negative.counts.len())
            }
        }
    }

    /// How many list values the row holds, 8 bytes each.
    #[must_use]
    pub fn values(&self) -> usize {
        match self.buckets {
            BucketsView::Explicit { bounds, counts } => bounds.len() + counts.len(),
            BucketsView::Exponential { positive, negative, .. } => positive.counts.len() + negative.counts.len(),
            BucketsView::Ended => 0,
        }
    }

    /// A copy to keep.
    #[must_use]
    pub fn to_row(&self) -> HistogramRow {
        let Self { series, time, start, count, sum, min, max, .. } = *self;
        let kept = |b: ExpBucketsView<'_>| ExpBuckets { offset: b.offset, counts: b.counts.into() };
        let buckets = match self.buckets {
            BucketsView::Explicit { bounds, counts } => {
                Buckets::Explicit { bounds: bounds.into(), counts: counts.into() }
            }
            BucketsView::Exponential { scale, zero_count, zero_threshold, positive, negative } => {
                let (positive, negative) = (kept(positive), kept(negative));
                Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative }
            }
            BucketsView::Ended => Buckets::Ended,
        };
        HistogramRow { series, time, start, count, sum, min, max, buckets }
    }
}
