//! Which attributes set the failing (or slow) calls of a disturbance apart from those of its baseline.
//!
//! Each pair of a key and a value is counted in four groups: affected calls and others, during the disturbance and
//! before it. A pair is named when both of this holds:
//!
//! 1. *It changed.* Its share of the affected calls is greater than it was of affected calls before, or of all calls
//!    where hardly any were affected then.
//! 2. *It tells them apart.* Its share of the affected calls is greater than its share of the other calls of the same
//!    time, so that what is merely common is not blamed. A value that nearly every call has now and few had before
//!    passes as well: a new version.
//!
//! "Greater" means that the lower end of the interval for the difference of two proportions is above a small margin:
//! Newcombe's hybrid score interval, "Interval estimation for the difference between independent proportions", Statistics in
//! Medicine 17 (1998), 873-890, method 10. The first pairs are those with the greatest lower end. A plain test such as
//! the likelihood ratio would rank certainty and not size: with many calls a difference of 2 % beats all.
//!
//! Work and memory are bounded, and it does not show where chunks begin and end: rows are taken backwards in order of
//! arrival, and an even part of them is kept when there are too many.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use window::{Snapshot, SpanChunk, SpanOutline, UnixNanos};

use crate::{
    Anomaly, Direction,
    key_values::{pairs, scalar},
};

/// A pair that carries a disturbance, with the counts from which its shares are computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttributeShare {
    /// Key of the attribute of the span or its resource; `span.name` for the operation.
    pub key: String,
    /// Its value, at most 128 characters of it.
    pub value: String,
    /// `count / total`, in [0, 1].
    pub share: f64,
    /// `baseline_count / baseline_total`, in [0, 1].
    pub baseline_share: f64,
    /// Affected calls of the disturbance that have it.
    pub count: u32,
    /// Affected calls of the disturbance that were looked at.
    pub total: u32,
    /// Calls of the baseline that have it.
    pub baseline_count: u32,
    /// Calls of the baseline that were looked at.
    pub baseline_total: u32,
    /// Which calls were affected.
    pub of: Affected,
    /// Which calls the baseline consists of.
    pub baseline_of: BaselineOf,
}

/// Which calls a disturbance is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Affected {
    /// Their status is Error.
    Failing,
    /// They took longer than the upper limit of the band.
    Slow,
}

/// Which calls before the disturbance it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BaselineOf {
    /// Those that failed or were slow as well.
    Affected,
    /// All, because hardly any were affected.
    All,
}

/// Pairs that are named at most.
const NAMED: usize = 5;
/// Fewer calls than this say nothing about a share.
const LEAST_CALLS: u32 = 5;
/// Quantile of the normal distribution for the intervals: two-sided 99.9 %, because many pairs are tried.
const Z: f64 = 3.29;
/// By how much shares must differ at least.
const MARGIN: f64 = 0.05;
/// A value with at least this share of all calls is everywhere.
const EVERYWHERE: f64 = 0.95;
/// Calls of one group whose attributes are read at most.
const READ: usize = 2_000;
/// Rows of one interval that are looked at most, of all services; the newest.
const ROWS: usize = 500_000;
/// Values of one key; a key with more tells calls apart, not causes.
const VALUES: usize = 100;
/// Keys that are counted at most.
const KEYS: usize = 256;
/// Resources that are told apart at most.
const RESOURCES: usize = 1_000;
/// Characters of a value that are shown.
const SHOWN: usize = 128;
/// How far before the first point calls belong to it: the bucket that it judged.
const BUCKET: Duration = Duration::from_secs(10);
/// How much of a disturbance is looked at, from its beginning.
const DISTURBED: Duration = Duration::from_mins(5);
/// Before a disturbance was seen it may have been under way.
const GAP: Duration = Duration::from_secs(50);
/// How long a baseline is at most; the window may have less.
const BASELINE: Duration = Duration::from_mins(30);
/// How far back the failing calls of an alert are looked for.
const ALERTED: Duration = Duration::from_mins(2);
/// Key under which an operation is compared where there are several.
const SPAN_NAME: &[u8] = b"span.name";
/// What says that a call failed, and not why; compared only with calls that failed before.
const OUTCOMES: [&str; 9] = [
    "error",
    "error.type",
    "outcome",
    "exception.type",
    "otel.status_code",
    "http.status_code",
    "http.response.status_code",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
];

