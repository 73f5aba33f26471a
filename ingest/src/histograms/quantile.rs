//! Quantiles of bucketed observations, as Prometheus estimates them.

use window::ExpBucketsView;

/// Powers of two that a float can hold: everything lies between, subnormal numbers included.
const LOG2_RANGE: (f64, f64) = (-1_074.0, 1_024.0);

/// What is known of the least and the greatest observation; infinite where nothing is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    min: f64,
    max: f64,
}

impl Range {
    /// Values that are not finite, or the wrong way round, say nothing.
    pub(super) fn new(min: Option<f64>, max: Option<f64>) -> Self {
        let min = min.filter(|v| v.is_finite()).unwrap_or(f64::NEG_INFINITY);
        let max = max.filter(|v| v.is_finite()).unwrap_or(f64::INFINITY);
        if min <= max { Self { min, max } } else { Self { min: f64::NEG_INFINITY, max: f64::INFINITY } }
    }

    /// The edges of a bucket, moved inwards where the least or the greatest observation lies in it.
    fn narrow(self, (lower, upper): (f64, f64)) -> (f64, f64) {
        let holds = |v: f64| v.is_finite() && lower <= v && v <= upper;
        (if holds(self.min) { self.min } else { lower }, if holds(self.max) { self.max } else { upper })
    }
}

/// The `q` quantile of explicit buckets; `None` without observations or without a finite edge.
///
/// Linear within a bucket. The first bucket begins at 0 when its bound is above 0, and otherwise its
/// bound is the answer; what lies beyond the last finite bound is said to be there.
pub(super) fn explicit(q: f64, bounds: &[f64], counts: &[u64], within: Range) -> Option<f64> {
    let total: u128 = counts.iter().map(|c| u128::from(*c)).sum();
    let rank = q * wide(total);
    let mut below: u128 = 0;
    let mut chosen = None;
    for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        chosen = Some((i, (rank - wide(below)) / float(*count)));
        below += u128::from(*count);
        if wide(below) >= rank {
            break;
        }
    }
    let (i, share) = chosen?;
    let lower = match i.checked_sub(1) {
        Some(i) => *bounds.get(i)?,
        None => f64::NEG_INFINITY,
    };
    let upper = bounds.get(i).copied().unwrap_or(f64::INFINITY);
    let (mut lower, upper) = within.narrow((lower, upper));
    if lower == f64::NEG_INFINITY && upper > 0.0 && upper.is_finite() && !bounds.is_empty() {
        lower = 0.0;
    }
    match (lower.is_finite(), upper.is_finite()) {
        (true, true) => Some(between(lower, upper, share)),
        // One bucket over everything, of which one end is known, is not known.
        (true, false) | (false, true) if bounds.is_empty() => None,
        (true, false) => Some(lower),
        (false, true) => Some(upper),
        (false, false) => bounds.iter().rev().find(|b| b.is_finite()).copied(),
    }
}

/// Exponential buckets with the zero bucket between its negative and its positive ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exponential<'a> {
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) zero_threshold: f64,
    pub(super) positive: ExpBucketsView<'a>,
    pub(super) negative: ExpBucketsView<'a>,
}

/// One bucket of either side by its index, or the zero bucket.
#[derive(Clone, Copy, Debug)]
enum Place {
    Negative(i64),
    Zero,
    Positive(i64),
}

