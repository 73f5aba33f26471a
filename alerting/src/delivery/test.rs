//! Trying the way to a receiver, past the outbox.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SecondsFormat};

use super::{
    Destinations,
    attempt::{Reaction, Sender},
    consent::Consent,
};
use crate::{DeliveryError, Receiver, clock, integration::test_message, ledger::Due};

/// How a test went for one integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// Kind and number of the integration.
    pub integration: String,
    /// What was answered: a status, or nothing where there is none; or what went wrong, without secrets.
    pub result: Result<Option<u16>, String>,
    /// How long it took.
    pub took: Duration,
}

/// Sends a test alert once to each integration of `receiver`. `external_url` is linked to.
///
/// # Errors
/// [`DeliveryError::Client`] when nothing can be sent at all.
pub async fn notify_test(
    receiver: &Receiver,
    destinations: &Destinations,
    external_url: &str,
) -> Result<Vec<TestOutcome>, DeliveryError> {
    let sender = Sender::new(destinations, Arc::default())?;
    let now = clock::now();
    let starts_at = DateTime::from_timestamp_nanos(now.0).to_rfc3339_opts(SecondsFormat::Secs, true);
    let payload = test_message(receiver.name(), external_url, &starts_at).to_string();
    let mut outcomes = Vec::new();
    for integration in receiver.integrations() {
        let id = format!("test_{:016x}", fastrand::u64(..));
        let episode = format!("test:{}", now.0);
        let due = Due { id, episode, payload: payload.clone(), attempts: 0, since: now, created: now };
        let began = std::time::Instant::now();
        let reaction = sender.send(integration, &due, &Consent::default(), (usize::MAX, integration.timeout)).await;
        let result = match reaction {
            Reaction::Taken { status } => Ok(status),
            Reaction::Failed { error, .. } | Reaction::Refused { error, .. } | Reaction::Gone { error, .. } => {
                Err(error)
            }
        };
        outcomes.push(TestOutcome { integration: integration.key().to_owned(), result, took: began.elapsed() });
    }
    Ok(outcomes)
}
