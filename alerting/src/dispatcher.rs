//! Tells groups of alerts when their time has come.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use detect::UnixNanos;
use tokio::sync::watch;

use crate::{
    LedgerError, PostedAlert, Reader, Receiver, ShownAlert, ShownGroup, clock,
    ledger::{Desk, Store},
    route::Routing,
    webhook::Origin,
};

/// Longest time between two looks, for a wall clock that is set.
const LONGEST: Duration = Duration::from_secs(10);
/// Time until another attempt when the ledger cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// Who is told of what, at present. Held for as long as something is told or placed by it, so that no group is told
/// by one configuration that was placed by another.
#[derive(Clone, Debug)]
pub(crate) struct Plan(Arc<RwLock<Planned>>);

/// The routing, and whom it leads to.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) routing: Routing,
    pub(crate) receivers: Vec<Receiver>,
}

impl Plan {
    /// Nobody is told of anything.
    pub(crate) fn of_nobody() -> Self {
        Self(Arc::new(RwLock::new(Planned { routing: Routing::to_all(&[]), receivers: Vec::new() })))
    }

    /// The present one, which stays it until it is let go.
    pub(crate) fn hold(&self) -> RwLockReadGuard<'_, Planned> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To replace it.
    pub(crate) fn replace(&self) -> RwLockWriteGuard<'_, Planned> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of alerting that waits and groups, of one ledger: see [`crate::Ledger::dispatcher`].
#[derive(Debug)]
pub struct Dispatcher {
    pub(crate) store: Arc<Store>,
    pub(crate) reader: Reader,
    pub(crate) origin: Origin,
    pub(crate) plan: Plan,
}

impl Dispatcher {
    /// Flushes groups until `stop` turns true. All that it knows is in the ledger: it may be cut off at any time.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut plans = self.store.plans();
        loop {
            plans.mark_unchanged();
            let this = Arc::clone(&self);
            let flushed = tokio::task::spawn_blocking(move || this.flush()).await;
            let wait = match flushed {
                Ok(Ok(Some(next))) => next.since(clock::now()).min(LONGEST),
                Ok(Ok(None)) => LONGEST,
                Ok(Err(error)) => {
                    tracing::error!(%error, "groups of alerts could not be told; will retry");
                    RETRY
                }
                Err(_) => return,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = plans.changed() => if changed.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Tells what is due; when there is more to do. Blocks on the disk.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`]; nothing was told then.
    pub fn flush(&self) -> Result<Option<UnixNanos>, LedgerError> {
        let plan = self.plan.hold();
        let (told, next) = self.store.flush(&self.desk(&plan))?;
        drop(plan);
        if told > 0 {
            self.store.ring();
        }
        Ok(next)
    }

    /// Takes up alerts of others, on disk when it returns; what is wrong with those that were not taken. Those without
    /// an end last for `resolve_timeout`, if they are not posted again. Blocks on the disk.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`]; none was taken then.
    pub fn post(&self, posted: &[PostedAlert], resolve_timeout: Duration) -> Result<Vec<LedgerError>, LedgerError> {
        let plan = self.plan.hold();
        let desk = self.desk(&plan);
        let (told, faults) = self.store.post(&desk, posted, desk.now.plus(resolve_timeout))?;
        drop(plan);
        if told > 0 {
            self.store.ring();
        }
        self.store.replan();
        Ok(faults)
    }

    /// All alerts that fire, oldest first, with who is told and why nobody is. Blocks on the disk.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn alerts(&self) -> Result<Vec<ShownAlert>, LedgerError> {
        self.reader.shown_alerts(&self.plan.hold().routing.clone(), &self.origin)
    }

    /// The same by groups, ordered by their labels and receivers. Blocks on the disk.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn groups(&self) -> Result<Vec<ShownGroup>, LedgerError> {
        self.reader.shown_groups(&self.plan.hold().routing.clone(), &self.origin)
    }

    /// Names of all receivers.
    #[must_use]
    pub fn receivers(&self) -> Vec<String> {
        self.plan.hold().receivers.iter().map(|receiver| receiver.name().to_owned()).collect()
    }

    fn desk<'a>(&'a self, plan: &'a Planned) -> Desk<'a> {
        let Self { store, origin, .. } = self;
        Desk { store, routing: &plan.routing, receivers: &plan.receivers, origin, now: clock::now() }
    }
}
