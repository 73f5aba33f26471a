//! The service put together: sockets bound, ledger opened, pipeline, deliverer and API started.

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use alerting::Deliverer;
use detect::{Decision, rules::RuleGroup, yaml::Fault};
use ingest::{Decoder, KnownTenants, Pulse, Queue, Receivers, Submission, Tenant};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
};

use window::{Log, LogConfig, LogError};

use crate::{
    config::Config,
    faces::Faces,
    journal::{Durability, Inlets, Journal, LogStatus, Step, Work},
    pipeline::{self, Command, Keeper, LineError, Maker, Pipeline, Settings},
    reload::{Hearers, ReloadStatus, Reloader, Source},
    rest::{self, Api, Gate, Info, Present, Start},
    runbooks::Runbooks,
    view::View,
};

/// Commands that may wait for the pipeline.
const COMMANDS_WAITING: usize = 64;
/// Steps that may wait between the log and the pipeline. Their bytes are bounded with the queue's.
const STEPS_WAITING: usize = 1_024;
/// Where in the data directory the log is.
const LOG: &str = "log";
/// How long requests to the API have to end once the service is shutting down.
const API_DRAIN: Duration = Duration::from_secs(5);
/// How long the deliverer has to finish requests in flight.
const DELIVERY_DRAIN: Duration = Duration::from_secs(10);

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Files with faults.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
    /// A door's address is taken or not ours, or its certificates cannot be used.
    #[error("{0}")]
    Bind(#[from] ingest::ReceiverError),
    /// The API's address is taken or not ours.
    #[error("cannot listen on {address} (listen.api): {source}")]
    BindApi {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log cannot be opened.
    #[error("data_dir: {0}")]
    Log(#[from] LogError),
    /// There is no memory for an empty ledger.
    #[error("{0}")]
    Faces(#[from] alerting::LedgerError),
    /// A tenant cannot be set up: its ledger cannot be used, its deliverer cannot be built, or there are
    /// more of them than `tenants.max`.
    #[error("{0}")]
    Line(#[from] LineError),
}

/// A service that is bound and loaded, but takes nothing in yet. Notifications that an earlier run left
/// behind are already being delivered.
#[derive(Debug)]
pub(crate) struct App {
    doors: Receivers,
    api: Served,
    queue: Queue,
    journal: Journal,
    pipeline: Pipeline,
    inlets: Inlets,
    pipeline_stop: watch::Sender<bool>,
    faces: Arc<Faces>,
    info: Present,
    reloader: Arc<Reloader>,
}

/// The API's socket, served from the moment at which it is bound; no longer when this is dropped.
#[derive(Debug)]
struct Served {
    gate: Gate,
    /// Tells it to end, and the doors, which end with it.
    stop: watch::Sender<bool>,
    task: JoinSet<std::io::Result<()>>,
}

impl Served {
    fn begin(listener: TcpListener) -> Self {
        let (gate, (stop, stopped)) = (Gate::default(), watch::channel(false));
        let serve = axum::serve(listener, gate.router()).with_graceful_shutdown(told(stopped));
        let mut task = JoinSet::new();
        task.spawn(async move { serve.await });
        Self { gate, stop, task }
    }
}

/// Waits until told to stop.
async fn told(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which means the same.
    let _ = stopped.wait_for(|stop| *stop).await;
}

impl App {
    /// Binds all sockets, reads rules, opens the ledger and takes up what it remembers; until it has, the API says
    /// that it is starting. A reload reads the configuration from `source`.
    ///
    /// # Errors
    /// [`StartError`]; nothing has been started then.
    pub(crate) async fn build(config: Config, source: Source) -> Result<Self, StartError> {
        let api_listener = TcpListener::bind(config.api_listen)
            .await
            .map_err(|source| StartError::BindApi { address: config.api_listen, source })?;
        let api_address = api_listener.local_addr().unwrap_or(config.api_listen);
        let external_url = config.external_url.clone().unwrap_or_else(|| format!("http://{api_address}"));
        let rules = config.rules(&external_url).map_err(StartError::Faults)?;
        let runbooks = Runbooks::load(config.runbooks_dir.as_deref()).map_err(StartError::Faults)?;
        let doors = Receivers::bind(&config.doors(&rules)).await?;
        let served = Served::begin(api_listener);
        let (command_sender, commands) = mpsc::channel(COMMANDS_WAITING);
        let Line { journal, pipeline, queue, submissions, faces, log, known } =
            line(&config, rules.clone(), &external_url, doors.pulse(), command_sender.downgrade())?;
        let start = start(&config, &doors, api_address, external_url);
        let info = Present::new(Info::new(start, &config, rules, runbooks));
        let (pipeline_stop, stop) = watch::channel(false);
        let reloads = Arc::new(ReloadStatus::taken_up(pipeline::now()));
        let hearers = Hearers {
            commands: command_sender.clone(),
            keeper: doors.keeper(),
            known,
            info: info.clone(),
            status: Arc::clone(&reloads),
        };
        let reloader = Arc::new(Reloader::new(source, config, hearers));
        let api = Api {
            faces: Arc::clone(&faces),
            commands: command_sender,
            info: info.clone(),
            access: doors.keeper().access(),
            ingest: doors.counters(),
            log,
            reloads,
            reloader: Some(Arc::clone(&reloader)),
        };
        let inlets = Inlets { submissions, commands, stop };
        // Before anybody is told where it listens.
        served.gate.open(rest::router(api));
        Ok(Self { doors, api: served, queue, journal, pipeline, inlets, pipeline_stop, faces, info, reloader })
    }

    /// What takes up changes of the configuration.
    #[must_use]
    pub(crate) fn reloader(&self) -> Arc<Reloader> {
        Arc::clone(&self.reloader)
    }

    /// Where it listens and what it has loaded.
    #[must_use]
    pub(crate) fn info(&self) -> Arc<Info> {
        self.info.get()
    }

    /// Every decision about the default tenant from now on, as it is made.
    #[must_use]
    pub(crate) fn decisions(&self) -> broadcast::Receiver<Arc<Decision>> {
        self.faces.of(&Tenant::default()).decisions.subscribe()
    }

    /// What readers of the default tenant see, now and later.
    #[must_use]
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.faces.of(&Tenant::default()).view
    }

    /// All tenants, as readers see them.
    #[must_use]
    pub(crate) fn faces(&self) -> Arc<Faces> {
        Arc::clone(&self.faces)
    }

    /// Runs until `shutdown`; then closes the doors, lets the pipeline finish what was taken in, and
    /// ends deliveries in flight.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) {
        let Served { stop, task: mut api, .. } = self.api;
        let pipeline = pipeline_thread(self.journal, self.pipeline, self.inlets);
        let doors = tokio::spawn(self.doors.run(self.queue, told(stop.subscribe())));
        shutdown.await;
        tracing::info!("shutting down: closing the doors");
        let _ = stop.send(true);
        let _ = doors.await;
        let _ = self.pipeline_stop.send(true);
        // Both errors are those of a pipeline that has died, which its own message has explained.
        let deliverers = tokio::task::spawn_blocking(move || pipeline.join()).await.ok().and_then(Result::ok);
        let drains = deliverers.unwrap_or_default().into_iter().map(|d| d.shutdown(DELIVERY_DRAIN));
        let drained = drains.collect::<JoinSet<bool>>().join_all().await;
        if drained.contains(&false) {
            tracing::warn!("a delivery was still in flight; it will be tried again after the next start");
        }
        // A stream of server-sent events never ends by itself.
        let _ = tokio::time::timeout(API_DRAIN, api.join_next()).await;
        tracing::info!("stopped");
    }
}

/// What is settled at the start.
fn start(config: &Config, doors: &Receivers, api_address: SocketAddr, external_url: String) -> Start {
    Start {
        version: env!("CARGO_PKG_VERSION"),
        started_at: pipeline::now(),
        grpc_address: doors.grpc_address(),
        http_address: doors.http_address(),
        api_address,
        is_encrypted: config.ingest.tls.is_some(),
        wants_certificates: config.ingest.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()),
        data_dir: config.data_dir.clone(),
        external_url,
    }
}

/// Judging is work for a processor and writing blocks on the disk, so each has a thread of its own; without
/// a log there is nothing to write.
fn pipeline_thread(journal: Journal, pipeline: Pipeline, inlets: Inlets) -> JoinHandle<Vec<Deliverer>> {
    if !journal.is_durable() {
        return thread("pipeline", move || async move {
            let mut pipeline = pipeline;
            journal.run(inlets, async |step| pipeline.step(step)).await;
            pipeline.finish()
        });
    }
    let backlog = journal.backlog();
    let (sender, mut steps) = mpsc::channel::<Step>(STEPS_WAITING);
    let log = thread("log", move || async move {
        // The pipeline ends after the log; if it has died, its own message has explained that.
        journal.run(inlets, async |step| drop(sender.send(step).await)).await;
        Vec::new()
    });
    thread("pipeline", move || async move {
        let mut pipeline = pipeline;
        while let Some(step) = steps.recv().await {
            let is_request = matches!(step.work, Work::Rows(_));
            let began = Instant::now();
            pipeline.step(step);
            if is_request {
                backlog.done(began.elapsed());
            }
        }
        // It has ended before: the channel is closed.
        let _ = log.join();
        pipeline.finish()
    })
}

fn thread<F>(name: &'static str, work: impl FnOnce() -> F + Send + 'static) -> JoinHandle<Vec<Deliverer>>
where
    F: Future<Output = Vec<Deliverer>>,
{
    let run = move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime.block_on(work()),
        Err(error) => {
            tracing::error!(%error, name, "a thread could not start");
            Vec::new()
        }
    };
    std::thread::Builder::new().name(name.into()).spawn(run).expect("a thread can be started while the process starts")
}

