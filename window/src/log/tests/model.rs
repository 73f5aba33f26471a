//! Any sequence of appends, syncs, failures, kills and power cuts against a list of records.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError},
};

use super::{faults::*, *};

/// Segments are this small so that most sequences see several.
const SEGMENT_BYTES: u64 = 600;

#[derive(Clone, Debug)]
enum Step {
    /// Appends so many bytes.
    Append(usize),
    Sync,
    Flush,
    Arm(Fault),
    Full(bool),
    /// The process ends and starts again.
    Kill,
    /// The power fails; the seed decides what is kept.
    PowerCut(u64),
    /// Lets go of so many of a hundred records.
    Cut(u64),
    SkipBy(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Fault::{Create, Cut, Remove, Rename, Reuse, ShortWrite, Sync, SyncDir, Write};
    let fault = prop::sample::select(vec![Create, Write, ShortWrite, Sync, Cut, Remove, Rename, Reuse, SyncDir]);
    let step = prop_oneof![
        8 => prop_oneof![9 => 0_usize..300, 1 => BUFFER - 100..BUFFER + 100].prop_map(Step::Append),
        5 => Just(Step::Sync),
        1 => Just(Step::Flush),
        4 => fault.prop_map(Step::Arm),
        1 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::PowerCut),
        2 => (0_u64..=100).prop_map(Step::Cut),
        1 => (0_u64..5).prop_map(Step::SkipBy),
    ];
    prop::collection::vec(step, 1..60)
}

/// What should be: records by position; a record is known by the number in its first bytes.
#[derive(Debug, Default)]
struct Model {
    durable: BTreeMap<u64, u64>,
    pending: BTreeMap<u64, u64>,
    /// Withdrawn, and never to be seen again.
    gone: BTreeSet<u64>,
    /// Withdrawn, but a power cut may bring them back.
    unsettled: BTreeSet<u64>,
    last: u64,
    cut_to: u64,
    /// Everything up to here is with the system.
    flushed: u64,
    next_id: u64,
    /// Records that were reported lost at the last start.
    lost: u64,
    has_lost_power: bool,
}

impl Model {
    fn after(&mut self, disk: &FaultyDisk, log: &Log, withdrawn: bool) -> Result<(), TestCaseError> {
        if withdrawn {
            self.unsettled.extend(std::mem::take(&mut self.pending).into_values());
            prop_assert!(log.last().0 >= self.last, "no number is given twice");
            self.last = log.last().0;
        } else {
            let waiting = self.pending.split_off(&(log.durable().0 + 1));
            self.durable.append(&mut self.pending);
            self.pending = waiting;
        }
        if log.is_settled() {
            disk.state().has_failed_to_cut = false;
            self.gone.append(&mut self.unsettled);
        }
        prop_assert_eq!(log.last().0, self.last);
        prop_assert!(self.durable.keys().all(|p| *p <= log.durable().0));
        Ok(())
    }

    /// Compares with what is there after a restart, and takes that over.
    fn restart(&mut self, log: &Log, power_failed: bool, may_return: bool) -> Result<(), TestCaseError> {
        self.has_lost_power |= power_failed;
        let mut found = BTreeMap::new();
        let mut lost = 0;
        for item in log.replay(Position(self.cut_to)) {
            match item {
                Ok(record) => {
                    let id = record.payload[..8].try_into().map(u64::from_le_bytes).expect("eight bytes");
                    let before = found.last_key_value().map_or(self.cut_to, |(p, _)| *p);
                    prop_assert!(record.position.0 > before, "positions only grow");
                    found.insert(record.position.0, id);
                }
                // Unknown only for a newest segment that a power cut left without its header.
                Err(damage) => {
                    prop_assert!(damage.lost.is_some() || self.has_lost_power);
                    lost += damage.lost.unwrap_or(0);
                }
            }
        }
        for (position, id) in self.durable.range(self.cut_to + 1..) {
            prop_assert_eq!(found.get(position), Some(id), "a durable record is lost at {}", position);
        }
        for (position, id) in self.pending.range(..=self.flushed).filter(|(p, _)| !power_failed && **p > self.cut_to) {
            prop_assert_eq!(found.get(position), Some(id), "a flushed record is lost at {}", position);
        }
        for (position, id) in &found {
            let known = self.durable.get(position) == Some(id) || self.pending.get(position) == Some(id);
            let is_back = may_return && self.unsettled.contains(id);
            prop_assert!(known || is_back, "record {} at {} is invented", id, position);
        }
        let may_lose = if may_return { self.pending.len() + self.unsettled.len() } else { 0 };
        // What an earlier power cut has damaged stays so.
        let may_lose = self.lost + may_lose as u64;
        prop_assert!(lost <= may_lose, "{} records reported lost of {}", lost, may_lose);
        self.lost = lost;
        prop_assert!(log.last().0 >= found.last_key_value().map_or(0, |(p, _)| *p));
        prop_assert!(log.last().0 >= self.durable.keys().copied().max().unwrap_or(0));
        self.flushed = 0;
        self.gone.extend(std::mem::take(&mut self.pending).into_values());
        self.gone.append(&mut self.unsettled);
        self.gone.retain(|id| !found.values().any(|f| f == id));
        self.durable.retain(|position, _| *position <= self.cut_to);
        self.durable.append(&mut found);
        self.last = log.last().0;
        Ok(())
    }
}

