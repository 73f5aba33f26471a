//! What is wrong with a histogram that came from outside.

use window::{BucketsView, ExpBucketsView, HistogramView};

use super::quantile::log2_bound;

/// Default for the greatest number of buckets in one point. SDKs send 15 to 200 explicit and up to
/// 160 exponential ones a side.
pub const MAX_BUCKETS: usize = 1_024;

/// The scales that OpenTelemetry's SDKs and the Collector use.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;

/// The fault of a histogram point: which field, and why. Fields are named as on the wire.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramFault {
    /// More buckets than are taken.
    #[error("{field} has {actual} entries, the limit is {limit}")]
    TooMany {
        /// The list.
        field: &'static str,
        /// Its length; of exponential buckets, of both sides.
        actual: usize,
        /// The greatest length.
        limit: usize,
    },
    /// Lists whose lengths do not fit.
    #[error("{field} has {actual} entries, expected {expected}")]
    Length {
        /// The list.
        field: &'static str,
        /// Its length.
        actual: usize,
        /// The length that follows from another list.
        expected: usize,
    },
    /// A bound that is not above the one before it, NaN, or negative infinity.
    #[error("explicit_bounds[{index}] is {actual}, expected a number above {before}")]
    Bound {
        /// Its place.
        index: usize,
        /// Its value.
        actual: f64,
        /// The bound before it; negative infinity for the first.
        before: f64,
    },
    /// Buckets that do not add up to the count.
    #[error("{field} add up to {actual}, count is {expected}")]
    Count {
        /// The lists.
        field: &'static str,
        /// Their total.
        actual: u128,
        /// The point's count.
        expected: u64,
    },
    /// A scale that is not used.
    #[error("scale is {actual}, expected -10 to 20")]
    Scale {
        /// As sent.
        actual: i32,
    },
    /// A zero bucket without a sensible width.
    #[error("zero_threshold is {actual}, expected a finite number of at least 0")]
    ZeroThreshold {
        /// As sent.
        actual: f64,
    },
    /// Exponential buckets whose bounds no float can hold.
    #[error("{field}.offset is {offset} with {len} buckets at scale {scale}: beyond what a 64-bit float can hold")]
    Offset {
        /// The side.
        field: &'static str,
        /// As sent.
        offset: i32,
        /// Number of buckets.
        len: usize,
        /// The point's scale.
        scale: i32,
    },
}

/// Checks what the data model demands of a point, and that its lists are not longer than
/// `max_buckets` (default [`MAX_BUCKETS`]).
///
/// A last explicit bound of positive infinity is taken, though it says nothing. Sums, minima and
/// maxima may be anything: what is not finite is not used.
///
/// # Errors
/// The first [`HistogramFault`].
pub fn check_histogram(point: &HistogramView<'_>, max_buckets: usize) -> Result<(), HistogramFault> {
    match point.buckets {
        BucketsView::Explicit { bounds, counts } => explicit(point.count, bounds, counts, max_buckets),
        BucketsView::Exponential { scale, zero_count, zero_threshold, positive, negative } => {
            limited("positive and negative bucket_counts", positive.counts.len() + negative.counts.len(), max_buckets)?;
            if !SCALES.contains(&scale) {
                return Err(HistogramFault::Scale { actual: scale });
            }
            if !(zero_threshold.is_finite() && zero_threshold >= 0.0) {
                return Err(HistogramFault::ZeroThreshold { actual: zero_threshold });
            }
            side("positive", scale, positive)?;
            side("negative", scale, negative)?;
            let lists = total(positive.counts) + total(negative.counts);
            adds_up("zero_count, positive and negative bucket_counts", lists + u128::from(zero_count), point.count)
        }
        BucketsView::Ended => Ok(()),
    }
}

fn explicit(count: u64, bounds: &[f64], counts: &[u64], max_buckets: usize) -> Result<(), HistogramFault> {
    limited("bucket_counts", counts.len(), max_buckets)?;
    limited("explicit_bounds", bounds.len(), max_buckets)?;
    if bounds.is_empty() && counts.is_empty() {
        return Ok(());
    }
    if counts.len() != bounds.len() + 1 {
        let (actual, expected) = (counts.len(), bounds.len() + 1);
        return Err(HistogramFault::Length { field: "bucket_counts", actual, expected });
    }
    let mut before = f64::NEG_INFINITY;
    for (index, &actual) in bounds.iter().enumerate() {
        // False for NaN as well.
        let is_above = actual > before;
        if !is_above {
            return Err(HistogramFault::Bound { index, actual, before });
        }
        before = actual;
    }
    adds_up("bucket_counts", total(counts), count)
}

fn limited(field: &'static str, actual: usize, limit: usize) -> Result<(), HistogramFault> {
    if actual > limit { Err(HistogramFault::TooMany { field, actual, limit }) } else { Ok(()) }
}

fn adds_up(field: &'static str, actual: u128, expected: u64) -> Result<(), HistogramFault> {
    if actual == u128::from(expected) { Ok(()) } else { Err(HistogramFault::Count { field, actual, expected }) }
}

fn total(counts: &[u64]) -> u128 {
    counts.iter().map(|c| u128::from(*c)).sum()
}

/// The first bucket must end, and the last begin, within the range of floats; the outer edges may
/// lie beyond it, for buckets at the ends must begin or end somewhere.
fn side(field: &'static str, scale: i32, side: ExpBucketsView<'_>) -> Result<(), HistogramFault> {
    let (offset, len) = (side.offset, side.counts.len());
    if len == 0 {
        return Ok(());
    }
    let beyond = HistogramFault::Offset { field, offset, len, scale };
    let Some(end) = i32::try_from(len).ok().and_then(|len| offset.checked_add(len)) else { return Err(beyond) };
    let first_ends = log2_bound(scale, i64::from(offset) + 1);
    let last_begins = log2_bound(scale, i64::from(end) - 1);
    if first_ends < -1_074.0 || last_begins >= 1_024.0 { Err(beyond) } else { Ok(()) }
}

#[cfg(test)]
#[path = "check/tests.rs"]
mod tests;
