//! `load`: what CPU a receiver spends on OTLP, and how much it takes.
//!
//! Requests are encoded once; on the hot path only their time fields are patched. `load table` measures
//! the real binary in several settings and, in the same run, two floors: a server that takes the bytes
//! and drops them, and one that decodes them with prost and drops the result.

mod client;
mod cpu;
mod fill;
mod floor;
mod followers;
mod kernel;
mod level;
mod payload;
mod receiver;
mod report;
mod table;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use self::{
    client::Load,
    floor::Floor,
    payload::{Kind, Shape, Signal},
    table::Plan,
};

/// Sends OTLP/gRPC load and reports CPU seconds per million items, and items per second.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures the floors and the real binary, and prints a table for each signal.
    Table(Table),
    /// Loads a receiver that is running already.
    Run(Run),
    /// Takes requests in this process and prints what each part of that costs, without a network.
    Kernel(Kernel),
    /// Fills the windows of the real binary, and prints what that takes and how long restarts last.
    Fill(Fill),
    /// Decides the level of many services in this process, and prints what an assessment takes.
    Level {
        /// How many services.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
        services: u32,
        /// Assessments to measure.
        #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u16).range(1..=600))]
        rounds: u16,
        /// The OpenSLO file of the second row.
        #[arg(long, default_value = "slo/targets.yaml")]
        targets: PathBuf,
    },
    /// Connects followers to the level's stream of the real binary, and prints how long a change takes to reach all.
    Followers {
        /// The program under test.
        #[arg(long)]
        bellwether: PathBuf,
        /// How many follow. This program and the other need as many file descriptors each, and some.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..=16_000))]
        followers: u16,
    },
    /// Asks the real binary for all flags with the entity tag that it gave, and prints what an answer costs.
    Flags {
        /// The program under test.
        #[arg(long)]
        bellwether: PathBuf,
        /// Core that it is pinned to (by taskset).
        #[arg(long)]
        core: Option<u16>,
        /// Connections, each with one question in flight.
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
        connections: u8,
        /// How long to ask.
        #[arg(long, default_value_t = 8)]
        seconds: u64,
    },
    /// Serves a floor on a free port, prints its address and goes on until it is killed.
    ServeFloor {
        /// What it does with a request.
        #[arg(value_enum)]
        floor: Floor,
    },
}

#[derive(Debug, Args)]
struct Table {
    /// The program under test.
    #[arg(long)]
    bellwether: PathBuf,
    /// What to send; a table for each.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["metrics", "spans"])]
    signal: Vec<Signal>,
    /// Core that the receivers are pinned to (by taskset).
    #[arg(long)]
    core: Option<u16>,
    /// How often everything is measured. The figures are medians.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// Rows to measure, by their short names: drop, prost, (a) to (d). All when none is named.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Fill {
    /// The program under test.
    #[arg(long)]
    bellwether: PathBuf,
    /// Thousands of series, each a gauge with 5 attributes.
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    thousands: u16,
    /// Points of each series, 10 s apart, the newest of now; 720 are two hours.
    #[arg(long, default_value_t = 714, value_parser = clap::value_parser!(u16).range(1..=720))]
    points: u16,
    /// How long to wait before memory is looked at: after a minute there was a checkpoint.
    #[arg(long, default_value_t = 65)]
    settle: u64,
    /// Further lines of the configuration.
    #[arg(long, default_value = "")]
    config: String,
}

#[derive(Debug, Args)]
struct Run {
    /// Receiver to load, as host:port of its gRPC door.
    #[arg(long)]
    endpoint: SocketAddr,
    /// The receiver's process, to read its CPU time.
    #[arg(long)]
    pid: Option<u32>,
    /// What to send.
    #[arg(long, value_enum, default_value = "metrics")]
    signal: Signal,
    /// Requests in a cycle; for metrics, each has 1,000 series of its own.
    #[arg(long, default_value_t = payload::REQUESTS, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    requests: u16,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Kernel {
    /// What to take.
    #[arg(long, value_enum, default_value = "metrics")]
    signal: Signal,
    /// Requests in a cycle; for metrics, each has 1,000 series of its own.
    #[arg(long, default_value_t = payload::REQUESTS, value_parser = clap::value_parser!(u16).range(1..=2_000))]
    requests: u16,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, Debug, Args)]
struct Common {
    /// What kind of points metrics have.
    #[arg(long, value_enum, default_value = "gauge")]
    kind: Kind,
    /// How long to measure each receiver, after every request was sent once and a second of warming up.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Connections, each with one request in flight.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=10))]
    connections: u8,
}

impl Common {
    fn time(self) -> Duration {
        Duration::from_secs(self.seconds.max(1))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::ServeFloor { floor } => floor::serve(floor).await,
        Command::Table(table) => {
            let plan = Plan {
                bellwether: table.bellwether,
                signals: table.signal,
                kind: table.common.kind,
                core: table.core,
                rounds: table.rounds,
                time: table.common.time(),
                connections: usize::from(table.common.connections),
                rows: table.rows,
            };
            table::measure(&plan).await
        }
        Command::Level { services, rounds, targets } => level::run(services, rounds, &targets),
        Command::Followers { bellwether, followers } => followers::tell(&bellwether, followers).await,
        Command::Flags { bellwether, core, connections, seconds } => {
            let time = Duration::from_secs(seconds.max(1));
            followers::ask(&bellwether, core, usize::from(connections), time).await
        }
        Command::Kernel(kernel) => {
            let (signal, kind, requests) = (kernel.signal, kernel.common.kind, usize::from(kernel.requests));
            kernel::run(&Shape { signal, kind, requests }, kernel.common.time())
        }
        Command::Fill(fill) => {
            let Fill { bellwether, thousands, points, settle, config } = fill;
            let settle = Duration::from_secs(settle);
            fill::measure(&fill::Plan { bellwether, thousands: usize::from(thousands), points, settle, config }).await
        }
        Command::Run(run) => {
            let shape = Shape { signal: run.signal, kind: run.common.kind, requests: usize::from(run.requests) };
            let connections = usize::from(run.common.connections).min(shape.requests);
            let mut load = Load::new(shape, connections, run.common.time());
            let measured = load.run(run.endpoint, run.pid).await?;
            report::one(&shape, &measured);
            Ok(())
        }
    }
}
