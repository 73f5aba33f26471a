//! How many bytes of rows the window answers for, by event time.
//!
//! Which rows are let go for want of room must not depend on where chunks begin and end: after a
//! restart the same rows lie in other chunks, and decisions must not differ. So bytes are counted as
//! rows arrive, by what a row takes in a chunk, and the oldest times are let go. Several windows may
//! share one budget.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::UnixNanos;

/// Bytes that the windows of all tenants may hold together.
///
/// Each window may use what the others leave free, and an equal share in any case. Sealed one after
/// the other, as one pipeline does, windows share in the same way in every run.
#[derive(Debug)]
pub struct Budget {
    max: usize,
    windows: AtomicUsize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of `max` bytes that nobody uses yet.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, windows: AtomicUsize::new(0), used: AtomicUsize::new(0) })
    }

    /// Bytes that all windows hold together.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// One window's part of a [`Budget`].
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    used: usize,
}

impl Share {
    fn new(budget: Arc<Budget>) -> Self {
        budget.windows.fetch_add(1, Ordering::Relaxed);
        Self { budget, used: 0 }
    }

    /// How much this window may hold while the others hold what they do.
    fn allowed(&self) -> usize {
        let others = self.budget.used().saturating_sub(self.used);
        let share = self.budget.max / self.budget.windows.load(Ordering::Relaxed).max(1);
        self.budget.max.saturating_sub(others).max(share)
    }

    fn set(&mut self, used: usize) {
        // Two's complement: adding the difference, wrapped, is right for a smaller number too.
        self.budget.used.fetch_add(used.wrapping_sub(self.used), Ordering::Relaxed);
        self.used = used;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
        self.budget.windows.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many steps of time a window's span is counted in.
const STEPS: u128 = 4_096;
/// When there is too much, one part in so many is let go beyond what is needed, so that chunks are
/// cut rarely.
const SLACK: usize = 32;

/// Bytes by step of event time.
#[derive(Debug)]
pub(crate) struct Ledger {
    width: i64,
    steps: BTreeMap<i64, usize>,
    total: usize,
    /// The step that is being filled, its first nanosecond, and its bytes that are not in `steps` yet.
    current: (i64, usize),
    share: Option<Share>,
}

impl Ledger {
    pub(crate) fn new(span: Duration) -> Self {
        let width = i64::try_from(span.as_nanos() / STEPS).unwrap_or(i64::MAX).max(1_000_000_000);
        Self { width, steps: BTreeMap::new(), total: 0, current: (i64::MIN, 0), share: None }
    }

    pub(crate) fn join(&mut self, budget: Arc<Budget>) {
        self.settle();
        self.share = Some(Share::new(budget));
        self.tell();
    }

    /// Counts `bytes` of rows at `time`.
    #[inline]
    pub(crate) fn note(&mut self, time: UnixNanos, bytes: usize) {
        let since = time.0.wrapping_sub(self.current.0);
        if time.0 < self.current.0 || !(0..self.width).contains(&since) {
            self.settle();
            self.current.0 = time.0.saturating_sub(time.0.rem_euclid(self.width));
        }
        self.current.1 += bytes;
    }

    fn settle(&mut self) {
        let (start, bytes) = self.current;
        if bytes > 0 {
            *self.steps.entry(start).or_default() += bytes;
            self.total += bytes;
            self.current.1 = 0;
        }
    }

    /// Forgets what lies wholly behind `floor`, and, where more than `max` bytes or than the budget's
    /// part are left, the oldest steps. Returns the floor from then on.
    pub(crate) fn limit(&mut self, mut floor: UnixNanos, max: usize) -> UnixNanos {
        self.settle();
        while let Some(step) = self.steps.first_entry()
            && step.key().saturating_add(self.width - 1) <= floor.0
        {
            self.total -= step.remove();
        }
        self.tell();
        let max = self.allowed(max);
        if self.total > max {
            let target = max - max / SLACK;
            // The newest step stays: the window always shows something.
            while self.total > target
                && self.steps.len() > 1
                && let Some((start, bytes)) = self.steps.pop_first()
            {
                self.total -= bytes;
                floor = floor.max(UnixNanos(start.saturating_add(self.width - 1)));
            }
            self.tell();
        }
        floor
    }

    /// `max`, or what the budget leaves of it.
    pub(crate) fn allowed(&self, max: usize) -> usize {
        self.share.as_ref().map_or(max, |share| share.allowed().min(max))
    }

    fn tell(&mut self) {
        if let Some(share) = &mut self.share {
            share.set(self.total);
        }
    }

    /// Beginning and bytes of each step, oldest first.
    pub(crate) fn steps(&self) -> Vec<(i64, u64)> {
        let mut steps = self.steps.clone();
        if self.current.1 > 0 {
            *steps.entry(self.current.0).or_default() += self.current.1;
        }
        steps.into_iter().map(|(start, bytes)| (start, bytes as u64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn filled(seconds: i64) -> Ledger {
        let mut ledger = Ledger::new(Duration::from_hours(1));
        (0..seconds).for_each(|s| ledger.note(UnixNanos(s * SECOND + 5), 10));
        ledger
    }

    #[test]
    fn the_oldest_seconds_are_let_go_first_and_some_more() {
        let mut ledger = filled(100);
        assert_eq!(ledger.limit(UnixNanos::MIN, 1_000), UnixNanos::MIN);
        assert_eq!(ledger.limit(UnixNanos::MIN, 640), UnixNanos(38 * SECOND - 1));
        assert_eq!((ledger.total, ledger.steps.len()), (620, 62));
        assert_eq!(ledger.limit(UnixNanos(90 * SECOND), 640), UnixNanos(90 * SECOND));
        assert_eq!(ledger.total, 100);
    }

    #[test]
    fn late_rows_count_where_they_belong_and_the_newest_second_stays() {
        let mut ledger = filled(3);
        ledger.note(UnixNanos(-1), 7);
        assert_eq!(ledger.steps(), [(-SECOND, 7), (0, 10), (SECOND, 10), (2 * SECOND, 10)]);
        assert_eq!(ledger.limit(UnixNanos::MIN, 0), UnixNanos(2 * SECOND - 1));
        assert_eq!(ledger.total, 10);
    }

    #[test]
    fn a_window_may_use_what_others_leave_and_has_a_share_in_any_case() {
        let budget = Budget::new(1_000);
        let (mut a, mut b) = (filled(90), filled(0));
        a.join(Arc::clone(&budget));
        b.join(Arc::clone(&budget));
        a.limit(UnixNanos::MIN, usize::MAX);
        assert_eq!((a.total, budget.used()), (900, 900));
        (0..80).for_each(|s| b.note(UnixNanos(s * SECOND), 10));
        b.limit(UnixNanos::MIN, usize::MAX);
        assert_eq!(b.total, 480, "its share, less what is let go beyond need");
        a.limit(UnixNanos::MIN, usize::MAX);
        assert!(budget.used() <= 1_000 && a.total >= 480, "{} {}", budget.used(), a.total);
        drop(a);
        assert_eq!(budget.used(), b.total);
    }
}
