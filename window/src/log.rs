//! The write-ahead log: opaque records in segment files, so that what was acknowledged survives.
//!
//! Called by the thread that owns it; no threads, no clock, no idea what a record means. An embedded
//! database would give the same promise at several times the bytes written and without a say in when
//! the disk is asked to sync, which is the whole cost: many [`Log::append`] share one [`Log::sync`].
//!
//! The format and what holds after which failure: `window/src/log/README.md`.

mod disk;
mod format;
mod read;
mod repair;
mod replay;
mod survey;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, IoSlice},
    path::{Path, PathBuf},
};

use self::{
    disk::{Disk, RealDisk},
    format::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader},
    survey::{Segment, Survey, segment_path, spare_path, survey},
};

pub use self::{
    repair::{LogCheck, check_log, repair_log},
    replay::{Damage, Record, Replay},
    survey::{Torn, is_log},
};

/// Records up to this many bytes together are written with one call.
const BUFFER: usize = 64 << 10;

/// How the log is cut into files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment that has this many bytes or more is left, and a new one begun. Default 64 MiB.
    pub segment_bytes: u64,
    /// Longest record that is taken. Default 80 MiB; more than 2 GiB - 1 counts as that.
    pub max_record_bytes: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, max_record_bytes: 80 << 20 }
    }
}

/// Number of a record: 1 for the first, and one more for each; a number is given once. 0 is before all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Why the log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Opening failed; nothing was lost.
    #[error("cannot {action} {file}: {source}", file = .file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        file: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has the directory.
    #[error("{dir} is in use by another process", dir = .dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A segment was written by a version that came later.
    #[error("{file} has format version {version}; expected at most {known}", file = .file.display())]
    NewerVersion {
        /// The segment.
        file: PathBuf,
        /// Its version.
        version: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// The record was not taken; nothing else changed.
    #[error("a record of {bytes} bytes; expected at most {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Writing failed: **every record after `kept` is withdrawn**, which is all that was appended since
    /// the last sync. Appending may be tried again at once, and works when the cause has gone.
    #[error("cannot {action} {file}: {source}; records after {kept} are withdrawn", file = .file.display(), kept = .kept.0)]
    Withdrawn {
        /// What was tried.
        action: &'static str,
        /// On what.
        file: PathBuf,
        /// Why it failed; `StorageFull` when the disk is full.
        source: io::Error,
        /// The last record that is durable.
        kept: Position,
    },
}

impl LogError {
    fn io(action: &'static str, file: &Path, source: io::Error) -> Self {
        Self::Io { action, file: file.to_owned(), source }
    }
}

/// What was found and put right by [`Log::open`]. Damage shows in [`Log::replay`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// What was cut off the newest segment: records that were being written when the process ended.
    pub torn: Vec<Torn>,
}

/// A log of records in a directory.
///
/// Dropping it keeps what was synced, and perhaps some of what was only appended.
#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    config: LogConfig,
    disk: Box<dyn Disk>,
    /// Those that are never written again, oldest first.
    segments: VecDeque<Segment>,
    /// Files to be deleted before a segment is begun. Appending fails while that fails, so that
    /// there are never more than one of our own making.
    leftovers: Vec<PathBuf>,
    /// Files of segments that were let go, to be written over by others: that takes half the time of the processor that
    /// making a file longer takes, and two thirds of the time until it is on disk.
    spares: Vec<PathBuf>,
    /// What was let go last.
    cut_to: u64,
    current: Option<Current>,
    /// Greatest number that a segment was given.
    greatest: u64,
    /// The last number that was given.
    last: u64,
    /// Every record up to here is durable, or was withdrawn.
    durable: u64,
    /// Whether records wait for a sync.
    is_dirty: bool,
    /// Small records that are not written yet; they belong to the current segment.
    buffer: Vec<u8>,
    /// Whether no record that was withdrawn can come back when the power fails.
    is_settled: bool,
    /// Keeps other processes out while it is open.
    _lock: File,
}

/// The segment that is being written. Its `end` and `last` are what is durable.
#[derive(Debug)]
struct Current {
    segment: Segment,
    salt: u64,
    file: File,
    /// Bytes appended, those in the buffer too.
    len: u64,
}

