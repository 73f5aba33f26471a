//! Runs the scripts of `scripts/`: series in, expressions, expected answers.
//!
//! ```text
//! load 10s                        # starts anew; one sample per 10 s, the first at 0 s
//!   m{a="b"} 0+10x3 _ 7 stale     # 0 10 20 30, nothing, 7, a staleness marker
//! eval instant at 50s m > 1       # one line per element, or one number for a scalar
//!   m{a="b"} 7
//! eval range from 0s to 40s step 20s m
//!   m{a="b"} 0 20 _               # _ where the step has no value
//! eval observed at 50s m > 1      # one label set per line, or `none`
//!   {a="b"}
//! eval fails at 50s m + on() n
//!   part of the message
//! ```
//!
//! Numbers are compared to 12 digits; everything else exactly.

use std::{collections::BTreeMap, fmt::Write};

use bellwether_query::{InstantSample, Options, Query, QueryError, RangeSeries, Value};
use window::{Labels, Snapshot};

use crate::support::{Data, duration, moment, number, series_of};

/// A block of a script: its head and the indented lines below it.
struct Block<'a> {
    line: usize,
    head: &'a str,
    body: Vec<&'a str>,
}

fn blocks(script: &str) -> Vec<Block<'_>> {
    let mut out: Vec<Block<'_>> = Vec::new();
    for (i, line) in script.lines().enumerate() {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match out.last_mut() {
            Some(block) if line.starts_with(' ') => block.body.push(text),
            _ => out.push(Block { line: i + 1, head: text, body: Vec::new() }),
        }
    }
    out
}

/// Runs one script and returns how many expressions it evaluated.
fn run(name: &str, script: &str) -> usize {
    let mut snapshot = Snapshot::default();
    let mut faults = String::new();
    let mut evaluated = 0;
    for block in blocks(script) {
        if let Some(step) = block.head.strip_prefix("load ") {
            snapshot = Data::parse(&block.body, duration(step)).snapshot();
            continue;
        }
        evaluated += 1;
        if let Err(fault) = check(&snapshot, &block) {
            let _ = writeln!(faults, "{name}:{} {}\n{fault}", block.line, block.head);
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
    evaluated
}

fn check(snapshot: &Snapshot, block: &Block<'_>) -> Result<(), String> {
    let words: Vec<&str> = block.head.splitn(9, ' ').collect();
    let options = Options::default();
    let expected = &block.body;
    let rest = |n: usize| block.head.splitn(n + 1, ' ').nth(n).unwrap_or_default();
    let parse = |text: &str| Query::parse(text).map_err(|e| e.to_string());
    match words[1] {
        "instant" => {
            let value = parse(rest(4))?.instant(snapshot, moment(words[3]), &options).map_err(|e| e.to_string())?;
            compare(&instant_lines(value), expected)
        }
        "range" => {
            let (from, to, step) = (moment(words[3]), moment(words[5]), duration(words[7]));
            let answer = parse(rest(8))?.range(snapshot, from, to, step, &options).map_err(|e| e.to_string())?;
            let steps: Vec<i64> = (from.0..=to.0).step_by(usize::try_from(step.as_nanos()).expect("short")).collect();
            compare(&range_lines(&answer, &steps), expected)
        }
        "observed" => {
            let answer = parse(rest(4))?.observed(snapshot, moment(words[3]), &options).map_err(|e| e.to_string())?;
            let lines = answer.map_or(vec!["none".into()], |l| l.iter().map(Labels::to_string).collect());
            compare(&lines.into_iter().map(|l: String| (l, Vec::new())).collect(), expected)
        }
        "fails" => {
            let failed = Query::parse(rest(4)).and_then(|q| q.instant(snapshot, moment(words[3]), &options));
            let message = failed.map_or_else(|e: QueryError| e.to_string(), |v| format!("answered {v:?}"));
            expected
                .iter()
                .find(|part| !message.contains(**part))
                .map_or(Ok(()), |part| Err(format!("  expected {part:?} in\n  {message}")))
        }
        other => Err(format!("unknown block {other:?}")),
    }
}

type Lines = BTreeMap<String, Vec<Option<f64>>>;

fn metric(name: Option<&str>, labels: &Labels) -> String {
    format!("{}{}", name.unwrap_or_default(), labels)
}

fn instant_lines(value: Value) -> Lines {
    match value {
        Value::Scalar(v) => [("scalar".into(), vec![Some(v)])].into(),
        Value::String(s) => [(format!("string{s:?}"), vec![])].into(),
        Value::Vector(v) => {
            let line = |s: InstantSample| (metric(s.name.as_deref(), &s.labels), vec![Some(s.value)]);
            v.into_iter().map(line).collect()
        }
        Value::Matrix(m) => {
            let line = |s: RangeSeries| {
                (metric(s.name.as_deref(), &s.labels), s.samples.iter().map(|p| Some(p.value)).collect())
            };
            m.into_iter().map(line).collect()
        }
    }
}

fn range_lines(series: &[RangeSeries], steps: &[i64]) -> Lines {
    let at = |s: &RangeSeries, t: i64| s.samples.iter().find(|p| p.time.0 == t).map(|p| p.value);
    let line = |s: &RangeSeries| (metric(s.name.as_deref(), &s.labels), steps.iter().map(|t| at(s, *t)).collect());
    series.iter().map(line).collect()
}

fn compare(actual: &Lines, expected: &[&str]) -> Result<(), String> {
    let mut wanted = Lines::new();
    for line in expected {
        let (series, values) = series_of(line);
        let values = values.map(|v| (v != "_").then(|| number(v))).collect();
        wanted.insert(series, values);
    }
    let same_lines = wanted.len() == actual.len()
        && wanted.iter().all(|(series, values)| actual.get(series).is_some_and(|a| same(a, values)));
    if same_lines { Ok(()) } else { Err(format!("  expected {wanted:?}\n  got      {actual:?}")) }
}

fn same(a: &[Option<f64>], b: &[Option<f64>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| match (a, b) {
            (Some(a), Some(b)) => close(*a, *b),
            (a, b) => a.is_none() && b.is_none(),
        })
}

fn close(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// A script that silently holds nothing would pass: each one says how much it must evaluate.
fn check_script(name: &str, script: &str, at_least: usize) {
    let evaluated = run(name, script);
    assert!(evaluated >= at_least, "{name} evaluated {evaluated} expressions");
}

#[test]
fn selectors() {
    check_script("selectors", include_str!("scripts/selectors.txt"), 25);
}

#[test]
fn operators() {
    check_script("operators", include_str!("scripts/operators.txt"), 40);
}

#[test]
fn aggregations() {
    check_script("aggregations", include_str!("scripts/aggregations.txt"), 15);
}

#[test]
fn functions() {
    check_script("functions", include_str!("scripts/functions.txt"), 40);
}

#[test]
fn histograms() {
    check_script("histograms", include_str!("scripts/histograms.txt"), 20);
}

#[test]
fn ranges() {
    check_script("ranges", include_str!("scripts/ranges.txt"), 8);
}

#[test]
fn observed() {
    check_script("observed", include_str!("scripts/observed.txt"), 18);
}

#[test]
fn a_wrong_expectation_is_noticed() {
    let wrong = "load 10s\n  m 1\neval instant at 0s m\n  m{} 2\n";
    assert!(std::panic::catch_unwind(|| run("wrong", wrong)).is_err());
    let right = wrong.replace("m{} 2", "m{} 1");
    assert_eq!(run("right", &right), 1);
}
