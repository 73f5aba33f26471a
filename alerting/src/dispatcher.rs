//! Tells groups of alerts when their time has come.

use std::{sync::Arc, time::Duration};

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

/// The part of alerting that waits and groups, of one ledger: see [`crate::Ledger::dispatcher`].
#[derive(Debug)]
pub struct Dispatcher {
    pub(crate) store: Arc<Store>,
    pub(crate) reader: Reader,
    pub(crate) origin: Origin,
    pub(crate) routing: Routing,
    pub(crate) receivers: Vec<Receiver>,
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
        let (told, next) = self.store.flush(&self.desk())?;
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
        let desk = self.desk();
        let (told, faults) = self.store.post(&desk, posted, desk.now.plus(resolve_timeout))?;
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
        self.reader.shown_alerts(&self.routing, &self.origin)
    }

    /// The same by groups, ordered by their labels and receivers. Blocks on the disk.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn groups(&self) -> Result<Vec<ShownGroup>, LedgerError> {
        self.reader.shown_groups(&self.routing, &self.origin)
    }

    /// Names of all receivers.
    pub fn receivers(&self) -> impl Iterator<Item = &str> {
        self.receivers.iter().map(Receiver::name)
    }

    fn desk(&self) -> Desk<'_> {
        let Self { store, routing, receivers, origin, .. } = self;
        Desk { store, routing, receivers, origin, now: clock::now() }
    }
}
