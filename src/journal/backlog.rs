//! How much may wait for the pipeline once it is written.
//!
//! What stands in the log has to be done, also when its sender has given up meanwhile. So no more is
//! written than the pipeline can do while the disk is waited for: that keeps both busy, and what waits
//! longer waits in front of the log, where it is still dropped when nobody waits for it any more.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::Notify;

/// Steps that may wait in any case, so that the pipeline finds the next when it has done one.
const LEAST: usize = 2;
/// More would only be memory.
const MOST: usize = 256;
/// Weight of the newest duration in the averages.
const WEIGHT: u64 = 8;

/// Steps between the log and the pipeline, and how long either takes.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    waiting: AtomicUsize,
    step_nanos: AtomicU64,
    sync_nanos: AtomicU64,
    shrunk: Notify,
}

impl Backlog {
    /// How many more requests may be written now.
    pub(super) fn room(&self) -> usize {
        let (step, sync) = (self.step_nanos.load(Relaxed).max(1), self.sync_nanos.load(Relaxed));
        let depth = usize::try_from(sync / step).unwrap_or(MOST).saturating_add(LEAST).min(MOST);
        depth.saturating_sub(self.waiting.load(Relaxed))
    }

    /// Waits until there is less than there was.
    pub(super) async fn shrinks(&self) {
        self.shrunk.notified().await;
    }

    /// Notes that a request was written and waits for the pipeline.
    pub(super) fn add(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// Notes how long the disk was waited for.
    pub(super) fn synced(&self, took: Duration) {
        average(&self.sync_nanos, took);
    }

    /// Notes that the pipeline has done a request, in this time.
    pub(crate) fn done(&self, took: Duration) {
        average(&self.step_nanos, took);
        self.waiting.fetch_sub(1, Relaxed);
        self.shrunk.notify_one();
    }
}

/// Each average has one writer.
fn average(of: &AtomicU64, took: Duration) {
    let (before, took) = (of.load(Relaxed), u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / WEIGHT));
    of.store(if before == 0 { took } else { before - before / WEIGHT + took / WEIGHT }, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn as_much_may_wait_as_is_done_while_the_disk_is_waited_for() {
        let backlog = Backlog::default();
        assert_eq!(backlog.room(), LEAST);
        let millis = Duration::from_millis;
        backlog.synced(millis(5));
        for _ in 0..3 {
            backlog.add();
        }
        backlog.done(millis(1));
        backlog.shrinks().await;
        assert_eq!(backlog.room(), 5, "seven may wait, and two do");
        for _ in 0..100 {
            backlog.add();
            backlog.done(millis(50));
        }
        assert_eq!(backlog.room(), 0, "the pipeline is the slower one");
        backlog.synced(Duration::from_secs(3600));
        assert_eq!(backlog.room(), MOST - 2);
    }
}
