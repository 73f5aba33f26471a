//! Tells peers of an Alertmanager again and again what goes on: it resolves by itself what it does not hear of.
//!
//! What goes on stands in the outbox: the last message of each thread that the peer took. One that says that all is
//! over is repeated for a while, since a peer that was restarted meanwhile has forgotten that it heard it.

use std::{sync::Arc, time::Duration};

use detect::UnixNanos;
use tokio::{sync::watch, time::sleep};

use super::{
    attempt::{Reaction, Sender},
    consent::Consent,
};
use crate::{
    Alertmanager, Integration, Outbox, Target, clock,
    integration::{Message, Outgoing},
    ledger::Endpoint,
};

/// How long it is told that an alert is over, as Prometheus does.
const RESOLVED_KEPT: Duration = Duration::from_mins(15);
/// Messages that are read together, and their bytes; one may be longer.
const TOGETHER: usize = 64;
const BYTES_TOGETHER: usize = 1 << 20;

/// Repeats until it is stopped.
pub(super) async fn run(
    outbox: Outbox,
    endpoint: Arc<Endpoint>,
    integration: Arc<Integration>,
    peer: Alertmanager,
    sender: Sender,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        tokio::select! {
            () = sleep(peer.resend) => {}
            _ = stop.changed() => continue,
        }
        if let Err(error) = once(&outbox, &endpoint, &integration, &peer, &sender).await {
            tracing::warn!(%endpoint, error, "alerts that go on could not be told again");
        }
    }
}

async fn once(
    outbox: &Outbox,
    endpoint: &Arc<Endpoint>,
    integration: &Integration,
    peer: &Alertmanager,
    sender: &Sender,
) -> Result<(), String> {
    let (asked, now) = (Arc::clone(endpoint), clock::now());
    let standing = outbox.blocking(move |outbox| outbox.standing(&asked, now.minus(RESOLVED_KEPT))).await;
    let payloads = standing.map_err(|error| error.to_string())?;
    let mut left = &payloads[..];
    while !left.is_empty() {
        let mut bytes = 0;
        let fits = |payload: &&String| {
            bytes += payload.len();
            bytes <= BYTES_TOGETHER
        };
        let (payloads, others) = left.split_at(left.iter().take(TOGETHER).take_while(fits).count().max(1));
        left = others;
        let messages: Vec<Message> = payloads.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        let at = i64::try_from(clock::now().since(UnixNanos::default()).as_secs()).unwrap_or(i64::MAX);
        let outgoing = peer.render(&messages, at);
        if matches!(outgoing, Outgoing::Nothing) {
            continue;
        }
        let target: &Target = integration.target();
        match sender.deliver(target, outgoing, &Consent::default(), integration.timeout).await {
            Reaction::Taken { .. } => {}
            Reaction::Failed { error, .. } | Reaction::Refused { error, .. } | Reaction::Gone { error, .. } => {
                return Err(error);
            }
        }
    }
    Ok(())
}
