//! Delivery: from the outbox to the receivers.
//!
//! One worker per endpoint (an integration of a receiver), so that a hung one delays nobody else; each
//! worker has a bounded number of attempts in flight, those of one thread of messages one after the other, and
//! keeps nothing in memory that is not in the outbox. A worker that dies with the process therefore loses
//! nothing: delivery is at least once, and receivers tell repetitions by `webhook-id`.

mod attempt;
mod destinations;
mod gate;
mod mail;
mod resender;
mod retry_after;
mod settler;
mod test;
mod worker;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet, time::timeout};

use self::{
    attempt::Sender,
    settler::Settler,
    worker::{Worker, sweep_orphans},
};
pub use self::{
    destinations::Destinations,
    test::{TestOutcome, notify_test},
};
use crate::{
    Backoff, DeliveryError, Dispatcher, Integration, Outbox, Receiver, Target,
    ledger::{Endpoint, StandIn},
};

/// How persistent delivery is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// Waits between attempts. Default 1 s to 5 min.
    pub backoff: Backoff,
    /// Longest wait that a receiver's `Retry-After` can ask for; a longer one is cut to this.
    /// At least `backoff.cap`. Default 1 h.
    pub longest_retry_after: Duration,
    /// Age of a notification at which it is given up after a failed attempt. Above zero. Default 75 h.
    pub give_up_after: Duration,
    /// How often a worker looks into the outbox when nobody wakes it. Above zero. Default 30 s.
    pub poll: Duration,
    /// Where notifications may go. Default: not into the private network.
    pub destinations: Destinations,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            longest_retry_after: Duration::from_hours(1),
            give_up_after: Duration::from_hours(75),
            poll: Duration::from_secs(30),
            destinations: Destinations::default(),
        }
    }
}

impl DeliveryConfig {
    fn check(&self) -> Result<(), DeliveryError> {
        let refuse = |field, expected, actual| Err(DeliveryError::Config { field, expected, actual });
        if self.backoff.start.is_zero() {
            return refuse("backoff.start", "more than 0 s", self.backoff.start);
        }
        if self.backoff.cap < self.backoff.start {
            return refuse("backoff.cap", "at least backoff.start", self.backoff.cap);
        }
        if self.longest_retry_after < self.backoff.cap {
            return refuse("longest_retry_after", "at least backoff.cap", self.longest_retry_after);
        }
        if self.give_up_after.is_zero() {
            return refuse("give_up_after", "more than 0 s", self.give_up_after);
        }
        if self.poll.is_zero() {
            return refuse("poll", "more than 0 s", self.poll);
        }
        Ok(())
    }
}

/// What delivery has done since it started. How much is pending, the ledger knows
/// ([`crate::Reader::delivery_count`]).
#[derive(Debug, Default)]
pub struct Counters {
    delivered: AtomicU64,
    failed_attempts: AtomicU64,
    given_up: AtomicU64,
}

impl Counters {
    /// Notifications that a receiver took.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Attempts that failed, also those that were followed by a success.
    #[must_use]
    pub fn failed_attempts(&self) -> u64 {
        self.failed_attempts.load(Ordering::Relaxed)
    }

    /// Notifications that were given up.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// Running delivery. Dropping it cuts requests in flight off; they are repeated after a restart.
#[derive(Debug)]
pub struct Deliverer {
    workers: JoinSet<()>,
    stop: watch::Sender<bool>,
    counters: Arc<Counters>,
}

impl Deliverer {
    /// Starts one worker per integration of each receiver on the current tokio runtime.
    ///
    /// Notifications for receivers that are no longer configured wait for them to come back, and are
    /// given up at the age of [`DeliveryConfig::give_up_after`]. Proxies named in the environment are
    /// not used.
    ///
    /// # Errors
    /// [`DeliveryError`] when a setting is out of range, two receivers share a name, or the HTTP client
    /// cannot be set up.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(outbox: &Outbox, receivers: &[Receiver], config: &DeliveryConfig) -> Result<Self, DeliveryError> {
        config.check()?;
        let mut by_name = HashMap::new();
        for receiver in receivers {
            if by_name.insert(receiver.name(), receiver).is_some() {
                return Err(DeliveryError::DuplicateReceiver { name: receiver.name().to_owned() });
            }
        }
        let sender = Sender::new(&config.destinations)?;
        let counters = Arc::new(Counters::default());
        let (stop, stopped) = watch::channel(false);
        let (settler, settling) = Settler::new(outbox.clone(), stopped.clone());
        let mut workers = JoinSet::new();
        workers.spawn(settling);
        let mut known = Vec::new();
        for receiver in receivers {
            let stand_in = receiver.fallback().map(|fallback| {
                let unknown = || DeliveryError::Fallback { receiver: receiver.name().to_owned() };
                let other = by_name.get(fallback.receiver.as_str()).filter(|other| other.name() != receiver.name());
                Ok::<_, DeliveryError>(Arc::new(StandIn::new(other.ok_or_else(unknown)?, fallback.after)))
            });
            let stand_in = stand_in.transpose()?;
            for integration in receiver.integrations() {
                let integration_key = integration.key().to_owned();
                let endpoint = Endpoint { receiver: receiver.name().to_owned(), integration: integration_key };
                known.push(endpoint.clone());
                let worker = Worker {
                    outbox: outbox.clone(),
                    endpoint: Arc::new(endpoint),
                    integration: Arc::new(integration.clone()),
                    stand_in: stand_in.clone(),
                    sender: sender.clone(),
                    settler: settler.clone(),
                    config: config.clone(),
                    counters: Arc::clone(&counters),
                    bell: outbox.bell(),
                    stop: stopped.clone(),
                };
                resend(&worker, integration, &mut workers);
                workers.spawn(worker.run());
            }
        }
        workers.spawn(sweep_orphans(outbox.clone(), known, config.give_up_after, Arc::clone(&counters), stopped));
        Ok(Self { workers, stop, counters })
    }

    /// Lets `dispatcher` tell groups when their time has come, for as long as delivery runs.
    pub fn dispatch(&mut self, dispatcher: Arc<Dispatcher>) {
        self.workers.spawn(dispatcher.run(self.stop.subscribe()));
    }

    /// What delivery has done so far; stays readable after a shutdown.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Starts no further attempt and waits for those in flight, at most `deadline` long; what is not
    /// finished by then is cut off and repeated after a restart. Returns whether all finished.
    pub async fn shutdown(mut self, deadline: Duration) -> bool {
        self.stop.send_replace(true);
        let all = async { while self.workers.join_next().await.is_some() {} };
        timeout(deadline, all).await.is_ok()
    }
}

/// Tells an Alertmanager again what goes on, beside its worker.
fn resend(worker: &Worker, integration: &Integration, workers: &mut JoinSet<()>) {
    if let Target::Alertmanager(peer) = integration.target() {
        let (outbox, endpoint, sender) = (worker.outbox.clone(), Arc::clone(&worker.endpoint), worker.sender.clone());
        let integration = Arc::clone(&worker.integration);
        workers.spawn(resender::run(outbox, endpoint, integration, peer.clone(), sender, worker.stop.clone()));
    }
}

#[cfg(test)]
mod tests;
