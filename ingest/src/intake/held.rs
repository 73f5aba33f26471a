//! Rows that wait for those that may still come before them, so that the order in which rows arrive
//! does not matter: see [`crate::LatenessConfig`].

use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use window::{Buckets, HistogramRow, Registry, SeriesId, SeriesKey, UnixNanos};

/// What a time of its own takes beside its rows: its share of a node, and the smallest list.
const TIME: usize = 160;

/// A row that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Row {
    Number { series: SeriesId, start: UnixNanos, value: f64 },
    Histogram(Box<HistogramRow>),
}

/// The rows that wait, by time.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Held {
    rows: BTreeMap<UnixNanos, Vec<Row>>,
    bytes: usize,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes that the rows take, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first(&self) -> Option<UnixNanos> {
        self.rows.first_key_value().map(|(time, _)| *time)
    }

    pub(super) fn push(&mut self, time: UnixNanos, row: Row) {
        self.bytes += row.bytes();
        let bytes = &mut self.bytes;
        let at_that_time = self.rows.entry(time).or_insert_with(|| {
            *bytes += TIME;
            Vec::new()
        });
        at_that_time.push(row);
    }

    /// Takes the rows of the first time, ordered by the identity of their series, each series once;
    /// and how many there were.
    pub(super) fn pop(&mut self, registry: &Registry) -> Option<(UnixNanos, Vec<Row>, usize)> {
        let (time, rows) = self.rows.pop_first()?;
        self.bytes = self.bytes.saturating_sub(TIME + rows.iter().map(Row::bytes).sum::<usize>());
        let before = rows.len();
        // A series whose number was taken back meanwhile is nobody's.
        let key_of = |row: Row| Some((registry.get(row.series())?.key, row));
        let mut keyed: Vec<(SeriesKey, Row)> = rows.into_iter().filter_map(key_of).collect();
        keyed.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| other.compare(one)));
        keyed.dedup_by_key(|(key, _)| *key);
        Some((time, keyed.into_iter().map(|(_, row)| row).collect(), before))
    }
}

impl Row {
    fn series(&self) -> SeriesId {
        match self {
            Self::Number { series, .. } => *series,
            Self::Histogram(row) => row.series,
        }
    }

    fn bytes(&self) -> usize {
        let own = match self {
            Self::Number { .. } => 0,
            Self::Histogram(row) => size_of::<HistogramRow>() + 8 * row.view().values(),
        };
        size_of::<Self>() + own
    }

    /// Of rows of one series and time the greatest is taken: whichever came first, it is the same one.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number { start: s, value: v, .. }, Self::Number { start, value, .. }) => {
                v.total_cmp(value).then(s.cmp(start))
            }
            (Self::Histogram(one), Self::Histogram(other)) => compare(one, other),
            (Self::Number { .. }, Self::Histogram(_)) => Ordering::Less,
            (Self::Histogram(_), Self::Number { .. }) => Ordering::Greater,
        }
    }
}

fn compare(one: &HistogramRow, other: &HistogramRow) -> Ordering {
    let numbers = |row: &HistogramRow| [row.sum, row.min, row.max].map(|n| n.map(f64::to_bits));
    let all = |row: &HistogramRow| (row.count, numbers(row), row.start);
    all(one).cmp(&all(other)).then_with(|| spread(&one.buckets).cmp(&spread(&other.buckets)))
}

/// What two spreads differ in, if they differ.
fn spread(buckets: &Buckets) -> (i64, [u64; 3], Vec<u64>) {
    match buckets {
        Buckets::Ended => (i64::MIN, [0; 3], Vec::new()),
        Buckets::Explicit { bounds, counts } => {
            (i64::MAX, [0; 3], bounds.iter().map(|b| b.to_bits()).chain(counts.iter().copied()).collect())
        }
        Buckets::Exponential { scale, zero_count, zero_threshold, positive, negative } => {
            let offsets = [positive.offset, negative.offset].map(|o| u64::from(o.cast_unsigned()));
            let sides = positive.counts.iter().chain(&negative.counts).copied();
            let lengths = [positive.counts.len() as u64, offsets[0], offsets[1]];
            ((*scale).into(), [*zero_count, zero_threshold.to_bits(), 0], lengths.into_iter().chain(sides).collect())
        }
    }
}
