//! Arrow chunks of the windows as Polars' frames, with the columns of [`super::tables`].
//!
//! Times and numbers are read where they are. Texts are not of a type that both have, and are copied into Polars'
//! views, those of a dictionary once; ids become hexadecimal, and attributes JSON, which costs and is done only for
//! those who ask for it.

use std::collections::BTreeMap;

use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, FixedSizeBinaryArray, RecordBatch, StringArray,
    cast::AsArray,
    types::{
        Float64Type as ArrowFloat64, Int32Type as ArrowInt32, TimestampNanosecondType, UInt8Type as ArrowUInt8,
        UInt32Type as ArrowUInt32, UInt64Type as ArrowUInt64,
    },
};
use arrow_buffer::{ArrowNativeType, ScalarBuffer};
use polars::prelude::{
    BooleanChunked, ChunkTake, ChunkedArray, Column, DataFrame, DataType, Field, Float64Chunked, Float64Type, IdxCa,
    IdxSize, Int64Chunked, Int64Type, IntoColumn, IntoLazy, IntoSeries, JoinArgs, JoinType, LazyFrame, NewChunkedArray,
    PolarsNumericType, PolarsResult, Schema, StringChunked, TimeUnit, TimeZone, UInt32Chunked, UInt32Type, UInt64Type,
    col, polars_err,
};
use polars_arrow::{array::PrimitiveArray, types::NativeType};
use polars_buffer::Buffer;
use window::{SpanKind, columns};

use super::{
    points::Points,
    protocol::{Part, Span},
    tables::{ALERTS, ANOMALIES, LOGS, METRICS, SPANS, Table},
};

/// What came, by part.
pub(super) type Parts = BTreeMap<Part, Vec<RecordBatch>>;

/// `table` with the `wanted` columns of the rows in `parts`.
pub(super) fn table(table: &Table, wanted: &[String], parts: &mut Parts, span: Span) -> PolarsResult<LazyFrame> {
    let mut take = |part| parts.remove(&part).unwrap_or_default();
    match table.name {
        METRICS => metrics(&take(Part::Points), &take(Part::Series), wanted, span),
        SPANS => stacked(table, wanted, &take(Part::Spans), |chunk| spans(chunk, wanted, span)),
        LOGS => stacked(table, wanted, &take(Part::Logs), |chunk| logs(chunk, wanted, span)),
        ANOMALIES => stacked(table, wanted, &take(Part::Anomalies), plain),
        ALERTS => stacked(table, wanted, &take(Part::Alerts), plain),
        _ => Ok(table.empty().lazy()),
    }
}

/// One frame below the other. Without any, the table has its columns all the same.
fn stacked(
    table: &Table,
    wanted: &[String],
    chunks: &[RecordBatch],
    frame: impl Fn(&RecordBatch) -> PolarsResult<DataFrame>,
) -> PolarsResult<LazyFrame> {
    let mut all: Option<DataFrame> = None;
    for chunk in chunks {
        let next = frame(chunk)?;
        match &mut all {
            Some(all) => drop(all.vstack_mut(&next)?),
            None => all = Some(next),
        }
    }
    let all = match all {
        Some(all) => all,
        None => table.empty(),
    };
    Ok(selected(all.lazy(), wanted))
}

/// The `wanted` columns. A frame without columns has no height, so there is always one.
pub(super) fn selected(frame: LazyFrame, wanted: &[String]) -> LazyFrame {
    match wanted {
        [] => frame,
        wanted => frame.select(wanted.iter().map(|name| col(name.as_str())).collect::<Vec<_>>()),
    }
}

/// Points beside what is known of their series. Left to Polars as a join, so that conditions on names and services
/// are met before it.
fn metrics(points: &[RecordBatch], series: &[RecordBatch], wanted: &[String], span: Span) -> PolarsResult<LazyFrame> {
    let mut reader = Points::of(points.iter(), span);
    let mut all = DataFrame::empty_with_schema(&points_schema());
    for chunk in points {
        all.vstack_mut(&reader.frame(chunk)?)?;
    }
    let about = described(series)?;
    Ok(selected(beside(all, about), wanted))
}

