//! What readers of the running service see: a picture made after each step of the pipeline.
//!
//! REST, the page and `/metrics` read this and the ledger, and never touch the pipeline itself.

use std::sync::Arc;

use detect::{Alert, Anomaly, LevelStatus, UnixNanos};
use window::Snapshot;

/// A consistent picture of the service at one moment. Shared, never changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Wall time at which it was made.
    pub at: UnixNanos,
    /// How far event time has come: the time that rules were last evaluated for, or later. `None`
    /// before the first telemetry.
    pub event_time: Option<UnixNanos>,
    /// Wall time of the newest telemetry.
    pub last_arrival: Option<UnixNanos>,
    /// The windows.
    pub snapshot: Snapshot,
    /// Pending, firing and stale alerts.
    pub alerts: Vec<Alert>,
    /// Anomalies that have not ended.
    pub open_anomalies: Vec<Anomaly>,
    /// The level of everything first, then of services by name.
    pub levels: Vec<LevelStatus>,
    /// Known services and when they were last heard, in event time.
    pub services: Vec<(Arc<str>, UnixNanos)>,
    /// Rules that could not be evaluated when last tried, and why.
    pub rule_failures: Vec<(String, String)>,
    /// Counts for `/metrics` and `/status`.
    pub counts: Counts,
}

/// What the pipeline has done and holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// The window's contents and evictions.
    pub window: window::Stats,
    /// Rows taken without being judged.
    pub passed: ingest::Passed,
    /// Series that detectors have a verdict on.
    pub warm_series: usize,
    /// Series that are still warming up.
    pub warming_series: usize,
    /// Points judged since the start.
    pub judged: u64,
    /// Decisions since the start: anomalies opened, alert transitions, level changes.
    pub decisions: [u64; 3],
    /// Evaluations of rules and levels since the start.
    pub evaluations: u64,
    /// Wall time of the last evaluation, in nanoseconds.
    pub evaluation_nanos: u64,
    /// Decisions that the ledger has not taken yet, because writing failed.
    pub unrecorded: usize,
}

impl View {
    /// The level of everything.
    #[must_use]
    pub(crate) fn overall(&self) -> Option<&LevelStatus> {
        self.levels.iter().find(|l| l.service.is_none())
    }
}
