//! A peer of an Alertmanager cluster: alerts as a Prometheus server sends them.
//!
//! Peers do not pass alerts on to each other, so each one is an integration of its own. A peer resolves by
//! itself what it does not hear of again in time; see `delivery/resender.rs`.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::json;

use super::{HttpRequest, Message, Outgoing};
use crate::{Secret, WebhookUrl};

/// Takes `POST /api/v2/alerts`.
#[derive(Clone, Debug, PartialEq)]
pub struct Alertmanager {
    /// Where `/api/v2/alerts` is, whole.
    pub url: WebhookUrl,
    /// The header `authorization`, whole.
    pub authorization: Option<Secret>,
    /// How often it is told of an alert that goes on. Above zero. Default 1 min.
    pub resend: Duration,
}

/// Alerts in one request, as many as a Prometheus server sends: others take no longer ones, however many alerts a group
/// has.
const BATCH: usize = 256;
/// An alert ends for the peer when it was not heard of for so many intervals.
const MISSED: i32 = 4;

impl Alertmanager {
    /// The peer at `base`, below which the API is.
    #[must_use]
    pub fn peer(base: &WebhookUrl) -> Self {
        Self { url: base.join("api/v2/alerts"), authorization: None, resend: Duration::from_mins(1) }
    }

    /// All alerts of `messages`, told at wall time `at` in seconds.
    pub(crate) fn render(&self, messages: &[Message], at: i64) -> Outgoing {
        let ends =
            DateTime::from_timestamp(at, 0).unwrap_or_default() + self.resend.saturating_mul(MISSED.unsigned_abs());
        let until = ends.to_rfc3339_opts(SecondsFormat::Secs, true);
        let alerts: Vec<_> = messages
            .iter()
            .flat_map(|message| &message.alerts)
            .map(|alert| {
                json!({
                    "labels": alert.labels, "annotations": alert.annotations, "startsAt": alert.starts_at,
                    "endsAt": if alert.is_firing() { &until } else { &alert.ends_at },
                    "generatorURL": alert.generator_url,
                })
            })
            .collect();
        if alerts.is_empty() {
            return Outgoing::Nothing;
        }
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(self.authorization.as_ref().map(|value| ("authorization", value.reveal().to_owned())));
        let request = |alerts: &[serde_json::Value]| {
            let body = serde_json::Value::from(alerts).to_string();
            HttpRequest { url: self.url.clone(), headers: headers.clone(), body }
        };
        Outgoing::Batches(alerts.chunks(BATCH).map(request).collect())
    }
}