/// A step that failed, on the way to becoming [`LogError::Withdrawn`].
type Failed = (&'static str, PathBuf, io::Error);

impl Log {
    /// Opens the log in `dir`, which is created if missing, and cuts a torn tail off.
    ///
    /// Reads the headers of all segments and the newest segment wholly. Damage is no error.
    ///
    /// # Errors
    ///
    /// [`LogError::InUse`], [`LogError::NewerVersion`], and [`LogError::Io`] where the disk fails.
    pub fn open(dir: &Path, config: LogConfig) -> Result<(Self, Recovery), LogError> {
        Self::open_on(Box::new(RealDisk), dir, config)
    }

    fn open_on(mut disk: Box<dyn Disk>, dir: &Path, config: LogConfig) -> Result<(Self, Recovery), LogError> {
        let lock = lock(disk.as_mut(), dir)?;
        let found = survey(dir)?;
        settle_newest(disk.as_mut(), &found)?;
        let last = found.segments.iter().map(|s| s.last).max().unwrap_or(0);
        let mut log = Self {
            dir: dir.to_owned(),
            config,
            disk,
            segments: found.segments.into(),
            leftovers: found.leftovers,
            spares: found.spares,
            cut_to: 0,
            current: None,
            greatest: found.greatest,
            last,
            durable: last,
            is_dirty: false,
            buffer: Vec::new(),
            is_settled: true,
            _lock: lock,
        };
        // Tried again before a segment is begun.
        let _ = log.remove_leftovers();
        log.disk.sync_dir(dir).map_err(|source| LogError::io("sync", dir, source))?;
        Ok((log, Recovery { torn: found.torn }))
    }

    /// Appends one record made of `parts`. It is not durable before the next [`Log::sync`].
    ///
    /// Long parts are written straight from where they are; short records wait for company.
    ///
    /// # Errors
    ///
    /// [`LogError::TooLong`], or [`LogError::Withdrawn`] when the disk fails.
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<Position, LogError> {
        let len = self.checked_len(parts)?;
        self.make_room()?;
        self.last += 1;
        self.is_dirty = true;
        self.write(len, self.last, parts).map_err(|failed| self.withdraw(failed))?;
        Ok(Position(self.last))
    }

    /// Hands everything that was appended to the system, so that it survives the end of the process.
    ///
    /// # Errors
    /// [`LogError::Withdrawn`] when the disk fails.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.write_buffer().map_err(|failed| self.withdraw(failed))
    }

    /// Makes everything that was appended durable. Without any it costs nothing.
    ///
    /// Returns the last durable position.
    ///
    /// # Errors
    ///
    /// [`LogError::Withdrawn`] when the disk fails.
    pub fn sync(&mut self) -> Result<Position, LogError> {
        if self.is_dirty {
            self.sync_current().map_err(|failed| self.withdraw(failed))?;
            self.is_settled = true;
            // Only here, so that no part of what is appended between two syncs is durable before the rest.
            if self.current.as_ref().is_some_and(|c| c.len >= self.config.segment_bytes) {
                self.leave();
            }
        }
        Ok(Position(self.durable))
    }

    /// Reads the durable records after `after`, oldest first.
    #[must_use]
    pub fn replay(&self, after: Position) -> Replay {
        let current = self.current.as_ref().filter(|c| c.segment.is_durable).map(|c| c.segment.clone());
        Replay::new(self.segments.iter().cloned().chain(current), after)
    }

    /// Lets go of the segments whose records are all at or before `up_to`. The newest stays. As many of their files as
    /// there were segments since it was last told to let go of more are kept, to be used again; the others are deleted.
    ///
    /// # Errors
    ///
    /// When a file cannot be deleted or renamed; it is tried again the next time.
    pub fn cut(&mut self, up_to: Position) -> io::Result<()> {
        // A segment whose header is on disk carries the numbering.
        let is_carried = self.current.as_ref().is_some_and(|c| c.segment.is_durable);
        let carrier = self.segments.iter().rev().find(|s| s.header.is_some() && !is_carried).map(|s| s.number);
        let is_needless = |s: &Segment| s.last <= up_to.0 && Some(s.number) != carrier;
        let needless = self.segments.iter().take_while(|s| is_needless(s)).count();
        if up_to.0 > self.cut_to {
            self.cut_to = up_to.0;
            self.leftovers.extend(self.spares.drain(needless.min(self.spares.len())..));
        }
        self.remove_leftovers()?;
        let mut renamed = Vec::new();
        let let_go = (0..needless).try_for_each(|_| self.let_go(needless, &mut renamed));
        // Before they are written over, no loss of power may bring their old names back.
        let synced = let_go.and_then(|()| if needless > 0 { self.disk.sync_dir(&self.dir) } else { Ok(()) });
        if synced.is_ok() {
            self.spares.append(&mut renamed)
        } else {
            self.leftovers.append(&mut renamed)
        }
        synced
    }

    /// Lets go of the oldest segment. Its file is renamed as long as there are fewer than `wanted` spare ones.
    fn let_go(&mut self, wanted: usize, renamed: &mut Vec<PathBuf>) -> io::Result<()> {
        let Some(Segment { path, number, end, .. }) = self.segments.front() else { return Ok(()) };
        let is_full = *end >= self.config.segment_bytes;
        if is_full && self.spares.len() + renamed.len() < wanted {
            let spare = spare_path(&self.dir, *number);
            self.disk.rename(path, &spare)?;
            renamed.push(spare);
        } else {
            remove(self.disk.as_mut(), path)?;
        }
        self.segments.pop_front();
        Ok(())
    }

    /// Lets the numbers go on behind `position`, if they have not come that far: for who remembers more
    /// than a damaged log does.
    ///
    /// # Errors
    ///
    /// [`LogError::Withdrawn`] when what was appended before cannot be synced.
    pub fn skip_to(&mut self, position: Position) -> Result<(), LogError> {
        if position.0 > self.last {
            self.sync()?;
            self.leave();
            self.last = position.0;
            self.durable = position.0;
        }
        Ok(())
    }

    /// The last position that was given.
    #[must_use]
    pub fn last(&self) -> Position {
        Position(self.last)
    }

    /// The position up to which every record is durable, or was withdrawn.
    #[must_use]
    pub fn durable(&self) -> Position {
        Position(self.durable)
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sealed: u64 = self.segments.iter().map(|s| s.end).sum();
        sealed + self.current.as_ref().map_or(0, |c| c.len)
    }

    /// Whether no withdrawn record can come back, not even when the power fails. Always so, but for the
    /// time from a failure until a segment was begun again.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    fn checked_len(&self, parts: &[&[u8]]) -> Result<u32, LogError> {
        let bytes = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let limit = self.config.max_record_bytes.min(format::MAX_PAYLOAD);
        u32::try_from(bytes).ok().filter(|_| bytes <= limit).ok_or(LogError::TooLong { bytes, limit })
    }

    /// Sees to it that there is a segment to append to.
    fn make_room(&mut self) -> Result<(), LogError> {
        if self.current.is_none() {
            let kept = Position(self.durable);
            self.begin().map_err(|(action, file, source)| LogError::Withdrawn { action, file, source, kept })?;
        }
        Ok(())
    }

    /// Never writes to the current segment again, of which everything is durable.
    fn leave(&mut self) {
        self.segments.extend(self.current.take().map(|c| c.segment));
    }

    /// Begins a segment, as cheaply as it goes: this is what is tried again and again on a full disk.
    fn begin(&mut self) -> Result<(), Failed> {
        self.remove_leftovers().map_err(|error| ("delete a file in", self.dir.clone(), error))?;
        self.greatest += 1;
        let number = self.greatest;
        let before = self.segments.iter().rev().find(|s| s.header.is_some());
        let spare = self.spares.pop();
        let header = SegmentHeader {
            number,
            first: self.last + 1,
            before: before.map_or(0, |s| s.number),
            before_end: before.map_or(0, |s| s.end),
            before_last: before.map_or(0, |s| s.last),
            salt: format::new_salt(),
            is_reused: spare.is_some(),
        };
        let path = segment_path(&self.dir, number);
        let mut file = match &spare {
            None => self.disk.create(&path).map_err(|error| ("create", path.clone(), error))?,
            Some(spare) => self.disk.reuse(spare, &path).map_err(|error| {
                self.leftovers.extend([spare.clone(), path.clone()]);
                ("reuse", path.clone(), error)
            })?,
        };
        if let Err(error) = write_all(self.disk.as_mut(), &path, &mut file, &mut [IoSlice::new(&header.encode())]) {
            self.leftovers.push(path.clone());
            // Tried again before the next attempt.
            let _ = self.remove_leftovers();
            return Err(("write", path, error));
        }
        let len = SEGMENT_HEADER as u64;
        let segment = Segment { path, header: Some(header), number, end: len, last: self.last, is_durable: false };
        self.current = Some(Current { segment, salt: header.salt, file, len });
        Ok(())
    }

    fn write(&mut self, len: u32, position: u64, parts: &[&[u8]]) -> Result<(), Failed> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let header = RecordHeader::of(len, position, parts, current.salt);
        current.len += RECORD_HEADER as u64 + u64::from(len);
        if self.buffer.len() + RECORD_HEADER + len as usize <= BUFFER {
            self.buffer.extend_from_slice(&header);
            parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
            return Ok(());
        }
        let before = [IoSlice::new(&self.buffer), IoSlice::new(&header)];
        let mut slices: Vec<_> = before.into_iter().chain(parts.iter().map(|part| IoSlice::new(part))).collect();
        write_all(self.disk.as_mut(), &current.segment.path, &mut current.file, &mut slices)
            .map_err(|error| ("write", current.segment.path.clone(), error))?;
        self.buffer.clear();
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), Failed> {
        let Some(current) = self.current.as_mut().filter(|_| !self.buffer.is_empty()) else { return Ok(()) };
        let path = &current.segment.path;
        write_all(self.disk.as_mut(), path, &mut current.file, &mut [IoSlice::new(&self.buffer)])
            .map_err(|error| ("write", path.clone(), error))?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what waits and makes the current segment durable.
    fn sync_current(&mut self) -> Result<(), Failed> {
        self.write_buffer()?;
        let Some(current) = &mut self.current else { return Ok(()) };
        let path = current.segment.path.clone();
        let disk = self.disk.as_mut();
        disk.sync(&path, &current.file).map_err(|error| ("sync", path, error))?;
        if !current.segment.is_durable {
            disk.sync_dir(&self.dir).map_err(|error| ("sync", self.dir.clone(), error))?;
            current.segment.is_durable = true;
        }
        current.segment.end = current.len;
        current.segment.last = self.last;
        self.durable = self.last;
        self.is_dirty = false;
        Ok(())
    }

    /// Takes back what is not durable, as far as the disk lets us, and never touches that file again.
    fn withdraw(&mut self, (action, file, source): Failed) -> LogError {
        let kept = Position(self.durable);
        self.buffer.clear();
        self.is_dirty = false;
        self.is_settled = false;
        if source.kind() == io::ErrorKind::StorageFull {
            self.leftovers.append(&mut self.spares);
        }
        if let Some(Current { segment, file: written, .. }) = self.current.take() {
            let end = if segment.is_durable { segment.end } else { 0 };
            // Against coming back after a kill. On a full disk this also gives back the room that is
            // needed to begin anew.
            let _ = self.disk.cut(&segment.path, &written, end);
            if segment.is_durable {
                self.segments.push_back(segment);
            } else {
                self.leftovers.push(segment.path);
            }
        }
        // Where this fails, the next append tries to begin.
        let begun = self.begin().and_then(|()| self.sync_current());
        match begun {
            Ok(()) => self.is_settled = true,
            Err(_) => self.leftovers.extend(self.current.take().map(|c| c.segment.path)),
        }
        LogError::Withdrawn { action, file, source, kept }
    }

    fn remove_leftovers(&mut self) -> io::Result<()> {
        while let Some(path) = self.leftovers.last() {
            remove(self.disk.as_mut(), path)?;
            self.leftovers.pop();
        }
        Ok(())
    }
}

