//! The time of steps: the wall clock, as far as it is to be believed.
//!
//! Clocks are set: by hand, by a time service that finds them wrong, by a machine that wakes up. How long
//! nothing came, and what lies in the future, must not follow from that. So between two steps as much time
//! passes as the monotonic clock says, and a clock that was set is noticed by the difference. One that
//! was set forward is followed at once, and all that remembers a wall time is told by how much. One that was set
//! back is followed only when it has stayed behind for [`HOLD`]: until then time goes on as if nothing had
//! happened, because senders with sound clocks would be told that they are ahead of their time.

use std::time::{Duration, Instant};

use window::UnixNanos;

use crate::pipeline::now;

/// Differences up to this are those of a clock that is steered, and of a busy machine.
const TOLERANCE: Duration = Duration::from_secs(1);
/// How long a clock that was set back is taken for a mistake.
const HOLD: Duration = Duration::from_hours(1);

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Time of the step; never before that of the step before, unless the clock was `set` back.
    pub(super) now: UnixNanos,
    /// By how many nanoseconds the clock was found to be set, if it is followed there.
    pub(super) set: Option<i64>,
}

/// Time, step by step.
#[derive(Debug)]
pub(super) struct Clock {
    /// The last reading, and when it was.
    last: Option<(UnixNanos, Instant)>,
    /// Since when the wall clock has been behind.
    behind: Option<Instant>,
}

impl Clock {
    /// One of which nothing was read yet.
    pub(super) fn new() -> Self {
        Self { last: None, behind: None }
    }

    /// Goes on from `then`, the time of the last step that is known: what passed since is as much as the wall
    /// clock says, but not less than nothing.
    pub(super) fn goes_on(&mut self, then: UnixNanos) {
        self.goes_on_at(then, now(), Instant::now());
    }

    fn goes_on_at(&mut self, then: UnixNanos, wall: UnixNanos, at: Instant) {
        self.last = Some((then.max(wall), at));
    }

    /// The time of the next step.
    pub(super) fn read(&mut self) -> Reading {
        self.read_at(now(), Instant::now())
    }

    fn read_at(&mut self, wall: UnixNanos, at: Instant) -> Reading {
        let (last, then) = *self.last.get_or_insert((wall, at));
        let expected = last.plus(at.saturating_duration_since(then));
        let reading = if wall > expected.plus(TOLERANCE) {
            Reading { now: wall, set: Some(wall.0.saturating_sub(expected.0)) }
        } else if wall.plus(TOLERANCE) < expected {
            let since = *self.behind.get_or_insert(at);
            if at.saturating_duration_since(since) < HOLD {
                self.last = Some((expected, at));
                return Reading { now: expected, set: None };
            }
            Reading { now: wall, set: Some(wall.0.saturating_sub(expected.0)) }
        } else {
            // Small steps back are waited for.
            Reading { now: wall.max(last), set: None }
        };
        self.behind = None;
        self.last = Some((reading.now, at));
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600 * SECOND;
    const NOON: i64 = 1_800_000_000 * SECOND;

    /// Reads a clock at (seconds that have passed, nanoseconds that the wall clock is ahead of them).
    fn read(clock: &mut Clock, begin: Instant, passed: u64, ahead: i64) -> (i64, Option<i64>) {
        let real = NOON + i64::try_from(passed).expect("small") * SECOND;
        let at = begin + Duration::from_secs(passed);
        let Reading { now, set } = clock.read_at(UnixNanos(real + ahead), at);
        (now.0 - real, set)
    }

    #[test]
    fn a_clock_that_is_set_forward_is_followed_and_said_once() {
        let (mut clock, begin) = (Clock::new(), Instant::now());
        assert_eq!(read(&mut clock, begin, 0, 0), (0, None));
        assert_eq!(read(&mut clock, begin, 5, HOUR), (HOUR, Some(HOUR)));
        assert_eq!(read(&mut clock, begin, 6, HOUR), (HOUR, None));
    }

    #[test]
    fn a_clock_that_is_set_back_is_followed_when_it_stays_there() {
        let (mut clock, begin) = (Clock::new(), Instant::now());
        assert_eq!(read(&mut clock, begin, 0, 0), (0, None));
        for passed in [1, 2, 3_000, 3_600] {
            assert_eq!(read(&mut clock, begin, passed, -HOUR), (0, None), "{passed}");
        }
        assert_eq!(read(&mut clock, begin, 3_601, -HOUR), (-HOUR, Some(-HOUR)));
        assert_eq!(read(&mut clock, begin, 3_602, -HOUR), (-HOUR, None));
    }

    #[test]
    fn a_clock_that_comes_and_goes_changes_nothing_after_its_first_jump() {
        let (mut clock, begin) = (Clock::new(), Instant::now());
        let ten = 10 * SECOND;
        assert_eq!(read(&mut clock, begin, 0, 0), (0, None));
        assert_eq!(read(&mut clock, begin, 1, ten), (ten, Some(ten)));
        for passed in 1..4_000 {
            let ahead = [-ten, ten][usize::from(passed % 2 == 0)];
            assert_eq!(read(&mut clock, begin, passed, ahead), (ten, None), "{passed}");
        }
    }

    #[test]
    fn a_clock_that_is_steered_never_goes_back() {
        let (mut clock, begin) = (Clock::new(), Instant::now());
        assert_eq!(read(&mut clock, begin, 0, 0), (0, None));
        assert_eq!(read(&mut clock, begin, 1, SECOND / 2), (SECOND / 2, None));
        assert_eq!(read(&mut clock, begin, 1, -SECOND / 4), (SECOND / 2, None), "it stands");
        assert_eq!(read(&mut clock, begin, 2, -SECOND / 4), (-SECOND / 4, None), "and goes on");
    }

    #[test]
    fn a_start_goes_on_from_the_last_step() {
        for (ahead, goes_on) in [(HOUR, HOUR), (-HOUR, 0)] {
            let (mut clock, begin) = (Clock::new(), Instant::now());
            clock.goes_on_at(UnixNanos(NOON), UnixNanos(NOON + ahead), begin);
            assert_eq!(read(&mut clock, begin, 0, ahead), (goes_on, None));
            assert_eq!(read(&mut clock, begin, 1, ahead), (goes_on, None));
        }
    }
}
