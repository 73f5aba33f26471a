use std::{collections::BTreeMap, ops::ControlFlow};

use proptest::prelude::{Strategy, any, prop, proptest};
use tempfile::TempDir;

use super::*;
use crate::{Config, Labels, Point, Sample, SeriesId, SeriesKey, SeriesKind, Window};

const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn directory() -> TempDir {
    tempfile::tempdir().expect("there is a temporary directory")
}

/// A window of two hours that keeps a history in a directory.
struct Kept {
    window: Window,
}

impl Kept {
    fn open(directory: &Path, config: HistoryConfig) -> Self {
        let window = Window::new(Config { series_idle: Duration::from_hours(2), ..Config::default() });
        Self::attach(window, directory, config)
    }

    fn attach(mut window: Window, directory: &Path, config: HistoryConfig) -> Self {
        let historian = Historian::start(directory, config).expect("the directory can be read");
        window.attach(historian);
        Self { window }
    }

    fn describe(key: u128) -> Series {
        Series {
            key: SeriesKey(key),
            name: format!("m{}", key % 3).into(),
            source_name: "m".into(),
            unit: "s".into(),
            kind: SeriesKind::Gauge,
            labels: Labels::from_pairs([("k", format!("\"{key}\\é"))]),
            service: "shop".into(),
        }
    }

    fn series(&mut self, key: u128) -> SeriesId {
        self.window.registry_mut().find_or_add(SeriesKey(key), || Self::describe(key)).expect("below the limit")
    }

    fn push(&mut self, key: u128, time: i64, value: f64) {
        let series = self.series(key);
        self.window.push_point(Point { series, time: UnixNanos(time), value });
    }

    fn rows(&mut self, resolution: Resolution) -> Vec<RollupRow> {
        let snapshot = self.window.seal();
        let ask = Ask { filter: ALL, after: UnixNanos::MIN, until: UnixNanos::MAX, resolution };
        read(&snapshot, &ask)
    }

    /// Restarts the service: as after `kill -9`, or after an orderly end. Windows are restored.
    fn restart(mut self, directory: &Path, config: HistoryConfig, is_killed: bool) -> Self {
        let snapshot = self.window.seal();
        let historian = self.window.detach().expect("has one");
        if is_killed {
            // What came later than the windows reach back is in the history only, once it is written.
            historian.flush(snapshot.past.as_ref().expect("has one").seam(Resolution::FiveMinutes));
            historian.kill();
        } else {
            drop(historian);
        }
        let mut window = Window::new(Config::default());
        for (id, series) in snapshot.registry.iter() {
            let again = window.registry_mut().find_or_add(series.key, || (**series).clone()).expect("below the limit");
            let mut samples = Vec::new();
            snapshot.samples_into(id, UnixNanos::MIN, UnixNanos::MAX, &mut samples);
            for Sample { time, value } in samples {
                window.push_point(Point { series: again, time, value });
            }
        }
        window.seal();
        Self::attach(window, directory, config)
    }
}

const ALL: Filter<'_> = Filter { name: None, holds: &|_| true };

fn read(snapshot: &Snapshot, ask: &Ask<'_>) -> Vec<RollupRow> {
    let mut rows = Vec::new();
    let past = snapshot.past.as_ref().expect("there is a history");
    let visit = &mut |row| {
        rows.push(row);
        ControlFlow::Continue(())
    };
    past.read(ask, visit).expect("can be read");
    rows
}

/// What rollups must say, from all points at once.
fn naive(points: &[(u128, i64, f64)], width: i64) -> BTreeMap<(u128, i64), Vec<(i64, f64)>> {
    let mut buckets: BTreeMap<(u128, i64), Vec<(i64, f64)>> = BTreeMap::new();
    for (key, time, value) in points {
        let end = (time + width - 1).div_euclid(width) * width;
        buckets.entry((*key, end)).or_default().push((*time, *value));
    }
    buckets.values_mut().for_each(|points| points.sort_by_key(|(time, _)| *time));
    buckets
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

fn check(rows: &[RollupRow], points: &[(u128, i64, f64)], width: i64) {
    let expected = naive(points, width);
    let keys: Vec<(u128, i64)> = rows.iter().map(|row| (row.series.key.0, row.end.0)).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected.keys().copied().collect::<Vec<_>>());
    for (key, row) in keys.iter().zip(rows) {
        let values = &expected[key];
        let (newest, last) = values[values.len() - 1];
        let of = |pick: fn(f64, f64) -> f64| values.iter().map(|(_, v)| *v).reduce(pick).expect("has values");
        let rollup = &row.rollup;
        assert_eq!(rollup.count, values.len() as u64, "{row:?}");
        assert_eq!((rollup.last_time.0, rollup.last.to_bits()), (newest, last.to_bits()), "{row:?}");
        assert_eq!((rollup.min.to_bits(), rollup.max.to_bits()), (of(f64::min).to_bits(), of(f64::max).to_bits()));
        assert!(close(rollup.total(), of(|a, b| a + b)), "{row:?}");
    }
}

