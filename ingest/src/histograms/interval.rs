//! What the observations of one interval say.

use window::BucketsView;

use super::quantile;

/// Fewer observations than this say nothing about a mean or a median.
const MIN_OBSERVATIONS: u64 = 5;
/// Fewer say nothing about the 95th percentile.
const MIN_FOR_TAIL: u64 = 20;
/// The 99th percentile of fewer is only the greatest.
const MIN_FOR_FAR_TAIL: u64 = 50;

/// The observations of one series over one interval of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval<'a> {
    /// Length; above zero.
    pub seconds: f64,
    /// Observations.
    pub count: u64,
    /// Their sum, where it was sent; not finite if the sender's is not.
    pub sum: Option<f64>,
    /// The least of exactly these observations, where it is known.
    pub min: Option<f64>,
    /// The greatest of exactly these observations, where it is known.
    pub max: Option<f64>,
    /// How they are spread; `Ended` where that is unknown, as when the bounds have changed.
    pub(super) buckets: BucketsView<'a>,
}

/// The numbers that are published of an interval; each is finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Derived {
    /// Observations per second.
    pub rate: f64,
    /// Mean observation.
    pub mean: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

impl Interval<'_> {
    /// Observations per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        quantile::float(self.count) / self.seconds
    }

    /// The mean observation; `None` for fewer than 5, or without a finite sum.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let mean = self.sum? / quantile::float(self.count);
        (self.count >= MIN_OBSERVATIONS && mean.is_finite()).then_some(mean)
    }

    /// The value below which the share `q` of the observations lies, estimated within the bucket as
    /// Prometheus does: linearly in explicit buckets, on a logarithmic scale in exponential ones.
    /// Where the least and the greatest observation are known, they bound the buckets at the ends.
    ///
    /// `None` for `q` outside of 0 to 1, without buckets, for buckets without a finite bound, and
    /// for too few observations: 5 are needed for the middle half, 20 up to 0.95, 50 beyond. Finite,
    /// and never decreasing in `q`.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if !(0.0..=1.0).contains(&q) || self.count < least_observations(q) {
            return None;
        }
        let within = quantile::Range::new(self.min, self.max);
        let value = match self.buckets {
            BucketsView::Explicit { bounds, counts } => quantile::explicit(q, bounds, counts, within),
            BucketsView::Exponential { scale, zero_count, zero_threshold, positive, negative } => {
                quantile::Exponential { scale, zero_count, zero_threshold, positive, negative }.quantile(q, within)
            }
            BucketsView::Ended => None,
        };
        value.filter(|v| v.is_finite())
    }

    /// All numbers that are published.
    #[must_use]
    pub fn derived(&self) -> Derived {
        Derived {
            rate: self.rate(),
            mean: self.mean(),
            p50: self.quantile(0.5),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
        }
    }
}

fn least_observations(q: f64) -> u64 {
    let tail = q.min(1.0 - q);
    if tail >= 0.25 {
        MIN_OBSERVATIONS
    } else if tail >= 0.05 {
        MIN_FOR_TAIL
    } else {
        MIN_FOR_FAR_TAIL
    }
}
