//! Delivery: from the outbox to the receivers.
//!
//! One worker per receiver, so that a hung receiver delays nobody else; each worker has one request
//! in flight and keeps nothing in memory that is not in the outbox. A worker that dies with the
//! process therefore loses nothing: delivery is at least once, and receivers tell repetitions by
//! `webhook-id`.

mod attempt;
mod retry_after;
mod worker;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet, time::timeout};

use self::worker::{Worker, sweep_orphans};
use crate::{Backoff, DeliveryError, Outbox, Receiver};

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
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            longest_retry_after: Duration::from_hours(1),
            give_up_after: Duration::from_hours(75),
            poll: Duration::from_secs(30),
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
    /// Starts one worker per receiver on the current tokio runtime.
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
    pub fn start(outbox: &Outbox, receivers: Vec<Receiver>, config: &DeliveryConfig) -> Result<Self, DeliveryError> {
        config.check()?;
        let mut names = HashSet::new();
        for receiver in &receivers {
            if !names.insert(receiver.name().to_owned()) {
                return Err(DeliveryError::DuplicateReceiver { name: receiver.name().to_owned() });
            }
        }
        let client = attempt::client()?;
        let counters = Arc::new(Counters::default());
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for receiver in receivers {
            let worker = Worker {
                outbox: outbox.clone(),
                receiver: Arc::new(receiver),
                client: client.clone(),
                config: config.clone(),
                counters: Arc::clone(&counters),
                bell: outbox.bell(),
                stop: stopped.clone(),
            };
            workers.spawn(worker.run());
        }
        let known = names.into_iter().collect();
        workers.spawn(sweep_orphans(outbox.clone(), known, config.give_up_after, Arc::clone(&counters), stopped));
        Ok(Self { workers, stop, counters })
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

#[cfg(test)]
mod tests;