/// What is known of series: one frame of all.
pub(super) fn described(series: &[RecordBatch]) -> PolarsResult<DataFrame> {
    let mut about: Option<DataFrame> = None;
    for chunk in series {
        let next = plain(chunk)?;
        match &mut about {
            Some(about) => drop(about.vstack_mut(&next)?),
            None => about = Some(next),
        }
    }
    Ok(about.unwrap_or_else(|| {
        DataFrame::empty_with_schema(&Schema::from_iter([Field::new("series_id".into(), DataType::UInt32)]))
    }))
}

/// `points` beside what is known of their series, where anything is asked for.
pub(super) fn beside(points: DataFrame, about: DataFrame) -> LazyFrame {
    if about.width() < 2 {
        return points.lazy();
    }
    let key = || [col("series_id")];
    points.lazy().join(about.lazy(), key(), key(), JoinArgs::new(JoinType::Inner))
}

/// The columns of points.
pub(super) fn points_schema() -> Schema {
    let time = DataType::Datetime(TimeUnit::Nanoseconds, Some(TimeZone::UTC));
    let columns = [("series_id", DataType::UInt32), ("time", time), ("value", DataType::Float64)];
    columns.into_iter().map(|(name, dtype)| Field::new(name.into(), dtype)).collect()
}

/// Rows of spans of which `wanted` columns are made.
fn spans(chunk: &RecordBatch, wanted: &[String], span: Span) -> PolarsResult<DataFrame> {
    let (ends, starts) = (nanoseconds(chunk, columns::TIME)?, nanoseconds(chunk, columns::START)?);
    let make = |name: &str| -> PolarsResult<Column> {
        Ok(match name {
            "time" => times(name, starts.clone()),
            "end_time" => times(name, ends.clone()),
            "duration_seconds" => {
                let seconds = starts.iter().zip(ends.iter()).map(|(start, end)| seconds(end.saturating_sub(*start)));
                Float64Chunked::from_iter_values(name.into(), seconds).into_column()
            }
            "kind" => coded(name, column(chunk, columns::KIND)?, |kind| SpanKind::from_wire(i32::from(kind)).as_str())?,
            "status" => coded(name, column(chunk, columns::STATUS)?, status)?,
            name => common(chunk, name)?,
        })
    };
    made(chunk, wanted, make, (&starts, &ends), span)
}

/// Rows of log records of which `wanted` columns are made.
fn logs(chunk: &RecordBatch, wanted: &[String], span: Span) -> PolarsResult<DataFrame> {
    let at = nanoseconds(chunk, columns::TIME)?;
    let make = |name: &str| -> PolarsResult<Column> {
        Ok(match name {
            "time" => times(name, at.clone()),
            "observed_time" => {
                let observed = nanoseconds(chunk, columns::OBSERVED)?;
                let said = observed.iter().map(|time| (*time != 0).then_some(*time));
                let said: Int64Chunked = NewChunkedArray::from_iter_options(name.into(), said);
                said.into_datetime(TimeUnit::Nanoseconds, Some(TimeZone::UTC)).into_column()
            }
            "severity" => severity(name, chunk)?,
            "severity_number" => small(name, column(chunk, columns::SEVERITY)?)?,
            name => common(chunk, name)?,
        })
    };
    made(chunk, wanted, make, (&at, &at), span)
}

/// The frame of `wanted` columns, of times if there is none, with the rows that are seen: by the times that are shown,
/// and by those of the events.
fn made(
    chunk: &RecordBatch,
    wanted: &[String],
    make: impl Fn(&str) -> PolarsResult<Column>,
    (shown, events): (&[i64], &[i64]),
    span: Span,
) -> PolarsResult<DataFrame> {
    let columns = match wanted {
        [] => vec![make("time")?],
        wanted => wanted.iter().map(|name| make(name)).collect::<PolarsResult<_>>()?,
    };
    let frame = DataFrame::new(chunk.num_rows(), columns)?;
    let is_seen = |(shown, event): (&i64, &i64)| *event > span.floor && *shown >= span.from && *shown <= span.to;
    let kept: Vec<bool> = shown.iter().zip(events).map(is_seen).collect();
    if kept.iter().all(|kept| *kept) {
        return Ok(frame);
    }
    frame.filter(&BooleanChunked::from_slice("kept".into(), &kept))
}

