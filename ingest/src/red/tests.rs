use super::*;

fn secs(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn span(service: &str, name: &str, end: i64, millis: i64, failed: bool) -> SpanRow {
    SpanRow {
        start: UnixNanos(secs(end).0 - millis * 1_000_000),
        end: secs(end),
        service: service.into(),
        name: name.into(),
        kind: SpanKind::Server,
        failed,
        trace_id: [1; 16],
        span_id: [1; 8],
        parent_span_id: [0; 8],
        attributes: Vec::new(),
    }
}

/// What `metric` was emitted as: (time in seconds, value), for labels that contain `wanted`.
fn values(out: &[IncomingPoint], metric: &str, wanted: &str) -> Vec<(i64, f64)> {
    out.iter()
        .filter(|p| &*p.series.name == metric && p.series.labels.to_string().contains(wanted))
        .map(|p| (p.time.0 / 1_000_000_000, p.value))
        .collect()
}

/// A bucket of forty calls, after one that shows that the service was there before.
fn filled(red: &mut Red) {
    red.add_span(&span("shop/api", "warm-up", -5, 1, false), secs(3));
    for i in 0..40 {
        red.add_span(&span("shop/api", "GET /", 3, if i < 38 { 100 } else { 900 }, i < 4), secs(3));
    }
}

#[test]
fn a_bucket_adds_up_to_rate_errors_and_durations() {
    let mut red = Red::new(RedConfig::default());
    filled(&mut red);
    let mut out = Vec::new();
    red.close(None, &mut out);
    assert!(out.is_empty(), "the last, unfinished bucket is never judged");
    red.add_span(&span("shop/api", "GET /", 20, 100, false), secs(20));
    red.close(None, &mut out);
    assert_eq!(values(&out, "traces_span_metrics_calls:rate", "GET /"), [(10, 4.0)]);
    assert_eq!(values(&out, "traces_span_metrics_errors:ratio", "GET /"), [(10, 0.1)]);
    let counted = |status: &str| {
        let of_operation: Vec<IncomingPoint> =
            out.iter().filter(|p| p.series.labels.get("span_name") == Some("GET /")).cloned().collect();
        values(&of_operation, "traces_span_metrics_calls_total", status)
    };
    assert_eq!(counted("ERROR"), [(0, 0.0), (10, 4.0)]);
    assert_eq!(counted("UNSET"), [(-10, 0.0), (0, 0.0), (10, 36.0)]);
    let p95 = values(&out, "traces_span_metrics_duration_seconds:p95", "")[0].1;
    let p50 = values(&out, "traces_span_metrics_duration_seconds:p50", "")[0].1;
    assert!((p50 / 0.1 - 1.0).abs() < 0.02 && (p95 / 0.1 - 1.0).abs() < 0.02, "{p50} {p95}");
    assert!(values(&out, "traces_span_metrics_duration_seconds:p99", "").is_empty(), "40 calls have no p99");
    let labels = &out[0].series.labels;
    assert_eq!((labels.get("job"), labels.get("service_name")), (Some("shop/api"), Some("api")));
}

#[test]
fn the_bucket_in_which_a_service_is_first_heard_has_no_rate() {
    let mut red = Red::new(RedConfig::default());
    for t in [7, 12, 15, 100, 112, 140] {
        red.add_span(&span("s", "op", t, 1, false), secs(t));
    }
    let mut out = Vec::new();
    red.close(None, &mut out);
    assert_eq!(values(&out, "traces_span_metrics_calls:rate", ""), [(20, 0.2), (120, 0.1)]);
    assert_eq!(
        values(&out, "traces_span_metrics_duration_seconds_count", "").len(),
        5,
        "calls are counted all the same"
    );
}

#[test]
fn an_idle_service_is_closed_by_the_wall_clock() {
    let mut red = Red::new(RedConfig::default());
    filled(&mut red);
    let mut out = Vec::new();
    red.close(Some(secs(22)), &mut out);
    assert!(out.is_empty());
    red.close(Some(secs(23)), &mut out);
    assert_eq!(values(&out, "traces_span_metrics_calls:rate", "GET /").last(), Some(&(10, 4.0)));
}

#[test]
fn late_spans_are_counted_and_change_nothing() {
    let mut red = Red::new(RedConfig::default());
    filled(&mut red);
    red.add_span(&span("shop/api", "GET /", 25, 1, false), secs(25));
    let mut out = Vec::new();
    red.close(None, &mut out);
    red.add_span(&span("shop/api", "GET /", 4, 1, false), secs(25));
    assert_eq!(red.late, 1);
}

#[test]
fn an_operation_without_calls_has_rate_zero_while_its_service_lives() {
    let mut red = Red::new(RedConfig::default());
    filled(&mut red);
    for t in [15, 40] {
        red.add_span(&span("shop/api", "PUT /", t, 1, false), secs(t));
    }
    let mut out = Vec::new();
    red.close(None, &mut out);
    assert_eq!(values(&out, "traces_span_metrics_calls:rate", "GET /"), [(10, 4.0), (20, 0.0)]);
    assert!(values(&out, "traces_span_metrics_errors:ratio", "GET /").len() == 1, "a share of nothing is no data");
}

#[test]
fn operations_beyond_the_limit_share_one() {
    let mut red = Red::new(RedConfig { max_operations: 2, ..RedConfig::default() });
    for (second, i) in [(-9, 0)].into_iter().chain((0..10).map(|i| (1, i))) {
        red.add_span(&span("s", &format!("op {i}"), second, 1, false), secs(1));
    }
    let mut out = Vec::new();
    red.close(Some(secs(100)), &mut out);
    assert_eq!(values(&out, "traces_span_metrics_calls:rate", OVERFLOW), [(10, 0.8)]);
}

#[test]
fn log_records_are_counted_by_severity() {
    let mut red = Red::new(RedConfig::default());
    for (second, severity) in [(-9, 9), (1, 0), (1, 9), (1, 9), (1, 12), (1, 17), (1, 24)] {
        red.add_log(
            &LogRow {
                time: secs(second),
                service: "s".into(),
                severity,
                body: "x".into(),
                trace_id: [0; 16],
                span_id: [0; 8],
            },
            secs(1),
        );
    }
    let mut out = Vec::new();
    red.close(Some(secs(100)), &mut out);
    assert_eq!(values(&out, "log_records:rate", "INFO"), [(10, 0.3)]);
    assert_eq!(values(&out, "log_records:rate", "ERROR"), [(10, 0.1)]);
    assert_eq!(values(&out, "log_records:rate", "DEBUG"), []);
}

#[test]
fn a_service_that_is_gone_for_a_day_gives_its_place_to_another() {
    let mut red = Red::new(RedConfig { max_services: 1, ..RedConfig::default() });
    red.add_span(&span("old", "op", 1, 1, false), secs(1));
    red.add_span(&span("new", "op", 2, 1, false), secs(2));
    assert_eq!(red.unsummed, 1);
    let mut out = Vec::new();
    red.close(Some(secs(100)), &mut out);
    red.close(Some(secs(90_000)), &mut out);
    red.add_span(&span("new", "op", 90_000, 1, false), secs(90_000));
    assert_eq!(red.unsummed, 1);
}
