//! Parquet: a row is a point, with the columns `time`, `name`, `value` and, if there are any, `labels`.
//!
//! `labels` is a map of texts or a JSON object. The label `service.name`, `service_name`, `job` or `service`
//! says whose the point is; without one that is the file, by its name. Rows are expected in the order of
//! time, as they would have come.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray, types};
use arrow_schema::{DataType, TimeUnit};
use detect::UnixNanos;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use prost::Message as _;
use proto::otlp::{Encoding, Signal};

use super::input::{Fault, Recorded, epoch, moment, stem};
use crate::export::Export;

/// Rows that are read at once.
const ROWS: usize = 4_096;
/// Rows within so much event time go in one request, as exporters send them.
const TOGETHER: i64 = 1_000_000_000;
/// Points of one request, roughly.
const POINTS: usize = 5_000;
const SERVICE: [&str; 4] = ["service.name", "service_name", "job", "service"];

/// The rows of one file.
pub(super) struct Columns {
    path: PathBuf,
    file: String,
    reader: ParquetRecordBatchReader,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    row: usize,
    /// Rows before the batch.
    before: u64,
    rows: u64,
    bytes: u64,
    read: Arc<AtomicU64>,
    export: Export,
    began: UnixNanos,
    newest: UnixNanos,
    line: u64,
    fault: Option<Fault>,
    is_over: bool,
}

impl Columns {
    /// Reads the head.
    pub(super) fn open(path: &Path, file: File, read: Arc<AtomicU64>) -> Result<Self, Fault> {
        let bytes = file.metadata().map_or(0, |found| found.len());
        let fault = |e: parquet::errors::ParquetError| Fault::of(path, format_args!("is no Parquet file: {e}"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(fault)?;
        for (name, expected, is_right) in [
            ("time", "a timestamp, a whole number or a text", is_time as fn(&DataType) -> bool),
            ("name", "a text", is_text),
            ("value", "a number", is_number),
        ] {
            let column = builder.schema().field_with_name(name).map_err(|_| {
                Fault::of(path, "expected the columns time, name, value and, if there are any, labels").field(name)
            })?;
            if !is_right(column.data_type()) {
                return Err(
                    Fault::of(path, format_args!("expected {expected}, got {}", column.data_type())).field(name)
                );
            }
        }
        if let Ok(labels) = builder.schema().field_with_name("labels")
            && !is_labels(labels.data_type())
        {
            let message = format!("expected a map of texts or a JSON text, got {}", labels.data_type());
            return Err(Fault::of(path, message).field("labels"));
        }
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        let reader = builder.with_batch_size(ROWS).build().map_err(fault)?;
        Ok(Self {
            path: path.to_owned(),
            file: stem(path),
            reader,
            batch: None,
            row: 0,
            before: 0,
            rows,
            bytes,
            read,
            export: Export::default(),
            began: UnixNanos::MIN,
            newest: UnixNanos::MIN,
            line: 0,
            fault: None,
            is_over: false,
        })
    }

    /// Takes up the next batch; whether there is one.
    fn advance(&mut self) -> Result<bool, Fault> {
        if let Some(done) = self.batch.take() {
            self.before += done.num_rows() as u64;
            let read = self.bytes.saturating_mul(done.num_rows() as u64) / self.rows.max(1);
            self.read.fetch_add(read, Relaxed);
        }
        self.row = 0;
        let next = self.reader.next().transpose();
        let next = next.map_err(|e| Fault::of(&self.path, format_args!("cannot be read: {e}")).at(self.before + 1))?;
        self.batch = next;
        Ok(self.batch.is_some())
    }

    /// Adds one row; the request that it does not belong to, if it begins another one.
    fn add(&mut self, batch: &RecordBatch, row: usize) -> Option<Recorded> {
        let line = self.before + row as u64 + 1;
        let column = |name: &str| batch.column_by_name(name).filter(|column| column.is_valid(row));
        let missing = |name: &str| Fault::of(&self.path, "expected a value that can be read").at(line).field(name);
        let Some(time) = column("time").and_then(|column| time(column, row)) else {
            self.fault = Some(missing("time"));
            return None;
        };
        let Some(name) = column("name").and_then(|column| text(column, row)) else {
            self.fault = Some(missing("name"));
            return None;
        };
        let labels = column("labels").map_or_else(|| Some(Vec::new()), |column| labels(column, row));
        let Some(mut labels) = labels else {
            self.fault = Some(missing("labels"));
            return None;
        };
        // No value is no point.
        let value = column("value").and_then(|column| number(column, row)).filter(|value| value.is_finite())?;
        let is_apart = time.0.saturating_sub(self.began.0) >= TOGETHER || time < self.began;
        let done = (self.export.len() > 0 && (is_apart || self.export.len() >= POINTS)).then(|| self.request());
        if self.export.len() == 0 {
            (self.began, self.newest, self.line) = (time, time, line);
        }
        self.newest = self.newest.max(time);
        let owner = SERVICE.into_iter().find_map(|name| labels.iter().position(|(label, _)| label == name));
        let service = owner.map_or_else(|| self.file.clone(), |at| labels.remove(at).1);
        let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.export.add(&service, &name, labels, time, value);
        done
    }

    fn request(&mut self) -> Recorded {
        let body = self.export.take().encode_to_vec().into();
        let newest = Some(self.newest);
        Recorded { signal: Signal::Metrics, encoding: Encoding::Protobuf, body, newest, line: self.line }
    }
}

impl Iterator for Columns {
    type Item = Result<Recorded, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(fault) = self.fault.take() {
                return Some(Err(fault));
            }
            if self.is_over {
                return (self.export.len() > 0).then(|| Ok(self.request()));
            }
            let Some(batch) = self.batch.clone().filter(|batch| self.row < batch.num_rows()) else {
                match self.advance() {
                    Ok(true) => {}
                    Ok(false) => self.is_over = true,
                    Err(fault) => (self.is_over, self.fault) = (true, Some(fault)),
                }
                continue;
            };
            while self.row < batch.num_rows() {
                let row = self.row;
                self.row += 1;
                if let Some(done) = self.add(&batch, row) {
                    return Some(Ok(done));
                }
                if self.fault.is_some() {
                    break;
                }
            }
        }
    }
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(_, _) | DataType::Int64) || is_text(kind)
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_number(kind: &DataType) -> bool {
    matches!(kind, DataType::Float64 | DataType::Float32 | DataType::Int64 | DataType::Int32)
}

