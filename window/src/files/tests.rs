use std::{sync::Arc, time::Duration};

use arrow_array::RecordBatch;
use tempfile::TempDir;

use super::*;
use crate::{
    Buckets, Config, Exemplar, ExpBuckets, HistogramRow, LogChunk, LogColumns, LogRow, Point, SeriesId, SpanChunk,
    SpanColumns, SpanRow, SpanStatus, Window,
};

fn at(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn histogram(s: i64, buckets: Buckets) -> HistogramRow {
    let (series, time) = (SeriesId(3), at(s));
    HistogramRow { series, time, start: None, count: 3, sum: Some(-0.5), min: None, max: Some(9.0), buckets }
}

/// Something of every table, different every second.
fn push(window: &mut Window, s: i64) {
    let n = u32::try_from(s).expect("is small");
    for series in 0..5 {
        window.push_point(Point { series: SeriesId(series), time: at(s), value: f64::from(n * series) / 8.0 });
    }
    let counts: Box<[u64]> = [1, 2, n.into()].into();
    window.push_histogram(histogram(s, Buckets::Explicit { bounds: [0.5, 2.0].into(), counts: counts.clone() }));
    let positive = ExpBuckets { offset: -3, counts };
    let negative = ExpBuckets::default();
    let exponential = Buckets::Exponential { scale: 4, zero_count: 1, zero_threshold: 1e-9, positive, negative };
    window.push_histogram(HistogramRow { series: SeriesId(4), ..histogram(s, exponential) });
    window.push_histogram(HistogramRow { time: at(s).plus(Duration::from_nanos(1)), ..histogram(s, Buckets::Ended) });
    let mut spans = SpanColumns::default();
    spans.set_origin("shop", b"resource", b"scope");
    let name = format!("GET /{}", s % 3);
    let status = SpanStatus::from_wire(i32::try_from(s % 3).expect("is small"));
    let trace_id = [u8::try_from(s % 200).expect("is small"); 16];
    let span = SpanRow {
        start: at(s - 1),
        end: at(s),
        name: &name,
        status,
        trace_id,
        attributes: b"abc",
        ..SpanRow::default()
    };
    spans.push(&span).expect("has room");
    window.push_spans(&spans);
    let mut logs = LogColumns::default();
    logs.set_origin("shop", b"resource", b"");
    logs.push(&LogRow { time: at(s), body: &name, severity: 9, trace_id, ..LogRow::default() }).expect("has room");
    window.push_logs(&logs);
    window.push_exemplar(Exemplar { series: SeriesId(1), time: at(s), value: f64::from(n), trace_id, span_id: [7; 8] });
}

/// Every row as text, in the order of the chunks, and every number once.
fn rows(tables: &Tables) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    all.extend(tables.numbers.iter().flat_map(|c| c.iter()).map(|p| format!("{p:?}")));
    all.extend(tables.histograms.iter().flat_map(|c| c.iter()).map(|h| format!("{h:?}")));
    all.sort();
    let mut spans = SpanColumns::default();
    tables.spans.iter().for_each(|c| spans.push_chunk(c).expect("has room"));
    all.extend((0..spans.len()).map(|row| format!("{:?} {:?}", spans.get(row), spans.origin(row))));
    let mut logs = LogColumns::default();
    tables.logs.iter().for_each(|c| logs.push_chunk(c).expect("has room"));
    all.extend((0..logs.len()).map(|row| format!("{:?} {:?}", logs.get(row), logs.origin(row))));
    all.extend(tables.exemplars.iter().flat_map(|rows| rows.iter()).map(|row| format!("{row:?}")));
    all
}

fn open(dir: &TempDir, checkpoint: u64) -> (ChunkFiles, Tables, Vec<Damage>) {
    let (mut files, mut damages) = ChunkFiles::open(dir.path()).expect("is a directory");
    let (tables, more) = files.load(checkpoint).expect("can be read");
    damages.extend(more);
    (files, tables, damages)
}

