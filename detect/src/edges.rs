//! Edges between named things, and when each was last seen: a bounded number, forgotten when they are not seen again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::UnixNanos;

/// Edges that are kept at most; further ones are not.
const MOST: usize = 10_000;
/// An edge that was not seen for so long is forgotten.
const MEMORY: Duration = Duration::from_hours(1);

/// Edges by where they begin and where they end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Edges {
    seen: BTreeMap<Arc<str>, BTreeMap<Arc<str>, UnixNanos>>,
    /// How many there are: counting them for each span that brings a new one would take longer than all else.
    count: usize,
}

impl Edges {
    /// Notes that the edge was seen at event time `at`.
    pub(crate) fn note(&mut self, from: &str, to: &str, at: UnixNanos) {
        if let Some(seen) = self.seen.get_mut(from).and_then(|ends| ends.get_mut(to)) {
            *seen = at.max(*seen);
        } else if self.count < MOST {
            self.seen.entry(from.into()).or_default().insert(to.into(), at);
            self.count += 1;
        }
    }

    /// Forgets what was not seen for an hour at event time `at`.
    pub(crate) fn forget(&mut self, at: UnixNanos) {
        let horizon = at.minus(MEMORY);
        for ends in self.seen.values_mut() {
            ends.retain(|_, seen| *seen >= horizon);
        }
        self.seen.retain(|_, ends| !ends.is_empty());
        self.count = self.seen.values().map(BTreeMap::len).sum();
    }

    /// Where the edges from `from` end, by name.
    pub(crate) fn ends(&self, from: &str) -> impl Iterator<Item = &Arc<str>> {
        self.seen.get(from).into_iter().flat_map(BTreeMap::keys)
    }

    /// Whether there is an edge from `from` to `to`.
    pub(crate) fn has(&self, from: &str, to: &str) -> bool {
        self.seen.get(from).is_some_and(|ends| ends.contains_key(to))
    }

    /// All edges, as beginning and end.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.seen.iter().flat_map(|(from, ends)| ends.keys().map(move |to| (from, to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> UnixNanos {
        UnixNanos(second * 1_000_000_000)
    }

    #[test]
    fn an_edge_is_forgotten_an_hour_after_it_was_last_seen() {
        let mut edges = Edges::default();
        edges.note("a", "b", at(20));
        edges.note("a", "b", at(10));
        edges.note("a", "c", at(10));
        edges.forget(at(3_611));
        assert_eq!(edges.iter().map(|(from, to)| format!("{from}{to}")).collect::<Vec<_>>(), ["ab"]);
        assert!(edges.has("a", "b") && !edges.has("b", "a") && !edges.has("a", "c"));
        edges.forget(at(3_621));
        assert_eq!(edges, Edges::default());
    }

    #[test]
    fn their_number_is_bounded() {
        let mut edges = Edges::default();
        (0..=MOST).for_each(|i| edges.note("a", &i.to_string(), at(1)));
        assert_eq!(edges.ends("a").count(), MOST);
        edges.note("a", "0", at(9));
        edges.forget(at(3_605));
        assert_eq!(edges.ends("a").map(|end| &**end).collect::<Vec<_>>(), ["0"], "what is known is noted all the same");
    }
}
