//! Requests that have to be written down, and how they are made small for that.
//!
//! They are compressed where they were decoded: their bytes are near then, the thread that writes the log has only to
//! write, and while it waits for the disk the next ones are made ready.
//!
//! Snappy (its raw format) takes the least time of what leaves an eighth of the bytes: spans of one request have much in
//! common, and writing them whole would take longer than that. zstd at its fastest levels leaves somewhat less and takes
//! half as long again.

use std::cell::RefCell;

use bytes::Bytes;
use proto::otlp::Signal;

/// Requests from this size on are compressed.
const PACK_FROM: usize = 1 << 10;
/// Room that a thread keeps for the next request at the most.
const ROOM: usize = 4 << 20;

/// A request as it was read: spans or log records, uncompressed, in protobuf.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it brings.
    pub signal: Signal,
    /// An `Export…ServiceRequest`.
    pub body: Bytes,
    /// The body in Snappy's raw format, where that takes less.
    pub packed: Option<Bytes>,
}

impl Request {
    /// A request to be written down.
    #[must_use]
    pub fn new(signal: Signal, body: Bytes) -> Self {
        let packed = PACKER.with_borrow_mut(|packer| packer.pack(&body));
        Self { signal, body, packed }
    }

    /// Bytes that it occupies.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len() + self.packed.as_ref().map_or(0, Bytes::len)
    }
}

thread_local! {
    static PACKER: RefCell<Packer> = RefCell::new(Packer { encoder: snap::raw::Encoder::new(), room: Vec::new() });
}

/// Compresses with room that is used again: making it anew costs as much as a small request.
struct Packer {
    encoder: snap::raw::Encoder,
    room: Vec<u8>,
}

impl Packer {
    /// `body` in fewer bytes; `None` where it takes no fewer.
    fn pack(&mut self, body: &[u8]) -> Option<Bytes> {
        if body.len() < PACK_FROM {
            return None;
        }
        let most = snap::raw::max_compress_len(body.len());
        if self.room.len() < most {
            self.room.resize(most, 0);
        }
        let length = self.encoder.compress(body, &mut self.room).ok()?;
        let packed = self.room.get(..length).filter(|packed| packed.len() < body.len()).map(Bytes::copy_from_slice);
        if self.room.len() > ROOM {
            self.room = Vec::new();
        }
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(body: Vec<u8>) -> Option<Vec<u8>> {
        let request = Request::new(Signal::Traces, body.into());
        assert_eq!(request.bytes(), request.body.len() + request.packed.as_ref().map_or(0, Bytes::len));
        request.packed.map(|packed| packed.to_vec())
    }

    #[test]
    fn what_is_packed_is_less_and_comes_back_whatever_was_packed_before() {
        for length in [5_000, 2 * ROOM, 1_100, 300_000] {
            let body: Vec<u8> = (0..length).map(|i| if i % 900 < 800 { 7 } else { fastrand::u8(..) }).collect();
            let packed = packed(body.clone()).expect("takes less");
            assert!(packed.len() < length / 3, "{} of {length}", packed.len());
            assert_eq!(snap::raw::Decoder::new().decompress_vec(&packed), Ok(body));
        }
    }

    #[test]
    fn what_is_small_or_would_take_more_is_left() {
        assert_eq!(packed(vec![7; PACK_FROM - 1]), None);
        assert_eq!(packed(std::iter::repeat_with(|| fastrand::u8(..)).take(5_000).collect()), None);
        assert_eq!(packed(Vec::new()), None);
    }
}
