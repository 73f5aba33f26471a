use query::Query;

use super::{indicator::counter_of, *};

fn faults(text: &str) -> Vec<String> {
    let read = read(&[("s.yaml".to_owned(), text.to_owned())]);
    read.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn the_shipped_targets_are_read() {
    let text = include_str!("../../../../slo/targets.yaml");
    assert!(is_openslo(text) && !is_openslo("groups: []"));
    let objectives = read(&[("slo/targets.yaml".to_owned(), text.to_owned())]).expect("are valid");
    let shown: Vec<_> = objectives.iter().map(|o| (&*o.name, o.good, o.bad)).collect();
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let expected = [
        ("availability", 0.0001, 0.5),
        ("errors", 0.001, 0.5),
        ("latency p50", 0.1, 1.0),
        ("latency p95", 0.4, 4.0),
        ("latency p99", 1.0, 10.0),
        ("cache hits", 0.8, 0.0),
    ];
    assert_eq!(shown.len(), expected.len());
    for (got, want) in shown.iter().zip(expected) {
        assert!(got.0 == want.0 && close(got.1, want.1) && close(got.2, want.2), "{got:?} {want:?}");
    }
    assert!(objectives.iter().all(|o| o.service.as_deref() == Some("quote-api") && o.budget.is_some()));
    let metrics: Vec<_> = objectives[0].queries().flat_map(Query::metrics).flatten().collect();
    assert!(metrics.iter().all(|name| *name == "traces_span_metrics_calls_total"), "{metrics:?}");
}

#[test]
fn a_counter_is_found_in_sums_and_rates() {
    for (text, want) in [
        ("x", Some("x")),
        ("x{a=\"b)\"}", Some("x{a=\"b)\"}")),
        ("sum(x)", Some("x")),
        ("sum by (job) (rate(x{a=\"b\"}[5m]))", Some("x{a=\"b\"}")),
        ("increase(x[1h])", Some("x")),
        ("sum(x) / 2", None),
        ("avg(x)", None),
    ] {
        assert_eq!(counter_of(text).as_deref(), want, "{text}");
    }
}

#[test]
fn what_is_not_done_is_said_by_line() {
    let text = "\
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: p}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: a}
spec:
  service: shop
  indicator:
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Datadog, spec: {query: x}}}
        total: {metricSource: {spec: {query: avg(x)}}}
  budgetingMethod: Timeslice
  timeWindow:
    - {duration: 1M, calendar: {}}
  alertPolicies: [p]
  objectives: [{target: 0.9}]
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: b}
spec:
  service: shop
  indicatorRef: nobody
  objectives: [{target: 99}]
---
apiVersion: openslo/v2
kind: SLO
metadata: {name: c}
";
    let got = faults(text);
    let has = |line: usize, word: &str| {
        let place = format!("s.yaml:{line}:");
        assert!(got.iter().any(|f| f.starts_with(&place) && f.contains(word)), "{line} {word} in {got:#?}");
    };
    has(2, "kind AlertPolicy: not done");
    has(14, "expected Prometheus");
    has(15, "total: not done");
    has(16, "budgetingMethod: expected Occurrences, Timeslices or RatioTimeslices");
    has(18, "startTime");
    has(19, "alertPolicies: not done");
    has(27, "indicatorRef: expected the name of an SLI");
    has(30, "apiVersion: expected openslo/v1");
}

#[test]
fn windows_roll_or_begin_anew_with_the_calendar() {
    let slo = |window: &str| {
        let metric = "{thresholdMetric: {metricSource: {spec: {query: latency}}}}";
        let objectives = "objectives: [{op: lte, value: 2, target: 0.9}]";
        let head = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a}\n";
        faults(&format!(
            "{head}spec: {{service: s, indicator: {{spec: {metric}}}, timeWindow: [{window}], {objectives}}}\n"
        ))
    };
    let calendar = "calendar: {startTime: '2026-01-01 00:00:00', timeZone: Europe/Zurich}";
    assert_eq!(slo("{duration: 28d, isRolling: true}"), [""; 0]);
    assert_eq!(slo(&format!("{{duration: 1M, {calendar}, isRolling: false}}")), [""; 0]);
    assert!(slo(&format!("{{duration: 1M, {calendar}, isRolling: true}}"))[0].contains("isRolling: expected"));
    assert!(slo("{duration: 1M, isRolling: false}")[0].contains("isRolling: expected true without `calendar`"));
    assert!(slo("{duration: 1M, calendar: {timeZone: UTC}}")[0].contains("startTime"));
}

