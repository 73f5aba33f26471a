//! Anomalies that wake somebody: those of the golden signals, one alert per service and symptom.
//!
//! Every series is watched, but a page is owed only for what users feel (latency, errors, traffic).
//! Other anomalies are context: they are listed with the same incident. Alerting on each would cry
//! wolf once in four weeks for each of ten thousand series.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use window::{Labels, UnixNanos};

use crate::{Alert, AlertState, Anomaly, Condition, Direction, Owner, Severity, rules::argued_level};

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
type Key<'a> = (&'a str, &'a str);

/// The alerts that a symptom has already.
#[derive(Default)]
struct Active {
    /// Severities with which it fires. Labels are an alert's identity, so that none of them changes any more.
    firing: BTreeSet<Severity>,
    /// The severity of the alert that nobody was told of yet, and since when its symptom lasts.
    pending: Option<(Severity, UnixNanos)>,
}

/// Who raises these alerts.
pub(crate) fn owner(config: &SymptomConfig) -> Owner {
    Owner {
        name: "bellwether/symptoms".into(),
        source: "z-score detector on golden signals".into(),
        hold: config.hold,
        keep_firing: config.keep_firing,
    }
}

/// The conditions of the services' symptoms among the `open` anomalies, where `active` are the alerts that
/// [`owner`] has.
///
/// A symptom becomes an alert as severe as its worst anomaly was by the time at which it fires. One that gets worse
/// thereafter becomes a second alert, which is held like the first; both last until the symptom is over.
pub(crate) fn conditions<'a>(
    open: impl Iterator<Item = &'a Anomaly>,
    active: impl Iterator<Item = &'a Alert>,
    config: &SymptomConfig,
) -> Vec<Condition> {
    let mut groups: BTreeMap<Key<'_>, (Symptom, Vec<&Anomaly>)> = BTreeMap::new();
    let mut open: Vec<&Anomaly> = open.collect();
    // The order of numbers is that in which series happened to appear.
    open.sort_by_key(|anomaly| anomaly.seq);
    for anomaly in open {
        if let Some(symptom) = symptom_of(anomaly).filter(|_| !anomaly.service.is_empty()) {
            groups.entry((&*anomaly.service, symptom.alert)).or_insert((symptom, Vec::new())).1.push(anomaly);
        }
    }
    let mut known = known(active);
    let mut out = Vec::with_capacity(groups.len());
    for (key @ (service, _), (symptom, anomalies)) in groups {
        let worst = anomalies.iter().copied().max_by(|a, b| a.score.total_cmp(&b.score));
        let Some((worst, severity)) = worst.zip(anomalies.iter().map(|a| a.severity).max()) else { continue };
        let Active { mut firing, pending } = known.remove(&key).unwrap_or_default();
        let mut since = None;
        if firing.is_empty() {
            // It may have been worse, and it has lasted, whatever its severity was.
            since = pending.map(|(_, since)| since);
            firing.insert(pending.map_or(severity, |(before, _)| before.max(severity)));
        } else if firing.iter().all(|&fires| fires < severity) {
            firing.insert(severity);
        }
        let conditions =
            firing.into_iter().map(|severity| condition(service, &symptom, severity, worst, &anomalies, config));
        out.extend(conditions.map(|condition| Condition { since, ..condition }));
    }
    out
}

/// Alerts by service and name.
fn known<'a>(active: impl Iterator<Item = &'a Alert>) -> BTreeMap<Key<'a>, Active> {
    let mut known: BTreeMap<Key<'_>, Active> = BTreeMap::new();
    for alert in active {
        let severity = alert.labels.get("severity").and_then(Severity::from_label);
        if let Some((job, severity)) = alert.labels.get("job").zip(severity) {
            let active = known.entry((job, alert.name())).or_default();
            if alert.state == AlertState::Pending {
                active.pending = active.pending.max(Some((severity, alert.active_at)));
            } else {
                active.firing.insert(severity);
            }
        }
    }
    known
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
        since: None,
        anomalies: anomalies.iter().map(|a| a.id.clone()).collect(),
        argued_level: argued_level(severity),
    }
}

#[cfg(test)]
#[path = "symptoms/tests.rs"]
mod tests;
