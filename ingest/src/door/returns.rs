//! When those who are refused come again. Each alone could come as soon as there is room for one; thousands who were
//! told so would come together, again and again, and nearly all in vain. So it is counted who was told to come when, and
//! the more are still to come in terms of what can be taken, the longer the next ones are told to wait.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::refusal::{MEAN_WAIT, wait};

/// So many are to come for each request that is taken in the same time, those who were not told to among them: nobody
/// knows how many could be.
const PER_TAKEN: f64 = 2.0;
/// So many a second are told to in any case.
const FEW: f64 = 20.0;
/// What one second counts in means.
const NEWEST: f64 = 0.3;

/// All senders together.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// Requests that were taken since the start.
    taken: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The second that goes on.
    second: u64,
    /// How many were told to come in each second from then on.
    told: BTreeMap<u64, u32>,
    /// Requests that were taken before that second, and refused in it.
    taken: u64,
    refused: u32,
    /// About how many a second are taken, and how many come that were not told to.
    taken_per_second: f64,
    unasked_per_second: f64,
}

impl Returns {
    /// A request was taken.
    pub(super) fn note_taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// How long one more is told to wait at `now`, a time since the start: no less than `least`, as far as that is
    /// possible at all.
    pub(super) fn wait(&self, least: Duration, now: Duration) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.go_on(now.as_secs(), self.taken.load(Ordering::Relaxed));
        let coming = 1.0 + state.told.values().map(|count| f64::from(*count)).sum::<f64>();
        let mean = coming / (PER_TAKEN * state.taken_per_second - state.unasked_per_second).max(FEW);
        let wait = wait(least.max(Duration::from_secs_f64(mean / MEAN_WAIT)));
        let second = state.second.saturating_add(wait.as_secs());
        *state.told.entry(second).or_default() += 1;
        state.refused += 1;
        wait
    }
}

impl State {
    /// Forgets who has come by now, and looks at what was taken meanwhile.
    #[expect(clippy::cast_precision_loss, reason = "a mean of fewer than 2^52 requests")]
    fn go_on(&mut self, second: u64, taken: u64) {
        if second <= self.second {
            return;
        }
        let coming = self.told.split_off(&second);
        let told: f64 = std::mem::replace(&mut self.told, coming).into_values().map(f64::from).sum();
        let (passed, taken_since) = ((second - self.second) as f64, (taken - self.taken) as f64);
        let unasked = (taken_since + f64::from(self.refused) - told).max(0.0);
        let weight = 1.0 - (1.0 - NEWEST).powf(passed);
        self.taken_per_second += (taken_since / passed - self.taken_per_second) * weight;
        self.unasked_per_second += (unasked / passed - self.unasked_per_second) * weight;
        (self.second, self.taken, self.refused) = (second, taken, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::refusal::MAX_WAIT, *};

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// The mean of what `count` are told to wait at `now`, in seconds.
    fn mean(returns: &Returns, count: u32, now: Duration) -> f64 {
        (0..count).map(|_| returns.wait(Duration::ZERO, now).as_secs_f64()).sum::<f64>() / f64::from(count)
    }

    #[test]
    fn few_come_again_soon_and_many_late() {
        assert!((1.0..=4.0).contains(&mean(&Returns::default(), 1, at(5))));
        assert!((1.5..3.5).contains(&mean(&Returns::default(), 40, at(5))), "20 a second may come in any case");
        let many = Returns::default();
        mean(&many, 10_000, at(5));
        assert!((17.0..21.0).contains(&mean(&many, 1_000, at(5))));
        assert!((17.0..21.0).contains(&mean(&many, 1_000, at(9))));
        assert!((1.0..=4.0).contains(&mean(&many, 1, at(5 + 31 + 4))), "all have come by now");
        assert!(many.wait(at(8), at(100)) >= at(8));
    }

    #[test]
    fn the_more_are_taken_the_sooner() {
        let told = |taken_per_second: u64| {
            let returns = Returns::default();
            for second in 1..30 {
                (0..taken_per_second).for_each(|_| returns.note_taken());
                returns.wait(Duration::ZERO, at(second));
            }
            mean(&returns, 4_000, at(30))
        };
        assert!((1.5..3.5).contains(&told(2_000)), "{}", told(2_000));
        assert!((4.0..14.0).contains(&told(200)), "{}", told(200));
        assert!((16.0..21.0).contains(&told(0)), "{}", told(0));
    }

    #[test]
    fn who_obeys_comes_no_faster_than_can_be_borne() {
        // Ten thousand who were not heard for five minutes come within 15 s; a sixtieth of them can be taken each second.
        let (returns, mut random) = (Returns::default(), fastrand::Rng::with_seed(9));
        let mut due: BTreeMap<u64, u32> = BTreeMap::new();
        (0..10_000).for_each(|_| *due.entry(300 + random.u64(..15)).or_default() += 1);
        let (mut peak, mut attempts) = (0, 0);
        while let Some((second, count)) = due.pop_first() {
            (peak, attempts) = (peak.max(count), attempts + count);
            for _ in 0..count.min(60) {
                returns.note_taken();
            }
            for _ in 60..count {
                let wait = returns.wait(Duration::ZERO, at(second));
                *due.entry(second + wait.as_secs()).or_default() += 1;
            }
        }
        // 667 come each second at first. When all are told to wait for 1 to 4 s, 3,000 do, and 400,000 in all.
        assert!(peak <= 1_000 && attempts <= 100_000, "{peak} in one second, {attempts} in all");
    }

    #[test]
    fn a_clock_that_stands_still_or_jumps_does_no_harm() {
        let returns = Returns::default();
        for now in [at(7), at(3), Duration::ZERO, Duration::MAX, at(1), Duration::MAX] {
            assert!((1..=MAX_WAIT).contains(&returns.wait(Duration::MAX, now).as_secs()));
        }
    }
}