fn is_labels(kind: &DataType) -> bool {
    let DataType::Map(entries, _) = kind else { return is_text(kind) };
    let DataType::Struct(fields) = entries.data_type() else { return false };
    fields.len() == 2 && fields.iter().all(|field| is_text(field.data_type()))
}

fn text(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => column.as_string_view().value(row).to_owned(),
        _ => return None,
    })
}

fn number(column: &ArrayRef, row: usize) -> Option<f64> {
    Some(match column.data_type() {
        DataType::Float64 => column.as_primitive::<types::Float64Type>().value(row),
        DataType::Float32 => column.as_primitive::<types::Float32Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<types::Int32Type>().value(row).into(),
        #[expect(clippy::cast_precision_loss, reason = "telemetry is in doubles")]
        DataType::Int64 => column.as_primitive::<types::Int64Type>().value(row) as f64,
        _ => return None,
    })
}

fn time(column: &ArrayRef, row: usize) -> Option<UnixNanos> {
    let (value, unit) = match column.data_type() {
        DataType::Int64 => return epoch(column.as_primitive::<types::Int64Type>().value(row)),
        DataType::Timestamp(TimeUnit::Second, _) => {
            (column.as_primitive::<types::TimestampSecondType>().value(row), 1_000_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            (column.as_primitive::<types::TimestampMillisecondType>().value(row), 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            (column.as_primitive::<types::TimestampMicrosecondType>().value(row), 1_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            (column.as_primitive::<types::TimestampNanosecondType>().value(row), 1)
        }
        _ => return moment(&text(column, row)?),
    };
    value.checked_mul(unit).filter(|nanos| *nanos >= 0).map(UnixNanos)
}

fn labels(column: &ArrayRef, row: usize) -> Option<Vec<(String, String)>> {
    if matches!(column.data_type(), DataType::Map(_, _)) {
        let entries = column.as_map().value(row);
        let (names, values) = (entries.column(0), entries.column(1));
        return Some((0..entries.len()).filter_map(|i| Some((text(names, i)?, text(values, i)?))).collect());
    }
    let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text(column, row)?).ok()?;
    let said = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    Some(parsed.into_iter().map(|(name, value)| (name, said(value))).collect())
}
