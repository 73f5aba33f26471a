//! Whom services call that send no spans themselves: what the spans of clients name as their peer.
//!
//! The [`CallGraph`](crate::CallGraph) has the calls between services that are seen at both ends. Calls repeat, so it
//! is enough to look at the newest spans now and then.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::{Snapshot, SpanKind, SpanView, UnixNanos};

use crate::edges::Edges;

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
            if let Some(peer) = PEERS.iter().find_map(|name| text_attribute(span.attributes, name)) {
                self.note(peer, span.service, span.end);
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

/// The text under `name` in an encoded `KeyValueList`: field 1 holds pairs of a key (1) and a value (2), and a value
/// that is text has it in its field 1.
fn text_attribute<'a>(list: &'a [u8], name: &str) -> Option<&'a str> {
    let mut rest = list;
    while let Some((1, pair)) = next_field(&mut rest) {
        let (mut key, mut value, mut fields) = (None, None, pair);
        while let Some((number, bytes)) = next_field(&mut fields) {
            match number {
                1 => key = Some(bytes),
                2 => value = Some(bytes),
                _ => {}
            }
        }
        if key == Some(name.as_bytes()) {
            let mut value = value?;
            let (number, text) = next_field(&mut value)?;
            return std::str::from_utf8(text).ok().filter(|text| number == 1 && !text.is_empty());
        }
    }
    None
}

/// The next field if it holds bytes; none at the end, or before anything else.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let tag = varint(bytes)?;
    if tag & 7 != 2 {
        return None;
    }
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (field, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((tag >> 3, field))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_in_an_encoded_list_and_nonsense_is_none() {
        // {"a": 7, "peer.service": "tax"}
        let list = b"\x0a\x07\x0a\x01a\x12\x02\x18\x07\x0a\x15\x0a\x0cpeer.service\x12\x05\x0a\x03tax";
        assert_eq!(text_attribute(list, "peer.service"), Some("tax"));
        assert_eq!(text_attribute(list, "a"), None);
        assert_eq!(text_attribute(list, "b"), None);
        for cut in 0..list.len() {
            let _ = text_attribute(&list[..cut], "peer.service");
        }
        assert_eq!(text_attribute(&[0xff; 20], "a"), None);
    }

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
