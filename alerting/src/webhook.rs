//! What a receiver gets: Alertmanager's webhook payload, version 4, with one object of our own per
//! alert. Receivers written for Alertmanager work unchanged, and those that know us learn more.
//!
//! A tenant other than the default one is a label `tenant` of its alerts, as external labels of Prometheus
//! are: receivers route, group and recognise by labels.
//!
//! A notification tells of a group of alerts: those that fire, and those that have ceased to since it was told last.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use detect::{Alert, AttributeShare, Labels, Level, UnixNanos};
use serde::Serialize;

use crate::ledger::is_marked;

/// Go's zero time, which Alertmanager sends as the end of an alert that has not ended.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

/// The label and the parameter of links that say whose alert it is.
const TENANT: &str = "tenant";
/// Where the label goes that a sender has named the same.
const SENT_TENANT: &str = "exported_tenant";

/// Where notifications come from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// This service as receivers reach it.
    pub(crate) external_url: String,
    /// Whose alerts they are; `None` for the default tenant's.
    pub(crate) tenant: Option<String>,
}

impl Origin {
    /// An alert's labels as a receiver is told of them.
    pub(crate) fn labels(&self, alert: &Alert) -> Labels {
        let Some(tenant) = &self.tenant else { return alert.labels.clone() };
        let sent = alert.labels.get(TENANT).unwrap_or_default();
        let moved = if sent.is_empty() { alert.labels.clone() } else { alert.labels.with(SENT_TENANT, sent) };
        moved.with(TENANT, tenant)
    }

    /// What tells an alert from all others, and its labels as receivers are told of them.
    pub(crate) fn identity(&self, alert: &Alert) -> (String, Labels) {
        let labels = self.labels(alert);
        (self.fingerprint(alert, &labels), labels)
    }

    /// Receivers do not expect two tenants' to be the same.
    fn fingerprint(&self, alert: &Alert, labels: &Labels) -> String {
        match self.tenant {
            None => alert.fingerprint.clone(),
            Some(_) => format!("{:016x}", labels.fingerprint()),
        }
    }
}

/// An anomaly behind an alert, as a receiver is told of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cause {
    pub(crate) id: String,
    /// The anomaly in one sentence, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) explanation: Option<String>,
    /// The incident that it belongs to, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) incident_id: Option<String>,
    /// Which attributes carry it, as the ledger has them; empty for none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) attributes: Vec<AttributeShare>,
}

/// One notification: alerts of a group, and what is behind each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) receiver: &'a str,
    pub(crate) group_key: &'a str,
    pub(crate) group_labels: &'a Labels,
    /// At least one.
    pub(crate) alerts: &'a [(&'a Alert, &'a [Cause])],
    pub(crate) origin: &'a Origin,
}

/// Fields in Alertmanager's order, so that payloads can be compared side by side.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<Entry<'a>>,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    status: &'static str,
    labels: Labels,
    annotations: &'a Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
    bellwether: Extra<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Extra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    episode: &'a str,
    state: &'static str,
    /// Whether it begins and ceases to fire again and again; it is told again when it has calmed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    flapping: bool,
    /// `null` when the value is not finite.
    value: f64,
    source: &'a str,
    argued_level: Level,
    anomalies: &'a [Cause],
    /// What sets the failing calls of its service apart.
    #[serde(skip_serializing_if = "<[AttributeShare]>::is_empty")]
    attributes: &'a [AttributeShare],
    /// The services that depend on its service.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dependents: &'a [Arc<str>],
}

/// The word that a receiver is told for where an alert is.
fn status(alert: &Alert) -> &'static str {
    if alert.state.is_firing() { "firing" } else { "resolved" }
}

impl Message<'_> {
    /// `firing` while one of its alerts does.
    pub(crate) fn status(&self) -> &'static str {
        if self.alerts.iter().any(|(alert, _)| alert.state.is_firing()) { "firing" } else { "resolved" }
    }

    /// The message with its payload; or several in place of one of more than `most` bytes, which tell of the same alerts
    /// in the same order. What tells of one alert is as long as it is.
    pub(crate) fn within(self, most: usize) -> Vec<(Self, String)> {
        let payload = self.to_json();
        if payload.len() <= most || self.alerts.len() < 2 {
            return vec![(self, payload)];
        }
        drop(payload);
        let (first, second) = self.alerts.split_at(self.alerts.len() / 2);
        [first, second].into_iter().flat_map(|alerts| Self { alerts, ..self }.within(most)).collect()
    }

    /// The payload.
    pub(crate) fn to_json(self) -> String {
        let Self { receiver, group_key, group_labels, alerts, origin } = self;
        let entries: Vec<Entry<'_>> = alerts.iter().map(|(alert, causes)| entry(alert, origin, causes)).collect();
        let message = Wire {
            receiver,
            status: self.status(),
            group_labels,
            common_labels: common(entries.iter().map(|entry| &entry.labels)),
            common_annotations: common(entries.iter().map(|entry| entry.annotations)),
            alerts: entries,
            external_url: &origin.external_url,
            version: "4",
            group_key,
            truncated_alerts: 0,
        };
        serde_json::to_string(&message).expect("strings and numbers under fixed names always serialise")
    }
}