/// A checkpoint of `seconds`, sealed each second; returns its rows.
fn checkpoint(files: &mut ChunkFiles, seconds: std::ops::Range<i64>) -> (u64, Tables) {
    let mut window = Window::new(Config::default());
    window.keep_unsaved();
    for s in seconds {
        push(&mut window, s);
        window.seal();
    }
    let tables = window.take_unsaved();
    (files.write(&tables).expect("there is room"), tables)
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).expect("is a directory");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("is there").file_name().into_string().expect("is text")).collect();
    names.sort();
    names
}

#[test]
fn what_counts_comes_back_and_what_does_not_is_removed() {
    let dir = TempDir::new().expect("has room");
    let (mut files, none, _) = open(&dir, 0);
    assert!(none.is_empty() && files.is_empty());
    let (first, written) = checkpoint(&mut files, 0..50);
    files.commit(first, UnixNanos::MIN).expect("is there");
    let (second, _) = checkpoint(&mut files, 50..60);
    assert_eq!((first, second, files.len()), (1, 2, 12));
    assert_eq!(
        files.bytes(),
        names(&dir).iter().map(|n| fs::metadata(dir.path().join(n)).expect("is there").len()).sum()
    );
    let (files, read, damages) = open(&dir, first);
    assert_eq!((rows(&read), damages), (rows(&written), vec![]));
    assert_eq!((files.len(), names(&dir).len()), (6, 6));
}

#[test]
fn full_heads_of_spans_and_logs_are_files_of_their_own_and_small_ones_share_one() {
    let dir = TempDir::new().expect("has room");
    let (mut files, _, _) = open(&dir, 0);
    let attributes = vec![7; 1 << 20];
    let mut tables = Tables::default();
    for mib in [1, 1, 12, 1, 9] {
        let (mut spans, mut logs) = (SpanColumns::default(), LogColumns::default());
        spans.set_origin("shop", b"resource", b"scope");
        logs.set_origin("shop", b"resource", b"");
        for s in 0..mib {
            let attributes = &attributes[..(1 << 20) - usize::try_from(s).expect("is small")];
            spans.push(&SpanRow { start: at(s), end: at(s), attributes, ..SpanRow::default() }).expect("has room");
            logs.push(&LogRow { time: at(s), body: "priced", attributes, ..LogRow::default() }).expect("has room");
        }
        tables.spans.extend(SpanChunk::seal(spans).map(Arc::new));
        tables.logs.extend(LogChunk::seal(logs).map(Arc::new));
    }
    let number = files.write(&tables).expect("there is room");
    files.commit(number, UnixNanos::MIN).expect("is there");
    let (files, read, damages) = open(&dir, number);
    assert_eq!((files.len(), damages), (8, vec![]));
    let lengths = |batches: Vec<&RecordBatch>| batches.iter().map(|batch| batch.num_rows()).collect::<Vec<_>>();
    assert_eq!(lengths(read.spans.iter().map(|c| c.batch()).collect()), [2, 12, 1, 9]);
    assert_eq!(lengths(read.logs.iter().map(|c| c.batch()).collect()), [2, 12, 1, 9]);
    for (read_from, written) in [(1, 2), (2, 3), (3, 4)] {
        assert!(read.spans[read_from].batch() == tables.spans[written].batch());
        assert!(read.logs[read_from].batch() == tables.logs[written].batch());
    }
}

#[test]
fn a_checkpoint_that_does_not_count_is_replaced_by_the_next() {
    let dir = TempDir::new().expect("has room");
    let (mut files, _, _) = open(&dir, 0);
    checkpoint(&mut files, 0..5);
    let (number, written) = checkpoint(&mut files, 0..9);
    files.commit(number, UnixNanos::MIN).expect("is there");
    assert_eq!((number, rows(&open(&dir, number).1)), (1, rows(&written)));
}

