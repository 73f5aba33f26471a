//! A notification as a CloudEvent, in JSON, with the body of a plain webhook as its data.
//!
//! Everything in it follows from what stands in the outbox, not from how we are reached now, so that the event is
//! the same in every attempt, over restarts and over changes of the configuration too.
//!
//! Source: CloudEvents 1.0.2 with its JSON format and its HTTP binding, structured mode.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Sending;
use crate::{ledger, webhook::rfc3339};

/// What the body is, to HTTP.
pub(super) const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// Where an event comes from when its message does not say.
const SOMEWHERE: &str = "/";

/// How an endpoint of one's own gets its body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookFormat {
    /// As Alertmanager sends it. The default.
    #[default]
    Alertmanager,
    /// In a CloudEvent, as its data.
    CloudEvents,
}

/// What of a message concerns the event around it: of alerts the first four, of a change of the level the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, rename = "groupKey")]
    group_key: Cow<'a, str>,
    #[serde(borrow, rename = "externalURL")]
    external_url: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    data: Change<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change<'a> {
    #[serde(borrow)]
    service: Option<Cow<'a, str>>,
    #[serde(borrow)]
    url: Cow<'a, str>,
}

/// The event without its data.
#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: &'a str,
    datacontenttype: &'static str,
}

/// The event around `data`, which is what a plain webhook gets of the same message.
pub(super) fn around(data: &str, sending: &Sending<'_>) -> Result<String, String> {
    let head: Head<'_> = serde_json::from_str(sending.payload)
        .map_err(|error| format!("the message in the outbox cannot be read: {error}"))?;
    let recorded = rfc3339(sending.created);
    let (source, kind, subject, time) = if head.kind.is_empty() {
        let kind = if head.status == "resolved" { "bellwether.alerts.resolved" } else { "bellwether.alerts.firing" };
        (head.external_url.as_ref(), kind, Some(head.group_key.as_ref()), recorded.as_str())
    } else {
        let url = head.data.url.as_ref();
        let source = url.strip_suffix(ledger::LEVEL_PATH).unwrap_or(url);
        (source, head.kind.as_ref(), head.data.service.as_deref(), head.timestamp.as_ref())
    };
    let event = Event {
        specversion: "1.0",
        id: sending.id,
        source: if source.is_empty() { SOMEWHERE } else { source },
        r#type: kind,
        // Neither may be empty.
        subject: subject.filter(|subject| !subject.is_empty()),
        time: if time.is_empty() { recorded.as_str() } else { time },
        datacontenttype: "application/json",
    };
    let mut text = serde_json::to_string(&event).map_err(|error| error.to_string())?;
    // It goes in as it is: a number that was read and written again may be another text.
    text.pop();
    text.push_str(",\"data\":");
    text.push_str(data);
    text.push('}');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use detect::UnixNanos;
    use serde_json::{Value, json};

    use super::*;

    fn event(payload: &str, at: i64) -> (String, Value) {
        let created = UnixNanos(1_767_322_800_250_000_000);
        let sending = Sending { id: "msg_1", thread: "g1", payload, most: usize::MAX, at, created };
        let text = around(payload, &sending).expect("is made");
        let event = serde_json::from_str(&text).expect("is JSON");
        (text, event)
    }

    #[test]
    fn alerts_come_in_an_event_that_is_the_same_in_every_attempt() {
        let payload = r#"{"status": "firing", "version":"4","groupKey":"{}:{alertname=\"A\"}", "alerts": [], "externalURL":"http://bw", "n": 1.0e2}"#;
        let (text, found) = event(payload, 1);
        let expected = json!({
            "specversion": "1.0", "id": "msg_1", "source": "http://bw", "type": "bellwether.alerts.firing",
            "subject": "{}:{alertname=\"A\"}", "time": "2026-01-02T03:00:00.250Z",
            "datacontenttype": "application/json", "data": serde_json::from_str::<Value>(payload).expect("is JSON"),
        });
        assert_eq!(found, expected);
        assert!(text.ends_with(&format!(",\"data\":{payload}}}")), "as a plain webhook gets it: {text}");
        assert_eq!(event(payload, 2).0, text);
        let over = payload.replace("firing", "resolved");
        assert_eq!(event(&over, 1).1["type"], "bellwether.alerts.resolved");
    }

    #[test]
    fn a_change_of_the_level_keeps_its_type_its_time_and_its_service() {
        let payload = |service: Value| {
            let data = json!({"service": service, "url": "http://bw/api/v1/degradation", "level": 2});
            json!({"type": "bellwether.degradation.changed", "timestamp": "2026-01-02T03:04:05Z", "data": data})
                .to_string()
        };
        let (_, found) = event(&payload("shop".into()), 1);
        let head = json!([found["type"], found["source"], found["subject"], found["time"]]);
        assert_eq!(head, json!(["bellwether.degradation.changed", "http://bw", "shop", "2026-01-02T03:04:05Z"]));
        assert_eq!(event(&payload(Value::Null), 1).1.get("subject"), None, "an empty one is not allowed");
    }

    #[test]
    fn what_a_message_does_not_say_is_never_empty() {
        let (_, found) = event("{}", 1);
        assert_eq!((&found["source"], found.get("subject")), (&json!("/"), None));
    }
}
