//! `PagerDuty`, by version 2 of its Events API.
//!
//! Limits: 512 KB, `dedup_key` of 255 characters, a summary of 1,024; 202 is taken, 429 and 5xx come again,
//! 400 never will be taken (developer.pagerduty.com, Events API v2).

use detect::template::plain;
use serde_json::{Map, Value, json};

use super::{HttpRequest, Message, own::Renderer, text};
use crate::{Secret, WebhookUrl};

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub struct PagerDuty {
    /// Where events go. Default `https://events.pagerduty.com/v2/enqueue`.
    pub url: WebhookUrl,
    /// Which service.
    pub routing_key: Secret,
}

/// Where events go when nothing else is said.
pub(crate) const ENQUEUE: &str = "https://events.pagerduty.com/v2/enqueue";
const SUMMARY: usize = 1_024;
const FIELD: usize = 1_024;
/// Characters of all details of one's own together.
const DETAILS: usize = 50_000;
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];
/// Alerts described in one event, which keeps it far below 512 KB.
const ALERTS: usize = 20;

impl PagerDuty {
    /// The service of `routing_key`, where everybody's are.
    ///
    /// # Panics
    /// Never: the address is a constant.
    #[must_use]
    pub fn of(routing_key: Secret) -> Self {
        Self { url: WebhookUrl::parse(ENQUEUE).expect("is a URL"), routing_key }
    }

    /// `thread` is what opens and closes an incident: all messages about it have it in common.
    pub(super) fn render(&self, message: &Message, thread: &str, texts: &mut Renderer<'_>) -> HttpRequest {
        // A hash, since a thread may be longer than the key may be; with the receiver, since two of them may
        // have the same routing key and not be told of the same end.
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for part in [message.receiver.as_str(), thread] {
            hash.update(part.as_bytes());
            hash.update(&[0xff]);
        }
        let mut event = json!({
            "routing_key": self.routing_key.reveal(),
            "event_action": if message.is_firing() { "trigger" } else { "resolve" },
            "dedup_key": format!("bellwether-{:032x}", hash.digest128()),
        });
        if message.is_firing() {
            event["payload"] = payload(message);
            own_parts(&mut event["payload"], texts);
            let client = texts.text("client", plain).map(|client| text::cut(&text::one_line(&client), FIELD));
            event["client"] = client.unwrap_or_else(|| "Bellwether".to_owned()).into();
            let own_url = texts.text("client_url", plain);
            let urls = own_url.iter().chain([&message.external_url]);
            if let Some(url) = urls.into_iter().find(|url| super::message::is_web(url)) {
                event["client_url"] = url.as_str().into();
            }
            let sources = message.alerts.iter().take(3).filter_map(super::message::Told::link);
            let links =
                message.runbook().map(|url| (url, "Runbook")).into_iter().chain(sources.map(|url| (url, "Source")));
            event["links"] = links.map(|(href, text)| json!({"href": href, "text": text})).collect();
        }
        let headers = vec![("content-type", "application/json".to_owned())];
        HttpRequest { url: self.url.clone(), headers, body: event.to_string() }
    }
}

/// What templates say in place of what is there.
fn own_parts(payload: &mut Value, texts: &mut Renderer<'_>) {
    let fields = [
        ("description", "summary", SUMMARY),
        ("source", "source", FIELD),
        ("class", "class", FIELD),
        ("component", "component", FIELD),
        ("group", "group", FIELD),
    ];
    for (own, field, most) in fields {
        let text = texts.text(own, plain).map(|text| text::cut(text::one_line(&text).trim(), most));
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            payload[field] = text.into();
        }
    }
    if let Some(severity) = texts.text("severity", plain).map(|text| text.trim().to_lowercase()) {
        if SEVERITIES.contains(&severity.as_str()) {
            payload["severity"] = severity.into();
        } else {
            texts.fails("severity", &format!("expected one of {}", SEVERITIES.join(", ")));
        }
    }
    let mut room = DETAILS;
    for (name, text) in texts.details() {
        let text = text::cut(&text, room);
        room -= text.chars().count();
        payload["custom_details"][text::cut(name, FIELD)] = text.into();
    }
}

fn payload(message: &Message) -> Value {
    let first = message.alerts.iter().find(|alert| alert.is_firing());
    let summary = match first {
        Some(alert) if message.firing() == 1 => format!("{}: {}", message.title(), alert.summary()),
        _ => message.title(),
    };
    let label = |name: &str| message.common_labels.get(name).map(|value| text::cut(&text::one_line(value), FIELD));
    let source = ["instance", "service", "job"].into_iter().find_map(label).unwrap_or_else(|| "bellwether".to_owned());
    let mut details = Map::new();
    details.insert("num_firing".into(), message.firing().into());
    details.insert("num_resolved".into(), (message.alerts.len() - message.firing()).into());
    let more = (message.alerts.len().saturating_sub(ALERTS)) as u64 + message.truncated_alerts;
    details.insert("num_left_out".into(), more.into());
    let described = message.alerts.iter().take(ALERTS).map(|alert| {
        let texts: Vec<String> = alert.details().take(5).map(|text| text::cut(text, FIELD)).collect();
        json!({
            "status": alert.status, "summary": text::cut(alert.summary(), FIELD), "labels": text::cut(&alert.labels(), FIELD),
            "details": texts, "since": alert.starts_at,
        })
    });
    details.insert("alerts".into(), described.collect());
    let mut payload = json!({
        "summary": text::cut(&text::one_line(&summary), SUMMARY), "source": source,
        "severity": message.severity(), "custom_details": details,
    });
    let fields = [("component", "service"), ("class", "alertname"), ("group", "cluster")];
    for (field, value) in fields.into_iter().filter_map(|(field, name)| Some((field, label(name)?))) {
        payload[field] = value.into();
    }
    if let Some(alert) = first {
        payload["timestamp"] = alert.starts_at.as_str().into();
    }
    payload
}
