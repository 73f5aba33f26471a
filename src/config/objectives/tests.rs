use super::super::tests::parse;

#[test]
fn objectives_of_all_kinds_are_read() {
    let text = "
level:
  default_objectives: false
  weights: {shop/notification: 0.2}
  objectives:
  - {name: availability, kind: error_ratio, service: quote-api, target: 0.9999, selector: 'span_name=\"quote\"'}
  - {name: gateway, kind: error_ratio, target: 0.99, errors: 'bad_total{a=\"b\"}', total: all_total, worst: 0.2, range: 1m}
  - {name: p95, kind: latency, threshold: 400ms, worst: 2s, target: 0.95}
  - {name: p90, kind: latency, threshold: 1s, quantile: 0.9, metric: http_server_request_duration_seconds}
  - {name: pool, kind: saturation, expr: max by (job) (pool_usage), target: 0.8, weight: 0.5}
  - {name: conversion, kind: business_ratio, expr: quote_conversion_ratio, target: 0.2, time_target: 0.9}
  - {name: cache, kind: cache_hit_ratio, expr: hits, target: 0.8, worst: 0.1}
";
    let health = parse(text).expect("is valid").engine.health;
    assert_eq!(health.weights.get("shop/notification"), Some(&0.2));
    let shown: Vec<String> = health
        .objectives
        .iter()
        .map(|o| {
            let budget = o.budget.as_ref().map_or(0.0, |budget| budget.share);
            format!("{} {:.4} {:.1} {budget:.4} {} {}", o.name, o.good, o.bad, o.weight, o.queries().count())
        })
        .collect();
    assert_eq!(
        shown,
        [
            "availability 0.0001 0.5 0.0001 1 7",
            "gateway 0.0100 0.2 0.0100 1 7",
            "p95 0.4000 2.0 0.0500 1 7",
            "p90 1.0000 10.0 0.0100 1 7",
            "pool 0.8000 1.0 0.0000 0.5 1",
            "conversion 0.2000 0.0 0.1000 1 7",
            "cache 0.8000 0.1 0.0000 1 1",
        ]
    );
    assert!(health.objectives[0].query.text().contains("span_name=\"quote\""));
    assert!(health.objectives[0].is_about("shop/quote-api") && !health.objectives[0].is_about("shop/api"));
}

#[test]
fn faults_of_objectives_name_key_and_line() {
    let text = "\
level:
  weights: {a: 2}
  objectives:
  - {name: a, kind: uptime}
  - {name: b, kind: error_ratio, target: 99.9}
  - {name: c, kind: error_ratio, target: 0.9, errors: 'rate(x[5m])', total: y}
  - {name: d, kind: error_ratio, target: 0.9, errors: x}
  - {name: e, kind: latency, threshold: 1s, quantile: 0.9}
  - {name: f, kind: latency, threshold: 1s, worst: 1s}
  - {name: g, kind: saturation, expr: '(', target: 0.8}
  - {name: h, kind: saturation, expr: x, target: 0.8, worst: 0.5, direction: up}
  - {name: i, kind: cache_hit_ratio, target: 0.8, threshold: 1s}
  - {name: j, kind: error_ratio, target: 0.9, selector: 'a=b'}
  - {name: k, kind: saturation, expr: x, target: 1, weight: 3}
  - {name: k, kind: saturation, expr: x, target: 1}
  - {name: k, kind: saturation, expr: x, target: 1}
  openslo_files: [nowhere.yaml]
";
    let got = parse(text).expect_err("has faults");
    let has = |line: usize, word: &str| {
        let place = format!("b.yaml:{line}:");
        assert!(got.iter().any(|f| f.starts_with(&place) && f.contains(word)), "{line} {word} in {got:#?}");
    };
    has(2, "level.weights.a: expected a number from 0 to 1");
    has(4, "kind: expected error_ratio, latency");
    has(5, "target: expected a share");
    has(6, "errors: expected a selector");
    has(7, "expected both `errors` and `total`");
    has(8, "quantile: expected 0.5, 0.95 or 0.99");
    has(9, "worst: expected a duration longer");
    has(10, "objective `g`");
    has(11, "worst: expected a value that is more than the target, 0.8");
    has(11, "direction: expected above or below");
    has(12, "`expr` is missing");
    has(12, "unknown key `level.objectives[8].threshold`");
    has(13, "selector: expected label matchers");
    has(14, "weight: expected a number from 0 to 1");
    has(16, "`k` is given twice");
    assert!(got.iter().any(|fault| fault.contains("nowhere.yaml: cannot be read")), "{got:#?}");
}

#[test]
fn the_shipped_targets_can_be_named() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = "level: {openslo_files: [slo/targets.yaml]}";
    let config = super::super::file::parse("b.yaml", text, directory).expect("is valid");
    assert_eq!(config.engine.health.objectives.len(), 2 + 6);
}

#[test]
fn webhooks_of_levels_are_receivers_with_webhooks() {
    let receivers = "receivers:\n- {name: a, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}\n- {name: b}\n";
    let read = |hooks: &str| parse(&format!("level: {{webhooks: [{hooks}]}}\n{receivers}"));
    let hooks = read("{receiver: a}, {receiver: a, service: shop}").expect("is valid").level_hooks;
    assert_eq!(hooks[1].service.as_deref(), Some("shop"));
    assert!(read("{receiver: c}").is_err_and(|f| f[0].contains("level.webhooks: there is no receiver `c`")));
    assert!(read("{receiver: b}").is_err_and(|f| f[0].contains("has no webhook_configs")));
    assert!(read("{service: b}").is_err_and(|f| f[0].contains("`receiver` is missing")));
}
