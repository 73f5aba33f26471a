//! `load`: how many points or spans a receiver takes, and what CPU it spends on them.
//!
//! Requests are encoded once; on the hot path only their time fields are patched. For the ratio,
//! the same load goes to two floor servers in the same run: one that takes the bytes and drops
//! them, one that decodes them with prost and drops the result.

mod client;
mod cpu;
mod floor;
mod payload;
mod report;

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};

use self::{
    client::Load,
    floor::{Floor, FloorServer},
    payload::Signal,
    report::Row,
};

/// Sends OTLP/gRPC load and reports accepted items per second and CPU seconds per million items.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to send.
    #[arg(long, value_enum, default_value = "metrics")]
    signal: Signal,
    /// Receiver to load, as host:port of its gRPC door.
    #[arg(long)]
    endpoint: Option<SocketAddr>,
    /// The receiver's process, to read its CPU time.
    #[arg(long, requires = "endpoint")]
    pid: Option<u32>,
    /// Load the two floor servers as well, in processes of their own.
    #[arg(long)]
    floor: bool,
    /// Core that the floor servers are pinned to (by taskset).
    #[arg(long)]
    floor_core: Option<u16>,
    /// How long to measure each receiver, after a second of warming up.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Connections, each with one request in flight; at most 10, one for each request.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=10))]
    connections: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves a floor on a free port, prints its address and goes on until it is killed.
    ServeFloor {
        /// What it does with a request.
        #[arg(value_enum)]
        floor: Floor,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::ServeFloor { floor }) = arguments.command {
        return floor::serve(floor).await;
    }
    anyhow::ensure!(arguments.floor || arguments.endpoint.is_some(), "nothing to load: give --endpoint or --floor");
    let load = Load {
        signal: arguments.signal,
        connections: usize::from(arguments.connections),
        time: Duration::from_secs(arguments.seconds.max(1)),
    };
    let mut rows = Vec::new();
    if arguments.floor {
        for floor in [Floor::Drop, Floor::Decode] {
            let server = FloorServer::start(floor, arguments.floor_core).await?;
            rows.push(Row::new(floor.name(), load.run(server.address, Some(server.pid)).await?));
        }
    }
    if let Some(endpoint) = arguments.endpoint {
        rows.push(Row::new("bellwether", load.run(endpoint, arguments.pid).await?));
    }
    report::print(&load, &rows);
    Ok(())
}
