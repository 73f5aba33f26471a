//! What is replayed: files, each a source of requests in the order in which they stand there.
//!
//! Whatever a file holds becomes the requests that an exporter would have sent. A fault in a file is told
//! with its place and does not keep the rest of it, or other files, from being read.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use detect::UnixNanos;
use proto::otlp::{Encoding, Signal};
use serde::Serialize;

use super::{columns, recording, table};

/// A line, a request or a row group that is longer than this is none.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// The file.
    pub(crate) file: String,
    /// Line of a text, or number of the request or row in a file that has no lines; from 1.
    pub(crate) line: Option<u64>,
    /// Which field or column.
    pub(crate) field: Option<String>,
    /// What was expected.
    pub(crate) message: String,
}

impl Fault {
    /// A fault of `file` as a whole.
    pub(super) fn of(file: &Path, message: impl fmt::Display) -> Self {
        Self { file: file.display().to_string(), line: None, field: None, message: message.to_string() }
    }

    /// The same at `line`.
    pub(super) fn at(self, line: u64) -> Self {
        Self { line: Some(line), ..self }
    }

    /// The same in `field`.
    pub(super) fn field(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A request, as it is in a file or was made of its rows.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
    pub(super) body: Bytes,
    /// The newest time in it, where that is known without reading it.
    pub(super) newest: Option<UnixNanos>,
    /// Where it stands.
    pub(super) line: u64,
}

/// Requests and faults in the order of the file; ends after what cannot be read on from.
pub(super) type Requests = Box<dyn Iterator<Item = Result<Recorded, Fault>> + Send>;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Csv,
    Json,
    Protobuf,
    Parquet,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "json" | "jsonl" | "ndjson" => Some(Self::Json),
            "pb" | "binpb" | "otlp" => Some(Self::Protobuf),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Json => "OTLP JSON",
            Self::Protobuf => "OTLP protobuf",
            Self::Parquet => "Parquet",
        }
    }
}

/// A file that is open.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) requests: Requests,
}

/// Opens the file at `path`. What is read of it is added to `read`.
pub(super) fn open(path: &Path, read: &Arc<AtomicU64>) -> Result<Source, Fault> {
    let Some(format) = Format::of(path) else {
        return Err(Fault::of(
            path,
            "expected a name that ends in .csv, .jsonl, .json, .ndjson, .pb, .binpb, .otlp or .parquet",
        ));
    };
    let file = File::open(path).map_err(|error| Fault::of(path, format_args!("cannot be read: {error}")))?;
    let counted = |file| Counted { file, read: Arc::clone(read) };
    let requests: Requests = match format {
        Format::Csv => Box::new(table::Table::open(path, counted(file))?),
        Format::Json => Box::new(recording::Lines::new(path, counted(file))),
        Format::Protobuf => Box::new(recording::Frames::new(path, counted(file))),
        Format::Parquet => Box::new(columns::Columns::open(path, file, Arc::clone(read))?),
    };
    Ok(Source { path: path.to_owned(), format, requests })
}

/// The files that are meant: those named, and all of a known format in directories that are named, by name.
/// JSON files beside others are often no telemetry, so of a directory only `.jsonl` and `.ndjson` are meant.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Fault> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let unreadable = |error: io::Error| Fault::of(path, format_args!("cannot be read: {error}"));
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let is_json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
            if file.is_file() && !is_json && Format::of(&file).is_some() {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(Fault::of(path, "holds no .csv, .jsonl, .ndjson, .pb, .binpb, .otlp or .parquet file"));
        }
        inside.sort();
        found.extend(inside);
    }
    Ok(found)
}

/// The file's name without its end: what it is about.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// A file whose reading is counted.
#[derive(Debug)]
pub(super) struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// Refuses lines beyond [`MAX_BYTES`], before anybody keeps them.
#[derive(Debug)]
pub(super) struct ShortLines<R> {
    inner: R,
    since_end: usize,
}

impl<R: Read> ShortLines<R> {
    pub(super) fn of(inner: R) -> Self {
        Self { inner, since_end: 0 }
    }
}

impl<R: Read> Read for ShortLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let new = buffer.get(..read).unwrap_or_default();
        self.since_end = match new.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => read - end,
            None => self.since_end + read,
        };
        if self.since_end > MAX_BYTES {
            return Err(io::Error::other(format!("a line is longer than {MAX_BYTES} bytes")));
        }
        Ok(read)
    }
}

/// Whole numbers below this are seconds since 1970, in the year 5138 at most.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// A moment as people write it: RFC 3339, the same without a zone (UTC), or a number of seconds,
/// milliseconds, microseconds or nanoseconds since 1970, told apart by its size.
pub(super) fn moment(text: &str) -> Option<UnixNanos> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return epoch(number);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let is_seconds = seconds.is_finite() && (0.0..1e11).contains(&seconds);
        return is_seconds.then(|| UnixNanos::from_secs_f64(seconds)).filter(|time| time.0 < i64::MAX);
    }
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return time.timestamp_nanos_opt().map(UnixNanos);
    }
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M:%S%.f"];
    let time = formats.into_iter().find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok());
    let day = || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    time.or_else(day)?.and_utc().timestamp_nanos_opt().map(UnixNanos)
}

/// A number of seconds, milliseconds, microseconds or nanoseconds since 1970.
pub(super) fn epoch(number: i64) -> Option<UnixNanos> {
    let unit = match number {
        ..0 => return None,
        n if n < SECONDS_BELOW => 1_000_000_000,
        n if n < SECONDS_BELOW * 1_000 => 1_000_000,
        n if n < SECONDS_BELOW * 1_000_000 => 1_000,
        _ => 1,
    };
    number.checked_mul(unit).map(UnixNanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let expected = Some(UnixNanos(1_388_580_000_000_000_000));
        for text in [
            "2014-01-01T12:40:00Z",
            "2014-01-01T13:40:00+01:00",
            "2014-01-01 12:40:00",
            "2014-01-01 12:40:00.000",
            " 2014-01-01 12:40 ",
            "1388580000",
            "1388580000.0",
            "1388580000000",
            "1388580000000000",
            "1388580000000000000",
        ] {
            assert_eq!(moment(text), expected, "{text}");
        }
        assert_eq!(moment("2014-01-01"), Some(UnixNanos(1_388_534_400_000_000_000)));
        for text in ["", "yesterday", "-5", "NaN", "inf", "1e300", "2014-13-01 00:00:00", "9999-01-01T00:00:00Z"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut endless = ShortLines::of(io::repeat(b'x'));
        let read = io::copy(&mut endless, &mut io::sink());
        assert!(read.expect_err("never ends").to_string().contains("longer than"), "and says so");
    }
}
