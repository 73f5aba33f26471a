use query::{Options, Recall};
use window::Snapshot;

use super::*;
use crate::{AlertState, testing::Feed};

fn faults(text: &str) -> Vec<String> {
    read("r.yaml", text, "").expect_err("has faults").iter().map(ToString::to_string).collect()
}

fn one_rule(yaml: &str) -> RuleGroup {
    let text = format!("groups:\n- name: g\n  interval: 10s\n  rules:\n  - {}", yaml.trim().replace('\n', "\n    "));
    read("r.yaml", &text, "").expect("is a valid rule file").remove(0)
}

fn evaluate(group: &RuleGroup, snapshot: &Snapshot, at: UnixNanos, book: &mut Book) -> Evaluated {
    let (options, mut recall) = (Options::default(), Recall::default());
    group.evaluate(&mut Moment { snapshot, at, options: &options, recall: &mut recall }, book, &mut |_| {})
}

/// Evaluates `group` every 10 s up to `until`; transitions as (second, alertname and state).
fn run(group: &RuleGroup, feed: &mut Feed, until: i64) -> Vec<(i64, String)> {
    let mut book = Book::default();
    let mut out = Vec::new();
    let snapshot = feed.snapshot();
    for t in (0..=until).step_by(10) {
        let at = UnixNanos(t * 1_000_000_000);
        let evaluated = evaluate(group, &snapshot, at, &mut book);
        assert_eq!(evaluated.failures, []);
        out.extend(evaluated.transitions.iter().map(|c| (t, c.alert.state.as_str().to_owned())));
    }
    out
}

fn words(transitions: &[(i64, String)]) -> Vec<(i64, &str)> {
    transitions.iter().map(|(t, s)| (*t, s.as_str())).collect()
}

#[test]
fn a_rule_goes_through_pending_firing_and_resolved() {
    let group = one_rule("alert: Low\nexpr: conversion < 0.2\nfor: 20s\nkeep_firing_for: 30s");
    let mut feed = Feed::default();
    for t in (0..300).step_by(10) {
        feed.gauge("conversion", &[("job", "shop")], t, if (100..150).contains(&t) { 0.1 } else { 0.3 });
    }
    assert_eq!(words(&run(&group, &mut feed, 290)), [(100, "pending"), (120, "firing"), (170, "resolved")]);
}

#[test]
fn silence_of_the_input_makes_it_stale_not_resolved() {
    let group = one_rule("alert: Low\nexpr: conversion < 0.2");
    let mut feed = Feed::default();
    for t in (0..=100).step_by(10) {
        feed.gauge("conversion", &[("job", "shop")], t, if t >= 50 { 0.1 } else { 0.3 });
    }
    // The last sample is at 100 s and PromQL looks five minutes back.
    assert_eq!(words(&run(&group, &mut feed, 1_000)), [(50, "firing"), (400, "stale")]);
}

#[test]
fn labels_and_annotations_are_those_of_the_rule_and_of_the_result() {
    let group = one_rule(
        "alert: Low\nexpr: conversion < 0.2\nlabels:\n  severity: critical\nannotations:\n  summary: '{{ $labels.job }} at {{ $value | humanizePercentage }}'",
    );
    let mut feed = Feed::default();
    feed.gauge("conversion", &[("job", "shop")], 0, 0.1);
    let mut book = Book::default();
    let out = evaluate(&group, &feed.snapshot(), UnixNanos(0), &mut book);
    let alert = &out.transitions[0].alert;
    assert_eq!(alert.labels.to_string(), r#"{alertname="Low", job="shop", severity="critical"}"#);
    assert_eq!(alert.annotations.get("summary"), Some("shop at 10%"));
    assert_eq!((alert.state, alert.argued_level), (AlertState::Firing, Level::CacheOnly));
}

#[test]
fn recording_rules_write_series() {
    let group = one_rule("record: job:x:double\nexpr: x * 2\nlabels: {team: a}");
    let mut feed = Feed::default();
    feed.gauge("x", &[("job", "shop")], 0, 21.0);
    let out = evaluate(&group, &feed.snapshot(), UnixNanos(0), &mut Book::default());
    assert_eq!(&*out.recorded[0].name, "job:x:double");
    assert_eq!(out.recorded[0].labels.to_string(), r#"{job="shop", team="a"}"#);
    assert!((out.recorded[0].value - 42.0).abs() < 1e-9);
}

#[test]
fn every_fault_of_a_file_is_reported_at_once() {
    let text = "\
groups:
- name: a
  interval: soon
  rules:
  - alert: A
    expr: predict_linear(x[1h], 3600) > 1
    for: 5 minutes
    lables: {}
  - alert: B
    record: b
    expr: x
  - expr: sum(x
  - record: 9x
    expr: x
    for: 1m
  - alert: C
    expr: x > 1
    annotations:
      summary: '{{ query \"x\" }}'
- name: a
  rules: []
";
    let got = faults(text);
    let has =
        |line: usize, word: &str| got.iter().any(|f| f.starts_with(&format!("r.yaml:{line}:")) && f.contains(word));
    assert!(has(3, "duration"), "{got:#?}");
    assert!(has(6, "predict_linear"), "{got:#?}");
    assert!(has(7, "5 minutes"), "{got:#?}");
    assert!(has(8, "lables"), "{got:#?}");
    assert!(has(9, "not both"), "{got:#?}");
    assert!(has(12, "alert") && has(12, "expr"), "{got:#?}");
    assert!(has(13, "9x") && has(13, "`for`"), "{got:#?}");
    assert!(has(19, "query"), "{got:#?}");
    assert!(has(20, "twice"), "{got:#?}");
}

#[test]
fn an_empty_file_has_no_rules() {
    assert!(read("r.yaml", "", "").expect("is valid").is_empty());
    assert!(read("r.yaml", "groups: []", "").expect("is valid").is_empty());
}
