//! An HTTP endpoint of one's own: Alertmanager's body, alone or in a CloudEvent, under the headers of Standard Webhooks.
//!
//! Source of the headers and the signature: the Standard Webhooks specification, 1.0. Of the handshake: "HTTP 1.1 Web
//! Hooks for Event Delivery" of CloudEvents, 1.0.2, section 4.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;

use super::{HttpRequest, Message, Sending, WebhookFormat, cloudevents, own::Renderer};
use crate::{Secret, WebhookUrl};

/// The header that says who asks, and afterwards who sends.
pub(crate) const ORIGIN: &str = "webhook-request-origin";

/// Takes notifications by POST.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Where to.
    pub url: WebhookUrl,
    /// The header `authorization`, whole.
    pub authorization: Option<Secret>,
    /// Keys that bodies are signed with, each for itself: while one is replaced there are two. Without
    /// any there is no signature.
    pub signing_keys: Vec<SigningKey>,
    /// Alerts in one message; further ones are left out and counted in `truncatedAlerts`. 0 is no limit.
    /// Default 0.
    pub max_alerts: usize,
    /// How it gets the body. Default as Alertmanager sends it.
    pub format: WebhookFormat,
    /// Whether it has to agree before anything is sent. Default not.
    pub handshake: Option<Handshake>,
}

/// How an endpoint is asked whether it wants notifications: with OPTIONS, before the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    origin: String,
    rate: Option<u32>,
}

impl Handshake {
    /// Longest name of an origin, in characters, as of a name in DNS.
    const MAX_ORIGIN: usize = 253;

    /// Asks for `origin`, a name in DNS that stands for this service, and for so many notifications in a minute; without
    /// a rate for as many as there are.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(origin: &str, rate: Option<u32>) -> Result<Self, String> {
        // Brackets and colons for a host that is an address.
        let is_sendable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
        if !(1..=Self::MAX_ORIGIN).contains(&origin.len()) || !origin.chars().all(is_sendable) {
            return Err("expected a name such as alerts.example.com".to_owned());
        }
        if rate == Some(0) {
            return Err("expected a rate of at least 1".to_owned());
        }
        Ok(Self { origin: origin.to_owned(), rate })
    }

    /// Who asks.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Notifications in a minute that are asked for, and that there are at most.
    #[must_use]
    pub fn rate(&self) -> Option<u32> {
        self.rate
    }

    /// The rate that holds where so many in a minute are `allowed`.
    pub(crate) fn per_minute(&self, allowed: Option<u32>) -> Option<(usize, Duration)> {
        let most = self.rate.into_iter().chain(allowed).min()?;
        Some((usize::try_from(most).unwrap_or(usize::MAX), Duration::from_mins(1)))
    }
}

/// A key for HMAC-SHA256, in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey(Secret);

impl SigningKey {
    const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

    /// From its Standard Webhooks form: `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let encoded = text.strip_prefix("whsec_").ok_or("expected whsec_ and base64")?;
        let bytes = STANDARD.decode(encoded).map_err(|_| "expected base64 behind whsec_")?;
        if !Self::BYTES.contains(&bytes.len()) {
            return Err(format!("expected a key of 24 to 64 bytes, got {}", bytes.len()));
        }
        Ok(Self(Secret::new(encoded)))
    }

    /// What must not be shown: the part behind the prefix, and so the whole.
    pub(super) fn secret(&self) -> &Secret {
        &self.0
    }

    fn sign(&self, signed: &[u8]) -> String {
        let key = STANDARD.decode(self.0.reveal()).expect("was decoded when it was read");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed);
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl Webhook {
    /// An endpoint without a signature.
    #[must_use]
    pub fn to(url: WebhookUrl) -> Self {
        let format = WebhookFormat::Alertmanager;
        Self { url, authorization: None, signing_keys: Vec::new(), max_alerts: 0, format, handshake: None }
    }

    /// `own` is a body of one's own.
    pub(super) fn render(&self, sending: &Sending<'_>, own: Option<String>) -> Result<HttpRequest, String> {
        let body = match own {
            Some(body) => body,
            None if self.max_alerts == 0 && sending.payload.len() <= sending.most => sending.payload.to_owned(),
            None => self.shortened(sending.payload, sending.most)?,
        };
        let (body, media_type) = match self.format {
            WebhookFormat::Alertmanager => (body, "application/json"),
            WebhookFormat::CloudEvents => (cloudevents::around(&body, sending)?, cloudevents::MEDIA_TYPE),
        };
        let mut headers = vec![
            ("content-type", media_type.to_owned()),
            ("webhook-id", sending.id.to_owned()),
            ("webhook-timestamp", sending.at.to_string()),
        ];
        if !self.signing_keys.is_empty() {
            let signed = format!("{}.{}.{body}", sending.id, sending.at);
            let signatures: Vec<String> = self.signing_keys.iter().map(|key| key.sign(signed.as_bytes())).collect();
            headers.push(("webhook-signature", signatures.join(" ")));
        }
        headers.extend(self.handshake.as_ref().map(|handshake| (ORIGIN, handshake.origin.clone())));
        headers.extend(self.authorization.as_ref().map(|value| ("authorization", value.reveal().to_owned())));
        Ok(HttpRequest { url: self.url.clone(), headers, body })
    }

    /// The payload with no more alerts than are wanted and than fit into `most` bytes, and with one at least.
    fn shortened(&self, payload: &str, most: usize) -> Result<String, String> {
        let mut message: serde_json::Value = serde_json::from_str(payload).map_err(|error| error.to_string())?;
        let Some(alerts) = message["alerts"].as_array_mut() else { return Ok(payload.to_owned()) };
        // Each with a comma.
        let sizes: Vec<usize> = alerts.iter().map(|alert| alert.to_string().len() + 1).collect();
        let mut bytes = payload.len().saturating_sub(sizes.iter().sum());
        let wanted = if self.max_alerts == 0 { alerts.len() } else { self.max_alerts };
        let fits = |size: &&usize| {
            bytes += **size;
            bytes <= most
        };
        let kept = sizes.iter().take(wanted).take_while(fits).count().max(1);
        let more = alerts.len().saturating_sub(kept);
        if more == 0 {
            return Ok(payload.to_owned());
        }
        alerts.truncate(kept);
        message["truncatedAlerts"] = (message["truncatedAlerts"].as_u64().unwrap_or(0) + more as u64).into();
        Ok(message.to_string())
    }
}

/// The body that the template `payload` makes of a message about alerts, if it is JSON.
pub(super) fn body(message: &Message, texts: &mut Renderer<'_>) -> Option<String> {
    if message.alerts.is_empty() {
        return None;
    }
    let body = texts.text("payload", detect::template::plain)?;
    match serde_json::from_str::<serde::de::IgnoredAny>(&body) {
        Ok(_) => Some(body),
        Err(error) => {
            texts.fails("payload", &format!("what it makes is no JSON: {error}"));
            None
        }
    }
}
