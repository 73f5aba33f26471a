//! Everything that changes state, put in one order, written to the log, and then handed to the pipeline.
//!
//! Rows, pins and the passing of seconds go through here, and whatever the pipeline gets stands in the log
//! before: so its state is a function of the log, a restart that reads the log decides as a process that
//! never stopped, and an answer that the pipeline gives is about rows that are on disk. Requests that come
//! while others are being written share the next write (group commit).
//!
//! When the disk takes nothing more, rows are refused and told to come again, while seconds go on
//! passing, unwritten: alerts are still raised, resolved and delivered.

mod backlog;
mod clock;
mod entry;
mod reserve;
mod retries;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ingest::{Decoder, Refused, Rejections, Submission};
use tokio::sync::{mpsc, watch};
use window::{Log, LogError, Position, Record, UnixNanos};

pub(crate) use self::backlog::Backlog;
use self::{
    clock::{Clock, Reading},
    entry::{Entry, EntryError, Written},
    reserve::Reserve,
    retries::Retries,
};
use crate::pipeline::Command;

/// How often a second passes: idle buckets are closed, heads are sealed and views renewed.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// Ticks between searches for series that have expired and decisions that are too old.
const HOUSEKEEPING_TICKS: u64 = 60;
/// Bytes of requests from which on no more are written together with them.
const GROUP_BYTES: usize = 16 << 20;
/// How long a disk that took nothing is left alone before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// When an answer is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Durability {
    /// When the request is on disk (fsync). What was answered survives the loss of power.
    #[default]
    Acknowledged,
    /// When it was handed to the operating system; on disk within a second. What was answered survives the
    /// end of the process; a loss of power takes up to a second of it.
    Interval,
    /// When it is in the window. Windows and baselines end with the process.
    Memory,
}

impl Durability {
    /// The words of the configuration.
    pub(crate) const NAMES: [(&'static str, Self); 3] =
        [("acknowledged", Self::Acknowledged), ("interval", Self::Interval), ("memory", Self::Memory)];
}

/// One step of the pipeline.
#[derive(Debug)]
pub(crate) struct Step {
    /// Where it stands in the log; that of the step before if it could not be written.
    pub position: Position,
    /// Wall time at which it came; not before that of the step before, unless the clock was set.
    pub now: UnixNanos,
    /// What to do.
    pub work: Work,
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Work {
    /// A second has passed; `cleans` says that it is time to forget what has expired.
    Tick {
        /// Whether to.
        cleans: bool,
    },
    /// Takes rows in.
    Rows(Box<Submission>),
    /// Does what somebody asked for.
    Command(Command),
    /// The process has started (again).
    Start,
    /// The wall clock was set.
    ClockSet {
        /// By how many nanoseconds.
        by: i64,
    },
}

/// Where work comes from.
#[derive(Debug)]
pub(crate) struct Inlets {
    /// From the doors.
    pub submissions: mpsc::Receiver<Submission>,
    /// From the API.
    pub commands: mpsc::Receiver<Command>,
    /// Turns true when the doors have closed.
    pub stop: watch::Receiver<bool>,
}

/// What is known of the log outside: the pipeline says how much of it is still needed, `/metrics` shows it.
#[derive(Debug, Default)]
pub(crate) struct LogStatus {
    /// Records up to this one are in checkpoints.
    pub needless: AtomicU64,
    /// Bytes of the log.
    pub bytes: AtomicU64,
    /// Records written since the start.
    pub records: AtomicU64,
    /// Waits for the disk since the start.
    pub syncs: AtomicU64,
    /// Writes or waits that failed since the start.
    pub failures: AtomicU64,
    /// Records that were found to be damaged or lost at the start.
    pub lost: AtomicU64,
    /// Requests that came again after a restart and had been taken in before it.
    pub retries: AtomicU64,
    /// Checkpoints written since the start.
    pub checkpoints: AtomicU64,
    /// Checkpoints that could not be written since the start.
    pub checkpoint_failures: AtomicU64,
    /// Whether the log cannot be written now.
    pub is_failing: AtomicBool,
}

/// The log, its reserve, and when it failed last.
#[derive(Debug)]
struct Writer {
    log: Log,
    reserve: Reserve,
    durability: Durability,
    failed: Option<Instant>,
    is_dirty: bool,
}

/// The one who puts things in order.
#[derive(Debug)]
pub(crate) struct Journal {
    writer: Option<Writer>,
    retries: Retries,
    status: Arc<LogStatus>,
    backlog: Arc<Backlog>,
    clock: Clock,
    position: Position,
    ticks: u64,
}

impl Journal {
    /// One that writes nothing down.
    #[must_use]
    pub(crate) fn in_memory() -> Self {
        Self::new(None, Arc::default())
    }

    /// One that writes to `log`; `directory` is where its reserve is.
    #[must_use]
    pub(crate) fn durable(
        log: Log,
        directory: &std::path::Path,
        durability: Durability,
        status: Arc<LogStatus>,
    ) -> Self {
        let mut reserve = Reserve::at(directory);
        // Without it the disk is nearly full, which the first write will say.
        let _ = reserve.fill();
        Self::new(Some(Writer { log, reserve, durability, failed: None, is_dirty: false }), status)
    }

    fn new(writer: Option<Writer>, status: Arc<LogStatus>) -> Self {
        let position = writer.as_ref().map_or(Position(0), |w| w.log.last());
        let retries = Retries::default();
        Self { writer, retries, status, backlog: Arc::default(), clock: Clock::new(), position, ticks: 0 }
    }

    /// Whether the log holds all that ever came.
    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        let first = self.writer.as_ref().and_then(|writer| writer.log.replay(Position(0)).next());
        first.is_some_and(|record| record.is_ok_and(|record| record.position == Position(1)))
    }

    /// What the pipeline still has to do of what was written.
    #[must_use]
    pub(crate) fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.backlog)
    }

