//! What was found, matched with what was caused: the closing table of the demonstration.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use detect::{Alert, Decision, UnixNanos};

use super::{
    opened,
    script::{Incident, IncidentKind, Script},
    sink::Received,
    telemetry::Sent,
};

/// An alert that fired.
#[derive(Clone, Debug)]
struct Fired {
    alert: Alert,
    /// The incident that caused it; `None` for a false alarm.
    cause: Option<usize>,
    at: Duration,
    resolved: bool,
    /// How often it was delivered as firing and as resolved.
    delivered: [usize; 2],
}

/// The account of a demonstration.
#[derive(Debug)]
pub(super) struct Report {
    script: Script,
    begin: UnixNanos,
    told: usize,
    fired: BTreeMap<String, Fired>,
    /// Greatest level that each incident brought about: that to which it rose meanwhile, or which its alerts
    /// call for where an earlier incident holds the level up.
    levels: Vec<u8>,
    level: u8,
    anomalies: Vec<usize>,
    stray_anomalies: usize,
    announced: usize,
    repeated: usize,
}

/// Alerts that each kind of incident may cause; the first is the one that must come.
fn expected(kind: IncidentKind) -> &'static [&'static str] {
    match kind {
        // A slow pricing makes its callers slow.
        IncidentKind::LatencyStep => &["LatencyAnomaly"],
        IncidentKind::DfmFailures => &["DfmFailures", "ErrorAnomaly"],
        // Fewer orders mean fewer calls of checkout and notification.
        IncidentKind::ConversionDrop => &["ConversionDrop", "TrafficDropAnomaly"],
        IncidentKind::MarginErosion => &["MarginErosion"],
        IncidentKind::BreakerOpen => &["CircuitBreakerOpen"],
        IncidentKind::ExporterSilent => &["TelemetryGap", "TrafficDropAnomaly"],
    }
}

fn found_by(alert: &str) -> &'static str {
    match alert {
        "LatencyAnomaly" | "ErrorAnomaly" | "TrafficDropAnomaly" => "z-score",
        "TelemetryGap" => "gap",
        _ => "rule",
    }
}

