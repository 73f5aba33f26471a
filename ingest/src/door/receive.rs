//! Bodies on their way in. All of them together are bounded: a single request's limit says nothing
//! about a thousand connections that each hold most of one.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Outcome, Refusal};

const KIB: usize = 1024;
/// Room made for a body before it has come, whatever its length is said to be.
const FIRST_BYTES: usize = 64 * KIB;

/// Bytes that may be held for bodies, by both doors together. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    kibibytes: Arc<Semaphore>,
    limit: usize,
}

impl Room {
    /// Room for `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { kibibytes: Arc::new(Semaphore::new(limit.div_ceil(KIB))), limit }
    }

    /// An empty body.
    pub(crate) fn body(&self) -> Received {
        Received { bytes: BytesMut::new(), room: self.clone(), held: None }
    }
}

/// A body, or what has come of it so far.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: BytesMut,
    room: Room,
    held: Option<OwnedSemaphorePermit>,
}

impl Received {
    /// Appends what has come, if there is room for it.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<(), Refusal> {
        let wanted = (self.bytes.len() + data.len()).div_ceil(KIB);
        let missing = wanted.saturating_sub(self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing > 0 {
            let full = || format!("receivers hold {} bytes already, which is as many as they may", self.room.limit);
            let more = u32::try_from(missing).unwrap_or(u32::MAX);
            let more = Arc::clone(&self.room.kibibytes).try_acquire_many_owned(more);
            let more = more.map_err(|_| Refusal::new(Outcome::Busy, full()))?;
            match &mut self.held {
                Some(held) => held.merge(more),
                held @ None => *held = Some(more),
            }
        }
        if self.bytes.is_empty() {
            self.bytes.reserve(data.len().max(FIRST_BYTES.min(self.room.limit)));
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// The bytes, and what keeps their room until it is dropped.
    pub(crate) fn finish(self) -> (Bytes, Option<OwnedSemaphorePermit>) {
        (self.bytes.freeze(), self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_room_and_give_it_back() {
        let room = Room::new(4 * KIB);
        let (mut first, mut second) = (room.body(), room.body());
        first.push(&[1; 3 * KIB]).expect("there is room");
        second.push(&[2; KIB]).expect("there is room");
        second.push(&[]).expect("nothing needs no room");
        let refusal = second.push(&[2; 1]).expect_err("there is no room for a fifth KiB");
        assert!(refusal.outcome == Outcome::Busy && refusal.retry_after.is_some(), "{refusal:?}");
        drop(first.finish());
        second.push(&[2; 3 * KIB]).expect("there is room again");
        assert_eq!(second.finish().0.len(), 4 * KIB);
    }
}
