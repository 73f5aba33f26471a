//! What the windows cost, in memory and on disk: `cargo run --release -p bellwether-window --example figures -- NAME`.
//!
//! `disk DIR` writes the series of a directory of CSV files (`timestamp,value,...`) in checkpoints;
//! `memory`, `registry`, `readers`, `restart` and `flood` need nothing. Figures are in `benches/README.md`.

mod disk;
mod memory;
mod readers;

use std::{
    io::{self, Write as _},
    time::Duration,
};

use bellwether_window::{Labels, Point, Series, SeriesId, SeriesKey, SeriesKind, UnixNanos, Window};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let text = match words[..] {
        ["disk", dir] => disk::sets(dir)?,
        ["memory"] => memory::many_series() + &memory::many_points(100_000, 720),
        ["memory", series, rows] => memory::many_points(number(series)?, number(rows)?),
        ["registry"] => memory::registry()?,
        ["readers"] => readers::snapshots() + &readers::scanning(),
        ["restart"] => disk::restart()?,
        ["flood"] => memory::flood(),
        _ => return Err(io::Error::other("expected disk DIR, memory, registry, readers, restart or flood")),
    };
    io::stdout().write_all(text.as_bytes())
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| io::Error::other(format!("expected a number, got {text}")))
}

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap_or(0) * 1024
}

/// CPU time of this thread: on a machine with other work, the wall clock says little.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// A gauge with six labels, four of which it shares with others, as a pod's metrics do.
fn gauge(n: u32) -> Series {
    let (pod, path) = (n / 20, n % 20);
    let labels = Labels::from_pairs([
        ("job", format!("shop/service-{}", pod % 50)),
        ("instance", format!("pod-{pod:06}")),
        ("service_name", format!("service-{}", pod % 50)),
        ("k8s_pod_name", format!("pod-{pod:06}")),
        ("http_route", format!("/api/v1/route/{path}")),
        ("number", n.to_string()),
    ]);
    let name = format!("http_server_metric_{}", path % 10);
    Series {
        key: SeriesKey(u128::from(n) << 64 | u128::from(n)),
        source_name: name.replace('_', ".").into(),
        name: name.into(),
        unit: "ms".into(),
        kind: SeriesKind::Gauge,
        labels,
        service: format!("shop/service-{}", pod % 50).into(),
    }
}

fn register(window: &mut Window, n: u32) -> SeriesId {
    let series = gauge(n);
    // The limits here are above what is registered.
    window.registry_mut().find_or_add(series.key, || series).unwrap_or(SeriesId(0))
}

/// One row of each series at `time`, a fifth of a second apart as senders are; sealed ten times.
fn push_round(window: &mut Window, series: &[SeriesId], round: u32) {
    let time = UnixNanos(1_800_000_000_000_000_000).plus(Duration::from_secs(10) * round);
    for (part, some) in (0..).zip(series.chunks(series.len().div_ceil(10))) {
        for id in some {
            // Noise of three digits around a level.
            let mixed = (u64::from(id.0) << 32 | u64::from(round)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let noise = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 54;
            let value = f64::from(1_000 + id.0 % 500 + u32::try_from(noise).unwrap_or(0)) / 10.0;
            window.push_point(Point { series: *id, time: time.plus(Duration::from_secs(1) * part), value });
        }
        window.seal();
    }
}
