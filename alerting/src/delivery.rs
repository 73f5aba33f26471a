//! Delivery: from the outbox to the receivers.
//!
//! One worker per endpoint (an integration of a receiver), so that a hung one delays nobody else; each
//! worker has a bounded number of attempts in flight, those of one thread of messages one after the other, and
//! keeps nothing in memory that is not in the outbox. A worker that dies with the process therefore loses
//! nothing: delivery is at least once, and receivers tell repetitions by `webhook-id`.

mod attempt;
mod consent;
mod destinations;
mod gate;
mod mail;
mod peers;
mod resender;
mod retry_after;
mod settler;
mod sharing;
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

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use self::{
    attempt::Sender,
    peers::Peers,
    settler::Settler,
    sharing::Sharing,
    worker::{Worker, sweep_orphans},
};
pub use self::{
    destinations::Destinations,
    test::{TestOutcome, notify_test},
};
use crate::{
    Backoff, Cluster, DeliveryError, Dispatcher, Integration, Outbox, Receiver, SharedPin, Target,
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
    /// The nodes that are fed the same, and tell what the others have not. Default none: this node tells everything.
    pub cluster: Option<Cluster>,
    /// Whose notifications they are, to peers. Default `default`.
    pub tenant: String,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            longest_retry_after: Duration::from_hours(1),
            give_up_after: Duration::from_hours(75),
            poll: Duration::from_secs(30),
            destinations: Destinations::default(),
            cluster: None,
            tenant: "default".to_owned(),
        }
    }
}

impl DeliveryConfig {
    /// How long peers have to tell something before this node does.
    #[must_use]
    pub fn turn(&self) -> Duration {
        self.cluster.as_ref().map_or(Duration::ZERO, Cluster::wait)
    }

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
    template_faults: AtomicU64,
    told_by_peers: AtomicU64,
    failed_questions: AtomicU64,
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

    /// Templates that failed; what they were for was sent with the text that there is without them.
    #[must_use]
    pub fn template_faults(&self) -> u64 {
        self.template_faults.load(Ordering::Relaxed)
    }

    /// Notifications that a peer had told.
    #[must_use]
    pub fn told_by_peers(&self) -> u64 {
        self.told_by_peers.load(Ordering::Relaxed)
    }

