//! Health in [0, 1] per service and overall: the lowest of what objectives and alerts say.
//!
//! An objective maps a measured value to [0, 1] linearly between a good and a bad end. Alerts take
//! their share by severity, each on what the others left. The lowest counts, not a mean: a service
//! that fails half its calls is not healthy because it fails them quickly.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use query::{Options, Query, Value};
use serde::{Deserialize, Serialize};
use window::{Snapshot, UnixNanos};

use crate::{Alert, Severity, zscore::number};

/// Something that is good at one value and bad at another.
#[derive(Clone, Debug)]
pub struct Objective {
    /// Name for people, as in "error ratio".
    pub name: String,
    /// Its values, by the label `job`.
    pub query: Query,
    /// Up to here health is 1.
    pub good: f64,
    /// From here on health is 0.
    pub bad: f64,
}

/// How health is made.
#[derive(Clone, Debug)]
pub struct HealthConfig {
    /// Objectives, for every service that has data for them.
    pub objectives: Vec<Objective>,
    /// What a firing warning takes from health. Default 0.15.
    pub warning_share: f64,
    /// What a firing critical alert takes from health. Default 0.35.
    pub critical_share: f64,
    /// How much a service counts in the overall health: 1 fully, 0 not at all. Default 1 for all.
    pub weights: BTreeMap<String, f64>,
}

impl Default for HealthConfig {
    /// [`HealthConfig::from_spans`] over the last minute.
    fn default() -> Self {
        Self::from_spans(Duration::from_mins(1))
    }
}

impl HealthConfig {
    /// Error ratio (over `range`, at least a millisecond) and latency from spans, so that an
    /// unconfigured instance gives a useful level.
    ///
    /// # Panics
    /// Never: the objectives are valid PromQL for every range.
    #[must_use]
    pub fn from_spans(range: Duration) -> Self {
        let range = range.as_millis().max(1);
        let calls = |status: &str| {
            let kinds = "span_kind=~\"SPAN_KIND_(SERVER|CONSUMER)\"";
            format!("sum by (job) (rate(traces_span_metrics_calls_total{{{kinds}{status}}}[{range}ms]))")
        };
        let errors = format!("{} / {}", calls(",status_code=\"STATUS_CODE_ERROR\""), calls(""));
        let p95 = "traces_span_metrics_duration_seconds:p95";
        let latency = format!("max by (job) ({p95} / {p95}:expected)");
        let objective = |name: &str, text: &str, good, bad| Objective {
            name: name.into(),
            query: Query::parse(text).expect("the default objectives are valid PromQL"),
            good,
            bad,
        };
        Self {
            objectives: vec![
                objective("error ratio", &errors, 0.01, 0.5),
                objective("p95 latency over its expectation", &latency, 1.5, 10.0),
            ],
            warning_share: 0.15,
            critical_share: 0.35,
            weights: BTreeMap::new(),
        }
    }
}

/// Health of one scope, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The service; `None` for everything.
    pub service: Option<Arc<str>>,
    /// In [0, 1].
    pub health: f64,
    /// What lowers it, worst first; empty at full health.
    pub because: Vec<String>,
}

#[derive(Debug, Default)]
struct Tally {
    lowest: f64,
    after_alerts: f64,
    causes: Vec<(f64, String)>,
}

impl Tally {
    fn full() -> Self {
        Self { lowest: 1.0, after_alerts: 1.0, causes: Vec::new() }
    }

    fn lower(&mut self, health: f64, cause: impl FnOnce() -> String) {
        if health < 1.0 {
            self.lowest = self.lowest.min(health);
            self.causes.push((health, cause()));
        }
    }

    fn finish(mut self, service: Option<Arc<str>>) -> Health {
        self.causes.sort_by(|a, b| a.0.total_cmp(&b.0));
        let because = self.causes.into_iter().map(|(_, cause)| cause).collect();
        Health { service, health: self.lowest.min(self.after_alerts).clamp(0.0, 1.0), because }
    }
}

impl HealthConfig {
    /// Health at event time `at`: everything first, then each service with data, an alert, or a name
    /// among `known`, by name.
    #[must_use]
    pub fn assess<'a>(
        &self,
        snapshot: &Snapshot,
        at: UnixNanos,
        alerts: impl Iterator<Item = &'a Alert>,
        known: impl Iterator<Item = &'a Arc<str>>,
        options: &Options,
    ) -> Vec<Health> {
        let mut services: BTreeMap<Arc<str>, Tally> = known.map(|s| (Arc::clone(s), Tally::full())).collect();
        let mut overall = Tally::full();
        for objective in &self.objectives {
            let Ok(Value::Vector(samples)) = objective.query.instant(snapshot, at, options) else { continue };
            for sample in samples {
                let health = objective.health(sample.value);
                let Some(job) = sample.labels.get("job") else { continue };
                let tally = services.entry(job.into()).or_insert_with(Tally::full);
                tally.lower(health, || objective.explain(job, sample.value));
            }
        }
        for alert in alerts.filter(|a| a.state.is_firing() && a.argued_level.number() > 0) {
            let tally = match alert.service() {
                Some(service) => services.entry(service.into()).or_insert_with(Tally::full),
                None => &mut overall,
            };
            tally.after_alerts *= 1.0 - self.share(alert.severity());
            let after = tally.after_alerts;
            tally.causes.push((after, explain_alert(alert)));
        }
        let services: Vec<Health> = services.into_iter().map(|(name, tally)| tally.finish(Some(name))).collect();
        for health in &services {
            let name = health.service.as_deref().unwrap_or_default();
            let weight = self.weights.get(name).copied().unwrap_or(1.0);
            let left = 1.0 - weight * (1.0 - health.health);
            if let Some(cause) = health.because.first() {
                overall.lower(left, || cause.clone());
            }
        }
        let mut out = vec![overall.finish(None)];
        out.extend(services);
        out
    }

    fn share(&self, severity: Severity) -> f64 {
        match severity {
            Severity::Info => 0.0,
            Severity::Warning => self.warning_share,
            Severity::Critical => self.critical_share,
        }
    }
}

