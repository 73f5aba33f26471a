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

use crate::{cli::RepairArgs, config, config::Config};

/// Where damaged files go, in the data directory.
const DAMAGED: &str = "damaged";
/// Directories below the data directory that are looked into: `tenants/<name>/<files>`.
const DEPTH: usize = 3;

/// Checks one kind of file under the data directory. With a directory given, repairs it, and sets
/// aside there what is damaged.
type Kind = fn(&Path, Option<&Path>, &mut Report) -> anyhow::Result<()>;

/// All kinds of files that can be checked.
const KINDS: [Kind; 1] = [logs];

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
    let data_dir = data_dir(args)?;
    fs::read_dir(&data_dir).with_context(|| format!("cannot read {}", data_dir.display()))?;
    let aside = data_dir.join(DAMAGED);
    let mut report = Report::default();
    let mut result = Ok(());
    for kind in KINDS {
        result = result.and(kind(&data_dir, (!args.dry_run).then_some(aside.as_path()), &mut report));
    }
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

fn data_dir(args: &RepairArgs) -> anyhow::Result<PathBuf> {
    if let Some(directory) = &args.data_dir {
        return Ok(directory.clone());
    }
    let Some(path) = &args.config else { return Ok(Config::default().data_dir) };
    match config::read(path) {
        Ok(config) => Ok(config.data_dir),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            anyhow::bail!("the configuration has faults:\n{}", faults.join("\n"))
        }
    }
}

/// Write-ahead logs.
fn logs(data_dir: &Path, aside: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
    for dir in directories(data_dir, DEPTH)? {
        if !window::is_log(&dir) {
            continue;
        }
        let (check, moved) = match aside {
            Some(aside) => window::repair_log(&dir, aside)?,
            None => (window::check_log(&dir)?, Vec::new()),
        };
        report.faults += check.damage.len();
        let shown = dir.display();
        report.lines.push(format!("{shown}: {} records in {} segments", check.records, check.segments));
        report.lines.extend(check.damage.iter().map(ToString::to_string));
        for torn in &check.torn {
            let file = torn.file.display();
            report.lines.push(format!(
                "{file}: the last {} bytes were being written; the next start cuts them off",
                torn.bytes
            ));
        }
        for (from, to) in moved {
            report.lines.push(format!("{}: set aside as {}", from.display(), to.display()));
        }
    }
    Ok(())
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
