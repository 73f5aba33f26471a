use super::*;

/// Nine records in five segments, two in each but the last.
fn sample() -> TempDir {
    let dir = new_dir();
    let mut log = open(&dir, 300);
    for i in 1..=9 {
        log.append(&[format!("{i:0100}").as_bytes()]).expect("room");
        log.sync().expect("the disk works");
    }
    dir
}

fn segment(dir: &TempDir, number: u64) -> PathBuf {
    segment_path(dir.path(), number)
}

fn damage(file: &Path, at: usize) {
    let mut bytes = fs::read(file).expect("it was written");
    bytes[at] ^= 1;
    fs::write(file, bytes).expect("writable");
}

/// Repairs, and fails unless `lost` was reported, `kept` is what is left, and nothing is wrong any more.
fn check(dir: &TempDir, lost: &[Option<u64>], kept: &[u64], aside: &[&str]) {
    let before = check_log(dir.path()).expect("nobody else has it");
    let target = dir.path().join("damaged");
    let (found, moved) = repair_log(dir.path(), &target).expect("the disk works");
    assert_eq!(before, found, "looking and repairing find the same");
    assert_eq!(found.damage.iter().map(|d| d.lost).collect::<Vec<_>>(), lost);
    let names: Vec<_> = moved.iter().map(|(_, to)| to.file_name().expect("a file").to_str().expect("ascii")).collect();
    assert_eq!(names, aside);
    assert!(moved.iter().all(|(_, to)| to.exists()));
    let after = check_log(dir.path()).expect("nobody else has it");
    assert_eq!((after.damage, after.records), (vec![], kept.len() as u64));
    let mut log = open(dir, 300);
    let records = texts(log.replay(Position(0)));
    assert!(records.iter().all(|(position, text)| *text == format!("{position:0100}")), "{records:?}");
    assert_eq!(records.iter().map(|(position, _)| *position).collect::<Vec<_>>(), kept);
    log.append(&[b"more"]).expect("room");
    log.sync().expect("the disk works");
    drop(log);
    assert_eq!(check_log(dir.path()).expect("nobody else has it").damage, []);
}

#[test]
fn a_sound_log_is_left_alone() {
    let dir = sample();
    check(&dir, &[], &[1, 2, 3, 4, 5, 6, 7, 8, 9], &[]);
    assert!(!dir.path().join("damaged").exists());
}

#[test]
fn a_damaged_record_is_set_aside_and_its_neighbours_stay() {
    let dir = sample();
    let original = fs::read(segment(&dir, 2)).expect("it was written");
    damage(&segment(&dir, 2), SEGMENT_HEADER + 30);
    check(&dir, &[Some(1)], &[1, 2, 4, 5, 6, 7, 8, 9], &["00000000000000000002.log"]);
    let aside = fs::read(dir.path().join("damaged/00000000000000000002.log")).expect("it was set aside");
    assert_eq!(aside.len(), original.len());
    assert_eq!(aside.iter().zip(&original).filter(|(a, b)| a != b).count(), 1);
}

#[test]
fn a_segment_that_was_cut_short_keeps_its_beginning() {
    let dir = sample();
    let file = segment(&dir, 3);
    let bytes = fs::read(&file).expect("it was written");
    fs::write(&file, &bytes[..bytes.len() - 1]).expect("writable");
    check(&dir, &[Some(1)], &[1, 2, 3, 4, 5, 7, 8, 9], &["00000000000000000003.log"]);
}

#[test]
fn damage_at_every_place_is_put_right() {
    let dir = sample();
    let file = segment(&dir, 1);
    damage(&file, 3);
    damage(&segment(&dir, 3), SEGMENT_HEADER + 2);
    let unreadable = segment(&dir, 4);
    damage(&unreadable, 3);
    damage(&unreadable, 3 + SEGMENT_HEADER / 2);
    check(
        &dir,
        &[Some(1), Some(2), Some(0)],
        &[1, 2, 3, 4, 6, 9],
        &["00000000000000000001.log", "00000000000000000003.log", "00000000000000000004.log"],
    );
}

#[test]
fn a_missing_segment_is_accounted_for() {
    let dir = sample();
    fs::remove_file(segment(&dir, 2)).expect("it is there");
    fs::remove_file(segment(&dir, 3)).expect("it is there");
    check(&dir, &[Some(4)], &[1, 2, 7, 8, 9], &[]);
}

#[test]
fn an_oldest_and_a_newest_segment_that_cannot_be_read_are_set_aside() {
    let dir = sample();
    for number in [1, 5] {
        let file = segment(&dir, number);
        damage(&file, 3);
        damage(&file, 3 + SEGMENT_HEADER / 2);
    }
    let aside = ["00000000000000000001.log", "00000000000000000005.log"];
    check(&dir, &[None, None], &[3, 4, 5, 6, 7, 8], &aside);
}

#[test]
fn repairing_again_overwrites_nothing_that_was_set_aside() {
    let dir = sample();
    damage(&segment(&dir, 2), SEGMENT_HEADER + 30);
    check(&dir, &[Some(1)], &[1, 2, 4, 5, 6, 7, 8, 9], &["00000000000000000002.log"]);
    let again = segment(&dir, 2);
    let len = fs::metadata(&again).expect("it is there").len();
    damage(&again, usize::try_from(len).expect("small") - 1);
    let target = dir.path().join("damaged");
    let (_, moved) = repair_log(dir.path(), &target).expect("the disk works");
    assert_eq!(moved, [(again, target.join("00000000000000000002.log.1"))]);
}

#[test]
fn a_log_in_use_is_not_repaired() {
    let dir = sample();
    let _log = open(&dir, 300);
    assert!(matches!(check_log(dir.path()), Err(LogError::InUse { .. })));
    assert!(matches!(repair_log(dir.path(), dir.path()), Err(LogError::InUse { .. })));
}
