//! How much work may be in flight: found out, not configured.
//!
//! The gradient of two averages, as Netflix's concurrency limits have it (`Gradient2Limit`): as long as
//! work takes about as long as it has taken for the last minutes, the limit creeps up; when it takes
//! longer, the limit shrinks in proportion, by at most a tenth per step. It knows no clock.

use std::time::Duration;

/// Bounds of the limit, in units of work.
const MIN_LIMIT: f64 = 20.0;
const MAX_LIMIT: f64 = 200.0;
/// How much longer than usual work may take before the limit shrinks.
const TOLERANCE: f64 = 1.5;
/// The part of a step's verdict that goes into the limit.
const SMOOTHING: f64 = 0.2;
/// Units that may wait while nothing is wrong: what the limit grows towards.
const QUEUE: f64 = 4.0;
/// No step takes away more than this, before smoothing.
const MIN_GRADIENT: f64 = 0.5;
/// Steps over which the long average forgets.
const LONG_STEPS: f64 = 600.0;
/// Steps at the beginning that are averaged evenly.
const WARM_UP: f64 = 10.0;
/// When the long average is so many times the short one, it comes from worse times and is let down.
const STALE_RATIO: f64 = 2.0;
const LET_DOWN: f64 = 0.95;

/// A step is made of what was answered in this time, if that is [`STEP_SAMPLES`] requests ...
const STEP_TIME: Duration = Duration::from_millis(100);
const STEP_SAMPLES: u32 = 10;
/// ... and of whatever was answered once this time is over.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// The limit and what it was learned from.
#[derive(Debug)]
pub(super) struct Gradient {
    limit: f64,
    /// Long average of seconds per unit, and the steps in it, up to [`WARM_UP`].
    long: f64,
    steps: f64,
    step: Step,
}

/// What was answered since the last step.
#[derive(Clone, Copy, Debug, Default)]
struct Step {
    began: Duration,
    samples: u32,
    seconds: f64,
    units: f64,
    in_flight: f64,
}

impl Gradient {
    /// Begins at the greatest limit: a service that has just started is idle, and a burst then is no
    /// overload. From there it is at the least within 25 steps.
    pub(super) fn new() -> Self {
        Self { limit: MAX_LIMIT, long: 0.0, steps: 0.0, step: Step::default() }
    }

    /// Units that may be in flight, 20 to 200.
    pub(super) fn limit(&self) -> f64 {
        self.limit
    }

    /// Notes that `units` of work were answered at `now` after `rtt`, with `in_flight` units in flight.
    pub(super) fn sample(&mut self, rtt: Duration, units: f64, in_flight: f64, now: Duration) {
        let step = &mut self.step;
        if step.samples == 0 {
            step.began = now;
        }
        step.samples += 1;
        step.seconds += rtt.as_secs_f64();
        step.units += units;
        step.in_flight = step.in_flight.max(in_flight);
        let lasted = now.saturating_sub(step.began);
        if lasted >= LONGEST_STEP || (lasted >= STEP_TIME && step.samples >= STEP_SAMPLES) {
            let step = std::mem::take(step);
            self.update(step.seconds / step.units, step.in_flight);
        }
    }