/// What all of them have alike.
fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let first = all.next().cloned().unwrap_or_default();
    all.fold(first, |common, next| common.filtered(|name| common.get(name) == next.get(name)))
}

fn entry<'a>(alert: &'a Alert, origin: &'a Origin, causes: &'a [Cause]) -> Entry<'a> {
    let ended = alert.resolved_at.filter(|_| !alert.state.is_firing());
    let (fingerprint, labels) = origin.identity(alert);
    Entry {
        status: status(alert),
        labels,
        annotations: &alert.annotations,
        starts_at: rfc3339(alert.fired_at.unwrap_or(alert.active_at)),
        ends_at: ended.map_or_else(|| NOT_ENDED.to_owned(), rfc3339),
        generator_url: generator_url(alert, origin),
        fingerprint,
        bellwether: Extra {
            tenant: origin.tenant.as_deref(),
            episode: &alert.episode,
            state: alert.state.as_str(),
            flapping: is_marked(alert),
            value: alert.value,
            source: &alert.source,
            argued_level: alert.argued_level,
            anomalies: causes,
            attributes: &alert.attributes,
            dependents: &alert.dependents,
        },
    }
}

/// A link that shows what raised the alert: the one that its sender has given, the anomaly behind it, or else its
/// expression's value now.
pub(crate) fn generator_url(alert: &Alert, origin: &Origin) -> String {
    let base = origin.external_url.trim_end_matches('/');
    let tenant = |mark: char| {
        let named = |name: &String| format!("{mark}{TENANT}={}", escaped(name));
        origin.tenant.as_ref().map(named).unwrap_or_default()
    };
    if alert.source.starts_with("http://") || alert.source.starts_with("https://") {
        return alert.source.clone();
    }
    match alert.anomalies.first() {
        Some(id) => format!("{base}/anomalies/{}{}", escaped(id), tenant('?')),
        None => format!("{base}/api/v1/query?query={}{}", escaped(&alert.source), tenant('&')),
    }
}