    /// Whether anything is written down.
    #[must_use]
    pub(crate) fn is_durable(&self) -> bool {
        self.writer.is_some()
    }

    /// Reads every record after `after` and gives it to `apply` as a step, in order. What cannot be read is
    /// counted and said.
    pub(crate) fn replay(&mut self, after: Position, decoder: &Decoder, mut apply: impl FnMut(Step)) {
        let Some(writer) = &self.writer else { return };
        let mut replayed = 0_u64;
        for record in writer.log.replay(after) {
            let read = record.map_err(|damage| damage.to_string()).and_then(|Record { position, payload }| {
                let entry = Entry::read(&payload, decoder).map_err(|e| format!("record {} {e}", position.0))?;
                Ok((position, entry))
            });
            match read {
                Ok((position, Entry { now, work, request })) => {
                    replayed += 1;
                    self.retries.note(request.as_deref(), now);
                    apply(Step { position, now, work });
                }
                Err(damage) => {
                    self.status.lost.fetch_add(1, Relaxed);
                    tracing::error!(damage, "a part of the log is lost");
                }
            }
        }
        if replayed > 0 {
            tracing::info!(records = replayed, after = after.0, "replayed the log");
        }
    }

    /// Notes that the process has started, as the first step of all that follow; `last` is the time of the
    /// last step before it.
    pub(crate) fn start(&mut self, last: Option<UnixNanos>) -> Step {
        if let Some(last) = last {
            self.clock.goes_on(last);
        }
        let Reading { now, .. } = self.clock.read();
        self.retries.started(now);
        self.write_one(now, Work::Start)
    }

