//! Resident bytes of series and of points.

use std::{fmt::Write as _, io, time::Duration};

use bellwether_window::{Config, Point, Registry, SeriesId, Tables, UnixNanos, Window};

use super::{cpu, gauge, push_round, register, resident};

fn window(max_bytes: usize) -> Window {
    Window::new(Config { max_bytes, max_series: 4_000_000, ..Config::default() })
}

/// A million series with a point each.
pub(crate) fn many_series() -> String {
    const SERIES: u32 = 1_000_000;
    let before = resident();
    let mut window = window(8 << 30);
    let series: Vec<SeriesId> = (0..SERIES).map(|n| register(&mut window, n)).collect();
    let registered = resident();
    push_round(&mut window, &series, 0);
    drop(series);
    format!(
        "{SERIES} series with a point each: {} bytes resident a series, {} of them before it had a point; chunks say {}.\n",
        (resident() - before) / SERIES as usize,
        (registered - before) / SERIES as usize,
        window.stats().bytes / SERIES as usize,
    )
}

/// `series` with `rounds` points each, ten seconds apart.
pub(crate) fn many_points(series: u32, rounds: u32) -> String {
    let mut window = window(64 << 30);
    let ids: Vec<SeriesId> = (0..series).map(|n| register(&mut window, n)).collect();
    let before = resident();
    (0..rounds).for_each(|round| push_round(&mut window, &ids, round));
    let points = series as usize * rounds as usize;
    let (more, stats) = (resident() - before, window.stats());
    format!(
        "{series} series with {rounds} points each: {:.1} bytes resident a point, chunks say {:.1}; {} chunks.\n",
        ratio(more, points),
        ratio(stats.bytes, points),
        window.snapshot().numbers.len(),
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn ratio(a: usize, b: usize) -> f64 {
    a as f64 / b as f64
}

/// What a registry of 100,000 series costs, before and after a restart, and to write and read.
pub(crate) fn registry() -> io::Result<String> {
    const SERIES: u32 = 100_000;
    let mut out = String::new();
    let before = resident();
    let mut original = window(1 << 30);
    (0..SERIES).for_each(|n| {
        register(&mut original, n);
    });
    let bytes = (resident() - before) / SERIES as usize;
    let began = cpu();
    let state = postcard::to_stdvec(&original.state()).map_err(io::Error::other)?;
    let written = cpu() - began;
    let _ = writeln!(
        out,
        "registered: {bytes} bytes resident a series; state {} bytes a series in {written:.1?} CPU",
        state.len() / SERIES as usize
    );
    let before = resident();
    let began = cpu();
    let read = postcard::from_bytes(&state).map_err(io::Error::other)?;
    let config = Config { max_series: 4_000_000, ..Config::default() };
    let restored = Window::restore(config, read, Tables::default()).map_err(io::Error::other)?;
    let took = cpu() - began;
    let bytes = resident().saturating_sub(before) / SERIES as usize;
    let _ = writeln!(out, "restored: {bytes} bytes resident a series, in {took:.1?} CPU");
    assert_eq!(postcard::to_stdvec(&restored.state()).map_err(io::Error::other)?, state);
    drop(original);
    Ok(out)
}

/// Ten million series that come once each, at a window with a bound for series and for bytes.
pub(crate) fn flood() -> String {
    const LIMIT: usize = 100_000;
    let config = Config { max_bytes: 64 << 20, max_series: LIMIT, ..Config::default() };
    let mut window = Window::new(config);
    let before = resident();
    let (mut refused, mut peak) = (0_u64, 0);
    let mut overflow = Registry::new(1);
    let folded = overflow.find_or_add(gauge(0).key, || gauge(0)).unwrap_or(SeriesId(0));
    for n in 0..10_000_000_u32 {
        let time = UnixNanos(1_800_000_000_000_000_000).plus(Duration::from_micros(100) * n);
        let full = window.registry().len() >= LIMIT;
        let id = if full { folded } else { register(&mut window, n) };
        refused += u64::from(full);
        window.push_point(Point { series: id, time, value: f64::from(n) });
        if n % 10_000 == 0 {
            window.seal();
            peak = peak.max(resident());
        }
    }
    format!(
        "10000000 series sent once, {refused} beyond the limit of {LIMIT}: at most {} MiB more resident, of which 64 MiB are the bound of bytes.\n",
        (peak - before) >> 20
    )
}
