//! Makes a tenant's line: its ledger opened, what it remembers taken up, its deliveries begun.

use std::{path::PathBuf, sync::Arc};

use alerting::{Deliverer, Ledger, SharedPin};
use detect::{Engine, Memory};
use ingest::{Intake, KnownSeries, KnownTenants, Pulse, Tenant};
use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc, oneshot, watch},
};
use window::{Budget, Historian, Position, Window};

use super::{
    Command,
    line::{Line, Parts},
    place,
    settings::Settings,
    vault::{Kept, Standing, Vault, VaultError},
};
use crate::{
    faces::{Face, Faces},
    tape::Tape,
    view::View,
};

/// Decisions that a slow listener may lag behind before it misses some.
const DECISIONS_KEPT: usize = 4_096;

/// Why a tenant's line could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// There are as many as there may be.
    #[error("{0}")]
    Tenants(#[from] ingest::Refused),
    /// Its ledger cannot be used.
    #[error("{0}")]
    Ledger(#[from] alerting::LedgerError),
    /// Its deliverer cannot be built.
    #[error("{0}")]
    Delivery(#[from] alerting::DeliveryError),
    /// What was written down of it cannot be used.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// Its history cannot be taken up.
    #[error("data_dir: the history in {path} cannot be read: {source}")]
    History {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory of tenants cannot be read.
    #[error("data_dir: the tenants in {path} cannot be read: {source}")]
    Directory {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What all lines are made from. Limits are those of each line.
#[derive(Debug)]
pub(crate) struct Maker {
    /// What can be told anew.
    pub settings: Settings,
    /// The past beyond the windows, where it is kept.
    pub history: Option<window::HistoryConfig>,
    /// What the windows of all lines may hold together.
    pub budget: Arc<Budget>,
    /// Where ledgers are.
    pub data_dir: PathBuf,
    /// How this service is reached from where its links are read.
    pub external_url: String,
    /// Where the doors find what is known of each tenant's series; bounds the number of tenants.
    pub known: KnownTenants,
    /// Where readers find each tenant.
    pub faces: Arc<Faces>,
    /// Shows nothing to those who are not known, for as long as the pipeline works.
    pub _nothing: watch::Sender<Arc<View>>,
    /// Where deliveries run.
    pub runtime: Handle,
    /// Whether the doors still take connections.
    pub pulse: Arc<Pulse>,
    /// Where pins are put in force that were set on other nodes, for as long as somebody takes commands.
    pub commands: Option<mpsc::WeakSender<Command>>,
    /// Notes what the default tenant's line judges, where it is to be drawn.
    pub tape: Option<Tape>,
}

/// A line, and where it is written down if it is.
#[derive(Debug)]
pub(super) struct Made {
    /// The line.
    pub(super) line: Line,
    /// Where how it stands is written down.
    pub(super) vault: Option<Vault>,
}

impl Maker {
    /// The tenants whose ledgers are in the data directory, except the default one.
    ///
    /// # Errors
    /// [`LineError::Directory`].
    pub(super) fn remembered(&self) -> Result<Vec<Tenant>, LineError> {
        place::tenants(&self.data_dir).map_err(|source| LineError::Directory { path: self.data_dir.clone(), source })
    }

    /// What keeps the past of `tenant`, if anything does.
    fn historian(&self, tenant: &Tenant) -> Result<Option<Historian>, LineError> {
        let Some(config) = &self.history else { return Ok(None) };
        let path = place::history(&self.data_dir, tenant);
        let started = Historian::start(&path, config.clone());
        started.map(Some).map_err(|source| LineError::History { path, source })
    }

    /// A line for `tenant`, known to the doors and to readers from now on. One that `is_kept` goes on as it
    /// was written down last; one that was not has done all steps up to `position`.
    ///
    /// # Errors
    /// [`LineError`]; nobody knows of it then.
    pub(super) fn make(&self, tenant: &Tenant, position: Position, is_kept: bool) -> Result<Made, LineError> {
        // Before anything is written: a tenant too many leaves no file.
        self.known.of(tenant)?;
        let mut ledger = Ledger::open(place::ledger(&self.data_dir, tenant))?.with_external_url(&self.external_url);
        if *tenant != Tenant::default() {
            ledger = ledger.with_tenant(tenant.as_str());
        }
        ledger.follow_levels(self.settings.level_hooks.clone());
        let reader = ledger.reader();
        let settings = &self.settings;
        ledger.route(settings.routing(), &settings.receivers)?;
        let dispatcher = Arc::new(ledger.dispatcher(settings.receivers.clone()));
        let deliverer = {
            let _runtime = self.runtime.enter();
            let delivery = settings.delivery_of(tenant);
            let mut deliverer = Deliverer::start(&ledger.outbox(), &settings.receivers, &delivery)?;
            deliverer.dispatch(Arc::clone(&dispatcher));
            if let Some((pins, commands)) = deliverer.heard_pins().zip(self.commands.clone()) {
                self.runtime.spawn(put_in_force(pins, commands, tenant.clone()));
            }
            deliverer
        };
        let known = Arc::new(KnownSeries::new(settings.intake.max_series));
        let (vault, kept) = match is_kept.then(|| Vault::open(&place::directory(&self.data_dir, tenant))).transpose()? {
            Some((vault, kept)) => (Some(vault), kept),
            None => (None, None),
        };
        let (mut state, position, standing) = self.state(&known, kept, position);
        state.window.join_budget(Arc::clone(&self.budget));
        if vault.is_some() {
            state.window.keep_unsaved();
        }
        if let Some(historian) = self.historian(tenant)? {
            state.window.lend(historian);
        }
        let (view_sender, view) = watch::channel(Arc::new(View::default()));
        let (decisions, _) = broadcast::channel(DECISIONS_KEPT);
        let face = Face {
            tenant: tenant.clone(),
            view,
            decisions: decisions.clone(),
            ledger: reader,
            operator: Some(ledger.operator()),
            dispatcher: Some(dispatcher),
            delivery: deliverer.counters(),
            intake_rate: Arc::default(),
        };
        self.known.add(tenant, Arc::clone(&known))?;
        self.faces.add(face);
        let State { intake, window, engine } = state;
        let parts = Parts {
            tenant: tenant.clone(),
            intake,
            window,
            engine,
            detect: settings.detect,
            receivers: settings.receivers.clone(),
            heartbeat: settings.heartbeat_of(tenant),
            pulse: Arc::clone(&self.pulse),
            keep: settings.keep,
            view: view_sender,
            decisions,
            ledger,
            deliverer,
            tape: self.tape.clone().filter(|_| *tenant == Tenant::default()),
        };
        Ok(Made { line: Line::new(parts, position, standing), vault })
    }

    /// The state of a line as it was `kept`; one that knows nothing yet if it was not.
    fn state(&self, known: &Arc<KnownSeries>, kept: Option<Kept>, position: Position) -> (State, Position, Standing) {
        let Settings { intake, window: sizes, engine, .. } = &self.settings;
        let restored = kept.and_then(|kept| {
            let Kept { position, standing, intake, window, engine, tables } = kept;
            match Window::restore(sizes.clone(), window, tables) {
                Ok(window) => Some((position, standing, intake, window, engine)),
                Err(error) => {
                    tracing::error!(%error, "the state cannot be used: detectors warm up again");
                    None
                }
            }
        });
        let Some((position, standing, held, window, core)) = restored else {
            let state = State {
                intake: Intake::new(intake.clone(), Arc::clone(known)),
                window: Window::new(sizes.clone()),
                engine: Engine::new(engine.clone(), Memory::default()),
            };
            return (state, position, Standing::default());
        };
        let engine = core.resume(engine.clone(), window.snapshot());
        let intake = Intake::restore(intake.clone(), Arc::clone(known), held);
        (State { intake, window, engine }, position, standing)
    }
}

/// Puts pins in force that were set on other nodes, for as long as any may be heard.
async fn put_in_force(
    mut pins: mpsc::UnboundedReceiver<SharedPin>,
    commands: mpsc::WeakSender<Command>,
    tenant: Tenant,
) {
    while let Some(SharedPin { pin, withdrawn }) = pins.recv().await {
        let Some(commands) = commands.upgrade() else { return };
        let (done, _) = oneshot::channel();
        let (service, pin) = (pin.service.map(Arc::from), (!withdrawn).then_some(pin.pin));
        if commands.send(Command::Pin { tenant: tenant.clone(), service, pin, done }).await.is_err() {
            return;
        }
    }
}

/// What of a line decides.
struct State {
    intake: Intake,
    window: Window,
    engine: Engine,
}

/// What the ledger remembers from before.
pub(super) fn memory(reader: &alerting::Reader) -> Result<Memory, alerting::LedgerError> {
    Ok(Memory {
        alerts: reader.active_alerts()?,
        anomalies: reader.open_anomalies()?,
        levels: reader.levels()?.into_iter().map(|change| (change.service, change.to)).collect(),
        pins: reader.pins()?.into_iter().map(|p| (p.service.map(Into::into), p.pin)).collect(),
        last_seq: reader.greatest_seq()?,
    })
}
