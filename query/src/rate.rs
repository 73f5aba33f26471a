//! How fast a series changes: the functions that compare samples of one window with each other.

use std::time::Duration;

use window::{Climb, Sample, UnixNanos};

/// What the change of a window is extrapolated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A gauge: over the whole window.
    Delta,
    /// A counter: over the whole window, falls are resets.
    Increase,
    /// A counter: per second.
    Rate,
}

/// Samples tell about the time between the first and the last of them only; the result speaks of
/// the whole window. Where a sample is missing at an end, the series is taken to begin or end half
/// an interval outside of what was seen; a counter is not extended below zero. `None` for fewer
/// than two samples.
pub(crate) fn extrapolated(
    change: Change,
    samples: &[Sample],
    (start, end): (UnixNanos, UnixNanos),
    range: Duration,
) -> Option<f64> {
    let [first, .., last] = samples else { return None };
    let mut result = last.value - first.value;
    if change != Change::Delta {
        // After a reset the counter starts from zero: what it had before is part of the increase.
        let falls = samples.windows(2).filter(|w| w[1].value < w[0].value);
        falls.for_each(|w| result += w[0].value);
    }
    let ends = Climb { first: *first, last: *last, count: samples.len() };
    Some(extended(change, ends, result, (start, end), range))
}

/// The same of samples that never fall, by their ends.
pub(crate) fn of_climb(change: Change, ends: Climb, bounds: (UnixNanos, UnixNanos), range: Duration) -> Option<f64> {
    (ends.count > 1).then(|| extended(change, ends, ends.last.value - ends.first.value, bounds, range))
}

/// The change `result` between the ends of samples, as that of the whole window.
fn extended(
    change: Change,
    Climb { first, last, count }: Climb,
    result: f64,
    (start, end): (UnixNanos, UnixNanos),
    range: Duration,
) -> f64 {
    let is_counter = change != Change::Delta;
    let sampled = seconds(first.time, last.time);
    let average_gap = sampled / intervals(count);
    let threshold = average_gap * 1.1;
    let mut to_start = seconds(start, first.time);
    if to_start >= threshold {
        to_start = average_gap / 2.0;
    }
    if is_counter && result > 0.0 && first.value >= 0.0 {
        let to_zero = sampled * (first.value / result);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    let mut to_end = seconds(last.time, end);
    if to_end >= threshold {
        to_end = average_gap / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if change == Change::Rate {
        factor /= range.as_secs_f64();
    }
    result * factor
}

/// The change between the last two samples; per second, with resets, for a counter. `None` for
/// fewer than two samples.
pub(crate) fn instant(per_second_of_counter: bool, samples: &[Sample]) -> Option<f64> {
    let [.., before, last] = samples else { return None };
    if !per_second_of_counter {
        return Some(last.value - before.value);
    }
    let grown = if last.value < before.value { last.value } else { last.value - before.value };
    Some(grown / seconds(before.time, last.time))
}

/// Exact to the last bit for times that are whole milliseconds less than 100 days apart: then both
/// this quotient and that of milliseconds by 1,000 are the same number, rounded once.
#[expect(clippy::cast_precision_loss, reason = "windows are shorter than 2^53 ns in all but absurd queries")]
fn seconds(from: UnixNanos, to: UnixNanos) -> f64 {
    to.0.saturating_sub(from.0) as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "a window holds fewer than 2^53 samples")]
fn intervals(samples: usize) -> f64 {
    (samples - 1) as f64
}
