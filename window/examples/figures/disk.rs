//! Bytes on disk, and what reading them again costs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use bellwether_window::{Config, Point, SeriesId, UnixNanos, Window, WindowState, files::ChunkFiles};
use tempfile::TempDir;

use super::{cpu, push_round, register, resident};

/// Periods of a series in one checkpoint (a minute at ten seconds) and in a window (two hours).
const CHECKPOINT: u64 = 6;
const WINDOW: u32 = 720;

/// A table with a row for each directory in `dir`.
pub(crate) fn sets(dir: &str) -> io::Result<String> {
    let mut out = String::from(
        "| set | series | points | as written | in a window | all kept | one file |\n|---|---|---|---|---|---|---|\n",
    );
    let mut dirs: Vec<_> = fs::read_dir(dir)?.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_dir()).collect();
    dirs.sort();
    let (mut points, mut bytes) = (0.0, [0.0; 4]);
    for set in dirs {
        let (series, rows) = read(&set)?;
        let count = as_float(rows.len() as u64);
        let (written, steady) = run(series, &rows, Some(WINDOW))?;
        let (_, kept) = run(series, &rows, None)?;
        let one = one_file(series, &rows)?;
        points += count;
        for (sum, each) in bytes.iter_mut().zip([written, steady, kept, one]) {
            *sum += each * count;
        }
        let name = set.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(out, "| {name} | {series} | {count} | {written:.2} | {steady:.2} | {kept:.2} | {one:.2} |");
    }
    let [written, steady, kept, one] = bytes.map(|sum| sum / points);
    let _ = writeln!(out, "| all | | {points} | {written:.2} | {steady:.2} | {kept:.2} | {one:.2} |");
    Ok(out)
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows and bytes are far below 2^53")]
fn as_float(n: u64) -> f64 {
    n as f64
}

/// Number of series, and the points of all by time.
fn read(set: &Path) -> io::Result<(u32, Vec<Point>)> {
    let mut files: Vec<_> = fs::read_dir(set)?.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "csv"));
    files.sort();
    let (mut series, mut rows) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(file)?;
        let mut lines = text.lines();
        let columns: Vec<&str> = lines.next().unwrap_or("").split(',').collect();
        for line in lines {
            let mut cells = line.split(',');
            let Some(time) = cells.next().and_then(nanos) else { continue };
            for (column, cell) in (0..).zip(cells) {
                let is_value = columns.get(1 + column as usize).is_some_and(|name| *name != "label");
                if let Ok(value) = cell.parse()
                    && is_value
                {
                    rows.push(Point { series: SeriesId(series + column), time, value });
                }
            }
        }
        series += u32::try_from(columns.len()).unwrap_or(2) - 2;
    }
    rows.sort_by_key(|p| p.time);
    Ok((series, rows))
}

/// `2014-04-01T00:00:00Z`.
fn nanos(text: &str) -> Option<UnixNanos> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> { text.get(range)?.parse().ok() };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let seconds = number(11..13)? * 3_600 + number(14..16)? * 60 + number(17..19)?;
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Some(UnixNanos((days * 86_400 + seconds) * 1_000_000_000))
}

/// The most frequent distance between the times of a series.
fn period(rows: &[Point]) -> i64 {
    let mut last: BTreeMap<SeriesId, i64> = BTreeMap::new();
    let mut steps: BTreeMap<i64, usize> = BTreeMap::new();
    for p in rows.iter().take(200_000) {
        if let Some(before) = last.insert(p.series, p.time.0) {
            *steps.entry(p.time.0 - before).or_default() += 1;
        }
    }
    steps.into_iter().max_by_key(|(_, n)| *n).map_or(1_000_000_000, |(step, _)| step)
}

fn window(series: u32, span: Duration) -> Window {
    let mut window = Window::new(Config { span, max_bytes: 8 << 30, ..Config::default() });
    (0..series).for_each(|n| {
        register(&mut window, n);
    });
    window.keep_unsaved();
    window
}

