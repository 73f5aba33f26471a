//! Alertmanager's message, as it stands in the outbox, read back.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

pub(super) type Texts = BTreeMap<String, String>;

/// A group of alerts, or one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Message {
    pub(crate) receiver: String,
    pub(crate) status: String,
    pub(crate) alerts: Vec<Told>,
    pub(crate) group_labels: Texts,
    pub(crate) common_labels: Texts,
    pub(crate) common_annotations: Texts,
    #[serde(rename = "externalURL")]
    pub(crate) external_url: String,
    pub(crate) truncated_alerts: u64,
}

/// One alert of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Told {
    pub(crate) status: String,
    pub(crate) labels: Texts,
    pub(crate) annotations: Texts,
    pub(crate) starts_at: String,
    pub(crate) ends_at: String,
    #[serde(rename = "generatorURL")]
    pub(crate) generator_url: String,
    pub(crate) fingerprint: String,
    pub(crate) bellwether: Ours,
}

/// What we say beyond Alertmanager's form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ours {
    pub(crate) anomalies: Vec<Cause>,
}

/// An anomaly behind an alert.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Cause {
    pub(crate) explanation: Option<String>,
    pub(crate) incident_id: Option<String>,
}

impl Message {
    pub(crate) fn is_firing(&self) -> bool {
        self.status != "resolved"
    }

    pub(super) fn firing(&self) -> usize {
        self.alerts.iter().filter(|alert| alert.is_firing()).count()
    }

    /// Firing and resolved ones in one line: `[FIRING:2] HighLatency (shop)`.
    pub(super) fn title(&self) -> String {
        let state = if self.is_firing() { format!("FIRING:{}", self.firing()) } else { "RESOLVED".to_owned() };
        let of_group = self.group_labels.iter().chain(&self.common_labels);
        let label = |name: &str| of_group.clone().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        let name = label("alertname").unwrap_or("several alerts");
        match label("service").or_else(|| label("job")) {
            Some(service) => format!("[{state}] {name} ({service})"),
            None => format!("[{state}] {name}"),
        }
    }

    /// The gravest severity of the alerts that fire, or of all when none does.
    pub(super) fn severity(&self) -> &str {
        let all_over = self.firing() == 0;
        let of = self.alerts.iter().filter(|alert| all_over || alert.is_firing());
        let grave =
            |s: &&str| ["info", "warning", "error", "critical"].iter().position(|known| known == s).unwrap_or(2);
        of.map(Told::severity).max_by_key(grave).unwrap_or("error")
    }

    /// Where people look first: the runbook, then what raised the alert.
    pub(super) fn runbook(&self) -> Option<&str> {
        let own = self.alerts.iter().find_map(|alert| alert.annotations.get("runbook_url"));
        self.common_annotations.get("runbook_url").or(own).map(String::as_str).filter(|url| is_web(url))
    }
}

impl Told {
    pub(super) fn is_firing(&self) -> bool {
        self.status != "resolved"
    }

    fn severity(&self) -> &str {
        match self.labels.get("severity").map_or("", String::as_str) {
            "critical" | "page" | "fatal" | "emergency" => "critical",
            "warning" | "warn" => "warning",
            "info" | "none" | "notice" => "info",
            _ => "error",
        }
    }

    /// In one line, what is wrong.
    pub(super) fn summary(&self) -> &str {
        let texts = ["summary", "message", "description"].iter().find_map(|name| self.annotations.get(*name));
        texts.or_else(|| self.labels.get("alertname")).map_or("an alert", String::as_str)
    }

    /// What it says beyond its summary: the description, and the anomalies behind it in a sentence each.
    pub(super) fn details(&self) -> impl Iterator<Item = &str> {
        let description = self.annotations.get("description").map(String::as_str);
        let explanations = self.bellwether.anomalies.iter().filter_map(|cause| cause.explanation.as_deref());
        description.filter(|text| *text != self.summary()).into_iter().chain(explanations)
    }

    /// Its labels in one line.
    pub(super) fn labels(&self) -> String {
        self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn link(&self) -> Option<&str> {
        Some(self.generator_url.as_str()).filter(|url| is_web(url))
    }
}

/// Whether a text may become a link: anything else might be a script.
pub(super) fn is_web(url: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '<' | '>' | '|' | '"');
    (url.starts_with("https://") || url.starts_with("http://")) && url.chars().all(is_plain)
}

/// What `bellwether notify-test` sends: an alert that says what it is.
pub(crate) fn test_message(receiver: &str, external_url: &str, starts_at: &str) -> Value {
    let labels = json!({"alertname": "BellwetherTest", "service": "bellwether", "severity": "info"});
    let annotations = json!({"summary": "This is a test of the way to this receiver. Nothing is wrong."});
    json!({
        "receiver": receiver, "status": "firing", "version": "4", "truncatedAlerts": 0,
        "groupKey": "{}:{alertname=\"BellwetherTest\"}",
        "groupLabels": {"alertname": "BellwetherTest"},
        "commonLabels": labels, "commonAnnotations": annotations, "externalURL": external_url,
        "alerts": [{
            "status": "firing", "labels": labels, "annotations": annotations,
            "startsAt": starts_at, "endsAt": "0001-01-01T00:00:00Z", "generatorURL": external_url,
            "fingerprint": "0000000000000000",
        }],
    })
}
