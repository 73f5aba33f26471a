//! Rollups as Parquet: the schema, writing, and reading what may be damaged.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{
    Array, ArrayRef, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt64Array,
    builder::FixedSizeBinaryBuilder, cast::AsArray, types::TimestampNanosecondType,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::RowGroupMetaData,
        properties::{EnabledStatistics, WriterProperties},
        statistics::Statistics,
    },
    schema::types::ColumnPath,
};
use xxhash_rust::xxh3::Xxh3;

use super::{Filter, labels, name::FileName, rollup::RollupRow};
use crate::{Rollup, Series, SeriesKey, SeriesKind, Temporality, UnixNanos, columns};

/// Rows in a row group: what a reader of one name must decode at least.
const GROUP_ROWS: usize = 16_384;
/// Rows that are turned into Arrow at once.
const BATCH_ROWS: usize = 4_096;
/// What a file is called until it is whole.
pub(super) const UNFINISHED: &str = ".tmp";

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its bytes are not those that its name says")]
    Hash,
    #[error("it is not Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("it is not Parquet: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    #[error("its columns are not those of a history")]
    Schema,
    #[error("it holds a row that no points can give")]
    Row,
    #[error("reading it failed in an unforeseen way")]
    Panic,
}

const KINDS: [SeriesKind; 9] = [
    SeriesKind::Gauge,
    SeriesKind::Sum { monotonic: true, temporality: Temporality::Cumulative },
    SeriesKind::Sum { monotonic: true, temporality: Temporality::Delta },
    SeriesKind::Sum { monotonic: false, temporality: Temporality::Cumulative },
    SeriesKind::Sum { monotonic: false, temporality: Temporality::Delta },
    SeriesKind::Histogram { temporality: Temporality::Cumulative },
    SeriesKind::Histogram { temporality: Temporality::Delta },
    SeriesKind::Derived,
    SeriesKind::Published,
];

/// The columns of a history, as files and [`super::History::batches`] have them.
pub(super) fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new(columns::NAME, DataType::Utf8, false),
        Field::new(columns::KEY, DataType::FixedSizeBinary(16), false),
        Field::new(columns::BUCKET_END, time(), false),
        Field::new(columns::COUNT, DataType::UInt64, false),
        Field::new(columns::SUM, DataType::Float64, false),
        Field::new(columns::MIN, DataType::Float64, false),
        Field::new(columns::MAX, DataType::Float64, false),
        Field::new(columns::LAST, DataType::Float64, false),
        Field::new(columns::LAST_TIME, time(), false),
        Field::new(columns::ENDED, time(), true),
        Field::new(columns::LABELS, DataType::Utf8, false),
        Field::new(columns::SOURCE_NAME, DataType::Utf8, false),
        Field::new(columns::UNIT, DataType::Utf8, false),
        Field::new(columns::KIND, DataType::Utf8, false),
        Field::new(columns::SERVICE, DataType::Utf8, false),
    ]))
}

/// Rows as Arrow. Labels are a JSON object.
pub(super) fn batch(rows: &[RollupRow]) -> RecordBatch {
    let mut keys = FixedSizeBinaryBuilder::with_capacity(rows.len(), 16);
    let mut label_texts: Vec<String> = Vec::with_capacity(rows.len());
    for row in rows {
        keys.append_value(row.series.key.0.to_be_bytes()).expect("a key has 16 bytes");
        label_texts.push(labels::write(&row.series.labels));
    }
    let text =
        |of: fn(&RollupRow) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(of))) };
    let number = |of: fn(&Rollup) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| of(&row.rollup))))
    };
    let time = |of: fn(&RollupRow) -> Option<UnixNanos>| -> ArrayRef {
        let times: TimestampNanosecondArray = rows.iter().map(|row| of(row).map(|t| t.0)).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let arrays: Vec<ArrayRef> = vec![
        text(|row| &row.series.name),
        Arc::new(keys.finish()),
        time(|row| Some(row.end)),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.rollup.count))),
        number(Rollup::total),
        number(|r| r.min),
        number(|r| r.max),
        number(|r| r.last),
        time(|row| Some(row.rollup.last_time)),
        time(|row| row.rollup.ended),
        Arc::new(StringArray::from_iter_values(label_texts)),
        text(|row| &row.series.source_name),
        text(|row| &row.series.unit),
        text(|row| row.series.kind.as_str()),
        text(|row| &row.series.service),
    ];
    RecordBatch::try_new(schema(), arrays).expect("the columns are built by the schema")
}

fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("bellwether".to_owned());
    let encodings = [
        (Encoding::DELTA_BYTE_ARRAY, &[columns::KEY, columns::LABELS][..]),
        (Encoding::DELTA_BINARY_PACKED, &[columns::COUNT, columns::BUCKET_END, columns::LAST_TIME, columns::ENDED]),
        (Encoding::BYTE_STREAM_SPLIT, &[columns::SUM, columns::MIN, columns::MAX, columns::LAST]),
    ];
    for (encoding, names) in encodings {
        for name in names {
            let column = ColumnPath::from(*name);
            properties =
                properties.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column, encoding);
        }
    }
    properties.build()
}