/// What happens to a history.
#[derive(Clone, Debug)]
enum Event {
    /// A point, so many seconds later than the newest (or earlier).
    Point {
        key: u128,
        ahead: i64,
        value: f64,
    },
    Seal,
    Restart {
        is_killed: bool,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let ahead = proptest::prop_oneof![
        8 => 0_i64..200,
        2 => 200_i64..4_000,
        2 => -3_000_i64..0,
        1 => -20_000_i64..0,
    ];
    let point = (0_u128..5, ahead, -1_000_i32..1_000);
    proptest::prop_oneof![
        30 => point.prop_map(|(key, ahead, value)| Event::Point { key, ahead, value: f64::from(value) / 8.0 }),
        4 => proptest::strategy::Just(Event::Seal),
        1 => any::<bool>().prop_map(|is_killed| Event::Restart { is_killed }),
    ]
}

/// A day's points of a few series, and two hours more so that all of the day is written.
fn a_day(kept: &mut Kept, series: u128) -> Vec<(u128, i64, f64)> {
    let mut points = Vec::new();
    for step in 0..26 * 60 {
        let time = 20 * DAY + step * MINUTE + 1;
        for key in 0..series {
            let wave = f64::from(i32::try_from(step).expect("is small")).sin();
            points.push((key, time, (wave * 1e4).round() / 100.0));
        }
        points.iter().skip(points.len() - usize::try_from(series).expect("is small")).for_each(|(key, time, value)| {
            kept.push(*key, *time, *value);
        });
        if step % 5 == 0 {
            kept.window.seal();
        }
    }
    kept.window.seal();
    points
}

fn names(directory: &Path) -> Vec<name::FileName> {
    let files = std::fs::read_dir(directory).expect("is there").map(|e| e.expect("is readable").file_name());
    files.map(|name| name::FileName::parse(name.to_str().expect("is text")).expect("is a name")).collect()
}

#[test]
fn complete_hours_become_one_file_and_complete_days_are_summed_up() {
    let place = directory();
    let mut kept = Kept::open(place.path(), HistoryConfig::default());
    let points = a_day(&mut kept, 5);
    let rows = kept.rows(Resolution::Hour);
    let summed_up = rows.iter().filter(|row| row.end.0 <= 21 * DAY).count();
    assert_eq!(summed_up, 5 * 24, "one row an hour and series");
    check(&by_hour(rows), &points, HOUR);
    let (hours, days): (Vec<_>, Vec<_>) =
        names(place.path()).into_iter().partition(|name| name.resolution == Resolution::FiveMinutes);
    assert_eq!(days.len(), 1);
    let of_the_day = |name: &&name::FileName| name.to.0 <= 21 * DAY;
    assert_eq!(hours.iter().filter(of_the_day).count(), 24, "{hours:?}");
    // A late point changes the day.
    kept.push(0, 20 * DAY + 1_000, 1e6);
    kept.push(0, 22 * DAY + 3 * HOUR, 0.0);
    let late = kept.rows(Resolution::Hour);
    assert!(late.iter().any(|row| row.end.0 <= 20 * DAY + HOUR && row.rollup.max.to_bits() == 1e6_f64.to_bits()));
}

#[test]
fn what_is_too_old_or_too_much_is_let_go_and_stays_gone() {
    let place = directory();
    let config = HistoryConfig { retention: Duration::from_hours(6), ..HistoryConfig::default() };
    let mut kept = Kept::open(place.path(), config.clone());
    a_day(&mut kept, 3);
    let oldest = kept.rows(Resolution::FiveMinutes)[0].end.0;
    assert!(oldest > 20 * DAY + 18 * HOUR && oldest <= 20 * DAY + 20 * HOUR, "{oldest}");
    let history = kept.window.seal().past.expect("there is a history").history().clone();
    let dropped = history.stats().dropped_points;
    kept.push(0, 20 * DAY + 5, 1.0);
    kept.window.seal();
    assert_eq!(kept.rows(Resolution::FiveMinutes)[0].end.0, oldest, "it is too old to be taken");
    assert_eq!(history.stats().dropped_points, dropped + 1);
    drop(kept);
    let config = HistoryConfig { max_bytes: history.stats().bytes / 2, ..config };
    let mut kept = Kept::open(place.path(), config.clone());
    kept.push(0, 21 * DAY + 4 * HOUR, 1.0);
    assert!(kept.rows(Resolution::FiveMinutes)[0].end.0 > oldest, "half of it has gone");
    let on_disk: u64 = std::fs::read_dir(place.path()).expect("is there").map(size).sum();
    assert!(on_disk <= config.max_bytes, "{on_disk}");
}

fn size(entry: io::Result<std::fs::DirEntry>) -> u64 {
    entry.and_then(|entry| entry.metadata()).expect("is readable").len()
}

/// Calls `change` with the bytes of the oldest file, which then has the name that `change` gives it.
fn tamper(directory: &Path, change: impl FnOnce(&mut Vec<u8>, name::FileName) -> name::FileName) {
    let name = names(directory).into_iter().min_by_key(|name| name.to).expect("there are files");
    let mut bytes = std::fs::read(directory.join(name.text())).expect("is readable");
    std::fs::remove_file(directory.join(name.text())).expect("is there");
    let changed = change(&mut bytes, name);
    std::fs::write(directory.join(changed.text()), bytes).expect("is writable");
}

#[test]
fn a_damaged_file_is_left_out_and_reported() {
    let place = directory();
    let mut kept = Kept::open(place.path(), HistoryConfig::default());
    let points = a_day(&mut kept, 2);
    drop(kept);
    for damage in 0..4_usize {
        let copy = directory();
        for name in names(place.path()) {
            std::fs::copy(place.path().join(name.text()), copy.path().join(name.text())).expect("has room");
        }
        tamper(copy.path(), |bytes, name| {
            match damage {
                0 => bytes.truncate(bytes.len() / 2),
                1 => bytes.clear(),
                2 => bytes.extend([0]),
                _ => bytes.iter_mut().skip(40).take(1).for_each(|byte| *byte ^= 1),
            }
            name
        });
        let mut kept = Kept::open(copy.path(), HistoryConfig::default());
        let rest: Vec<_> = points.iter().copied().filter(|(_, time, _)| *time > 20 * DAY + HOUR).collect();
        check(&kept.rows(Resolution::FiveMinutes), &rest, 5 * MINUTE);
        let stats = kept.window.seal().past.expect("there is a history").history().stats();
        assert_eq!(stats.damaged_files, 1, "damage {damage}");
    }
}

#[test]
fn bytes_that_were_forged_do_no_harm() {
    let place = directory();
    let mut kept = Kept::open(place.path(), HistoryConfig::default());
    a_day(&mut kept, 2);
    drop(kept);
    let mut random = 7_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("has 31 bits")
    };
    let name = names(place.path()).into_iter().min_by_key(|name| name.to).expect("there are files");
    let whole = std::fs::read(place.path().join(name.text())).expect("is readable");
    for round in 0..150 {
        let forged = directory();
        let mut bytes = whole.clone();
        for _ in 0..=round % 4 {
            // The last kilobytes say where everything is.
            let tail = bytes.len().min(4_096);
            let at = if round % 2 == 0 { bytes.len() - 1 - next() % tail } else { next() % bytes.len() };
            bytes[at] = u8::try_from(next() % 256).expect("is a byte");
        }
        let name = name::FileName { hash: xxhash_rust::xxh3::xxh3_64(&bytes), ..name };
        std::fs::write(forged.path().join(name.text()), bytes).expect("is writable");
        let mut kept = Kept::open(forged.path(), HistoryConfig::default());
        // Whatever is answered, the service goes on.
        kept.rows(Resolution::FiveMinutes);
        kept.push(0, 30 * DAY, 1.0);
        assert!(kept.rows(Resolution::FiveMinutes).iter().any(|row| row.end.0 == 30 * DAY));
    }
}

