//! Trace ids worth looking at: of the slowest and of the failed calls of a bucket.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

/// Trace ids kept of each sort.
const KEPT: usize = 3;

/// The traces of the longest calls so far, longest first; those of equal length in the order of their ids.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Longest {
    /// Nanoseconds plus one, so that a free place is shorter than every call.
    kept: [(u64, [u8; 16]); KEPT],
}

impl Longest {
    #[inline]
    pub(super) fn note(&mut self, nanos: u64, trace_id: &[u8; 16]) {
        let length = nanos.saturating_add(1);
        if length >= self.kept[KEPT - 1].0 {
            self.put(length, trace_id);
        }
    }

    #[cold]
    fn put(&mut self, length: u64, trace_id: &[u8; 16]) {
        let same = self.kept.iter().position(|(kept, id)| *kept > 0 && id == trace_id);
        let place = same.unwrap_or(KEPT - 1);
        let rank = |(length, id): &(u64, [u8; 16])| (Reverse(*length), *id);
        if rank(&(length, *trace_id)) < rank(&self.kept[place]) {
            self.kept[place] = (length, *trace_id);
            self.kept[..=place].sort_by_key(rank);
        }
    }

    /// Nanoseconds and trace of each.
    pub(super) fn calls(&self) -> impl Iterator<Item = (u64, [u8; 16])> {
        self.kept.iter().filter(|(length, _)| *length > 0).map(|(length, id)| (*length - 1, *id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_calls_are_kept_one_of_each_trace() {
        let mut longest = Longest::default();
        for (nanos, trace) in [(5, 1), (0, 2), (9, 3), (7, 1), (6, 4), (6, 5), (8, 4), (1, 3)] {
            longest.note(nanos, &[trace; 16]);
        }
        assert_eq!(longest.calls().collect::<Vec<_>>(), [(9, [3; 16]), (8, [4; 16]), (7, [1; 16])]);
        assert_eq!(Longest::default().calls().count(), 0);
    }
}