/// A file whose bytes are hashed as they are written.
struct Hashed {
    file: BufWriter<File>,
    hash: Xxh3,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file under construction; rows come in the order of [`RollupRow::place`].
pub(super) struct FileWriter {
    directory: PathBuf,
    unfinished: PathBuf,
    writer: ArrowWriter<Hashed>,
    waiting: Vec<RollupRow>,
    rows: u64,
    span: Option<(UnixNanos, UnixNanos)>,
}

impl FileWriter {
    /// # Errors
    /// What the system said.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let unfinished = directory.join(format!("writing{UNFINISHED}"));
        let file = BufWriter::new(File::create(&unfinished)?);
        let hashed = Hashed { file, hash: Xxh3::new(), bytes: 0 };
        let writer = ArrowWriter::try_new(hashed, schema(), Some(properties())).map_err(io::Error::other)?;
        let (directory, waiting) = (directory.to_owned(), Vec::with_capacity(BATCH_ROWS));
        Ok(Self { directory, unfinished, writer, waiting, rows: 0, span: None })
    }

    /// # Errors
    /// What the system said.
    pub(super) fn push(&mut self, row: RollupRow) -> io::Result<()> {
        let (oldest, newest) = self.span.unwrap_or((row.end, row.end));
        self.span = Some((oldest.min(row.end), newest.max(row.end)));
        self.rows += 1;
        self.waiting.push(row);
        if self.waiting.len() >= BATCH_ROWS { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.writer.write(&batch(&self.waiting)).map_err(io::Error::other)?;
        self.waiting.clear();
        Ok(())
    }

    /// Makes the file durable under the name that `like` and its content give, and returns that and its
    /// size; `None` without rows.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn finish(mut self, like: FileName) -> io::Result<Option<(FileName, u64)>> {
        let Some((oldest, newest)) = self.span else {
            fs::remove_file(&self.unfinished)?;
            return Ok(None);
        };
        self.write()?;
        let Hashed { file, hash, bytes } = self.writer.into_inner().map_err(io::Error::other)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let from = oldest.minus(like.resolution.width());
        let name = FileName { from, to: newest, rows: self.rows, hash: hash.digest(), ..like };
        fs::rename(&self.unfinished, self.directory.join(name.text()))?;
        File::open(&self.directory)?.sync_all()?;
        Ok(Some((name, bytes)))
    }
}

/// Whether the bytes of the file are those that were written.
///
/// # Errors
/// [`FileError`], also when they are not.
pub(super) fn verify(path: &Path, expected: u64) -> Result<(), FileError> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Xxh3::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    if hash.digest() == expected { Ok(()) } else { Err(FileError::Hash) }
}

/// The rows of a file that a filter lets through, in order.
pub(super) struct FileRows<'f> {
    reader: ParquetRecordBatchReader,
    filter: Filter<'f>,
    span: (UnixNanos, UnixNanos),
    decoded: std::vec::IntoIter<RollupRow>,
    /// The series of the row before, and whether it is wanted.
    series: Option<(Arc<Series>, bool)>,
    texts: HashMap<Box<str>, Arc<str>, foldhash::fast::RandomState>,
}

/// Texts of a file that are kept to be shared between its series.
const MAX_TEXTS: usize = 4_096;

