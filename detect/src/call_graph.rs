//! Who calls whom, as seen in spans: a server's span whose parent is a span of another service.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use window::{Snapshot, SpanKind, SpanView, UnixNanos};

/// Event time between two looks at the spans.
const EVERY: Duration = Duration::from_secs(30);
/// How far back a look reaches: what came late is seen by the next one.
const REACH: Duration = Duration::from_secs(40);
/// Spans of one look at most; more would say nothing new.
const SPANS: usize = 200_000;
/// Calls whose callers are searched for in one look at most.
const CALLS: usize = 10_000;
/// Edges that are remembered at most; further ones are not.
const EDGES: usize = 10_000;
/// An edge that was not seen for so long is forgotten.
const MEMORY: Duration = Duration::from_hours(1);

/// The edges between services, and when each was last seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CallGraph {
    callees: BTreeMap<Arc<str>, BTreeMap<Arc<str>, UnixNanos>>,
    edges: usize,
    looked: Option<UnixNanos>,
}

impl CallGraph {
    /// Looks at the newest spans of `snapshot`, if it is time to at event time `at`.
    pub fn look(&mut self, snapshot: &Snapshot, at: UnixNanos) {
        if snapshot.spans.is_empty() || self.looked.is_some_and(|looked| at.since(looked) < EVERY) {
            return;
        }
        self.looked = Some(at);
        self.forget(at.minus(MEMORY));
        let spans = || snapshot.spans_between(at.minus(REACH), at).take(SPANS);
        let is_call = |span: &SpanView<'_>| matches!(span.kind, SpanKind::Server | SpanKind::Consumer);
        let mut callees: HashMap<[u8; 8], &str> = HashMap::new();
        for span in spans().filter(is_call) {
            if callees.len() >= CALLS {
                break;
            }
            if let Some(parent) = id(span.parent_span_id) {
                callees.insert(parent, span.service);
            }
        }
        if callees.is_empty() {
            return;
        }
        for span in spans() {
            let callee = id(span.span_id).and_then(|id| callees.get(&id));
            if let Some(callee) = callee.filter(|callee| **callee != span.service) {
                self.note(span.service, callee, at);
            }
        }
    }

    pub(crate) fn note(&mut self, caller: &str, callee: &str, at: UnixNanos) {
        if let Some(seen) = self.callees.get_mut(caller).and_then(|callees| callees.get_mut(callee)) {
            *seen = at;
        } else if self.edges < EDGES {
            self.callees.entry(caller.into()).or_default().insert(callee.into(), at);
            self.edges += 1;
        }
    }

    fn forget(&mut self, horizon: UnixNanos) {
        for callees in self.callees.values_mut() {
            callees.retain(|_, seen| *seen >= horizon);
        }
        self.callees.retain(|_, callees| !callees.is_empty());
        self.edges = self.callees.values().map(BTreeMap::len).sum();
    }

    /// The services that `service` calls, by name.
    pub fn callees(&self, service: &str) -> impl Iterator<Item = &Arc<str>> {
        self.callees.get(service).into_iter().flat_map(BTreeMap::keys)
    }

    /// Whether one of the two calls the other.
    #[must_use]
    pub fn are_neighbours(&self, one: &str, other: &str) -> bool {
        let calls = |a: &str, b: &str| self.callees.get(a).is_some_and(|callees| callees.contains_key(b));
        calls(one, other) || calls(other, one)
    }

    /// All calls, as caller and callee.
    pub fn calls(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.callees.iter().flat_map(|(caller, callees)| callees.keys().map(move |callee| (caller, callee)))
    }
}

/// The id of a span; `None` for none.
fn id(bytes: &[u8]) -> Option<[u8; 8]> {
    <[u8; 8]>::try_from(bytes).ok().filter(|id| *id != [0; 8])
}

#[cfg(test)]
#[path = "call_graph/tests.rs"]
mod tests;
