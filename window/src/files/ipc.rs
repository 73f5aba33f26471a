//! Chunks as the bytes of Arrow IPC files, and back.

use std::{
    io::{self, Cursor},
    sync::Arc,
};

use arrow_array::{
    Array, FixedSizeBinaryArray, Float64Array, RecordBatch, TimestampNanosecondArray, UInt32Array,
    cast::AsArray,
    types::{Float64Type, TimestampNanosecondType, UInt32Type},
};
use arrow_buffer::Buffer;
use arrow_ipc::{
    CompressionType, MetadataVersion,
    reader::FileReader,
    writer::{FileWriter, IpcWriteOptions},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::{name::Table, numbers};
use crate::{
    Exemplar, HistogramChunk, LogChunk, LogColumns, NumberChunk, SeriesId, SpanChunk, SpanColumns, Tables, UnixNanos,
    columns,
};

/// Bytes to which buffers are padded. They are compressed, so nothing is read where it lies, and in a file of few rows
/// more would be most of it.
const ALIGNMENT: usize = 8;

/// How zstd packs what is small: numbers and all that is made of them.
const LEVEL: i32 = 3;
/// How it packs spans and logs, of which there may be a hundred times as much: in half of the time.
const EVENTS_LEVEL: i32 = 1;

/// From which size on neighbouring chunks are files of their own: to merge them costs more than to write them.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartSize {
    /// Rows of numbers.
    pub(super) rows: usize,
    /// Bytes of spans or logs.
    pub(super) bytes: usize,
}

/// One file's content.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: usize,
    pub(super) newest: UnixNanos,
}

impl Encoded {
    fn of(batch: &RecordBatch, newest: UnixNanos) -> io::Result<Self> {
        Self::packed(batch, newest, Some(LEVEL))
    }

    /// Spans or logs.
    fn of_events(batch: &RecordBatch, newest: UnixNanos) -> io::Result<Self> {
        Self::packed(batch, newest, Some(EVENTS_LEVEL))
    }

    /// Numbers in the shorter of both ways.
    fn of_numbers(chunk: &NumberChunk) -> io::Result<Self> {
        let newest = chunk.span.1;
        let columns = Self::of(&numbers::encode(chunk), newest)?;
        let Some(packed) = numbers::pack(chunk) else { return Ok(columns) };
        let packed = Self { rows: chunk.len(), ..Self::packed(&packed, newest, None)? };
        Ok(if packed.bytes.len() < columns.bytes.len() { packed } else { columns })
    }

    /// By zstd at `level`, or as it is.
    fn packed(batch: &RecordBatch, newest: UnixNanos, level: Option<i32>) -> io::Result<Self> {
        let write = || {
            let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?
                .try_with_compression(level.map(|_| CompressionType::ZSTD))?
                .try_with_compression_level(level)?;
            let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
            writer.write(batch)?;
            writer.into_inner()
        };
        Ok(Self { bytes: write().map_err(io::Error::other)?, rows: batch.num_rows(), newest })
    }
}

/// Gives `put` the files that hold all rows of one table, each row once, one file after the other. Chunks of
/// at least the size of `part` are not merged.
///
/// # Errors
/// Those of `put`, and of Arrow where a chunk cannot be encoded.
pub(super) fn encode(
    table: Table,
    all: &Tables,
    part: PartSize,
    put: &mut impl FnMut(Encoded) -> io::Result<()>,
) -> io::Result<()> {
    let mut histograms = |exponential: bool| {
        let parts: Vec<Arc<HistogramChunk>> =
            all.histograms.iter().filter(|c| c.is_exponential() == exponential).cloned().collect();
        HistogramChunk::merge(&parts).iter().try_for_each(|c| put(Encoded::of(c.batch(), c.span.1)?))
    };
    match table {
        Table::Numbers => numbers_of(&all.numbers, part.rows, put),
        Table::Histograms => histograms(false),
        Table::ExpHistograms => histograms(true),
        Table::Spans => spans(&all.spans, part.bytes, &mut |batch, newest| put(Encoded::of_events(batch, newest)?)),
        Table::Logs => logs(&all.logs, part.bytes, &mut |batch, newest| put(Encoded::of_events(batch, newest)?)),
        Table::Exemplars => {
            let rows: Vec<Exemplar> = all.exemplars.iter().flat_map(|rows| rows.iter().copied()).collect();
            let newest = rows.iter().map(|row| row.time).max();
            newest.map_or(Ok(()), |newest| put(Encoded::of(&exemplars(&rows), newest)?))
        }
    }
}

