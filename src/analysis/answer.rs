//! A result in the form that was asked for, within the bounds on it.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat};
use polars::prelude::{AnyValue, Column, CompatLevel, DataFrame, DataType, PolarsResult, TimeUnit};
use polars_io::{SerWriter, csv::write::CsvWriter, ipc::IpcStreamWriter};
use serde_json::{Value, json};

use super::protocol::Format;

/// RFC 3339 with as many digits of a second as there are, as times look in JSON.
const CSV_TIME: &str = "%Y-%m-%dT%H:%M:%S%.fZ";
/// What a value counts beside its text.
const VALUE_BYTES: usize = 8;

/// The first rows of `frame`, at most `limit`, whose values have `bytes` together; whether that is not all of it.
pub(super) fn bounded(mut frame: DataFrame, limit: usize, bytes: usize) -> (DataFrame, bool) {
    let (mut left, mut rows) = (bytes, 0);
    // One chunk a column, which is what can be gone through value by value.
    frame.rechunk_mut();
    let mut columns: Vec<_> = frame.columns().iter().map(|column| column.as_materialized_series().iter()).collect();
    while rows < frame.height().min(limit) {
        let weight = columns.iter_mut().filter_map(Iterator::next).map(|value| weight(&value)).sum::<usize>();
        let Some(rest) = left.checked_sub(weight) else { break };
        (left, rows) = (rest, rows + 1);
    }
    (frame.head(Some(rows)), rows < frame.height())
}

fn weight(value: &AnyValue<'_>) -> usize {
    VALUE_BYTES
        + match value {
            AnyValue::String(text) => text.len(),
            AnyValue::StringOwned(text) => text.len(),
            AnyValue::Binary(bytes) => bytes.len(),
            AnyValue::List(list) | AnyValue::Array(list, _) => list.iter().map(|value| weight(&value)).sum(),
            _ => 0,
        }
}

/// `frame` in `format`.
///
/// # Errors
/// When a column has a type that the format cannot show.
pub(super) fn write(frame: &mut DataFrame, format: Format, truncated: bool) -> PolarsResult<Vec<u8>> {
    let mut out = Vec::new();
    match format {
        Format::Json => json_into(frame, truncated, &mut out)?,
        Format::Csv => csv_writer(&mut out).finish(frame)?,
        Format::Arrow => arrow_into(frame, &mut out)?,
    }
    Ok(out)
}

/// Writes CSV with times as they look in JSON.
pub(super) fn csv_writer<W: Write>(out: W) -> CsvWriter<W> {
    CsvWriter::new(out).with_datetime_format(Some(CSV_TIME.into()))
}

/// Writes an Arrow IPC stream with types that every reader knows.
pub(super) fn arrow_into(frame: &mut DataFrame, out: &mut Vec<u8>) -> PolarsResult<()> {
    IpcStreamWriter::new(out).with_compat_level(CompatLevel::oldest()).finish(frame)
}

/// `{"columns":[{"name","type"}],"rows":[[...]],"truncated"}`.
fn json_into(frame: &DataFrame, truncated: bool, out: &mut Vec<u8>) -> PolarsResult<()> {
    let described = |column: &Column| json!({"name": column.name().as_str(), "type": word(column.dtype())});
    let columns: Value = frame.columns().iter().map(described).collect();
    write!(out, "{{\"columns\":{columns},\"rows\":[")?;
    let mut values: Vec<_> = frame.columns().iter().map(|column| column.as_materialized_series().iter()).collect();
    for row in 0..frame.height() {
        out.extend_from_slice(if row == 0 { b"[" } else { b",[" });
        for (i, value) in values.iter_mut().filter_map(Iterator::next).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            serde_json::to_writer(&mut *out, &shown(&value)).map_err(io::Error::from)?;
        }
        out.push(b']');
    }
    write!(out, "],\"truncated\":{truncated}}}")?;
    Ok(())
}

/// What a type is called.
fn word(dtype: &DataType) -> String {
    match dtype {
        DataType::Boolean => "boolean".into(),
        DataType::Float32 | DataType::Float64 => "float".into(),
        dtype if dtype.is_integer() => "integer".into(),
        DataType::String => "string".into(),
        DataType::Datetime(_, _) => "time".into(),
        DataType::Date => "date".into(),
        DataType::Time => "time of day".into(),
        DataType::Duration(_) => "duration".into(),
        DataType::Null => "null".into(),
        DataType::List(inner) => format!("list of {}", word(inner)),
        other => other.to_string(),
    }
}

