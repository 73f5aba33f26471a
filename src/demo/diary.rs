//! What a demonstration remembers of itself in its data directory, so that one that was killed goes on:
//! when it began and with what, and which notifications its receiver was sent.
//!
//! What was decided stands in the service's own ledger, which is what the demonstration is about.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alerting::{AlertFilter, AnomalyFilter, LedgerError, LevelFilter, Listed, Order, Page, Reader};
use anyhow::{Context, bail};
use detect::{AlertState, AlertTransition, AnomalyEvent, Decision, UnixNanos};
use serde::{Deserialize, Serialize};

use super::sink::Received;

const BEGINNING: &str = "demo.json";
const RECEIVED: &str = "demo-received.jsonl";

/// How a demonstration began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Beginning {
    /// Seed of everything random.
    pub(super) seed: u64,
    /// How long it lasts, in seconds.
    pub(super) duration: u64,
    /// When its shop opened.
    begin: UnixNanos,
}

impl Beginning {
    /// When its shop opened.
    pub(super) fn begin(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(u64::try_from(self.begin.0).unwrap_or(0))
    }
}

/// The demonstration's own files.
#[derive(Clone, Debug)]
pub(super) struct Diary {
    directory: PathBuf,
    /// How it began, if it has begun before and is not over.
    pub(super) before: Option<Beginning>,
}

impl Diary {
    /// The diary in `directory`.
    ///
    /// # Errors
    /// When there is one of another demonstration, or it cannot be read.
    pub(super) fn open(directory: &Path, seed: u64, duration: u64) -> anyhow::Result<Self> {
        let path = directory.join(BEGINNING);
        let before = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => {
                let text = read.with_context(|| format!("cannot read {}", path.display()))?;
                let before: Beginning = serde_json::from_slice(&text)
                    .with_context(|| format!("{} is not a demonstration's", path.display()))?;
                if (before.seed, before.duration) != (seed, duration) {
                    bail!(
                        "--data-dir {}: holds a demonstration with seed {} of {} s, not one with seed {seed} of \
                         {duration} s",
                        directory.display(),
                        before.seed,
                        before.duration,
                    );
                }
                Some(before)
            }
        };
        Ok(Self { directory: directory.to_owned(), before })
    }

    /// Writes down that the shop opens at `begin`.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(super) fn begins(&self, seed: u64, duration: u64, begin: SystemTime) -> anyhow::Result<()> {
        let since = begin.duration_since(UNIX_EPOCH).unwrap_or_default();
        let begin = UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX));
        let text = serde_json::to_vec(&Beginning { seed, duration, begin })?;
        let path = self.directory.join(BEGINNING);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Notes that it is over: the next one begins anew.
    pub(super) fn ends(&self) {
        for name in [BEGINNING, RECEIVED] {
            // What is left is seen at the next start.
            let _ = std::fs::remove_file(self.directory.join(name));
        }
    }

    /// The notifications that were received before, and a file to add to.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub(super) fn received(&self) -> io::Result<(Vec<Received>, File)> {
        std::fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(RECEIVED);
        if self.before.is_none() {
            return Ok((Vec::new(), File::create(path)?));
        }
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
        let lines = BufReader::new(File::open(&path)?).lines().collect::<io::Result<Vec<String>>>()?;
        // A line that was being written when the process ended was not acknowledged: it comes again.
        Ok((lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect(), file))
    }
}

/// What the ledger says was decided, in the order of event time.
///
/// # Errors
/// [`LedgerError`].
pub(super) fn decided(ledger: &Reader) -> Result<Vec<Arc<Decision>>, LedgerError> {
    let mut all: Vec<(UnixNanos, Decision)> = Vec::new();
    let filter = AnomalyFilter::default();
    for anomaly in pages(|page| ledger.anomalies(&filter, page))? {
        all.push((anomaly.emitted_at, Decision::Anomaly(AnomalyEvent::Opened(anomaly))));
    }
    let filter = LevelFilter::default();
    for change in pages(|page| ledger.level_history(&filter, page))? {
        all.push((change.at, Decision::Level(change)));
    }
    let filter = AlertFilter::default();
    for alert in pages(|page| ledger.alerts(&filter, page))? {
        let Some(fired_at) = alert.fired_at else { continue };
        let mut fired = alert.clone();
        (fired.state, fired.resolved_at) = (AlertState::Firing, None);
        let firing = AlertTransition { from: Some(AlertState::Pending), alert: fired, at: fired_at };
        all.push((fired_at, Decision::Alert(firing)));
        if let Some(resolved_at) = alert.resolved_at {
            let resolved = AlertTransition { from: Some(AlertState::Firing), alert, at: resolved_at };
            all.push((resolved_at, Decision::Alert(resolved)));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, decision)| Arc::new(decision)).collect())
}

fn pages<T>(mut ask: impl FnMut(Page) -> Result<Listed<T>, LedgerError>) -> Result<Vec<T>, LedgerError> {
    let mut all = Vec::new();
    let mut page = Page { after: None, order: Order::Ascending, limit: Page::MAX_LIMIT };
    loop {
        let listed = ask(page)?;
        all.extend(listed.items);
        page.after = listed.next;
        if page.after.is_none() {
            return Ok(all);
        }
    }
}