fn start(disk: &FaultyDisk, dir: &Path) -> Log {
    let config = LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::default() };
    Log::open_on(Box::new(disk.clone()), dir, config).expect("nothing fails at the start").0
}

/// The numbers of a linear congruential generator.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed | 1;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

fn play(steps: &[Step]) -> Result<(), TestCaseError> {
    let dir = new_dir();
    let disk = FaultyDisk::default();
    let mut log = Some(start(&disk, dir.path()));
    let mut model = Model::default();
    for step in steps {
        let Some(open) = &mut log else { break };
        let withdrawn = match step {
            Step::Append(len) => append(open, &mut model, *len)?,
            Step::Sync => open.sync().is_err(),
            Step::Flush => {
                let result = open.flush();
                model.flushed = model.last;
                result.is_err()
            }
            Step::SkipBy(n) => {
                let to = model.last + n;
                let result = open.skip_to(Position(to));
                model.last = open.last().0;
                prop_assert!(result.is_err() || model.last == to);
                result.is_err()
            }
            Step::Arm(fault) => {
                disk.arm(*fault);
                false
            }
            Step::Full(is_full) => {
                disk.state().is_full = *is_full;
                false
            }
            Step::Cut(percent) => {
                let to = open.durable().0 * percent / 100;
                model.cut_to = model.cut_to.max(to);
                // What cannot be deleted now is deleted later.
                let _ = open.cut(Position(to));
                false
            }
            Step::Kill | Step::PowerCut(_) => {
                drop(log.take());
                match step {
                    Step::PowerCut(seed) => disk.power_cut(random(*seed)),
                    _ => disk.kill(),
                }
                let started = start(&disk, dir.path());
                let power_failed = matches!(step, Step::PowerCut(_));
                let may_return = power_failed || disk.state().has_failed_to_cut;
                model.restart(&started, power_failed, may_return)?;
                disk.state().has_failed_to_cut = false;
                log = Some(started);
                continue;
            }
        };
        model.after(&disk, open, withdrawn)?;
    }
    Ok(())
}

fn append(log: &mut Log, model: &mut Model, len: usize) -> Result<bool, TestCaseError> {
    model.next_id += 1;
    let id = model.next_id;
    let filler = vec![0xfe; len];
    match log.append(&[&id.to_le_bytes(), &filler]) {
        Ok(position) => {
            model.last += 1;
            prop_assert_eq!(position.0, model.last);
            model.pending.insert(position.0, id);
            Ok(false)
        }
        Err(LogError::Withdrawn { kept, .. }) => {
            prop_assert!(model.durable.keys().all(|p| *p <= kept.0));
            prop_assert!(model.pending.keys().all(|p| *p > kept.0));
            model.unsettled.insert(id);
            Ok(true)
        }
        Err(error) => Err(TestCaseError::fail(error.to_string())),
    }
}

#[test]
fn no_durable_record_is_lost_and_no_withdrawn_one_comes_back() {
    let cases = if torture::is_full() { 50_000 } else { 400 };
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    proptest!(config, |(steps in steps())| play(&steps)?);
}

#[test]
fn a_full_disk_refuses_until_there_is_room_again() {
    let dir = new_dir();
    let disk = FaultyDisk::default();
    let mut log = start(&disk, dir.path());
    log.append(&[b"a"]).expect("room");
    log.sync().expect("the disk works");
    log.append(&[b"b"]).expect("room");
    disk.state().is_full = true;
    let error = log.sync().expect_err("the disk is full");
    assert!(matches!(&error, LogError::Withdrawn { source, kept: Position(1), .. }
        if source.kind() == io::ErrorKind::StorageFull));
    for _ in 0..100 {
        log.append(&[b"c"]).expect_err("the disk is full");
    }
    assert_eq!(files(&dir), ["00000000000000000001.log"], "nothing is left of the attempts");
    disk.state().is_full = false;
    assert_eq!(log.append(&[b"d"]).expect("room"), Position(3));
    log.sync().expect("the disk works");
    assert_eq!(texts(log.replay(Position(0))), [(1, "a".into()), (3, "d".into())]);
}

#[test]
fn a_failed_sync_withdraws_and_the_next_record_goes_to_a_new_file() {
    let dir = new_dir();
    let disk = FaultyDisk::default();
    let mut log = start(&disk, dir.path());
    log.append(&[b"a"]).expect("room");
    log.sync().expect("the disk works");
    log.append(&[b"b"]).expect("room");
    // Not even the cut works, so the withdrawn record stays in the file.
    disk.arm(Fault::Sync);
    disk.arm(Fault::Cut);
    let error = log.sync().expect_err("it fails");
    assert!(matches!(error, LogError::Withdrawn { action: "sync", kept: Position(1), .. }), "{error}");
    assert!(log.is_settled());
    assert_eq!(files(&dir).len(), 2);
    drop(log);
    let mut log = start(&disk, dir.path());
    assert_eq!(texts(log.replay(Position(0))), [(1, "a".into())]);
    assert_eq!(log.append(&[b"c"]).expect("room"), Position(3), "not even a restart gives a number twice");
    log.sync().expect("the disk works");
    assert_eq!(texts(log.replay(Position(0))), [(1, "a".into()), (3, "c".into())]);
}
