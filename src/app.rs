//! The service put together: sockets bound, ledger opened, pipeline, deliverer and API started.

use std::{future::Future, sync::Arc, time::Duration};

use alerting::{Deliverer, DeliveryConfig, Ledger};
use detect::{Decision, Engine, Memory, yaml::Fault};
use ingest::{Intake, KnownSeries, KnownTenants, Queue, Receivers, Tenant};
use tokio::{
    net::TcpListener,
    sync::{broadcast, mpsc, watch},
};
use window::Window;

use crate::{
    config::Config,
    pipeline::{self, Inlets, Parts, Pipeline},
    rest::{self, Api, Info},
    view::View,
};

/// Decisions that a slow listener may lag behind before it misses some.
const DECISIONS_KEPT: usize = 4_096;
/// Commands that may wait for the pipeline.
const COMMANDS_WAITING: usize = 64;
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
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error("{0}")]
    Ledger(#[from] alerting::LedgerError),
    /// The deliverer cannot be built.
    #[error("{0}")]
    Delivery(#[from] alerting::DeliveryError),
}

/// A service that is bound and loaded, but takes nothing in yet. Notifications that an earlier run left
/// behind are already being delivered.
#[derive(Debug)]
pub(crate) struct App {
    doors: Receivers,
    api_listener: TcpListener,
    api: Api,
    queue: Queue,
    pipeline: Pipeline,
    inlets: Inlets,
    pipeline_stop: watch::Sender<bool>,
    deliverer: Deliverer,
    decisions: broadcast::Sender<Arc<Decision>>,
    view: watch::Receiver<Arc<View>>,
    info: Arc<Info>,
}

impl App {
    /// Binds all sockets, reads rules, opens the ledger and takes up what it remembers.
    ///
    /// # Errors
    /// [`StartError`]; nothing has been started then.
    pub(crate) async fn build(config: Config) -> Result<Self, StartError> {
        let api_listener = TcpListener::bind(config.api_listen)
            .await
            .map_err(|source| StartError::BindApi { address: config.api_listen, source })?;
        let doors = Receivers::bind(&config.ingest).await?;
        let api_address = api_listener.local_addr().unwrap_or(config.api_listen);
        let external_url = config.external_url.clone().unwrap_or_else(|| format!("http://{api_address}"));
        let rules = config.rules(&external_url).map_err(StartError::Faults)?;
        let ledger = Ledger::open(config.data_dir.join("bellwether.db"))?.with_external_url(&external_url);
        let reader = ledger.reader();
        let engine = Engine::new(config.engine(rules.clone(), &external_url), memory(&reader)?);
        let deliverer = Deliverer::start(&ledger.outbox(), config.receivers.clone(), &DeliveryConfig::default())?;
        let info = Arc::new(Info {
            version: env!("CARGO_PKG_VERSION"),
            started_at: pipeline::now(),
            grpc_address: doors.grpc_address(),
            http_address: doors.http_address(),
            api_address,
            is_encrypted: config.ingest.tls.is_some(),
            wants_certificates: config.ingest.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()),
            is_guarded: !config.ingest.access.credentials.is_empty(),
            data_dir: config.data_dir.clone(),
            external_url,
            rules,
            receivers: config.receivers.iter().map(|r| r.name().to_owned()).collect(),
        });
        let known = Arc::new(KnownSeries::new(config.intake.max_series));
        let tenants = KnownTenants::new(1);
        tenants.add(&Tenant::default(), Arc::clone(&known)).expect("there is room for one");
        let (queue, submissions) = Queue::new(config.queue_bytes, tenants);
        let (command_sender, commands) = mpsc::channel(COMMANDS_WAITING);
        let (view_sender, view) = watch::channel(Arc::new(View::default()));
        let (pipeline_stop, stop) = watch::channel(false);
        let (decisions, _) = broadcast::channel(DECISIONS_KEPT);
        let api = Api {
            view: view.clone(),
            operator: ledger.operator(),
            ledger: reader,
            commands: command_sender,
            decisions: decisions.clone(),
            info: Arc::clone(&info),
            access: doors.access(),
            ingest: doors.counters(),
            delivery: deliverer.counters(),
        };
        let pipeline = Pipeline::new(Parts {
            intake: Intake::new(config.intake, known),
            window: Window::new(config.window),
            engine,
            detect: config.detect,
            ledger,
            receivers: config.receivers,
            keep: config.keep,
            view: view_sender,
            decisions: decisions.clone(),
        });
        let inlets = Inlets { submissions, commands, stop };
        Ok(Self { doors, api_listener, api, queue, pipeline, inlets, pipeline_stop, deliverer, decisions, view, info })
    }

    /// Where it listens and what it has loaded.
    #[must_use]
    pub(crate) fn info(&self) -> &Info {
        &self.info
    }

    /// Every decision from now on, as it is made.
    #[must_use]
    pub(crate) fn decisions(&self) -> broadcast::Receiver<Arc<Decision>> {
        self.decisions.subscribe()
    }

    /// What readers see, now and later.
    #[must_use]
    pub(crate) fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Runs until `shutdown`; then closes the doors, lets the pipeline finish what was taken in, and
    /// ends deliveries in flight.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        let wait = |mut stopped: watch::Receiver<bool>| async move {
            // An error means that the sender is gone, which means the same.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let pipeline = pipeline_thread(self.pipeline, self.inlets);
        let doors = tokio::spawn(self.doors.run(self.queue, wait(stopped.clone())));
        let router = rest::router(self.api);
        let serve = axum::serve(self.api_listener, router).with_graceful_shutdown(wait(stopped.clone()));
        let api = tokio::spawn(async move { serve.await });
        shutdown.await;
        tracing::info!("shutting down: closing the doors");
        let _ = stop.send(true);
        let _ = doors.await;
        let _ = self.pipeline_stop.send(true);
        let _ = tokio::task::spawn_blocking(move || pipeline.join()).await;
        if !self.deliverer.shutdown(DELIVERY_DRAIN).await {
            tracing::warn!("a delivery was still in flight; it will be tried again after the next start");
        }
        // A stream of server-sent events never ends by itself.
        let _ = tokio::time::timeout(API_DRAIN, api).await;
        tracing::info!("stopped");
    }
}

/// Judging is work for a processor and writing blocks on the disk, so the pipeline has a thread of its own.
fn pipeline_thread(pipeline: Pipeline, inlets: Inlets) -> std::thread::JoinHandle<()> {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        match runtime {
            Ok(runtime) => runtime.block_on(pipeline.run(inlets)),
            Err(error) => tracing::error!(%error, "the pipeline could not start"),
        }
    };
    std::thread::Builder::new()
        .name("pipeline".into())
        .spawn(work)
        .expect("a thread can be started while the process starts")
}

/// What the ledger remembers from before.
fn memory(reader: &alerting::Reader) -> Result<Memory, alerting::LedgerError> {
    Ok(Memory {
        alerts: reader.active_alerts()?,
        anomalies: reader.open_anomalies()?,
        levels: reader.levels()?.into_iter().map(|change| (change.service, change.to)).collect(),
        pins: reader.pins()?.into_iter().map(|p| (p.service.map(Into::into), p.pin)).collect(),
        last_seq: reader.greatest_seq()?,
    })
}
