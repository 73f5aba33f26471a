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
/// A checkpoint may hold the pipeline up for one part in this many.
const SHARE: u32 = 20;

enum Job {
    TakeOn(Tenant, Box<Vault>),
    Keep(Tenant, Box<Checkpoint>),
}

/// The pipeline's end.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: mpsc::Sender<Job>,
    is_busy: Arc<AtomicBool>,
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

impl Keeper {
    /// A keeper with nothing to keep yet, which writes lines down `every` so often and tells `status` what is
    /// needless.
    #[must_use]
    pub(crate) fn start(every: Duration, status: Arc<LogStatus>) -> Self {
        let (jobs, inbox) = mpsc::channel();
        let is_busy = Arc::new(AtomicBool::new(false));
        let work = Work { vaults: BTreeMap::new(), is_busy: Arc::clone(&is_busy), status: Arc::clone(&status) };
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || work.run(&inbox))
            .expect("a thread can be started while the process starts");
        Self { jobs, is_busy, every, due: BTreeMap::new(), status, thread }
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
        let elapsed = due.last.elapsed();
        let is_long = self.status.bytes.load(Relaxed) >= LOG_BYTES && elapsed >= AT_LEAST.max(due.every / SHARE);
        elapsed >= due.every || is_long
    }

    /// Writes `checkpoint`, which took the pipeline `took` to make.
    pub(super) fn keep(&mut self, tenant: &Tenant, checkpoint: Checkpoint, took: Duration) {
        let due = Due { last: Instant::now(), every: self.every.max(took * SHARE) };
        self.due.insert(tenant.clone(), due);
        self.is_busy.store(true, Relaxed);
        self.send(Job::Keep(tenant.clone(), Box::new(checkpoint)));
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
                    self.keep(&tenant, *checkpoint);
                    self.is_busy.store(false, Relaxed);
                }
            }
            self.say_what_is_needless();
        }
    }

    fn keep(&mut self, tenant: &Tenant, checkpoint: Checkpoint) {
        let Some(vault) = self.vaults.get_mut(tenant) else { return };
        let (began, position) = (Instant::now(), checkpoint.position());
        match vault.write(checkpoint) {
            Ok(bytes) => {
                let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(tenant = tenant.as_str(), position = position.0, bytes, millis, "checkpoint written");
                self.status.checkpoints.fetch_add(1, Relaxed);
            }
            Err(error) => {
                let failures: &AtomicU64 = &self.status.checkpoint_failures;
                failures.fetch_add(1, Relaxed);
                tracing::error!(tenant = tenant.as_str(), %error, "a checkpoint could not be written; will retry");
            }
        }
    }

    fn say_what_is_needless(&self) {
        if let Some(position) = self.vaults.values().map(Vault::position).min() {
            self.status.needless.store(position.0, Relaxed);
        }
    }
}
