//! `bellwether backtest`: files through the pipeline that serves, and what it would have decided.

mod columns;
mod input;
mod merge;
mod outcome;
mod plot;
mod progress;
mod recording;
mod replay;
mod report;
mod summary;
mod table;

use std::{
    io::Write,
    path::Path,
    process::ExitCode,
    sync::{Arc, atomic::AtomicU64},
};

use alerting::Receiver;
use anyhow::Context;

use self::{
    input::{Fault, Source},
    merge::{Merge, Next},
    outcome::{Input, Outcome, Totals},
    progress::Progress,
    replay::Replay,
};
use crate::{
    app::StartError,
    cli::{BacktestArgs, OutputFormat},
    config::{self, Config},
    scratch::Scratch,
    tape::Tape,
    telemetry::Telemetry,
};

/// Faults of one file that are told; more are counted.
const TOLD: u64 = 20;
/// Exit code when it was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

/// Replays the files, and says what was decided. Exit code 1 when something could not be read.
///
/// # Errors
/// What kept it from being done: a fault in the configuration, no file that can be read, any fault at all
/// with `--strict`, or a result that cannot be written.
pub(crate) async fn run(args: &BacktestArgs) -> anyhow::Result<ExitCode> {
    let _telemetry = Telemetry::start("error");
    let scratch = Scratch::new("backtest").context("cannot make a temporary directory")?;
    let (config, receivers) = configuration(args, scratch.path())?;
    let asked = args.clone();
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || runtime.block_on(replay(&asked, &config, receivers)));
    tokio::select! {
        done = work => done.context("the replay has died")?,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// The configuration as it would serve, but with nobody to tell and its files in `directory`; and who would
/// have been told.
fn configuration(args: &BacktestArgs, directory: &Path) -> Result<(Config, Vec<Receiver>), StartError> {
    let mut config = match &args.config {
        Some(path) => config::read(path).map_err(StartError::Faults)?,
        None => Config::default(),
    };
    if !args.rules.is_empty() {
        config.rule_files.clone_from(&args.rules);
    }
    directory.clone_into(&mut config.data_dir);
    let receivers = std::mem::take(&mut config.receivers);
    Ok((config, receivers))
}

async fn replay(args: &BacktestArgs, config: &Config, receivers: Vec<Receiver>) -> anyhow::Result<ExitCode> {
    let external_url = config.external_url.clone().unwrap_or_else(|| format!("http://{}", config.api_listen));
    let tape = args.report.is_some().then(Tape::default);
    let mut replay = Replay::start(config, &external_url, tape.clone())?;
    let face = replay.face();
    let read = Arc::new(AtomicU64::new(0));
    let mut account = Account { is_strict: args.strict, ..Account::default() };
    let files = input::files(&args.input).map_err(|fault| anyhow::anyhow!("{fault}"))?;
    let bytes = files.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|found| found.len()).sum();
    let sources = account.open(&files, &read)?;
    let mut progress = Progress::of(bytes, read);
    let mut merge = Merge::of(sources);
    while let Some(next) = merge.next(&replay) {
        match next {
            Next::Fault(file, fault) => account.fault(file, fault)?,
            Next::Request(file, recorded) => match replay.take(&recorded) {
                Ok(()) => account.request(file),
                Err(reason) => account.fault(file, Fault::of(&merge.path(file), reason).at(recorded.line))?,
            },
        }
        progress.tell(replay.counts());
    }
    let counts = replay.finish().await;
    progress.finish();
    let passed = face.view().counts;
    let Account { inputs, faults, .. } = account;
    let ledger = face.ledger.clone();
    let mut outcome = Outcome { inputs, faults, counts, passed, ledger, receivers, totals: Totals::default() };
    outcome.count()?;
    if let (Some(path), Some(tape)) = (&args.report, &tape) {
        let page = report::page(&outcome, tape)?;
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&outcome, args.format)?;
    let is_whole = outcome.fault_count() == 0;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(outcome: &Outcome, format: OutputFormat) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match format {
        OutputFormat::Json => outcome.write_json(&mut out).context("cannot write the result")?,
        OutputFormat::Text => {
            let text = summary::text(outcome)?;
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the result")?;
        }
    }
    Ok(())
}

/// What became of each file.
#[derive(Default)]
struct Account {
    is_strict: bool,
    inputs: Vec<Input>,
    /// By number of the source: where its input stands.
    places: Vec<usize>,
    faults: Vec<Fault>,
}

impl Account {
    /// Opens all that can be opened, at least one.
    fn open(&mut self, files: &[std::path::PathBuf], read: &Arc<AtomicU64>) -> anyhow::Result<Vec<Source>> {
        let mut sources = Vec::new();
        for path in files {
            let mut input = Input { path: path.display().to_string(), format: None, requests: 0, faults: 0 };
            match input::open(path, read) {
                Ok(source) => {
                    input.format = Some(source.format);
                    self.places.push(self.inputs.len());
                    self.inputs.push(input);
                    sources.push(source);
                }
                Err(fault) => {
                    self.inputs.push(input);
                    self.note(self.inputs.len() - 1, fault)?;
                }
            }
        }
        if sources.is_empty() {
            let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
            anyhow::bail!("nothing can be read\n{}", faults.join("\n"));
        }
        Ok(sources)
    }

    fn request(&mut self, source: usize) {
        if let Some(input) = self.places.get(source).and_then(|place| self.inputs.get_mut(*place)) {
            input.requests += 1;
        }
    }

    fn fault(&mut self, source: usize, fault: Fault) -> anyhow::Result<()> {
        self.places.get(source).copied().map_or(Ok(()), |place| self.note(place, fault))
    }

    fn note(&mut self, place: usize, fault: Fault) -> anyhow::Result<()> {
        if self.is_strict {
            anyhow::bail!("{fault}");
        }
        if let Some(input) = self.inputs.get_mut(place) {
            input.faults += 1;
            if input.faults <= TOLD {
                self.faults.push(fault);
            }
        }
        Ok(())
    }
}
