//! The demonstration as a user runs it: real shop, real OTLP, real webhook, judged by its own report.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

fn demo(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command
        .args(["demo", "--duration", "300", "--seed", "7", "--port", "0", "--data-dir"])
        .arg(data_dir)
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    command
}

/// Begins a demonstration and kills it, as `kill -9` does, four seconds into its first incident.
fn begin_and_kill(data_dir: &Path) {
    let mut child = demo(data_dir).stdout(Stdio::piped()).spawn().expect("the binary starts");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let begun = stdout.lines().map_while(Result::ok).any(|line| line.contains("--- pricing latency step"));
    assert!(begun, "the incident never began");
    thread::sleep(Duration::from_secs(4));
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
}

/// Of each row of the closing table: incident, begin, detector, alert, delivery and level; and the counts of
/// alerts. How long finding took differs by fractions of a second from run to run.
fn table(output: &Output) -> Vec<String> {
    let story = String::from_utf8_lossy(&output.stdout);
    let rows = story
        .lines()
        .skip_while(|line| !line.starts_with("incident "))
        .filter(|line| line.contains("yes, both") || line.contains("MISSED") || line.contains("alerts fired"));
    let cells = |row: &str| {
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        if cells.len() < 8 {
            row.split(", ").skip(2).collect()
        } else {
            [&cells[..2], &cells[3..7]].concat().join(" | ")
        }
    };
    rows.map(cells).collect()
}

#[test]
fn every_incident_is_found_and_a_kill_in_the_middle_of_one_changes_nothing() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    let (whole, cut) = (directory.path().join("whole"), directory.path().join("cut"));
    let undisturbed = thread::spawn(move || demo(&whole).output().expect("the binary starts"));
    begin_and_kill(&cut);
    let resumed = demo(&cut).output().expect("the binary starts");
    let undisturbed = undisturbed.join().expect("no panic");
    for output in [&undisturbed, &resumed] {
        let story = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{story}\n{}", String::from_utf8_lossy(&output.stderr));
        // The exit code says it all; these say that the report is about what was asked for.
        assert_eq!(story.matches("yes, both").count(), 6, "{story}");
        assert!(story.contains(" 0 false alarms"), "{story}");
        assert!(story.contains("0 exports failed"), "{story}");
        assert!(!story.contains("MISSED"), "{story}");
        for row in ["3 read-only", "4 emergency-mode"] {
            let refused = |line: &str| line.starts_with(row) && line.ends_with("503");
            assert!(story.lines().any(refused), "the application follows the level: {story}");
        }
        for level in ["LEVEL     0 ->", "(full-service)"] {
            assert!(story.contains(level), "the level rises and returns: {story}");
        }
    }
    assert!(String::from_utf8_lossy(&resumed.stdout).contains("The shop goes on where it was"));
    assert_eq!(table(&undisturbed), table(&resumed));
}

#[test]
fn a_directory_of_another_demonstration_is_refused() {
    let directory = tempfile::tempdir().expect("there is a temporary directory");
    std::fs::write(directory.path().join("demo.json"), r#"{"seed": 8, "duration": 300, "begin": 0}"#)
        .expect("the directory is writable");
    let output = demo(directory.path()).output().expect("the binary starts");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("holds a demonstration with seed 8 of 300 s, not one with seed 7"), "{said}");
}

#[test]
fn a_demonstration_that_is_too_short_is_refused_with_the_limit() {
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["demo", "--duration", "10"])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("expected 150 s"), "{said}");
}
