//! The bytes of versions 1 and 2, see `README.md` beside this file.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

/// The newest version that is read.
pub(super) const VERSION: u32 = 2;
/// The version of a segment in a file of its own.
const IN_NEW_FILE: u32 = 1;
/// The version of a segment in a file that was another one's: its rests may follow the last record.
const IN_REUSED_FILE: u32 = 2;
/// Bytes of a segment's header; the first record begins behind it.
pub(super) const SEGMENT_HEADER: usize = 2 * COPY;
/// Bytes of a record's header.
pub(super) const RECORD_HEADER: usize = 24;
/// Longest payload.
pub(super) const MAX_PAYLOAD: usize = (GAP - 1) as usize;

/// Set in the length of a gap.
const GAP: u32 = 1 << 31;

const MAGIC: [u8; 8] = *b"BELLWLOG";
const COPY: usize = 72;

/// What a segment says about itself and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    /// Position of the first record.
    pub(super) first: u64,
    /// Number of the segment before; 0 for none.
    pub(super) before: u64,
    /// Byte at which that one's valid part ends.
    pub(super) before_end: u64,
    /// Position of the last valid record before this segment; 0 for none.
    pub(super) before_last: u64,
    /// Seed of the sums of this segment's records.
    pub(super) salt: u64,
    /// Whether the file was another segment's, so that bytes behind the last record may mean nothing.
    pub(super) is_reused: bool,
}

/// Why a segment's header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Written by a version that came later.
    Newer(u32),
    /// It is another segment's, which nobody needs any more.
    Stale,
    /// Neither copy is sound.
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut copy = Vec::with_capacity(COPY);
        copy.extend(MAGIC);
        copy.extend(if self.is_reused { IN_REUSED_FILE } else { IN_NEW_FILE }.to_le_bytes());
        copy.extend(lower_half(xxh3_64(&copy)).to_le_bytes());
        for field in [self.number, self.first, self.before, self.before_end, self.before_last, self.salt] {
            copy.extend(field.to_le_bytes());
        }
        copy.extend(xxh3_64(&copy).to_le_bytes());
        let mut out = [0; SEGMENT_HEADER];
        out[..COPY].copy_from_slice(&copy);
        out[COPY..].copy_from_slice(&copy);
        out
    }

    /// Reads the header of the segment that is called `number` from the beginning of its file.
    pub(super) fn decode(bytes: &[u8], number: u64) -> Result<Self, HeaderFault> {
        let copies = || bytes.chunks_exact(COPY).take(2);
        if let Some(header) = copies().filter_map(Self::decode_copy).find(|h| h.number == number) {
            return Ok(header);
        }
        match copies().find_map(version_of) {
            Some(version) if version > VERSION => Err(HeaderFault::Newer(version)),
            _ if copies().any(|copy| Self::decode_copy(copy).is_some()) => Err(HeaderFault::Stale),
            _ => Err(HeaderFault::Damaged),
        }
    }

    fn decode_copy(copy: &[u8]) -> Option<Self> {
        let sum = xxh3_64(copy.get(..COPY - 8)?);
        let version = version_of(copy)?;
        if !(IN_NEW_FILE..=IN_REUSED_FILE).contains(&version) || u64_at(copy, COPY - 8)? != sum {
            return None;
        }
        Some(Self {
            number: u64_at(copy, 16)?,
            first: u64_at(copy, 24)?,
            before: u64_at(copy, 32)?,
            before_end: u64_at(copy, 40)?,
            before_last: u64_at(copy, 48)?,
            salt: u64_at(copy, 56)?,
            is_reused: version == IN_REUSED_FILE,
        })
    }
}

/// A salt that nobody outside of this process can foresee.
pub(super) fn new_salt() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// The version, if the bytes that say it are sound.
fn version_of(copy: &[u8]) -> Option<u32> {
    let sound = copy.starts_with(&MAGIC) && u32_at(copy, 12)? == lower_half(xxh3_64(copy.get(..12)?));
    if sound { u32_at(copy, 8) } else { None }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) len: u32,
    pub(super) position: u64,
    /// How many lost records it stands for, up to its position; 0 for a record.
    pub(super) lost: u32,
    sum: u64,
}

impl RecordHeader {
    /// The header of the record made of `parts`, which are `len` bytes together, at most
    /// [`MAX_PAYLOAD`].
    pub(super) fn of(len: u32, position: u64, parts: &[&[u8]], salt: u64) -> [u8; RECORD_HEADER] {
        let mut out = [0; RECORD_HEADER];
        out[..4].copy_from_slice(&len.to_le_bytes());
        out[4..8].copy_from_slice(&check_of(len, position, salt).to_le_bytes());
        out[8..16].copy_from_slice(&position.to_le_bytes());
        let sum = sum_of(&out[..16], parts, salt);
        out[16..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// The header in these bytes, if its length and position are to be trusted.
    pub(super) fn decode(bytes: &[u8; RECORD_HEADER], salt: u64) -> Option<Self> {
        let (len, position, sum) = (u32_at(bytes, 0)?, u64_at(bytes, 8)?, u64_at(bytes, 16)?);
        let (payload, lost) = if len & GAP == 0 { (len, 0) } else { (0, len & !GAP) };
        let header = Self { len: payload, position, lost, sum };
        (u32_at(bytes, 4)? == check_of(len, position, salt)).then_some(header)
    }

    /// Whether `payload` is the one that was written behind this header, whose bytes are `bytes`.
    pub(super) fn matches(&self, bytes: &[u8; RECORD_HEADER], payload: &[u8], salt: u64) -> bool {
        self.sum == sum_of(&bytes[..16], &[payload], salt)
    }
}

/// The bytes that say that the records from `first` to `last` are lost.
pub(super) fn gaps(first: u64, last: u64, salt: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut first = first;
    while first <= last {
        let count = u32::try_from(last - first + 1).unwrap_or(u32::MAX).min(GAP - 1);
        first += u64::from(count);
        out.extend(RecordHeader::of(count | GAP, first - 1, &[], salt));
    }
    out
}

fn check_of(len: u32, position: u64, salt: u64) -> u32 {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes[4..].copy_from_slice(&position.to_le_bytes());
    lower_half(xxh3_64_with_seed(&bytes, salt))
}

fn sum_of(header: &[u8], parts: &[&[u8]], salt: u64) -> u64 {
    let mut hash = Xxh3::with_seed(salt);
    hash.update(header);
    for part in parts {
        hash.update(part);
    }
    hash.digest()
}

#[expect(clippy::cast_possible_truncation, reason = "half of the sum is enough there")]
fn lower_half(sum: u64) -> u32 {
    sum as u32
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// The number at `at`; `None` beyond the end.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}
