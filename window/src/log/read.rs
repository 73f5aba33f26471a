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
pub(super) struct SegmentReader<F = File> {
    file: BufReader<F>,
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
        let file = File::open(path)?;
        let end = bounds.end.min(file.metadata()?.len());
        Self::of(file, header, Bounds { end, ..bounds })
    }
}

impl<F: Read + Seek> SegmentReader<F> {
    /// Of a file that ends at or behind [`Bounds::end`].
    fn of(mut file: F, header: &SegmentHeader, bounds: Bounds) -> io::Result<Self> {
        let start = SEGMENT_HEADER as u64;
        file.seek(SeekFrom::Start(start))?;
        Ok(Self {
            file: BufReader::with_capacity(BUFFER, file),
            salt: header.salt,
            offset: start,
            end: bounds.end,
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
        Ok(self.header_in(&bytes, self.offset).map(|header| (bytes, header)))
    }

    /// The header in these bytes, which stand at `offset`, if a record with it may begin there: said before anything is
    /// read or allocated for the record.
    fn header_in(&self, bytes: &[u8; RECORD_HEADER], offset: u64) -> Option<RecordHeader> {
        let header = RecordHeader::decode(bytes, self.salt)?;
        let room = self.end.saturating_sub(offset).checked_sub(RECORD_HEADER as u64)?;
        (header.position >= self.expected && u64::from(header.len) <= room).then_some(header)
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
                // A file that was another segment's can be full of numbers that look like positions; the header's own
                // sum tells those.
                if self.may_begin(bytes, offset)
                    && let Some(bytes) = bytes.first_chunk()
                    && let Some(header) = self.header_in(bytes, offset)
                    && self.is_sound(bytes, header, offset)?
                {
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

    /// Whether the payload behind the header at `offset` is the one that was written there.
    fn is_sound(&mut self, bytes: &[u8; RECORD_HEADER], header: RecordHeader, offset: u64) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(offset + RECORD_HEADER as u64))?;
        Ok(header.matches(bytes, &self.payload(header)?, self.salt))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A file that counts the bytes that are read from it.
    struct Counted {
        file: Cursor<Vec<u8>>,
        read: u64,
    }

    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.file.read(buffer)?;
            self.read += read as u64;
            Ok(read)
        }
    }

    impl Seek for Counted {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    #[test]
    fn what_a_file_held_before_is_read_once_even_where_it_is_full_of_numbers_like_positions() {
        let header = SegmentHeader {
            number: 9,
            first: 1_000,
            before: 8,
            before_end: 0,
            before_last: 999,
            salt: 7,
            is_reused: true,
        };
        let record = |position: u64, salt| {
            let head = RecordHeader::of(3, position, &[b"abc"], salt);
            [&head[..], b"abc"].concat()
        };
        let mut bytes = header.encode().to_vec();
        bytes.extend(record(1_000, 7));
        let sound_end = bytes.len() as u64;
        // Numbers that grow as positions do, and records of the segment that the file was.
        for position in 1_000..200_000_u64 {
            bytes.extend(position.to_le_bytes());
        }
        (2_000..20_000).for_each(|position| bytes.extend(record(position, 6)));
        let with_one_more = [&bytes[..], &record(1_001, 7)].concat();
        for (bytes, positions) in [(bytes, vec![1_000]), (with_one_more, vec![1_000, 1_001])] {
            let end = bytes.len() as u64;
            let file = Counted { file: Cursor::new(bytes), read: 0 };
            let mut reader =
                SegmentReader::of(file, &header, Bounds { end, ceiling: u64::MAX }).expect("is read from memory");
            let mut found = Vec::new();
            loop {
                match reader.step().expect("is read from memory") {
                    Step::Record { position, .. } => found.push(position),
                    Step::Damaged { offset } => assert_eq!(offset, sound_end),
                    Step::Gap { .. } => unreachable!("none was written"),
                    Step::End => break,
                }
            }
            assert_eq!(found, positions);
            let read = reader.file.get_ref().read;
            // A block is read again where a record is looked at.
            assert!(read <= end + 3 * BUFFER as u64, "{read} of {end}");
        }
    }
}
