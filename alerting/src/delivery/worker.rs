//! The loop that serves one receiver.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use detect::UnixNanos;
use reqwest::Client;
use tokio::{sync::watch, time::sleep};

use super::{
    Counters, DeliveryConfig,
    attempt::{self, Reaction},
};
use crate::{
    LedgerError, Outbox, Receiver, clock,
    ledger::{Due, Next, Verdict},
};

/// How long to wait after the ledger failed.
const LEDGER_PAUSE: Duration = Duration::from_secs(1);
/// How often notifications without a receiver are looked for.
const SWEEP: Duration = Duration::from_hours(1);

/// Serves one receiver, one request at a time.
pub(super) struct Worker {
    pub(super) outbox: Outbox,
    pub(super) receiver: Arc<Receiver>,
    pub(super) client: Client,
    pub(super) config: DeliveryConfig,
    pub(super) counters: Arc<Counters>,
    pub(super) bell: watch::Receiver<u64>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Worker {
    /// Until it is stopped.
    pub(super) async fn run(mut self) {
        while !*self.stop.borrow() {
            // Marked as heard before looking, so that what is added while looking rings again.
            self.bell.borrow_and_update();
            match self.next().await {
                Ok(Next::Now(due)) => self.deliver(due).await,
                Ok(Next::In(wait)) => self.rest(wait.min(self.config.poll)).await,
                Ok(Next::Nothing) => self.rest(self.config.poll).await,
                Err(error) => {
                    tracing::error!(receiver = self.receiver.name(), %error, "cannot read the outbox");
                    self.pause().await;
                }
            }
        }
    }

    async fn next(&self) -> Result<Next, LedgerError> {
        let (outbox, receiver) = (self.outbox.clone(), Arc::clone(&self.receiver));
        let longest = self.config.longest_retry_after;
        blocking(move || outbox.next(receiver.name(), clock::now(), longest)).await
    }

    async fn deliver(&mut self, due: Due) {
        let reaction = attempt::post(&self.client, &self.receiver, &due).await;
        let now = clock::now();
        let verdict = verdict(&self.config, &due, reaction, now, fastrand::f64());
        self.report(&due, &verdict);
        // Written down before anything else is sent: a ledger that cannot be written must not turn
        // into a flood of repetitions.
        while let Err(error) = self.settle(&due, &verdict, now).await {
            tracing::error!(receiver = self.receiver.name(), %error, "cannot write down a delivery");
            self.pause().await;
            if *self.stop.borrow() {
                return;
            }
        }
    }

    async fn settle(&self, due: &Due, verdict: &Verdict, now: UnixNanos) -> Result<(), LedgerError> {
        let (outbox, id, verdict) = (self.outbox.clone(), due.id.clone(), verdict.clone());
        blocking(move || outbox.settle(&id, &verdict, now)).await
    }

    fn report(&self, due: &Due, verdict: &Verdict) {
        let (receiver, id, attempts) = (self.receiver.name(), &due.id, due.attempts + 1);
        match verdict {
            Verdict::Delivered { .. } => {
                self.counters.delivered.fetch_add(1, Relaxed);
                tracing::info!(receiver, id, attempts, "notification delivered");
            }
            Verdict::Retry { error, .. } => {
                self.counters.failed_attempts.fetch_add(1, Relaxed);
                tracing::warn!(receiver, id, attempts, error, "notification not delivered, will be retried");
            }
            Verdict::GiveUp { error, .. } => {
                self.counters.failed_attempts.fetch_add(1, Relaxed);
                self.counters.given_up.fetch_add(1, Relaxed);
                tracing::error!(receiver, id, attempts, error, "notification given up");
            }
        }
    }

    /// Until the wait is over, there is something new, or the worker is stopped.
    async fn rest(&mut self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            _ = self.bell.changed() => {}
            _ = self.stop.changed() => {}
        }
    }

    /// Deaf to the bell, so that a broken ledger is not asked in a tight loop.
    async fn pause(&mut self) {
        tokio::select! {
            () = sleep(LEDGER_PAUSE) => {}
            _ = self.stop.changed() => {}
        }
    }
}