/// Whether `anomaly` is about failing or slow spans.
pub(crate) fn concern(anomaly: &Anomaly) -> bool {
    affected(anomaly).is_some()
}

/// Which spans it is about.
fn affected(anomaly: &Anomaly) -> Option<Affected> {
    let metric = anomaly.metric.strip_prefix("traces_span_metrics_").filter(|_| anomaly.direction == Direction::Up)?;
    if metric == "errors:ratio" {
        Some(Affected::Failing)
    } else {
        (metric.starts_with("duration_seconds:p") && anomaly.upper > 0.0).then_some(Affected::Slow)
    }
}

/// What carries `anomaly` as far as event time `at`; empty for one that is not about failing or slow spans.
pub(crate) fn of_anomaly(anomaly: &Anomaly, snapshot: &Snapshot, at: UnixNanos) -> Vec<AttributeShare> {
    let (Some(of), Some(operation)) = (affected(anomaly), anomaly.labels.get("span_name")) else { return Vec::new() };
    let begin = anomaly.starts_at.minus(BUCKET);
    Comparison {
        service: &anomaly.service,
        operation: Some((operation, anomaly.labels.get("span_kind"))),
        of,
        slow: anomaly.upper,
        disturbed: (begin, at.min(begin.plus(DISTURBED))),
        baseline_end: begin.minus(GAP),
    }
    .run(snapshot)
}

/// What the failing calls of `service` have in common in the last two minutes before `at`, and had not before.
pub(crate) fn of_service(service: &str, snapshot: &Snapshot, at: UnixNanos) -> Vec<AttributeShare> {
    let begin = at.minus(ALERTED);
    let comparison = Comparison {
        service,
        operation: None,
        of: Affected::Failing,
        slow: f64::INFINITY,
        disturbed: (begin, at),
        baseline_end: begin.minus(GAP),
    };
    comparison.run(snapshot)
}

/// The pairs in one sentence, after a space; empty if there are none.
pub(crate) fn sentence(attributes: &[AttributeShare]) -> String {
    let said = |a: &AttributeShare| {
        let calls = match a.of {
            Affected::Failing => "failing calls",
            Affected::Slow => "slow calls",
        };
        let (count, total, before, of) = (a.count, a.total, a.baseline_count, a.baseline_total);
        let whose = if a.baseline_of == BaselineOf::All { " of all calls" } else { "" };
        let (share, was) = (100.0 * a.share, 100.0 * a.baseline_share);
        format!(
            "{}={} in {share:.0} % of {calls} ({count} of {total}), {was:.0} %{whose} before ({before} of {of})",
            a.key, a.value
        )
    };
    match attributes {
        [] => String::new(),
        all => format!(" What sets them apart: {}.", all.iter().map(said).collect::<Vec<_>>().join("; ")),
    }
}

/// Writes down what carries an anomaly, and says it in its explanation.
pub(crate) fn attach(anomaly: &mut Anomaly, attributes: Vec<AttributeShare>) {
    let before = sentence(&anomaly.attributes);
    if !before.is_empty() {
        anomaly.explanation = anomaly.explanation.replace(&before, "");
    }
    anomaly.explanation.push_str(&sentence(&attributes));
    anomaly.attributes = attributes;
}

/// How many calls of each group.
#[derive(Clone, Copy, Debug, Default)]
struct Counts([u32; 4]);

const AFFECTED: usize = 0;
const OTHERS: usize = 1;
const AFFECTED_BEFORE: usize = 2;
const OTHERS_BEFORE: usize = 3;

impl Counts {
    fn add(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }

    /// All calls before.
    fn before(self) -> u32 {
        self.0[AFFECTED_BEFORE] + self.0[OTHERS_BEFORE]
    }
}

struct Comparison<'a> {
    service: &'a str,
    /// Name and kind.
    operation: Option<(&'a str, Option<&'a str>)>,
    of: Affected,
    /// Seconds beyond which a call is slow.
    slow: f64,
    disturbed: (UnixNanos, UnixNanos),
    baseline_end: UnixNanos,
}

