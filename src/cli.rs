//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// OpenTelemetry-native anomaly detection and degradation.
///
/// Point any OpenTelemetry exporter at 127.0.0.1:4317 (gRPC) or :4318 (HTTP). Bellwether says what is
/// wrong, why it thinks so, what to do, and how far to degrade (level 0 to 4): over REST and on the
/// page at http://127.0.0.1:4320, and to webhooks.
///
/// Without a command it serves, with defaults for everything.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do; `serve` when not given.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Receive telemetry, detect, alert, and answer questions, until SIGTERM or Ctrl-C.
    Serve(ServeArgs),
    /// Serve beside a simulated quoting shop that gets into trouble, and show what is found.
    ///
    /// The shop sends traces, metrics and logs over real OTLP/gRPC. After a calm warm-up it goes
    /// through six incidents; each finding is printed when it is made, next to its cause, and a table
    /// at the end says what was found, after how long, and what was not. Detection runs on a clock
    /// that is ten times faster than the defaults. Exits with 1 if anything was missed or false.
    Demo(DemoArgs),
    /// Replay files through the code that serves, and show what it would have decided.
    ///
    /// CSV with a time and a metric in each other column (a file is a service), recorded OTLP as the
    /// Collector's file exporter writes it (JSON lines, or protobuf behind its length), and Parquet
    /// with the columns time, name, value and labels. Several files become one stream, in the order
    /// of time. Nobody is notified, and no data directory is touched. Exits with 0 when all was read,
    /// with 1 when something could not be read (the rest was replayed), and with 2 when nothing was
    /// replayed to its end: a fault in the configuration, no file that can be read, any fault at all
    /// with --strict.
    Backtest(BacktestArgs),
    /// Measure how well this very binary detects, over real OTLP.
    ///
    /// Starts itself on free ports with a temporary directory, sends known disturbances of several
    /// sizes on flat, noisy, seasonal and bursty series, and prints what was found, after how long,
    /// whether the direction was right, and what was said without a reason. Exits with 1 when that is
    /// worse than the bars that are kept with the source, with 2 when it could not be measured.
    Selftest(SelftestArgs),
    /// Send a test alert to a receiver, and show what each of its integrations answers.
    ///
    /// Sent once, from here: the service need not run, and hears nothing of it. Exits with 1 if anything was not
    /// taken, and with 2 when nothing could be sent: a fault in the configuration, no receiver of this name.
    NotifyTest(NotifyTestArgs),
    /// Check configuration, rule files and runbooks: every fault at once, with its line.
    ///
    /// Files with a `groups` key are rule files, those with a `steps` key are runbooks, all others are
    /// configurations; what a configuration names is checked with it. Exits with 2 if there is a fault.
    Check {
        /// Files to check.
        #[arg(required_unless_present = "schema")]
        files: Vec<PathBuf>,
        /// Print the JSON Schema of the configuration, for editors and validators.
        #[arg(long, conflicts_with = "files")]
        schema: bool,
    },
    /// Check the files in the data directory, and put right what is damaged.
    ///
    /// For a service that is stopped. What can be read is kept; damaged files are set aside in
    /// `damaged` in the data directory, and nothing is deleted. Exits with 1 if there was damage.
    Repair(RepairArgs),
    /// Write what the data directory holds to a file, as Parquet or CSV.
    ///
    /// Nothing in the data directory is changed, and the service may be running: then the windows are written as
    /// of the last checkpoint, which is a minute or so ago; rollups are those that have been written down. Needs a
    /// binary that was built with the feature `analysis`.
    Export(ExportArgs),
    /// Answers one statement for the service.
    #[cfg(feature = "analysis")]
    #[command(hide = true)]
    SqlWorker,
}

/// Whom to tell.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NotifyTestArgs {
    /// Name of the receiver.
    #[arg(value_name = "RECEIVER")]
    pub receiver: String,
    /// Configuration file with the receivers.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// What to export.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Rows from this time on, as RFC 3339 or Unix seconds [default: all].
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Rows up to this time [default: all].
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// What to write: points, spans or logs in the windows, or rollups of points by 5 min or 1 h.
    #[arg(long, value_enum, default_value_t)]
    pub table: ExportTable,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    pub format: ExportFormat,
    /// The file to write; replaced when it is there, once all is written.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Whose rows [default: default].
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Configuration file that names the data directory.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory; wins over the configuration file [default: bellwether-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// What can be exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportTable {
    /// Points in the windows.
    #[default]
    Metrics,
    /// Rollups by 5 min.
    #[value(name = "metrics_5m")]
    FiveMinutes,
    /// Rollups by 1 h, and by 5 min of days that are not over.
    #[value(name = "metrics_1h")]
    Hours,
    /// Spans in the windows.
    Spans,
    /// Log records in the windows.
    Logs,
}

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// Apache Parquet, compressed with zstd.
    #[default]
    Parquet,
    /// Comma-separated values with a line of names.
    Csv,
}

/// What to replay.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BacktestArgs {
    /// Files, or directories with files, to replay.
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub input: Vec<PathBuf>,
    /// Configuration file: detection, rules, level and intake as they would be.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Rule files instead of those that the configuration names.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub rules: Vec<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub format: OutputFormat,
    /// Write the result as a page with charts, too.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Stop at the first thing that cannot be read.
    #[arg(long)]
    pub strict: bool,
}

/// How to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SelftestArgs {
    /// Seed of the noise. The bars hold for the default one.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// A summary for people.
    Text,
    /// All of it.
    Json,
}

/// What to repair.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RepairArgs {
    /// Configuration file that names the data directory.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory; wins over the configuration file [default: bellwether-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Only say what is wrong.
    #[arg(long)]
    pub dry_run: bool,
}

/// How to serve. These win over the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ServeArgs {
    /// Configuration file (YAML); defaults for everything without one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where alerts, anomalies, levels and undelivered notifications are kept [default: bellwether-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Send alerts to this URL, in Alertmanager's webhook format; may be given again.
    #[arg(long, value_name = "URL")]
    pub webhook: Vec<String>,
}

/// How to demonstrate.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// How long the demonstration lasts, in seconds; at least 150.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub duration: u64,
    /// Seed of everything random in the shop.
    #[arg(long, value_name = "NUMBER", default_value_t = 7)]
    pub seed: u64,
    /// Port of the page and the API; 0 takes a free one. The OTLP doors take free ports always.
    #[arg(long, value_name = "PORT", default_value_t = 4320)]
    pub port: u16,
    /// Keep everything in this directory. A demonstration that was ended in whatever way goes on from
    /// there when it is started again with the same duration and seed [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep serving when the script is over, to look around, until Ctrl-C.
    #[arg(long)]
    pub stay: bool,
}
