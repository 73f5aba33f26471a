//! Putting a damaged log right: what can be read stays, what cannot is set aside, never deleted.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use super::{
    Damage, Disk, LogError, Position, RealDisk, Replay, Torn,
    format::{RecordHeader, SEGMENT_HEADER, SegmentHeader, gaps, new_salt},
    lock,
    read::{Bounds, SegmentReader, Step},
    replay::MISSING,
    survey::{Segment, Survey, segment_path, survey},
};

/// What a look through a whole log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCheck {
    /// Segments that count.
    pub segments: usize,
    /// Records that can be read.
    pub records: u64,
    /// What was being written when the process ended; the next start cuts it off. No damage.
    pub torn: Vec<Torn>,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Reads the log in `dir` from one end to the other, and changes nothing.
///
/// # Errors
/// As [`super::Log::open`]: in use, newer, or the disk fails.
pub fn check_log(dir: &Path) -> Result<LogCheck, LogError> {
    let _lock = lock(&mut RealDisk, dir)?;
    survey(dir).map(|found| check(&found))
}

/// Puts the log in `dir` right: afterwards [`check_log`] finds no damage.
///
/// Damaged segments go to `aside`, which is created, under their names; each is replaced by one that holds what
/// can be read. Says what was wrong, and which files were set aside as what.
///
/// # Errors
/// As [`super::Log::open`]; what was done before stays done, and the rest can be tried again.
pub fn repair_log(dir: &Path, aside: &Path) -> Result<(LogCheck, Vec<(PathBuf, PathBuf)>), LogError> {
    let _lock = lock(&mut RealDisk, dir)?;
    let mut found = survey(dir)?;
    let check = check(&found);
    if check.damage.is_empty() {
        return Ok((check, Vec::new()));
    }
    let damaged = check.damage.iter().filter(|d| d.what != MISSING);
    let damaged: BTreeSet<&Path> = damaged.map(|d| d.file.as_path()).collect();
    let mut moved = Vec::new();
    let mut lost_numbers = Vec::new();
    found.segments.retain(|segment| {
        if segment.header.is_none() {
            lost_numbers.push((segment.number, segment.path.clone()));
        }
        segment.header.is_some()
    });
    let mut work = || -> io::Result<()> {
        fs::create_dir_all(aside)?;
        for segment in found.segments.iter().filter(|s| damaged.contains(s.path.as_path())) {
            salvage(segment, &set_aside(&segment.path, aside, &mut moved)?)?;
        }
        for (_, path) in &lost_numbers {
            set_aside(path, aside, &mut moved)?;
            fs::remove_file(path)?;
        }
        bridge(dir, &found.segments, &lost_numbers)?;
        RealDisk.sync_dir(aside)?;
        RealDisk.sync_dir(dir)
    };
    work().map_err(|source| LogError::io("repair", dir, source))?;
    Ok((check, moved))
}

fn check(found: &Survey) -> LogCheck {
    let mut check = LogCheck { segments: found.segments.len(), torn: found.torn.clone(), ..LogCheck::default() };
    // What came before the oldest segment was let go.
    let start = found.segments.iter().find_map(|s| s.header).map_or(0, |h| h.before_last);
    for item in Replay::new(found.segments.iter().cloned(), Position(start)) {
        match item {
            Ok(_) => check.records += 1,
            Err(damage) => check.damage.push(damage),
        }
    }
    for segment in &found.segments {
        let fault = match segment.header {
            None if check.damage.iter().any(|d| d.file == segment.path) => None,
            None => Some(("the segment's header is damaged", None)),
            Some(header) if is_whole(&segment.path, &header) => None,
            Some(_) => Some(("one copy of the segment's header is damaged", Some(0))),
        };
        let damage =
            fault.map(|(what, lost)| Damage { file: segment.path.clone(), offset: 0, what: what.into(), lost });
        check.damage.extend(damage);
    }
    check
}

/// Whether both copies of the header are sound.
fn is_whole(path: &Path, header: &SegmentHeader) -> bool {
    let mut bytes = [0; SEGMENT_HEADER];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).is_ok() && bytes == header.encode()
}

/// Gives the file a second name in `aside`, and says which.
fn set_aside(path: &Path, aside: &Path, moved: &mut Vec<(PathBuf, PathBuf)>) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut target = aside.join(&*name);
    let mut copies = 0;
    while let Err(error) = fs::hard_link(path, &target) {
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                copies += 1;
                target = aside.join(format!("{name}.{copies}"));
            }
            // Not every file system has links.
            _ => {
                fs::copy(path, &target)?;
                File::open(&target)?.sync_all()?;
                break;
            }
        }
    }
    moved.push((path.to_owned(), target.clone()));
    Ok(target)
}

/// Replaces a segment by what can be read of it in `original`, which is the same file.
fn salvage(segment: &Segment, original: &Path) -> io::Result<()> {
    let Some(header) = segment.header else { return Ok(()) };
    let bounds = Bounds { end: segment.end, ceiling: segment.last };
    let mut reader = SegmentReader::open(original, &header, bounds)?;
    let mut reached = header.first.saturating_sub(1);
    replace(&segment.path, &header, |out| {
        loop {
            match reader.step() {
                Ok(Step::Record { position, payload }) => {
                    out.write_all(&gaps(reached + 1, position - 1, header.salt))?;
                    let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
                    out.write_all(&RecordHeader::of(len, position, &[&payload], header.salt))?;
                    out.write_all(&payload)?;
                    reached = position;
                }
                Ok(Step::Gap { .. } | Step::Damaged { .. }) => {}
                // What the disk does not give is lost too.
                Ok(Step::End) | Err(_) => return out.write_all(&gaps(reached + 1, segment.last, header.salt)),
            }
        }
    })
}

/// Puts a segment of gaps where one is missing, so that the numbers are accounted for.
fn bridge(dir: &Path, sound: &[Segment], removed: &[(u64, PathBuf)]) -> io::Result<()> {
    let mut before: Option<&Segment> = None;
    for segment in sound {
        let Some(later) = segment.header else { continue };
        let last = before.map_or(0, |b| b.last);
        let was_there = before.is_some() || removed.iter().any(|(number, _)| *number == later.before);
        let path = segment_path(dir, later.before);
        if was_there && later.before_last > last && !path.exists() {
            let header = SegmentHeader {
                number: later.before,
                first: last + 1,
                before: before.map_or(0, |b| b.number),
                before_end: before.map_or(0, |b| b.end),
                before_last: last,
                salt: new_salt(),
                is_reused: false,
            };
            replace(&path, &header, |out| out.write_all(&gaps(last + 1, later.before_last, header.salt)))?;
        }
        before = Some(segment);
    }
    Ok(())
}

/// Writes a whole segment, and puts it in place when it is on disk.
fn replace(
    path: &Path,
    header: &SegmentHeader,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let new = path.with_extension("log.new");
    // Left by a repair that was interrupted.
    super::remove(&mut RealDisk, &new)?;
    let mut out = BufWriter::new(RealDisk.create(&new)?);
    out.write_all(&header.encode())?;
    write(&mut out)?;
    out.into_inner()?.sync_all()?;
    fs::rename(&new, path)
}
