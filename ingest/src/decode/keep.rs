//! Attributes are kept as the bytes in which they came: checked, without repeated names, bounded.

use proto::{
    otlp::{KeyValue, Repeated, Shape},
    wire::{Malformed, put_bytes},
};

use super::{Limits, values};

/// Items that may be of other shapes, one after the other.
const PATIENCE: u32 = 8;

/// Copies attributes; keeps its room from one item to the next.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// The attributes of an item before, which are plain, within the limits and of names of their own.
    shape: Option<Shape>,
    /// Whether those of the item at hand fit it.
    fits: bool,
    /// How many more may not, one after the other, before the shape of another is taken.
    patience: u32,
    seen: Vec<Seen>,
    /// Bits of the digests that were seen, so that hardly any name has to be looked for.
    bloom: [u64; 4],
}

/// An attribute of the item that is being read. Places are in bytes from the first attribute's tag.
#[derive(Debug)]
struct Seen {
    digest: u32,
    /// Where its tag stands, as long as every tag and length before is written as shortly as it can be.
    tag: usize,
    /// Where its name stands.
    name: (usize, usize),
}

/// What became of the attributes of one item.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Attributes that are not there, because their name was taken or because they did not fit.
    pub(super) dropped: u32,
    /// Those among them whose name was taken.
    pub(super) repeated: u32,
    /// Whether they are all kept, and as they were sent.
    pub(super) is_as_sent: bool,
}

/// What walking the attributes told.
#[derive(Default)]
struct Walked {
    count: usize,
    repeated: u32,
    /// Length of all of them, written as shortly as possible.
    length: usize,
    long: Option<String>,
}

