//! Descriptions of series that were seen lately, over all requests.
//!
//! A sender repeats its series every few seconds. Making names and labels anew each time would cost
//! more than all the rest of decoding, only for the registry to find that it knows them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use window::{Series, SeriesKey};

/// Requests are decoded on several threads; each series has its own lock but for one in sixteen.
const SHARDS: usize = 16;
/// Bytes of an entry apart from its texts: the maps' slots and the allocations' own overhead.
const ENTRY_BYTES: usize = 160;
const LABEL_BYTES: usize = 80;

type Generation = HashMap<SeriesKey, Arc<Series>, foldhash::fast::RandomState>;

/// Bounded in bytes: what was not asked for while half of the room filled up is forgotten.
#[derive(Debug)]
pub(super) struct SeriesCache {
    shards: [Mutex<Shard>; SHARDS],
    generation_bytes: usize,
}

#[derive(Debug, Default)]
struct Shard {
    young: Generation,
    young_bytes: usize,
    old: Generation,
}

impl SeriesCache {
    /// Room for about `bytes`; 0 keeps next to nothing.
    pub(super) fn new(bytes: usize) -> Self {
        Self { shards: Default::default(), generation_bytes: bytes / SHARDS / 2 }
    }

    /// The series with this identity, described now if it is not known. `describe` has to depend on
    /// nothing that is not part of the identity.
    pub(super) fn find_or_add(&self, key: SeriesKey, describe: impl FnOnce() -> Series) -> Arc<Series> {
        let shard = usize::from(key.0.to_le_bytes()[0]) % SHARDS;
        // A shard is whole between any two statements, so a thread that died here has left no harm.
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = shard.young.get(&key) {
            return Arc::clone(series);
        }
        let series = shard.old.remove(&key).unwrap_or_else(|| Arc::new(describe()));
        shard.young_bytes += bytes_of(&series);
        shard.young.insert(key, Arc::clone(&series));
        if shard.young_bytes > self.generation_bytes {
            shard.old = std::mem::take(&mut shard.young);
            shard.young_bytes = 0;
        }
        series
    }
}

fn bytes_of(series: &Series) -> usize {
    let labels: usize = series.labels.iter().map(|(name, value)| LABEL_BYTES + name.len() + value.len()).sum();
    let texts = series.name.len() + series.source_name.len() + series.unit.len();
    size_of::<Series>() + ENTRY_BYTES + labels + texts
}

#[cfg(test)]
mod tests {
    use window::{Labels, SeriesKind};

    use super::*;

    fn series(key: u128) -> Series {
        Series {
            key: SeriesKey(key),
            name: "m".into(),
            source_name: "m".into(),
            unit: "".into(),
            kind: SeriesKind::Gauge,
            labels: Labels::default(),
            service: "".into(),
        }
    }

    fn held(cache: &SeriesCache) -> usize {
        let lengths = cache.shards.iter().map(|s| s.lock().expect("no test panics with the lock"));
        lengths.map(|s| s.young.len() + s.old.len()).sum()
    }

    #[test]
    fn a_known_series_is_not_described_again() {
        let cache = SeriesCache::new(1 << 20);
        let first = cache.find_or_add(SeriesKey(7), || series(7));
        let again = cache.find_or_add(SeriesKey(7), || unreachable!("it is known"));
        assert!(Arc::ptr_eq(&first, &again));
    }

    #[test]
    fn what_is_in_use_stays_while_the_rest_is_forgotten() {
        let room = 1 << 20;
        let cache = SeriesCache::new(room);
        let used = cache.find_or_add(SeriesKey(0), || series(0));
        for key in 1..100_000 {
            cache.find_or_add(SeriesKey(key), || series(key));
            let again = cache.find_or_add(SeriesKey(0), || unreachable!("it is asked for all the time"));
            assert!(Arc::ptr_eq(&used, &again));
        }
        assert!(held(&cache) * bytes_of(&used) <= room, "{} series of {} bytes", held(&cache), bytes_of(&used));
    }

    #[test]
    fn no_room_still_gives_an_answer() {
        let cache = SeriesCache::new(0);
        assert_eq!(cache.find_or_add(SeriesKey(7), || series(7)).key, SeriesKey(7));
        assert!(held(&cache) <= 1);
    }
}
