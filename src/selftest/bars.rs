//! What must hold, as measured with seed 1: a change that makes detection worse does not pass unseen.
//!
//! A bar is what was measured, less a little where chance has a part. Where a bar is 0, detection is blind, and
//! everybody can see it in the table. Raise them when detection gets better.

use super::signals::{Base, Signal};

/// Of three sizes, how many must be found: in a young series, in a settled one.
pub(super) fn found(signal: Signal, base: Base) -> [usize; 2] {
    match (signal, base) {
        // A burst may already have opened the anomaly of a young series.
        (Signal::Spike, Base::Bursty) => [2, 3],
        // The smallest stays within what the day does anyway.
        (Signal::Drop, Base::Seasonal) => [3, 2],
        (Signal::Ramp, Base::Flat) => [2, 3],
        (Signal::Ramp, Base::Seasonal) => [1, 2],
        (Signal::Variance, Base::Flat | Base::Bursty) => [2, 3],
        // Nobody can know a season, or how metrics go together, in a series' first day.
        (Signal::Season, _) => [0, 3],
        // Each of ten metrics by four deviations is not enough.
        (Signal::Joint, _) => [0, 2],
        _ => [3, 3],
    }
}

/// False alarms a series-day at most.
pub(super) fn false_alarms(base: Base) -> f64 {
    match base {
        Base::Flat => 0.0,
        Base::Noisy => 0.2,
        Base::Seasonal => 0.02,
        Base::Bursty => 2.0,
    }
}

/// Area under the curve at least, by detector.
pub(super) const AREAS: [(&str, f64); 3] = [("z-score", 0.92), ("novelty", 0.90), ("entity", 0.57)];
/// Share of directions that must be right.
pub(super) const RIGHT: f64 = 0.98;