#[test]
fn small_files_are_merged_and_a_crash_in_between_loses_and_repeats_nothing() {
    let dir = TempDir::new().expect("has room");
    let (mut files, _, _) = open(&dir, 0);
    let mut all = Tables::default();
    for i in 0..8 {
        let (number, tables) = checkpoint(&mut files, i * 10..i * 10 + 10);
        files.commit(number, UnixNanos::MIN).expect("is there");
        all.extend(tables);
    }
    let merges_of_two = 7 * 6;
    let parts: Vec<(String, Vec<u8>)> =
        names(&dir).into_iter().map(|n| (n.clone(), fs::read(dir.path().join(&n)).expect("is there"))).collect();
    let mut merges = 0;
    while files.merge().expect("there is room") {
        merges += 1;
    }
    assert_eq!((merges, names(&dir).len()), (merges_of_two, 6));
    let merged = names(&dir);
    // The merged files are there, and their parts are not removed yet.
    parts.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).expect("there is room"));
    let (_, read, damages) = open(&dir, 8);
    assert_eq!((rows(&read), damages), (rows(&all), vec![]));
    assert_eq!(names(&dir), merged, "parts are removed");
    // A merged file that is damaged while its parts are there is made up for by them.
    parts.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).expect("there is room"));
    merged.iter().for_each(|name| fs::write(dir.path().join(name), b"torn").expect("there is room"));
    let (_, read, damages) = open(&dir, 8);
    assert_eq!((rows(&read), damages.len()), (rows(&all), 6));
}

#[test]
fn files_behind_the_floor_are_removed() {
    let dir = TempDir::new().expect("has room");
    let (mut files, _, _) = open(&dir, 0);
    for i in 0..3 {
        let (number, _) = checkpoint(&mut files, i * 10..i * 10 + 10);
        files.commit(number, at(19)).expect("is there");
    }
    assert_eq!(rows(&open(&dir, 3).1).iter().filter(|r| r.contains("span_id: [7")).count(), 10);
    assert_eq!(files.len(), 6 + 1, "the end of a series is a nanosecond newer");
}

/// Row C3: a flipped bit anywhere, and a file cut anywhere, is found before anything is believed.
#[test]
fn a_flipped_bit_or_a_cut_in_any_region_of_any_file_is_found() {
    let dir = TempDir::new().expect("has room");
    let (mut files, _, _) = open(&dir, 0);
    let (number, _) = checkpoint(&mut files, 0..20);
    files.commit(number, UnixNanos::MIN).expect("is there");
    for name in names(&dir) {
        let path = dir.path().join(&name);
        let whole = fs::read(&path).expect("is there");
        let regions = 97;
        for region in 0..regions {
            let place = region * (whole.len() - 1) / (regions - 1);
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (region % 8);
            for bytes in [&flipped[..], &whole[..place]] {
                fs::write(&path, bytes).expect("there is room");
                let (files, _, damages) = open(&dir, number);
                assert_eq!((damages.len(), files.len()), (1, 5), "{name} at {place}");
                assert_eq!(damages[0].path, path);
            }
        }
        fs::write(&path, &whole).expect("there is room");
    }
    assert_eq!(open(&dir, number).2, []);
}

/// Two hours of one series at ten seconds, to three digits.
#[test]
fn few_rows_take_few_bytes() {
    let dir = TempDir::new().expect("has room");
    let (mut files, _, _) = open(&dir, 0);
    let mut window = Window::new(Config::default());
    window.keep_unsaved();
    for s in 0..720_i64 {
        let noise = (s + 1).cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        let value = f64::from(u32::try_from(noise).expect("is small")) / 1_000.0;
        window.push_point(Point { series: SeriesId(7), time: at(s * 10), value });
    }
    window.seal();
    let tables = window.take_unsaved();
    let number = files.write(&tables).expect("there is room");
    files.commit(number, UnixNanos::MIN).expect("is there");
    assert!(files.bytes() < 3 * 720, "{} bytes", files.bytes());
    assert_eq!(rows(&open(&dir, number).1), rows(&tables));
}