/// Neighbours that fit one file are merged, which costs more than all else here; others are written as they are.
fn numbers_of(
    chunks: &[Arc<NumberChunk>],
    part_rows: usize,
    put: &mut impl FnMut(Encoded) -> io::Result<()>,
) -> io::Result<()> {
    let mut rest = chunks;
    while let Some(first) = rest.first() {
        let mut rows = 0;
        let fits = |c: &&Arc<NumberChunk>| {
            rows += c.len();
            rows <= part_rows
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (part, others) = rest.split_at(count);
        rest = others;
        let merged = if count == 1 { None } else { NumberChunk::merge(part) };
        let chunk = merged.as_ref().unwrap_or(first);
        put(Encoded::of_numbers(chunk)?)?;
    }
    Ok(())
}

/// Chunks of some size are written as they are; smaller neighbours are merged.
fn spans(
    chunks: &[Arc<SpanChunk>],
    part_bytes: usize,
    put: &mut impl FnMut(&RecordBatch, UnixNanos) -> io::Result<()>,
) -> io::Result<()> {
    let mut part = SpanColumns::default();
    for chunk in chunks {
        let is_whole = chunk.bytes() > part_bytes;
        if is_whole || part.content() > part_bytes {
            SpanChunk::seal(std::mem::take(&mut part)).map_or(Ok(()), |c| put(c.batch(), c.span.1))?;
        }
        if is_whole {
            put(chunk.batch(), chunk.span.1)?;
        } else {
            part.push_chunk(chunk).map_err(io::Error::other)?;
        }
    }
    SpanChunk::seal(part).map_or(Ok(()), |c| put(c.batch(), c.span.1))
}

/// As [`spans`].
fn logs(
    chunks: &[Arc<LogChunk>],
    part_bytes: usize,
    put: &mut impl FnMut(&RecordBatch, UnixNanos) -> io::Result<()>,
) -> io::Result<()> {
    let mut part = LogColumns::default();
    for chunk in chunks {
        let is_whole = chunk.bytes() > part_bytes;
        if is_whole || part.content() > part_bytes {
            LogChunk::seal(std::mem::take(&mut part)).map_or(Ok(()), |c| put(c.batch(), c.span.1))?;
        }
        if is_whole {
            put(chunk.batch(), chunk.span.1)?;
        } else {
            part.push_chunk(chunk).map_err(io::Error::other)?;
        }
    }
    LogChunk::seal(part).map_or(Ok(()), |c| put(c.batch(), c.span.1))
}

fn exemplar_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(columns::SERIES, DataType::UInt32, false),
        Field::new(columns::TIME, DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), false),
        Field::new(columns::VALUE, DataType::Float64, false),
        Field::new(columns::TRACE_ID, DataType::FixedSizeBinary(16), false),
        Field::new(columns::SPAN_ID, DataType::FixedSizeBinary(8), false),
    ]))
}

fn exemplars(rows: &[Exemplar]) -> RecordBatch {
    let ids = |width, bytes: Vec<u8>| {
        FixedSizeBinaryArray::try_new(width, Buffer::from_vec(bytes), None).expect("each id is of this width")
    };
    let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.time.0)).with_timezone("UTC");
    let arrays: Vec<Arc<dyn Array>> = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.series.0))),
        Arc::new(times),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.value))),
        Arc::new(ids(16, rows.iter().flat_map(|row| row.trace_id).collect())),
        Arc::new(ids(8, rows.iter().flat_map(|row| row.span_id).collect())),
    ];
    RecordBatch::try_new(exemplar_schema(), arrays).expect("every column has a value for each row")
}

fn exemplars_of(batch: &RecordBatch) -> Option<Arc<[Exemplar]>> {
    if batch.schema().fields() != exemplar_schema().fields() {
        return None;
    }
    let series = batch.column(0).as_primitive_opt::<UInt32Type>()?;
    let times = batch.column(1).as_primitive_opt::<TimestampNanosecondType>()?;
    let values = batch.column(2).as_primitive_opt::<Float64Type>()?;
    let (traces, spans) = (batch.column(3).as_fixed_size_binary_opt()?, batch.column(4).as_fixed_size_binary_opt()?);
    (0..batch.num_rows())
        .map(|row| {
            Some(Exemplar {
                series: SeriesId(series.value(row)),
                time: UnixNanos(times.value(row)),
                value: values.value(row),
                trace_id: traces.value(row).try_into().ok()?,
                span_id: spans.value(row).try_into().ok()?,
            })
        })
        .collect()
}

/// Appends the rows of a file to `out`; says what is wrong with a file that [`encode`] did not make.
/// The checksum of `bytes` was right, so this is about versions, not about damage.
pub(super) fn decode(table: Table, bytes: &[u8], out: &mut Tables) -> Result<(), String> {
    let reader = FileReader::try_new(Cursor::new(bytes), None).map_err(|e| e.to_string())?;
    for batch in reader {
        let batch = batch.map_err(|e| e.to_string())?;
        let known = match table {
            Table::Numbers => numbers::decode(&batch).map(|c| out.numbers.push(Arc::new(c))),
            Table::Histograms | Table::ExpHistograms => {
                HistogramChunk::from_batch(batch).map(|c| out.histograms.push(Arc::new(c)))
            }
            Table::Spans => SpanChunk::from_batch(batch).map(|c| out.spans.push(Arc::new(c))),
            Table::Logs => LogChunk::from_batch(batch).map(|c| out.logs.push(Arc::new(c))),
            Table::Exemplars => exemplars_of(&batch).map(|rows| out.exemplars.push(rows)),
        };
        known.ok_or("the columns are not those of this table in this version")?;
    }
    Ok(())
}
