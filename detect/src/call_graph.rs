//! Who calls whom, as seen in spans: a server's span whose parent is a span of another service.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::{Snapshot, SpanKind, SpanView, UnixNanos};

use crate::edges::Edges;

/// Event time between two looks at the spans.
const EVERY: Duration = Duration::from_secs(30);
/// How far back a look reaches: what came late is seen by the next one.
const REACH: Duration = Duration::from_secs(40);
/// Spans of one look at most; more would say nothing new.
const SPANS: usize = 200_000;
/// Calls whose callers are searched for in one look at most.
const CALLS: usize = 10_000;
/// The calls between services. Cheap to clone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CallGraph {
    /// From caller to callee.
    calls: Arc<Edges>,
    looked: Option<UnixNanos>,
}

impl CallGraph {
    /// Looks at the newest spans of `snapshot`, if it is time to at event time `at`.
    pub fn look(&mut self, snapshot: &Snapshot, at: UnixNanos) {
        if snapshot.spans.is_empty() || self.looked.is_some_and(|looked| at.since(looked) < EVERY) {
            return;
        }
        self.looked = Some(at);
        Arc::make_mut(&mut self.calls).forget(at);
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
        Arc::make_mut(&mut self.calls).note(caller, callee, at);
    }

    /// The services that `service` calls, by name.
    pub fn callees(&self, service: &str) -> impl Iterator<Item = &Arc<str>> {
        self.calls.ends(service)
    }

    /// The services that call `service`, by name.
    pub fn callers(&self, service: &str) -> impl Iterator<Item = &Arc<str>> {
        self.calls.iter().filter(move |(_, callee)| &***callee == service).map(|(caller, _)| caller)
    }

    /// Whether one of the two calls the other.
    #[must_use]
    pub fn are_neighbours(&self, one: &str, other: &str) -> bool {
        self.calls.has(one, other) || self.calls.has(other, one)
    }

    /// All calls, as caller and callee.
    pub fn calls(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.calls.iter()
    }
}

/// The id of a span; `None` for none.
fn id(bytes: &[u8]) -> Option<[u8; 8]> {
    <[u8; 8]>::try_from(bytes).ok().filter(|id| *id != [0; 8])
}

#[cfg(test)]
#[path = "call_graph/tests.rs"]
mod tests;
