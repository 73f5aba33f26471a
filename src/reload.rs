//! Takes up a changed configuration while the service runs: whole, or not at all.
//!
//! First everything is read and checked, and compared with what is in force: what is wrong, or would need a restart, is
//! said all at once and nothing changes. Then the pipeline goes by the new settings between two steps, after it has
//! written down how things stand; then the doors and what is shown follow.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
};

use detect::{UnixNanos, rules::RuleGroup, yaml::Fault};
use ingest::{Doorkeeper, KnownTenants};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{
    config::Config,
    pipeline::{Command, Settings, now},
    rest::{Info, Present},
    runbooks::Runbooks,
};

/// Stack of the thread that reads, in bytes: as much as Linux gives to the main thread.
const STACK: usize = 8 << 20;

/// Reads the configuration again, with the arguments on top.
pub(crate) type Source = Arc<dyn Fn() -> Result<Config, Vec<Fault>> + Send + Sync>;

/// Why the configuration stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// What is wrong with files, or cannot be changed while the service runs.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
    /// It could not be put in force.
    #[error("the configuration could not be put in force: {0}")]
    Failed(String),
}

/// How it ended last.
#[derive(Debug)]
pub(crate) struct ReloadStatus {
    is_successful: AtomicBool,
    succeeded_at: AtomicI64,
}

impl ReloadStatus {
    /// That of a configuration that was taken up at `at`.
    #[must_use]
    pub(crate) fn taken_up(at: UnixNanos) -> Self {
        Self { is_successful: true.into(), succeeded_at: at.0.into() }
    }

    /// Whether the last one that was read is in force.
    #[must_use]
    pub(crate) fn is_successful(&self) -> bool {
        self.is_successful.load(Relaxed)
    }

    /// When one was put in force last.
    #[must_use]
    pub(crate) fn succeeded_at(&self) -> UnixNanos {
        UnixNanos(self.succeeded_at.load(Relaxed))
    }
}

/// Takes up changes.
pub(crate) struct Reloader {
    source: Source,
    /// What is in force. Held while something else is put in force: one after the other.
    current: Mutex<Config>,
    commands: mpsc::Sender<Command>,
    keeper: Doorkeeper,
    known: KnownTenants,
    info: Present,
    status: Arc<ReloadStatus>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

/// Who has to hear of changes.
#[derive(Debug)]
pub(crate) struct Hearers {
    /// The pipeline.
    pub commands: mpsc::Sender<Command>,
    /// The doors.
    pub keeper: Doorkeeper,
    /// What bounds the number of tenants.
    pub known: KnownTenants,
    /// What is shown.
    pub info: Present,
    /// How it ended.
    pub status: Arc<ReloadStatus>,
}

impl Reloader {
    /// One that reads from `source`; `current` is in force.
    pub(crate) fn new(source: Source, current: Config, hearers: Hearers) -> Self {
        let Hearers { commands, keeper, known, info, status } = hearers;
        Self { source, current: Mutex::new(current), commands, keeper, known, info, status }
    }

    /// Reads the configuration again and puts it in force.
    ///
    /// # Errors
    /// [`ReloadError`]; everything is as it was then, and the log says why.
    pub(crate) async fn reload(&self) -> Result<Arc<Info>, ReloadError> {
        let mut current = self.current.lock().await;
        match self.take_up(&current).await {
            Ok((config, info)) => {
                *current = config;
                self.status.succeeded_at.store(now().0, Relaxed);
                self.status.is_successful.store(true, Relaxed);
                tracing::info!(rules = info.rules.len(), receivers = info.receivers.len(), "configuration reloaded");
                Ok(info)
            }
            Err(error) => {
                self.status.is_successful.store(false, Relaxed);
                match &error {
                    ReloadError::Faults(faults) => {
                        for fault in faults {
                            tracing::error!(%fault, "configuration not reloaded; the old one stays in force");
                        }
                    }
                    ReloadError::Failed(reason) => {
                        tracing::error!(reason, "configuration not reloaded; the old one stays in force");
                    }
                }
                Err(error)
            }
        }
    }

    /// Reads and checks all that there is to read, on a thread of its own: with as much stack as the main thread has,
    /// which reads the same at the start, since files may nest deeply.
    async fn read(&self, current: &Config, external_url: &str) -> Result<Read, ReloadError> {
        let (source, current, external_url) = (Arc::clone(&self.source), current.clone(), external_url.to_owned());
        let (done, is_done) = oneshot::channel();
        // The asker may have gone away.
        let work = move || drop(done.send(read(&source, &current, &external_url)));
        let started = std::thread::Builder::new().name("reload".into()).stack_size(STACK).spawn(work);
        started.map_err(|error| ReloadError::Failed(format!("a thread could not be started: {error}")))?;
        let read = is_done.await.map_err(|_| ReloadError::Failed("reading it has failed".to_owned()))?;
        read.map_err(ReloadError::Faults)
    }

    async fn take_up(&self, current: &Config) -> Result<(Config, Arc<Info>), ReloadError> {
        let before = self.info.get();
        let Read { config, rules, runbooks } = self.read(current, &before.start.external_url).await?;
        let (doors, settings) =
            (config.doors(&rules), Settings::of(&config, rules.clone(), &before.start.external_url));
        let (done, is_done) = oneshot::channel();
        let stopping = || ReloadError::Failed("the service is shutting down".to_owned());
        let command = Command::Reload { settings: Box::new(settings), done };
        self.commands.send(command).await.map_err(|_| stopping())?;
        is_done.await.map_err(|_| stopping())?.map_err(ReloadError::Failed)?;
        self.known.limit(doors.admission.max_tenants);
        self.keeper.reconfigure(&doors);
        let info = Arc::new(Info::new(before.start.clone(), &config, rules, runbooks));
        self.info.replace(Arc::clone(&info));
        Ok((config, info))
    }
}

/// What was read, and nothing of it is wrong.
struct Read {
    config: Config,
    rules: Vec<RuleGroup>,
    runbooks: Runbooks,
}

fn read(source: &Source, current: &Config, external_url: &str) -> Result<Read, Vec<Fault>> {
    let config = source()?;
    let fixed = current.needs_restart(&config);
    if !fixed.is_empty() {
        return Err(fixed);
    }
    match (config.rules(external_url), Runbooks::load(config.runbooks_dir.as_deref())) {
        (Ok(rules), Ok(runbooks)) => Ok(Read { config, rules, runbooks }),
        (rules, runbooks) => Err([rules.err(), runbooks.err()].into_iter().flatten().flatten().collect()),
    }
}
