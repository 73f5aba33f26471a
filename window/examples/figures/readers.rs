//! What readers cost, themselves and the writer.

use std::{
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bellwether_window::{Config, Sample, SeriesId, Snapshot, UnixNanos, Window};

use super::{push_round, register};

fn filled(series: u32, rounds: u32) -> (Window, Vec<SeriesId>) {
    let mut window = Window::new(Config { max_bytes: 16 << 30, ..Config::default() });
    let ids: Vec<SeriesId> = (0..series).map(|n| register(&mut window, n)).collect();
    (0..rounds).for_each(|round| push_round(&mut window, &ids, round));
    (window, ids)
}

/// The time of a snapshot by the number of points.
pub(crate) fn snapshots() -> String {
    let mut out = String::from("| points | chunks | snapshot |\n|---|---|---|\n");
    for rounds in [7, 72, 720] {
        let (window, _) = filled(10_000, rounds);
        let began = Instant::now();
        const TIMES: u32 = 10_000;
        (0..TIMES).for_each(|_| drop(std::hint::black_box(window.snapshot())));
        let (stats, chunks) = (window.stats(), window.snapshot().numbers.len());
        let _ = writeln!(out, "| {} | {chunks} | {:.2?} |", stats.rows[0], began.elapsed() / TIMES);
    }
    out
}

/// Time of the writer with and without a reader that scans all series all the time, a round each.
pub(crate) fn scanning() -> String {
    let (mut window, ids) = filled(10_000, 120);
    let published: Arc<Mutex<Snapshot>> = Arc::new(Mutex::new(window.snapshot()));
    let (scan, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let reader = {
        let (published, scan, stop) = (Arc::clone(&published), Arc::clone(&scan), Arc::clone(&stop));
        std::thread::spawn(move || {
            let (mut samples, mut read): (Vec<Sample>, u64) = (Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                if !scan.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                let Ok(snapshot) = published.lock().map(|s| s.clone()) else { break };
                for id in 0..10_000 {
                    snapshot.samples_into(SeriesId(id), UnixNanos::MIN, UnixNanos::MAX, &mut samples);
                    read += samples.len() as u64;
                }
            }
            read
        })
    };
    let mut spent: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for round in 120..720 {
        let with = round % 2 == 0;
        scan.store(with, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        let began = Instant::now();
        push_round(&mut window, &ids, round);
        if let Ok(mut latest) = published.lock() {
            *latest = window.snapshot();
        }
        spent[usize::from(with)].push(began.elapsed());
    }
    // On a machine with other work the quickest quarter says most; few rounds have a large merge.
    let [alone, beside] = spent.map(|mut rounds| {
        rounds.sort();
        rounds.get(rounds.len() / 4).copied().unwrap_or_default()
    });
    stop.store(true, Ordering::Relaxed);
    let read = reader.join().unwrap_or(0);
    format!(
        "10,000 points: writer alone {alone:.2?}, beside a scanning reader {beside:.2?}: {:+.1} %; it read {read} samples.\n",
        100.0 * (beside.as_secs_f64() / alone.as_secs_f64() - 1.0)
    )
}
