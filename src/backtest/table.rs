//! CSV: a file is a service, and each of its columns a metric of it.
//!
//! The column named `timestamp`, `time`, `ts`, `date` or `datetime` holds the time, or the first one where
//! none is named so. A column named `label` or `is_anomaly` is what people noted, and left out.

use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder};
use detect::UnixNanos;
use prost::Message as _;
use proto::otlp::{Encoding, Signal};

use super::input::{Counted, Fault, Recorded, ShortLines, moment, stem};
use crate::export::Export;

const TIME: [&str; 5] = ["timestamp", "time", "ts", "date", "datetime"];
const NOTES: [&str; 2] = ["label", "is_anomaly"];
/// Rows within so much event time go in one request, as exporters send them.
const TOGETHER: i64 = 1_000_000_000;
/// Points of one request, roughly.
const POINTS: usize = 1_000;
/// Texts that say that there is no value.
const NOTHING: [&str; 5] = ["", "nan", "null", "none", "na"];

/// The rows of one file.
pub(super) struct Table {
    path: PathBuf,
    service: String,
    reader: Reader<ShortLines<Counted>>,
    record: ByteRecord,
    time: usize,
    /// Where each metric stands, and what it is called.
    metrics: Vec<(usize, String)>,
    columns: usize,
    export: Export,
    began: UnixNanos,
    newest: UnixNanos,
    /// Line of the first row in the request that is being made.
    line: u64,
    /// Faults of the row that was read last.
    faults: Vec<Fault>,
    is_over: bool,
}

impl Table {
    /// Reads the head.
    pub(super) fn open(path: &Path, file: Counted) -> Result<Self, Fault> {
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(ShortLines::of(file));
        let head = reader.headers().map_err(|error| unreadable(path, &error))?.clone();
        let is_named = |names: &[&str], column: &str| names.iter().any(|name| name.eq_ignore_ascii_case(column.trim()));
        let time = head.iter().position(|column| is_named(&TIME, column)).unwrap_or(0);
        let metrics: Vec<(usize, String)> = head
            .iter()
            .enumerate()
            .filter(|(i, column)| *i != time && !column.trim().is_empty() && !is_named(&NOTES, column))
            .map(|(i, column)| (i, column.trim().to_owned()))
            .collect();
        let fault = |message: &str| Err(Fault::of(path, message).at(1));
        if metrics.is_empty() {
            return fault("expected a header with a time and at least one metric, separated by commas");
        }
        if head.iter().any(|column| column.trim().parse::<f64>().is_ok()) {
            return fault("expected a header, got numbers");
        }
        Ok(Self {
            path: path.to_owned(),
            service: stem(path),
            reader,
            record: ByteRecord::new(),
            time,
            metrics,
            columns: head.len(),
            export: Export::default(),
            began: UnixNanos::MIN,
            newest: UnixNanos::MIN,
            line: 0,
            faults: Vec::new(),
            is_over: false,
        })
    }

    /// Adds the row that was read last; the request that it does not belong to, if it begins another one.
    fn row(&mut self) -> Option<Recorded> {
        let line = self.record.position().map_or(0, csv::Position::line);
        let fault = |message: String| Fault::of(&self.path, message).at(line);
        if self.record.len() != self.columns {
            self.faults.push(fault(format!("has {} fields; expected {}", self.record.len(), self.columns)));
            return None;
        }
        let text = String::from_utf8_lossy(self.record.get(self.time).unwrap_or_default());
        let Some(time) = moment(&text) else {
            let column = self.reader.headers().ok().and_then(|head| head.get(self.time)).unwrap_or_default().to_owned();
            self.faults.push(fault(format!("expected a time, got `{}`", short(&text))).field(&column));
            return None;
        };
        let is_apart = time.0.saturating_sub(self.began.0) >= TOGETHER || time < self.began;
        let done = (self.export.len() > 0 && (is_apart || self.export.len() >= POINTS)).then(|| self.request());
        if self.export.len() == 0 {
            (self.began, self.newest, self.line) = (time, time, line);
        }
        self.newest = self.newest.max(time);
        for (i, metric) in &self.metrics {
            let text = String::from_utf8_lossy(self.record.get(*i).unwrap_or_default());
            let text = text.trim();
            match text.parse::<f64>() {
                Ok(value) if value.is_finite() => self.export.add(&self.service, metric, [], time, value),
                _ if NOTHING.iter().any(|nothing| nothing.eq_ignore_ascii_case(text)) => {}
                _ => {
                    let message = format!("expected a number, got `{}`", short(text));
                    self.faults.push(Fault::of(&self.path, message).at(line).field(metric));
                }
            }
        }
        done
    }

    fn request(&mut self) -> Recorded {
        let body = self.export.take().encode_to_vec().into();
        let newest = Some(self.newest);
        Recorded { signal: Signal::Metrics, encoding: Encoding::Protobuf, body, newest, line: self.line }
    }
}

fn unreadable(path: &Path, error: &csv::Error) -> Fault {
    let fault = Fault::of(path, format_args!("cannot be read: {error}"));
    error.position().map_or_else(|| fault.clone(), |at| fault.clone().at(at.line()))
}

/// The beginning of what a stranger wrote.
fn short(text: &str) -> &str {
    proto::otlp::cut(text, 40)
}

impl Iterator for Table {
    type Item = Result<Recorded, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(fault) = self.faults.pop() {
                return Some(Err(fault));
            }
            if self.is_over {
                return (self.export.len() > 0).then(|| Ok(self.request()));
            }
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) => {
                    let done = self.row();
                    // What is wrong with a row is told in the order of its columns.
                    self.faults.reverse();
                    if let Some(done) = done {
                        return Some(Ok(done));
                    }
                }
                Ok(false) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    self.faults.push(unreadable(&self.path, &error));
                }
            }
        }
    }
}