    /// Questions that a peer did not answer.
    #[must_use]
    pub fn failed_questions(&self) -> u64 {
        self.failed_questions.load(Ordering::Relaxed)
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
    outbox: Outbox,
    config: DeliveryConfig,
    sender: Sender,
    peers: Option<Arc<Peers>>,
    sharing: Option<Sharing>,
    pins: mpsc::UnboundedSender<SharedPin>,
    heard_pins: Option<mpsc::UnboundedReceiver<SharedPin>>,
    settler: Settler,
    served: HashMap<Endpoint, Served>,
    /// What serves all endpoints, and workers of those that are no longer served, until they have ended.
    common: JoinSet<()>,
    sweeper: JoinSet<()>,
    stop: watch::Sender<bool>,
    counters: Arc<Counters>,
}

/// A worker with what it was made of.
#[derive(Debug)]
struct Served {
    integration: Arc<Integration>,
    stand_in: Option<Arc<StandIn>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Served {
    /// Begins nothing more, and waits for what is in flight.
    async fn end(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// An endpoint as it is to be served.
type Wanted = (Endpoint, Integration, Option<Arc<StandIn>>);

/// Every integration of `receivers`, with who is told instead.
fn wanted(receivers: &[Receiver], config: &DeliveryConfig) -> Result<Vec<Wanted>, DeliveryError> {
    let mut by_name = HashMap::new();
    for receiver in receivers {
        if by_name.insert(receiver.name(), receiver).is_some() {
            return Err(DeliveryError::DuplicateReceiver { name: receiver.name().to_owned() });
        }
    }
    let mut all = Vec::new();
    for receiver in receivers {
        let stand_in = receiver.fallback().map(|fallback| {
            let unknown = || DeliveryError::Fallback { receiver: receiver.name().to_owned() };
            let other = by_name.get(fallback.receiver.as_str()).filter(|other| other.name() != receiver.name());
            Ok::<_, DeliveryError>(Arc::new(StandIn::new(other.ok_or_else(unknown)?, fallback.after, config.turn())))
        });
        let stand_in = stand_in.transpose()?;
        for integration in receiver.integrations() {
            let key = integration.key().to_owned();
            let endpoint = Endpoint { receiver: receiver.name().to_owned(), integration: key };
            all.push((endpoint, integration.clone(), stand_in.clone()));
        }
    }
    Ok(all)
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
        let wanted = wanted(receivers, config)?;
        let counters = Arc::<Counters>::default();
        let sender = Sender::new(&config.destinations, Arc::clone(&counters))?;
        let peers = Peers::of(outbox, config, &counters)?;
        let (pins, heard_pins) = mpsc::unbounded_channel();
        let sharing = Sharing::begin(outbox, config, &counters, &pins)?;
        let (stop, stopped) = watch::channel(false);
        let (settler, settling) = Settler::new(outbox.clone(), stopped);
        let mut common = JoinSet::new();
        common.spawn(settling);
        let mut deliverer = Self {
            outbox: outbox.clone(),
            config: config.clone(),
            sender,
            peers,
            sharing,
            pins,
            heard_pins: Some(heard_pins),
            settler,
            served: HashMap::new(),
            common,
            sweeper: JoinSet::new(),
            stop,
            counters,
        };
        deliverer.serve(wanted);
        Ok(deliverer)
    }

    /// Tells `receivers` from now on, as `config` says. Workers of endpoints that are as they were go on; others end
    /// what they have in flight, and only then begin those that take their places.
    ///
    /// # Errors
    /// As [`Self::start`]; nothing has changed then.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn reconfigure(&mut self, receivers: &[Receiver], config: &DeliveryConfig) -> Result<(), DeliveryError> {
        config.check()?;
        let wanted = wanted(receivers, config)?;
        if *config != self.config {
            let sender = Sender::new(&config.destinations, Arc::clone(&self.counters))?;
            let peers = Peers::of(&self.outbox, config, &self.counters)?;
            self.sharing = Sharing::begin(&self.outbox, config, &self.counters, &self.pins)?;
            self.peers = peers;
            self.sender = sender;
            self.config = config.clone();
            // They know the old configuration.
            for served in self.served.values() {
                served.stop.send_replace(true);
            }
        }
        self.serve(wanted);
        Ok(())
    }

    fn serve(&mut self, wanted: Vec<Wanted>) {
        let mut before = std::mem::take(&mut self.served);
        let endpoints = wanted.iter().map(|(endpoint, ..)| endpoint.clone()).collect();
        for (endpoint, integration, stand_in) in wanted {
            let former = before.remove(&endpoint);
            let is_same = |served: &Served| {
                !*served.stop.borrow() && *served.integration == integration && served.stand_in == stand_in
            };
            let served = match former {
                Some(served) if is_same(&served) => served,
                former => self.begin(&endpoint, integration, stand_in, former),
            };
            self.served.insert(endpoint, served);
        }
        for gone in before.into_values() {
            self.common.spawn(gone.end());
        }
        let (outbox, counters) = (self.outbox.clone(), Arc::clone(&self.counters));
        let sweep = sweep_orphans(outbox, endpoints, self.config.give_up_after, counters, self.stop.subscribe());
        self.sweeper = JoinSet::new();
        self.sweeper.spawn(sweep);
    }

    /// A worker that begins when `former` has ended.
    fn begin(
        &self,
        endpoint: &Endpoint,
        integration: Integration,
        stand_in: Option<Arc<StandIn>>,
        former: Option<Served>,
    ) -> Served {
        let (stop, stopped) = watch::channel(false);
        let integration = Arc::new(integration);
        let worker = Worker {
            outbox: self.outbox.clone(),
            endpoint: Arc::new(endpoint.clone()),
            integration: Arc::clone(&integration),
            stand_in: stand_in.clone(),
            sender: self.sender.clone(),
            peers: self.peers.clone(),
            settler: self.settler.clone(),
            config: self.config.clone(),
            counters: Arc::clone(&self.counters),
            bell: self.outbox.bell(),
            stop: stopped,
        };
        let mut tasks = JoinSet::new();
        resend(&worker, &integration, &mut tasks);
        tasks.spawn(async move {
            if let Some(former) = former {
                former.end().await;
            }
            worker.run().await;
        });
        Served { integration, stand_in, stop, tasks }
    }

    /// Lets `dispatcher` tell groups when their time has come, for as long as delivery runs. It begins when the other
    /// nodes, if there are any, were asked for what is silenced there.
    pub fn dispatch(&mut self, dispatcher: Arc<Dispatcher>) {
        let (asked, mut stop) = (self.sharing.as_ref().map(Sharing::asked_once), self.stop.subscribe());
        self.common.spawn(async move {
            if let Some(asked) = asked {
                tokio::select! {
                    () = asked => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
            dispatcher.run(stop).await;
        });
    }

    /// Pins that were set on other nodes, or taken back there, in order: they are on disk, and to be put in force. Once;
    /// `None` thereafter.
    pub fn heard_pins(&mut self) -> Option<mpsc::UnboundedReceiver<SharedPin>> {
        self.heard_pins.take()
    }

    /// What delivery has done so far; stays readable after a shutdown.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Starts no further attempt and waits for those in flight, at most `deadline` long; what is not
    /// finished by then is cut off and repeated after a restart. Returns whether all finished.
    pub async fn shutdown(self, deadline: Duration) -> bool {
        let Self { served, mut common, mut sweeper, stop, settler, .. } = self;
        stop.send_replace(true);
        let all = async {
            let workers: JoinSet<()> = served.into_values().map(Served::end).collect();
            workers.join_all().await;
            // The task behind it ends when nobody can hand anything in any more.
            drop(settler);
            while common.join_next().await.is_some() {}
            while sweeper.join_next().await.is_some() {}
        };
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
