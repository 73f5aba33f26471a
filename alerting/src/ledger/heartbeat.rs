//! Signs of life: an alert that always fires, for those who raise the alarm when it does not come.
//!
//! They are made where decisions are recorded and go the way of all notifications, so that a stop anywhere on
//! that way, the clock of the pipeline, the ledger or delivery, makes them stop as well.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use detect::UnixNanos;
use rusqlite::params;
use serde_json::json;

use super::{
    Ledger,
    outbox::{Addition, hashed},
};
use crate::{LedgerError, Receiver};

/// Who is told that we are alive, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The receiver's name.
    pub receiver: String,
    /// Time from one sign of life to the next; at least 1 s. Default 1 min.
    pub interval: Duration,
}

/// A sign of life that was not delivered makes the next ones wait, and counts as it is then: so it is renewed.
const RENEW: &str = "UPDATE outbox SET payload = ?4 WHERE receiver = ?1 AND integration = ?2 AND episode = ?3 AND \
     state = 'pending'";

/// They come often and say nothing of the past: only the last ones are kept.
const FORGET: &str = "DELETE FROM outbox WHERE receiver = ?1 AND integration = ?2 AND episode = ?3 AND \
     state != 'pending' AND created_at < ?4";

impl Ledger {
    /// Adds a sign of life for `receiver`, unless the last is still on its way. Returns whether there is a new one.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn beat(&mut self, heartbeat: &Heartbeat, receiver: &Receiver, now: UnixNanos) -> Result<bool, LedgerError> {
        let episode = format!("heartbeat:{}", receiver.name());
        let payload = self.sign_of_life(receiver.name(), now);
        let turn = i128::from(now.0) / i128::try_from(heartbeat.interval.as_nanos().max(1)).unwrap_or(i128::MAX);
        let too_old = now.minus(heartbeat.interval.saturating_mul(10));
        let added = self.store.write(|transaction| {
            let mut added = 0;
            for integration in receiver.integrations() {
                let endpoint = params![receiver.name(), integration.key(), episode, payload];
                if transaction.execute(RENEW, endpoint)? > 0 {
                    continue;
                }
                transaction.execute(FORGET, params![receiver.name(), integration.key(), episode, too_old.0])?;
                let id = hashed([receiver.name(), integration.key(), &episode, &turn.to_string()]);
                let addition = Addition {
                    id: &id,
                    receiver: receiver.name(),
                    integration: integration.key(),
                    thread: &episode,
                    announced: "firing",
                    payload: &payload,
                    stands_in_for: None,
                    // Each node tells of itself.
                    turn: Duration::ZERO,
                };
                added += addition.add(transaction, now)?;
            }
            Ok(added)
        })?;
        if added > 0 {
            self.store.ring();
        }
        Ok(added > 0)
    }

    fn sign_of_life(&self, receiver: &str, now: UnixNanos) -> String {
        let labels = json!({"alertname": "Watchdog", "service": "bellwether", "severity": "none"});
        let annotations = json!({"summary": "Bellwether is alive. When this stops coming, it is not."});
        let at = DateTime::from_timestamp_nanos(now.0).to_rfc3339_opts(SecondsFormat::Secs, true);
        let url = &self.origin.external_url;
        let message = json!({
            "receiver": receiver, "status": "firing", "version": "4", "truncatedAlerts": 0,
            "groupKey": "{}:{alertname=\"Watchdog\"}", "groupLabels": {"alertname": "Watchdog"},
            "commonLabels": labels, "commonAnnotations": annotations, "externalURL": url,
            "alerts": [{
                "status": "firing", "labels": labels, "annotations": annotations, "startsAt": at,
                "endsAt": "0001-01-01T00:00:00Z", "generatorURL": url, "fingerprint": "77617463680a646f",
            }],
        });
        message.to_string()
    }
}
