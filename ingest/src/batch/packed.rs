//! Rows of numbers in few bytes, for the log: most rows of a request share their times, and senders write
//! series in the order in which they were registered. About ten bytes a row instead of forty, at a few
//! nanoseconds each.
//!
//! A row is a byte of flags, the differences from the row before that the flags do not deny, each as a
//! zigzag LEB128 number, and the value as eight little-endian bytes.

use serde::{Deserializer, Serializer, de};
use window::UnixNanos;

use super::{NumberRow, SeriesRef};

const IS_ITEM: u8 = 1;
/// The series is the one after that of the row before.
const NEXT_SERIES: u8 = 2;
const SAME_TIME: u8 = 4;
const SAME_START: u8 = 8;
/// Most bytes of a row: flags, a series, two times, a value.
const ROW: usize = 1 + 10 + 10 + 10 + 8;

/// Writes `rows` as bytes.
pub(super) fn serialize<S: Serializer>(rows: &[NumberRow], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&pack(rows))
}

/// Reads what [`serialize`] has written.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NumberRow>, D::Error> {
    deserializer.deserialize_bytes(Rows)
}

struct Rows;

impl de::Visitor<'_> for Rows {
    type Value = Vec<NumberRow>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packed rows")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        unpack(bytes).ok_or_else(|| E::custom("rows that end within one"))
    }
}

fn pack(rows: &[NumberRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 12 + ROW);
    let (mut series, mut time, mut start) = (0_i64, 0_i64, 0_i64);
    for row in rows {
        let next = i64::from(row.series.0);
        let (is_next, same_time, same_start) = (next == series + 1, row.time.0 == time, row.start.0 == start);
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        out.push(
            flag(row.is_item, IS_ITEM)
                | flag(is_next, NEXT_SERIES)
                | flag(same_time, SAME_TIME)
                | flag(same_start, SAME_START),
        );
        if !is_next {
            put(&mut out, next.wrapping_sub(series));
        }
        if !same_time {
            put(&mut out, row.time.0.wrapping_sub(time));
        }
        if !same_start {
            put(&mut out, row.start.0.wrapping_sub(start));
        }
        out.extend_from_slice(&row.value.to_bits().to_le_bytes());
        (series, time, start) = (next, row.time.0, row.start.0);
    }
    out
}

fn unpack(mut bytes: &[u8]) -> Option<Vec<NumberRow>> {
    // Nine bytes are the least that a row takes.
    let mut rows = Vec::with_capacity(bytes.len() / 9);
    let (mut series, mut time, mut start) = (0_i64, 0_i64, 0_i64);
    while let Some((&flags, rest)) = bytes.split_first() {
        bytes = rest;
        let mut moved = |from: i64, flag: u8, by: i64| -> Option<i64> {
            if flags & flag != 0 { Some(from.wrapping_add(by)) } else { Some(from.wrapping_add(take(&mut bytes)?)) }
        };
        series = moved(series, NEXT_SERIES, 1)?;
        time = moved(time, SAME_TIME, 0)?;
        start = moved(start, SAME_START, 0)?;
        let (value, rest) = bytes.split_first_chunk::<8>()?;
        bytes = rest;
        rows.push(NumberRow {
            series: SeriesRef(u32::try_from(series).ok()?),
            is_item: flags & IS_ITEM != 0,
            time: UnixNanos(time),
            start: UnixNanos(start),
            value: f64::from_bits(u64::from_le_bytes(*value)),
        });
    }
    Some(rows)
}

#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "bits are moved, seven at a time")]
fn put(out: &mut Vec<u8>, difference: i64) {
    let mut left = ((difference << 1) ^ (difference >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[expect(clippy::cast_possible_wrap, reason = "bits are moved")]
fn take(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use window::SeriesId;

    use super::*;

    fn row() -> impl Strategy<Value = NumberRow> {
        let series = prop_oneof![
            (0_u32..1 << 31).prop_map(|id| SeriesRef::known(SeriesId(id))),
            (0..9_usize).prop_map(SeriesRef::stranger)
        ];
        let time = || prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(7), any::<i64>()];
        (series, any::<bool>(), time(), time(), any::<u64>()).prop_map(|(series, is_item, time, start, bits)| {
            NumberRow { series, is_item, time: UnixNanos(time), start: UnixNanos(start), value: f64::from_bits(bits) }
        })
    }

    proptest! {
        #[test]
        fn rows_come_back_to_the_last_bit(rows in prop::collection::vec(row(), 0..40)) {
            let bytes = pack(&rows);
            prop_assert!(bytes.len() <= rows.len() * ROW);
            let read = unpack(&bytes).expect("is whole");
            let shown = |rows: &[NumberRow]| -> Vec<String> {
                rows.iter().map(|r| format!("{:?} {} {} {} {:x}", r.series, r.is_item, r.time.0, r.start.0, r.value.to_bits())).collect()
            };
            prop_assert_eq!(shown(&read), shown(&rows));
            for cut in 0..bytes.len() {
                let _ = unpack(&bytes[..cut]);
            }
        }

        #[test]
        fn other_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn usual_rows_take_nine_bytes() {
        let row = |id| NumberRow {
            series: SeriesRef::known(SeriesId(id)),
            is_item: true,
            time: UnixNanos(1_772_323_200_000_000_000),
            start: UnixNanos::MIN,
            value: 0.5,
        };
        let rows: Vec<NumberRow> = (1..=1_000).map(row).collect();
        assert!(pack(&rows).len() < 9 * 1_000 + 40);
    }
}
