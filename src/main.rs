//! Bellwether: OpenTelemetry-native anomaly detection and degradation, in one binary.

#[cfg(feature = "analysis")]
mod analysis;
mod app;
mod backtest;
mod check;
mod cli;
mod config;
mod demo;
mod export;
mod faces;
mod journal;
mod metrics;
mod notify_test;
mod pipeline;
mod reload;
mod repair;
mod rest;
mod runbooks;
mod scratch;
mod selftest;
mod serve;
mod tape;
mod telemetry;

mod ui;
mod view;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, ExportArgs};

/// Exit code for what the user must put right: a fault in a file, a taken port, an unusable directory.
const USAGE: u8 = 2;
/// What is said where something needs Polars, which is not in every binary.
#[cfg(not(feature = "analysis"))]
const WITHOUT_ANALYSIS: &str = "this binary was built without SQL and exports: build it with `cargo build --release \
     --features analysis`, or take a released one";

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Check { files, schema }) = &cli.command {
        return if *schema { check::print_schema() } else { check::run(files) };
    }
    if let Some(Command::Repair(args)) = &cli.command {
        return repair::run(args).unwrap_or_else(|error| fail(&format!("{error:#}")));
    }
    if let Some(Command::Export(args)) = &cli.command {
        return export(args);
    }
    #[cfg(feature = "analysis")]
    if let Some(Command::SqlWorker) = &cli.command {
        return analysis::worker();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let code = runtime.block_on(async {
        match cli.command {
            Some(Command::Demo(args)) => demo::run(&args).await,
            Some(Command::Backtest(args)) => backtest::run(&args).await,
            Some(Command::Selftest(args)) => selftest::run(&args).await,
            Some(Command::NotifyTest(args)) => notify_test::run(&args).await,
            Some(Command::Serve(args)) => serve::run(&args).await,
            _ => serve::run(&cli.serve).await,
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match code {
        Ok(code) => code,
        Err(error) => fail(&format!("{error:#}")),
    }
}

#[cfg(feature = "analysis")]
fn export(args: &ExportArgs) -> ExitCode {
    analysis::export(args).unwrap_or_else(|error| fail(&format!("{error:#}")))
}

#[cfg(not(feature = "analysis"))]
fn export(_: &ExportArgs) -> ExitCode {
    fail(WITHOUT_ANALYSIS)
}

#[expect(clippy::print_stderr, reason = "the reason for not starting belongs on standard error")]
fn fail(message: &str) -> ExitCode {
    eprintln!("bellwether: {message}");
    ExitCode::from(USAGE)
}
