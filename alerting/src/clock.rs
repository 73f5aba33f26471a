//! Wall time. Notifications live by it: a receiver's `Retry-After` and a giving-up time mean hours
//! of the real world, however old the telemetry is.

use std::time::SystemTime;

use detect::UnixNanos;

/// Now; zero on a machine whose clock stands before 1970.
pub(crate) fn now() -> UnixNanos {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixNanos::default().plus(passed)
}
