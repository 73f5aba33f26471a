//! The loop that serves one endpoint: an integration of a receiver.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use detect::UnixNanos;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Counters, DeliveryConfig,
    attempt::{Failure, Reaction, Sender},
    consent::Consent,
    gate::Gate,
    peers::{Consulted, Peers},
    settler::Settler,
};
use crate::{
    Integration, LedgerError, Outbox, Said, clock,
    ledger::{Due, Endpoint, Room, Settlement, StandIn, Taken, Verdict},
};

/// How long to wait after the ledger failed.
const LEDGER_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked for notifications that the fallback has to be told of.
const HAND_OVER: Duration = Duration::from_secs(1);
/// Questions to peers at once about what is late.
const ASKED_TOGETHER: usize = 64;
/// How often notifications without a receiver are looked for.
const SWEEP: Duration = Duration::from_hours(1);

/// Bytes of the messages on their way to an endpoint: no other is begun while there are more.
const MOST_BYTES: usize = 64 << 20;

/// Bytes below which no message is made shorter, though an endpoint says that it takes no such.
const LEAST_BYTES: usize = 16 << 10;

/// The threads of the messages on their way, and how long those are.
type InFlight = HashMap<String, usize>;

/// Serves one endpoint: as many notifications at once as it takes, those of one thread one after the other.
pub(super) struct Worker {
    pub(super) outbox: Outbox,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) integration: Arc<Integration>,
    pub(super) stand_in: Option<Arc<StandIn>>,
    pub(super) sender: Sender,
    pub(super) peers: Option<Arc<Peers>>,
    pub(super) settler: Settler,
    pub(super) config: DeliveryConfig,
    pub(super) counters: Arc<Counters>,
    pub(super) bell: watch::Receiver<u64>,
    pub(super) stop: watch::Receiver<bool>,
}

/// What every attempt needs.
struct Attempt {
    endpoint: Arc<Endpoint>,
    integration: Arc<Integration>,
    stand_in: Option<Arc<StandIn>>,
    sender: Sender,
    peers: Option<Arc<Peers>>,
    settler: Settler,
    config: DeliveryConfig,
    counters: Arc<Counters>,
    gate: Mutex<Gate>,
    consent: Consent,
    /// Bytes of a body that it may get: less than what it has refused for its length.
    most: AtomicUsize,
}

impl Worker {
    /// Until it is stopped, and what it had begun has ended.
    pub(super) async fn run(mut self) {
        let attempt = Arc::new(self.attempt());
        self.begin(&attempt).await;
        let (mut running, mut in_flight) = (JoinSet::new(), InFlight::new());
        let mut handed_over = None;
        while !*self.stop.borrow() {
            // Marked as heard before looking, so that what is added while looking rings again.
            self.bell.borrow_and_update();
            if self.stand_in.is_some() && handed_over.is_none_or(|at: Instant| at.elapsed() >= HAND_OVER) {
                self.hand_over(&attempt).await;
                handed_over = Some(Instant::now());
            }
            let wait = self.fill(&attempt, &mut running, &mut in_flight).await;
            self.rest(wait, &mut running, &mut in_flight).await;
        }
        while running.join_next().await.is_some() {}
    }

    fn attempt(&self) -> Attempt {
        let rates = self.integration.target().rates();
        Attempt {
            endpoint: Arc::clone(&self.endpoint),
            integration: Arc::clone(&self.integration),
            stand_in: self.stand_in.clone(),
            sender: self.sender.clone(),
            peers: self.peers.clone(),
            settler: self.settler.clone(),
            config: self.config.clone(),
            counters: Arc::clone(&self.counters),
            gate: Mutex::new(Gate::new(self.config.backoff, self.integration.timeout, rates)),
            consent: Consent::default(),
            most: AtomicUsize::new(usize::MAX),
        }
    }

    /// Takes up what is known of the endpoint from before.
    async fn begin(&self, attempt: &Attempt) {
        let (endpoint, digest) = (Arc::clone(&self.endpoint), self.integration.target().digest());
        let longest = self.integration.target().rates().into_iter().map(|(_, window)| window).max().unwrap_or_default();
        let now = clock::now();
        let known = self.outbox.blocking(move |outbox| outbox.begin(&endpoint, &digest, now.minus(longest), now)).await;
        match known {
            Ok(sent) => {
                let (mut gate, instant) = (locked(&attempt.gate), Instant::now());
                for at in sent {
                    gate.has_sent(instant.checked_sub(now.since(at)).unwrap_or(instant));
                }
            }
            Err(error) => tracing::error!(endpoint = %self.endpoint, %error, "cannot read the outbox"),
        }
    }