/// Columns that spans and logs have in common, and those that are as they are.
fn common(chunk: &RecordBatch, name: &str) -> PolarsResult<Column> {
    let array = column(chunk, name)?;
    match name {
        "trace_id" | "span_id" | "parent_span_id" => ids(name, array),
        "attributes" => {
            let lists: &BinaryArray = array.as_binary_opt().ok_or_else(|| unlike(name))?;
            Ok(texts(name, lists.iter().map(|list| list.map(ingest::attributes_as_json))))
        }
        "resource" => {
            let codes: &DictionaryArray<ArrowInt32> = array.as_dictionary_opt().ok_or_else(|| unlike(name))?;
            let resources: &BinaryArray = codes.values().as_binary_opt().ok_or_else(|| unlike(name))?;
            let shown = texts(name, resources.iter().map(|resource| resource.map(ingest::attributes_as_json)));
            gathered(shown.str()?, codes)
        }
        name => as_it_is(name, array),
    }
}

/// A chunk whose columns are those of its table already.
pub(super) fn plain(chunk: &RecordBatch) -> PolarsResult<DataFrame> {
    let schema = chunk.schema();
    let columns = schema.fields().iter().zip(chunk.columns()).map(|(field, array)| as_it_is(field.name(), array));
    DataFrame::new(chunk.num_rows(), columns.collect::<PolarsResult<_>>()?)
}

fn as_it_is(name: &str, array: &ArrayRef) -> PolarsResult<Column> {
    use arrow_schema::DataType as Arrow;
    let any = array.as_ref();
    let column = match any.data_type() {
        Arrow::Timestamp(_, _) => {
            let array = any.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| unlike(name))?;
            if array.null_count() == 0 {
                return Ok(times(name, array.values().clone()));
            }
            let numbers: Int64Chunked = NewChunkedArray::from_iter_options(name.into(), array.iter());
            numbers.into_datetime(TimeUnit::Nanoseconds, Some(TimeZone::UTC)).into_column()
        }
        Arrow::Float64 => numbers::<Float64Type>(name, any.as_primitive::<ArrowFloat64>().values().clone()),
        Arrow::UInt32 => numbers::<UInt32Type>(name, any.as_primitive::<ArrowUInt32>().values().clone()),
        Arrow::UInt64 => numbers::<UInt64Type>(name, any.as_primitive::<ArrowUInt64>().values().clone()),
        Arrow::Utf8 => {
            let array: &StringArray = any.as_string();
            StringChunked::from_iter_options(name.into(), array.iter()).into_column()
        }
        Arrow::FixedSizeBinary(_) => ids(name, array)?,
        Arrow::Dictionary(_, _) => {
            let codes: &DictionaryArray<ArrowInt32> = any.as_dictionary_opt().ok_or_else(|| unlike(name))?;
            let values: &StringArray = codes.values().as_string_opt().ok_or_else(|| unlike(name))?;
            gathered(&StringChunked::from_iter_options(name.into(), values.iter()), codes)?
        }
        _ => return Err(unlike(name)),
    };
    Ok(column)
}

/// Times, not copied.
pub(super) fn times(name: &str, nanoseconds: ScalarBuffer<i64>) -> Column {
    shared::<Int64Type>(name, nanoseconds).into_datetime(TimeUnit::Nanoseconds, Some(TimeZone::UTC)).into_column()
}

/// Numbers without nulls, not copied.
pub(super) fn numbers<T>(name: &str, values: ScalarBuffer<T::Native>) -> Column
where
    T: PolarsNumericType,
    T::Native: ArrowNativeType,
    ChunkedArray<T>: IntoSeries,
{
    shared::<T>(name, values).into_series().into_column()
}

