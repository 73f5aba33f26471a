//! The process that is killed: it appends to a log and notes down what it was told.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    thread,
};

use window::{Log, LogConfig, Position};

/// Variable that names the directory of the log and the notes.
pub(crate) const DIRECTORY: &str = "BELLWETHER_TORTURE_DIRECTORY";
/// Segments are this small so that many are begun, left and deleted.
pub(crate) const CONFIG: LogConfig = LogConfig { segment_bytes: 2_000, max_record_bytes: 1 << 20 };

const BATCHES: u64 = 24;
/// A number of the run that is killed; lower ones were written before.
const FIRST: u64 = 1_000;

/// Not a test of its own: others start it in a process of its own.
#[test]
#[ignore = "is started by other tests"]
fn writes_when_told_where() {
    let Some(dir) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    // A thread of its own, because faults are counted by thread.
    let writing = thread::spawn(move || write(&dir.join("log"), &dir.join("notes"), FIRST, BATCHES));
    writing.join().expect("it does not panic");
}

/// The record with this number.
pub(crate) fn text(number: u64) -> String {
    // Some are longer than what is buffered.
    let filler = if number.is_multiple_of(17) { 70_000 } else { number * 37 % 300 };
    format!("{number} {}", "x".repeat(usize::try_from(filler).expect("small")))
}

/// Appends batches of records, numbered from `first`, to the log in `dir`, and notes down what happened.
pub(crate) fn write(dir: &Path, notes: &Path, first: u64, batches: u64) {
    let mut notes = OpenOptions::new().create(true).append(true).open(notes).expect("writable");
    let Ok((mut log, _)) = Log::open(dir, CONFIG) else { return note(&mut notes, "shut", &[]) };
    let mut next = first;
    for batch in 0..batches {
        let numbers: Vec<u64> = (next..=next + batch % 4).collect();
        next += batch % 4 + 1;
        note(&mut notes, "try", &numbers);
        let mut kept = Vec::new();
        let result = numbers.iter().try_for_each(|number| {
            kept.extend([*number, log.append(&[text(*number).as_bytes()])?.0]);
            Ok(())
        });
        match result.and_then(|()| log.sync()) {
            Ok(_) => note(&mut notes, "kept", &kept),
            // What a full segment made durable on the way is not told apart: it was not acknowledged.
            Err(window::LogError::Withdrawn { kept: last, .. }) => {
                let withdrawn: Vec<u64> = kept.chunks_exact(2).filter(|p| p[1] > last.0).map(|p| p[0]).collect();
                note(&mut notes, "refused", &withdrawn);
            }
            Err(error) => unreachable!("{error}"),
        }
        if batch % 6 == 5 {
            let up_to = log.durable().0.saturating_sub(8);
            note(&mut notes, "cut", &[up_to]);
            // What cannot be deleted now is deleted later.
            let _ = log.cut(Position(up_to));
        }
    }
    note(&mut notes, "done", &[]);
}

/// One line, in one call.
fn note(notes: &mut File, word: &str, numbers: &[u64]) {
    let numbers: String = numbers.iter().map(|n| format!(" {n}")).collect();
    notes.write_all(format!("{word}{numbers}\n").as_bytes()).expect("the notes are on a sound disk");
}
