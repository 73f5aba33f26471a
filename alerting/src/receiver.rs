//! Who is told, and how. A checked configuration: what exists here can be used.

use std::{fmt, time::Duration};

use reqwest::Url;

use crate::ReceiverError;

/// Someone to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    name: String,
    webhook: WebhookConfig,
}

/// An HTTP endpoint that takes notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where to POST.
    pub url: WebhookUrl,
    /// Whether to say that an alert is over. Default true.
    pub send_resolved: bool,
    /// Longest time for one attempt, from connecting to the end of the answer. Default 10 s.
    pub timeout: Duration,
}

impl Receiver {
    /// Longest name, in characters.
    pub const MAX_NAME: usize = 200;
    const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(5);

    /// A receiver that gets Alertmanager's webhook payload at `url`.
    ///
    /// # Errors
    /// [`ReceiverError`] when the name is empty or longer than [`Self::MAX_NAME`], or when `url` is
    /// not an absolute `http` or `https` URL with a host.
    pub fn webhook(name: &str, url: &str) -> Result<Self, ReceiverError> {
        let length = name.chars().count();
        if !(1..=Self::MAX_NAME).contains(&length) {
            return Err(ReceiverError::Name { max: Self::MAX_NAME, actual: length });
        }
        let url = WebhookUrl::parse(url).map_err(|reason| ReceiverError::Url { receiver: name.to_owned(), reason })?;
        let webhook = WebhookConfig { url, send_resolved: true, timeout: Duration::from_secs(10) };
        Ok(Self { name: name.to_owned(), webhook })
    }

    /// The same receiver, told (or not) when an alert is over.
    #[must_use]
    pub fn with_send_resolved(mut self, send_resolved: bool) -> Self {
        self.webhook.send_resolved = send_resolved;
        self
    }

    /// The same receiver with another timeout for one attempt.
    ///
    /// # Errors
    /// [`ReceiverError::Timeout`] outside of 10 ms to 5 min.
    pub fn with_timeout(mut self, timeout: Duration) -> Result<Self, ReceiverError> {
        if !Self::TIMEOUTS.contains(&timeout) {
            return Err(ReceiverError::Timeout { receiver: self.name, actual: timeout });
        }
        self.webhook.timeout = timeout;
        Ok(self)
    }

    /// Its name: part of every notification's identity.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where and how it is told.
    #[must_use]
    pub fn config(&self) -> &WebhookConfig {
        &self.webhook
    }
}

/// An absolute `http` or `https` URL with a host. Shown without its path, query and credentials,
/// because webhook URLs carry secrets in all three.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// In place of a secret.
const HIDDEN: &str = "***";
/// Path segments at least this long are taken for secrets; shorter ones are words like `hook`.
const SECRET_SEGMENT: usize = 8;
const MAX_URL: usize = 4096;

impl WebhookUrl {
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_URL {
            return Err(format!("expected at most {MAX_URL} bytes, got {}", text.len()));
        }
        let url = Url::parse(text).map_err(|e| format!("expected an absolute http or https URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("expected scheme http or https, got {:?}", url.scheme()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("expected a host".to_owned());
        }
        Ok(Self(url))
    }

    pub(crate) fn as_url(&self) -> &Url {
        &self.0
    }

    /// `text` with everything in it that is secret in this URL blacked out.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut secrets: Vec<String> = vec![self.0.to_string()];
        secrets.extend(self.0.password().map(str::to_owned));
        secrets.push(self.0.username().to_owned());
        secrets.extend(self.0.query().map(str::to_owned));
        for (_, value) in self.0.query_pairs() {
            secrets.push(value.into_owned());
        }
        for pair in self.0.query().unwrap_or_default().split('&') {
            secrets.extend(pair.split_once('=').map(|(_, value)| value.to_owned()));
        }
        let segments = self.0.path().split('/').filter(|s| s.len() >= SECRET_SEGMENT);
        secrets.extend(segments.map(str::to_owned));
        // The longest first: a secret that contains another must go as a whole.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        let mut out = text.to_owned();
        for secret in secrets.iter().filter(|s| !s.is_empty()) {
            out = out.replace(secret.as_str(), HIDDEN);
        }
        out
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/{HIDDEN}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, url: &str) -> String {
        Receiver::webhook(name, url).expect_err("is refused").to_string()
    }

    #[test]
    fn a_bad_url_is_refused_by_field_and_without_repeating_it() {
        for (url, said) in [
            ("ftp://h/secret", "scheme http or https, got \"ftp\""),
            ("/secret", "relative URL without a base"),
            ("http://", "empty host"),
            ("", "relative URL without a base"),
        ] {
            let error = refusal("ops", url);
            assert!(error.starts_with("webhook.url of receiver \"ops\": ") && error.contains(said), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(refusal("ops", &format!("http://h/{}", "x".repeat(5000))).contains("at most 4096 bytes"));
        assert!(refusal("", "http://h/").starts_with("name: expected 1 to 200 characters, got 0"));
    }

    #[test]
    fn a_timeout_outside_of_its_range_is_refused() {
        let receiver = Receiver::webhook("ops", "https://h/").expect("is valid");
        assert!(receiver.clone().with_timeout(Duration::ZERO).is_err());
        let error = receiver.with_timeout(Duration::from_hours(1)).expect_err("too long").to_string();
        assert_eq!(error, "webhook.timeout of receiver \"ops\": expected 10 ms to 5 min, got 3600s");
    }

    #[test]
    fn secrets_of_the_url_are_never_shown() {
        let receiver = Receiver::webhook("ops", "https://user:pa55@h:8443/services/T0000SECRET?token=a%20b&k=xyz")
            .expect("is valid");
        let debug = format!("{receiver:?}");
        let text = "POST https://h:8443/services/T0000SECRET with pa55 by user: bad token a b (a%20b), xyz";
        let redacted = receiver.config().url.redact(text);
        for secret in ["pa55", "user:", "SECRET", "a b", "a%20b", "xyz"] {
            assert!(!debug.contains(secret), "{debug}");
            assert!(!redacted.contains(secret), "{redacted}");
        }
        assert!(debug.contains("https://h:8443/***"), "{debug}");
        assert!(redacted.starts_with("POST https://h:8443/"), "{redacted}");
    }
}