#[test]
fn thresholds_need_an_operator_and_a_target() {
    let slo = |objective: &str| {
        let metric = "{thresholdMetric: {metricSource: {spec: {query: latency}}}}";
        let head = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a}\n";
        format!("{head}spec: {{service: s, indicator: {{spec: {metric}}}, objectives: [{objective}]}}\n")
    };
    assert!(faults(&slo("{op: lte, value: 2, targetPercent: 99.5}")).is_empty());
    assert!(faults(&slo("{target: 0.9}"))[0].contains("expected `op` and `value`"));
    assert!(faults(&slo("{op: eq, value: 2, target: 0.9}"))[0].contains("expected lt, lte, gt or gte"));
    assert!(faults(&slo("{op: lt, value: 2, target: 1}"))[0].contains("target: expected more than 0"));
    assert!(faults(&slo("{op: lt, value: 2}"))[0].contains("either `target` or `targetPercent`"));
}

#[test]
fn time_slices_are_of_events_and_their_budget_is_of_time() {
    let slo = |metric: &str, method: &str, objective: &str| {
        let head = "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: a}\n";
        format!(
            "{head}spec: {{service: s, budgetingMethod: {method}, indicator: {{spec: {metric}}}, objectives: [{objective}]}}\n"
        )
    };
    let source = "{metricSource: {spec: {query: x}}}";
    let ratio = format!("{{ratioMetric: {{bad: {source}, total: {source}}}}}");
    let sliced = "{target: 0.99, timeSliceTarget: 0.95, timeSliceWindow: 1m}";
    let read = read(&[("s.yaml".into(), slo(&ratio, "Timeslices", sliced))]).expect("is valid");
    let objective = &read[0];
    let budget = objective.budget.as_ref().expect("has one");
    assert!((objective.good - 0.05).abs() < 1e-9 && (budget.share - 0.01).abs() < 1e-9, "{objective:?}");
    assert!(objective.query.text().contains("[60000ms]"), "{}", objective.query.text());
    assert!(budget.pairs[0].long.query.text().contains("bellwether_objective_missed"), "{budget:?}");
    let threshold = format!("{{thresholdMetric: {source}}}");
    for (metric, method, objective, want) in [
        (&ratio, "Timeslices", "{target: 0.9}", "expected `timeSliceTarget` and `timeSliceWindow`"),
        (
            &ratio,
            "Timeslices",
            "{target: 0.9, timeSliceTarget: 1.1, timeSliceWindow: 1m}",
            "timeSliceTarget: expected more",
        ),
        (
            &ratio,
            "Timeslices",
            "{target: 0.9, timeSliceTarget: 0.9, timeSliceWindow: 1s}",
            "timeSliceWindow: expected from",
        ),
        (&ratio, "Occurrences", sliced, "timeSliceTarget: expected none of it"),
        (
            &ratio,
            "Timeslices",
            "{target: 0.9, timeSliceTarget: 0.9, timeSliceWindow: 61}",
            "timeSliceWindow: expected from",
        ),
        (
            &ratio,
            "Timeslices",
            "{target: 0.9, timeSliceTarget: 0.9, timeSliceWindow: -1}",
            "timeSliceWindow: expected from",
        ),
        (&ratio, "Occurrences", "{target: 0.9, op: lt}", "op: expected gt or gte"),
        (&ratio, "Occurrences", "{target: 0.9, op: gt, value: 1}", "`value` is of a thresholdMetric"),
        (&threshold, "Timeslices", sliced, "expected `op` and `value`"),
        (&ratio, "RatioTimeslices", sliced, "timeSliceTarget: expected none of it"),
        (&ratio, "RatioTimeslices", "{target: 0.9}", "expected `timeSliceWindow`"),
    ] {
        let got = faults(&slo(metric, method, objective));
        assert!(got.iter().any(|fault| fault.contains(want)), "{want} in {got:?}");
    }
}

#[test]
fn ratios_of_slices_and_raw_ratios_spend_a_budget_of_their_mean() {
    let source = |query: &str| format!("{{metricSource: {{spec: {{query: '{query}'}}}}}}");
    let counted = format!("{{ratioMetric: {{good: {}, total: {}}}}}", source("good"), source("total"));
    let raw = |query: &str, kind: &str| format!("{{ratioMetric: {{raw: {}, rawType: {kind}}}}}", source(query));
    let slo = |metric: &str, method: &str, slice: &str| {
        format!(
            "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: a}}\nspec: {{service: s, budgetingMethod: {method}, \
             indicator: {{spec: {metric}}}, objectives: [{{target: 0.99{slice}}}]}}\n"
        )
    };
    let slice = ", timeSliceWindow: 2m";
    for (metric, method, slice, value) in [
        (&counted, "RatioTimeslices", slice, "rate(good[120000ms])"),
        (&raw("up:ratio", "success"), "Occurrences", "", "1 - (up:ratio\n)"),
        (&raw("down:ratio", "failure"), "Occurrences", "", "down:ratio"),
        (&raw("down:ratio", "failure"), "RatioTimeslices", slice, "down:ratio"),
    ] {
        let read = read(&[("s.yaml".into(), slo(metric, method, slice))]).expect("is valid");
        let budget = read[0].budget.as_ref().expect("has one");
        assert!(read[0].query.text().contains(value), "{value} in {}", read[0].query.text());
        assert!((read[0].good - 0.01).abs() < 1e-9 && (budget.share - 0.01).abs() < 1e-9, "{:?}", read[0]);
        let burn = budget.pairs[0].long.query.text();
        assert!(burn.contains("avg_over_time(bellwether_objective_value{objective=\"a\"}"), "{burn}");
    }
    let got = faults(&slo(&raw("x", "good"), "Occurrences", ""));
    assert!(got[0].contains("rawType: expected success or failure"), "{got:?}");
    let got = faults(&slo(&format!("{{ratioMetric: {{raw: {}}}}}", source("x")), "Occurrences", ""));
    assert!(got[0].contains("expected `rawType`"), "{got:?}");
    let mixed = format!("{{ratioMetric: {{raw: {0}, rawType: failure, total: {0}}}}}", source("x"));
    assert!(faults(&slo(&mixed, "Occurrences", ""))[0].contains("or `raw` and `rawType`"));
}

