//! Byte strings one behind the other, and numbered ones: what Arrow's binary and dictionary arrays
//! are made of, before they are arrays.

use std::{hash::BuildHasher, sync::Arc};

use arrow_array::{ArrayRef, BinaryArray, DictionaryArray, Int32Array, StringArray, types::Int32Type};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::blocks::{BLOCK_BYTES, Blocks};

/// A column of byte strings. Its owner keeps it below 2 GiB, where Arrow's offsets end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BytesColumn {
    /// Where each value begins, and where the last one ends; empty when there is no value.
    offsets: Vec<i32>,
    values: Vec<u8>,
}

impl BytesColumn {
    pub(crate) fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Bytes of all values together.
    pub(crate) fn content(&self) -> usize {
        self.values.len()
    }

    /// Bytes allocated.
    pub(crate) fn bytes(&self) -> usize {
        self.offsets.capacity() * size_of::<i32>() + self.values.capacity()
    }

    pub(crate) fn reserve(&mut self, rows: usize, content: usize) {
        self.offsets.reserve(rows + 1);
        self.values.reserve(content);
    }

    /// Makes room for as much as there is in `before`, whose successor it is: a block, if that was one and
    /// was used, or was as large as one.
    pub(crate) fn reserve_like(&mut self, before: &Self, blocks: &Blocks) {
        let (rows, content) = (before.len(), before.content());
        let is_block = before.values.capacity() == BLOCK_BYTES;
        if content > BLOCK_BYTES / 2 || (is_block && content > BLOCK_BYTES / 8) {
            self.values = blocks.take();
            self.reserve(rows, 0);
        } else {
            self.reserve(rows, content);
        }
    }

    pub(crate) fn get(&self, row: usize) -> &[u8] {
        match self.offsets.get(row..row.saturating_add(2)) {
            Some([from, to]) => &self.values[index(*from)..index(*to)],
            _ => &[],
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.values.extend_from_slice(value);
        self.offsets.push(i32::try_from(self.values.len()).expect("the owner keeps a column below 2 GiB"));
    }

    /// The value that was pushed last; empty when there is none.
    pub(crate) fn last_mut(&mut self) -> &mut [u8] {
        let start = self.len().checked_sub(1).map_or(0, |last| index(self.offsets[last]));
        &mut self.values[start..]
    }

    pub(crate) fn append(&mut self, other: &Self) {
        let base = i32::try_from(self.values.len()).expect("the owner keeps a column below 2 GiB");
        let added = if self.offsets.is_empty() { &other.offsets[..] } else { other.offsets.get(1..).unwrap_or(&[]) };
        self.offsets.extend(added.iter().map(|offset| base + offset));
        self.values.extend_from_slice(&other.values);
    }

    /// Keeps the rows for which `mask` holds.
    pub(crate) fn keep(&mut self, mask: &[bool]) {
        let mut kept = Self::default();
        for (row, _) in mask.iter().enumerate().filter(|(_, kept)| **kept) {
            kept.push(self.get(row));
        }
        *self = kept;
    }

    pub(crate) fn into_binary(self) -> ArrayRef {
        self.into_binary_in(&Blocks::default())
    }

    /// The same for a column that may stand in one of `blocks`.
    pub(crate) fn into_binary_in(self, blocks: &Blocks) -> ArrayRef {
        let (offsets, values) = self.into_buffers(blocks);
        Arc::new(BinaryArray::try_new(offsets, values, None).expect("offsets are pushed with the values"))
    }

    /// The values as text, each of which was text when it was pushed.
    pub(crate) fn into_text(self) -> ArrayRef {
        let (offsets, values) = self.into_buffers(&Blocks::default());
        Arc::new(StringArray::try_new(offsets, values, None).expect("only text was pushed"))
    }

    fn into_buffers(mut self, blocks: &Blocks) -> (OffsetBuffer<i32>, Buffer) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        (OffsetBuffer::new(scalars(self.offsets)), blocks.seal(self.values))
    }
}

/// The values as Arrow's, without what was reserved for many more.
pub(crate) fn scalars<T: arrow_buffer::ArrowNativeType>(mut values: Vec<T>) -> ScalarBuffer<T> {
    shrink(&mut values);
    ScalarBuffer::from(values)
}

/// Gives back what was reserved for more; a little of it is not worth being moved for.
pub(crate) fn shrink<T>(values: &mut Vec<T>) {
    values.shrink_to(values.len() + values.len() / 16);
}

fn index(offset: i32) -> usize {
    usize::try_from(offset).expect("offsets are lengths")
}

/// Distinct byte strings, numbered from 0 in order of first appearance. Looking up a known one
/// allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    values: BytesColumn,
    /// Open addressing, at most half full; a power of two, or empty.
    slots: Vec<Slot>,
    hasher: foldhash::fast::RandomState,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Upper half of the value's hash.
    hash: u32,
    /// The value's number plus one; 0 when the slot is free.
    number: u32,
}

impl Dictionary {
    /// How many distinct values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value with this number; empty when there is none.
    #[must_use]
    pub fn get(&self, code: i32) -> &[u8] {
        usize::try_from(code).map_or(&[], |row| self.values.get(row))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.bytes() + self.slots.capacity() * size_of::<Slot>()
    }

