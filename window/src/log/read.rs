//! Reading one segment: record after record, and on to the next sound one where there is damage.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use super::format::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader, u64_at};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// Where a segment may be read, and which positions may occur in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Byte behind the last one that counts.
    pub(super) end: u64,
    /// Greatest position that counts.
    pub(super) ceiling: u64,
}

/// What comes next in a segment.
#[derive(Debug)]
pub(super) enum Step {
    /// A sound record.
    Record { position: u64, payload: Vec<u8> },
    /// These are known to be lost.
    Gap { first: u64, last: u64 },
    /// Bytes from here on are no record; more steps follow.
    Damaged { offset: u64 },
    /// Nothing more counts.
    End,
}

/// A segment being read, with memory for one record.
#[derive(Debug)]
pub(super) struct SegmentReader {
    file: BufReader<File>,
    salt: u64,
    offset: u64,
    end: u64,
    ceiling: u64,
    /// Lowest position that may come next.
    expected: u64,
    /// Byte behind the last sound record.
    sound_end: u64,
}

impl SegmentReader {
    pub(super) fn open(path: &Path, header: &SegmentHeader, bounds: Bounds) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let end = bounds.end.min(file.metadata()?.len());
        let start = SEGMENT_HEADER as u64;
        file.seek(SeekFrom::Start(start))?;
        Ok(Self {
            file: BufReader::with_capacity(BUFFER, file),
            salt: header.salt,
            offset: start,
            end,
            ceiling: bounds.ceiling,
            expected: header.first,
            sound_end: start,
        })
    }

    /// Byte behind the last sound record that was read.
    pub(super) fn sound_end(&self) -> u64 {
        self.sound_end
    }

    /// Position of the last sound record that was read, or the one before the segment.
    pub(super) fn last(&self) -> u64 {
        self.expected.saturating_sub(1)
    }

    pub(super) fn step(&mut self) -> io::Result<Step> {
        if self.offset >= self.end {
            return Ok(Step::End);
        }
        let offset = self.offset;
        let Some((bytes, header)) = self.header_at()? else {
            self.offset = self.next_sound(offset + 1)?.unwrap_or(self.end);
            self.file.seek(SeekFrom::Start(self.offset))?;
            return Ok(Step::Damaged { offset });
        };
        if header.position > self.ceiling {
            self.offset = self.end;
            return Ok(Step::End);
        }
        let payload = self.payload(header)?;
        self.offset += RECORD_HEADER as u64 + u64::from(header.len);
        if !header.matches(&bytes, &payload, self.salt) {
            return Ok(Step::Damaged { offset });
        }
        self.expected = header.position.saturating_add(1);
        self.sound_end = self.offset;
        let position = header.position;
        Ok(match u64::from(header.lost) {
            0 => Step::Record { position, payload },
            lost => Step::Gap { first: self.expected.saturating_sub(lost), last: position },
        })
    }

    /// Reads the header at the offset, where the file stands.
    fn header_at(&mut self) -> io::Result<Option<([u8; RECORD_HEADER], RecordHeader)>> {
        if self.end - self.offset < RECORD_HEADER as u64 {
            return Ok(None);
        }
        let mut bytes = [0; RECORD_HEADER];
        self.file.read_exact(&mut bytes)?;
        let header = RecordHeader::decode(&bytes, self.salt).filter(|h| self.fits(h, self.offset));
        Ok(header.map(|header| (bytes, header)))
    }

    /// Whether a record with this header may begin at `offset`: said before anything is allocated.
    fn fits(&self, header: &RecordHeader, offset: u64) -> bool {
        let room = self.end.saturating_sub(offset).checked_sub(RECORD_HEADER as u64);
        header.position >= self.expected && room.is_some_and(|room| u64::from(header.len) <= room)
    }

    fn payload(&mut self, header: RecordHeader) -> io::Result<Vec<u8>> {
        let mut payload = vec![0; header.len as usize];
        self.file.read_exact(&mut payload)?;
        Ok(payload)
    }

    /// Looks for the next record that is sound as a whole, from `start` on.
    fn next_sound(&mut self, start: u64) -> io::Result<Option<u64>> {
        let mut window = Vec::with_capacity(BUFFER);
        let mut start = start;
        while self.end.saturating_sub(start) >= RECORD_HEADER as u64 {
            window.clear();
            self.file.seek(SeekFrom::Start(start))?;
            let wanted = (self.end - start).min(BUFFER as u64);
            self.file.by_ref().take(wanted).read_to_end(&mut window)?;
            if window.len() < RECORD_HEADER {
                return Ok(None);
            }
            for (at, bytes) in window.windows(RECORD_HEADER).enumerate() {
                let offset = start + at as u64;
                if self.may_begin(bytes, offset) && self.is_sound_at(offset)? {
                    return Ok(Some(offset));
                }
            }
            // The last bytes may be the beginning of a header.
            start += (window.len() - (RECORD_HEADER - 1)) as u64;
        }
        Ok(None)
    }

    /// A cheap look: is the position one that may come here?
    fn may_begin(&self, bytes: &[u8], offset: u64) -> bool {
        let most = self.expected.saturating_add(offset / RECORD_HEADER as u64);
        u64_at(bytes, 8).is_some_and(|p| p >= self.expected && p <= self.ceiling.min(most))
    }

    /// Leaves offset and file there.
    fn is_sound_at(&mut self, offset: u64) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        let Some((bytes, header)) = self.header_at()? else { return Ok(false) };
        Ok(header.matches(&bytes, &self.payload(header)?, self.salt))
    }
}