    /// Begins as many attempts as there is room for; how long to wait when nothing happens.
    async fn fill(
        &mut self,
        attempt: &Arc<Attempt>,
        running: &mut JoinSet<String>,
        in_flight: &mut InFlight,
    ) -> Duration {
        let bytes = MOST_BYTES.saturating_sub(in_flight.values().sum());
        if bytes == 0 {
            return self.config.poll;
        }
        let most = attempt.most_in_flight();
        let room = match locked(&attempt.gate).room(Instant::now(), most, in_flight.len()) {
            // Fetched in portions: one question for each notification would be most of the work.
            Ok(room) if room == 0 || (in_flight.len() > most / 2 && room < most / 4) => return self.config.poll,
            Ok(messages) => Room { messages, bytes },
            Err(wait) => return wait.min(self.config.poll),
        };
        let (endpoint, busy, longest) = (
            Arc::clone(&self.endpoint),
            in_flight.keys().cloned().collect::<Vec<_>>(),
            self.config.longest_retry_after,
        );
        let asked = move |outbox: &Outbox| outbox.take(&endpoint, &busy, room, clock::now(), longest);
        match self.outbox.blocking(asked).await {
            Ok(Taken { due, wait }) => {
                for due in due {
                    locked(&attempt.gate).sends(Instant::now());
                    in_flight.insert(due.episode.clone(), due.payload.len());
                    running.spawn(Arc::clone(attempt).make(due));
                }
                wait.unwrap_or(self.config.poll).min(self.config.poll)
            }
            Err(error) => {
                tracing::error!(endpoint = %self.endpoint, %error, "cannot read the outbox");
                self.pause().await;
                Duration::ZERO
            }
        }
    }

    /// Tells the fallback of what has been pending too long or was given up.
    async fn hand_over(&self, attempt: &Arc<Attempt>) {
        let Some(stand_in) = self.stand_in.clone() else { return };
        if self.peers.is_some() {
            self.ask_about_late(attempt, Arc::clone(&stand_in)).await;
        }
        let endpoint = Arc::clone(&self.endpoint);
        let done = self.outbox.blocking(move |outbox| outbox.hand_over(&endpoint, &stand_in, clock::now())).await;
        match done {
            Ok(0) => {}
            Ok(count) => tracing::warn!(endpoint = %self.endpoint, count, "notifications handed over to the fallback"),
            Err(error) => tracing::error!(endpoint = %self.endpoint, %error, "cannot hand notifications over"),
        }
    }

    /// Nobody need stand in for an endpoint that only peers can reach.
    async fn ask_about_late(&self, attempt: &Arc<Attempt>, stand_in: Arc<StandIn>) {
        let endpoint = Arc::clone(&self.endpoint);
        let late = self.outbox.blocking(move |outbox| outbox.late(&endpoint, &stand_in, clock::now())).await;
        for portion in late.unwrap_or_default().chunks(ASKED_TOGETHER) {
            let asked: JoinSet<()> = portion.iter().map(|due| Arc::clone(attempt).ask(due.clone())).collect();
            asked.join_all().await;
        }
    }