impl Report {
    pub(super) fn new(script: Script, begin: SystemTime) -> Self {
        let since = begin.duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = script.incidents.len();
        Self {
            script,
            begin: UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)),
            told: 0,
            fired: BTreeMap::new(),
            levels: vec![0; count],
            level: 0,
            anomalies: vec![0; count],
            stray_anomalies: 0,
            announced: 0,
            repeated: 0,
        }
    }

    /// Incidents that have begun since the last call.
    pub(super) fn begun(&mut self, elapsed: Duration) -> Vec<Incident> {
        let begun = self.script.incidents.iter().filter(|i| i.from <= elapsed).count();
        let new = self.script.incidents[self.told..begun.max(self.told)].to_vec();
        self.told = begun.max(self.told);
        new
    }

    /// What is going on, for the progress line.
    pub(super) fn now(&self, elapsed: Duration) -> String {
        match self.script.active(elapsed) {
            Some(incident) => incident.name.to_owned(),
            None if self.told == 0 => "warming up".to_owned(),
            None => "recovering".to_owned(),
        }
    }

    /// How many notifications receivers have been promised.
    pub(super) fn announced(&self) -> usize {
        self.announced
    }

    /// The incident under way, or being recovered from, at `at` after the start.
    fn incident_at(&self, at: Duration) -> Option<usize> {
        self.script.incidents.iter().rposition(|i| i.from <= at)
    }

    /// Takes a decision; a line about it if people want to read it.
    pub(super) fn note(&mut self, decision: &Decision) -> Option<String> {
        if let Some(anomaly) = opened(decision) {
            let at = anomaly.starts_at.since(self.begin);
            let cause = self.incident_at(at);
            match cause {
                Some(i) => self.anomalies[i] += 1,
                None => self.stray_anomalies += 1,
            }
            let near = cause.map_or("nothing is wrong", |i| self.script.incidents[i].name);
            return Some(format!("anomaly   {} [{near}]", anomaly.explanation));
        }
        match decision {
            Decision::Alert(t) if t.is_announced() => Some(self.note_alert(&t.alert, t.at)),
            Decision::Level(change) if change.service.is_none() => {
                self.level = change.to.number();
                let rises = change.from < change.to;
                if let Some(i) = self.incident_at(change.at.since(self.begin)).filter(|_| rises) {
                    self.levels[i] = self.levels[i].max(self.level);
                }
                let because = change.because.first().map_or("all is well", String::as_str);
                Some(format!("LEVEL     {} -> {}: {because}", change.from.number(), change.to))
            }
            _ => None,
        }
    }

    fn note_alert(&mut self, alert: &Alert, at: UnixNanos) -> String {
        self.announced += 1;
        let since_begin = at.since(self.begin);
        let who = alert.service().unwrap_or("everything");
        if !alert.state.is_firing() {
            if let Some(fired) = self.fired.get_mut(&alert.episode) {
                fired.resolved = true;
            }
            return format!("resolved  {} of {who}", alert.name());
        }
        let cause = self.incident_at(since_begin).filter(|i| {
            // An anomaly that began in an incident may be announced in its recovery.
            expected(self.script.incidents[*i].kind).contains(&alert.name())
        });
        if let Some(i) = cause {
            self.levels[i] = self.levels[i].max(self.level.min(alert.argued_level.number()));
        }
        let near = cause.map_or("FALSE ALARM", |i| self.script.incidents[i].name);
        let summary = alert.annotations.get("summary").unwrap_or_default();
        let runbook = alert.annotations.get("runbook_url").unwrap_or_default();
        let line = format!(
            "ALERT     {} ({}): {summary} [{near}]\n          runbook: {runbook}",
            alert.name(),
            alert.severity()
        );
        let fired = Fired { alert: alert.clone(), cause, at: since_begin, resolved: false, delivered: [0, 0] };
        self.fired.insert(alert.episode.clone(), fired);
        line
    }

    /// Counts what arrived at the receiver.
    pub(super) fn take_deliveries(&mut self, received: &[Received]) {
        let mut ids = BTreeSet::new();
        for notification in received {
            if !ids.insert(&notification.id) {
                self.repeated += 1;
            }
            for alert in notification.body["alerts"].as_array().into_iter().flatten() {
                let episode = alert["bellwether"]["episode"].as_str().unwrap_or_default();
                let resolved = alert["status"].as_str() == Some("resolved");
                if let Some(fired) = self.fired.get_mut(episode) {
                    fired.delivered[usize::from(resolved)] += 1;
                }
            }
        }
    }

    /// The alert that had to come for an incident, the earliest if there were several.
    fn finding(&self, incident: usize) -> Option<&Fired> {
        let must = expected(self.script.incidents[incident].kind)[0];
        self.fired.values().filter(|f| f.cause == Some(incident) && f.alert.name() == must).min_by_key(|f| f.at)
    }

    fn false_alarms(&self) -> usize {
        self.fired.values().filter(|f| f.cause.is_none()).count()
    }

    /// Whether every incident was found, every alert delivered once and resolved once, and none was false.
    pub(super) fn passed(&self) -> bool {
        let all_found = (0..self.script.incidents.len()).all(|i| self.finding(i).is_some());
        let all_delivered = self.fired.values().all(|f| f.resolved && f.delivered == [1, 1]);
        all_found && all_delivered && self.false_alarms() == 0 && self.repeated == 0
    }

    /// The closing table.
    pub(super) fn table(&self, sent: &Sent) -> String {
        let mut out = String::from("\n");
        let width = self.script.incidents.iter().map(|i| i.name.len()).max().unwrap_or(0);
        let rule = "-".repeat(width + 78);
        let _ = writeln!(
            out,
            "{:width$}  {:>6}  {:>11}  {:8}  {:18}  {:9}  {:>5}  {:>9}",
            "incident", "begins", "found after", "detector", "alert", "delivered", "level", "anomalies"
        );
        let _ = writeln!(out, "{rule}");
        for (i, incident) in self.script.incidents.iter().enumerate() {
            let (after, by, alert, delivered) = match self.finding(i) {
                Some(f) => (
                    format!("{:.1} s", f.at.saturating_sub(incident.from).as_secs_f64()),
                    found_by(f.alert.name()),
                    f.alert.name(),
                    match f.delivered {
                        [1, 1] => "yes, both",
                        [1, 0] => "firing",
                        [0, _] => "NO",
                        _ => "REPEATED",
                    },
                ),
                None => ("MISSED".to_owned(), "", "", ""),
            };
            let begins = format!("{:.0} s", incident.from.as_secs_f64());
            let _ = writeln!(
                out,
                "{:width$}  {begins:>6}  {after:>11}  {by:8}  {alert:18}  {delivered:9}  {:>5}  {:>9}",
                incident.name, self.levels[i], self.anomalies[i]
            );
        }
        let _ = writeln!(out, "{rule}");
        let resolved = self.fired.values().filter(|f| f.resolved).count();
        let _ = writeln!(
            out,
            "{} alerts fired, {resolved} resolved, {} false alarms; {} anomalies without an incident",
            self.fired.len(),
            self.false_alarms(),
            self.stray_anomalies,
        );
        let failure = sent.first_failure.as_deref().map(|f| format!(" ({f})")).unwrap_or_default();
        let _ = writeln!(
            out,
            "{} spans, {} metric points and {} log records sent, {} exports failed{failure}",
            sent.spans, sent.points, sent.logs, sent.failures,
        );
        out
    }
}

#[cfg(test)]
#[path = "report/tests.rs"]
mod tests;
