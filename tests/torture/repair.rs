//! The way out of damage: `bellwether repair`.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;
use window::{Log, LogConfig, Position};

/// A data directory with a log of three records in each of three segments.
fn sample() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let config = LogConfig { segment_bytes: 500, ..LogConfig::default() };
    let (mut log, _) = Log::open(&dir.path().join("log"), config).expect("it is empty");
    for i in 1..=9 {
        log.append(&[format!("{i:0100}").as_bytes()]).expect("room");
        log.sync().expect("the disk works");
    }
    dir
}

fn repair(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_bellwether"))
        .args(["repair", "--data-dir"])
        .arg(dir)
        .args(arguments)
        .output()
        .expect("cargo has built the binary");
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code(), text.replace(&dir.display().to_string(), "DATA"))
}

#[test]
fn a_sound_directory_has_no_damage() {
    let dir = sample();
    let wanted = "DATA/log: 9 records in 3 segments\nDATA: no damage\n";
    assert_eq!(repair(dir.path(), &[]), (Some(0), wanted.into()));
    assert!(!dir.path().join("damaged").exists());
}

#[test]
fn damage_is_shown_repaired_and_then_gone() {
    let dir = sample();
    let file = dir.path().join("log/00000000000000000002.log");
    let mut bytes = fs::read(&file).expect("it was written");
    bytes[300] ^= 1;
    fs::write(&file, &bytes).expect("writable");
    let found = "DATA/log: 8 records in 3 segments\n\
                 DATA/log/00000000000000000002.log at byte 268: records are damaged; 1 record lost\n";
    let wanted = format!("{found}DATA: 1 fault found; nothing was changed\n");
    assert_eq!(repair(dir.path(), &["--dry-run"]), (Some(1), wanted));
    assert_eq!(fs::read(&file).expect("it is there"), bytes, "looking changes nothing");
    let aside = "DATA/damaged/log/00000000000000000002.log";
    let wanted = format!("{found}DATA/log/00000000000000000002.log: set aside as {aside}\nDATA: 1 fault repaired\n");
    assert_eq!(repair(dir.path(), &[]), (Some(1), wanted));
    assert_eq!(fs::read(dir.path().join("damaged/log/00000000000000000002.log")).expect("set aside"), bytes);
    let wanted = "DATA/log: 8 records in 3 segments\nDATA: no damage\n";
    assert_eq!(repair(dir.path(), &[]), (Some(0), wanted.into()));
    let (log, _) = Log::open(&dir.path().join("log"), LogConfig::default()).expect("it is sound");
    let positions: Vec<_> = log.replay(Position(0)).map(|r| r.expect("no damage").position.0).collect();
    assert_eq!(positions, [1, 2, 3, 4, 6, 7, 8, 9]);
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let dir = sample();
    let (log, _) = Log::open(&dir.path().join("log"), LogConfig::default()).expect("it is sound");
    let wanted = "bellwether: DATA/log is in use by another process\n";
    assert_eq!(repair(dir.path(), &[]), (Some(2), wanted.into()));
    drop(log);
    let missing = dir.path().join("missing");
    let (code, text) = repair(&missing, &[]);
    assert_eq!((code, text.starts_with("bellwether: cannot read DATA: ")), (Some(2), true), "{text}");
}

#[test]
fn a_ledger_that_keeps_the_service_from_starting_is_set_aside() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let tenant = dir.path().join("tenants/acme");
    fs::create_dir_all(&tenant).expect("writable");
    fs::write(tenant.join("bellwether.db"), b"no ledger at all").expect("writable");
    fs::write(tenant.join("bellwether.db-wal"), b"nor this").expect("writable");
    let (code, text) = repair(dir.path(), &["--dry-run"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("DATA/tenants/acme/bellwether.db: file is not a database"), "{text}");
    assert!(text.ends_with("DATA: 1 fault found; nothing was changed\n"), "{text}");
    let (code, text) = repair(dir.path(), &[]);
    assert_eq!(code, Some(1), "{text}");
    let aside = dir.path().join("damaged/tenants/acme");
    assert_eq!(fs::read(aside.join("bellwether.db")).expect("set aside"), b"no ledger at all");
    assert_eq!(fs::read(aside.join("bellwether.db-wal")).expect("set aside"), b"nor this");
    assert_eq!(repair(dir.path(), &[]), (Some(0), "DATA: no damage\n".into()));
}

#[test]
fn a_damaged_chunk_file_is_set_aside_and_the_others_stay() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let chunks = dir.path().join("chunks");
    let (mut files, _) = window::files::ChunkFiles::open(&chunks).expect("writable");
    for second in 1..=2 {
        let mut window = window::Window::new(window::Config::default());
        window.keep_unsaved();
        window.push_point(window::Point { series: window::SeriesId(1), time: window::UnixNanos(second), value: 1.0 });
        window.seal();
        let checkpoint = files.write(&window.take_unsaved()).expect("there is room");
        files.commit(checkpoint, window::UnixNanos::MIN).expect("there is room");
    }
    let mut paths: Vec<_> = fs::read_dir(&chunks).expect("it is there").map(|e| e.expect("readable").path()).collect();
    paths.sort();
    let mut bytes = fs::read(&paths[0]).expect("it was written");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&paths[0], &bytes).expect("writable");
    let (code, text) = repair(dir.path(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.starts_with("DATA/chunks: 1 of 2 chunk files are whole\n"), "{text}");
    let aside = dir.path().join("damaged/chunks").join(paths[0].file_name().expect("a file"));
    assert_eq!(fs::read(aside).expect("set aside"), bytes);
    assert_eq!(repair(dir.path(), &[]).0, Some(0));
    assert!(paths[1].exists() && !paths[0].exists());
}
