//! Each byte flipped and each length cut, in a log of 256 KiB in four segments.

use std::ops::Range;

use super::*;

/// Whether every case is asked for, and not only what fits continuous integration.
pub(super) fn is_full() -> bool {
    std::env::var("BELLWETHER_TORTURE").is_ok_and(|v| v == "full")
}

/// Distance of the offsets that are tried. Odd and no divisor of lengths, so that every field is met.
fn stride() -> usize {
    if is_full() { 1 } else { 331 }
}

const TOTAL: u64 = 256 << 10;
const SEGMENTS: usize = 4;

/// A log as bytes, and where its records are.
struct Sample {
    dir: TempDir,
    segments: Vec<SampleSegment>,
}

struct SampleSegment {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Position, first byte, and byte behind, of each record.
    records: Vec<(u64, usize, usize)>,
}

impl Sample {
    fn new() -> Self {
        let dir = new_dir();
        let mut log = open(&dir, TOTAL / SEGMENTS as u64);
        let mut segments: Vec<SampleSegment> = Vec::new();
        let mut random = 7_u64;
        while log.bytes() < TOTAL - 2_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let payload = vec![random.to_le_bytes()[7]; (random >> 33) as usize % 2_000];
            let position = log.append(&[&payload]).expect("room").0;
            let current = log.current.as_ref().expect("it was appended to");
            if segments.last().is_none_or(|s| s.path != current.segment.path) {
                segments.push(SampleSegment { path: current.segment.path.clone(), bytes: vec![], records: vec![] });
            }
            let end = usize::try_from(current.len).expect("small");
            let records = &mut segments.last_mut().expect("pushed").records;
            records.push((position, end - payload.len() - RECORD_HEADER, end));
            log.sync().expect("the disk works");
        }
        drop(log);
        for segment in &mut segments {
            segment.bytes = fs::read(&segment.path).expect("it was written");
        }
        assert_eq!(segments.len(), SEGMENTS);
        Self { dir, segments }
    }

    fn last(&self) -> u64 {
        self.segments.iter().flat_map(|s| &s.records).map(|r| r.0).max().expect("there are records")
    }

    /// Positions that can be read, records reported lost, and bytes of torn tails.
    fn read(&self) -> (Vec<u64>, u64, u64) {
        let found = survey(self.dir.path()).expect("damage is no error");
        let torn = found.torn.iter().map(|t| t.bytes).sum();
        let (mut positions, mut lost) = (Vec::new(), 0);
        for item in Replay::new(found.segments, Position(0)) {
            match item {
                Ok(record) => {
                    let same = record.payload.windows(2).all(|w| w[0] == w[1]);
                    assert!(same, "record {} was not written like this", record.position.0);
                    positions.push(record.position.0);
                }
                Err(damage) => lost += damage.lost.expect("the next segment says"),
            }
        }
        (positions, lost, torn)
    }

    /// Fails unless exactly `missing` cannot be read, and `lost` are reported, and `torn` bytes.
    fn check(&self, case: &str, missing: Range<u64>, lost: u64, torn: u64) {
        let wanted: Vec<u64> = (1..=self.last()).filter(|p| !missing.contains(p)).collect();
        assert_eq!(self.read(), (wanted, lost, torn), "{case}");
    }
}

/// Of no records.
const NONE: Range<u64> = 1..1;

// C3
#[test]
fn each_flipped_byte_costs_at_most_its_record() {
    let sample = Sample::new();
    for (i, segment) in sample.segments.iter().enumerate() {
        let is_newest = i + 1 == SEGMENTS;
        let mut bytes = segment.bytes.clone();
        for at in (0..bytes.len()).step_by(stride()).chain(0..if i == 0 { 400 } else { 0 }) {
            bytes[at] ^= 0x40;
            fs::write(&segment.path, &bytes).expect("writable");
            let case = format!("byte {at} of segment {i}");
            match segment.records.iter().find(|(_, from, to)| (*from..*to).contains(&at)) {
                None => sample.check(&case, NONE, 0, 0),
                Some((position, from, to)) if is_newest && *to == bytes.len() => {
                    sample.check(&case, *position..*position + 1, 0, (to - from) as u64);
                }
                Some((position, ..)) => sample.check(&case, *position..*position + 1, 1, 0),
            }
            bytes[at] ^= 0x40;
        }
        fs::write(&segment.path, &bytes).expect("writable");
    }
    sample.check("healed", NONE, 0, 0);
}

// C3
#[test]
fn each_cut_keeps_all_before_it_and_the_segments_after_it() {
    let sample = Sample::new();
    for (i, segment) in sample.segments.iter().enumerate() {
        let is_newest = i + 1 == SEGMENTS;
        let last = segment.records.last().expect("there are records").0;
        for len in (0..segment.bytes.len()).step_by(stride()) {
            fs::write(&segment.path, &segment.bytes[..len]).expect("writable");
            let case = format!("segment {i} cut at {len}");
            let gone = segment.records.iter().find(|(.., to)| *to > len).expect("it is shorter");
            let missing = gone.0..last + 1;
            if is_newest {
                let kept = if len < SEGMENT_HEADER { 0 } else { gone.1 };
                sample.check(&case, missing, 0, (len - kept) as u64);
            } else {
                let lost = last + 1 - gone.0;
                sample.check(&case, missing, lost, 0);
            }
        }
        fs::write(&segment.path, &segment.bytes).expect("writable");
    }
    sample.check("healed", NONE, 0, 0);
}

#[test]
fn a_region_of_zeros_costs_what_lies_in_it() {
    let sample = Sample::new();
    for segment in &sample.segments[..SEGMENTS - 1] {
        for from in (SEGMENT_HEADER..segment.bytes.len() - 4_096).step_by(stride() * 13) {
            let mut bytes = segment.bytes.clone();
            let to = from + 4_096;
            bytes[from..to].fill(0);
            fs::write(&segment.path, &bytes).expect("writable");
            let hit: Vec<u64> = segment.records.iter().filter(|r| r.1 < to && r.2 > from).map(|r| r.0).collect();
            let (first, last) = (hit[0], hit[hit.len() - 1]);
            // A record of zeros does not notice.
            let (positions, lost, torn) = sample.read();
            assert_eq!((positions.len() as u64 + lost, torn), (sample.last(), 0), "zeros at {from}");
            assert!(lost <= last + 1 - first, "zeros at {from}");
        }
        fs::write(&segment.path, &segment.bytes).expect("writable");
    }
}

#[test]
fn a_record_inside_a_payload_is_no_record() {
    let dir = new_dir();
    let mut log = open(&dir, 1 << 20);
    let inner = RecordHeader::of(4, 2, &[b"fake"], 0);
    let payload = [b"before".as_slice(), &inner, b"fake"].concat();
    log.append(&[&payload]).expect("room");
    log.append(&[b"real"]).expect("room");
    log.sync().expect("the disk works");
    drop(log);
    let file = dir.path().join("00000000000000000001.log");
    let mut bytes = fs::read(&file).expect("it was written");
    bytes[SEGMENT_HEADER] ^= 1;
    fs::write(&file, &bytes).expect("writable");
    let items: Vec<_> = open(&dir, 1 << 20).replay(Position(0)).collect();
    assert!(
        matches!(&items[..], [Err(Damage { lost: Some(1), .. }), Ok(Record { position: Position(2), payload })]
        if payload == b"real"),
        "{items:?}"
    );
}
