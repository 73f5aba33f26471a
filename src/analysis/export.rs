//! `bellwether export`: what the data directory holds, as a file.
//!
//! Chunk by chunk, so that an export takes little memory beside the windows themselves. Nothing in the data directory
//! is changed, so that the service may be running.

use std::{
    fs::{self, File},
    io::Cursor,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use arrow_ipc::reader::StreamReader;
use detect::UnixNanos;
use ingest::Tenant;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use polars::prelude::DataFrame;
use polars_io::csv::write::BatchedWriter;
use window::{Ask, Filter, History, Resolution, Series, SeriesId, Snapshot};

use super::{
    answer, frames,
    points::Points,
    protocol::{Part, Span},
    source,
    tables::{LOGS, METRICS, SPANS, Table},
};
use crate::{
    cli::{ExportArgs, ExportFormat, ExportTable},
    pipeline, repair, rest,
};

/// Event time of rollups that are read at once.
const STEP: Duration = Duration::from_hours(24);

/// Writes what `args` ask for and says how much it was.
///
/// # Errors
/// What cannot be read or written; there is no file then, or the one that was there before.
#[expect(clippy::print_stdout, reason = "what was written is what this command prints")]
pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let mut unfinished = args.output.clone().into_os_string();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let written = write(args, &unfinished);
    if written.is_err() {
        // The error that is told is the first one.
        let _ = fs::remove_file(&unfinished);
    }
    let rows = written?;
    let output = args.output.display();
    fs::rename(&unfinished, &args.output).with_context(|| format!("cannot write {output}"))?;
    println!("{output}: {rows} rows");
    Ok(ExitCode::SUCCESS)
}

fn write(args: &ExportArgs, output: &Path) -> anyhow::Result<u64> {
    let data_dir = repair::data_dir(args.data_dir.as_deref(), args.config.as_deref())?;
    fs::read_dir(&data_dir).with_context(|| format!("cannot read {}", data_dir.display()))?;
    let tenant = args.tenant.as_deref().map_or(Ok(Tenant::default()), Tenant::new).context("--tenant")?;
    let span = Span {
        floor: i64::MIN,
        from: time("--from", args.from.as_deref(), i64::MIN)?,
        to: time("--to", args.to.as_deref(), i64::MAX)?,
    };
    let mut sink = Sink::new(output, args.format);
    match args.table {
        ExportTable::FiveMinutes => rollups(&data_dir, &tenant, Resolution::FiveMinutes, span, &mut sink)?,
        ExportTable::Hours => rollups(&data_dir, &tenant, Resolution::Hour, span, &mut sink)?,
        table => windows(&data_dir, &tenant, table, span, &mut sink)?,
    }
    sink.finish()
}

fn time(option: &str, text: Option<&str>, otherwise: i64) -> anyhow::Result<i64> {
    let Some(text) = text else { return Ok(otherwise) };
    let time = rest::time(text).with_context(|| format!("{option}: expected {}, got {text:?}", rest::TIME))?;
    Ok(time.0)
}

/// Rows of the windows as of the last checkpoint.
fn windows(data_dir: &Path, tenant: &Tenant, table: ExportTable, span: Span, sink: &mut Sink) -> anyhow::Result<()> {
    let directory = pipeline::directory(data_dir, tenant);
    let Some(window) = pipeline::peek(&directory)? else {
        bail!(
            "{}: there is no checkpoint yet; the first one is made about a minute after the start",
            directory.display()
        )
    };
    let snapshot = window.snapshot();
    let span = Span { floor: snapshot.floor.0, ..span };
    match table {
        ExportTable::Spans => events(SPANS, Part::Spans, snapshot.spans.iter().map(|c| c.batch()), span, sink),
        ExportTable::Logs => events(LOGS, Part::Logs, snapshot.logs.iter().map(|c| c.batch()), span, sink),
        _ => metrics(&snapshot, span, sink),
    }
}

fn columns(table: &str) -> anyhow::Result<(&'static Table, Vec<String>)> {
    let table = Table::named(table).context("the table is one of ours")?;
    Ok((table, table.columns.iter().map(|(name, _)| (*name).to_owned()).collect()))
}

