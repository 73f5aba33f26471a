//! What is kept of the points of one series in one bucket of time.

use std::{sync::Arc, time::Duration};

use crate::{Sample, Series, UnixNanos, is_stale};

/// The width of a rollup's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// Five minutes.
    FiveMinutes,
    /// One hour.
    Hour,
}

impl Resolution {
    /// Both, the finer one first.
    pub const ALL: [Self; 2] = [Self::FiveMinutes, Self::Hour];

    /// How long a bucket is.
    #[must_use]
    pub fn width(self) -> Duration {
        match self {
            Self::FiveMinutes => Duration::from_mins(5),
            Self::Hour => Duration::from_hours(1),
        }
    }

    /// `5m` or `1h`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
        }
    }

    /// The end of the bucket that holds `time`: buckets are open at their start and closed at their
    /// end, as PromQL's ranges are, so that a range of whole buckets is answered exactly.
    #[must_use]
    pub fn bucket_end(self, time: UnixNanos) -> UnixNanos {
        let before = UnixNanos(time.0.saturating_sub(1));
        before.floor_to(self.width()).plus(self.width())
    }
}

/// The points of one series in one bucket, or a part of them: parts add up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rollup {
    /// Points that are not staleness markers.
    pub count: u64,
    /// Their sum, compensated; parts that are added in another order may differ in the last digit.
    pub sum: f64,
    /// The least value; NaN when there is nothing else.
    pub min: f64,
    /// The greatest value; NaN when there is nothing else.
    pub max: f64,
    /// The newest value; NaN when `count` is 0.
    pub last: f64,
    /// Event time of the newest value; of the staleness marker when `count` is 0.
    pub last_time: UnixNanos,
    /// Event time of the newest staleness marker.
    pub ended: Option<UnixNanos>,
    /// What the additions to `sum` have lost.
    lost: f64,
}

impl Rollup {
    /// Of one point.
    #[must_use]
    pub fn of(Sample { time, value }: Sample) -> Self {
        let empty = Self {
            count: 0,
            sum: 0.0,
            min: f64::NAN,
            max: f64::NAN,
            last: f64::NAN,
            last_time: time,
            ended: None,
            lost: 0.0,
        };
        if is_stale(value) {
            return Self { ended: Some(time), ..empty };
        }
        Self { count: 1, sum: value, min: value, max: value, last: value, ..empty }
    }

    /// As it was written down; `None` for what no points can give.
    pub(super) fn read(
        count: u64,
        [sum, min, max, last]: [f64; 4],
        last_time: UnixNanos,
        ended: Option<UnixNanos>,
    ) -> Option<Self> {
        let this = Self { count, sum, min, max, last, last_time, ended, lost: 0.0 };
        (count > 0 || ended.is_some()).then_some(this)
    }

    /// Adds another part of the same bucket.
    pub fn add(&mut self, other: &Self) {
        self.ended = self.ended.max(other.ended);
        if other.count == 0 {
            if self.count == 0 {
                self.last_time = self.last_time.max(other.last_time);
            }
            return;
        }
        if self.count == 0 || other.last_time > self.last_time {
            (self.last, self.last_time) = (other.last, other.last_time);
        }
        self.count = self.count.saturating_add(other.count);
        self.add_sum(other.sum, other.lost);
        // A comparison with NaN is false, so that NaN stays only where there is nothing else.
        if other.min < self.min || self.min.is_nan() {
            self.min = other.min;
        }
        if other.max > self.max || self.max.is_nan() {
            self.max = other.max;
        }
    }

    /// Neumaier's sum.
    fn add_sum(&mut self, x: f64, lost: f64) {
        let total = self.sum + x;
        if total.is_finite() {
            let error = if self.sum.abs() >= x.abs() { (self.sum - total) + x } else { (x - total) + self.sum };
            self.lost += error + lost;
        } else {
            self.lost = 0.0;
        }
        self.sum = total;
    }

    /// The sum with what its additions have lost.
    #[must_use]
    pub fn total(&self) -> f64 {
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }

    /// Whether the series ended here, and nothing came after it.
    #[must_use]
    pub fn end(&self) -> Option<UnixNanos> {
        self.ended.filter(|ended| self.count == 0 || *ended > self.last_time)
    }
}

/// A rollup with its series and its bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct RollupRow {
    /// Whose points; identified by its key, since numbers of series are used again.
    pub series: Arc<Series>,
    /// The end of the bucket.
    pub end: UnixNanos,
    /// What is kept of the points.
    pub rollup: Rollup,
}

impl RollupRow {
    /// Rows stand in files in this order, so that those of one name lie together.
    #[must_use]
    pub fn place(&self) -> (&str, u128, UnixNanos) {
        (&self.series.name, self.series.key.0, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STALE_NAN_BITS;

    fn of(points: &[(i64, f64)]) -> Rollup {
        let parts: Vec<Rollup> =
            points.iter().map(|(t, value)| Rollup::of(Sample { time: UnixNanos(*t), value: *value })).collect();
        let (first, others) = parts.split_first().expect("has points");
        let mut all = *first;
        others.iter().for_each(|part| all.add(part));
        all
    }

    #[test]
    fn parts_add_up_in_any_order() {
        for points in [[(1, 4.0), (2, 2.0), (3, 3.0)], [(3, 3.0), (1, 4.0), (2, 2.0)]] {
            let all = of(&points);
            assert_eq!((all.count, all.total(), all.min, all.max), (3, 9.0, 2.0, 4.0));
            assert_eq!((all.last, all.last_time, all.end()), (3.0, UnixNanos(3), None));
        }
        assert_eq!(of(&[(1, 1.0), (2, 1e100), (3, 1.0), (4, -1e100)]).total().to_bits(), 2.0_f64.to_bits());
    }

    #[test]
    fn a_marker_is_no_value_and_ends_only_what_is_older() {
        let stale = f64::from_bits(STALE_NAN_BITS);
        let ended = of(&[(1, 5.0), (2, stale)]);
        assert_eq!((ended.count, ended.last, ended.end()), (1, 5.0, Some(UnixNanos(2))));
        assert_eq!(of(&[(2, stale), (3, 5.0)]).end(), None);
        let only = of(&[(2, stale)]);
        assert_eq!((only.count, only.end()), (0, Some(UnixNanos(2))));
    }

    #[test]
    fn nan_and_infinity_are_values() {
        let some = of(&[(1, f64::NAN), (2, 2.0)]);
        assert_eq!((some.min, some.max, some.count), (2.0, 2.0, 2));
        assert!(some.total().is_nan() && of(&[(1, f64::NAN)]).min.is_nan());
        assert!(of(&[(1, f64::INFINITY), (2, 1.0)]).total().is_infinite());
    }

    #[test]
    fn buckets_are_open_at_their_start_and_closed_at_their_end() {
        let five = 300_000_000_000;
        let end = |t| Resolution::FiveMinutes.bucket_end(UnixNanos(t)).0;
        assert_eq!((end(0), end(1), end(five), end(five + 1)), (0, five, five, 2 * five));
        assert_eq!(end(-five + 1), 0);
    }
}