impl Exponential<'_> {
    /// The `q` quantile; `None` without observations. Linear within the zero bucket, which begins or
    /// ends at zero when nothing lies on that side of it; logarithmic within the others.
    pub(super) fn quantile(&self, q: f64, within: Range) -> Option<f64> {
        let total: u128 = self.ascending().map(|(_, count)| u128::from(count)).sum();
        // Counted from the nearer end, as Prometheus does: a rank on the border of two buckets
        // belongs to the outer one.
        let from_below = q < 0.5;
        let rank = if from_below { q } else { 1.0 - q } * wide(total);
        let mut below: u128 = 0;
        let mut chosen = None;
        for (place, count) in self.ascending().filter(|(_, count)| *count > 0) {
            let before = wide(below);
            below += u128::from(count);
            let above = wide(total.saturating_sub(below));
            let into = if from_below { rank - before } else { above + float(count) - rank };
            chosen = Some((place, into / float(count)));
            if if from_below { wide(below) >= rank } else { above < rank } {
                break;
            }
        }
        let (place, share) = chosen?;
        let share = share.clamp(0.0, 1.0);
        let (lower, upper) = within.narrow(self.edges(place));
        Some(match place {
            Place::Zero => between(lower, upper, share),
            Place::Positive(_) => logarithmic(lower, upper, share),
            Place::Negative(_) => -logarithmic(-upper, -lower, 1.0 - share),
        })
    }

    fn ascending(&self) -> impl Iterator<Item = (Place, u64)> {
        let index = |side: ExpBucketsView<'_>, i: usize| {
            i64::from(side.offset).saturating_add(i64::try_from(i).unwrap_or(i64::MAX))
        };
        let (positive, negative) = (self.positive, self.negative);
        let down = negative.counts.iter().enumerate().rev();
        let up = positive.counts.iter().enumerate();
        down.map(move |(i, count)| (Place::Negative(index(negative, i)), *count))
            .chain([(Place::Zero, self.zero_count)])
            .chain(up.map(move |(i, count)| (Place::Positive(index(positive, i)), *count)))
    }

    fn edges(&self, place: Place) -> (f64, f64) {
        match place {
            Place::Positive(i) => self.magnitudes(i),
            Place::Negative(i) => {
                let (least, greatest) = self.magnitudes(i);
                (-greatest, -least)
            }
            Place::Zero => {
                let width = if self.zero_threshold.is_finite() { self.zero_threshold.max(0.0) } else { 0.0 };
                let is_used = |side: ExpBucketsView<'_>| side.counts.iter().any(|c| *c > 0);
                match (is_used(self.negative), is_used(self.positive)) {
                    (false, true) => (0.0, width),
                    (true, false) => (-width, 0.0),
                    (true, true) | (false, false) => (-width, width),
                }
            }
        }
    }

    /// The edges of bucket `i` of the positive side, within what a float can hold.
    fn magnitudes(&self, i: i64) -> (f64, f64) {
        (bound(self.scale, i), bound(self.scale, i.saturating_add(1)))
    }
}

/// The lower bound of bucket `index`: `2^(index * 2^-scale)`, at least the least and at most the
/// greatest finite number above zero.
pub(super) fn bound(scale: i32, index: i64) -> f64 {
    log2_bound(scale, index).clamp(LOG2_RANGE.0, LOG2_RANGE.1).exp2().min(f64::MAX)
}

/// The binary logarithm of the lower bound of bucket `index`, whether or not a float can hold it.
#[expect(clippy::cast_precision_loss, reason = "indices have 33 bits")]
pub(super) fn log2_bound(scale: i32, index: i64) -> f64 {
    index as f64 * f64::from(-scale.clamp(-1_000, 1_000)).exp2()
}

fn logarithmic(lower: f64, upper: f64, share: f64) -> f64 {
    let (low, high) = (lower.log2(), upper.log2());
    (low + (high - low) * share).exp2().max(lower).min(upper)
}

fn between(lower: f64, upper: f64, share: f64) -> f64 {
    let share = share.clamp(0.0, 1.0);
    let width = upper - lower;
    // Edges near both ends of the range of floats are further apart than a float can say.
    let value = if width.is_finite() { lower + width * share } else { lower * (1.0 - share) + upper * share };
    value.max(lower).min(upper)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate within a bucket needs no 16th digit")]
fn wide(count: u128) -> f64 {
    count as f64
}

/// A count as a number; exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53, and near enough above")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
#[path = "quantile/tests.rs"]
mod tests;
