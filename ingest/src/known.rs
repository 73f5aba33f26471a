//! Which series a point belongs to, by the bytes in which its attributes were sent.
//!
//! A sender repeats its series every few seconds in the same bytes. Whoever has seen them once need
//! not read, check or order them again: one hash and one look give the series' number. Other bytes
//! for the same attributes (another order, say) are an entry of their own with the same number.
//!
//! Written by [`crate::Intake`] when it registers a series, read by every task that decodes.

mod table;
mod tenants;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};
use window::SeriesId;
use xxhash_rust::xxh3::xxh3_128;

use self::table::Table;
pub use self::tenants::KnownTenants;

/// Ways of writing a series that are remembered, for each series that there may be.
const WAYS: usize = 2;

/// What was sent for a series: its metric's identity and its attributes' bytes, hashed. Of ten million
/// series any two have the same key with a probability of 10^-15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WireKey {
    low: u64,
    high: u32,
}

impl WireKey {
    /// The key of attributes as sent, of a metric with this identity.
    #[inline]
    pub(crate) fn new(metric: u128, attributes: &[u8]) -> Self {
        let bytes = (xxh3_128(attributes) ^ metric.rotate_left(31)).to_le_bytes();
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = bytes;
        Self { low: u64::from_le_bytes([a, b, c, d, e, f, g, h]), high: u32::from_le_bytes([i, j, k, l]) }
    }
}

/// The series that are known, by what was sent for them. Bounded by the limit on series.
#[derive(Debug)]
pub struct KnownSeries {
    inner: RwLock<Inner>,
    limit: usize,
}

/// What a reader holds while it looks series up.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    table: Table,
    /// How often numbers have been taken back.
    pub(crate) epoch: u64,
}

impl Inner {
    #[inline]
    pub(crate) fn get(&self, key: WireKey) -> Option<SeriesId> {
        self.table.get(key)
    }

    /// Looks at where each of `keys` is searched first, so that [`Self::get`] finds it in the cache. Of a
    /// million series every look is a cache miss; waiting for many of them at once takes hardly longer
    /// than waiting for one.
    #[inline]
    pub(crate) fn prepare(&self, keys: &[WireKey]) {
        self.table.touch(keys);
    }
}

impl KnownSeries {
    /// Nothing known yet, of at most `max_series` series.
    #[must_use]
    pub fn new(max_series: usize) -> Self {
        Self { inner: RwLock::default(), limit: max_series.saturating_mul(WAYS) }
    }

    /// For looking up. Not to be held for long: the pipeline waits for it.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        // Whole between any two statements, so a thread that died has left no harm.
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers ways of writing series. Beyond the limit nothing is remembered: such series are
    /// found by their identity, at more CPU for each point.
    pub(crate) fn add(&self, met: impl IntoIterator<Item = (WireKey, SeriesId)>) {
        let mut met = met.into_iter().peekable();
        if met.peek().is_none() {
            return;
        }
        let mut inner = self.write();
        for (key, id) in met {
            if inner.table.len() >= self.limit {
                break;
            }
            inner.table.add(key, id);
        }
    }

    /// Lets epochs go on from `epoch`, as in the process that knew the series before.
    pub(crate) fn goes_on(&self, epoch: u64) {
        self.write().epoch = epoch;
    }

    /// Forgets series whose numbers will be used again; `gone` is sorted. Returns the new epoch.
    pub(crate) fn forget(&self, gone: &[SeriesId]) -> u64 {
        let mut inner = self.write();
        inner.table.retain(|id| gone.binary_search(&id).is_err());
        inner.epoch += 1;
        inner.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_and_attributes_are_both_part_of_the_key() {
        let key = WireKey::new(1, b"a");
        assert_eq!(key, WireKey::new(1, b"a"));
        assert_ne!(key, WireKey::new(2, b"a"));
        assert_ne!(key, WireKey::new(1, b"b"));
    }

    #[test]
    fn ways_are_bounded_and_forgotten() {
        let known = KnownSeries::new(1);
        known.add((0..9).map(|i| (WireKey::new(i, b""), SeriesId(7))));
        let found = (0..9).filter(|i| known.read().get(WireKey::new(*i, b"")).is_some()).count();
        assert_eq!(found, WAYS);
        assert_eq!(known.forget(&[SeriesId(7)]), 1);
        assert_eq!(known.read().get(WireKey::new(0, b"")), None);
    }
}
