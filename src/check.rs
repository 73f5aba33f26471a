//! `bellwether check`: every fault of the named files at once.

use std::{io::Write as _, path::Path, process::ExitCode};

use alerting::runbook::{self, Runbook};
use detect::yaml::{Document, Fault, Faults};

use crate::{USAGE, config, runbooks::Runbooks};

/// Prints the JSON Schema of the configuration. Nothing is wrong if nobody reads it to its end.
pub(crate) fn print_schema() -> ExitCode {
    let _ = std::io::stdout().write_all(config::SCHEMA.as_bytes());
    ExitCode::SUCCESS
}

/// Checks `files` and prints what is wrong, or that nothing is.
#[expect(clippy::print_stdout, reason = "the findings are what this command prints")]
pub(crate) fn run(files: &[std::path::PathBuf]) -> ExitCode {
    let mut faults = Vec::new();
    for path in files {
        match check(path) {
            Ok(summary) => println!("{}: {summary}", path.display()),
            Err(found) => faults.extend(found),
        }
    }
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} fault{} found", faults.len(), if faults.len() == 1 { "" } else { "s" });
    ExitCode::from(USAGE)
}

fn check(path: &Path) -> Result<String, Vec<Fault>> {
    let text = config::read_text(path)?;
    // Links are checked for their form only, so any address will do.
    let external_url = "http://localhost";
    // Text for people has no form to check; that it can be read is all.
    if path.extension().is_some_and(|ending| ending == "md") {
        return Ok("the runbook is text".to_owned());
    }
    if is_rule_file(&text) {
        let groups = config::read_rules(path, external_url)?;
        let rules: usize = groups.iter().map(|g| g.rules.len()).sum();
        return Ok(format!("{rules} rules in {} groups are valid", groups.len()));
    }
    if runbook::is_runbook(&text) {
        let runbook = Runbook::read(&path.display().to_string(), &text)?;
        return Ok(format!("the runbook is valid; {} steps", runbook.steps.len()));
    }
    if detect::health::openslo::is_openslo(&text) {
        let objectives = config::read_openslo(&[path.to_owned()])?;
        return Ok(format!("{} objectives are valid", objectives.len()));
    }
    let config = config::read(path)?;
    if let Some(Err(error)) = config.ingest.tls.as_ref().map(ingest::TlsConfig::check) {
        let file = error.file.display().to_string();
        return Err(vec![Fault { file, line: 0, message: format!("tls: {}", error.reason) }]);
    }
    Runbooks::load(config.runbooks_dir.as_deref())?;
    let rules: usize = config.rules(external_url)?.iter().map(|g| g.rules.len()).sum();
    Ok(format!(
        "the configuration is valid; {rules} rules, {} objectives, {} receivers",
        config.engine.health.objectives.len(),
        config.receivers.len()
    ))
}

fn is_rule_file(text: &str) -> bool {
    let mut faults = Faults::of("");
    let document = Document::parse(text, &mut faults);
    document.mapping(&mut faults).get("groups").is_some()
}
