//! Tells groups of alerts when their time has come.

use std::{sync::Arc, time::Duration};

use detect::UnixNanos;
use tokio::sync::watch;

use crate::{LedgerError, Receiver, clock, ledger::Store, route::Routing, webhook::Origin};

/// Longest time between two looks, for a wall clock that is set.
const LONGEST: Duration = Duration::from_secs(10);
/// Time until another attempt when the ledger cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// The part of alerting that waits: see [`crate::Ledger::dispatcher`].
#[derive(Debug)]
pub struct Dispatcher {
    pub(crate) store: Arc<Store>,
    pub(crate) origin: Origin,
    pub(crate) routing: Routing,
    pub(crate) receivers: Vec<Receiver>,
}

impl Dispatcher {
    /// Flushes groups until `stop` turns true. All that it knows is in the ledger: it may be cut off at any time.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut plans = this.store.plans();
        loop {
            plans.mark_unchanged();
            let work = Arc::clone(&this);
            let flushed = tokio::task::spawn_blocking(move || work.flush()).await;
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

    /// Tells what is due; when the next group is.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`]; nothing was told then.
    pub fn flush(&self) -> Result<Option<UnixNanos>, LedgerError> {
        let (told, next) = self.store.flush(&self.routing, &self.receivers, &self.origin)?;
        if told > 0 {
            self.store.ring();
        }
        Ok(next)
    }
}
