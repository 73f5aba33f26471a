use super::*;

mod faults;
mod golden;
mod model;
mod repair;
mod torture;

use tempfile::TempDir;

fn open(dir: &TempDir, segment_bytes: u64) -> Log {
    let config = LogConfig { segment_bytes, ..LogConfig::default() };
    Log::open(dir.path(), config).expect("the directory is ours").0
}

/// What replay gives, by position; fails on damage.
fn texts(replay: Replay) -> Vec<(u64, String)> {
    replay
        .map(|item| {
            let record = item.expect("no damage");
            (record.position.0, String::from_utf8(record.payload).expect("tests write text"))
        })
        .collect()
}

fn files(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).expect("it is there");
    let mut names: Vec<_> = entries.map(|e| e.expect("readable").file_name().into_string().expect("ascii")).collect();
    names.retain(|name| name != "lock");
    names.sort();
    names
}

fn new_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

#[test]
fn what_was_synced_is_there_after_a_restart_and_numbers_go_on() {
    let dir = new_dir();
    let mut log = open(&dir, 1 << 20);
    assert_eq!(log.append(&[b"one"]).expect("room"), Position(1));
    assert_eq!(log.append(&[b"t", b"", b"wo"]).expect("room"), Position(2));
    assert_eq!((log.durable(), log.last()), (Position(0), Position(2)));
    assert_eq!(log.sync().expect("the disk works"), Position(2));
    drop(log);
    let mut log = open(&dir, 1 << 20);
    assert_eq!(texts(log.replay(Position(0))), [(1, "one".into()), (2, "two".into())]);
    assert_eq!(log.append(&[]).expect("room"), Position(3));
    log.sync().expect("the disk works");
    assert_eq!(texts(log.replay(Position(1))), [(2, "two".into()), (3, String::new())]);
}

#[test]
fn replay_gives_only_what_is_durable() {
    let dir = new_dir();
    let mut log = open(&dir, 1 << 20);
    log.append(&[b"a"]).expect("room");
    assert_eq!(texts(log.replay(Position(0))), []);
    log.sync().expect("the disk works");
    log.append(&[b"b"]).expect("room");
    assert_eq!(texts(log.replay(Position(0))), [(1, "a".into())]);
}

#[test]
fn long_and_short_records_keep_their_order() {
    let dir = new_dir();
    let mut log = open(&dir, 1 << 20);
    let long = "x".repeat(3 * BUFFER);
    let parts = [b"short".as_slice(), long.as_bytes(), b"short"];
    for part in parts {
        log.append(&[part]).expect("room");
    }
    log.sync().expect("the disk works");
    let wanted = [(1, "short".to_owned()), (2, long), (3, "short".to_owned())];
    assert_eq!(texts(log.replay(Position(0))), wanted);
}

#[test]
fn whole_segments_are_cut_and_the_newest_keeps_the_numbers() {
    let dir = new_dir();
    let mut log = open(&dir, 200);
    for i in 0..4 {
        log.append(&[format!("{i:0100}").as_bytes()]).expect("room");
        log.sync().expect("the disk works");
    }
    // A segment is left when it has its 200 bytes: with one record here.
    assert_eq!(files(&dir).len(), 4);
    log.cut(Position(2)).expect("files can be renamed");
    let [first, second] = ["00000000000000000001.spare", "00000000000000000002.spare"];
    let [third, fourth] = ["00000000000000000003.log", "00000000000000000004.log"];
    assert_eq!(files(&dir), [first, second, third, fourth]);
    log.cut(Position(4)).expect("files can be deleted");
    assert_eq!(files(&dir), [first, fourth], "as many are spare as were let go last");
    let bytes = fs::metadata(dir.path().join(fourth)).expect("it is there").len();
    assert_eq!(log.bytes(), bytes);
    drop(log);
    let mut log = open(&dir, 200);
    log.cut(Position(4)).expect("files can be deleted");
    assert_eq!(files(&dir), [fourth]);
    assert_eq!(log.append(&[b"x"]).expect("room"), Position(5));
    log.sync().expect("the disk works");
    log.cut(Position(4)).expect("files can be renamed");
    assert_eq!(files(&dir), ["00000000000000000004.spare", "00000000000000000005.log"]);
    drop(log);
    assert_eq!(texts(open(&dir, 200).replay(Position(4))), [(5, "x".into())]);
}

