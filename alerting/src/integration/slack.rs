//! Slack: an incoming webhook, or `chat.postMessage` with a token.
//!
//! Limits: one message a second, `Retry-After` with a 429 (docs.slack.dev, rate limits); text of 3,000
//! characters. Whatever came from telemetry has `&`, `<` and `>` escaped, so that it can be neither a link
//! nor a mention.

use std::time::Duration;

use serde_json::{Value, json};

use super::{HttpRequest, Meaning, Message, message::Told, own::Renderer, text};
use crate::{Secret, WebhookUrl};

/// A channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Slack {
    /// The incoming webhook, or where `chat.postMessage` is.
    pub url: WebhookUrl,
    /// For `chat.postMessage`.
    pub token: Option<Secret>,
    /// Needed for `chat.postMessage`; a webhook has its own.
    pub channel: Option<String>,
    /// Who says it, where the app may choose.
    pub username: Option<String>,
    /// How it looks.
    pub icon_emoji: Option<String>,
}

pub(super) const RATES: &[(usize, Duration)] = &[(1, Duration::from_secs(1))];
const TITLE: usize = 200;
const TEXT: usize = 3_000;
/// Of one alert.
const PART: usize = 700;
/// Errors that say that this message will not be taken, however often it comes.
const REFUSED: [&str; 5] = ["invalid_payload", "invalid_blocks", "msg_too_long", "no_text", "too_many_attachments"];

impl Slack {
    pub(super) fn render(&self, message: &Message, texts: &mut Renderer<'_>) -> HttpRequest {
        let own_title = texts.text("title", inserted).map(|title| text::one_line(&title));
        let title = text::cut(&own_title.unwrap_or_else(|| escaped(&text::one_line(&message.title()))), TITLE);
        let parts: Vec<String> = message.alerts.iter().map(part).collect();
        let (mut body, left) = text::fitting(&parts, "\n\n", TEXT - 60);
        let left = left as u64 + message.truncated_alerts;
        if left > 0 {
            body = format!("{body}\n\n… and {left} more");
        }
        let color = match (message.is_firing(), message.severity()) {
            (false, _) => "good",
            (true, "critical" | "error") => "danger",
            (true, _) => "warning",
        };
        if let Some(own) = texts.text("text", inserted) {
            body = text::cut(&own, TEXT);
        }
        let mut attachment = json!({
            "color": color, "title": title, "fallback": title, "text": body, "mrkdwn_in": ["text"],
        });
        if super::message::is_web(&message.external_url) {
            attachment["title_link"] = message.external_url.as_str().into();
        }
        own_parts(&mut attachment, texts);
        let mut payload = json!({"attachments": [attachment]});
        for (field, value) in
            [("channel", &self.channel), ("username", &self.username), ("icon_emoji", &self.icon_emoji)]
        {
            let own = texts.text(field, detect::template::plain).map(|text| text::cut(&text, TITLE));
            if let Some(value) = own.as_ref().or(value.as_ref()).filter(|value| !value.is_empty()) {
                payload[field] = value.as_str().into();
            }
        }
        let mut headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        headers.extend(self.token.as_ref().map(|token| ("authorization", format!("Bearer {}", token.reveal()))));
        HttpRequest { url: self.url.clone(), headers, body: payload.to_string() }
    }

    /// `chat.postMessage` answers 200 to everything, and says inside what it thinks.
    pub(super) fn read_answer(&self, status: u16, body: &str) -> Meaning {
        let said: Value = serde_json::from_str(body).unwrap_or_default();
        let error = said["error"].as_str().unwrap_or(if status == 200 { "" } else { body.trim() });
        if REFUSED.contains(&error) {
            return Meaning::Refused;
        }
        if self.token.is_none() || status != 200 {
            return Meaning::Plain;
        }
        match (said["ok"].as_bool(), error) {
            (Some(true), _) => Meaning::Plain,
            (_, "ratelimited" | "rate_limited") => {
                Meaning::TooFast("answered 200 with the error ratelimited".to_owned())
            }
            (_, error) => {
                Meaning::Failed(format!("answered 200 with the error {}", text::cut(&text::one_line(error), 100)))
            }
        }
    }
}

fn part(alert: &Told) -> String {
    let mark = if alert.is_firing() { "" } else { "Resolved: " };
    let mut lines =
        vec![format!("*{mark}{}*", escaped(&text::cut(&text::one_line(alert.summary()), 300)).replace('*', "∗"))];
    lines.extend(alert.details().take(3).map(|detail| escaped(&text::cut(&text::one_line(detail), 200))));
    lines.push(escaped(&text::cut(&text::one_line(&alert.labels()), 200)));
    let whole = text::cut(&lines.join("\n"), PART);
    // Behind the cut, which must not go through a link.
    let runbook = alert.annotations.get("runbook_url").map(String::as_str).filter(|url| super::message::is_web(url));
    let links = [("Runbook", runbook), ("Source", alert.link())];
    let links: Vec<String> = links
        .into_iter()
        .filter_map(|(name, url)| Some((name, url.filter(|url| url.len() <= 500)?)))
        .map(|(name, url)| format!("<{}|{name}>", escaped(url)))
        .collect();
    if links.is_empty() { whole } else { format!("{whole}\n{}", links.join(" · ")) }
}

/// What else of an attachment has templates.
fn own_parts(attachment: &mut Value, texts: &mut Renderer<'_>) {
    for (field, most) in [("fallback", TEXT), ("pretext", TEXT), ("footer", TITLE), ("color", 20)] {
        if let Some(own) = texts.text(field, inserted).filter(|own| !own.is_empty()) {
            attachment[field] = text::cut(&own, most).into();
        }
    }
    let link = texts.text("title_link", detect::template::plain);
    if let Some(link) = link.filter(|link| super::message::is_web(link)) {
        attachment["title_link"] = link.into();
    }
    let fields: Vec<Value> = texts
        .fields(inserted)
        .iter()
        .map(|(title, value, short)| {
            json!({"title": text::cut(title, TITLE), "value": text::cut(value, PART), "short": short})
        })
        .collect();
    if !fields.is_empty() {
        attachment["fields"] = fields.into();
    }
}

fn inserted(_written: &str, value: &str) -> String {
    escaped(value)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
