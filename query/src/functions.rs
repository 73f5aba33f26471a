//! Functions of one window and of one value.

use std::time::Duration;

use window::{Rollup, Sample, UnixNanos};

use crate::{
    numbers::{self, CompensatedSum, Mean},
    plan::WindowFunction,
    rate::{self, Change},
};

/// The value of `function` for the samples of one series; `None` when there are too few.
pub(crate) fn over_window(
    function: WindowFunction,
    samples: &[Sample],
    bounds: (UnixNanos, UnixNanos),
    range: Duration,
) -> Option<f64> {
    let (first, others) = samples.split_first()?;
    let values = || others.iter().map(|s| s.value);
    Some(match function {
        WindowFunction::Rate => return rate::extrapolated(Change::Rate, samples, bounds, range),
        WindowFunction::Increase => return rate::extrapolated(Change::Increase, samples, bounds, range),
        WindowFunction::Delta => return rate::extrapolated(Change::Delta, samples, bounds, range),
        WindowFunction::Irate => return rate::instant(true, samples),
        WindowFunction::Idelta => return rate::instant(false, samples),
        WindowFunction::Avg => {
            let mut mean = Mean::starting_with(first.value);
            values().for_each(|v| mean.push(v));
            mean.value()
        }
        WindowFunction::Sum => {
            let zero = CompensatedSum::starting_with(0.0).plus(first.value);
            values().fold(zero, CompensatedSum::plus).total()
        }
        WindowFunction::Min => values().fold(first.value, lesser),
        WindowFunction::Max => values().fold(first.value, greater),
        WindowFunction::Count => count(samples.len()),
        WindowFunction::Last => samples.last().map_or(first.value, |s| s.value),
    })
}

/// The value of `function`, which asks for statistics only, for rollups and the samples after them.
pub(crate) fn over_past(function: WindowFunction, rollups: &[Rollup], samples: &[Sample]) -> Option<f64> {
    let sum = || {
        let zero = CompensatedSum::starting_with(0.0);
        let past = rollups.iter().fold(zero, |sum, r| sum.plus(r.total()));
        samples.iter().fold(past, |sum, s| sum.plus(s.value)).total()
    };
    let past = rollups.iter().fold(0_u64, |sum, r| sum.saturating_add(r.count));
    let all = usize::try_from(past).unwrap_or(usize::MAX).saturating_add(samples.len());
    let values = || samples.iter().map(|s| s.value);
    if all == 0 {
        return None;
    }
    Some(match function {
        WindowFunction::Avg => sum() / count(all),
        WindowFunction::Sum => sum(),
        WindowFunction::Min => rollups.iter().map(|r| r.min).chain(values()).reduce(lesser)?,
        WindowFunction::Max => rollups.iter().map(|r| r.max).chain(values()).reduce(greater)?,
        WindowFunction::Count => count(all),
        WindowFunction::Rate
        | WindowFunction::Increase
        | WindowFunction::Delta
        | WindowFunction::Irate
        | WindowFunction::Idelta
        | WindowFunction::Last => return None,
    })
}

/// The lesser of the best so far and `x`; NaN only when there is nothing else.
pub(crate) fn lesser(best: f64, x: f64) -> f64 {
    if x < best || best.is_nan() { x } else { best }
}

/// The greater of the best so far and `x`; NaN only when there is nothing else.
pub(crate) fn greater(best: f64, x: f64) -> f64 {
    if x > best || best.is_nan() { x } else { best }
}

/// The limits are inclusive; NaN, as the value or as the limit, stays NaN.
pub(crate) fn clamp_min(x: f64, min: f64) -> f64 {
    numbers::max(min, numbers::min(f64::INFINITY, x))
}

/// See [`clamp_min`].
pub(crate) fn clamp_max(x: f64, max: f64) -> f64 {
    numbers::max(f64::NEG_INFINITY, numbers::min(max, x))
}

/// The multiple of `nearest` next to `x`; the upper one of two.
pub(crate) fn round(x: f64, nearest: f64) -> f64 {
    // Prometheus multiplies by the inverse because it loses fewer digits for steps like 0.1.
    let inverse = 1.0 / nearest;
    (x * inverse + 0.5).floor() / inverse
}

/// A number of things as a value.
#[expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^53")]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}