#[test]
fn a_spare_file_is_written_over_and_what_it_held_is_gone() {
    let dir = new_dir();
    let mut log = open(&dir, 1_000);
    for i in 1..=21 {
        log.append(&[format!("{i:0100}").as_bytes()]).expect("room");
        log.sync().expect("the disk works");
    }
    // Seven records a segment.
    log.cut(Position(14)).expect("files can be renamed");
    let spare = fs::metadata(dir.path().join("00000000000000000002.spare")).expect("is spare").len();
    log.append(&[b"22"]).expect("room");
    log.sync().expect("the disk works");
    log.append(&[b"23"]).expect("room");
    log.sync().expect("the disk works");
    assert_eq!(
        files(&dir),
        ["00000000000000000001.spare", "00000000000000000003.log", "00000000000000000004.log"],
        "the spare one is another segment now"
    );
    let file = dir.path().join("00000000000000000004.log");
    assert_eq!(fs::metadata(&file).expect("is there").len(), spare, "it is not made shorter");
    let newest = |log: &Log| texts(log.replay(Position(20)));
    let wanted = [(21, format!("{:0100}", 21)), (22, "22".into()), (23, "23".into())];
    assert_eq!(newest(&log), wanted);
    drop(log);
    let found = check_log(dir.path()).expect("nobody else has it");
    assert_eq!((found.records, found.torn, found.damage), (9, vec![], vec![]), "rests are neither torn nor damage");
    // A record that was being written is torn, and nothing behind it counts.
    let mut bytes = fs::read(&file).expect("is there");
    let last = bytes.windows(2).position(|two| two == b"23").expect("was written");
    bytes[last] ^= 1;
    fs::write(&file, &bytes).expect("writable");
    let (log, recovery) = Log::open(dir.path(), LogConfig::default()).expect("the directory is ours");
    let kept = (last - RECORD_HEADER) as u64;
    assert_eq!(recovery.torn, [Torn { file: file.clone(), kept, bytes: RECORD_HEADER as u64 + 2 }]);
    assert_eq!((fs::metadata(&file).expect("is there").len(), newest(&log)), (kept, wanted[..2].to_vec()));
}

#[test]
fn a_file_that_was_to_be_a_segment_and_still_is_another_one_is_removed() {
    let dir = new_dir();
    let mut log = open(&dir, 200);
    for _ in 0..3 {
        log.append(&[&[b'x'; 100]]).expect("room");
        log.sync().expect("the disk works");
    }
    log.cut(Position(1)).expect("files can be renamed");
    drop(log);
    let file = dir.path().join("00000000000000000004.log");
    fs::rename(dir.path().join("00000000000000000001.spare"), &file).expect("is there");
    let (log, recovery) = Log::open(dir.path(), LogConfig::default()).expect("the directory is ours");
    assert_eq!(recovery.torn.iter().map(|torn| torn.kept).collect::<Vec<_>>(), [0]);
    assert_eq!((log.last(), texts(log.replay(Position(1))).len(), file.exists()), (Position(3), 2, false));
}

#[test]
fn skipped_numbers_are_no_loss() {
    let dir = new_dir();
    let mut log = open(&dir, 1 << 20);
    log.append(&[b"a"]).expect("room");
    log.skip_to(Position(1)).expect("nothing to do");
    log.skip_to(Position(9)).expect("the disk works");
    assert_eq!(log.append(&[b"b"]).expect("room"), Position(10));
    log.sync().expect("the disk works");
    let wanted = [(1, "a".to_owned()), (10, "b".to_owned())];
    assert_eq!(texts(log.replay(Position(0))), wanted);
    drop(log);
    assert_eq!(texts(open(&dir, 1 << 20).replay(Position(0))), wanted);
}

