//! Writes down how attempts ended, many in one transaction: each commit waits for the disk, and a busy outbox has
//! hundreds of attempts that end in that time.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use crate::{Outbox, ledger::Settlement};

/// How long to wait after the ledger failed.
const LEDGER_PAUSE: Duration = Duration::from_secs(1);
/// Settlements in one transaction.
const TOGETHER: usize = 512;

type Wanted = (Settlement, oneshot::Sender<()>);

/// Where settlements are handed in.
#[derive(Clone, Debug)]
pub(super) struct Settler(mpsc::Sender<Wanted>);

impl Settler {
    /// One, and the task that does its work until all of them are gone, or `stop` says so while nothing can
    /// be written.
    pub(super) fn new(outbox: Outbox, stop: watch::Receiver<bool>) -> (Self, impl Future<Output = ()>) {
        let (sender, wanted) = mpsc::channel(TOGETHER);
        (Self(sender), write(outbox, wanted, stop))
    }

    /// Returns when it is on disk, or nothing is written any more.
    pub(super) async fn settle(&self, settlement: Settlement) {
        let (done, written) = oneshot::channel();
        if self.0.send((settlement, done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

async fn write(outbox: Outbox, mut wanted: mpsc::Receiver<Wanted>, mut stop: watch::Receiver<bool>) {
    let mut batch = Vec::new();
    while wanted.recv_many(&mut batch, TOGETHER).await > 0 {
        let (settlements, waiting): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        // Written down before anything else is sent: a ledger that cannot be written must not turn into a
        // flood of repetitions.
        while let Err(error) = settle(&outbox, settlements.clone()).await {
            tracing::error!(%error, waiting = settlements.len(), "cannot write down deliveries");
            if *stop.borrow() {
                return;
            }
            // Deaf to all else, so that a broken ledger is not asked in a tight loop.
            tokio::select! {
                () = sleep(LEDGER_PAUSE) => {}
                _ = stop.changed() => {}
            }
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}

async fn settle(outbox: &Outbox, settlements: Vec<Settlement>) -> Result<(), crate::LedgerError> {
    outbox.blocking(move |outbox| outbox.settle(&settlements)).await
}
