//! Sums made comparable: running totals for PromQL, per-second rates for detectors.
//!
//! Rules of the OpenTelemetry metrics data model: a cumulative sum that starts anew counts from
//! zero; one that falls without saying so has started anew all the same; a first point of unknown
//! start contributes nothing; a delta is a change over its own interval.

use serde::{Deserialize, Serialize};
use window::{Temporality, UnixNanos};

/// State of one sum.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sum {
    seen: bool,
    time: UnixNanos,
    value: f64,
    total: f64,
}

/// What one point of a sum amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Advance {
    /// The total to show to PromQL: the value itself, or the sum of the deltas so far.
    pub(crate) total: f64,
    /// Change per second over the interval that the point covers; `None` where that is unknown.
    pub(crate) rate: Option<f64>,
}

impl Sum {
    /// Takes the next point, later than all before it.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        temporality: Temporality,
        start: Option<UnixNanos>,
        time: UnixNanos,
        value: f64,
    ) -> Advance {
        let before = *self;
        let advance = match temporality {
            Temporality::Cumulative => Advance { total: value, rate: cumulative_rate(&before, start, time, value) },
            Temporality::Delta => {
                Advance { total: before.total + value, rate: delta_rate(&before, start, time, value) }
            }
        };
        *self = Self { seen: true, time, value, total: advance.total };
        advance
    }
}

fn cumulative_rate(before: &Sum, start: Option<UnixNanos>, time: UnixNanos, value: f64) -> Option<f64> {
    if !before.seen {
        return None;
    }
    let restarted = start.is_some_and(|s| s > before.time) || value < before.value;
    if !restarted {
        return per_second(value - before.value, before.time, time);
    }
    match start {
        // The new count began at a known time after the last point.
        Some(s) if s > before.time && s < time => per_second(value, s, time),
        // Start equal to the point's own time means that nobody knows when the count began.
        Some(s) if s == time => None,
        _ => per_second(value, before.time, time),
    }
}

fn delta_rate(before: &Sum, start: Option<UnixNanos>, time: UnixNanos, value: f64) -> Option<f64> {
    match start {
        Some(s) if s < time => per_second(value, s, time),
        _ if before.seen => per_second(value, before.time, time),
        _ => None,
    }
}

fn per_second(change: f64, from: UnixNanos, until: UnixNanos) -> Option<f64> {
    let seconds = until.since(from).as_secs_f64();
    let rate = change / seconds;
    (seconds > 0.0 && rate.is_finite()).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points are (start, time, value) in seconds; the answer is the rates.
    fn rates(temporality: Temporality, points: &[(Option<i64>, i64, f64)]) -> Vec<Option<f64>> {
        let mut sum = Sum::default();
        let at = |s: i64| UnixNanos(s * 1_000_000_000);
        points.iter().map(|(s, t, v)| sum.advance(temporality, s.map(at), at(*t), *v).rate).collect()
    }

    #[test]
    fn a_cumulative_sum_gives_its_slope() {
        let got = rates(Temporality::Cumulative, &[(Some(0), 10, 100.0), (Some(0), 20, 150.0), (Some(0), 30, 150.0)]);
        assert_eq!(got, [None, Some(5.0), Some(0.0)]);
    }

    #[test]
    fn a_restart_counts_from_its_start() {
        let got = rates(Temporality::Cumulative, &[(Some(0), 10, 100.0), (Some(15), 20, 50.0)]);
        assert_eq!(got, [None, Some(10.0)]);
    }

    #[test]
    fn a_fall_without_a_new_start_is_a_restart_too_and_never_negative() {
        let got = rates(Temporality::Cumulative, &[(None, 10, 100.0), (None, 20, 30.0)]);
        assert_eq!(got, [None, Some(3.0)]);
    }

    #[test]
    fn a_restart_of_unknown_start_contributes_nothing() {
        let got = rates(Temporality::Cumulative, &[(Some(0), 10, 100.0), (Some(20), 20, 7.0), (Some(20), 30, 17.0)]);
        assert_eq!(got, [None, None, Some(1.0)]);
    }

    #[test]
    fn deltas_are_changes_over_their_own_interval_and_add_up() {
        let got = rates(Temporality::Delta, &[(Some(0), 10, 20.0), (Some(10), 20, 0.0), (None, 30, 5.0)]);
        assert_eq!(got, [Some(2.0), Some(0.0), Some(0.5)]);
        let mut sum = Sum::default();
        let mut total = |t, v| sum.advance(Temporality::Delta, None, UnixNanos(t), v).total;
        let totals = [total(1, 2.0), total(2, 3.0)];
        assert!((totals[0] - 2.0).abs() < 1e-12 && (totals[1] - 5.0).abs() < 1e-12, "{totals:?}");
    }
}