impl<'f> FileRows<'f> {
    /// The rows with `span.0 < end <= span.1`. The bytes have been verified.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn open(path: &Path, filter: Filter<'f>, span: (UnixNanos, UnixNanos)) -> Result<Self, FileError> {
        let file = File::open(path)?;
        let reader = guarded(|| {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
            if **builder.schema() != *schema() {
                return Err(FileError::Schema);
            }
            let groups = builder.metadata().row_groups().iter().enumerate();
            let wanted = groups.filter(|(_, group)| filter.name.is_none_or(|name| may_hold(group, name)));
            let wanted = wanted.map(|(i, _)| i).collect();
            Ok(builder.with_batch_size(BATCH_ROWS).with_row_groups(wanted).build()?)
        })?;
        let (decoded, texts) = (Vec::new().into_iter(), HashMap::default());
        Ok(Self { reader, filter, span, decoded, series: None, texts })
    }

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// [`FileError`].
    pub(super) fn next(&mut self) -> Result<Option<RollupRow>, FileError> {
        loop {
            if let Some(row) = self.decoded.next() {
                return Ok(Some(row));
            }
            let reader = &mut self.reader;
            let Some(batch) = guarded(|| Ok(reader.next().transpose()?))? else { return Ok(None) };
            self.decoded = self.decode(&batch)?.into_iter();
        }
    }

    fn decode(&mut self, batch: &RecordBatch) -> Result<Vec<RollupRow>, FileError> {
        let columns = Columns::of(batch)?;
        let mut rows = Vec::new();
        for i in 0..batch.num_rows() {
            let end = UnixNanos(columns.end.value(i));
            let name = columns.name.value(i);
            if end <= self.span.0 || end > self.span.1 || self.filter.name.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let key = columns.keys.value(i).try_into().map(u128::from_be_bytes).map_err(|_| FileError::Schema)?;
            if self.series.as_ref().is_none_or(|(series, _)| series.key.0 != key) {
                let series = Arc::new(self.series(&columns, i, SeriesKey(key))?);
                let is_wanted = (self.filter.holds)(&series);
                self.series = Some((series, is_wanted));
            }
            let Some((series, true)) = &self.series else { continue };
            let ended = columns.ended.is_valid(i).then(|| UnixNanos(columns.ended.value(i)));
            let numbers = columns.numbers.map(|column| column.value(i));
            let last_time = UnixNanos(columns.last_time.value(i));
            let rollup = Rollup::read(columns.count.value(i), numbers, last_time, ended).ok_or(FileError::Row)?;
            rows.push(RollupRow { series: Arc::clone(series), end, rollup });
        }
        Ok(rows)
    }

    fn series(&mut self, columns: &Columns<'_>, i: usize, key: SeriesKey) -> Result<Series, FileError> {
        let labels = labels::read(columns.labels.value(i)).ok_or(FileError::Row)?;
        let kind = columns.kind.value(i);
        let kind = KINDS.iter().find(|known| known.as_str() == kind).ok_or(FileError::Row)?;
        Ok(Series {
            key,
            name: self.text(columns.name.value(i)),
            source_name: self.text(columns.source_name.value(i)),
            unit: self.text(columns.unit.value(i)),
            kind: *kind,
            labels,
            service: self.text(columns.service.value(i)),
        })
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        if self.texts.len() < MAX_TEXTS {
            self.texts.insert(text.into(), Arc::clone(&shared));
        }
        shared
    }
}

/// Bytes that were verified are those that were written, so that nothing should go wrong here; a
/// file that changes while it is read must not take the service with it all the same.
fn guarded<T>(work: impl FnOnce() -> Result<T, FileError>) -> Result<T, FileError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(FileError::Panic))
}

/// Whether a row group may hold rows of `name`: they are sorted by it.
fn may_hold(group: &RowGroupMetaData, name: &str) -> bool {
    let Some(Statistics::ByteArray(statistics)) = group.columns().first().and_then(|column| column.statistics()) else {
        return true;
    };
    let (Some(min), Some(max)) = (statistics.min_opt(), statistics.max_opt()) else { return true };
    let name = name.as_bytes();
    min.data() <= name && (name <= max.data() || !statistics.max_is_exact())
}

struct Columns<'b> {
    name: &'b StringArray,
    keys: &'b arrow_array::FixedSizeBinaryArray,
    end: &'b TimestampNanosecondArray,
    count: &'b UInt64Array,
    /// `sum`, `min`, `max`, `last`.
    numbers: [&'b Float64Array; 4],
    last_time: &'b TimestampNanosecondArray,
    ended: &'b TimestampNanosecondArray,
    labels: &'b StringArray,
    source_name: &'b StringArray,
    unit: &'b StringArray,
    kind: &'b StringArray,
    service: &'b StringArray,
}

impl<'b> Columns<'b> {
    fn of(batch: &'b RecordBatch) -> Result<Self, FileError> {
        let column = |name: &str| batch.column_by_name(name).ok_or(FileError::Schema);
        let text = |name| column(name)?.as_string_opt::<i32>().ok_or(FileError::Schema);
        let number = |name| column(name)?.as_primitive_opt().ok_or(FileError::Schema);
        let time = |name| column(name)?.as_primitive_opt::<TimestampNanosecondType>().ok_or(FileError::Schema);
        Ok(Self {
            name: text(columns::NAME)?,
            keys: column(columns::KEY)?.as_fixed_size_binary_opt().ok_or(FileError::Schema)?,
            end: time(columns::BUCKET_END)?,
            count: column(columns::COUNT)?.as_primitive_opt().ok_or(FileError::Schema)?,
            numbers: [number(columns::SUM)?, number(columns::MIN)?, number(columns::MAX)?, number(columns::LAST)?],
            last_time: time(columns::LAST_TIME)?,
            ended: time(columns::ENDED)?,
            labels: text(columns::LABELS)?,
            source_name: text(columns::SOURCE_NAME)?,
            unit: text(columns::UNIT)?,
            kind: text(columns::KIND)?,
            service: text(columns::SERVICE)?,
        })
    }
}
