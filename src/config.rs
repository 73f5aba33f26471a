//! The configuration: what the user typed, checked whole before anything starts.
//!
//! Every key has a default, so that no file is needed. Faults are collected and reported at once,
//! each with its line and what was expected; nothing is clamped.

mod cluster;
mod doors;
mod file;
mod fixed;
mod metrics;
mod objectives;
mod receivers;
mod routing;
mod secrets;
mod templates;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use alerting::{Damping, DeliveryConfig, Heartbeat, LevelHook, Receiver, Routing};
use detect::{EngineConfig, rules::RuleGroup, yaml::Fault};
use ingest::{IntakeConfig, UsedMetrics};
use query::Query;

use crate::{journal::Durability, rest::Origins};

pub(crate) use file::{read, read_rules, read_text};
pub(crate) use objectives::read_openslo;

/// Evaluations of flags a second, for each tenant: room for as many applications that ask once a second.
const EVALUATIONS: u64 = 10_000;
/// Streams of the level that may be open at the same time.
const STREAMS: usize = 16_384;

/// The JSON Schema of the configuration. Written by hand; tests compare it with what is read.
pub(crate) const SCHEMA: &str = include_str!("config/schema.json");

/// The rules that are in force when the configuration names no rule files.
pub(crate) const SHIPPED_RULES: (&str, &str) = ("rules/business.yaml", include_str!("../rules/business.yaml"));

/// A checked configuration: what exists here can run.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The file that it was read from, if there was one.
    pub file: Option<PathBuf>,
    /// The OTLP doors.
    pub ingest: ingest::Config,
    /// Bytes of decoded rows that may wait for the pipeline. Default 256 MiB.
    pub queue_bytes: usize,
    /// What is admitted of each tenant, and how spans and logs are summed up.
    pub intake: IntakeConfig,
    /// The windows of each tenant.
    pub window: window::Config,
    /// The past of each tenant beyond its windows; `None` where none is kept. Default 30 d and 2 GiB.
    pub history: Option<window::HistoryConfig>,
    /// Where REST, the page and `/metrics` listen. Default 127.0.0.1:4320.
    pub api_listen: SocketAddr,
    /// How this service is reached from where its links are read. Default `http://<api_listen>`.
    pub external_url: Option<String>,
    /// Where ledgers, the log and checkpoints are. Default `bellwether-data` in the working directory.
    pub data_dir: PathBuf,
    /// When a request is answered. Default [`Durability::Acknowledged`].
    pub durability: Durability,
    /// Time between two checkpoints of a tenant. Default 1 min; longer where making one takes long.
    pub checkpoint_every: Duration,
    /// How long ended anomalies, resolved alerts and delivered notifications are kept. Default 30 d.
    pub keep: Duration,
    /// Who is told about alerts.
    pub receivers: Vec<Receiver>,
    /// Which of them are told of which alerts; `None` for all of all, at once.
    pub routing: Option<Routing>,
    /// When an alert flaps, and is told only once; `None` for never. Default more than 10 changes in 10 min.
    pub damping: Option<Damping>,
    /// How long an alert of others lasts that nobody posts again. Default 5 min.
    pub resolve_timeout: Duration,
    /// How persistently they are told, and where they may be.
    pub delivery: DeliveryConfig,
    /// Who is told of changes of the level; nobody by default.
    pub level_hooks: Vec<LevelHook>,
    /// Who is told that the service is alive; nobody by default.
    pub heartbeat: Option<Heartbeat>,
    /// Where runbooks are besides the shipped ones.
    pub runbooks_dir: Option<PathBuf>,
    /// Whose pages may read the level. Default none but our own.
    pub origins: Origins,
    /// How often the applications of a tenant may ask for flags.
    pub evaluations: ingest::Rate,
    /// Streams of the level that may be open at the same time, of all tenants together. Default 16,384.
    pub max_streams: usize,
    /// Whether anything is judged. Without it there are windows, derived series and queries, but no
    /// anomalies, rules, alerts, health or levels. Default true.
    pub detect: bool,
    /// Detectors, health and level. Its rules are filled in by [`Config::engine`].
    pub engine: EngineConfig,
    /// Rule files, as given; empty for the shipped rules.
    pub rule_files: Vec<PathBuf>,
    /// Rules that are used as they stand instead of files (the demonstration's).
    pub rule_text: Option<(String, String)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            ingest: ingest::Config::default(),
            queue_bytes: 256 << 20,
            intake: IntakeConfig::default(),
            window: window::Config::default(),
            history: Some(window::HistoryConfig::default()),
            api_listen: SocketAddr::from(([127, 0, 0, 1], 4320)),
            external_url: None,
            data_dir: PathBuf::from("bellwether-data"),
            durability: Durability::default(),
            checkpoint_every: Duration::from_mins(1),
            keep: Duration::from_hours(30 * 24),
            receivers: Vec::new(),
            routing: None,
            damping: Some(Damping::default()),
            resolve_timeout: routing::RESOLVE_TIMEOUT,
            delivery: DeliveryConfig::default(),
            level_hooks: Vec::new(),
            heartbeat: None,
            runbooks_dir: None,
            origins: Origins::None,
            evaluations: ingest::Rate { per_second: EVALUATIONS, burst: EVALUATIONS },
            max_streams: STREAMS,
            detect: true,
            engine: EngineConfig::default(),
            rule_files: Vec::new(),
            rule_text: None,
        }
    }
}

impl Config {
    /// The rules in force, from the files named, or the shipped ones.
    ///
    /// # Errors
    /// Every fault of every file.
    pub(crate) fn rules(&self, external_url: &str) -> Result<Vec<RuleGroup>, Vec<Fault>> {
        if let Some((name, text)) = &self.rule_text {
            return detect::rules::read(name, text, external_url);
        }
        if self.rule_files.is_empty() {
            return detect::rules::read(SHIPPED_RULES.0, SHIPPED_RULES.1, external_url);
        }
        let (mut groups, mut faults) = (Vec::new(), Vec::new());
        for path in &self.rule_files {
            match read_rules(path, external_url) {
                Ok(read) => groups.extend(read),
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() { Ok(groups) } else { Err(faults) }
    }

    /// The settings of the doors, which refuse last what `rules` and the level read.
    #[must_use]
    pub(crate) fn doors(&self, rules: &[RuleGroup]) -> ingest::Config {
        let mut doors = self.ingest.clone();
        if self.detect {
            let objectives = self.engine.health.queries();
            let queries = rules.iter().flat_map(RuleGroup::queries).chain(objectives);
            let breakers = detect::breakers::METRICS.into_iter().map(Some);
            doors.admission.used = UsedMetrics::new(queries.flat_map(Query::metrics).chain(breakers));
        }
        doors
    }

    /// The settings of the core, with `rules` and with links that begin with `external_url`.
    #[must_use]
    pub(crate) fn engine(&self, rules: Vec<RuleGroup>, external_url: &str) -> EngineConfig {
        let mut engine = self.engine.clone();
        engine.rules = rules;
        engine.symptoms.runbook_base = format!("{external_url}/runbooks");
        engine.gap.runbook_url = format!("{external_url}/runbooks/telemetry-gap");
        engine
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