#[test]
fn files_that_a_killed_run_had_merged_or_begun_count_once() {
    let place = directory();
    let mut kept = Kept::open(place.path(), HistoryConfig::default());
    let mut points = a_day(&mut kept, 2);
    // Parts of the newest hour, before they are merged.
    kept.push(0, 21 * DAY + 2 * HOUR, 3.0);
    points.push((0, 21 * DAY + 2 * HOUR, 3.0));
    kept.rows(Resolution::FiveMinutes);
    let before: Vec<(String, Vec<u8>)> = names(place.path())
        .into_iter()
        .map(|name| (name.text(), std::fs::read(place.path().join(name.text())).expect("is readable")))
        .collect();
    kept.push(0, 21 * DAY + 4 * HOUR, 4.0);
    points.push((0, 21 * DAY + 4 * HOUR, 4.0));
    kept.rows(Resolution::FiveMinutes);
    drop(kept);
    for (name, bytes) in &before {
        std::fs::write(place.path().join(name), bytes).expect("has room");
    }
    std::fs::write(place.path().join("writing.tmp"), b"PAR1").expect("has room");
    std::fs::write(place.path().join("notes.txt"), b"mine").expect("has room");
    let mut kept = Kept::open(place.path(), HistoryConfig::default());
    check(&kept.rows(Resolution::FiveMinutes), &points, 5 * MINUTE);
    assert!(!place.path().join("writing.tmp").exists() && place.path().join("notes.txt").exists());
}