/// Percent-encoded for a path segment or a query value.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// RFC 3339 in UTC with as many digits (0, 3, 6 or 9) as the time has.
pub(crate) fn rfc3339(time: UnixNanos) -> String {
    DateTime::from_timestamp_nanos(time.0).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Later, alert, at};

    fn parsed(alert: &Alert, causes: &[Cause]) -> Value {
        parsed_of(None, alert, causes)
    }

    fn parsed_of(tenant: Option<&str>, alert: &Alert, causes: &[Cause]) -> Value {
        let origin = Origin { external_url: "http://bw:4320/".into(), tenant: tenant.map(Into::into) };
        let labels = origin.labels(alert).filtered(|name| matches!(name, "alertname" | "service" | "tenant"));
        let group_key = format!("{{}}:{labels}");
        let (group_key, alerts) = (group_key.as_str(), &[(alert, causes)][..]);
        let message = Message { receiver: "ops", group_key, group_labels: &labels, alerts, origin: &origin };
        serde_json::from_str(&message.to_json()).expect("is JSON")
    }

    #[test]
    fn a_tenants_alerts_are_told_apart_by_labels_fingerprint_group_and_links() {
        let mut firing = alert("e1").firing(at(100));
        firing.labels = firing.labels.with("tenant", "bank");
        let [acme, shop] = ["a'cme", "shop"].map(|tenant| parsed_of(Some(tenant), &firing, &[]));
        let labels = json!({"alertname": "HighLatency", "service": "shop", "severity": "critical",
            "tenant": "a'cme", "exported_tenant": "bank"});
        let entry = &acme["alerts"][0];
        assert_eq!((&acme["commonLabels"], &entry["labels"]), (&labels, &labels));
        assert_eq!(entry["bellwether"]["tenant"], "a'cme");
        assert_eq!(acme["groupLabels"]["tenant"], "a'cme");
        assert_eq!(entry["generatorURL"], "http://bw:4320/api/v1/query?query=p99%20%3E%201&tenant=a%27cme");
        assert_ne!(entry["fingerprint"], shop["alerts"][0]["fingerprint"]);
        assert_ne!(acme["groupKey"], shop["groupKey"]);
        firing.anomalies = vec!["a1".into()];
        let link = &parsed_of(Some("shop"), &firing, &[])["alerts"][0]["generatorURL"];
        assert_eq!(link, "http://bw:4320/anomalies/a1?tenant=shop");
        assert_eq!(parsed(&firing, &[])["alerts"][0]["labels"]["tenant"], "bank", "the default tenant's are as sent");
    }

    #[test]
    fn a_firing_alert_is_a_version_4_group_of_one() {
        let firing = alert("e1").firing(at(100));
        let causes = [Cause {
            id: "a 1".into(),
            explanation: Some("far above".into()),
            incident_id: None,
            attributes: Vec::new(),
        }];
        let labels = json!({"alertname": "HighLatency", "service": "shop", "severity": "critical"});
        let annotations = json!({"runbook_url": "https://rb/1", "summary": "slow"});
        let expected = json!({
            "receiver": "ops", "status": "firing", "version": "4", "truncatedAlerts": 0,
            "groupKey": "{}:{alertname=\"HighLatency\", service=\"shop\"}",
            "groupLabels": {"alertname": "HighLatency", "service": "shop"},
            "commonLabels": labels, "commonAnnotations": annotations,
            "externalURL": "http://bw:4320/",
            "alerts": [{
                "status": "firing", "labels": labels, "annotations": annotations,
                "startsAt": "1970-01-01T00:01:40Z", "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://bw:4320/api/v1/query?query=p99%20%3E%201",
                "fingerprint": "00000000000000e1",
                "bellwether": {"episode": "e1", "state": "firing", "value": 2.5, "source": "p99 > 1",
                    "arguedLevel": 2, "anomalies": [{"id": "a 1", "explanation": "far above"}]},
            }],
        });
        assert_eq!(parsed(&firing, &causes), expected);
    }

    #[test]
    fn what_sets_failing_calls_apart_is_told_with_its_counts() {
        let mut firing = alert("e1").firing(at(100));
        firing.attributes = vec![AttributeShare {
            key: "file.type".into(),
            value: "STEP".into(),
            share: 0.92,
            baseline_share: 0.25,
            count: 46,
            total: 50,
            baseline_count: 10,
            baseline_total: 40,
            of: detect::Affected::Failing,
            baseline_of: detect::BaselineOf::All,
        }];
        let expected = json!([{"key": "file.type", "value": "STEP", "share": 0.92, "baselineShare": 0.25, "count": 46,
            "total": 50, "baselineCount": 10, "baselineTotal": 40, "of": "failing", "baselineOf": "all"}]);
        assert_eq!(parsed(&firing, &[])["alerts"][0]["bellwether"]["attributes"], expected);
    }

    #[test]
    fn a_resolved_alert_says_when_it_ended_and_keeps_its_labels() {
        let mut resolved = alert("e1").firing(at(100)).resolved(UnixNanos(160_250_000_000));
        resolved.anomalies = vec!["a/1".into()];
        let message = parsed(&resolved, &[]);
        let entry = &message["alerts"][0];
        assert_eq!((&message["status"], &entry["status"]), (&json!("resolved"), &json!("resolved")));
        assert_eq!(entry["startsAt"], "1970-01-01T00:01:40Z");
        assert_eq!(entry["endsAt"], "1970-01-01T00:02:40.250Z");
        assert_eq!(entry["generatorURL"], "http://bw:4320/anomalies/a%2F1");
        assert_eq!(message["commonLabels"]["severity"], "critical");
    }

    #[test]
    fn a_message_that_is_too_long_becomes_several_of_the_same_alerts() {
        let origin = Origin { external_url: "http://bw/".into(), tenant: None };
        let group_labels = Labels::default();
        let alerts: Vec<Alert> = (0..100).map(|i| alert(&format!("e{i}")).firing(at(100))).collect();
        let told: Vec<(&Alert, &[Cause])> = alerts.iter().map(|alert| (alert, &[][..])).collect();
        let all =
            Message { receiver: "ops", group_key: "k", group_labels: &group_labels, alerts: &told, origin: &origin };
        let whole = all.to_json().len();
        assert_eq!(all.within(whole).len(), 1);
        for most in [whole - 1, whole / 7, 1] {
            let parts = all.within(most);
            let read = |payload: &String| serde_json::from_str::<Value>(payload).expect("is JSON");
            let (mut episodes, mut longest) = (Vec::new(), 0);
            for (message, payload) in &parts {
                let told = read(payload)["alerts"].as_array().expect("is a list").clone();
                assert_eq!(told.len(), message.alerts.len());
                if told.len() > 1 {
                    longest = longest.max(payload.len());
                }
                episodes.extend(told.iter().map(|alert| alert["bellwether"]["episode"].clone()));
            }
            assert!(longest <= most, "{longest} of {most}");
            assert_eq!(episodes, (0..100).map(|i| json!(format!("e{i}"))).collect::<Vec<_>>());
        }
        assert_eq!(all.within(1).len(), 100, "each by itself");
    }

    #[test]
    fn a_stale_alert_still_fires_and_a_value_that_is_no_number_is_null() {
        let mut stale = alert("e1").firing(at(100));
        stale.state = detect::AlertState::Stale;
        stale.value = f64::NAN;
        let message = parsed(&stale, &[]);
        assert_eq!(
            (&message["status"], &message["alerts"][0]["bellwether"]["state"]),
            (&json!("firing"), &json!("stale"))
        );
        assert_eq!(message["alerts"][0]["bellwether"]["value"], Value::Null);
    }
}