/// Creates the directory if it is missing, and keeps other processes out of it.
fn lock(disk: &mut dyn Disk, dir: &Path) -> Result<File, LogError> {
    if !dir.is_dir() {
        fs::create_dir_all(dir).map_err(|source| LogError::io("create", dir, source))?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            disk.sync_dir(parent).map_err(|source| LogError::io("sync", parent, source))?;
        }
    }
    let path = dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| LogError::io("open", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(LogError::io("lock", &path, source)),
    }
}

/// Cuts what follows the last record of the newest segment, and makes durable what an earlier run left to the system:
/// from now on it counts.
fn settle_newest(disk: &mut dyn Disk, found: &Survey) -> Result<(), LogError> {
    let Some(newest) = found.segments.iter().rev().find(|s| s.header.is_some()) else { return Ok(()) };
    let open = OpenOptions::new().write(true).open(&newest.path);
    let file = open.map_err(|source| LogError::io("open", &newest.path, source))?;
    let len = file.metadata().map_err(|source| LogError::io("read", &newest.path, source))?.len();
    if len > newest.end {
        disk.cut(&newest.path, &file, newest.end).map_err(|source| LogError::io("cut", &newest.path, source))?;
    }
    disk.sync(&newest.path, &file).map_err(|source| LogError::io("sync", &newest.path, source))
}

/// Deletes a file that may already be gone.
fn remove(disk: &mut dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_all(disk: &mut dyn Disk, path: &Path, file: &mut File, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut left = parts;
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match disk.write(path, file, left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
