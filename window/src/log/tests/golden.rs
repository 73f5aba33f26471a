//! Files that an earlier build wrote stay readable.

use super::*;

/// Two segments; the first ends with a withdrawn record, the second with a torn one.
const VERSION_1: [(&str, &[u8]); 2] = [
    ("00000000000000000001.log", include_bytes!("golden/version1/00000000000000000001.log")),
    ("00000000000000000003.log", include_bytes!("golden/version1/00000000000000000003.log")),
];

fn golden() -> TempDir {
    let dir = new_dir();
    for (name, bytes) in VERSION_1 {
        fs::write(dir.path().join(name), bytes).expect("writable");
    }
    dir
}

#[test]
fn version_1_is_read() {
    let dir = golden();
    let (mut log, recovery) = Log::open(dir.path(), LogConfig::default()).expect("it is known");
    let wanted = [(1, "first".to_owned()), (2, "second, in two parts".to_owned()), (3, "third".to_owned())];
    assert_eq!(texts(log.replay(Position(0))), wanted);
    let file = dir.path().join("00000000000000000003.log");
    assert_eq!(recovery.torn, [Torn { file, kept: 173, bytes: 10 }]);
    assert_eq!(log.append(&[b"fourth"]).expect("room"), Position(4));
}

#[test]
fn a_newer_version_is_an_error_that_names_file_and_version() {
    let dir = golden();
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

/// `GOLDEN=DIR cargo test -p bellwether-window golden -- --ignored` writes such files to `DIR`.
#[test]
#[ignore = "writes the files that the tests above read"]
fn golden_files_are_written_anew() {
    let dir = PathBuf::from(std::env::var("GOLDEN").expect("the directory to write to"));
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