    pub(crate) fn content(&self) -> usize {
        self.values.content()
    }

    /// The number of `value`, which is added when it is new.
    #[inline]
    pub(crate) fn code(&mut self, value: &[u8]) -> i32 {
        let hash = self.hasher.hash_one(value);
        if let Some(mask) = self.slots.len().checked_sub(1) {
            let (mut place, upper) = (lower(hash) & mask, upper(hash));
            // At most half of the slots are taken, so a free one ends the search.
            while let Some(slot) = self.slots.get(place).filter(|slot| slot.number != 0) {
                let row = slot.number - 1;
                if slot.hash == upper && is_same(self.values.get(row as usize), value) {
                    return row.cast_signed();
                }
                place = (place + 1) & mask;
            }
        }
        self.add(value, hash)
    }

    #[cold]
    fn add(&mut self, value: &[u8], hash: u64) -> i32 {
        if self.slots.len() < 2 * (self.len() + 1) {
            self.slots = vec![Slot::default(); (4 * self.len()).next_power_of_two().max(16)];
            for row in 0..self.len() {
                let hash = self.hasher.hash_one(self.values.get(row));
                self.place(row, hash);
            }
        }
        let row = self.len();
        self.values.push(value);
        self.place(row, hash);
        i32::try_from(row).expect("a column below 2 GiB of different values has fewer than 2^31")
    }

    fn place(&mut self, row: usize, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut place = lower(hash) & mask;
        while self.slots[place].number != 0 {
            place = (place + 1) & mask;
        }
        let number = u32::try_from(row + 1).expect("there are fewer than 2^31 values");
        self.slots[place] = Slot { hash: upper(hash), number };
    }
}

fn lower(hash: u64) -> usize {
    usize::try_from(hash & u64::from(u32::MAX)).expect("32 bits are an index")
}

fn upper(hash: u64) -> u32 {
    u32::try_from(hash >> 32).expect("half of a hash is 32 bits")
}

/// A column of numbers into a dictionary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coded {
    pub(crate) codes: Vec<i32>,
    pub(crate) values: Dictionary,
}

impl Coded {
    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        let code = self.values.code(value);
        self.codes.push(code);
    }

    pub(crate) fn get(&self, row: usize) -> &[u8] {
        self.codes.get(row).map_or(&[], |code| self.values.get(*code))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.codes.capacity() * size_of::<i32>() + self.values.bytes()
    }

    /// Appends the rows of `other`, whose numbers are translated.
    pub(crate) fn append(&mut self, other: &Self) {
        let values = &other.values.values;
        let translated: Vec<i32> = (0..values.len()).map(|row| self.values.code(values.get(row))).collect();
        self.codes.extend(other.codes.iter().map(|code| translated[index(*code)]));
    }

    pub(crate) fn into_texts(self) -> ArrayRef {
        dictionary_array(self.codes, self.values.values.into_text())
    }

    pub(crate) fn into_binaries(self) -> ArrayRef {
        dictionary_array(self.codes, self.values.values.into_binary())
    }
}

fn dictionary_array(codes: Vec<i32>, values: ArrayRef) -> ArrayRef {
    let codes = Int32Array::new(scalars(codes), None);
    Arc::new(DictionaryArray::<Int32Type>::try_new(codes, values).expect("codes are given out by the dictionary"))
}

/// Whether both are equal. Empty ones are not compared: where they stand may be no memory, which costs `memcmp` with masked
/// loads 90 ns.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && (a.is_empty() || a == b)
}

/// Keeps the rows for which `mask` holds.
pub(crate) fn keep<T>(column: &mut Vec<T>, mask: &[bool]) {
    let mut mask = mask.iter();
    column.retain(|_| mask.next().is_some_and(|kept| *kept));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_number_and_numbers_follow_the_first_appearance() {
        let mut dictionary = Dictionary::default();
        let values: Vec<String> = (0..1_000).map(|i| format!("value {}", i % 300)).collect();
        let codes: Vec<i32> = values.iter().map(|v| dictionary.code(v.as_bytes())).collect();
        assert_eq!(codes, (0..1_000).map(|i| i % 300).collect::<Vec<_>>());
        assert_eq!((dictionary.len(), dictionary.get(7), dictionary.get(300)), (300, &b"value 7"[..], &b""[..]));
        assert_eq!(dictionary.get(-1), b"");
    }

    #[test]
    fn columns_of_bytes_are_joined() {
        let mut all = BytesColumn::default();
        for part in [&["a", ""][..], &[], &["bc"]] {
            let mut column = BytesColumn::default();
            part.iter().for_each(|value| column.push(value.as_bytes()));
            all.append(&column);
        }
        let rows: Vec<&[u8]> = (0..all.len()).map(|row| all.get(row)).collect();
        assert_eq!(rows, [&b"a"[..], b"", b"bc"]);
        all.keep(&[false, true, true]);
        assert_eq!((all.len(), all.get(1), all.get(2)), (2, &b"bc"[..], &b""[..]));
    }
}