/// What requests go through, one behind the other.
struct Line {
    queue: Queue,
    submissions: mpsc::Receiver<Submission>,
    journal: Journal,
    pipeline: Pipeline,
    faces: Arc<Faces>,
    log: Arc<LogStatus>,
    known: KnownTenants,
}

/// The pipeline as it was when it was written down last and with what the log says since, the queue in
/// front of it, and what its readers see.
fn line(
    config: &Config,
    rules: Vec<RuleGroup>,
    external_url: &str,
    pulse: Arc<Pulse>,
    commands: mpsc::WeakSender<Command>,
) -> Result<Line, StartError> {
    let known = KnownTenants::new(config.ingest.admission.max_tenants);
    let (queue, submissions) = Queue::new(config.queue_bytes, known.clone());
    let (faces, nothing) = Faces::new()?;
    let faces = Arc::new(faces);
    let maker = Maker {
        settings: Settings::of(config, rules, external_url),
        history: config.history.clone(),
        budget: window::Budget::new(config.window.max_bytes_total),
        data_dir: config.data_dir.clone(),
        external_url: external_url.to_owned(),
        known: known.clone(),
        faces: Arc::clone(&faces),
        _nothing: nothing,
        runtime: Handle::current(),
        pulse,
        commands: Some(commands),
        tape: None,
    };
    let log = Arc::new(LogStatus::default());
    let is_durable = config.durability != Durability::Memory;
    let mut journal = if is_durable { journal(config, &log)? } else { Journal::in_memory() };
    let with_credential = config.ingest.access.credentials.iter().flat_map(|c| c.tenants.iter().cloned());
    let keeper = is_durable.then(|| Keeper::start(config.checkpoint_every, Arc::clone(&log)));
    let mut pipeline = Pipeline::new(maker, with_credential, keeper)?;
    pipeline.recover(&mut journal, &Decoder::new(config.ingest.limits.clone()));
    let queue = if is_durable { queue.with_requests() } else { queue };
    Ok(Line { queue, submissions, journal, pipeline, faces, log, known })
}

fn journal(config: &Config, status: &Arc<LogStatus>) -> Result<Journal, StartError> {
    // Rows take less than the request that brought them, and a head a few bytes.
    let max_record_bytes = config.ingest.max_request_bytes.saturating_mul(2).max(LogConfig::default().max_record_bytes);
    let log_config = LogConfig { max_record_bytes, ..LogConfig::default() };
    let (log, recovery) = Log::open(&config.data_dir.join(LOG), log_config)?;
    for torn in recovery.torn {
        tracing::info!(?torn, "an end of the log, which was being written when the process ended, was cut off");
    }
    Ok(Journal::durable(log, &config.data_dir, config.durability, Arc::clone(status)))
}
