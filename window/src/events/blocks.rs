//! Large pieces of memory that go from a chunk that nobody reads any more to the next head.
//!
//! A page of memory that is touched for the first time costs as much as taking four spans, and the
//! usual allocators give pieces of this size back to the system as soon as they are free.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_buffer::Buffer;
use bytes::Bytes;

/// Bytes of a block: what a full head takes, and the request that filled it.
pub(crate) const BLOCK_BYTES: usize = HEAD_BYTES + (1 << 20);
/// A head with more bytes of texts and attributes is sealed before its time.
pub(crate) const HEAD_BYTES: usize = 16 << 20;
/// Blocks that wait for a head at the most; more are given back to the system.
const IDLE: usize = 2;
/// A block of which more than this is left over when it is sealed is copied out of.
const LEFT_OVER: usize = BLOCK_BYTES / 8;

/// The blocks of one table. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A block that is part of a chunk. When the last reader of the chunk has gone, it waits for a head.
#[derive(Debug)]
struct Sealed {
    values: Vec<u8>,
    blocks: Blocks,
}

impl Blocks {
    /// An empty block.
    pub(crate) fn take(&self) -> Vec<u8> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES))
    }

    fn give_back(&self, mut block: Vec<u8>) {
        block.clear();
        // Whole between any two statements, so a thread that died has left no harm.
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(block);
        }
    }

    /// `values` for readers, in the block in which they stand if they fill it, and otherwise in a piece
    /// of their own size.
    pub(crate) fn seal(&self, mut values: Vec<u8>) -> Buffer {
        if values.capacity() != BLOCK_BYTES {
            values.shrink_to_fit();
            return Buffer::from_vec(values);
        }
        if values.len() < BLOCK_BYTES - LEFT_OVER {
            let copied = values.as_slice().to_vec();
            self.give_back(values);
            return Buffer::from_vec(copied);
        }
        Buffer::from(Bytes::from_owner(Sealed { values, blocks: self.clone() }))
    }
}

impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        &self.values
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.blocks.give_back(std::mem::take(&mut self.values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(blocks: &Blocks) -> usize {
        blocks.idle.lock().expect("no test panics with the lock").len()
    }

    #[test]
    fn a_full_block_comes_back_when_its_last_reader_has_gone() {
        let blocks = Blocks::default();
        let mut block = blocks.take();
        block.resize(HEAD_BYTES, 7);
        let place = block.as_ptr();
        let sealed = blocks.seal(block);
        let reader = sealed.slice(1);
        drop(sealed);
        assert_eq!((idle(&blocks), reader.as_slice() == &vec![7; HEAD_BYTES - 1][..]), (0, true));
        drop(reader);
        assert_eq!(idle(&blocks), 1);
        let again = blocks.take();
        assert!(again.is_empty() && again.as_ptr() == place);
    }

    #[test]
    fn what_does_not_fill_a_block_leaves_it_to_the_next_head() {
        let blocks = Blocks::default();
        let mut block = blocks.take();
        block.extend([1, 2, 3]);
        assert_eq!(blocks.seal(block).as_slice(), [1, 2, 3]);
        assert_eq!(idle(&blocks), 1);
        assert_eq!(blocks.seal(vec![4, 5]).as_slice(), [4, 5]);
        assert_eq!(idle(&blocks), 1, "that was none");
    }

    #[test]
    fn few_blocks_wait() {
        let blocks = Blocks::default();
        let taken: Vec<_> = (0..2 * IDLE).map(|_| blocks.take()).collect();
        taken.into_iter().for_each(|block| blocks.give_back(block));
        assert_eq!(idle(&blocks), IDLE);
    }
}
