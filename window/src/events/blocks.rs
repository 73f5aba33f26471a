//! Large pieces of memory that go from a chunk that nobody reads any more to the next head.
//!
//! A page of memory that is touched for the first time costs as much as taking four spans, and the
//! usual allocators give pieces of this size back to the system as soon as they are free.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arrow_buffer::Buffer;
use bytes::Bytes;

/// Bytes of a block: what a full head takes, and the request that filled it.
pub(crate) const BLOCK_BYTES: usize = HEAD_BYTES + (1 << 20);
/// A head with more bytes of texts and attributes is sealed before its time.
pub(crate) const HEAD_BYTES: usize = 16 << 20;
/// Blocks that may wait for a head however full the window is.
const IDLE: usize = 2;
/// What has waited so long beside those is given back to the system: so many are not needed any more.
const LONGEST: Duration = Duration::from_secs(10);
/// A block of which more than this is left over when it is sealed is copied out of.
const LEFT_OVER: usize = BLOCK_BYTES / 8;

/// The blocks of one table.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    idle: Arc<Mutex<Idle>>,
}

/// Blocks that wait, and since when; those that have waited longest first.
#[derive(Debug)]
struct Idle {
    blocks: Vec<(Instant, Vec<u8>)>,
    most: usize,
    /// The most blocks of late that somebody read who is not the window, and since when that is so.
    lent: (Instant, usize),
}

impl Default for Idle {
    fn default() -> Self {
        Self { blocks: Vec::new(), most: IDLE, lent: (Instant::now(), 0) }
    }
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
        let idle = self.idle().blocks.pop();
        idle.map_or_else(|| Vec::with_capacity(BLOCK_BYTES), |(_, block)| block)
    }

    /// Lets blocks of `room` bytes together wait, which chunks do not take: a busy window lets go of many chunks at
    /// once, when a step of time is over, and fills as many blocks right after it. Beside them as many may wait as others
    /// than the window, which has `kept` of them at the most, have read of late: a checkpoint reads all, gives them back
    /// at once, and the next one needs as many again. Others are given back.
    pub(crate) fn allow(&self, room: usize, kept: usize) {
        // Each sealed block shares this one.
        let lent = Arc::strong_count(&self.idle).saturating_sub(1 + kept);
        let mut idle = self.idle();
        if lent >= idle.lent.1 || idle.lent.0.elapsed() > LONGEST {
            idle.lent = (Instant::now(), lent);
        }
        idle.most = (room / BLOCK_BYTES).max(IDLE) + idle.lent.1;
        let (count, spare) = (idle.blocks.len(), idle.blocks.len().saturating_sub(IDLE));
        let old = idle.blocks.iter().take(spare).take_while(|(since, _)| since.elapsed() > LONGEST).count();
        let surplus = count.saturating_sub(idle.most).max(old);
        idle.blocks.drain(..surplus);
    }

    fn give_back(&self, mut block: Vec<u8>) {
        block.clear();
        let mut idle = self.idle();
        if idle.blocks.len() < idle.most {
            idle.blocks.push((Instant::now(), block));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Whole between any two statements, so a thread that died has left no harm.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
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
        Buffer::from(Bytes::from_owner(Sealed { values, blocks: Self { idle: Arc::clone(&self.idle) } }))
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
        blocks.idle().blocks.len()
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
    fn as_many_blocks_wait_as_there_is_room_for_and_two_in_any_case() {
        let blocks = Blocks::default();
        let take = |count: usize| (0..count).map(|_| blocks.take()).collect::<Vec<_>>();
        let give = |taken: Vec<Vec<u8>>| taken.into_iter().for_each(|block| blocks.give_back(block));
        give(take(4));
        assert_eq!(idle(&blocks), IDLE);
        blocks.allow(3 * BLOCK_BYTES + 5, 0);
        give(take(4));
        assert_eq!(idle(&blocks), 3);
        blocks.allow(0, 0);
        assert_eq!(idle(&blocks), IDLE);
    }

    #[test]
    fn what_a_checkpoint_has_read_waits_for_the_next_one() {
        let blocks = Blocks::default();
        let seal = || {
            let mut block = blocks.take();
            block.resize(HEAD_BYTES, 7);
            blocks.seal(block)
        };
        let mut read: Vec<Buffer> = (0..5).map(|_| seal()).collect();
        // Of the five the window still has one.
        blocks.allow(0, 1);
        let kept = read.pop();
        drop(read);
        blocks.allow(0, 1);
        assert_eq!(idle(&blocks), 4, "as many as were lent");
        let again: Vec<Buffer> = (0..4).map(|_| seal()).collect();
        assert_eq!(idle(&blocks), 0);
        drop((again, kept));
        blocks.idle().lent.0 = Instant::now().checked_sub(2 * LONGEST).expect("the machine has run for longer");
        blocks.allow(0, 0);
        assert_eq!(idle(&blocks), IDLE, "nothing has been lent for long");
    }

    #[test]
    fn a_block_that_nobody_needs_does_not_wait_for_ever() {
        let blocks = Blocks::default();
        blocks.allow(usize::MAX, 0);
        let taken: Vec<_> = (0..5).map(|_| blocks.take()).collect();
        taken.into_iter().for_each(|block| blocks.give_back(block));
        blocks.allow(usize::MAX, 0);
        assert_eq!(idle(&blocks), 5);
        for (since, _) in &mut blocks.idle().blocks {
            *since = since.checked_sub(2 * LONGEST).expect("the machine has run for longer");
        }
        blocks.allow(usize::MAX, 0);
        assert_eq!(idle(&blocks), IDLE);
    }
}
