//! The past beyond the windows: rollups of numbers, built from sealed chunks, kept as Parquet, read by
//! snapshots.
//!
//! A thread of its own, the [`Historian`], is handed every chunk of numbers as it is sealed. It adds the
//! points to their buckets of 5 min and writes a bucket down once the watermark is well past it; points that
//! come later become one more part of it, and parts are added up by readers. Complete hours are merged
//! into one file, complete days summed up in buckets of 1 h. The pipeline pays for handing over an `Arc`.
//!
//! Everything runs on event time, so that old data played at any speed leaves the same rollups as live
//! data. Schema, sizes and the rules of the files: `window/README.md`.

mod file;
mod files;
mod labels;
mod merge;
mod name;
mod open;
mod queue;
mod read;
mod rollup;
mod worker;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

pub use read::{Ask, HistoryError, Past};
pub use rollup::{Resolution, Rollup, RollupRow};

use self::{files::Files, open::Open, queue::Queue, worker::Worker};
use crate::{NumberChunk, RegistryView, Series, Snapshot, UnixNanos};

/// How much of the past is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// Event time kept behind the watermark. Default 30 d.
    pub retention: Duration,
    /// Bytes of files kept; the oldest go first. Default 2 GiB.
    pub max_bytes: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { retention: Duration::from_hours(30 * 24), max_bytes: 2 << 30 }
    }
}

/// Which series a reader wants.
#[derive(Clone, Copy)]
pub struct Filter<'f> {
    /// The PromQL name, where it is known: the rest need not be decoded then.
    pub name: Option<&'f str>,
    /// What else must hold.
    pub holds: &'f dyn Fn(&Series) -> bool,
}

impl std::fmt::Debug for Filter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the history holds and what went wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryStats {
    /// Files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Rows in files: one a series and bucket and resolution, more where parts are not merged yet.
    pub rows: u64,
    /// Rows of buckets that are not written yet.
    pub open_rows: usize,
    /// Points added since the start.
    pub points: u64,
    /// Points that were too old to be kept, or came while the disk could not keep up.
    pub dropped_points: u64,
    /// Attempts to write that failed; all are repeated.
    pub failed_writes: u64,
    /// Files that were found damaged, and left out.
    pub damaged_files: u64,
}

impl HistoryStats {
    /// Adds those of another history.
    pub fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.rows += other.rows;
        self.open_rows += other.open_rows;
        self.points += other.points;
        self.dropped_points += other.dropped_points;
        self.failed_writes += other.failed_writes;
        self.damaged_files += other.damaged_files;
    }
}

/// What the historian and its readers share. The pipeline touches the queue only, and nobody holds it
/// for long.
#[derive(Debug)]
struct Shared {
    config: HistoryConfig,
    queue: Queue,
    held: Mutex<Held>,
}

/// Where rows are. A row is in exactly one place at any moment at which this is not locked.
#[derive(Debug, Default)]
struct Held {
    open: Open,
    /// Rows that are being written, and how many of them are in files already.
    flushing: (Arc<Vec<RollupRow>>, usize),
    files: Files,
    points: u64,
    dropped_points: u64,
    failed_writes: u64,
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Readers' handle to a history. Cheap to clone.
#[derive(Clone, Debug)]
pub struct History(Arc<Shared>);

impl History {
    /// The history in `directory`, which may be in use: as it is written down now, and nothing in it is changed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn peek(directory: &Path) -> io::Result<Self> {
        let held = Held { files: Files::borrow(directory)?, ..Held::default() };
        let (config, queue) = (HistoryConfig::default(), Queue::default());
        Ok(Self(Arc::new(Shared { config, queue, held: Mutex::new(held) })))
    }

    /// The start of the oldest and the end of the newest bucket in files; `None` without any.
    #[must_use]
    pub fn span(&self) -> Option<(UnixNanos, UnixNanos)> {
        let held = self.0.held();
        let oldest = held.files.iter().map(|file| file.name.from).min()?;
        Some((oldest, held.files.iter().map(|file| file.name.to).max()?))
    }

    /// What there is.
    #[must_use]
    pub fn stats(&self) -> HistoryStats {
        let dropped = self.0.queue.dropped_points();
        let held = self.0.held();
        HistoryStats {
            files: held.files.len(),
            bytes: held.files.bytes(),
            rows: held.files.rows(),
            open_rows: held.open.len() + held.flushing.0.len() - held.flushing.1,
            points: held.points,
            dropped_points: held.dropped_points + dropped,
            failed_writes: held.failed_writes,
            damaged_files: held.files.damaged(),
        }
    }
}

/// The thread that builds a history, and its owner's handle. Dropping it writes everything down.
#[derive(Debug)]
pub struct Historian {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Historian {
    /// Takes up what is in `directory`, which is made when there is something to write.
    ///
    /// # Errors
    /// When the directory cannot be read, or no thread can be started.
    pub fn start(directory: &Path, config: HistoryConfig) -> io::Result<Self> {
        let files = Files::load(directory)?;
        let held = Mutex::new(Held { files, ..Held::default() });
        let shared = Arc::new(Shared { config, queue: Queue::default(), held });
        let worker = Worker::new(Arc::clone(&shared), directory);
        let thread = std::thread::Builder::new().name("historian".into()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// For readers.
    #[must_use]
    pub fn history(&self) -> History {
        History(Arc::clone(&self.shared))
    }

    /// Hands a sealed chunk over, with the registry that its numbers of series belong to and the
    /// greatest event time received. Waits only when the disk has not kept up for long, and then at most
    /// a second; beyond that points are dropped and counted.
    pub fn offer(&self, chunk: Arc<NumberChunk>, registry: RegistryView, watermark: UnixNanos) {
        self.shared.queue.offer(chunk, registry, watermark);
    }

    /// Builds anew what an earlier run had not written yet, from windows that were restored and hold
    /// all points later than `complete_after`. To be called once, before the first chunk is offered.
    pub fn rebuild(&self, restored: Snapshot, complete_after: UnixNanos) {
        self.shared.queue.rebuild(restored, complete_after);
    }

    /// The end of the newest bucket in a file; [`UnixNanos::MIN`] without any.
    #[must_use]
    pub(crate) fn newest(&self) -> UnixNanos {
        self.shared.held().files.iter().map(|file| file.name.to).max().unwrap_or(UnixNanos::MIN)
    }

    /// What a snapshot taken now needs to see the past: `raw_after` says from when on the windows hold
    /// everything.
    #[must_use]
    pub fn past(&self, raw_after: UnixNanos) -> Past {
        Past::new(self.history(), raw_after, self.shared.queue.offered())
    }

    /// Writes the buckets that end at or before `due`.
    #[cfg(test)]
    pub(crate) fn flush(&self, due: UnixNanos) {
        self.shared.queue.flush(due);
        assert!(self.shared.queue.wait_for(self.shared.queue.offered(), Duration::from_mins(1)));
    }

    /// Ends it as `kill -9` would: what is not written is lost.
    #[cfg(test)]
    pub(crate) fn kill(self) {
        self.shared.queue.kill();
    }
}

impl Drop for Historian {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the historian has died; what it had not written will be rebuilt from the windows");
        }
    }
}

#[cfg(test)]
mod tests;
