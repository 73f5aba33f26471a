//! The pure decision core: what is wrong, whom it concerns, and how far to degrade.
//!
//! Points and snapshots go in, [`Decision`]s come out; the caller performs their effects. There is no
//! clock, no environment, no I/O and no randomness in here, so that a replay, a restart and a live
//! run decide the same. [`Engine`] is the whole; the other modules are its parts, each testable by
//! itself.

mod attributes;
mod book;
pub mod breakers;
mod call_graph;
mod corrections;
mod decision;
mod edges;
mod engine;
mod entity;
mod exemplars;
mod forecast;
mod gap;
pub mod health;
mod incidents;
mod key_values;
mod level;
mod moment;
mod peers;
pub mod rules;
mod settings;
mod symptoms;
pub mod template;
#[cfg(test)]
mod testing;
pub mod yaml;
pub mod zscore;

pub use attributes::{Affected, AttributeShare, BaselineOf};
pub use book::{Absence, Book, Condition, Owner};
pub use call_graph::CallGraph;
pub use corrections::{Change, Correction, Trial, TrialConfig, Verdict, try_out};
pub use decision::{
    Alert, AlertState, AlertTransition, Anomaly, AnomalyEvent, Contributor, Decision, DetectorKind, Direction,
    Forecast, Level, LevelChange, NoSuchLevel, Origin, Pattern, Severity, service_of,
};
pub use engine::{Engine, EngineConfig, LevelStatus, Memory, Output};
pub use entity::{Entities, EntityConfig};
pub use forecast::Forecasts;
pub use gap::{Feeds, GapConfig};
pub use health::{Health, HealthConfig, Objective};
pub use incidents::Incidents;
pub use level::{LevelConfig, LevelMachine, Pin};
pub use moment::Moment;
pub use settings::{Limit, MetricSettings, Settings};
pub use symptoms::SymptomConfig;
pub use window::{Labels, SeriesKey, UnixNanos};