#[test]
fn peeking_reads_what_is_written_and_changes_nothing() {
    let place = directory();
    let mut kept = Kept::open(place.path(), HistoryConfig::default());
    a_day(&mut kept, 2);
    // Asking waits until all that was handed over is written.
    kept.rows(Resolution::FiveMinutes);
    let before: Vec<(String, Vec<u8>)> = names(place.path())
        .into_iter()
        .map(|name| (name.text(), std::fs::read(place.path().join(name.text())).expect("is readable")))
        .collect();
    kept.push(0, 22 * DAY, 3.0);
    let rows = kept.rows(Resolution::FiveMinutes);
    let open = kept.window.seal().past.expect("there is a history").history().stats().open_rows;
    // Parts that were merged come back, and something is being written.
    for (name, bytes) in &before {
        std::fs::write(place.path().join(name), bytes).expect("has room");
    }
    std::fs::write(place.path().join("writing.tmp"), b"PAR1").expect("has room");
    let listed = || {
        let entries = std::fs::read_dir(place.path()).expect("is there").map(|e| e.expect("is readable").file_name());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    let there = listed();
    let history = History::peek(place.path()).expect("can be read");
    let ask = Ask { filter: ALL, after: UnixNanos::MIN, until: UnixNanos::MAX, resolution: Resolution::FiveMinutes };
    let peeked: usize = history.batches(ask).expect("can be read").map(|batch| batch.num_rows()).sum();
    assert_eq!(peeked, rows.len() - open, "all but what is not written yet");
    let (from, to) = history.span().expect("has files");
    assert!(from < to && to.0 <= 22 * DAY);
    drop(history);
    assert_eq!(listed(), there);
    assert_eq!(History::peek(&place.path().join("none")).expect("none is fine").span(), None);
}

#[test]
fn a_disk_that_refuses_loses_nothing_that_fits_in_memory() {
    let place = directory();
    std::fs::write(place.path().join("history"), b"not a directory").expect("has room");
    let elsewhere = place.path().join("history/of/this");
    assert!(Historian::start(&elsewhere, HistoryConfig::default()).is_err());
    let later = place.path().join("later");
    let mut kept = Kept::open(&later, HistoryConfig::default());
    std::fs::write(&later, b"in the way").expect("has room");
    let points = a_day(&mut kept, 2);
    check(&kept.rows(Resolution::FiveMinutes), &points, 5 * MINUTE);
    let stats = kept.window.seal().past.expect("there is a history").history().stats();
    assert!(stats.failed_writes > 0 && stats.files == 0, "{stats:?}");
}

#[test]
fn what_is_handed_on_as_arrow_is_the_same() {
    let place = directory();
    let mut kept = Kept::open(place.path(), HistoryConfig::default());
    a_day(&mut kept, 5);
    let rows = kept.rows(Resolution::FiveMinutes);
    let history = kept.window.seal().past.expect("there is a history").history().clone();
    let named = |name| Filter { name: Some(name), holds: &|series: &Series| series.key.0 != 4 };
    let ask =
        Ask { filter: named("m1"), after: UnixNanos::MIN, until: UnixNanos::MAX, resolution: Resolution::FiveMinutes };
    let wanted: Vec<RollupRow> = rows.iter().filter(|row| row.series.key.0 == 1).cloned().collect();
    let batches: Vec<_> = history.batches(ask).expect("can be read").collect();
    assert!(batches.iter().all(|batch| batch.schema() == History::schema()));
    assert_eq!(batches.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), wanted.len());
    assert_eq!(batches, [file::batch(&wanted)]);
}

