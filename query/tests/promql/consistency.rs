//! A range query is the instant queries of its steps: it must say the same, to the bit, although
//! it reads samples once and slides over them.

use std::time::Duration;

use bellwether_query::{InstantSample, Options, Query, RangeSeries, Value};
use fastrand::Rng;
use window::{Labels, STALE_NAN_BITS, Snapshot, UnixNanos};

use crate::support::Data;

const SECOND: i64 = 1_000_000_000;

fn data(rng: &mut Rng) -> Snapshot {
    let mut data = Data::new();
    for name in ["a", "b_total"] {
        for (job, instance) in [("x", "1"), ("x", "2"), ("y", "1")] {
            let labels = Labels::from_pairs([("job", job), ("instance", instance)]);
            let mut time = rng.i64(0..10 * SECOND);
            let mut value = 0.0;
            let mut samples = Vec::new();
            for _ in 0..rng.usize(0..80) {
                time += rng.i64(1..12) * SECOND + if rng.bool() { 0 } else { rng.i64(0..SECOND) };
                value = if rng.u8(..) < 10 { 0.0 } else { value + rng.f64() };
                samples.push((UnixNanos(time), odd_or(rng, value)));
            }
            data.add(name, labels, &samples);
        }
    }
    data.snapshot()
}

pub(crate) fn odd_or(rng: &mut Rng, value: f64) -> f64 {
    match rng.u8(..) {
        0..8 => f64::from_bits(STALE_NAN_BITS),
        8..12 => f64::NAN,
        12..14 => f64::INFINITY,
        _ => value,
    }
}

pub(crate) fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

/// A random vector expression of at most `depth` levels.
pub(crate) fn vector(rng: &mut Rng, depth: usize) -> String {
    let matcher = pick(rng, &["", "{job=\"x\"}", "{job!~\"x\"}", "{instance=~\"1|3\"}"]);
    let selector = format!("{}{matcher}", pick(rng, &["a", "b_total"]));
    let offset = pick(rng, &["", "", " offset 25s", " offset -15s"]);
    if depth == 0 {
        return format!("{selector}{offset}");
    }
    let matching = pick(rng, &["", " on (job)", " ignoring (instance)", " on (job, instance)"]);
    let operator = pick(rng, &["+", "/", ">", "<= bool", "=="]);
    match rng.u8(0..8) {
        0..3 => {
            let windows = ["rate", "increase", "delta", "irate", "idelta", "avg_over_time", "max_over_time"];
            let others = ["min_over_time", "sum_over_time", "count_over_time", "last_over_time"];
            let function = pick(rng, &[&windows[..], &others[..]].concat());
            format!("{function}({selector}[{}]{offset})", pick(rng, &["20s", "1m", "3m"]))
        }
        3 => {
            let by = pick(rng, &["", "by (job)", "without (instance)", "by (__name__)"]);
            let op = pick(rng, &["sum", "avg", "min", "max", "count", "group"]);
            format!("{op} {by} ({})", vector(rng, depth - 1))
        }
        4 => format!("({}) {operator}{matching} ({})", vector(rng, depth - 1), vector(rng, depth - 1)),
        5 => {
            let set = pick(rng, &["and", "or", "unless"]);
            format!("({}) {set}{matching} ({})", vector(rng, depth - 1), vector(rng, depth - 1))
        }
        6 => format!("({}) {operator} scalar({})", vector(rng, depth - 1), vector(rng, depth - 1)),
        _ => format!("{}({})", pick(rng, &["absent", "abs", "-", "round"]), vector(rng, depth - 1)),
    }
}

pub(crate) type Element = (Option<String>, String, u64);

pub(crate) fn elements(vector: Vec<InstantSample>) -> Vec<Element> {
    let element = |s: InstantSample| (s.name.map(|n| n.to_string()), s.labels.to_string(), s.value.to_bits());
    vector.into_iter().map(element).collect()
}

fn elements_at(series: &[RangeSeries], at: UnixNanos) -> Vec<Element> {
    let element = |s: &RangeSeries| {
        let sample = s.samples.iter().find(|p| p.time == at)?;
        Some((s.name.as_ref().map(ToString::to_string), s.labels.to_string(), sample.value.to_bits()))
    };
    series.iter().filter_map(element).collect()
}

#[test]
fn a_range_query_equals_the_instant_queries_of_its_steps() {
    let options = Options { lookback: Duration::from_secs(45), ..Options::default() };
    let (mut compared, mut refused) = (0, 0);
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let snapshot = data(&mut rng);
        let text = vector(&mut rng, 3);
        let query = Query::parse(&text).expect("the generator makes valid queries");
        let start = UnixNanos(rng.i64(-60..300) * SECOND);
        let step = Duration::from_secs(rng.u64(1..40));
        let end = start.plus(step * rng.u32(0..30));
        let range = query.range(&snapshot, start, end, step, &options);
        let mut at = start;
        let mut failed = None;
        while at <= end {
            match query.instant(&snapshot, at, &options) {
                Ok(Value::Vector(v)) => {
                    if let Ok(range) = &range {
                        compared += v.len();
                        assert_eq!(elements_at(range, at), elements(v), "seed {seed}: {text} at {at}");
                    }
                }
                Ok(other) => assert_eq!(other, Value::Vector(Vec::new()), "seed {seed}: {text}"),
                Err(e) => failed = failed.or(Some(e)),
            }
            at = at.plus(step);
        }
        refused += usize::from(failed.is_some());
        assert_eq!(range.err(), failed, "seed {seed}: {text}");
    }
    assert!(compared > 2_000 && refused > 5, "compared {compared} elements, refused {refused} queries");
}

#[test]
fn samples_are_the_same_however_they_were_sealed() {
    let samples: Vec<_> =
        (0..40).map(|i: i32| (UnixNanos(i64::from(i) * 10 * SECOND), f64::from(i * i % 17))).collect();
    let query = Query::parse("rate(m[1m]) + m").expect("is valid");
    let at = UnixNanos(305 * SECOND);
    let mut one = Data::new();
    one.add("m", Labels::default(), &samples);
    let expected = query.instant(&one.snapshot(), at, &Options::default()).expect("has an answer");
    let mut other = Data::new();
    for i in 0..9 {
        // Other series between change where the seals fall.
        other.add("n", Labels::from_pairs([("i", i.to_string())]), &samples);
    }
    other.add("m", Labels::default(), &samples);
    assert_eq!(query.instant(&other.snapshot(), at, &Options::default()), Ok(expected));
}