impl Keeper {
    /// Appends to `out` the attributes of `what` as field `number` (below 16) of a message. Of equal
    /// names the first is kept, and of all those that still fit into
    /// [`Limits::attribute_bytes_per_item`]. The inner error says why the item is refused; `out` is
    /// then of no use.
    ///
    /// # Errors
    /// When one of them is no attribute.
    pub(super) fn copy(
        &mut self,
        what: &str,
        sent: &Repeated<'_>,
        number: u8,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<Result<Kept, String>, Malformed> {
        let start = out.len();
        let kept = self.keep(what, sent, number, limits, out)?;
        if let Ok(Kept { is_as_sent: true, .. }) = kept {
            out.extend_from_slice(sent.raw());
            self.tag(number, &mut out[start..]);
        }
        Ok(kept)
    }

    /// The same without a copy where none is needed: if what is kept is as it was sent, `out` is left alone, and a copy
    /// of [`Repeated::raw`] has to be given to [`Keeper::tag`].
    ///
    /// # Errors
    /// When one of them is no attribute.
    pub(super) fn keep(
        &mut self,
        what: &str,
        sent: &Repeated<'_>,
        number: u8,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<Result<Kept, String>, Malformed> {
        let as_sent = Kept { is_as_sent: true, ..Kept::default() };
        let raw = sent.raw();
        if raw.len() <= limits.attribute_bytes_per_item && self.is_plain(sent, limits) {
            return Ok(Ok(as_sent));
        }
        let walked = self.walk(what, sent, limits)?;
        if walked.count > limits.attributes_per_item {
            return Ok(Err(values::too_many(what, walked.count, limits)));
        }
        if let Some(fault) = walked.long {
            return Ok(Err(fault));
        }
        if walked.repeated > 0 || walked.length != raw.len() || raw.len() > limits.attribute_bytes_per_item {
            return Ok(Ok(self.copy_some(sent, number, limits, out)));
        }
        Ok(Ok(as_sent))
    }

    /// Makes the attributes that were kept last as they were sent field `number` of a message, in a copy of them.
    #[inline]
    pub(super) fn tag(&self, number: u8, copy: &mut [u8]) {
        let tag = number << 3 | 2;
        match &self.shape {
            Some(shape) if self.fits => shape.tags().iter().for_each(|at| copy[*at] = tag),
            _ => self.seen.iter().for_each(|seen| copy[seen.tag] = tag),
        }
    }

    /// Whether every attribute is a plain one, within the limits and of a name of its own, as nearly all are; they are
    /// noted then.
    #[inline]
    fn is_plain(&mut self, sent: &Repeated<'_>, limits: &Limits) -> bool {
        self.fits = self.shape.as_mut().is_some_and(|shape| shape.fits(sent));
        if self.fits {
            self.patience = PATIENCE;
            return true;
        }
        self.begin();
        let raw = sent.raw();
        let is_plain = sent.read_plain(|key, tag| {
            let is_within = self.seen.len() < limits.attributes_per_item && key.len() <= limits.attribute_name_bytes;
            is_within && self.see(raw, key, tag)
        });
        if is_plain && !raw.is_empty() {
            self.learn(sent);
        }
        is_plain
    }

    /// Takes the shape of an item that is plain and did not fit, unless others may fit again.
    #[inline]
    fn learn(&mut self, sent: &Repeated<'_>) {
        if let Some(left) = self.patience.checked_sub(1) {
            self.patience = left;
        } else {
            self.shape = Shape::of(sent);
            self.patience = PATIENCE;
        }
    }

    /// Reads every attribute, and notes the names of those that may be kept.
    #[inline]
    fn walk(&mut self, what: &str, sent: &Repeated<'_>, limits: &Limits) -> Result<Walked, Malformed> {
        self.begin();
        let raw = sent.raw();
        let mut walked = Walked::default();
        for message in sent.iter() {
            let name = KeyValue::read(message)?.key;
            walked.count += 1;
            if walked.count > limits.attributes_per_item {
                continue;
            }
            let key = name.bytes();
            if key.len() > limits.attribute_name_bytes && walked.long.is_none() {
                walked.long = Some(values::long_name(what, name.as_str(), limits));
            }
            if !self.see(raw, key, walked.length) {
                walked.repeated += 1;
                continue;
            }
            walked.length += 1 + varint_length(message.len()) + message.len();
        }
        Ok(walked)
    }

    /// Forgets the names of the item before.
    #[inline]
    fn begin(&mut self) {
        self.seen.clear();
        self.bloom = [0; 4];
    }

    /// Notes a name that stands in `raw`, of an attribute whose tag stands at `tag`; whether it was not taken yet.
    #[inline]
    fn see(&mut self, raw: &[u8], key: &[u8], tag: usize) -> bool {
        let digest = digest(key);
        let (word, bit) = ((digest >> 6 & 3) as usize, 1 << (digest & 63));
        if self.bloom[word] & bit != 0 && self.is_taken(raw, key, digest) {
            return false;
        }
        self.bloom[word] |= bit;
        let start = key.as_ptr().addr().wrapping_sub(raw.as_ptr().addr());
        self.seen.push(Seen { digest, tag, name: (start, start.wrapping_add(key.len())) });
        true
    }

    fn is_taken(&self, raw: &[u8], key: &[u8], digest: u32) -> bool {
        let mut same = self.seen.iter().filter(|seen| seen.digest == digest);
        // A name that is not said is an empty one, and stands nowhere.
        same.any(|seen| raw.get(seen.name.0..seen.name.1).unwrap_or_default() == key)
    }

    /// The long way: one by one.
    #[cold]
    fn copy_some(&mut self, sent: &Repeated<'_>, number: u8, limits: &Limits, out: &mut Vec<u8>) -> Kept {
        self.begin();
        let (raw, start, mut kept) = (sent.raw(), out.len(), Kept::default());
        for attribute in sent.iter().filter_map(|message| KeyValue::read(message).ok()) {
            if !self.see(raw, attribute.key.bytes(), 0) {
                kept.repeated += 1;
                continue;
            }
            let length = 1 + varint_length(attribute.raw.len()) + attribute.raw.len();
            if out.len() - start + length > limits.attribute_bytes_per_item {
                kept.dropped += 1;
            } else {
                put_bytes(number.into(), attribute.raw, out);
            }
        }
        kept.dropped += kept.repeated;
        kept
    }
}

/// Names that differ mostly differ here: in length, in the first or in the last bytes.
#[inline]
fn digest(name: &[u8]) -> u32 {
    let (first, last) = match (name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
    };
    let word = first ^ last.rotate_left(29) ^ name.len() as u64;
    let [.., a, b, c, d] = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    u32::from_le_bytes([d, c, b, a])
}

/// Bytes that a length takes on the wire.
#[inline]
pub(super) fn varint_length(length: usize) -> usize {
    (usize::BITS - (length | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
#[path = "keep/tests.rs"]
mod tests;