/// The figures of `window/README.md`.
#[test]
fn a_rollup_takes_few_bytes_on_disk() {
    let place = directory();
    let mut kept = Kept::open(place.path(), HistoryConfig::default());
    for step in 0..150 {
        for key in 0..2_000_u128 {
            let time = 20 * DAY + step * MINUTE + 1 + i64::try_from(key).expect("is small") * 7_919;
            let noise = xxhash_rust::xxh3::xxh3_64(&(key + (u128::from(step.unsigned_abs()) << 64)).to_le_bytes());
            kept.push(key, time, f64::from(u32::try_from(noise >> 40).expect("has 24 bits")) / 1_000.0);
        }
        kept.window.seal();
    }
    kept.rows(Resolution::FiveMinutes);
    let hour = names(place.path()).into_iter().min_by_key(|name| name.to).expect("there are files");
    let bytes = std::fs::metadata(place.path().join(hour.text())).expect("is there").len();
    assert_eq!(hour.rows, 24_000, "a complete hour");
    let each = bytes / hour.rows;
    assert!((10..=40).contains(&each), "{each} bytes");
}

#[test]
fn a_full_queue_makes_nobody_wait_for_long() {
    let queue = Queue::default();
    let points = (0..1_000_000).map(|i| Point { series: SeriesId(0), time: UnixNanos(i), value: 0.0 });
    let chunk = Arc::new(NumberChunk::seal(&points.collect::<Vec<_>>()).expect("has rows"));
    let began = std::time::Instant::now();
    for _ in 0..20 {
        queue.offer(Arc::clone(&chunk), RegistryView::default(), UnixNanos(0));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "one of them has waited, for a second");
    let taken = queue.offered();
    assert!((2..20).contains(&taken));
    assert_eq!(queue.dropped_points(), (20 - taken) * 1_000_000);
    assert!(queue.next().is_some());
    queue.offer(chunk, RegistryView::default(), UnixNanos(0));
    assert_eq!(queue.offered(), taken + 1, "there is room again");
}

/// The counts of all buckets of 5 min.
fn counts(kept: &mut Kept) -> Vec<u64> {
    kept.rows(Resolution::FiveMinutes).iter().map(|row| row.rollup.count).collect()
}

#[test]
fn what_came_after_an_orderly_end_is_not_lost_by_a_kill() {
    let place = directory();
    let config = HistoryConfig::default();
    let mut kept = Kept::open(place.path(), config.clone());
    kept.push(0, 3 * DAY + 1, 1.0);
    // The oldest bucket of the windows is written, and goes on.
    kept = kept.restart(place.path(), config.clone(), false);
    kept.push(0, 3 * DAY + 2, 2.0);
    kept.push(1, 3 * DAY + 2, 2.0);
    kept = kept.restart(place.path(), config.clone(), true);
    kept.push(0, 3 * DAY + 3, 3.0);
    assert_eq!(counts(&mut kept), [3, 1]);
    kept = kept.restart(place.path(), config, true);
    assert_eq!(counts(&mut kept), [3, 1]);
}

