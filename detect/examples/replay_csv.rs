//! Streams CSV files through the detectors, as fast as they go, and writes what they found.
//!
//! `cargo run --release -p bellwether-detect --example replay_csv -- OUT.json NAME.csv...`
//!
//! A file has a header, an RFC 3339 time in UTC in its first column, and a metric in every other column, but
//! for `label`, which is left out. All metrics of a file have the same labels. OUT.json is a list of
//! `{"series", "timestamp", "score"}`, one for every anomaly when it opened, with the file's name as
//! series. Without a service around it this is no proof of what the binary does, but it takes seconds.

use std::{error::Error, fs, path::Path, sync::Arc};

use bellwether_detect::{AnomalyEvent, Decision, Engine, EngineConfig, Memory};
use window::{Labels, Point, Registry, Series, SeriesId, SeriesKey, SeriesKind, UnixNanos};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let out = args.next().ok_or("usage: replay_csv OUT.json NAME.csv...")?;
    let mut found = Vec::new();
    for file in args {
        replay(Path::new(&file), &mut found).map_err(|e| format!("{file}: {e}"))?;
    }
    fs::write(out, format!("[{}]\n", found.join(",\n")))?;
    Ok(())
}

/// Adds what was found in one file, which has an engine of its own.
fn replay(file: &Path, found: &mut Vec<String>) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(file)?;
    let name = file.file_stem().and_then(|s| s.to_str()).ok_or("no name")?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().ok_or("no header")?.split(',').collect();
    let mut registry = Registry::new(header.len());
    let mut columns = Vec::new();
    for (i, column) in header.iter().enumerate().skip(1).filter(|(_, column)| **column != "label") {
        let key = SeriesKey(i as u128);
        columns.push((i, registry.find_or_add(key, || series(key, column, name))?));
    }
    let mut engine = Engine::new(EngineConfig::default(), Memory::default());
    for (row, line) in lines.enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        let time = fields.first().and_then(|t| nanos(t)).ok_or_else(|| format!("row {row}: no time"))?;
        let points: Vec<Point> = columns.iter().filter_map(|(i, id)| point(&fields, *i, *id, time)).collect();
        for decision in engine.observe(&points, &registry, std::iter::empty()).decisions {
            if let Decision::Anomaly(AnomalyEvent::Opened(a)) = decision {
                found.push(format!(
                    r#"{{"series": "{name}", "timestamp": {}, "score": {}}}"#,
                    a.emitted_at.0 / 1_000_000_000,
                    a.score
                ));
            }
        }
    }
    Ok(())
}

fn point(fields: &[&str], i: usize, series: SeriesId, time: UnixNanos) -> Option<Point> {
    let value: f64 = fields.get(i)?.parse().ok()?;
    value.is_finite().then_some(Point { series, time, value })
}

fn series(key: SeriesKey, column: &str, file: &str) -> Series {
    let name: Arc<str> = column.into();
    Series {
        key,
        source_name: Arc::clone(&name),
        name,
        unit: "".into(),
        kind: SeriesKind::Gauge,
        labels: Labels::from_pairs([("file", file), ("job", "replay")]),
        service: "replay".into(),
    }
}

/// `2015-02-26T21:42:53Z` as time; by the days of the civil calendar (Hinnant, "chrono-compatible low-level
/// date algorithms").
fn nanos(text: &str) -> Option<UnixNanos> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(UnixNanos(((days * 24 + hour) * 60 + minute) * 60_000_000_000 + second * 1_000_000_000))
}