#[test]
fn a_damaged_file_can_be_set_aside() {
    let dir = TempDir::new().expect("has room");
    let (mut files, _, _) = open(&dir, 0);
    let (number, _) = checkpoint(&mut files, 0..3);
    files.commit(number, UnixNanos::MIN).expect("is there");
    let name = names(&dir).remove(0);
    fs::rename(dir.path().join(&name), dir.path().join("exemplars-of-old.arrow")).expect("is there");
    fs::write(dir.path().join("numbers-1.tmp"), b"half").expect("there is room");
    let (_, _, damages) = open(&dir, number);
    assert_eq!(damages.len(), 1, "{damages:?}");
    damages[0].set_aside().expect("is there");
    let (files, _, damages) = open(&dir, number);
    assert_eq!((damages, files.len()), (vec![], 5));
    assert!(names(&dir).contains(&"exemplars-of-old.arrow.damaged".to_owned()));
    assert!(!names(&dir).contains(&"numbers-1.tmp".to_owned()));
}

#[test]
fn files_that_are_newer_than_the_state_are_reported_and_left() {
    let dir = TempDir::new().expect("has room");
    let (mut files, _, _) = open(&dir, 0);
    for i in 0..3 {
        let (number, _) = checkpoint(&mut files, i..i + 1);
        files.commit(number, UnixNanos::MIN).expect("is there");
    }
    let (mut files, tables, damages) = open(&dir, 1);
    assert_eq!((tables.logs.len(), damages.len()), (1, 6), "the second checkpoint is taken for an unfinished one");
    let (number, _) = checkpoint(&mut files, 9..10);
    assert_eq!(number, 4);
}

#[test]
fn what_cannot_be_written_can_be_written_later() {
    let dir = TempDir::new().expect("has room");
    let place = dir.path().join("chunks");
    let (mut files, _) = ChunkFiles::open(&place).expect("is a directory");
    files.load(0).expect("is empty");
    fs::remove_dir(&place).expect("is empty");
    let none = Tables::default();
    assert!(files.write(&none).is_err(), "there is no directory");
    fs::create_dir(&place).expect("there is room");
    let (number, written) = checkpoint(&mut files, 0..3);
    files.commit(number, UnixNanos::MIN).expect("is there");
    let (mut files, _) = ChunkFiles::open(&place).expect("is a directory");
    assert_eq!(rows(&files.load(number).expect("can be read").0), rows(&written));
}

#[test]
fn peeking_reads_what_loading_reads_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let (mut files, _, _) = open(&dir, 0);
    let (first, _) = checkpoint(&mut files, 0..5);
    files.commit(first, UnixNanos::MIN).expect("can be committed");
    let (second, _) = checkpoint(&mut files, 5..10);
    files.commit(second, UnixNanos::MIN).expect("can be committed");
    let parts: Vec<(String, Vec<u8>)> = names(&dir)
        .into_iter()
        .map(|name| (name.clone(), fs::read(dir.path().join(name)).expect("is readable")))
        .collect();
    while files.merge().expect("can be merged") {}
    // As a crash right after a merge would leave it, with a checkpoint that was begun.
    for (name, bytes) in parts {
        fs::write(dir.path().join(name), bytes).expect("can be written");
    }
    checkpoint(&mut files, 10..15);
    fs::write(dir.path().join("writing.tmp"), b"begun").expect("can be written");
    let before = names(&dir);
    let (peeked, damages) = peek(dir.path(), second).expect("can be read");
    assert_eq!((damages, names(&dir)), (Vec::new(), before));
    let (_, loaded, _) = open(&dir, second);
    assert_eq!(rows(&peeked), rows(&loaded));
    assert!(!rows(&peeked).is_empty());
}
