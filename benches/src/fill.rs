//! Windows that are full: what they take, in memory and on disk, and how soon they are back after a restart.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    client::{Load, now_nanos},
    cpu,
    payload::{Kind, Shape, Signal},
    receiver::Receiver,
};

/// Between two points of a series, in nanoseconds.
const STEP: u64 = 10_000_000_000;
/// Points of each series that come after the first restart: a minute, which is what the log holds at most times
/// when a process is killed.
const MINUTE: u16 = 6;
const CONNECTIONS: usize = 8;

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The program under test.
    pub(crate) bellwether: PathBuf,
    /// Requests of 1,000 series each.
    pub(crate) thousands: usize,
    /// Points of each series.
    pub(crate) points: u16,
    /// How long to wait before memory is looked at.
    pub(crate) settle: Duration,
    /// Further lines of the configuration.
    pub(crate) config: String,
}

impl Plan {
    /// Room for everything, so that nothing is let go.
    fn config(&self) -> String {
        format!(
            "listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}}\n\
             window: {{max_bytes: 16GiB, max_bytes_total: 16GiB, max_series: 4000000, max_series_per_metric: 4000000}}\n{}\n",
            self.config
        )
    }

    async fn start(&self, directory: TempDir) -> Result<Receiver> {
        Receiver::configured(&self.bellwether, &self.config(), None, directory).await
    }

    /// Starts it on what is there; how long it took until a request was answered.
    async fn start_again(&self, directory: Option<TempDir>) -> Result<(Receiver, Duration)> {
        let directory = directory.context("it has a directory")?;
        let began = Instant::now();
        let receiver = self.start(directory).await?;
        let mut one = Load::new(Shape { signal: Signal::Logs, kind: Kind::Gauge, requests: 1 }, 1, Duration::ZERO);
        one.fill(receiver.address, &[now_nanos()]).await?;
        Ok((receiver, began.elapsed()))
    }
}

/// Fills the windows, ends the process in both ways, and prints the figures.
///
/// # Errors
/// A receiver that does not start, or that does not take all that it is sent.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) async fn measure(plan: &Plan) -> Result<()> {
    let shape = Shape { signal: Signal::Metrics, kind: Kind::Gauge, requests: plan.thousands };
    let mut load = Load::new(shape, CONNECTIONS.min(plan.thousands), Duration::ZERO);
    let count = u64::from(plan.points + MINUTE);
    let first = now_nanos() - count * STEP;
    let times: Vec<u64> = (0..count).map(|i| first + i * STEP).collect();
    let (times, minute) = times.split_at(usize::from(plan.points));

    let receiver = plan.start(tempfile::tempdir()?).await?;
    let empty = cpu::resident_memory_of(receiver.pid)?;
    let (began, cpu_before) = (Instant::now(), cpu::time_of(receiver.pid)?);
    let points = load.fill(receiver.address, times).await?;
    let (took, cpu) = (began.elapsed(), cpu::time_of(receiver.pid)?.saturating_sub(cpu_before));
    tokio::time::sleep(plan.settle).await;
    let full = cpu::resident_memory_of(receiver.pid)?;
    let series = plan.thousands as f64 * 1e3;
    let each = |bytes: u64, of: f64| bytes.saturating_sub(empty) as f64 / of;
    println!("{series} series, {points} points: taken in {took:.1?} and {cpu:.1?} of CPU");
    println!(
        "resident: {} MB empty, {} MB full, {} MB at most: {:.0} bytes a series, {:.1} a point",
        empty / 1_000_000,
        full / 1_000_000,
        cpu::peak_memory_of(receiver.pid)? / 1_000_000,
        each(full, series),
        each(full, points as f64),
    );
    let (receiver, ready) = plan.start_again(receiver.terminate().await?).await?;
    let on_disk = receiver.bytes_on_disk()?;
    println!(
        "on disk after an orderly end: {} MB, {:.2} bytes a point",
        on_disk / 1_000_000,
        on_disk as f64 / points as f64
    );
    let restored = cpu::resident_memory_of(receiver.pid)?;
    println!("orderly end: ready in {ready:.2?}, {} MB resident", restored / 1_000_000);
    let more = load.fill(receiver.address, minute).await?;
    let (receiver, ready) = plan.start_again(receiver.kill().await?).await?;
    println!("kill -9 with {more} points more: ready in {ready:.2?}");
    receiver.stop().await
}
