//! The one thread that owns windows and detectors: batches in, decisions out.
//!
//! Everything that must happen in order happens here, one step after the other, so that the same
//! input gives the same decisions. Each tenant has a [`Line`](line::Line) of its own, and no line knows
//! of another. Doors wait for their batch's turn; readers get a [`Face`](crate::faces::Face).

mod line;
mod maker;
mod place;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alerting::Deliverer;
use detect::{Pin, UnixNanos};
use ingest::{Submission, Tenant};
use tokio::sync::{mpsc, oneshot, watch};

use self::line::Line;
pub(crate) use self::maker::{LineError, Maker};

/// How often idle buckets are closed, heads are sealed and views renewed.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between searches for series that have expired and decisions that are too old.
const HOUSEKEEPING_TICKS: u64 = 60;

/// A request to the pipeline from the API.
#[derive(Debug)]
pub(crate) enum Command {
    /// Sets or clears the pin of a scope (`None` is everything).
    Pin {
        /// Whose level it is; nothing happens when the tenant is not known.
        tenant: Tenant,
        /// The service.
        service: Option<Arc<str>>,
        /// The pin; `None` clears it.
        pin: Option<Pin>,
        /// Answered when it is in force; the caller has written it to disk before.
        done: oneshot::Sender<()>,
    },
}

/// Where the pipeline's work comes from.
#[derive(Debug)]
pub(crate) struct Inlets {
    /// From the doors.
    pub submissions: mpsc::Receiver<Submission>,
    /// From the API.
    pub commands: mpsc::Receiver<Command>,
    /// Turns true when the doors have closed.
    pub stop: watch::Receiver<bool>,
}

/// The pipeline's state: a line for each tenant that is known.
#[derive(Debug)]
pub(crate) struct Pipeline {
    maker: Maker,
    lines: BTreeMap<Tenant, Line>,
    ticks: u64,
}

/// The wall clock.
#[must_use]
pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

impl Pipeline {
    /// A pipeline that has not begun, with lines for the default tenant, for those in `expected`, and
    /// for those that the data directory remembers.
    ///
    /// # Errors
    /// [`LineError`] of the first line that could not be made.
    pub(crate) fn new(maker: Maker, expected: impl IntoIterator<Item = Tenant>) -> Result<Self, LineError> {
        let remembered = maker.remembered()?;
        let mut pipeline = Self { maker, lines: BTreeMap::new(), ticks: 0 };
        for tenant in [Tenant::default()].into_iter().chain(remembered).chain(expected) {
            pipeline.line(&tenant)?;
        }
        Ok(pipeline)
    }

    /// Works until told to stop; then does what is still waiting, seals and shows all. Deliveries are
    /// left to the caller to end.
    pub(crate) async fn run(mut self, mut inlets: Inlets) -> Vec<Deliverer> {
        for line in self.lines.values_mut() {
            line.show();
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => self.tick(now()),
                Some(command) = inlets.commands.recv() => self.command(command),
                _ = inlets.stop.wait_for(|stop| *stop) => break,
                submission = inlets.submissions.recv() => match submission {
                    Some(submission) => self.submission(submission),
                    None => break,
                },
            }
        }
        inlets.submissions.close();
        while let Ok(submission) = inlets.submissions.try_recv() {
            self.submission(submission);
        }
        self.lines.into_values().map(Line::finish).collect()
    }

    /// The tenant's line, made if it is not there.
    fn line(&mut self, tenant: &Tenant) -> Result<&mut Line, LineError> {
        match self.lines.entry(tenant.clone()) {
            Entry::Occupied(line) => Ok(line.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(self.maker.make(tenant)?)),
        }
    }

    fn submission(&mut self, submission: Submission) {
        if submission.is_abandoned() {
            return;
        }
        let Submission { tenant, batch, reply, .. } = submission;
        let line = match self.line(&tenant) {
            Ok(line) => line,
            Err(error) => {
                // Without an answer the sender is told to come again.
                tracing::error!(%tenant, %error, "a tenant could not be set up");
                return;
            }
        };
        let Ok(rejected) = line.take(batch, now()) else { return };
        // The sender may have gone away meanwhile; its rows are kept all the same.
        let _ = reply.send(rejected);
    }

    fn tick(&mut self, now: UnixNanos) {
        self.ticks += 1;
        let cleans = self.ticks.is_multiple_of(HOUSEKEEPING_TICKS);
        for line in self.lines.values_mut() {
            line.tick(now, cleans);
        }
    }

    fn command(&mut self, command: Command) {
        let Command::Pin { tenant, service, pin, done } = command;
        let Some(line) = self.lines.get_mut(&tenant) else { return };
        line.pin(service, pin);
        // The asker may have gone away.
        let _ = done.send(());
    }
}

#[cfg(test)]
mod tests;
