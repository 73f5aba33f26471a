//! Time as telemetry states it: nanoseconds since the Unix epoch.
//!
//! A newtype keeps event time from being mixed with durations or with seconds, which is how
//! detectors come to judge the wrong bucket.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

const NANOS_PER_SEC: f64 = 1e9;

/// A point in event time: nanoseconds since 1970-01-01T00:00:00Z.
///
/// Arithmetic saturates, because the numbers come from the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// The earliest representable time; older than everything.
    pub const MIN: Self = Self(i64::MIN);
    /// After everything.
    pub const MAX: Self = Self(i64::MAX);

    /// From OTLP's unsigned nanoseconds; `None` beyond the year 2262, where `i64` ends.
    #[must_use]
    pub fn from_unsigned(nanos: u64) -> Option<Self> {
        i64::try_from(nanos).ok().map(Self)
    }

    /// From seconds since the epoch, saturating at the ends of the range; NaN becomes 0.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, as documented")]
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * NANOS_PER_SEC) as i64)
    }

    /// Seconds since the epoch.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sub-microsecond error is below every use")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC
    }

    /// The time `d` later, saturating.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(nanos_of(d)))
    }

    /// The time `d` earlier, saturating.
    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(nanos_of(d)))
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The start of the bucket of `width` that holds this time, counted from the epoch.
    ///
    /// A zero width returns the time itself.
    #[must_use]
    pub fn floor_to(self, width: Duration) -> Self {
        match nanos_of(width) {
            0 => self,
            w => Self(self.0.saturating_sub(self.0.rem_euclid(w))),
        }
    }

    /// The first start of a bucket of `width` that is not before this time; a zero width returns the time
    /// itself.
    #[must_use]
    pub fn ceil_to(self, width: Duration) -> Self {
        let floor = self.floor_to(width);
        if floor == self { self } else { floor.plus(width) }
    }
}

fn nanos_of(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
}

impl fmt::Display for UnixNanos {
    /// Seconds since the epoch with three decimals; formats for people live at the edges.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_to_the_bucket_also_before_the_epoch() {
        let ten = Duration::from_secs(10);
        assert_eq!(UnixNanos(25_000_000_000).floor_to(ten), UnixNanos(20_000_000_000));
        assert_eq!(UnixNanos(-1).floor_to(ten), UnixNanos(-10_000_000_000));
        assert_eq!(UnixNanos(7).floor_to(Duration::ZERO), UnixNanos(7));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixNanos(i64::MAX).plus(Duration::from_secs(1)), UnixNanos(i64::MAX));
        assert_eq!(UnixNanos(1).since(UnixNanos(2)), Duration::ZERO);
        assert_eq!(UnixNanos::from_unsigned(u64::MAX), None);
    }
}