impl Objective {
    fn health(&self, value: f64) -> f64 {
        let health = (self.bad - value) / (self.bad - self.good);
        if health.is_nan() { 1.0 } else { health.clamp(0.0, 1.0) }
    }

    fn explain(&self, service: &str, value: f64) -> String {
        format!("{} of {service} is {}; healthy up to {}", self.name, number(value), number(self.good))
    }
}

fn explain_alert(alert: &Alert) -> String {
    let of = alert.service().map(|s| format!(" of {s}")).unwrap_or_default();
    let state = alert.state.as_str();
    format!("alert {}{of} is {state} ({})", alert.name(), alert.severity())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlertState, Level, testing::Feed};

    fn alert(job: &str, severity: &str, state: AlertState) -> Alert {
        let labels = window::Labels::from_pairs([("alertname", "A"), ("job", job), ("severity", severity)]);
        Alert {
            episode: "e".into(),
            fingerprint: "f".into(),
            labels,
            annotations: window::Labels::default(),
            state,
            active_at: UnixNanos(0),
            fired_at: None,
            last_true_at: UnixNanos(0),
            resolved_at: None,
            value: 1.0,
            source: String::new(),
            anomalies: Vec::new(),
            argued_level: Level::NonCriticalOff,
        }
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    /// Health by service, everything under the empty name.
    fn assess(config: &HealthConfig, feed: &mut Feed, alerts: &[Alert]) -> BTreeMap<String, Health> {
        let snapshot = feed.snapshot();
        let known: [Arc<str>; 1] = ["known".into()];
        let all = config.assess(&snapshot, UnixNanos(60_000_000_000), alerts.iter(), known.iter(), &Options::default());
        all.into_iter().map(|h| (h.service.as_deref().unwrap_or_default().to_owned(), h)).collect()
    }

    fn calls(feed: &mut Feed, job: &str, status: &str, per_second: f64) {
        let labels = [("job", job), ("span_kind", "SPAN_KIND_SERVER"), ("status_code", status)];
        for t in [10, 20, 30, 40, 50, 60] {
            feed.counter("traces_span_metrics_calls_total", &labels, t, per_second * t as f64);
        }
    }

    #[test]
    fn without_trouble_health_is_full_and_has_no_reasons() {
        let healths = assess(&HealthConfig::default(), &mut Feed::default(), &[]);
        assert!(healths.values().all(|h| near(h.health, 1.0) && h.because.is_empty()));
        assert!(healths.contains_key("known"));
    }

    #[test]
    fn the_error_ratio_lowers_a_service_and_everything() {
        let mut feed = Feed::default();
        calls(&mut feed, "a", "STATUS_CODE_UNSET", 7.0);
        calls(&mut feed, "a", "STATUS_CODE_ERROR", 3.0);
        calls(&mut feed, "b", "STATUS_CODE_UNSET", 7.0);
        let healths = assess(&HealthConfig::default(), &mut feed, &[]);
        let want = (0.5 - 0.3) / (0.5 - 0.01);
        assert!(near(healths["a"].health, want) && near(healths[""].health, want), "{healths:?}");
        assert_eq!(healths[""].because, ["error ratio of a is 0.3; healthy up to 0.01"]);
        assert!(!healths.contains_key("b"), "no errors is no value of the ratio");
    }

    #[test]
    fn firing_alerts_take_their_share_and_pending_ones_none() {
        let alerts = [
            alert("a", "critical", AlertState::Firing),
            alert("a", "warning", AlertState::Stale),
            alert("b", "critical", AlertState::Pending),
        ];
        let healths = assess(&HealthConfig::default(), &mut Feed::default(), &alerts);
        assert!(near(healths["a"].health, 0.65 * 0.85) && near(healths[""].health, 0.65 * 0.85));
        assert!(!healths.contains_key("b"));
    }

    #[test]
    fn a_weight_limits_what_a_service_does_to_everything() {
        let weights = BTreeMap::from([("a".to_owned(), 0.2)]);
        let config = HealthConfig { weights, ..HealthConfig::default() };
        let healths = assess(&config, &mut Feed::default(), &[alert("a", "critical", AlertState::Firing)]);
        assert!(near(healths["a"].health, 0.65) && near(healths[""].health, 1.0 - 0.2 * 0.35));
    }
}
