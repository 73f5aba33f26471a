//! Reading the log from a position on.

use std::{collections::VecDeque, path::PathBuf};

use super::{
    Position,
    read::{Bounds, SegmentReader, Step},
    survey::Segment,
};

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub position: Position,
    /// What was appended, its parts joined.
    pub payload: Vec<u8>,
}

/// A place where the log cannot be read. What follows it is read all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} at byte {offset}: {what}; {} lost", records(*.lost), file = .file.display())]
pub struct Damage {
    /// The segment.
    pub file: PathBuf,
    /// The first byte that is no record.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
    /// Records that are lost here: exact, or `None` where nothing says how many there were.
    pub lost: Option<u64>,
}

fn records(lost: Option<u64>) -> String {
    match lost {
        Some(1) => "1 record".into(),
        Some(n) => format!("{n} records"),
        None => "an unknown number of records".into(),
    }
}

const DAMAGED: &str = "records are damaged";
/// Nothing is wrong with the file that is named: it is what comes before that is not there.
pub(super) const MISSING: &str = "records before this segment are missing";

/// Records in order of their positions, and damage where it lies. Holds one record at a time.
///
/// It sees what was durable when it was made, and opens files as it goes: what is let go in the
/// meantime shows as damage.
#[derive(Debug)]
pub struct Replay {
    segments: VecDeque<Segment>,
    /// Position of the last record that was given, was reported lost, or need not be given.
    reached: u64,
    current: Option<Current>,
    /// Given after the damage before it.
    ready: Option<Record>,
}

#[derive(Debug)]
struct Current {
    segment: Segment,
    reader: SegmentReader,
    damaged_at: Option<u64>,
}

impl Replay {
    pub(super) fn new(segments: impl IntoIterator<Item = Segment>, after: Position) -> Self {
        Self { segments: segments.into_iter().collect(), reached: after.0, current: None, ready: None }
    }

    /// Opens the next segment that has something to give.
    fn next_segment(&mut self) -> Option<Result<(), Damage>> {
        let segment = self.segments.pop_front()?;
        let Some(header) = segment.header else {
            return Some(self.unreadable(segment, "the segment's header is damaged"));
        };
        if header.before_last > self.reached {
            let lost = header.before_last - self.reached;
            self.reached = header.before_last;
            let damage = Damage { file: segment.path.clone(), offset: 0, what: MISSING.into(), lost: Some(lost) };
            self.segments.push_front(segment);
            return Some(Err(damage));
        }
        // Numbers between the two segments were skipped on purpose.
        self.reached = self.reached.max(header.first.saturating_sub(1));
        if segment.last <= self.reached {
            return Some(Ok(()));
        }
        match SegmentReader::open(&segment.path, &header, Bounds { end: segment.end, ceiling: segment.last }) {
            Ok(reader) => {
                self.current = Some(Current { segment, reader, damaged_at: None });
                Some(Ok(()))
            }
            Err(error) => Some(self.unreadable(segment, &error.to_string())),
        }
    }

    /// Gives a whole segment up.
    fn unreadable(&mut self, segment: Segment, what: &str) -> Result<(), Damage> {
        // Who comes next knows which records came before.
        let known = self.segments.iter().find_map(|s| s.header).map(|h| h.before_last);
        let last = known.or(segment.header.map(|_| segment.last));
        if last.is_some_and(|last| last <= self.reached) {
            return Ok(());
        }
        let lost = last.map(|last| last - self.reached);
        self.reached = last.unwrap_or(self.reached);
        Err(Damage { file: segment.path, offset: 0, what: what.into(), lost })
    }

    /// Takes one step in the open segment; `None` when there is nothing to say.
    fn step(&mut self, mut current: Current) -> Option<Result<Record, Damage>> {
        let step = current.reader.step();
        let offset = current.damaged_at.unwrap_or(current.reader.sound_end());
        let segment = &current.segment;
        let item = match step {
            // The rest of the segment is given up with it.
            Err(error) => return self.lost_until(segment, offset, segment.last, &error.to_string()).map(Err),
            Ok(Step::End) => return self.lost_until(segment, offset, segment.last, DAMAGED).map(Err),
            Ok(Step::Damaged { offset }) => {
                current.damaged_at.get_or_insert(offset);
                self.current = Some(current);
                return None;
            }
            Ok(Step::Gap { first, last }) => {
                let damage = self.lost_until(segment, offset, first.saturating_sub(1), DAMAGED);
                self.reached = self.reached.max(last);
                damage.map(Err)
            }
            Ok(Step::Record { position, payload }) => {
                let damage = self.lost_until(segment, offset, position.saturating_sub(1), DAMAGED);
                let record = Record { position: Position(position), payload };
                let wanted = (position > self.reached).then_some(record);
                self.reached = self.reached.max(position);
                match damage {
                    None => wanted.map(Ok),
                    Some(damage) => {
                        self.ready = wanted;
                        Some(Err(damage))
                    }
                }
            }
        };
        current.damaged_at = None;
        self.current = Some(current);
        item
    }

    /// Reports the records up to `last` as lost, unless there are none.
    fn lost_until(&mut self, segment: &Segment, offset: u64, last: u64, what: &str) -> Option<Damage> {
        let lost = last.checked_sub(self.reached).filter(|lost| *lost > 0)?;
        self.reached = last;
        Some(Damage { file: segment.path.clone(), offset, what: what.into(), lost: Some(lost) })
    }
}

impl Iterator for Replay {
    type Item = Result<Record, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.ready.take() {
            return Some(Ok(record));
        }
        loop {
            let Some(current) = self.current.take() else {
                match self.next_segment()? {
                    Ok(()) => continue,
                    Err(damage) => return Some(Err(damage)),
                }
            };
            if let Some(item) = self.step(current) {
                return Some(item);
            }
        }
    }
}
