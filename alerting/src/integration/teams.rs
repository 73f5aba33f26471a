//! Microsoft Teams: an adaptive card to a webhook (`msteamsv2_configs` of Alertmanager).
//!
//! Limits: 28 KB; 4 messages a second, 60 in 30 s, 100 an hour, 150 in 2 h, 1,800 a day. A webhook that is
//! asked too much may answer 200 and say 429 in the body (learn.microsoft.com, incoming webhooks).

use std::time::Duration;

use serde_json::{Value, json};

use super::{HttpRequest, Meaning, Message, message::Told, own::Renderer, text};
use crate::WebhookUrl;

/// A channel or chat.
#[derive(Clone, Debug, PartialEq)]
pub struct Teams {
    /// The webhook of a workflow or connector.
    pub url: WebhookUrl,
}

pub(super) const RATES: &[(usize, Duration)] = &[
    (4, Duration::from_secs(1)),
    (60, Duration::from_secs(30)),
    (100, Duration::from_hours(1)),
    (150, Duration::from_hours(2)),
    (1_800, Duration::from_hours(24)),
];
const BYTES: usize = 28 * 1024;
const LINE: usize = 600;
const TITLE: usize = 300;
const ALERTS: usize = 20;
/// What a failure looks like that calls itself a success.
const LIES: [&str; 3] = ["http error", "webhook message delivery failed", "endpoint returned http"];

impl Teams {
    pub(super) fn render(&self, message: &Message, texts: &mut Renderer<'_>) -> HttpRequest {
        let own = Own {
            title: texts.text("title", inserted).map(|title| text::cut(&text::one_line(&title), TITLE)),
            text: texts.text("text", inserted),
            summary: texts.text("summary", detect::template::plain).map(|s| text::cut(&text::one_line(&s), TITLE)),
        };
        let mut room = BYTES;
        // Fewer and fewer alerts until it fits. The title alone always does.
        let mut shown = message.alerts.len().min(ALERTS);
        let body = loop {
            let body = card(message, shown, &own, room).to_string();
            if body.len() <= BYTES || (shown == 0 && room == 0) {
                break body;
            }
            shown /= 2;
            room /= 2;
        };
        let headers = vec![("content-type", "application/json".to_owned())];
        HttpRequest { url: self.url.clone(), headers, body }
    }
}

/// What templates say.
struct Own {
    title: Option<String>,
    text: Option<String>,
    summary: Option<String>,
}

fn card(message: &Message, shown: usize, own: &Own, room: usize) -> Value {
    let color = match (message.is_firing(), message.severity()) {
        (false, _) => "good",
        (true, "critical" | "error") => "attention",
        (true, _) => "warning",
    };
    let title = own.title.clone().unwrap_or_else(|| plain(&message.title(), TITLE));
    let mut blocks = vec![json!({
        "type": "TextBlock", "weight": "bolder", "size": "large", "wrap": true, "color": color, "text": title,
    })];
    let more = (message.alerts.len() - shown) as u64 + message.truncated_alerts;
    if let Some(own) = &own.text {
        blocks.push(json!({"type": "TextBlock", "wrap": true, "text": text::cut(own, room)}));
    } else {
        blocks.extend(message.alerts.iter().take(shown).flat_map(part));
    }
    if more > 0 && own.text.is_none() {
        blocks.push(json!({"type": "TextBlock", "wrap": true, "text": format!("… and {more} more")}));
    }
    let links = [("Runbook", message.runbook()), ("Bellwether", Some(message.external_url.as_str()))];
    let actions: Vec<Value> = links
        .into_iter()
        .filter_map(|(title, url)| Some((title, url.filter(|url| super::message::is_web(url) && url.len() <= 2_000)?)))
        .map(|(title, url)| json!({"type": "Action.OpenUrl", "title": title, "url": url}))
        .collect();
    let mut card = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard", "version": "1.4", "msteams": {"width": "Full"},
                "body": blocks, "actions": actions,
            },
        }],
    });
    if let Some(summary) = &own.summary {
        card["summary"] = summary.as_str().into();
    }
    card
}

fn part(alert: &Told) -> Vec<Value> {
    let mark = if alert.is_firing() { "" } else { "Resolved: " };
    let block =
        |text: String, is_subtle: bool| json!({"type": "TextBlock", "wrap": true, "isSubtle": is_subtle, "text": text});
    let mut blocks = vec![block(format!("{mark}{}", plain(alert.summary(), LINE)), false)];
    blocks.extend(alert.details().take(3).map(|detail| block(plain(detail, LINE), false)));
    blocks.push(block(plain(&alert.labels(), LINE), true));
    blocks
}

/// A text block knows a little Markdown, links among it: those marks are escaped.
fn plain(text: &str, most: usize) -> String {
    escaped(&text::cut(&text::one_line(text), most))
}

fn inserted(written: &str, value: &str) -> String {
    // The target of a link that a template makes is an address as it is, or none.
    if written.ends_with("](") && super::message::is_web(value) && !value.contains([')', '(']) {
        return value.to_owned();
    }
    escaped(value)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '[' | ']' | '(' | ')' | '*' | '_' | '`' | '<' | '>') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

pub(super) fn read_answer(status: u16, body: &str) -> Meaning {
    let said = body.to_ascii_lowercase();
    if !(200..300).contains(&status) || !LIES.iter().any(|lie| said.contains(lie)) {
        return Meaning::Plain;
    }
    let error = format!("answered {status}, with a failure in the body");
    if said.contains("429") { Meaning::TooFast(error) } else { Meaning::Failed(error) }
}