    /// Works until told to stop, then does what is still waiting. Steps go to `sink` in their order.
    pub(crate) async fn run(mut self, mut inlets: Inlets, mut sink: impl AsyncFnMut(Step)) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let room = self.backlog.room();
            let next = tokio::select! {
                biased;
                _ = tick.tick() => Next::Tick,
                Some(command) = inlets.commands.recv() => Next::Command(command),
                _ = inlets.stop.wait_for(|stop| *stop) => Next::Stop,
                () = self.backlog.shrinks(), if room == 0 => continue,
                submission = inlets.submissions.recv(), if room > 0 => submission.map_or(Next::Stop, |first| Next::Submission(Box::new(first))),
            };
            match next {
                Next::Tick => {
                    let now = self.time(&mut sink).await;
                    sink(self.tick(now)).await;
                }
                Next::Command(command) => {
                    let now = self.time(&mut sink).await;
                    sink(self.write_one(now, Work::Command(command))).await;
                }
                Next::Submission(first) => self.take(*first, room, &mut inlets.submissions, &mut sink).await,
                Next::Stop => break,
            }
        }
        inlets.submissions.close();
        while let Ok(first) = inlets.submissions.try_recv() {
            self.take(first, usize::MAX, &mut inlets.submissions, &mut sink).await;
        }
    }

    /// The time of the next step. If the clock was set, a step says so before.
    async fn time(&mut self, sink: &mut impl AsyncFnMut(Step)) -> UnixNanos {
        let Reading { now, set } = self.clock.read();
        if let Some(by) = set {
            let by_seconds = Duration::from_nanos(by.unsigned_abs()).as_secs_f64() * if by < 0 { -1.0 } else { 1.0 };
            tracing::warn!(by_seconds, "the clock was set");
            sink(self.write_one(now, Work::ClockSet { by })).await;
        }
        now
    }

    fn tick(&mut self, now: UnixNanos) -> Step {
        self.ticks += 1;
        if let Some(writer) = &mut self.writer {
            writer.sync(&self.status, &self.backlog);
        }
        self.cut();
        self.write_one(now, Work::Tick { cleans: self.ticks.is_multiple_of(HOUSEKEEPING_TICKS) })
    }

    /// Lets go of what is in checkpoints.
    fn cut(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        if let Err(error) = writer.log.cut(Position(self.status.needless.load(Relaxed))) {
            tracing::warn!(%error, "a part of the log that is no longer needed could not be deleted; will retry");
        }
        self.status.bytes.store(writer.log.bytes(), Relaxed);
    }

    /// Takes a request and those that wait behind it, `most` at most, writes them together, and hands them on.
    async fn take(
        &mut self,
        first: Submission,
        most: usize,
        waiting: &mut mpsc::Receiver<Submission>,
        sink: &mut impl AsyncFnMut(Step),
    ) {
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while self.writer.is_some() && group.len() < most && bytes < GROUP_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.bytes();
            group.push(next);
        }
        let now = self.time(sink).await;
        let written = self.write_group(group, now);
        for (position, submission) in written {
            self.position = position;
            if self.is_durable() {
                self.backlog.add();
            }
            sink(Step { position, now, work: Work::Rows(Box::new(submission)) }).await;
        }
    }

    /// Writes `group`, whole or not at all; answers those that are not to be handed on.
    fn write_group(&mut self, group: Vec<Submission>, now: UnixNanos) -> Vec<(Position, Submission)> {
        let mut written = Vec::with_capacity(group.len());
        let mut group = group.into_iter().filter(|s| !s.is_abandoned());
        let refused = loop {
            let Some(mut submission) = group.next() else {
                break if self.sync() { None } else { Some(Vec::new()) };
            };
            if self.retries.is_known(submission.request.as_ref(), now) {
                self.status.retries.fetch_add(1, Relaxed);
                submission.answer(Ok(Rejections::default()));
                continue;
            }
            let Submission { tenant, batch, request, .. } = &submission;
            match self.append(|| Some(Written::rows(now, tenant, batch, request.as_ref()))) {
                Ok(position) => {
                    // Nobody needs it any more, and the next one finds its memory while the disk is waited for.
                    submission.request = None;
                    written.push((position, submission));
                }
                Err(Unwritten::Alone) => submission.answer(Err(Refused::Storage)),
                Err(Unwritten::All) => break Some(vec![submission]),
            }
        };
        let Some(refused) = refused else { return written };
        let withdrawn = std::mem::take(&mut written).into_iter().map(|(_, submission)| submission);
        withdrawn.chain(refused).chain(group).for_each(|submission| submission.answer(Err(Refused::Storage)));
        written
    }

    /// Writes the one record of `work`, if there can be one, and makes the step of it.
    fn write_one(&mut self, now: UnixNanos, work: Work) -> Step {
        let appended = self.append(|| {
            Some(match &work {
                Work::Tick { cleans } => Written::tick(now, *cleans),
                Work::Command(Command::Pin { tenant, service, pin, .. }) => {
                    Written::pin(now, tenant, service.clone(), pin.clone())
                }
                Work::Command(Command::Correct { tenant, correction, .. }) => {
                    Written::correct(now, tenant, correction.clone())
                }
                Work::Command(Command::Undo { tenant, correction, .. }) => Written::undo(now, tenant, correction),
                // How things stand is written down before other settings come into force, so that no record that came
                // before is ever read again.
                Work::Command(Command::Reload { .. }) => return None,
                Work::Start => Written::start(now),
                Work::ClockSet { by } => Written::clock_set(now, *by),
                Work::Rows(rows) => Written::rows(now, &rows.tenant, &rows.batch, rows.request.as_ref()),
            })
        });
        if let Ok(position) = appended
            && self.sync()
        {
            self.position = position;
        }
        Step { position: self.position, now, work }
    }

    /// Appends a record, if there is one; it counts once [`Self::sync`] has succeeded.
    fn append(&mut self, record: impl FnOnce() -> Option<Result<Written, EntryError>>) -> Result<Position, Unwritten> {
        let Some(writer) = &mut self.writer else { return Ok(Position(0)) };
        if !writer.may_try(&self.status) {
            return Err(Unwritten::All);
        }
        let Some(record) = record() else { return Ok(self.position) };
        let record = record.map_err(|error| {
            tracing::error!(%error, "a request cannot be written down");
            Unwritten::Alone
        })?;
        match writer.log.append(&record.parts()) {
            Ok(position) => {
                writer.is_dirty = true;
                self.status.records.fetch_add(1, Relaxed);
                Ok(position)
            }
            Err(error @ LogError::TooLong { .. }) => {
                tracing::error!(%error, "a request cannot be written down");
                Err(Unwritten::Alone)
            }
            Err(error) => {
                writer.fails(&error, &self.status);
                Err(Unwritten::All)
            }
        }
    }

    /// Waits until what was appended is where it has to be before an answer is given; whether it counts.
    fn sync(&mut self) -> bool {
        let Some(writer) = &mut self.writer else { return true };
        match writer.durability {
            Durability::Acknowledged => writer.sync(&self.status, &self.backlog),
            Durability::Interval => writer.flush(&self.status),
            Durability::Memory => true,
        }
    }
}

