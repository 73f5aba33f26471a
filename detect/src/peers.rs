//! Whom services call that send no spans themselves: what the spans of clients name as their peer.
//!
//! The [`CallGraph`](crate::CallGraph) has the calls between services that are seen at both ends. Calls repeat, so it
//! is enough to look at the newest spans now and then.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::{Snapshot, SpanKind, SpanView, UnixNanos};

use crate::{
    edges::Edges,
    key_values::{pairs, scalar},
};

/// How often spans are looked at.
const EVERY: Duration = Duration::from_secs(10);
/// How far back: what came late is seen by the next look.
const REACH: Duration = Duration::from_secs(30);
/// Spans that are looked at in one go at most.
const SPANS: usize = 20_000;
/// Attributes of a client's span that name the other side, the best first.
const PEERS: [&str; 3] = ["service.peer.name", "peer.service", "server.address"];

/// Peers, and who calls them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peers {
    /// From caller to peer.
    calls: Edges,
    looked_at: Option<UnixNanos>,
}

impl Peers {
    /// Looks at the newest spans if it is time.
    pub(crate) fn look(&mut self, snapshot: &Snapshot, at: UnixNanos) {
        if self.looked_at.is_some_and(|last| last.floor_to(EVERY) == at.floor_to(EVERY)) {
            return;
        }
        self.looked_at = Some(at);
        let is_call = |span: &SpanView<'_>| matches!(span.kind, SpanKind::Client | SpanKind::Producer);
        for span in snapshot.spans_between(at.minus(REACH), at).filter(is_call).take(SPANS) {
            let named = |name: &&str| pairs(span.attributes).find(|(key, _)| *key == name.as_bytes());
            if let Some(peer) = PEERS.iter().find_map(|name| named(name).and_then(|(_, value)| scalar(value))) {
                self.note(&peer, span.service, span.end);
            }
        }
        self.calls.forget(at);
    }

    pub(crate) fn note(&mut self, peer: &str, caller: &str, at: UnixNanos) {
        self.calls.note(caller, peer, at);
    }

    /// All calls, as caller and peer.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.calls.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_remembered_for_an_hour() {
        let mut peers = Peers::default();
        let at = |s: i64| UnixNanos(s * 1_000_000_000);
        peers.note("tax", "shop/checkout", at(10));
        let calls = |peers: &Peers| peers.calls().map(|(caller, peer)| format!("{caller} {peer}")).collect::<Vec<_>>();
        peers.look(&Snapshot::default(), at(10 + 3_600));
        assert_eq!(calls(&peers), ["shop/checkout tax"]);
        peers.look(&Snapshot::default(), at(30 + 3_600));
        assert!(calls(&peers).is_empty());
    }
}
