//! The one thread that owns windows and detectors: steps in, decisions out.
//!
//! Everything that must happen in order happens here, one step after the other, so that the same
//! input gives the same decisions. Each tenant has a [`Line`](line::Line) of its own, and no line knows
//! of another. Doors wait for their batch's turn; readers get a [`Face`](crate::faces::Face).

mod keeper;
mod line;
mod maker;
mod place;
mod settings;
mod vault;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use alerting::Deliverer;
use detect::{Correction, Pin, UnixNanos};
use ingest::{Decoder, Refused, Submission, Tenant};
use tokio::sync::oneshot;
use window::Position;

pub(crate) use self::{
    keeper::Keeper,
    maker::{LineError, Maker},
    settings::Settings,
    vault::{STATE, fault_of_state},
};
use self::{line::Line, maker::Made};
#[cfg(feature = "analysis")]
pub(crate) use self::{
    place::{directory, history},
    vault::peek,
};
use crate::journal::{Journal, Step, Work};

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
    /// Makes a change to what is expected of a series.
    Correct {
        /// Whose series it is.
        tenant: Tenant,
        /// The change.
        correction: Correction,
        /// As for a pin.
        done: oneshot::Sender<()>,
    },
    /// Takes such a change back.
    Undo {
        /// Whose series it is.
        tenant: Tenant,
        /// The id of the change.
        correction: String,
        /// As for a pin.
        done: oneshot::Sender<()>,
    },
    /// Goes by other settings from now on.
    Reload {
        /// These.
        settings: Box<Settings>,
        /// Answered when they are in force, or why they are not.
        done: oneshot::Sender<Result<(), String>>,
    },
}

/// The pipeline's state: a line for each tenant that is known.
#[derive(Debug)]
pub(crate) struct Pipeline {
    maker: Maker,
    lines: BTreeMap<Tenant, Line>,
    /// Writes down how things stand, where that is wanted.
    keeper: Option<Keeper>,
    /// Whether steps come from the log, of which lines have seen a part before.
    replays: bool,
    /// Whether it has taken up what was there before.
    is_recovered: bool,
}

/// The wall clock.
#[must_use]
pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

impl Pipeline {
    /// A pipeline with lines for the default tenant, for those in `expected`, and for those that the data
    /// directory remembers, each as it was when it was written down last.
    ///
    /// # Errors
    /// [`LineError`] of the first line that could not be made.
    pub(crate) fn new(
        maker: Maker,
        expected: impl IntoIterator<Item = Tenant>,
        keeper: Option<Keeper>,
    ) -> Result<Self, LineError> {
        let remembered = maker.remembered()?;
        let mut pipeline = Self { maker, lines: BTreeMap::new(), keeper, replays: false, is_recovered: false };
        for tenant in [Tenant::default()].into_iter().chain(remembered).chain(expected) {
            pipeline.line(&tenant, Position(0))?;
        }
        Ok(pipeline)
    }

    /// Does again what was done since the lines were written down, and goes on from there. To be called
    /// before anything else is done.
    pub(crate) fn recover(&mut self, journal: &mut Journal, decoder: &Decoder) {
        let seen = self.lines.values().map(Line::position);
        let after = seen.min().unwrap_or_default();
        if !journal.is_whole() {
            let unknown = self.lines.values_mut().filter(|line| line.position() == Position(0));
            unknown.for_each(Line::misses_past);
        }
        self.replays = true;
        journal.replay(after, decoder, |step| self.step(step));
        self.replays = false;
        let start = journal.start(self.lines.values().filter_map(Line::last_step).max());
        self.step(start);
        self.is_recovered = true;
        for line in self.lines.values_mut() {
            line.reconcile();
            line.show();
        }
    }

    /// Does one step.
    pub(crate) fn step(&mut self, Step { position, now, work }: Step) {
        match work {
            Work::Rows(submission) => self.submission(*submission, position, now),
            Work::Tick { cleans } => self.each(position, |line| line.tick(now, cleans)),
            Work::Start => self.each(position, |line| line.starts(now)),
            Work::ClockSet { by } => self.each(position, |line| line.clock_was_set(by, now)),
            Work::Command(Command::Reload { settings, done }) => {
                let _ = done.send(self.reload(*settings, position));
            }
            Work::Command(Command::Pin { tenant, service, pin, done }) => {
                self.command(&tenant, position, done, |line| line.pin(service, pin, now));
            }
            Work::Command(Command::Correct { tenant, correction, done }) => {
                self.command(&tenant, position, done, |line| line.correct(correction));
            }
            Work::Command(Command::Undo { tenant, correction, done }) => {
                self.command(&tenant, position, done, |line| line.undo(&correction));
            }
        }
    }