/// What comes next.
enum Next {
    Tick,
    Command(Command),
    Submission(Box<Submission>),
    Stop,
}

/// Why a record was not written.
enum Unwritten {
    /// There is no room for this one; others may be written.
    Alone,
    /// The log cannot be written: what was appended since the last wait for the disk is gone too.
    All,
}

impl Writer {
    fn sync(&mut self, status: &LogStatus, backlog: &Backlog) -> bool {
        if !std::mem::take(&mut self.is_dirty) {
            return self.failed.is_none();
        }
        status.syncs.fetch_add(1, Relaxed);
        let began = Instant::now();
        match self.log.sync() {
            Ok(_) => {
                backlog.synced(began.elapsed());
                true
            }
            Err(error) => {
                self.fails(&error, status);
                false
            }
        }
    }

    /// Hands what was appended to the operating system; whether it counts.
    fn flush(&mut self, status: &LogStatus) -> bool {
        match self.log.flush() {
            Ok(()) => true,
            Err(error) => {
                self.fails(&error, status);
                false
            }
        }
    }

    /// Whether it is worth trying. After a failure that is so once the reserve could be filled again: then
    /// there is room for it and for what comes.
    fn may_try(&mut self, status: &LogStatus) -> bool {
        let Some(failed) = self.failed else { return true };
        if failed.elapsed() < RETRY {
            return false;
        }
        if let Err(error) = self.reserve.fill() {
            tracing::debug!(%error, "the disk still takes nothing");
            self.failed = Some(Instant::now());
            return false;
        }
        tracing::info!("the log can be written again");
        self.failed = None;
        status.is_failing.store(false, Relaxed);
        true
    }

    /// Notes that the log could not be written, and makes room for what alerting still has to write.
    fn fails(&mut self, error: &LogError, status: &LogStatus) {
        self.is_dirty = false;
        status.failures.fetch_add(1, Relaxed);
        if !status.is_failing.swap(true, Relaxed) {
            tracing::error!(%error, "the log cannot be written: nothing is taken in before it can");
        }
        self.reserve.release();
        self.failed = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests;