    /// One step: `short` is the seconds that a unit took lately.
    fn update(&mut self, short: f64, in_flight: f64) {
        if !(short.is_finite() && short > 0.0) {
            return;
        }
        self.steps += 1.0;
        let part = if self.steps <= WARM_UP { 1.0 / self.steps } else { 2.0 / (LONG_STEPS + 1.0) };
        self.long += (short - self.long) * part;
        if self.long > STALE_RATIO * short {
            self.long *= LET_DOWN;
        }
        // What was not asked for says nothing about what could be done.
        if in_flight < self.limit / 2.0 {
            return;
        }
        let gradient = (TOLERANCE * self.long / short).clamp(MIN_GRADIENT, 1.0);
        let wanted = self.limit * gradient + QUEUE;
        self.limit = (self.limit + (wanted - self.limit) * SMOOTHING).clamp(MIN_LIMIT, MAX_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `steps` steps of equal requests that take `millis` each while the service is full.
    fn run(gradient: &mut Gradient, steps: usize, millis: f64) {
        for _ in 0..steps {
            let full = gradient.limit();
            gradient.update(millis / 1e3, full);
        }
    }

    #[test]
    fn steady_work_lets_it_grow_to_the_greatest() {
        let mut gradient = Gradient { limit: MIN_LIMIT, ..Gradient::new() };
        run(&mut gradient, 1, 10.0);
        assert!((gradient.limit() - (MIN_LIMIT + QUEUE * SMOOTHING)).abs() < 1e-9);
        run(&mut gradient, 400, 10.0);
        assert!((gradient.limit() - MAX_LIMIT).abs() < 1e-9);
    }

    #[test]
    fn work_that_takes_twice_as_long_shrinks_it_and_recovery_lets_it_grow() {
        let mut gradient = Gradient::new();
        run(&mut gradient, 100, 10.0);
        run(&mut gradient, 20, 40.0);
        let shrunk = gradient.limit();
        assert!(shrunk < MAX_LIMIT / 3.0, "{shrunk}");
        run(&mut gradient, 250, 10.0);
        assert!(gradient.limit() > 0.95 * MAX_LIMIT, "{}", gradient.limit());
    }

    #[test]
    fn ten_per_cent_more_is_no_overload() {
        let mut gradient = Gradient::new();
        run(&mut gradient, 50, 10.0);
        run(&mut gradient, 200, 11.0);
        assert!((gradient.limit() - MAX_LIMIT).abs() < 1e-9);
    }

    #[test]
    fn a_service_that_is_not_full_learns_no_limit() {
        let mut gradient = Gradient { limit: 100.0, ..Gradient::new() };
        for millis in [10.0, 10.0, 500.0, 0.1] {
            gradient.update(millis / 1e3, 49.0);
        }
        assert!((gradient.limit() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn it_settles_and_never_leaves_its_bounds() {
        let mut gradient = Gradient::new();
        let mut random = fastrand::Rng::with_seed(7);
        // A service with 50 places: beyond them, work waits, so a unit takes in proportion longer.
        let mut settled = Vec::new();
        for step in 0..3_000 {
            let waiting = (gradient.limit() / 50.0).max(1.0);
            let noise = 0.95 + 0.1 * random.f64();
            let full = gradient.limit();
            gradient.update(0.01 * waiting * noise, full);
            assert!((MIN_LIMIT..=MAX_LIMIT).contains(&gradient.limit()));
            if step >= 2_000 {
                settled.push(gradient.limit());
            }
        }
        let mean = settled.iter().sum::<f64>() / 1_000.0;
        assert!(settled.iter().all(|l| (l / mean - 1.0).abs() < 0.2), "swings about {mean}");
        for strange in [0.0, f64::NAN, f64::INFINITY, -1.0, 1e-300, 1e300] {
            gradient.update(strange, 1e9);
            assert!((MIN_LIMIT..=MAX_LIMIT).contains(&gradient.limit()), "{strange}");
        }
    }

    #[test]
    fn a_large_request_counts_by_the_unit() {
        let (mut small, mut large) = (Gradient::new(), Gradient::new());
        for i in 0..200_u32 {
            let now = Duration::from_millis(20) * i;
            small.sample(Duration::from_millis(10), 1.0, 150.0, now);
            // From the half on, requests are fifty times as large and take fifty times as long.
            let units = if i < 100 { 1.0 } else { 50.0 };
            large.sample(Duration::from_millis(10).mul_f64(units), units, 150.0, now);
        }
        assert!((small.limit() - large.limit()).abs() < 1e-6, "{} {}", small.limit(), large.limit());
    }
}