    /// Does `work` with the line of `tenant`, if there is one for which the step at `position` is new, and says so. The
    /// asker may have gone away.
    fn command(
        &mut self,
        tenant: &Tenant,
        position: Position,
        done: oneshot::Sender<()>,
        work: impl FnOnce(&mut Line),
    ) {
        let is_new = |line: &&mut Line| !self.replays || line.position() < position;
        if let Some(line) = self.lines.get_mut(tenant).filter(is_new) {
            work(line);
        }
        let _ = done.send(());
    }

    /// Goes by `settings` from the step at `position` on. How things stand is on disk before, so that a restart reads
    /// nothing of the log that was decided by others; and lines go on as they would after a restart.
    ///
    /// # Errors
    /// Why it could not be written down; nothing has changed then.
    fn reload(&mut self, settings: Settings, position: Position) -> Result<(), String> {
        if let Some(keeper) = &mut self.keeper {
            let mut all = Vec::with_capacity(self.lines.len());
            for (tenant, line) in &mut self.lines {
                line.done(position, None);
                all.push((tenant.clone(), line.checkpoint().map_err(|error| error.to_string())?));
            }
            keeper.keep_now(all)?;
        }
        self.maker.settings = settings;
        let _runtime = self.maker.runtime.enter();
        for line in self.lines.values_mut() {
            line.reconfigure(&self.maker.settings);
        }
        Ok(())
    }

    /// Ends it: seals and shows all, and writes down how things stand. Deliveries are left to the caller to
    /// end.
    pub(crate) fn finish(self) -> Vec<Deliverer> {
        let mut keeper = self.keeper;
        let finish = |line: Line| line.finish(keeper.as_mut());
        let deliverers = self.lines.into_values().map(finish).collect();
        if let Some(keeper) = keeper {
            keeper.finish();
        }
        deliverers
    }

    /// Does `work` with each line for which the step at `position` is new.
    fn each(&mut self, position: Position, mut work: impl FnMut(&mut Line)) {
        for line in self.lines.values_mut() {
            if self.replays && position <= line.position() {
                continue;
            }
            work(line);
            line.done(position, self.keeper.as_mut().filter(|_| !self.replays));
        }
    }

    /// The tenant's line, made if it is not there, for which the step at `position` is the first.
    fn line(&mut self, tenant: &Tenant, position: Position) -> Result<&mut Line, LineError> {
        match self.lines.entry(tenant.clone()) {
            Entry::Occupied(line) => Ok(line.into_mut()),
            Entry::Vacant(place) => {
                let Made { line, vault } = self.maker.make(tenant, position, self.keeper.is_some())?;
                if let (Some(keeper), Some(vault)) = (&mut self.keeper, vault) {
                    keeper.take_on(tenant, vault, line.position());
                }
                let line = place.insert(line);
                if self.is_recovered {
                    line.misses_past();
                    line.reconcile();
                }
                Ok(line)
            }
        }
    }

    fn submission(&mut self, submission: Submission, position: Position, now: UnixNanos) {
        let (replays, tenant) = (self.replays, submission.tenant.clone());
        let line = match self.line(&tenant, Position(position.0.saturating_sub(1))) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%tenant, %error, "a tenant could not be set up");
                return submission.answer(Err(Refused::Again));
            }
        };
        if replays && position <= line.position() {
            return;
        }
        let Submission { batch, reply, .. } = submission;
        let answer = line.take(batch, now).map_err(|_outdated| Refused::Again);
        // The sender may have gone away meanwhile; its rows are kept all the same.
        let _ = reply.send(answer);
        if let Some(line) = self.lines.get_mut(&tenant) {
            line.done(position, self.keeper.as_mut().filter(|_| !replays));
        }
    }
}

#[cfg(test)]
mod tests;