    /// Until the wait is over, an attempt has ended, there is something new, or the worker is stopped.
    async fn rest(&mut self, wait: Duration, running: &mut JoinSet<String>, in_flight: &mut InFlight) {
        let wait = if self.stand_in.is_some() { wait.min(HAND_OVER) } else { wait };
        tokio::select! {
            () = sleep(wait) => {}
            _ = self.bell.changed() => {}
            _ = self.stop.changed() => {}
            Some(ended) = running.join_next() => forget(ended, in_flight),
        }
        while let Some(ended) = running.try_join_next() {
            forget(ended, in_flight);
        }
        if running.is_empty() {
            in_flight.clear();
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

fn forget(ended: Result<String, tokio::task::JoinError>, in_flight: &mut InFlight) {
    if let Ok(episode) = ended {
        in_flight.remove(&episode);
    }
}

/// A panic while the lock was held has left numbers that are as good as any.
fn locked(gate: &Mutex<Gate>) -> MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attempt {
    /// How many notifications may be on their way. Where it has to agree first the gate learns to how much it has, and
    /// until it has, one is enough to ask.
    fn most_in_flight(&self) -> usize {
        let target = self.integration.target();
        let Some(handshake) = target.handshake() else { return target.most_in_flight() };
        let Some(allowed) = self.consent.held(Instant::now()) else { return 1 };
        locked(&self.gate).allow(handshake.per_minute(allowed));
        target.most_in_flight()
    }

    /// Makes one, learns from it and writes down how it ended; the thread that it was of.
    async fn make(self: Arc<Self>, mut due: Due) -> String {
        let said = match self.consult(&mut due).await {
            Consulted { said, by: Some(by) } => {
                self.told(&due, said, by).await;
                return due.episode;
            }
            Consulted { said, by: None } => said,
        };
        let (mut began, mut reaction) = self.send(&due).await;
        while self.has_become_shorter(&reaction, &due) {
            (began, reaction) = self.send(&due).await;
        }
        let now = clock::now();
        let releases = self.learn(&reaction, began, due.attempts);
        let disables = matches!(reaction, Reaction::Gone { .. });
        if disables {
            let endpoint = &self.endpoint;
            tracing::error!(%endpoint, "endpoint is gone (410): nothing more is sent until it has another address, or a replay");
        }
        let too_old = now.minus(self.config.give_up_after);
        let is_failure = matches!(reaction, Reaction::Failed { .. });
        let verdict = verdict(&self.config, &due, reaction, now, fastrand::f64());
        self.report(&due, &verdict);
        let gives_up = is_failure && matches!(verdict, Verdict::GiveUp { .. });
        let settlement = Settlement {
            id: due.id,
            endpoint: Arc::clone(&self.endpoint),
            stand_in: self.stand_in.clone(),
            verdict,
            at: now,
            disables,
            releases,
            gives_up: gives_up.then_some(too_old),
            said,
        };
        self.settler.settle(settlement).await;
        due.episode
    }

    /// Sends it once; when that began, and what came of it.
    async fn send(&self, due: &Due) -> (Instant, Reaction) {
        let (timeout, began) = (locked(&self.gate).timeout(), Instant::now());
        let within = (self.most.load(Relaxed), timeout);
        (began, self.sender.send(&self.integration, due, &self.consent, within).await)
    }

    /// Whether it was too long for the endpoint (413) and is sent with fewer alerts now, as all others are from then on: to
    /// be told of some, and how many there are, is more than to be told of nothing for days.
    fn has_become_shorter(&self, reaction: &Reaction, due: &Due) -> bool {
        let is_too_long = matches!(reaction, Reaction::Failed { status: Some(413), .. });
        let most = self.most.load(Relaxed).min(due.payload.len()) / 2;
        if !is_too_long || !self.integration.is_shortened() || most < LEAST_BYTES {
            return false;
        }
        self.most.store(most, Relaxed);
        tracing::warn!(endpoint = %self.endpoint, most, "endpoint takes no body of that length (413): it gets shorter ones");
        true
    }

    /// Asks peers, where there are any, whether one of them has told it.
    async fn consult(&self, due: &mut Due) -> Consulted {
        match &self.peers {
            Some(peers) => peers.consult(&self.endpoint, due).await,
            None => Consulted::default(),
        }
    }

    /// Asks whether a peer has told it, and sends nothing.
    async fn ask(self: Arc<Self>, mut due: Due) {
        if let Consulted { said, by: Some(by) } = self.consult(&mut due).await {
            self.told(&due, said, by).await;
        }
    }

    /// Writes down that a peer has told it.
    async fn told(&self, due: &Due, said: Vec<Said>, by: String) {
        let verdict = Verdict::Told { by };
        self.report(due, &verdict);
        let settlement = Settlement {
            id: due.id.clone(),
            endpoint: Arc::clone(&self.endpoint),
            stand_in: self.stand_in.clone(),
            verdict,
            at: clock::now(),
            disables: false,
            releases: false,
            gives_up: None,
            said,
        };
        self.settler.settle(settlement).await;
    }

    /// Whether the endpoint has recovered, so that what waits for it need not wait any longer.
    fn learn(&self, reaction: &Reaction, began: Instant, attempts: u32) -> bool {
        let learned = learn(&mut locked(&self.gate), &self.config, reaction, (began, Instant::now()), attempts);
        if learned == Learned::LeftAlone {
            tracing::warn!(endpoint = %self.endpoint, "endpoint is left alone for a while: it fails again and again");
        }
        learned == Learned::Recovered
    }

    fn report(&self, due: &Due, verdict: &Verdict) {
        let (endpoint, id, attempts) = (&self.endpoint, &due.id, due.attempts + 1);
        match verdict {
            Verdict::Delivered { .. } => {
                self.counters.delivered.fetch_add(1, Relaxed);
                tracing::debug!(%endpoint, id, attempts, "notification delivered");
            }
            Verdict::Told { by } => {
                self.counters.told_by_peers.fetch_add(1, Relaxed);
                tracing::debug!(%endpoint, id, by, "notification told by a peer");
            }
            Verdict::Retry { error, .. } => {
                self.counters.failed_attempts.fetch_add(1, Relaxed);
                tracing::warn!(%endpoint, id, attempts, error, "notification not delivered, will be retried");
            }
            Verdict::GiveUp { error, .. } => {
                self.counters.failed_attempts.fetch_add(1, Relaxed);
                self.counters.given_up.fetch_add(1, Relaxed);
                tracing::error!(%endpoint, id, attempts, error, "notification given up");
            }
        }
    }
}

/// What an attempt has shown of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learned {
    /// It is as it was.
    Nothing,
    /// It takes notifications again.
    Recovered,
    /// It has failed so often that it is left alone from now on.
    LeftAlone,
}

/// Tells the gate of an attempt that took from the first time to the second, after so many others.
fn learn(
    gate: &mut Gate,
    config: &DeliveryConfig,
    reaction: &Reaction,
    (began, now): (Instant, Instant),
    attempts: u32,
) -> Learned {
    let Reaction::Failed { after, kind, .. } = reaction else {
        let is_recovered = gate.answered(now.duration_since(began));
        return if is_recovered { Learned::Recovered } else { Learned::Nothing };
    };
    let is_too_much = *kind == Failure::TooMuch;
    let is_left_alone = !is_too_much && gate.failed(began, now, *kind == Failure::Late, fastrand::f64());
    // What it says of one notification it means of all.
    let unsaid = is_too_much.then(|| config.backoff.ceiling(attempts.saturating_add(1)));
    if let Some(wait) = after.or(unsaid) {
        gate.pause(now, wait.min(config.longest_retry_after));
    }
    if is_left_alone { Learned::LeftAlone } else { Learned::Nothing }
}

/// What the place's reaction means for the notification. `fraction`, drawn from [0, 1), is the
/// jitter; it does not apply to a wait that the receiver asked for.
fn verdict(config: &DeliveryConfig, due: &Due, reaction: Reaction, now: UnixNanos, fraction: f64) -> Verdict {
    let (status, error, after) = match reaction {
        Reaction::Taken { status } => return Verdict::Delivered { status },
        Reaction::Gone { status, error } => return Verdict::GiveUp { status: Some(status), error },
        Reaction::Refused { status, error } => return Verdict::GiveUp { status, error },
        Reaction::Failed { status, error, after, kind: _ } => (status, error, after),
    };
    let wait = match after {
        Some(asked) => asked.clamp(config.backoff.start, config.longest_retry_after),
        None => config.backoff.wait(due.attempts.saturating_add(1), fraction),
    };
    let at = now.plus(wait);
    if at.since(due.since) > config.give_up_after {
        let error = format!("given up after {} attempts: {error}", due.attempts.saturating_add(1));
        return Verdict::GiveUp { status, error };
    }
    Verdict::Retry { status, error, at }
}

/// Gives up, now and every hour, notifications that nobody will deliver.
pub(super) async fn sweep_orphans(
    outbox: Outbox,
    known: Vec<Endpoint>,
    age: Duration,
    counters: Arc<Counters>,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let (known, now) = (known.clone(), clock::now());
        match outbox.blocking(move |outbox| outbox.give_up_orphans(&known, now.minus(age), now)).await {
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

impl Outbox {
    /// Does `work` on a thread that may block.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let outbox = self.clone();
        tokio::task::spawn_blocking(move || work(&outbox)).await.unwrap_or(Err(LedgerError::Interrupted))
    }
}

#[cfg(test)]
mod tests;
