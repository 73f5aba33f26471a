//! How much telemetry comes in per second, between two looks at the page.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// Looks closer together than this give the rate of the last longer pause.
const LEAST_PAUSE: Duration = Duration::from_secs(2);

/// Remembers the last look. The doors count totals only, and the page is the only one that wants a rate.
#[derive(Debug)]
pub(crate) struct IntakeRate {
    last: Mutex<Look>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    total: u64,
    per_second: f64,
}

impl Default for IntakeRate {
    fn default() -> Self {
        Self { last: Mutex::new(Look { at: Instant::now(), total: 0, per_second: 0.0 }) }
    }
}

impl IntakeRate {
    /// Items per second since the last look (or the start), given `total` items since the start.
    pub(crate) fn per_second(&self, total: u64) -> f64 {
        // A look cannot leave the memory in disorder, so a poisoned lock is as good as any.
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = last.next(total, last.at.elapsed());
        last.per_second
    }
}

impl Look {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn next(self, total: u64, elapsed: Duration) -> Self {
        if elapsed < LEAST_PAUSE {
            return self;
        }
        let per_second = total.saturating_sub(self.total) as f64 / elapsed.as_secs_f64();
        Self { at: self.at + elapsed, total, per_second }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_pause_that_was_long_enough() {
        let start = Look { at: Instant::now(), total: 0, per_second: 0.0 };
        let later = start.next(100, Duration::from_secs(4));
        assert!((later.per_second - 25.0).abs() < 1e-9);
        let soon = later.next(500, Duration::from_millis(300));
        assert!((soon.per_second - 25.0).abs() < 1e-9);
        assert!((soon.next(500, Duration::from_secs(2)).per_second - 200.0).abs() < 1e-9);
    }
}