#[test]
fn slices_of_a_threshold_are_of_what_is_published() {
    let slo = |method: &str, objective: &str| {
        format!(
            "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: a}}\nspec: {{service: s, budgetingMethod: {method}, \
             indicator: {{spec: {{thresholdMetric: {{metricSource: {{spec: {{query: x}}}}}}}}}}, \
             objectives: [{{op: lt, value: 2, target: 0.99, {objective}}}]}}\n"
        )
    };
    for (method, objective, target) in [
        ("Timeslices", "timeSliceTarget: 0.9, timeSliceWindow: 2m", Some(0.9)),
        // Minutes, if nothing else is said.
        ("Timeslices", "timeSliceTarget: 1.0, timeSliceWindow: 2", Some(1.0)),
        ("RatioTimeslices", "timeSliceWindow: 2m", None),
    ] {
        let read = read(&[("s.yaml".into(), slo(method, objective))]).expect("is valid");
        let (objective, budget) = (&read[0], read[0].budget.as_ref().expect("has one"));
        assert!((objective.good - 2.0).abs() < 1e-9 && (budget.share - 0.01).abs() < 1e-9, "{objective:?}");
        assert_eq!(objective.slices.as_ref().map(|slices| slices.target), Some(target));
        let asked: Vec<&str> = objective.queries().map(Query::text).collect();
        let counted = "sum by (job) (count_over_time(bellwether_objective_missed{objective=\"a\"}[120000ms]))";
        assert!(asked.contains(&counted), "{asked:?}");
        let burn = budget.pairs[0].long.query.text();
        assert!(
            burn.contains("avg_over_time(bellwether_objective_slice_missed{objective=\"a\"}[3600000ms])"),
            "{burn}"
        );
    }
}

#[test]
fn a_strict_operator_leaves_the_threshold_itself_out() {
    let missed = |op: &str| {
        let text = format!(
            "apiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: a}}\nspec: {{service: s, \
             indicator: {{spec: {{thresholdMetric: {{metricSource: {{spec: {{query: x}}}}}}}}}}, \
             objectives: [{{op: {op}, value: 2, target: 0.99}}]}}\n"
        );
        let read = read(&[("s.yaml".into(), text)]).expect("is valid");
        let said = read[0].explain(None, 2.0, None, |_| None);
        ([1.0, 2.0, 3.0].map(|value| read[0].is_missed(value)), said)
    };
    assert_eq!(missed("lte"), ([false, false, true], "a is 2; target: at most 2".to_owned()));
    assert_eq!(missed("lt"), ([false, true, true], "a is 2; target: below 2".to_owned()));
    assert_eq!(missed("gte"), ([true, false, false], "a is 2; target: at least 2".to_owned()));
    assert_eq!(missed("gt"), ([true, true, false], "a is 2; target: above 2".to_owned()));
}

#[test]
fn titles_that_several_objectives_have_stand_behind_the_names_of_their_slos() {
    let slo = |name: &str, titles: &[&str]| {
        let source = "{metricSource: {spec: {query: x}}}";
        let one = |title: &&str| format!("{{target: 0.9{title}}}");
        let objectives: Vec<String> = titles.iter().map(one).collect();
        format!(
            "---\napiVersion: openslo/v1\nkind: SLO\nmetadata: {{name: {name}}}\n\
             spec: {{service: s, budgetingMethod: Occurrences, \
             indicator: {{spec: {{ratioMetric: {{bad: {source}, total: {source}}}}}}}, objectives: [{}]}}\n",
            objectives.join(", ")
        )
    };
    let (good, best) = (", displayName: Good", ", displayName: Best");
    // In different files, and of one SLO.
    let files = [
        ("a.yaml".to_owned(), slo("a", &[good]) + &slo("b", &[best])),
        ("b.yaml".to_owned(), slo("c", &[good, good, ""])),
    ];
    let read = read(&files).expect("are valid");
    let names: Vec<&str> = read.iter().map(|objective| &*objective.name).collect();
    assert_eq!(names, ["a: Good", "Best", "c/1: Good", "c/2: Good", "c/3"]);
}