/// Bytes a point as checkpoints are written, and of what is on disk: at the end where all is kept,
/// on average where only a window is.
fn run(series: u32, rows: &[Point], periods: Option<u32>) -> io::Result<(f64, f64)> {
    let period = Duration::from_nanos(period(rows).unsigned_abs());
    let span = periods.map_or(Duration::from_secs(1 << 33), |n| period * n);
    let step = period.as_nanos() * u128::from(CHECKPOINT);
    let mut window = window(series, span);
    let dir = TempDir::new()?;
    let (mut files, _) = ChunkFiles::open(dir.path())?;
    files.load(0)?;
    let (mut written, mut held, mut live) = (0, 0, 0);
    let mut first = 0;
    for (end, point) in rows.iter().enumerate() {
        window.push_point(*point);
        let mark = |p: &Point| u128::from(p.time.0.unsigned_abs()) / step;
        if rows.get(end + 1).is_some_and(|next| mark(next) == mark(point)) {
            continue;
        }
        window.seal();
        let before = files.bytes();
        let number = files.write(&window.take_unsaved())?;
        written += files.bytes() - before;
        let floor = window.snapshot().floor;
        files.commit(number, floor)?;
        while files.merge()? {}
        first += rows[first..=end].iter().take_while(|p| p.time <= floor).count();
        let all = (files.bytes(), (end + 1 - first) as u64);
        (held, live) = if periods.is_some() { (held + all.0, live + all.1) } else { all };
    }
    Ok((as_float(written) / as_float(rows.len() as u64), as_float(held) / as_float(live)))
}

/// Bytes a point when all rows are in one file.
fn one_file(series: u32, rows: &[Point]) -> io::Result<f64> {
    let mut window = window(series, Duration::from_secs(1 << 33));
    rows.iter().for_each(|p| window.push_point(*p));
    window.seal();
    let dir = TempDir::new()?;
    let (mut files, _) = ChunkFiles::open(dir.path())?;
    files.load(0)?;
    files.write(&window.take_unsaved())?;
    Ok(as_float(files.bytes()) / as_float(rows.len() as u64))
}

/// Ten million points of 10,000 series, written in checkpoints of a minute, and read again.
pub(crate) fn restart() -> io::Result<String> {
    let config = || Config { span: Duration::from_hours(4), max_bytes: 4 << 30, ..Config::default() };
    let mut window = Window::new(config());
    let series: Vec<SeriesId> = (0..10_000).map(|n| register(&mut window, n)).collect();
    window.keep_unsaved();
    let dir = TempDir::new()?;
    let (mut files, _) = ChunkFiles::open(dir.path())?;
    files.load(0)?;
    let (mut keeping, mut number, mut state) = (Duration::ZERO, 0, Vec::new());
    for round in 0..1_000 {
        push_round(&mut window, &series, round);
        if round % 6 == 5 || round == 999 {
            let began = cpu();
            let saved = window.state();
            number = files.write(&window.take_unsaved())?;
            state = postcard::to_stdvec(&saved).map_err(io::Error::other)?;
            files.commit(number, saved.floor())?;
            while files.merge()? {}
            keeping += cpu() - began;
        }
    }
    let rows = window.stats().rows[0];
    let (on_disk, count) = (files.bytes(), files.len());
    drop((window, files));
    let before = resident();
    let began = Instant::now();
    let (mut files, _) = ChunkFiles::open(dir.path())?;
    let (tables, _) = files.load(number)?;
    let loaded = began.elapsed();
    let state: WindowState = postcard::from_bytes(&state).map_err(io::Error::other)?;
    let window = Window::restore(config(), state, tables).map_err(io::Error::other)?;
    let restored = began.elapsed();
    assert_eq!(window.stats().rows[0], rows);
    Ok(format!(
        "{rows} points in {count} files, {on_disk} bytes: {:.2} a point. Written and merged in {keeping:.2?} CPU.\n\
         Loaded in {loaded:.2?}, window ready in {restored:.2?}, {} MiB more resident.\n",
        as_float(on_disk) / as_float(rows as u64),
        resident().saturating_sub(before) >> 20,
    ))
}
