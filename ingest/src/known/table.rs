//! A hash table of which a look costs one cache line: four entries stand in each, and whoever is not
//! where the search begins stands beside it. The standard library's table reads two lines for a look,
//! which is what a point costs when there are a million series.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use window::SeriesId;

use super::WireKey;

/// The least number of slots; a power of two.
const LEAST_SLOTS: usize = 16;
/// Numbers of series stay far below it.
const FREE: SeriesId = SeriesId(u32::MAX);

/// Numbers of series by their keys.
#[derive(Debug)]
pub(super) struct Table {
    /// Searched from a key's place on. None, or a power of two of which at most three quarters are taken.
    slots: Vec<Slot>,
    taken: usize,
    /// An odd factor that nobody outside knows, so that no sender can choose keys that begin at one place.
    factor: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    low: u64,
    high: u32,
    /// [`FREE`], or whose place it is.
    id: SeriesId,
}

impl Default for Table {
    fn default() -> Self {
        Self { slots: Vec::new(), taken: 0, factor: RandomState::new().build_hasher().finish() | 1 }
    }
}

impl Table {
    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    #[inline]
    pub(super) fn get(&self, key: WireKey) -> Option<SeriesId> {
        let mut place = self.place(key.low);
        loop {
            let slot = self.slots.get(place)?;
            if slot.id == FREE {
                return None;
            }
            if (slot.low, slot.high) == (key.low, key.high) {
                return Some(slot.id);
            }
            // A quarter of the slots is free, so the search ends.
            place = (place + 1) & (self.slots.len() - 1);
        }
    }

    /// Reads the slots where the searches for `keys` begin. No read waits for another one.
    #[inline]
    pub(super) fn touch(&self, keys: &[WireKey]) {
        let read = |key: &WireKey| self.slots.get(self.place(key.low)).map_or(0, |slot| slot.low);
        std::hint::black_box(keys.iter().fold(0, |all, key| all ^ read(key)));
    }

    /// Adds a key, unless it is there.
    pub(super) fn add(&mut self, key: WireKey, id: SeriesId) {
        if self.get(key).is_some() {
            return;
        }
        if 4 * (self.taken + 1) > 3 * self.slots.len() {
            self.rebuild((2 * self.slots.len()).max(LEAST_SLOTS), |_| true);
        }
        self.put(Slot { low: key.low, high: key.high, id });
    }

    /// Keeps the keys whose numbers `is_kept`.
    pub(super) fn retain(&mut self, is_kept: impl FnMut(SeriesId) -> bool) {
        self.rebuild(self.slots.len(), is_kept);
    }

    /// Makes the slots anew. Old ones are read in their order, which is that of the new ones as well.
    fn rebuild(&mut self, slots: usize, mut is_kept: impl FnMut(SeriesId) -> bool) {
        let free = Slot { low: 0, high: 0, id: FREE };
        let old = std::mem::replace(&mut self.slots, vec![free; slots]);
        self.taken = 0;
        for slot in old.into_iter().filter(|slot| slot.id != FREE && is_kept(slot.id)) {
            self.put(slot);
        }
    }

    /// Puts an entry that is not there into the first free slot, of which there are some.
    fn put(&mut self, slot: Slot) {
        let mut place = self.place(slot.low);
        while self.slots[place].id != FREE {
            place = (place + 1) & (self.slots.len() - 1);
        }
        self.slots[place] = slot;
        self.taken += 1;
    }

    /// Where the search for a key begins: the upper bits of a product depend on all of the key's.
    #[inline]
    fn place(&self, low: u64) -> usize {
        let bits = self.slots.len().trailing_zeros();
        let hash = low.wrapping_mul(self.factor).rotate_left(bits);
        usize::try_from(hash).unwrap_or(usize::MAX) & self.slots.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Few bits, so that keys meet, and keys that differ in one half only.
    fn key(number: u8) -> WireKey {
        WireKey { low: u64::from(number & 31), high: u32::from(number >> 5) }
    }

    #[test]
    fn an_empty_table_knows_nothing() {
        let mut table = Table::default();
        table.touch(&[key(0)]);
        table.retain(|_| true);
        assert_eq!((table.get(key(0)), table.len()), (None, 0));
    }

    proptest! {
        #[test]
        fn it_is_a_map_that_keeps_what_came_first(
            steps in prop::collection::vec((any::<u8>(), 0..40_u32), 0..400),
        ) {
            let (mut table, mut model) = (Table::default(), HashMap::new());
            for (number, id) in steps {
                if id == 0 {
                    table.retain(|id| id.0 % 3 != 0);
                    model.retain(|_, id: &mut SeriesId| !id.0.is_multiple_of(3));
                } else {
                    table.add(key(number), SeriesId(id));
                    model.entry(number).or_insert(SeriesId(id));
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let keys: Vec<WireKey> = (0..=u8::MAX).map(key).collect();
            table.touch(&keys);
            for number in 0..=u8::MAX {
                prop_assert_eq!(table.get(key(number)), model.get(&number).copied());
            }
        }
    }
}