#[test]
fn two_cannot_have_one_directory() {
    let dir = new_dir();
    let log = open(&dir, 1 << 20);
    let error = Log::open(dir.path(), LogConfig::default()).expect_err("it is in use");
    assert_eq!(error.to_string(), format!("{} is in use by another process", dir.path().display()));
    drop(log);
    open(&dir, 1 << 20);
}

#[test]
fn a_record_that_is_too_long_changes_nothing() {
    let dir = new_dir();
    let config = LogConfig { max_record_bytes: 5, ..LogConfig::default() };
    let (mut log, _) = Log::open(dir.path(), config).expect("the directory is ours");
    log.append(&[b"12345"]).expect("room");
    let error = log.append(&[b"123", b"456"]).expect_err("it is too long");
    assert_eq!(error.to_string(), "a record of 6 bytes; expected at most 5");
    assert_eq!(log.sync().expect("the disk works"), Position(1));
}

#[test]
fn a_segment_that_is_missing_is_damage_with_an_exact_count() {
    let dir = new_dir();
    let mut log = open(&dir, 300);
    for i in 0..9 {
        log.append(&[format!("{i:0100}").as_bytes()]).expect("room");
        log.sync().expect("the disk works");
    }
    drop(log);
    // Two records a segment.
    fs::remove_file(dir.path().join("00000000000000000002.log")).expect("it is there");
    let items: Vec<_> = open(&dir, 300).replay(Position(1)).collect();
    let positions: Vec<_> = items.iter().flatten().map(|r| r.position.0).collect();
    assert_eq!(positions, [2, 5, 6, 7, 8, 9]);
    let damage: Vec<_> = items.iter().filter_map(|i| i.as_ref().err()).map(ToString::to_string).collect();
    let file = dir.path().join("00000000000000000003.log");
    let wanted = format!("{} at byte 0: records before this segment are missing; 2 records lost", file.display());
    assert_eq!(damage, [wanted]);
}

#[test]
fn a_newest_segment_of_which_nothing_can_be_read_does_not_stop_the_start() {
    let dir = new_dir();
    let mut log = open(&dir, 1 << 20);
    log.append(&[b"a"]).expect("room");
    log.sync().expect("the disk works");
    drop(log);
    let file = dir.path().join("00000000000000000001.log");
    let len = fs::metadata(&file).expect("it is there").len();
    fs::write(&file, vec![0xaa; usize::try_from(len).expect("small")]).expect("writable");
    let mut log = open(&dir, 1 << 20);
    let items: Vec<_> = log.replay(Position(0)).collect();
    assert!(matches!(&items[..], [Err(Damage { lost: None, offset: 0, .. })]), "{items:?}");
    log.skip_to(Position(1)).expect("the disk works");
    assert_eq!(log.append(&[b"b"]).expect("room"), Position(2));
    log.sync().expect("the disk works");
    drop(log);
    assert_eq!(texts(open(&dir, 1 << 20).replay(Position(1))), [(2, "b".into())]);
    assert!(file.exists(), "what cannot be read is kept, to be looked at");
}

#[test]
fn what_was_flushed_survives_the_process() {
    let dir = new_dir();
    let mut log = open(&dir, 1 << 20);
    log.append(&[b"a"]).expect("room");
    log.flush().expect("the disk works");
    log.append(&[b"b"]).expect("room");
    drop(log);
    assert_eq!(texts(open(&dir, 1 << 20).replay(Position(0))), [(1, "a".into())]);
}

#[test]
fn a_segment_is_not_left_between_two_syncs() {
    let dir = new_dir();
    let mut log = open(&dir, 200);
    for _ in 0..9 {
        log.append(&[&[b'x'; 100]]).expect("room");
    }
    assert_eq!((files(&dir).len(), log.durable()), (1, Position(0)));
    log.sync().expect("the disk works");
    log.append(&[b"x"]).expect("room");
    assert_eq!((files(&dir).len(), log.durable()), (2, Position(9)));
}