impl Comparison<'_> {
    fn run(&self, snapshot: &Snapshot) -> Vec<AttributeShare> {
        let [affected, others] = self.rows(snapshot, self.disturbed);
        if affected.kept.len() < LEAST_CALLS as usize {
            return Vec::new();
        }
        let [affected_before, others_before] =
            self.rows(snapshot, (self.baseline_end.minus(BASELINE), self.baseline_end));
        let mut tally = Tally::default();
        let groups = [affected, others, affected_before, others_before];
        for (group, rows) in groups.iter().enumerate() {
            for (chunk, row, _) in &rows.kept {
                let Some(chunk) = snapshot.spans.get(*chunk as usize) else { continue };
                tally.take(chunk, *row as usize, group, self.operation.is_none());
            }
        }
        tally.name(self.of)
    }

    /// The rows of one interval: affected, and others.
    fn rows(&self, snapshot: &Snapshot, (from, until): (UnixNanos, UnixNanos)) -> [Rows; 2] {
        let mut groups = [Rows::default(), Rows::default()];
        let from = from.max(UnixNanos(snapshot.floor.0.saturating_add(1)));
        let (name, kind) = self.operation.unzip();
        let kind = kind.flatten();
        let mut looked = 0;
        for (place, chunk) in snapshot.spans.iter().enumerate().rev() {
            if chunk.span.1 < from || chunk.span.0 > until {
                continue;
            }
            for (span, is_wanted) in chunk.outlines_of(self.service, name, (from, until)) {
                looked += 1;
                if looked > ROWS {
                    return groups;
                }
                if is_wanted && kind.is_none_or(|kind| kind == span.kind.as_str()) {
                    groups[usize::from(!self.affects(&span))].push(place, span.row);
                }
            }
        }
        groups
    }

    fn affects(&self, span: &SpanOutline) -> bool {
        match self.of {
            Affected::Failing => span.failed,
            Affected::Slow => span.end.since(span.start).as_secs_f64() > self.slow,
        }
    }
}

/// Rows of one group, by chunk and place: all of them, or an even part. Which rows stay is decided by a hash of their
/// number, because calls often alternate, and every second one would be of one kind.
#[derive(Debug, Default)]
struct Rows {
    /// With the hash of the row's number.
    kept: Vec<(u32, u32, u64)>,
    seen: u64,
    /// Rows stay whose hash ends in so many zero bits.
    thinned: u32,
}

impl Rows {
    fn push(&mut self, chunk: usize, row: usize) {
        let hash = xxhash_rust::xxh3::xxh3_64(&self.seen.to_le_bytes());
        self.seen += 1;
        let (Ok(chunk), Ok(row)) = (u32::try_from(chunk), u32::try_from(row)) else { return };
        if hash.trailing_zeros() < self.thinned {
            return;
        }
        self.kept.push((chunk, row, hash));
        if self.kept.len() > READ {
            self.thinned += 1;
            self.kept.retain(|(_, _, hash)| hash.trailing_zeros() >= self.thinned);
        }
    }
}

/// Counts of one key's values; `None` once there were too many.
type Values<'a> = Option<HashMap<&'a [u8], Counts>>;

#[derive(Debug, Default)]
struct Tally<'a> {
    calls: Counts,
    keys: HashMap<&'a [u8], Values<'a>>,
    /// Counted whole, because many calls have the same.
    resources: HashMap<&'a [u8], Counts>,
    names: HashMap<&'a str, Counts>,
}

impl<'a> Tally<'a> {
    fn take(&mut self, chunk: &'a SpanChunk, row: usize, group: usize, by_name: bool) {
        let (name, attributes, resource) = chunk.details(row);
        let mut one = Counts::default();
        one.0[group] = 1;
        self.calls.add(one);
        for (key, value) in pairs(attributes) {
            self.count(key, value, one);
        }
        if self.resources.len() < RESOURCES || self.resources.contains_key(resource) {
            self.resources.entry(resource).or_default().add(one);
        }
        if by_name && (self.names.len() < VALUES || self.names.contains_key(name)) {
            self.names.entry(name).or_default().add(one);
        }
    }

    fn count(&mut self, key: &'a [u8], value: &'a [u8], by: Counts) {
        if self.keys.len() >= KEYS && !self.keys.contains_key(key) {
            return;
        }
        let values = self.keys.entry(key).or_insert_with(|| Some(HashMap::new()));
        let Some(counts) = values else { return };
        counts.entry(value).or_default().add(by);
        if counts.len() > VALUES {
            *values = None;
        }
    }

