//! What a tenant's readers see of the running service: a picture made after each step of its line.
//!
//! REST, the page and `/metrics` read this and the ledger, and never touch the pipeline itself.

use std::sync::Arc;

use detect::{Alert, Anomaly, CallGraph, LevelStatus, UnixNanos};
use window::Snapshot;

/// A consistent picture of what a tenant has at one moment. Shared, never changed.
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
    /// Who calls whom, as seen in spans.
    pub call_graph: CallGraph,
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
    /// Values beside judged series that were not published, since there is no room for their series.
    pub unpublished: u64,
    /// Evaluations of rules and levels since the start.
    pub evaluations: u64,
    /// Wall time of the last evaluation, in nanoseconds.
    pub evaluation_nanos: u64,
    /// Decisions that the ledger has not taken yet, because writing failed.
    pub unrecorded: usize,
}

impl Counts {
    /// Adds the counts of another tenant. The wall time of an evaluation is the longer one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.window.series += other.window.series;
        self.window.bytes += other.window.bytes;
        for (rows, more) in self.window.rows.iter_mut().zip(other.window.rows) {
            *rows += more;
        }
        self.window.evicted_by_time += other.window.evicted_by_time;
        self.window.evicted_by_bytes += other.window.evicted_by_bytes;
        self.passed.late += other.passed.late;
        self.passed.repeated += other.passed.repeated;
        self.passed.not_finite += other.passed.not_finite;
        self.passed.late_events += other.passed.late_events;
        self.passed.unsummed_events += other.passed.unsummed_events;
        self.passed.folded += other.passed.folded;
        self.passed.early += other.passed.early;
        self.passed.repeated_attributes += other.passed.repeated_attributes;
        self.warm_series += other.warm_series;
        self.warming_series += other.warming_series;
        self.judged += other.judged;
        for (decisions, more) in self.decisions.iter_mut().zip(other.decisions) {
            *decisions += more;
        }
        self.unpublished += other.unpublished;
        self.evaluations += other.evaluations;
        self.evaluation_nanos = self.evaluation_nanos.max(other.evaluation_nanos);
        self.unrecorded += other.unrecorded;
    }
}

impl View {
    /// The level of everything.
    #[must_use]
    pub(crate) fn overall(&self) -> Option<&LevelStatus> {
        self.level(None)
    }

    /// The level of `service`, or of everything.
    #[must_use]
    pub(crate) fn level(&self, service: Option<&str>) -> Option<&LevelStatus> {
        let place = self.levels.binary_search_by(|status| status.service.as_deref().cmp(&service)).ok()?;
        self.levels.get(place)
    }
}
