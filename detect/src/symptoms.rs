//! Anomalies that wake somebody: those of the golden signals, one alert per service and symptom.
//!
//! Every series is watched, but a page is owed only for what users feel (latency, errors, traffic).
//! Other anomalies are context: they are listed with the same incident. Alerting on each would cry
//! wolf once in four weeks for each of ten thousand series.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use window::Labels;

use crate::{Anomaly, Condition, Direction, Owner, Severity, rules::argued_level};

/// When symptoms become alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymptomConfig {
    /// How long an anomaly must last. Default 1 min.
    pub hold: Duration,
    /// How long the alert stays after the anomaly has ended. Default 2 min.
    pub keep_firing: Duration,
    /// Where runbooks are: `<base>/high-latency` and so on.
    pub runbook_base: String,
}

impl Default for SymptomConfig {
    fn default() -> Self {
        Self { hold: Duration::from_mins(1), keep_firing: Duration::from_mins(2), runbook_base: String::new() }
    }
}

/// A symptom: the alert's name, what it says, and its runbook.
struct Symptom {
    alert: &'static str,
    says: &'static str,
    runbook: &'static str,
}

const LATENCY: Symptom =
    Symptom { alert: "LatencyAnomaly", says: "answers more slowly than its history explains", runbook: "high-latency" };
const ERRORS: Symptom =
    Symptom { alert: "ErrorAnomaly", says: "fails more often than its history explains", runbook: "high-error-ratio" };
const TRAFFIC_DROP: Symptom = Symptom {
    alert: "TrafficDropAnomaly",
    says: "gets fewer calls than its history explains",
    runbook: "traffic-drop",
};
const TRAFFIC_SURGE: Symptom = Symptom {
    alert: "TrafficSurgeAnomaly",
    says: "gets more calls than its history explains",
    runbook: "traffic-surge",
};

fn symptom_of(anomaly: &Anomaly) -> Option<Symptom> {
    match (&*anomaly.metric, anomaly.direction) {
        ("traces_span_metrics_duration_seconds:p95" | "traces_span_metrics_duration_seconds:p50", Direction::Up) => {
            Some(LATENCY)
        }
        ("traces_span_metrics_errors:ratio", Direction::Up) => Some(ERRORS),
        ("traces_span_metrics_calls:rate", Direction::Down) => Some(TRAFFIC_DROP),
        ("traces_span_metrics_calls:rate", Direction::Up) => Some(TRAFFIC_SURGE),
        _ => None,
    }
}

/// The runbook of an anomaly, whether or not it becomes an alert.
pub(crate) fn runbook_of(anomaly: &Anomaly, config: &SymptomConfig) -> String {
    let name = symptom_of(anomaly).map_or("anomaly", |s| s.runbook);
    format!("{}/{name}", config.runbook_base)
}

/// A service and the name of one of its symptoms' alerts.
type Key = (Arc<str>, &'static str);

/// Remembers the severity with which each alert began: labels are its identity and must not change.
#[derive(Debug, Default)]
pub struct Symptoms {
    began: BTreeMap<Key, Severity>,
}

impl Symptoms {
    /// Who raises these alerts.
    #[must_use]
    pub fn owner(config: &SymptomConfig) -> Owner {
        Owner {
            name: "bellwether/symptoms".into(),
            source: "z-score detector on golden signals".into(),
            hold: config.hold,
            keep_firing: config.keep_firing,
        }
    }

    /// Takes back an alert that was active when the process ended.
    pub fn restore(&mut self, labels: &Labels) {
        let alert = [LATENCY, ERRORS, TRAFFIC_DROP, TRAFFIC_SURGE]
            .into_iter()
            .find(|s| labels.get("alertname") == Some(s.alert));
        let severity = labels.get("severity").and_then(Severity::from_label);
        if let (Some(symptom), Some(severity), Some(job)) = (alert, severity, labels.get("job")) {
            self.began.insert((job.into(), symptom.alert), severity);
        }
    }

    /// One condition per service and symptom of the `open` anomalies. `alerting` says whether the
    /// alert with this name and service is still active.
    pub fn conditions<'a>(
        &mut self,
        open: impl Iterator<Item = &'a Anomaly>,
        config: &SymptomConfig,
        alerting: impl Fn(&str, &str) -> bool,
    ) -> Vec<Condition> {
        let mut groups: BTreeMap<Key, (Symptom, Vec<&Anomaly>)> = BTreeMap::new();
        let mut open: Vec<&Anomaly> = open.collect();
        // The order of numbers is that in which series happened to appear.
        open.sort_by_key(|anomaly| anomaly.seq);
        for anomaly in open {
            if let Some(symptom) = symptom_of(anomaly).filter(|_| !anomaly.service.is_empty()) {
                let key = (Arc::clone(&anomaly.service), symptom.alert);
                groups.entry(key).or_insert((symptom, Vec::new())).1.push(anomaly);
            }
        }
        self.began.retain(|key, _| groups.contains_key(key) || alerting(&key.0, key.1));
        groups
            .into_iter()
            .filter_map(|(key, (symptom, anomalies))| {
                let worst = anomalies.iter().copied().max_by(|a, b| a.score.total_cmp(&b.score))?;
                let severity = anomalies.iter().map(|a| a.severity).max()?;
                let severity = *self.began.entry(key.clone()).or_insert(severity);
                Some(condition(&key.0, &symptom, severity, worst, &anomalies, config))
            })
            .collect()
    }
}

fn condition(
    service: &str,
    symptom: &Symptom,
    severity: Severity,
    worst: &Anomaly,
    anomalies: &[&Anomaly],
    config: &SymptomConfig,
) -> Condition {
    let name = service.rsplit('/').next().unwrap_or(service);
    let labels =
        [("alertname", symptom.alert), ("severity", severity.as_str()), ("job", service), ("service_name", name)];
    let operation = worst.labels.get("span_name").unwrap_or_default();
    let also = match anomalies.len() {
        1 => String::new(),
        n => format!(" {} series of the service show it.", n),
    };
    let exemplars = match worst.exemplars.as_slice() {
        [] => String::new(),
        ids => format!(" Traces: {}.", ids.join(", ")),
    };
    let annotations = [
        ("summary", format!("{service} {}: {operation}", symptom.says)),
        ("description", format!("{}{also}{exemplars}", worst.explanation)),
        ("runbook_url", format!("{}/{}", config.runbook_base, symptom.runbook)),
    ];
    Condition {
        labels: Labels::from_pairs(labels),
        annotations: Labels::from_pairs(annotations),
        value: worst.observed,
        anomalies: anomalies.iter().map(|a| a.id.clone()).collect(),
        argued_level: argued_level(severity),
    }
}
