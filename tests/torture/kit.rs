//! Running the writer under strace, and judging what it leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use window::{Log, Position};

use crate::{kills, writer};

/// How long a start after a crash may take.
const START_LIMIT: Duration = Duration::from_secs(5);

/// More than the writer begins.
const MOST_SEGMENTS: u64 = 100;

/// What the writer noted down before it ended.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// All that it tried to append, by number.
    pub(crate) tried: BTreeSet<u64>,
    /// What it was told is durable: number and position.
    pub(crate) kept: BTreeMap<u64, u64>,
    /// What it was told is withdrawn.
    pub(crate) refused: BTreeSet<u64>,
    /// Up to where it asked to let go.
    pub(crate) cut: u64,
    /// The log could not be opened.
    pub(crate) is_shut: bool,
    /// It came to its end.
    pub(crate) is_done: bool,
    /// Whether each sync went well, in order.
    pub(crate) syncs: Vec<bool>,
}

impl Notes {
    fn read(file: &Path) -> Self {
        let mut notes = Self::default();
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            let mut words = line.split(' ');
            let word = words.next().unwrap_or_default();
            let numbers: Vec<u64> = words.map(|n| n.parse().expect("the writer writes numbers")).collect();
            match word {
                "try" => notes.tried.extend(&numbers),
                "kept" => {
                    notes.kept.extend(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                    notes.syncs.push(true);
                }
                "refused" => {
                    notes.refused.extend(&numbers);
                    notes.syncs.push(false);
                }
                "cut" => notes.cut = numbers[0],
                "shut" => notes.is_shut = true,
                _ => notes.is_done = true,
            }
        }
        notes
    }
}

/// Whether strace works here; says so, or fails where nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a test that is skipped must say so")]
pub(crate) fn has_strace() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    let has = *HAS.get_or_init(|| {
        let tried = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    assert!(has || std::env::var("CI").is_err(), "strace is needed: apt-get install strace");
    if !has {
        eprintln!("skipped: strace is needed: apt-get install strace");
    }
    has
}

/// A directory with a log that an earlier run has left in the middle of a record.
pub(crate) fn prepared() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let log = dir.path().join("log");
    writer::write(&log, &dir.path().join("notes"), 1, 3);
    let mut files: Vec<_> = fs::read_dir(&log).expect("it is there").map(|e| e.expect("readable").path()).collect();
    files.sort();
    let newest = files.iter().rev().find(|f| f.extension().is_some_and(|e| e == "log")).expect("records were written");
    let mut bytes = fs::read(newest).expect("it was written");
    bytes.extend([1; 40]);
    fs::write(newest, bytes).expect("writable");
    dir
}

/// Runs the writer on the log in `dir` with these faults injected, and says whether it was killed.
pub(crate) fn write_under(dir: &TempDir, faults: &[String]) -> bool {
    let mut strace = Command::new("strace");
    let calls = kills::CALLS.map(|(call, _)| call).join(",");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    // Only what touches these counts: the test binary and its loader open files too.
    let log = dir.path().join("log");
    let file = |number: u64| ["log", "spare"].map(|extension| log.join(format!("{number:020}.{extension}")));
    let segments = (1..=MOST_SEGMENTS).flat_map(file);
    for path in segments.chain([log.clone(), dir.path().join("notes")]) {
        strace.arg("-P").arg(path);
    }
    for fault in faults {
        strace.args(["-e", &format!("inject={fault}")]);
    }
    strace
        .arg(std::env::current_exe().expect("we run"))
        .args(["--exact", "--ignored", "writer::writes_when_told_where"])
        .env(writer::DIRECTORY, dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = strace.status().expect("strace was there a moment ago");
    assert!(status.success() || status.signal() == Some(9), "{faults:?}: {status}");
    !status.success()
}

/// Fails unless all that was kept is there, nothing that was refused, and nothing that was not tried.
pub(crate) fn judge(dir: &TempDir, case: &str) -> Notes {
    let notes = Notes::read(&dir.path().join("notes"));
    let began = Instant::now();
    let (mut log, _) = Log::open(&dir.path().join("log"), writer::CONFIG).expect("damage or not, it starts");
    let mut found = BTreeMap::new();
    for item in log.replay(Position(notes.cut)) {
        let record = item.unwrap_or_else(|damage| unreachable!("{case}: a kill damages nothing: {damage}"));
        let text = String::from_utf8(record.payload).expect("the writer writes text");
        let number: u64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number comes first");
        assert_eq!(text, writer::text(number), "{case}: record {number} was not written like this");
        assert_eq!(found.insert(number, record.position.0), None, "{case}: record {number} is there twice");
    }
    assert!(began.elapsed() < START_LIMIT, "{case}: it took {:?}", began.elapsed());
    for (number, position) in notes.kept.iter().filter(|(_, position)| **position > notes.cut) {
        assert_eq!(found.get(number), Some(position), "{case}: record {number} was acknowledged");
    }
    for number in found.keys() {
        assert!(!notes.refused.contains(number), "{case}: record {number} was refused");
        assert!(notes.tried.contains(number), "{case}: record {number} was never tried");
    }
    log.append(&[b"0"]).expect("it goes on");
    log.sync().expect("it goes on");
    notes
}