    /// The pairs that carry it, the strongest first.
    fn name(mut self, of: Affected) -> Vec<AttributeShare> {
        // In an order of their own, because what comes first may have the last place.
        let resources: BTreeMap<&[u8], Counts> = std::mem::take(&mut self.resources).into_iter().collect();
        for (resource, counts) in resources {
            for (key, value) in pairs(resource) {
                self.count(key, value, counts);
            }
        }
        let calls = self.calls;
        let by_key =
            self.keys.iter().filter_map(|(key, values)| Some((std::str::from_utf8(key).ok()?, values.as_ref()?)));
        let pairs = by_key.flat_map(|(key, values)| {
            values.iter().filter_map(move |(value, counts)| Some((key, scalar(value)?.into_owned(), *counts)))
        });
        let span_name = std::str::from_utf8(SPAN_NAME).unwrap_or_default();
        let names = self.names.iter().map(|(name, counts)| (span_name, (*name).to_owned(), *counts));
        let judged = pairs.chain(names).filter_map(|(key, value, counts)| judge(of, calls, key, &value, counts));
        let mut named: Vec<(f64, AttributeShare)> = judged.collect();
        named.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| (&x.key, &x.value).cmp(&(&y.key, &y.value))));
        named.into_iter().take(NAMED).map(|(_, share)| share).collect()
    }
}

/// What is to be said of a pair with these `counts` among these `calls`, and how strong it is at least.
fn judge(of: Affected, calls: Counts, key: &str, value: &str, counts: Counts) -> Option<(f64, AttributeShare)> {
    let group = |group: usize| (counts.0[group], calls.0[group]);
    let (affected, others) = (group(AFFECTED), group(OTHERS));
    let all_before = (counts.before(), calls.before());
    let is_outcome = OUTCOMES.contains(&key);
    let compares_affected = calls.0[AFFECTED_BEFORE] >= LEAST_CALLS;
    if affected.0 < 2 || affected.1 < LEAST_CALLS || all_before.1 < LEAST_CALLS || is_outcome && !compares_affected {
        return None;
    }
    let baseline = if compares_affected { group(AFFECTED_BEFORE) } else { all_before };
    let changed = least_difference(affected, baseline);
    let differs = if is_outcome { changed } else { tells_apart(affected, others, all_before) };
    let strength = changed.min(differs);
    let share = |(count, total): (u32, u32)| f64::from(count) / f64::from(total);
    (strength > MARGIN).then(|| {
        let attribute = AttributeShare {
            key: key.to_owned(),
            value: value.chars().take(SHOWN).collect(),
            share: share(affected),
            baseline_share: share(baseline),
            count: affected.0,
            total: affected.1,
            baseline_count: baseline.0,
            baseline_total: baseline.1,
            of,
            baseline_of: if compares_affected { BaselineOf::Affected } else { BaselineOf::All },
        };
        (strength, attribute)
    })
}

/// How far a value sets the affected calls apart from the others of the time at least; from all calls before where
/// there are hardly any others, or where everything has the value now.
fn tells_apart(affected: (u32, u32), others: (u32, u32), all_before: (u32, u32)) -> f64 {
    let all = (affected.0 + others.0, affected.1 + others.1);
    let is_everywhere = f64::from(all.0) >= EVERYWHERE * f64::from(all.1);
    if is_everywhere || others.1 < LEAST_CALLS {
        least_difference(affected, all_before)
    } else {
        least_difference(affected, others)
    }
}

/// The lower end of the interval for the difference of two shares, given as counts and totals above 0.
fn least_difference(one: (u32, u32), other: (u32, u32)) -> f64 {
    newcombe(Z, one, other)
}

fn newcombe(z: f64, one: (u32, u32), other: (u32, u32)) -> f64 {
    let share = |(count, total): (u32, u32)| f64::from(count) / f64::from(total);
    let (lower, upper) = (wilson(z, one).0, wilson(z, other).1);
    share(one) - share(other) - (share(one) - lower).hypot(upper - share(other))
}

/// Wilson's score interval of a share: E. B. Wilson, "Probable inference, the law of succession, and statistical
/// inference", Journal of the American Statistical Association 22 (1927).
fn wilson(z: f64, (count, total): (u32, u32)) -> (f64, f64) {
    let (n, p, z2) = (f64::from(total), f64::from(count) / f64::from(total), z * z);
    let middle = p + z2 / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    ((middle - half) / scale, (middle + half) / scale)
}

#[cfg(test)]
#[path = "attributes/tests.rs"]
mod tests;