/// What the receiver's reaction means for the notification. `fraction`, drawn from [0, 1), is the
/// jitter; it does not apply to a wait that the receiver asked for.
fn verdict(config: &DeliveryConfig, due: &Due, reaction: Reaction, now: UnixNanos, fraction: f64) -> Verdict {
    let (status, error, after) = match reaction {
        Reaction::Taken { status } => return Verdict::Delivered { status },
        Reaction::Gone { status, error } => return Verdict::GiveUp { status: Some(status), error },
        Reaction::Failed { status, error, after } => (status, error, after),
    };
    let wait = match after {
        Some(asked) => asked.clamp(config.backoff.start, config.longest_retry_after),
        None => config.backoff.wait(due.attempts.saturating_add(1), fraction),
    };
    let at = now.plus(wait);
    if at.since(due.created_at) > config.give_up_after {
        let error = format!("given up after {} attempts: {error}", due.attempts.saturating_add(1));
        return Verdict::GiveUp { status, error };
    }
    Verdict::Retry { status, error, at }
}

/// Gives up, now and every hour, notifications that nobody will deliver.
pub(super) async fn sweep_orphans(
    outbox: Outbox,
    known: Vec<String>,
    age: Duration,
    counters: Arc<Counters>,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let (outbox, known, now) = (outbox.clone(), known.clone(), clock::now());
        match blocking(move || outbox.give_up_orphans(&known, now.minus(age), now)).await {
            Ok(0) => {}
            Ok(count) => {
                counters.given_up.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Relaxed);
                tracing::error!(count, "notifications given up: their receivers are no longer configured");
            }
            Err(error) => tracing::error!(%error, "cannot look for notifications without a receiver"),
        }
        tokio::select! {
            () = sleep(SWEEP) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(LedgerError::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    fn judged(attempts: u32, reaction: Reaction) -> Verdict {
        let due = Due { id: "m".into(), payload: "{}".into(), attempts, created_at: at(0) };
        verdict(&DeliveryConfig::default(), &due, reaction, at(1000), 0.5)
    }

    fn failed(after: Option<Duration>) -> Reaction {
        Reaction::Failed { status: Some(503), error: "busy".into(), after }
    }

    fn retried(seconds: i64, extra_nanos: i64) -> Verdict {
        let at = UnixNanos(at(seconds).0 + extra_nanos);
        Verdict::Retry { status: Some(503), error: "busy".into(), at }
    }

    #[test]
    fn a_failure_waits_a_share_of_the_ceiling_of_its_attempt() {
        assert_eq!(judged(0, failed(None)), retried(1000, 500_000_000));
        assert_eq!(judged(4, failed(None)), retried(1008, 0));
    }

    #[test]
    fn retry_after_is_obeyed_between_the_first_wait_and_the_longest() {
        assert_eq!(judged(0, failed(Some(Duration::from_secs(120)))), retried(1120, 0));
        assert_eq!(judged(9, failed(Some(Duration::ZERO))), retried(1001, 0));
        assert_eq!(judged(0, failed(Some(Duration::from_secs(u64::MAX)))), retried(4600, 0));
    }

    #[test]
    fn a_notification_is_given_up_at_its_age_or_when_the_receiver_is_gone() {
        let config = DeliveryConfig { give_up_after: Duration::from_secs(1000), ..DeliveryConfig::default() };
        let due = Due { id: "m".into(), payload: "{}".into(), attempts: 6, created_at: at(0) };
        let verdict = verdict(&config, &due, failed(None), at(1000), 0.5);
        let error = "given up after 7 attempts: busy".to_owned();
        assert_eq!(verdict, Verdict::GiveUp { status: Some(503), error });
        let gone = Reaction::Gone { status: 410, error: "gone".into() };
        assert_eq!(judged(0, gone), Verdict::GiveUp { status: Some(410), error: "gone".into() });
    }
}
