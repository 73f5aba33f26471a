//! What waits for the historian: bounded in bytes, so that a slow disk cannot fill the memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{NumberChunk, RegistryView, Snapshot, UnixNanos};

/// Bytes of chunks that may wait. The windows hold most of these chunks anyway.
const MAX_BYTES: usize = 128 << 20;
/// How long the pipeline waits for room. Adding points takes a fraction of the time that taking them in
/// does, so that there is room unless the disk stands still.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Work for the historian.
#[derive(Debug)]
pub(super) enum Item {
    Chunk {
        chunk: Arc<NumberChunk>,
        registry: RegistryView,
        watermark: UnixNanos,
    },
    Rebuild {
        restored: Snapshot,
        complete_after: UnixNanos,
    },
    #[cfg(test)]
    Flush {
        due: UnixNanos,
    },
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Item>,
    bytes: usize,
    /// Items ever offered, and done with.
    offered: u64,
    done: u64,
    /// The last wait was in vain: nobody waits again before there is room.
    is_stuck: bool,
    is_closed: bool,
    is_killed: bool,
    dropped_points: u64,
}

/// The queue between the pipeline and the historian.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready` or for as long as given.
    fn wait(&self, longest: Duration, ready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_timeout_while(self.state(), longest, |state| !ready(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn offer(&self, chunk: Arc<NumberChunk>, registry: RegistryView, watermark: UnixNanos) {
        let size = chunk.bytes();
        // One chunk is always taken, however large it is.
        let has_room = |s: &State| s.waiting.is_empty() || s.bytes + size <= MAX_BYTES;
        let mut state = self.state();
        if !has_room(&state) && !state.is_stuck {
            drop(state);
            state = self.wait(LONGEST_WAIT, has_room);
        }
        state.is_stuck = !has_room(&state);
        if state.is_stuck {
            state.dropped_points += chunk.len() as u64;
            return;
        }
        state.bytes += size;
        state.offered += 1;
        state.waiting.push_back(Item::Chunk { chunk, registry, watermark });
        self.changed.notify_all();
    }

    pub(super) fn rebuild(&self, restored: Snapshot, complete_after: UnixNanos) {
        let mut state = self.state();
        state.offered += 1;
        state.waiting.push_back(Item::Rebuild { restored, complete_after });
        self.changed.notify_all();
    }

    /// The next item; `None` when it was closed and nothing waits.
    pub(super) fn next(&self) -> Option<Item> {
        let waited = self.changed.wait_while(self.state(), |s| s.waiting.is_empty() && !s.is_closed);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let item = state.waiting.pop_front()?;
        if let Item::Chunk { chunk, .. } = &item {
            state.bytes -= chunk.bytes();
        }
        self.changed.notify_all();
        Some(item)
    }

    /// Says that the last item is done with.
    pub(super) fn done(&self) {
        self.state().done += 1;
        self.changed.notify_all();
    }

    /// How many items were offered.
    pub(super) fn offered(&self) -> u64 {
        self.state().offered
    }

    /// Waits until the first `mark` items are done with; false when that takes longer than `longest`.
    pub(super) fn wait_for(&self, mark: u64, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        let is_done = |s: &State| s.done >= mark || s.is_killed;
        is_done(&self.wait(deadline.saturating_duration_since(Instant::now()), is_done))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    pub(super) fn dropped_points(&self) -> u64 {
        self.state().dropped_points
    }

    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub(super) fn flush(&self, due: UnixNanos) {
        let mut state = self.state();
        state.offered += 1;
        state.waiting.push_back(Item::Flush { due });
        self.changed.notify_all();
    }

    #[cfg(test)]
    pub(super) fn kill(&self) {
        let mut state = self.state();
        state.waiting.clear();
        (state.is_killed, state.is_closed) = (true, true);
        self.changed.notify_all();
    }

    pub(super) fn is_killed(&self) -> bool {
        self.state().is_killed
    }
}
