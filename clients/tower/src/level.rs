//! The level that was heard last, and for how long it holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The names of levels 0 to 4.
pub const LEVELS: [&str; 5] = ["full-service", "non-critical-off", "cache-only", "read-only", "emergency-mode"];
/// How long the last known level holds when nothing is heard, unless said otherwise.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_mins(5);

/// The level that an application follows. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Followed(Arc<State>);

#[derive(Debug)]
struct State {
    began: Instant,
    max_age_millis: u64,
    /// Milliseconds from `began` to when the level was heard, times 8, plus the level: one word, so that a level is
    /// never seen with the time of another.
    heard: AtomicU64,
}

impl Default for Followed {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_AGE)
    }
}

impl Followed {
    /// Level 0, until something is heard. A level holds for `max_age` after it was heard or confirmed; then it is
    /// 0. No longer than half a billion years.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        let max_age_millis = millis(max_age);
        Self(Arc::new(State { began: Instant::now(), max_age_millis, heard: AtomicU64::new(0) }))
    }

    /// The level that holds now, 0 to 4.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level_at(Instant::now())
    }

    /// The level that holds at `now`, 0 to 4.
    #[must_use]
    pub fn level_at(&self, now: Instant) -> u8 {
        let heard = self.0.heard.load(Ordering::Relaxed);
        let level = (heard & 7) as u8;
        // No clock is needed to see that all is well, which is most of the time.
        if level == 0 || self.0.millis(now).saturating_sub(heard >> 3) > self.0.max_age_millis {
            return 0;
        }
        level
    }

    /// Takes a level that was heard at `now`; one above 4 counts as 4.
    pub fn set_at(&self, level: u8, now: Instant) {
        let word = (self.0.millis(now) << 3) | u64::from(level.min(4));
        self.0.heard.store(word, Ordering::Relaxed);
    }

    /// Notes that at `now` the level still stands: the feed is alive and says nothing new.
    pub fn confirm_at(&self, now: Instant) {
        let level = (self.0.heard.load(Ordering::Relaxed) & 7) as u8;
        self.set_at(level, now);
    }
}

impl State {
    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.began))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(u64::MAX >> 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_until_it_is_too_old_and_then_all_is_open() {
        let followed = Followed::new(Duration::from_secs(60));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(followed.level_at(after(0)), 0, "nothing was heard");
        followed.set_at(3, after(10));
        assert_eq!([10, 69, 72].map(|t| followed.level_at(after(t))), [3, 3, 0]);
        followed.confirm_at(after(69));
        assert_eq!([72, 128, 131].map(|t| followed.level_at(after(t))), [3, 3, 0]);
        followed.set_at(200, after(131));
        assert_eq!(followed.clone().level_at(after(131)), 4);
        followed.set_at(0, after(132));
        assert_eq!(followed.level_at(after(132)), 0);
    }
}
