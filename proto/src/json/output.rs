//! Protobuf as it is written: tags, numbers, and lengths that are known only afterwards.

use super::stop::{Done, Stop};
use crate::wire::{Fields, put_varint, varint_into};

/// Wire type of what begins with a length.
const LENGTH_DELIMITED: u8 = 2;

/// A number as protobuf writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Double(f64),
}

impl Value {
    /// Whether it may be left out where presence is not tracked. A negative zero may, as prost does it.
    pub(super) fn is_default(self) -> bool {
        match self {
            Self::Varint(value) | Self::Fixed64(value) => value == 0,
            Self::Fixed32(value) => value == 0,
            Self::Double(value) => value == 0.0,
        }
    }

    fn wire_type(self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) | Self::Double(_) => 1,
            Self::Fixed32(_) => 5,
        }
    }
}

/// Where a length-delimited field began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    tag: usize,
    payload: usize,
}

/// The bytes written so far.
#[derive(Debug)]
pub(super) struct Output {
    bytes: Vec<u8>,
    limit: usize,
}

impl Output {
    pub(super) fn new(expected: usize, limit: usize) -> Self {
        Self { bytes: Vec::with_capacity(expected.min(limit)), limit }
    }

    pub(super) fn finish(self) -> Done<Vec<u8>> {
        self.check(0)?;
        Ok(self.bytes)
    }

    /// Refuses to go on with `more` bytes to come when the limit forbids them. Numbers are written
    /// unchecked, so whoever writes many of them asks now and then.
    pub(super) fn check(&self, more: usize) -> Done {
        if self.bytes.len().saturating_add(more) > self.limit { Err(Stop::too_large()) } else { Ok(()) }
    }

    pub(super) fn field(&mut self, number: u8, value: Value) {
        self.tag(number, value.wire_type());
        self.value(value);
    }

    /// A number without its tag, as within a packed list.
    pub(super) fn value(&mut self, value: Value) {
        match value {
            Value::Varint(value) => self.varint(value),
            Value::Fixed32(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
            Value::Fixed64(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
            Value::Double(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
        }
    }

    pub(super) fn blob(&mut self, number: u8, payload: &[u8]) -> Done {
        self.check(payload.len())?;
        self.tag(number, LENGTH_DELIMITED);
        self.varint(payload.len() as u64);
        self.bytes.extend_from_slice(payload);
        Ok(())
    }

    /// Begins a field whose length is not known yet: one byte is left for it.
    pub(super) fn begin(&mut self, number: u8) -> Mark {
        let tag = self.bytes.len();
        self.tag(number, LENGTH_DELIMITED);
        self.bytes.push(0);
        Mark { tag, payload: self.bytes.len() }
    }

    /// More of the payload of the field that was begun last.
    pub(super) fn append(&mut self, piece: &[u8]) -> Done {
        self.check(piece.len())?;
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// One more byte of that payload, for which there is room below the limit.
    pub(super) fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Where the next byte goes.
    pub(super) fn position(&self) -> usize {
        self.bytes.len()
    }

    /// Puts the fields of the message that began at `start`, and ends here, into the order of their
    /// numbers, in which protobuf's encoders write them: the same message then has the same bytes,
    /// whichever way it came.
    pub(super) fn order_since(&mut self, start: usize) {
        let message = &self.bytes[start..];
        let mut fields = Fields::new("message", message);
        let mut parts = Vec::new();
        // They were written just now, so they are well formed.
        while let Ok(Some(field)) = fields.next() {
            parts.push((field.number, fields.range()));
        }
        parts.sort_by_key(|(number, _)| *number);
        let ordered: Vec<u8> = parts.into_iter().flat_map(|(_, range)| &message[range]).copied().collect();
        self.bytes[start..].copy_from_slice(&ordered);
    }

    /// Whether the field that began at `mark` has no payload so far.
    pub(super) fn is_empty_since(&self, mark: Mark) -> bool {
        self.bytes.len() == mark.payload
    }

    /// Takes back everything since `mark`, the tag included.
    pub(super) fn cancel(&mut self, mark: Mark) {
        self.bytes.truncate(mark.tag);
    }

    /// Ends the field that began at `mark`. A length that takes more than the byte left for it moves the
    /// payload, so that a payload moves once for each message around it: depth is bounded.
    pub(super) fn end(&mut self, mark: Mark) {
        let (mut prefix, length) = ([0; 10], self.bytes.len() - mark.payload);
        let prefix = varint_into(&mut prefix, length as u64);
        let more = prefix.len() - 1;
        if more > 0 {
            let end = self.bytes.len();
            self.bytes.resize(end + more, 0);
            self.bytes.copy_within(mark.payload..end, mark.payload + more);
        }
        self.bytes[mark.payload - 1..mark.payload + more].copy_from_slice(prefix);
    }

    fn tag(&mut self, number: u8, wire_type: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        put_varint(value, &mut self.bytes);
    }
}
