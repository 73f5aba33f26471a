//! What judging single series costs: time for each point, and memory for each series.
//!
//! `cargo run --release -p bellwether-detect --example detector_times -- [SERIES] [DAYS]`
//!
//! A hundred thousand series with a day of their own and noise get a point every five minutes for three weeks and a half
//! (so that hours of the week are known), through [`Engine::observe`] with everything on. Series that share what they are
//! fed are still judged one by one. Printed are points by second of CPU time, over the last day, and resident memory less
//! what was there before, by series.

use std::{error::Error, f64::consts::TAU, fs, io::Write as _, sync::Arc};

use bellwether_detect::{Engine, EngineConfig, Memory};
use window::{Labels, Point, Registry, Series, SeriesId, SeriesKey, SeriesKind, UnixNanos};

const DAY: i64 = 288;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<i64>());
    let series = args.next().transpose()?.unwrap_or(100_000);
    let days = args.next().transpose()?.unwrap_or(25);
    let mut registry = Registry::new(usize::try_from(series)?);
    let name: Arc<str> = "queue_length".into();
    let ids = (0..series).map(|i| {
        let key = SeriesKey(u128::try_from(i).unwrap_or_default());
        let labels = Labels::from_pairs([("job", "bench"), ("queue", &i.to_string())]);
        let describe = || Series {
            key,
            name: Arc::clone(&name),
            source_name: Arc::clone(&name),
            unit: "".into(),
            kind: SeriesKind::Gauge,
            labels,
            service: "bench".into(),
        };
        registry.find_or_add(key, describe)
    });
    let ids: Vec<SeriesId> = ids.collect::<Result<_, _>>()?;
    let mut points: Vec<Point> =
        ids.iter().map(|id| Point { series: *id, time: UnixNanos::default(), value: 0.0 }).collect();
    let before = resident()?;
    let mut engine = Engine::new(EngineConfig::default(), Memory::default());
    let (mut took, mut judged, mut decisions) = (0.0, 0.0, 0);
    for step in 0..days * DAY {
        fill(&mut points, step);
        let began = cpu()?;
        let said = engine.observe(&points, &registry, std::iter::empty()).decisions.len();
        if step >= (days - 1) * DAY {
            took += cpu()? - began;
            judged += number(series);
            decisions += said;
        }
    }
    let bytes = resident()? - before;
    writeln!(
        std::io::stdout(),
        "{series} series, {days} days: {:.0} points by second of CPU time, {decisions} decisions in the last day",
        judged / took
    )?;
    writeln!(
        std::io::stdout(),
        "{:.0} bytes a series, allocator and the batch of points included",
        bytes / number(series)
    )?;
    Ok(())
}

/// A day with an amplitude of its own for each series, and noise.
fn fill(points: &mut [Point], step: i64) {
    let day = (TAU * number(step % DAY) / number(DAY)).sin();
    let mut random = u64::try_from(step).unwrap_or_default().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for (point, nth) in points.iter_mut().zip(0_i64..) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let noise = f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX) - 0.5;
        point.time = UnixNanos(1_700_000_000_000_000_000 + step * 300_000_000_000);
        point.value = 100.0 + number(nth % 50) * day + 6.0 * noise;
    }
}

/// CPU time of this process in seconds.
fn cpu() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    Ok(number(text.split_whitespace().next().ok_or("no time on a processor")?.parse::<i64>()?) / 1e9)
}

/// Resident memory in bytes.
fn resident() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/statm")?;
    Ok(number(text.split_whitespace().nth(1).ok_or("no resident pages")?.parse::<i64>()?) * 4_096.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts")]
fn number(n: i64) -> f64 {
    n as f64
}
