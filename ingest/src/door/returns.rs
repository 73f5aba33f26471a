//! When those who are refused come again. Each alone could come as soon as there is room for one; thousands who were
//! told so would come together, again and again, and nearly all in vain. So it is counted who was told to come when, and
//! the more are still to come in terms of what can be taken, the longer the next ones are told to wait. Each tenant's
//! senders are counted alone, so that nobody waits for those of others.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::refusal::{MEAN_WAIT, wait};
use crate::Tenant;

/// So many are to come for each request that is taken in the same time, those who were not told to among them: nobody
/// knows how many could be.
const PER_TAKEN: f64 = 2.0;
/// So many a second are told to in any case.
const FEW: f64 = 20.0;
/// What one second counts in means.
const NEWEST: f64 = 0.3;
/// Tenants whose senders are counted at the same time; those of further ones are counted together.
const MAX_TENANTS: usize = 1_000;

/// Those who were told to come again and are still to come.
#[derive(Debug, Default)]
pub(super) struct Returns {
    all: Mutex<All>,
    /// Whether there are any; mostly there are none.
    are_some: AtomicBool,
}

#[derive(Debug, Default)]
struct All {
    /// By tenant; those whose tenant is not known, or is one too many, are nobody's.
    senders: HashMap<Option<Tenant>, Senders>,
    /// The second in which was looked last for those that can be forgotten.
    swept: u64,
}

/// The senders of one tenant.
#[derive(Debug, Default)]
struct Senders {
    /// The second that goes on.
    second: u64,
    /// How many were told to come in each second from then on.
    told: BTreeMap<u64, u32>,
    /// Requests that were taken and refused in that second.
    taken: u32,
    refused: u32,
    /// About how many a second are taken, and how many come that were not told to.
    taken_per_second: f64,
    unasked_per_second: f64,
}

impl Returns {
    /// A request of `tenant` was taken at `now`, a time since the start.
    pub(super) fn note_taken(&self, tenant: &Tenant, now: impl FnOnce() -> Duration) {
        if !self.are_some.load(Ordering::Relaxed) {
            return;
        }
        let now = now().as_secs();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.sweep(now);
        if let Some(senders) = all.senders.get_mut(&Some(tenant.clone())) {
            senders.go_on(now);
            senders.taken = senders.taken.saturating_add(1);
        }
        self.are_some.store(!all.senders.is_empty(), Ordering::Relaxed);
    }

    /// How long one more of a tenant's senders is told to wait at `now`: no less than `least`, as far as that is possible
    /// at all.
    pub(super) fn wait(&self, tenant: Option<&Tenant>, least: Duration, now: Duration) -> Duration {
        let now = now.as_secs();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.sweep(now);
        self.are_some.store(true, Ordering::Relaxed);
        let tenant = tenant.cloned();
        let has_place = all.senders.len() < MAX_TENANTS || all.senders.contains_key(&tenant);
        all.senders.entry(tenant.filter(|_| has_place)).or_default().wait(least, now)
    }
}

impl All {
    /// Forgets, once a second, those of whom none is still to come.
    fn sweep(&mut self, now: u64) {
        if now > self.swept {
            self.swept = now;
            self.senders.retain(|_, senders| senders.told.last_key_value().is_some_and(|(last, _)| *last >= now));
        }
    }
}

impl Senders {
    fn wait(&mut self, least: Duration, now: u64) -> Duration {
        self.go_on(now);
        let coming = 1.0 + self.told.values().map(|count| f64::from(*count)).sum::<f64>();
        let mean = coming / (PER_TAKEN * self.taken_per_second - self.unasked_per_second).max(FEW);
        let wait = wait(least.max(Duration::from_secs_f64(mean / MEAN_WAIT)));
        let told = self.told.entry(self.second.saturating_add(wait.as_secs())).or_default();
        *told = told.saturating_add(1);
        self.refused = self.refused.saturating_add(1);
        wait
    }

    /// Forgets who has come by now, and looks at what was taken meanwhile.
    #[expect(clippy::cast_precision_loss, reason = "a mean over fewer than 2^52 seconds")]
    fn go_on(&mut self, now: u64) {
        if now <= self.second {
            return;
        }
        let coming = self.told.split_off(&now);
        let told: f64 = std::mem::replace(&mut self.told, coming).into_values().map(f64::from).sum();
        let (passed, taken) = ((now - self.second) as f64, f64::from(self.taken));
        let unasked = (taken + f64::from(self.refused) - told).max(0.0);
        let weight = 1.0 - (1.0 - NEWEST).powf(passed);
        self.taken_per_second += (taken / passed - self.taken_per_second) * weight;
        self.unasked_per_second += (unasked / passed - self.unasked_per_second) * weight;
        (self.second, self.taken, self.refused) = (now, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::refusal::MAX_WAIT, *};

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// The mean of what `count` of the default tenant are told to wait at `now`, in seconds.
    fn mean(returns: &Returns, count: u32, now: Duration) -> f64 {
        let tenant = Tenant::default();
        let waits = (0..count).map(|_| returns.wait(Some(&tenant), Duration::ZERO, now).as_secs_f64());
        waits.sum::<f64>() / f64::from(count)
    }

    fn take(returns: &Returns, count: u32, now: Duration) {
        (0..count).for_each(|_| returns.note_taken(&Tenant::default(), || now));
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
        assert!(many.wait(None, at(8), at(100)) >= at(8));
    }

    #[test]
    fn nobody_waits_for_the_senders_of_others() {
        let returns = Returns::default();
        mean(&returns, 10_000, at(5));
        let tenant = |i: usize| Tenant::new(&format!("t{i}")).expect("is a name");
        let waits = |tenants: std::ops::Range<usize>| {
            let waits = tenants.map(|i| returns.wait(Some(&tenant(i)), Duration::ZERO, at(6)).as_secs_f64());
            waits.collect::<Vec<_>>()
        };
        assert!(waits(0..MAX_TENANTS - 1).iter().all(|wait| *wait <= 4.0));
        // Further ones are counted together.
        let further = waits(MAX_TENANTS..2 * MAX_TENANTS);
        assert!(further.iter().rev().take(100).sum::<f64>() > 1_700.0);
        let known = || returns.all.lock().expect("no test panics with it").senders.len();
        assert_eq!(known(), MAX_TENANTS + 1);
        take(&returns, 1, at(6 + 31));
        assert_eq!((known(), returns.are_some.load(Ordering::Relaxed)), (0, false));
    }

    #[test]
    fn the_more_are_taken_the_sooner() {
        let told = |taken_per_second: u32| {
            let returns = Returns::default();
            for second in 1..30 {
                mean(&returns, 1, at(second));
                take(&returns, taken_per_second, at(second));
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
            take(&returns, count.min(60), at(second));
            for _ in 60..count {
                let wait = returns.wait(Some(&Tenant::default()), Duration::ZERO, at(second));
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
            assert!((1..=MAX_WAIT).contains(&returns.wait(None, Duration::MAX, now).as_secs()));
            take(&returns, 3, now);
        }
    }
}