fn shared<T>(name: &str, values: ScalarBuffer<T::Native>) -> ChunkedArray<T>
where
    T: PolarsNumericType,
    T::Native: ArrowNativeType,
{
    let array = PrimitiveArray::try_new(T::Native::PRIMITIVE.into(), Buffer::from_owner(values), None);
    ChunkedArray::with_chunk(name.into(), array.expect("the type is that of the values, and there is no validity"))
}

fn texts<S: AsRef<str>>(name: &str, texts: impl Iterator<Item = Option<S>>) -> Column {
    StringChunked::from_iter_options(name.into(), texts).into_column()
}

/// The values that the codes stand for; each text is there once.
fn gathered(values: &StringChunked, codes: &DictionaryArray<ArrowInt32>) -> PolarsResult<Column> {
    let codes = codes.keys().iter().map(|code| code.and_then(|code| IdxSize::try_from(code).ok()));
    let codes: IdxCa = NewChunkedArray::from_iter_options("codes".into(), codes);
    Ok(values.take(&codes)?.into_column())
}

/// Ids in hexadecimal; null where they are all zero, which means that there is none.
fn ids(name: &str, array: &ArrayRef) -> PolarsResult<Column> {
    let ids: &FixedSizeBinaryArray = array.as_fixed_size_binary_opt().ok_or_else(|| unlike(name))?;
    Ok(texts(name, ids.iter().map(|id| id.filter(|id| id.iter().any(|byte| *byte != 0)).map(hex))))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn small(name: &str, array: &ArrayRef) -> PolarsResult<Column> {
    let bytes = array.as_primitive_opt::<ArrowUInt8>().ok_or_else(|| unlike(name))?;
    Ok(UInt32Chunked::from_iter_values(name.into(), bytes.values().iter().map(|byte| u32::from(*byte))).into_column())
}

/// The word for each number.
fn coded(name: &str, array: &ArrayRef, word: impl Fn(u8) -> &'static str) -> PolarsResult<Column> {
    let numbers = array.as_primitive_opt::<ArrowUInt8>().ok_or_else(|| unlike(name))?;
    Ok(texts(name, numbers.values().iter().map(|number| Some(word(*number)))))
}

fn status(number: u8) -> &'static str {
    match number {
        1 => "STATUS_CODE_OK",
        2 => "STATUS_CODE_ERROR",
        _ => "STATUS_CODE_UNSET",
    }
}

/// The sender's own word, or OpenTelemetry's for the number.
fn severity(name: &str, chunk: &RecordBatch) -> PolarsResult<Column> {
    const WORDS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let sent = as_it_is(name, column(chunk, columns::SEVERITY_TEXT)?)?;
    let numbers = column(chunk, columns::SEVERITY)?.as_primitive_opt::<ArrowUInt8>().ok_or_else(|| unlike(name))?;
    let word = |number: u8| number.checked_sub(1).and_then(|n| WORDS.get(usize::from(n / 4))).copied();
    let said = sent.str()?.iter().zip(numbers.values());
    let said = said.map(|(sent, number)| sent.filter(|sent| !sent.is_empty()).or_else(|| word(*number)));
    Ok(StringChunked::from_iter_options(name.into(), said).into_column())
}

fn column<'a>(chunk: &'a RecordBatch, name: &str) -> PolarsResult<&'a ArrayRef> {
    chunk.column_by_name(name).ok_or_else(|| unlike(name))
}

fn nanoseconds(chunk: &RecordBatch, name: &str) -> PolarsResult<ScalarBuffer<i64>> {
    let array = column(chunk, name)?.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| unlike(name))?;
    Ok(array.values().clone())
}

#[expect(clippy::cast_precision_loss, reason = "a duration in nanoseconds is shown in seconds")]
fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn unlike(name: &str) -> polars::prelude::PolarsError {
    polars_err!(SchemaMismatch: "column {} is not what it should be", name)
}
