//! Writes checkpoints in the background, and says how much of the log is needless thereby.
//!
//! The pipeline only makes the bytes; the disk is waited for on a thread of the keeper's own. One
//! checkpoint is under way at a time: while the disk is slow there are fewer of them, and the log is longer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ingest::Tenant;
use window::Position;

use super::vault::{Checkpoint, Vault};
use crate::journal::LogStatus;

/// Bytes of the log from which on a checkpoint is due sooner.
const LOG_BYTES: u64 = 256 << 20;
/// How long a line waits at least in this case.
const AT_LEAST: Duration = Duration::from_secs(5);
/// And so many times as long as the last checkpoint took to write: under a load that is too much for that, what it
/// writes is soon let go again.
const REST: u32 = 9;
/// A checkpoint may hold the pipeline up for one part in this many.
const SHARE: u32 = 20;

enum Job {
    TakeOn(Tenant, Box<Vault>),
    Keep(Tenant, Box<Checkpoint>),
    KeepNow(Vec<(Tenant, Checkpoint)>, mpsc::SyncSender<Result<(), String>>),
}

/// The pipeline's end.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: mpsc::Sender<Job>,
    is_busy: Arc<AtomicBool>,
    /// How long the last checkpoint took to write, in nanoseconds.
    took: Arc<AtomicU64>,
    /// Shortest time between two checkpoints of a line.
    every: Duration,
    /// When each line is due.
    due: BTreeMap<Tenant, Due>,
    status: Arc<LogStatus>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Due {
    last: Instant,
    every: Duration,
}

impl Due {
    /// Whether it is time after `elapsed`, with so many bytes of log, when the last checkpoint `took` so long to write.
    fn is_over(&self, elapsed: Duration, log_bytes: u64, took: Duration) -> bool {
        let at_least = AT_LEAST.max(self.every / SHARE).max(took * REST);
        elapsed >= self.every || (log_bytes >= LOG_BYTES && elapsed >= at_least)
    }
}

impl Keeper {
    /// A keeper with nothing to keep yet, which writes lines down `every` so often and tells `status` what is
    /// needless.
    #[must_use]
    pub(crate) fn start(every: Duration, status: Arc<LogStatus>) -> Self {
        let (jobs, inbox) = mpsc::channel();
        let is_busy = Arc::new(AtomicBool::new(false));
        let took = Arc::new(AtomicU64::new(0));
        let work = Work {
            vaults: BTreeMap::new(),
            is_busy: Arc::clone(&is_busy),
            took: Arc::clone(&took),
            status: Arc::clone(&status),
        };
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || work.run(&inbox))
            .expect("a thread can be started while the process starts");
        Self { jobs, is_busy, took, every, due: BTreeMap::new(), status, thread }
    }

    /// Keeps `tenant` in `vault`, which has it up to `position`.
    pub(super) fn take_on(&mut self, tenant: &Tenant, vault: Vault, position: Position) {
        // Until its first checkpoint all of the log that it has not seen is needed.
        self.due.insert(tenant.clone(), Due { last: Instant::now(), every: self.every });
        self.send(Job::TakeOn(tenant.clone(), Box::new(vault.at(position))));
    }

    /// Whether it is time for a checkpoint of `tenant`.
    pub(super) fn is_due(&self, tenant: &Tenant) -> bool {
        if self.is_busy.load(Relaxed) {
            return false;
        }
        let Some(due) = self.due.get(tenant) else { return false };
        let took = Duration::from_nanos(self.took.load(Relaxed));
        due.is_over(due.last.elapsed(), self.status.bytes.load(Relaxed), took)
    }

    /// Writes `checkpoint`, which took the pipeline `took` to make.
    pub(super) fn keep(&mut self, tenant: &Tenant, checkpoint: Checkpoint, took: Duration) {
        let due = Due { last: Instant::now(), every: self.every.max(took * SHARE) };
        self.due.insert(tenant.clone(), due);
        self.is_busy.store(true, Relaxed);
        self.send(Job::Keep(tenant.clone(), Box::new(checkpoint)));
    }

    /// Writes a checkpoint of each line, and waits until they are on disk.
    ///
    /// # Errors
    /// Why one of them is not.
    pub(super) fn keep_now(&mut self, all: Vec<(Tenant, Checkpoint)>) -> Result<(), String> {
        for (tenant, _) in &all {
            self.due.insert(tenant.clone(), Due { last: Instant::now(), every: self.every });
        }
        let (done, written) = mpsc::sync_channel(1);
        self.send(Job::KeepNow(all, done));
        written.recv().map_err(|_| "the keeper has died".to_owned())?
    }

    fn send(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::error!("the keeper has died: nothing is written down any more");
        }
    }

    /// Waits until all is written.
    pub(super) fn finish(self) {
        drop(self.jobs);
        if self.thread.join().is_err() {
            tracing::error!("the keeper has died: the next start has to read more of the log");
        }
    }
}

struct Work {
    vaults: BTreeMap<Tenant, Vault>,
    is_busy: Arc<AtomicBool>,
    took: Arc<AtomicU64>,
    status: Arc<LogStatus>,
}

impl Work {
    fn run(mut self, inbox: &mpsc::Receiver<Job>) {
        for job in inbox {
            match job {
                Job::TakeOn(tenant, vault) => {
                    self.vaults.insert(tenant, *vault);
                }
                Job::Keep(tenant, checkpoint) => {
                    let began = Instant::now();
                    // It has been said; the next one is tried when it is due.
                    let _ = self.keep(&tenant, *checkpoint);
                    self.took.store(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
                    self.is_busy.store(false, Relaxed);
                }
                Job::KeepNow(all, done) => {
                    let written = all.into_iter().try_for_each(|(tenant, checkpoint)| self.keep(&tenant, checkpoint));
                    // The pipeline waits for it, unless it has died.
                    let _ = done.send(written);
                }
            }
            self.say_what_is_needless();
        }
    }

    fn keep(&mut self, tenant: &Tenant, checkpoint: Checkpoint) -> Result<(), String> {
        let Some(vault) = self.vaults.get_mut(tenant) else { return Ok(()) };
        let (began, position) = (Instant::now(), checkpoint.position());
        match vault.write(checkpoint) {
            Ok(bytes) => {
                let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(tenant = tenant.as_str(), position = position.0, bytes, millis, "checkpoint written");
                self.status.checkpoints.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(error) => {
                let failures: &AtomicU64 = &self.status.checkpoint_failures;
                failures.fetch_add(1, Relaxed);
                tracing::error!(tenant = tenant.as_str(), %error, "a checkpoint could not be written; will retry");
                Err(format!("a checkpoint could not be written: {error}"))
            }
        }
    }

    fn say_what_is_needless(&self) {
        if let Some(position) = self.vaults.values().map(Vault::position).min() {
            self.status.needless.store(position.0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_cut_sooner_unless_writing_is_slow() {
        let secs = Duration::from_secs;
        let due = Due { last: Instant::now(), every: secs(60) };
        let at = |elapsed, log_bytes, took| due.is_over(secs(elapsed), log_bytes, secs(took));
        assert!(!at(59, 0, 0) && at(60, 0, 0));
        assert!(!at(4, LOG_BYTES, 0) && at(5, LOG_BYTES, 0));
        assert!(!at(26, LOG_BYTES, 3) && at(27, LOG_BYTES, 3), "a tenth of the time");
        assert!(at(60, LOG_BYTES, 100), "but not more seldom than without");
    }
}