#[test]
fn what_the_windows_have_lost_of_their_oldest_bucket_stays_in_the_history() {
    let place = directory();
    let config = HistoryConfig::default();
    let mut kept = Kept::open(place.path(), config.clone());
    for (key, time) in [(0, 1), (0, 2), (0, 3), (1, 1), (2, 3)] {
        kept.push(key, 3 * DAY + time, 1.0);
    }
    kept.window.seal();
    drop(kept);
    let mut window = Window::new(Config::default());
    for (key, time) in [(0, 3), (2, 3), (2, 4)] {
        let series =
            window.registry_mut().find_or_add(SeriesKey(key), || Kept::describe(key)).expect("below the limit");
        window.push_point(Point { series, time: UnixNanos(3 * DAY + time), value: 1.0 });
    }
    window.seal();
    let mut kept = Kept::attach(window, place.path(), config);
    assert_eq!(counts(&mut kept), [3, 1, 2]);
    kept.push(0, 3 * DAY + 4, 1.0);
    assert_eq!(counts(&mut kept), [4, 1, 2]);
}

#[test]
fn hours_that_the_windows_have_lost_to_damage_stay_in_the_history() {
    let place = directory();
    let config = HistoryConfig::default();
    let mut kept = Kept::open(place.path(), config.clone());
    let times: Vec<i64> = (0..12).map(|step| 3 * DAY + step * 9 * MINUTE + 1).collect();
    let points: Vec<_> = times.iter().flat_map(|time| [0, 1, 2].map(|key| (key, *time, 0.5))).collect();
    points.iter().for_each(|(key, time, value)| kept.push(*key, *time, *value));
    check(&kept.rows(Resolution::FiveMinutes), &points, 5 * MINUTE);
    drop(kept);
    // What is left of the first series is its ends, of the second its beginning, of the third nothing.
    let left = points.iter().filter(|(key, time, _)| match key {
        0 => *time == times[0] || *time == times[11],
        1 => *time < times[3],
        _ => false,
    });
    let mut window = Window::new(Config::default());
    for (key, time, value) in left {
        let describe = || Kept::describe(*key);
        let series = window.registry_mut().find_or_add(SeriesKey(*key), describe).expect("below the limit");
        window.push_point(Point { series, time: UnixNanos(*time), value: *value });
    }
    window.seal();
    let mut kept = Kept::attach(window, place.path(), config.clone());
    check(&kept.rows(Resolution::FiveMinutes), &points, 5 * MINUTE);
    check(&by_hour(kept.rows(Resolution::Hour)), &points, HOUR);
    drop(kept);
    let mut kept = Kept::open(place.path(), config);
    check(&kept.rows(Resolution::FiveMinutes), &points, 5 * MINUTE);
}

/// So many where every case is asked for.
fn cases() -> u32 {
    if std::env::var("BELLWETHER_TORTURE").is_ok_and(|value| value == "full") { 2_000 } else { 24 }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(cases()))]

    /// Points come in any order, some of them hours late, and the service is killed and restarted at
    /// any moment: the past is what all points together say.
    #[test]
    fn rollups_equal_a_naive_roll_up(events in prop::collection::vec(event(), 1..400)) {
        let place = directory();
        let config = HistoryConfig::default();
        let mut kept = Kept::open(place.path(), config.clone());
        let (mut now, mut points, mut times) = (3 * DAY, Vec::new(), std::collections::BTreeSet::new());
        for event in events {
            match event {
                Event::Point { key, ahead, value } => {
                    let mut time = now + ahead * 1_000_000_000;
                    while !times.insert((key, time)) {
                        time += 1;
                    }
                    now = now.max(time);
                    points.push((key, time, value));
                    kept.push(key, time, value);
                }
                Event::Seal => {
                    kept.window.seal();
                    kept.window.expire_series();
                }
                Event::Restart { is_killed } => {
                    kept = kept.restart(place.path(), config.clone(), is_killed);
                }
            }
        }
        check(&kept.rows(Resolution::FiveMinutes), &points, 5 * MINUTE);
        let hours = by_hour(kept.rows(Resolution::Hour));
        check(&hours, &points, HOUR);
    }
}

/// Days that are not summed up yet come in buckets of 5 min.
fn by_hour(rows: Vec<RollupRow>) -> Vec<RollupRow> {
    let mut out: BTreeMap<(u128, UnixNanos), RollupRow> = BTreeMap::new();
    for row in rows {
        let end = Resolution::Hour.bucket_end(row.end);
        match out.get_mut(&(row.series.key.0, end)) {
            Some(kept) => kept.rollup.add(&row.rollup),
            None => drop(out.insert((row.series.key.0, end), RollupRow { end, ..row })),
        }
    }
    out.into_values().collect()
}
