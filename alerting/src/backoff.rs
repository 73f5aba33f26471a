//! How long to wait before the next attempt.
//!
//! Full jitter rather than a fixed ladder: after an outage the notifications of many senders would
//! otherwise arrive at the recovering receiver in step.

use std::time::Duration;

/// Exponential back-off with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait after the first failure. Default 1 s; above zero.
    pub start: Duration,
    /// Longest wait after any failure. Default 5 min; at least `start`.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { start: Duration::from_secs(1), cap: Duration::from_mins(5) }
    }
}

impl Backoff {
    /// The longest wait after `failures` failures in a row: `start`, doubled for each further one, at
    /// most `cap`.
    #[must_use]
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.start.saturating_mul(factor).min(self.cap)
    }

    /// The wait itself: `fraction`, drawn from [0, 1], of the ceiling. Outside of it or NaN counts
    /// as 1.
    #[must_use]
    pub fn wait(&self, failures: u32, fraction: f64) -> Duration {
        let fraction = if (0.0..=1.0).contains(&fraction) { fraction } else { 1.0 };
        self.ceiling(failures).mul_f64(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_never_overflows() {
        let backoff = Backoff::default();
        let seconds = |failures| backoff.ceiling(failures).as_secs();
        assert_eq!([1, 2, 3, 9, 10].map(seconds), [1, 2, 4, 256, 300]);
        assert_eq!([0, 33, u32::MAX].map(seconds), [1, 300, 300]);
    }

    #[test]
    fn the_wait_is_the_drawn_share_of_the_ceiling() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait(3, 0.25), Duration::from_secs(1));
        assert_eq!(backoff.wait(3, 0.0), Duration::ZERO);
        assert_eq!(backoff.wait(3, f64::NAN), Duration::from_secs(4));
    }
}