fn metrics(snapshot: &Snapshot, span: Span, sink: &mut Sink) -> anyhow::Result<()> {
    let (table, wanted) = columns(METRICS)?;
    let rows: Vec<(SeriesId, &std::sync::Arc<Series>)> = snapshot.registry.iter().collect();
    let about = frames::described(&[source::series(&rows, &|_| true)?])?;
    let chunks = || snapshot.numbers.iter().map(|chunk| chunk.batch());
    let mut points = Points::of(chunks(), span);
    sink.write(table.empty())?;
    for chunk in chunks() {
        let rows = frames::beside(points.frame(chunk)?, about.clone());
        sink.write(frames::selected(rows, &wanted).collect()?)?;
    }
    Ok(())
}

fn events<'a>(
    table: &str,
    part: Part,
    chunks: impl Iterator<Item = &'a arrow_array::RecordBatch>,
    span: Span,
    sink: &mut Sink,
) -> anyhow::Result<()> {
    let (table, wanted) = columns(table)?;
    sink.write(table.empty())?;
    for chunk in chunks {
        let mut parts = frames::Parts::from([(part, vec![chunk.clone()])]);
        sink.write(frames::table(table, &wanted, &mut parts, span)?.collect()?)?;
    }
    Ok(())
}

/// Rollups whose bucket ends within the span, its start left out: `(from, to]`, as buckets are.
fn rollups(
    data_dir: &Path,
    tenant: &Tenant,
    resolution: Resolution,
    span: Span,
    sink: &mut Sink,
) -> anyhow::Result<()> {
    let directory = pipeline::history(data_dir, tenant);
    let history = History::peek(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    sink.write(frames::plain(&arrow_array::RecordBatch::new_empty(History::schema()))?)?;
    let Some((oldest, newest)) = history.span() else { return Ok(()) };
    let filter = Filter { name: None, holds: &|_| true };
    let (mut after, last) = (UnixNanos(span.from).max(oldest), UnixNanos(span.to).min(newest));
    while after < last {
        // To the end of a day, which may be one file.
        let until = UnixNanos(after.0 - after.0.rem_euclid(nanoseconds(STEP))).plus(STEP).min(last);
        for rows in history.batches(Ask { filter, after, until, resolution })? {
            sink.write(frames::plain(&rows)?)?;
        }
        after = until;
    }
    match history.stats().damaged_files {
        0 => Ok(()),
        files => bail!("{files} files of the history could not be read: they are damaged, or were merged meanwhile"),
    }
}

fn nanoseconds(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}

/// The file that is written, frame by frame.
struct Sink {
    path: PathBuf,
    format: ExportFormat,
    rows: u64,
    /// There once the first frame has said which columns there are.
    writer: Option<Writer>,
}

enum Writer {
    Csv(Box<BatchedWriter<File>>),
    Parquet(Box<ArrowWriter<File>>),
}

impl Sink {
    fn new(path: &Path, format: ExportFormat) -> Self {
        Self { path: path.to_owned(), format, rows: 0, writer: None }
    }

    fn write(&mut self, mut frame: DataFrame) -> anyhow::Result<()> {
        if self.writer.is_none() {
            let file = File::create(&self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
            self.writer = Some(Writer::new(file, self.format, &frame)?);
        }
        self.rows += frame.height() as u64;
        match &mut self.writer {
            Some(Writer::Csv(writer)) => writer.write_batch(&frame)?,
            Some(Writer::Parquet(writer)) => {
                for batch in batches(&mut frame)? {
                    writer.write(&batch?)?;
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Ends the file; the number of its rows.
    fn finish(self) -> anyhow::Result<u64> {
        match self.writer {
            Some(Writer::Csv(mut writer)) => writer.finish()?,
            Some(Writer::Parquet(writer)) => drop(writer.close()?),
            None => {}
        }
        Ok(self.rows)
    }
}

impl Writer {
    /// Writes frames with the columns of `frame`.
    fn new(file: File, format: ExportFormat, frame: &DataFrame) -> anyhow::Result<Self> {
        Ok(match format {
            ExportFormat::Csv => Self::Csv(Box::new(answer::csv_writer(file).batched(frame.schema())?)),
            ExportFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_created_by("bellwether".to_owned())
                    .build();
                let schema = batches(&mut frame.clone())?.schema();
                Self::Parquet(Box::new(ArrowWriter::try_new(file, schema, Some(properties))?))
            }
        })
    }
}

/// A frame as batches of Arrow: the Parquet writer is the one that the history uses, and Polars' own is not built.
fn batches(frame: &mut DataFrame) -> anyhow::Result<StreamReader<Cursor<Vec<u8>>>> {
    let mut stream = Vec::new();
    answer::arrow_into(frame, &mut stream)?;
    Ok(StreamReader::try_new(Cursor::new(stream), None)?)
}
