//! Files that an earlier build wrote stay readable.

use super::*;

/// Two segments; the first ends with a withdrawn record, the second with a torn one.
const VERSION_1: [(&str, &[u8]); 2] = [
    ("00000000000000000001.log", include_bytes!("golden/version1/00000000000000000001.log")),
    ("00000000000000000003.log", include_bytes!("golden/version1/00000000000000000003.log")),
];

/// Two segments; the second is in a file that was an earlier one's, the rest of whose record follows.
const VERSION_2: [(&str, &[u8]); 2] = [
    ("00000000000000000002.log", include_bytes!("golden/version2/00000000000000000002.log")),
    ("00000000000000000003.log", include_bytes!("golden/version2/00000000000000000003.log")),
];

fn golden(files: [(&str, &[u8]); 2]) -> TempDir {
    let dir = new_dir();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).expect("writable");
    }
    dir
}

#[test]
fn version_1_is_read() {
    let dir = golden(VERSION_1);
    let (mut log, recovery) = Log::open(dir.path(), LogConfig::default()).expect("it is known");
    let wanted = [(1, "first".to_owned()), (2, "second, in two parts".to_owned()), (3, "third".to_owned())];
    assert_eq!(texts(log.replay(Position(0))), wanted);
    let file = dir.path().join("00000000000000000003.log");
    assert_eq!(recovery.torn, [Torn { file, kept: 173, bytes: 10 }]);
    assert_eq!(log.append(&[b"fourth"]).expect("room"), Position(4));
}

#[test]
fn version_2_is_read() {
    let dir = golden(VERSION_2);
    let file = dir.path().join("00000000000000000003.log");
    assert!(fs::read(&file).expect("it was written").ends_with(b"overwritten"));
    let (mut log, recovery) = Log::open(dir.path(), LogConfig::default()).expect("it is known");
    assert_eq!(texts(log.replay(Position(1))), [(2, "second".to_owned()), (3, "third".to_owned())]);
    // What followed was another segment's: not a word about that.
    assert_eq!(recovery.torn, []);
    assert_eq!(fs::metadata(&file).expect("it was written").len(), 173);
    assert_eq!(log.append(&[b"fourth"]).expect("room"), Position(4));
}

#[test]
fn a_newer_version_is_an_error_that_names_file_and_version() {
    let dir = golden(VERSION_1);
    let file = dir.path().join("00000000000000000003.log");
    let mut bytes = fs::read(&file).expect("it was written");
    for copy in [0, SEGMENT_HEADER / 2] {
        bytes[copy + 8] = 3;
        let check = xxhash_rust::xxh3::xxh3_64(&bytes[copy..copy + 12]);
        bytes[copy + 12..copy + 16].copy_from_slice(&check.to_le_bytes()[..4]);
    }
    fs::write(&file, bytes).expect("writable");
    let error = Log::open(dir.path(), LogConfig::default()).expect_err("it is not known");
    assert_eq!(error.to_string(), format!("{} has format version 3; expected at most 2", file.display()));
}

/// `GOLDEN=DIR cargo test -p bellwether-window golden -- --ignored` writes such files to directories in `DIR`.
fn anew(version: &str) -> PathBuf {
    PathBuf::from(std::env::var("GOLDEN").expect("the directory to write to")).join(version)
}

#[test]
#[ignore = "writes files that a test above reads"]
fn golden_files_of_version_2_are_written_anew() {
    let config = LogConfig { segment_bytes: 1, ..LogConfig::default() };
    let (mut log, _) = Log::open(&anew("version2"), config).expect("the directory is ours");
    for text in ["first, which is partly overwritten", "second"] {
        log.append(&[text.as_bytes()]).expect("room");
        log.sync().expect("the disk works");
    }
    log.cut(Position(1)).expect("the disk works");
    log.append(&[b"third"]).expect("room");
    log.sync().expect("the disk works");
}

#[test]
#[ignore = "writes files that a test above reads"]
fn golden_files_of_version_1_are_written_anew() {
    let dir = anew("version1");
    let disk = faults::FaultyDisk::default();
    let (mut log, _) = Log::open_on(Box::new(disk.clone()), &dir, LogConfig::default()).expect("the directory is ours");
    log.append(&[b"first"]).expect("room");
    log.append(&[b"second, ", b"in two parts"]).expect("room");
    log.sync().expect("the disk works");
    log.append(&[b"withdrawn"]).expect("room");
    for fault in [faults::Fault::Sync, faults::Fault::Cut, faults::Fault::Create] {
        disk.arm(fault);
    }
    log.sync().expect_err("it fails");
    log.append(&[b"third"]).expect("room");
    log.sync().expect("the disk works");
    let file = log.current.as_ref().expect("it was appended to").segment.path.clone();
    drop(log);
    let mut bytes = fs::read(&file).expect("it was written");
    bytes.extend([7; 10]);
    fs::write(&file, bytes).expect("writable");
}
