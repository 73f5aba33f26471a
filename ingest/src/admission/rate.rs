//! A rate: the generic cell rate algorithm of ATM (ITU-T I.371), which is a token bucket in
//! one number, the time at which the bucket will be full again.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// So much per second, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// In the long run, per second; at least 1.
    pub per_second: u64,
    /// At once, after a pause; at least 1. A single request over it is taken when nothing is owed, and
    /// owed for.
    pub burst: u64,
}

/// When all that was taken is paid for, in nanoseconds of the caller's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell(u64);

impl Cell {
    /// The cell after `count` more at `now`.
    ///
    /// # Errors
    /// The time after which so much will be taken.
    pub fn take(self, rate: Rate, count: u64, now: Duration) -> Result<Self, Duration> {
        let now = nanos(now);
        let begin = self.0.max(now);
        let full = begin.saturating_add(rate.time_of(count));
        let tolerance = rate.time_of(rate.burst);
        let wait = (full - now).saturating_sub(tolerance).min(begin - now);
        if wait == 0 { Ok(Self(full)) } else { Err(Duration::from_nanos(wait)) }
    }

    /// Whether nothing is owed at `now`, so that the cell is as good as a new one.
    #[must_use]
    pub fn is_idle(self, now: Duration) -> bool {
        self.0 <= nanos(now)
    }
}

impl Rate {
    /// Nanoseconds in which `count` come in.
    fn time_of(self, count: u64) -> u64 {
        let time = u128::from(count) * NANOS / u128::from(self.per_second.max(1));
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate { per_second: 10, burst: 5 };
        let mut cell = Cell::default();
        for _ in 0..5 {
            cell = cell.take(rate, 1, at(1_000)).expect("is within the burst");
        }
        assert_eq!(cell.take(rate, 1, at(1_000)), Err(at(100)));
        assert_eq!(cell.take(rate, 2, at(1_000)), Err(at(200)));
        assert!(cell.take(rate, 1, at(1_100)).is_ok());
        assert!(!cell.is_idle(at(1_499)) && cell.is_idle(at(1_500)));
    }

    #[test]
    fn more_than_the_burst_is_taken_when_nothing_is_owed_and_then_paid_for() {
        let rate = Rate { per_second: 10, burst: 5 };
        let cell = Cell::default().take(rate, 50, at(0)).expect("nothing is owed");
        assert_eq!(cell.take(rate, 1, at(0)), Err(at(4_600)));
        assert_eq!(cell.take(rate, 50, at(4_000)), Err(at(1_000)));
        assert!(cell.take(rate, 50, at(5_000)).is_ok());
    }

    #[test]
    fn a_thousand_tenants_get_what_an_ideal_bucket_gives() {
        let mut random = fastrand::Rng::with_seed(11);
        for tenant in 0..1_000 {
            let rate = Rate { per_second: random.u64(1..=5_000_000), burst: random.u64(1..=10_000_000) };
            let (mut cell, mut tokens, mut now) = (Cell::default(), as_f64(rate.burst), Duration::ZERO);
            let (mut taken, mut ideal) = (0.0, 0.0);
            for _ in 0..300 {
                let pause = random.f64() * 2.0 * as_f64(rate.burst) / as_f64(rate.per_second) / 10.0;
                let pause = Duration::from_secs_f64(pause);
                now += pause;
                tokens = (tokens + pause.as_secs_f64() * as_f64(rate.per_second)).min(as_f64(rate.burst));
                let count = random.u64(1..=rate.burst.div_ceil(4));
                if let Ok(next) = cell.take(rate, count, now) {
                    cell = next;
                    taken += as_f64(count);
                }
                if as_f64(count) <= tokens {
                    tokens -= as_f64(count);
                    ideal += as_f64(count);
                }
            }
            let slack = 0.01 * ideal;
            assert!((taken - ideal).abs() <= slack, "tenant {tenant}, {rate:?}: {taken} for {ideal}");
        }
    }

    #[test]
    fn extremes_neither_overflow_nor_shut_for_ever() {
        let slow = Rate { per_second: 1, burst: 1 };
        let owing = Cell::default().take(slow, u64::MAX, at(5)).expect("nothing is owed");
        assert!(owing.take(slow, u64::MAX, at(6)).is_err());
        let fast = Rate { per_second: u64::MAX, burst: u64::MAX };
        assert!(Cell::default().take(fast, u64::MAX, Duration::MAX).is_ok());
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn as_f64(n: u64) -> f64 {
        n as f64
    }
}
