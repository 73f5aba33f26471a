//! `bellwether repair`: the way out when files in the data directory are damaged.
//!
//! A start never needs it to get past damage; it reports what it finds on every start, though, until
//! somebody decides. Here somebody has: what can be read is kept, what cannot is set aside.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;

use crate::{cli::RepairArgs, config, config::Config, pipeline};

/// The ledger's file.
const LEDGER: &str = "bellwether.db";
/// Where damaged files go, in the data directory.
const DAMAGED: &str = "damaged";
/// Directories below the data directory that are looked into: `tenants/<name>/<files>`.
const DEPTH: usize = 3;

/// Checks the files of one kind that lie in a directory. With a place given, repairs them, and sets
/// aside there what is damaged.
type Kind = fn(&Path, Option<&Path>, &mut Report) -> anyhow::Result<()>;

/// All kinds of files that can be checked. Those that are locked while the service runs come first, so
/// that nothing is changed under it.
const KINDS: [Kind; 4] = [ledger, log, chunks, state];

/// What is printed, and whether it is bad.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
    faults: usize,
}

/// Checks everything, repairs it unless told not to, and prints what was found.
///
/// # Errors
/// When the directory is in use, was written by a later version, or cannot be read or written.
#[expect(clippy::print_stdout, reason = "the findings are what this command prints")]
pub(crate) fn run(args: &RepairArgs) -> anyhow::Result<ExitCode> {
    let data_dir = data_dir(args.data_dir.as_deref(), args.config.as_deref())?;
    fs::read_dir(&data_dir).with_context(|| format!("cannot read {}", data_dir.display()))?;
    let aside = data_dir.join(DAMAGED);
    let mut report = Report::default();
    let result = check(&data_dir, (!args.dry_run).then_some(aside.as_path()), &mut report);
    for line in &report.lines {
        println!("{line}");
    }
    result?;
    let faults = match report.faults {
        0 => "no damage".to_owned(),
        1 => "1 fault".to_owned(),
        n => format!("{n} faults"),
    };
    let done = match (report.faults, args.dry_run) {
        (0, _) => "",
        (_, true) => " found; nothing was changed",
        (_, false) => " repaired",
    };
    println!("{}: {faults}{done}", data_dir.display());
    Ok(if report.faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The data directory that is named, or that the configuration file names, or the default one.
///
/// # Errors
/// Faults of the configuration.
pub(crate) fn data_dir(directory: Option<&Path>, config: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(directory) = directory {
        return Ok(directory.to_owned());
    }
    let Some(path) = config else { return Ok(Config::default().data_dir) };
    match config::read(path) {
        Ok(config) => Ok(config.data_dir),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            anyhow::bail!("the configuration has faults:\n{}", faults.join("\n"))
        }
    }
}

/// Runs all checks, and stops at the first that cannot be made.
fn check(data_dir: &Path, aside: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
    let directories = directories(data_dir, DEPTH).context("cannot look into the data directory")?;
    for kind in KINDS {
        for directory in &directories {
            // The same place as in the data directory, so that names of tenants are not lost.
            let below = directory.strip_prefix(data_dir).unwrap_or(directory);
            kind(directory, aside.map(|aside| aside.join(below)).as_deref(), report)?;
        }
    }
    Ok(())
}

/// A write-ahead log.
fn log(dir: &Path, aside: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
    if !window::is_log(dir) {
        return Ok(());
    }
    let (check, moved) = match aside {
        Some(aside) => window::repair_log(dir, aside)?,
        None => (window::check_log(dir)?, Vec::new()),
    };
    report.faults += check.damage.len();
    report.lines.push(format!("{}: {} records in {} segments", dir.display(), check.records, check.segments));
    report.lines.extend(check.damage.iter().map(ToString::to_string));
    for torn in &check.torn {
        let (file, bytes) = (torn.file.display(), torn.bytes);
        report.lines.push(format!("{file}: the last {bytes} bytes were being written; the next start cuts them off"));
    }
    for (from, to) in moved {
        report.lines.push(set_aside_as(&from, &to));
    }
    Ok(())
}

/// Chunk files. Without a damaged one its rows are missing, and all others are there.
fn chunks(dir: &Path, aside: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
    let (whole, damages) = window::files::check(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let all = whole + damages.len();
    if all > 0 {
        report.lines.push(format!("{}: {whole} of {all} chunk files are whole", dir.display()));
    }
    for damage in damages {
        report.faults += 1;
        report.lines.push(damage.to_string());
        move_to(&damage.path, aside, report)?;
    }
    Ok(())
}

/// How a tenant stood at the last checkpoint. Without it detectors warm up again.
fn state(dir: &Path, aside: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
    let path = dir.join(pipeline::STATE);
    if !path.is_file() {
        return Ok(());
    }
    let Some(fault) = pipeline::fault_of_state(&path) else {
        report.lines.push(format!("{}: whole", path.display()));
        return Ok(());
    };
    report.faults += 1;
    report.lines.push(format!("{}: {fault}", path.display()));
    move_to(&path, aside, report)
}

/// A ledger. Without it alerts, silences and undelivered notifications are forgotten.
fn ledger(dir: &Path, aside: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
    let path = dir.join(LEDGER);
    if !path.is_file() {
        return Ok(());
    }
    let Some(fault) = alerting::Ledger::fault(&path)? else {
        report.lines.push(format!("{}: sound", path.display()));
        return Ok(());
    };
    report.faults += 1;
    report.lines.push(format!("{}: {fault}", path.display()));
    // What SQLite keeps beside the file belongs to it.
    for suffix in ["", "-wal", "-shm"] {
        let part = dir.join(format!("{LEDGER}{suffix}"));
        if part.exists() {
            move_to(&part, aside, report)?;
        }
    }
    Ok(())
}

/// Moves a file to `aside`, if that is given, under a name that is free there.
fn move_to(path: &Path, aside: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
    let Some(aside) = aside else { return Ok(()) };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let names = std::iter::once(name.to_string()).chain((1..).map(|n| format!("{name}.{n}")));
    let target = names.map(|name| aside.join(name)).find(|target| !target.exists()).unwrap_or_default();
    fs::create_dir_all(aside)
        .and_then(|()| fs::rename(path, &target))
        .with_context(|| format!("cannot move {} to {}", path.display(), target.display()))?;
    report.lines.push(set_aside_as(path, &target));
    Ok(())
}

fn set_aside_as(from: &Path, to: &Path) -> String {
    format!("{}: set aside as {}", from.display(), to.display())
}

/// `dir` and those below it, without links and without what was set aside before.
fn directories(dir: &Path, depth: usize) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![dir.to_owned()];
    if depth == 0 {
        return Ok(found);
    }
    let mut below: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    below.sort_by_key(fs::DirEntry::file_name);
    for entry in below {
        if entry.file_type()?.is_dir() && entry.file_name() != DAMAGED {
            found.extend(directories(&entry.path(), depth - 1)?);
        }
    }
    Ok(found)
}
