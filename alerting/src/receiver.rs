//! Who is told, and how. A checked configuration: what exists here can be used.
//!
//! A receiver has one or more integrations, each a place that takes notifications in its own form. A
//! notification is one row of the outbox for each integration, so that one that fails holds no other back.

mod secret;
mod url;

use std::time::Duration;

pub use self::{
    secret::Secret,
    url::{Redactor, WebhookUrl},
};
use crate::{
    ReceiverError,
    integration::{Integration, Target, Webhook},
};

/// Someone to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    name: String,
    integrations: Vec<Integration>,
    fallback: Option<Fallback>,
}

/// Who is told when an integration of a receiver does not take a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The other receiver's name.
    pub receiver: String,
    /// How long a notification may be pending before the other receiver is told, too. What is given up is
    /// handed over at once. Default 5 min.
    pub after: Duration,
}

impl Receiver {
    /// Longest name, in characters.
    pub const MAX_NAME: usize = 200;
    /// How long a notification may be pending before the fallback is told, when nothing else is said.
    pub const FALLBACK_AFTER: Duration = Duration::from_mins(5);

    /// A receiver with these integrations; of each kind the first has number 0.
    ///
    /// # Errors
    /// [`ReceiverError`] when the name is empty or longer than [`Self::MAX_NAME`], or an integration's
    /// timeout is out of range.
    pub fn new(name: &str, integrations: Vec<Integration>) -> Result<Self, ReceiverError> {
        let length = name.chars().count();
        if !(1..=Self::MAX_NAME).contains(&length) {
            return Err(ReceiverError::Name { max: Self::MAX_NAME, actual: length });
        }
        for integration in &integrations {
            integration.check().map_err(|reason| ReceiverError::Integration {
                receiver: name.to_owned(),
                integration: integration.key().to_owned(),
                reason,
            })?;
        }
        Ok(Self { name: name.to_owned(), integrations, fallback: None })
    }

    /// A receiver that gets Alertmanager's webhook payload at `url`.
    ///
    /// # Errors
    /// [`ReceiverError`] when the name is empty or longer than [`Self::MAX_NAME`], or when `url` is
    /// not an absolute `http` or `https` URL with a host.
    pub fn webhook(name: &str, url: &str) -> Result<Self, ReceiverError> {
        let bad_url = |reason| ReceiverError::Url { receiver: name.to_owned(), reason };
        let url = WebhookUrl::parse(url).map_err(bad_url)?;
        Self::new(name, vec![Integration::new("webhook/0", Target::Webhook(Webhook::to(url)))])
    }

    /// The same receiver, each of its integrations told (or not) when an alert is over.
    #[must_use]
    pub fn with_send_resolved(mut self, send_resolved: bool) -> Self {
        for integration in &mut self.integrations {
            integration.send_resolved = send_resolved;
        }
        self
    }

    /// The same receiver with another timeout for one attempt.
    ///
    /// # Errors
    /// [`ReceiverError::Integration`] outside of 10 ms to 5 min.
    pub fn with_timeout(self, timeout: Duration) -> Result<Self, ReceiverError> {
        let Self { name, mut integrations, fallback } = self;
        for integration in &mut integrations {
            integration.timeout = timeout;
        }
        Ok(Self::new(&name, integrations)?.with_fallback(fallback))
    }

    /// The same receiver, in whose place another one is told when it does not answer.
    #[must_use]
    pub fn with_fallback(mut self, fallback: Option<Fallback>) -> Self {
        self.fallback = fallback;
        self
    }

    /// Its name: part of every notification's identity.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where and how it is told. May be empty: then it is told nothing.
    #[must_use]
    pub fn integrations(&self) -> &[Integration] {
        &self.integrations
    }

    /// Who is told in its place.
    #[must_use]
    pub fn fallback(&self) -> Option<&Fallback> {
        self.fallback.as_ref()
    }

    /// Whether any of its integrations is told that an alert is over.
    #[must_use]
    pub fn wants_resolved(&self) -> bool {
        self.integrations.iter().any(|integration| integration.send_resolved)
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
        assert_eq!(error, "webhook/0 of receiver \"ops\": timeout: expected 10 ms to 5 min, got 3600s");
    }

    #[test]
    fn secrets_of_the_url_are_never_shown() {
        let receiver = Receiver::webhook("ops", "https://user:pa55@h:8443/services/T0000SECRET?token=a%20b&k=xyz")
            .expect("is valid");
        let debug = format!("{receiver:?}");
        let text = "POST https://h:8443/services/T0000SECRET with pa55 by user: bad token a b (a%20b), xyz";
        let redacted = receiver.integrations()[0].target().redactor().redact(text);
        for secret in ["pa55", "user:", "SECRET", "a b", "a%20b", "xyz"] {
            assert!(!debug.contains(secret), "{debug}");
            assert!(!redacted.contains(secret), "{redacted}");
        }
        assert!(debug.contains("https://h:8443/***"), "{debug}");
        assert!(redacted.starts_with("POST https://h:8443/"), "{redacted}");
    }
}
