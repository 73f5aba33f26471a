//! Wall time. Notifications live by it: a receiver's `Retry-After` and a giving-up time mean hours
//! of the real world, however old the telemetry is.

use std::time::SystemTime;

use detect::UnixNanos;

/// Now; zero on a machine whose clock stands before 1970.
pub(crate) fn now() -> UnixNanos {
    #[cfg(test)]
    if let Some(set) = SET.get() {
        return set;
    }
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixNanos::default().plus(passed)
}

#[cfg(test)]
thread_local! {
    static SET: std::cell::Cell<Option<UnixNanos>> = const { std::cell::Cell::new(None) };
}

/// From now on it is `time`, for the test that runs on this thread.
#[cfg(test)]
pub(crate) fn set(time: UnixNanos) {
    SET.set(Some(time));
}