/// A value as JSON: times as RFC 3339, durations in seconds, numbers that are not finite as null.
fn shown(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => json!(value),
        AnyValue::String(text) => json!(text),
        AnyValue::StringOwned(text) => json!(text.as_str()),
        AnyValue::UInt8(n) => json!(n),
        AnyValue::UInt16(n) => json!(n),
        AnyValue::UInt32(n) => json!(n),
        AnyValue::UInt64(n) => json!(n),
        AnyValue::Int8(n) => json!(n),
        AnyValue::Int16(n) => json!(n),
        AnyValue::Int32(n) => json!(n),
        AnyValue::Int64(n) => json!(n),
        AnyValue::Float32(n) => json!(n),
        AnyValue::Float64(n) => json!(n),
        AnyValue::Datetime(time, unit, _) => rfc3339(*time, *unit),
        AnyValue::DatetimeOwned(time, unit, _) => rfc3339(*time, *unit),
        AnyValue::Duration(length, unit) => json!(seconds(*length, *unit)),
        AnyValue::List(list) | AnyValue::Array(list, _) => list.iter().map(|value| shown(&value)).collect(),
        other => json!(other.to_string()),
    }
}

fn nanoseconds(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Nanoseconds => 1,
        TimeUnit::Microseconds => 1_000,
        TimeUnit::Milliseconds => 1_000_000,
    }
}

fn rfc3339(time: i64, unit: TimeUnit) -> Value {
    let units = 1_000_000_000 / nanoseconds(unit);
    let rest = u32::try_from(time.rem_euclid(units) * nanoseconds(unit)).unwrap_or_default();
    let time = DateTime::from_timestamp(time.div_euclid(units), rest);
    time.map_or(Value::Null, |time| json!(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
}

#[expect(clippy::cast_precision_loss, reason = "a duration is shown in seconds")]
fn seconds(length: i64, unit: TimeUnit) -> f64 {
    length as f64 / (1_000_000_000 / nanoseconds(unit)) as f64
}

#[cfg(test)]
mod tests {
    use polars::prelude::{IntoColumn, NamedFrom, Series};

    use super::*;

    fn frame() -> DataFrame {
        let times = Series::new("at".into(), [0_i64, 1_500_000_000, -1]);
        let times = times.cast(&DataType::Datetime(TimeUnit::Nanoseconds, None)).expect("is a time");
        let texts = Series::new("text".into(), [Some("a\"b"), None, Some("c,d")]);
        let numbers = Series::new("n".into(), [1.5, f64::NAN, -0.25]);
        DataFrame::new(3, vec![times.into_column(), texts.into_column(), numbers.into_column()]).expect("is a frame")
    }

    #[test]
    fn json_and_csv_show_the_same() {
        let json = write(&mut frame(), Format::Json, true).expect("can be shown");
        assert_eq!(
            String::from_utf8(json).expect("is text"),
            "{\"columns\":[{\"name\":\"at\",\"type\":\"time\"},{\"name\":\"text\",\"type\":\"string\"},\
             {\"name\":\"n\",\"type\":\"float\"}],\"rows\":[[\"1970-01-01T00:00:00Z\",\"a\\\"b\",1.5],\
             [\"1970-01-01T00:00:01.500Z\",null,null],[\"1969-12-31T23:59:59.999999999Z\",\"c,d\",-0.25]],\
             \"truncated\":true}"
        );
        let csv = write(&mut frame(), Format::Csv, false).expect("can be shown");
        assert_eq!(
            String::from_utf8(csv).expect("is text"),
            "at,text,n\n1970-01-01T00:00:00Z,\"a\"\"b\",1.5\n1970-01-01T00:00:01.500Z,,NaN\n\
             1969-12-31T23:59:59.999999999Z,\"c,d\",-0.25\n"
        );
    }

    #[test]
    fn rows_and_bytes_are_bounded() {
        let check = |limit, bytes, expected| {
            let (kept, truncated) = bounded(frame(), limit, bytes);
            assert_eq!((kept.height(), truncated), expected, "{limit} rows, {bytes} bytes");
        };
        check(9, 1_000, (3, false));
        check(3, 1_000, (3, false));
        check(2, 1_000, (2, true));
        // The first row is 27 bytes, the second one 24.
        check(9, 51, (2, true));
        check(9, 50, (1, true));
        check(9, 26, (0, true));
    }
}
