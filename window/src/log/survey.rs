//! What lies in the directory: which segments count, up to where, and what is left over.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    LogError,
    format::{HeaderFault, RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SegmentHeader, VERSION},
    read::{Bounds, SegmentReader, Step},
};

/// The extensions of files that are segments, and of those that were.
const SEGMENT: &str = "log";
const SPARE: &str = "spare";

/// A segment that counts.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// `None` where it is damaged: nothing in the segment can be read.
    pub(super) header: Option<SegmentHeader>,
    pub(super) number: u64,
    /// Byte at which the valid part ends.
    pub(super) end: u64,
    /// Position of the last valid record in it or before it.
    pub(super) last: u64,
    /// Whether its header is on disk, so that a later segment may name it.
    pub(super) is_durable: bool,
}

/// The directory, as it was found. Nothing is changed by looking.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Oldest first.
    pub(super) segments: Vec<Segment>,
    /// Segments that later ones declare withdrawn, and unfinished ones: to be deleted.
    pub(super) leftovers: Vec<PathBuf>,
    /// The newest segment, where bytes follow its valid part, and ones that were not even begun.
    pub(super) torn: Vec<Torn>,
    /// The greatest number that a file has.
    pub(super) greatest: u64,
    /// Files that were segments and may become some again.
    pub(super) spares: Vec<PathBuf>,
}

/// A file with bytes that are no whole record at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub file: PathBuf,
    /// Bytes that are kept; 0 when the file is removed because not even its header was finished.
    pub kept: u64,
    /// Bytes behind them.
    pub bytes: u64,
}

/// The file of the segment with this number.
pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

/// The file that the segment with this number becomes when nobody needs it any more, until it is another segment.
pub(super) fn spare_path(dir: &Path, number: u64) -> PathBuf {
    segment_path(dir, number).with_extension(SPARE)
}

/// Whether `dir` holds segments of a log.
#[must_use]
pub fn is_log(dir: &Path) -> bool {
    numbers_in(dir, SEGMENT).is_ok_and(|numbers| !numbers.is_empty())
}

/// Looks through `dir`.
pub(super) fn survey(dir: &Path) -> Result<Survey, LogError> {
    let list = |extension| numbers_in(dir, extension).map_err(|source| LogError::io("list", dir, source));
    let (numbers, spares) = (list(SEGMENT)?, list(SPARE)?);
    let greatest = numbers.iter().chain(&spares).copied().max().unwrap_or(0);
    let spares = spares.into_iter().map(|number| spare_path(dir, number)).collect();
    let mut survey = Survey { greatest, spares, ..Survey::default() };
    let mut later: Option<SegmentHeader> = None;
    for number in numbers.into_iter().rev() {
        let path = segment_path(dir, number);
        let Look { header, len, is_unfinished } = look(&path, number)?;
        if later.is_some_and(|l| number > l.before) && (header.is_some() || is_unfinished) {
            survey.leftovers.push(path);
        } else if later.is_none() && is_unfinished {
            survey.torn.push(Torn { file: path.clone(), kept: 0, bytes: len });
            survey.leftovers.push(path);
        } else {
            let segment = survey.measure(path, number, header, len, later)?;
            survey.segments.push(segment);
            later = header.or(later);
        }
    }
    survey.segments.reverse();
    let mut last = 0;
    for segment in &mut survey.segments {
        segment.last = if segment.header.is_some() { segment.last } else { segment.last.max(last) };
        last = segment.last;
    }
    Ok(survey)
}

impl Survey {
    /// Finds where the segment's valid part ends: the next one says so, or its records do.
    fn measure(
        &mut self,
        path: PathBuf,
        number: u64,
        header: Option<SegmentHeader>,
        len: u64,
        later: Option<SegmentHeader>,
    ) -> Result<Segment, LogError> {
        let ceiling = later.map_or(u64::MAX, |l| l.before_last);
        let (end, last) = match (later.filter(|l| l.before == number), header) {
            (Some(later), _) => (later.before_end, later.before_last),
            (None, Some(header)) => {
                let bounds = Bounds { end: len, ceiling };
                let found =
                    last_record(&path, &header, bounds).map_err(|source| LogError::io("read", &path, source))?;
                if later.is_none() && found.0 < len {
                    let being_written =
                        if header.is_reused { torn_record(&path, &header, found.0, len) } else { Some(len - found.0) };
                    let torn = being_written.map(|bytes| Torn { file: path.clone(), kept: found.0, bytes });
                    self.torn.extend(torn);
                }
                found
            }
            (None, None) => (len, later.map_or(0, |l| l.before_last)),
        };
        Ok(Segment { path, header, number, end, last, is_durable: true })
    }
}

fn numbers_in(dir: &Path, extension: &str) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|n| n.strip_suffix(extension)?.strip_suffix('.')).filter(|n| n.len() == 20);
        numbers.extend(number.and_then(|n| n.parse::<u64>().ok()).filter(|n| *n > 0));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The beginning of a file.
struct Look {
    /// `None` if it is damaged.
    header: Option<SegmentHeader>,
    len: u64,
    /// Whether its header never reached the disk, so that nothing in it was ever durable.
    is_unfinished: bool,
}

fn look(path: &Path, number: u64) -> Result<Look, LogError> {
    let read = || {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER);
        file.take(SEGMENT_HEADER as u64).read_to_end(&mut bytes)?;
        Ok((bytes, len))
    };
    let (bytes, len) = read().map_err(|source| LogError::io("read", path, source))?;
    let is_empty = bytes.len() < SEGMENT_HEADER || bytes.iter().all(|b| *b == 0);
    let (header, is_unfinished) = match SegmentHeader::decode(&bytes, number) {
        Ok(header) => (Some(header), is_empty),
        Err(HeaderFault::Stale) => (None, true),
        Err(HeaderFault::Damaged) => (None, is_empty),
        Err(HeaderFault::Newer(version)) => {
            return Err(LogError::NewerVersion { file: path.to_owned(), version, known: VERSION });
        }
    };
    Ok(Look { header, len, is_unfinished })
}

/// Byte behind the last sound record, and its position.
fn last_record(path: &Path, header: &SegmentHeader, bounds: Bounds) -> io::Result<(u64, u64)> {
    let mut reader = SegmentReader::open(path, header, bounds)?;
    while !matches!(reader.step()?, Step::End) {}
    Ok((reader.sound_end(), reader.last()))
}

/// How many bytes there are of a record that was being written at `start`; `None` where there is not even its header.
fn torn_record(path: &Path, header: &SegmentHeader, start: u64, len: u64) -> Option<u64> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = [0; RECORD_HEADER];
    file.read_exact(&mut bytes).ok()?;
    let record = RecordHeader::decode(&bytes, header.salt)?;
    Some((RECORD_HEADER as u64 + u64::from(record.len)).min(len - start))
}
