use window::{LogRow, SpanRow};

use super::*;

const IDLE: Option<Duration> = Some(Duration::from_secs(20));

fn secs(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn span(service: &str, name: &str, end: i64, millis: i64, failed: bool) -> SpanColumns {
    let mut spans = SpanColumns::default();
    spans.set_origin(service, b"", b"");
    let status = if failed { SpanStatus::Error } else { SpanStatus::Unset };
    let start = UnixNanos(secs(end).0 - millis * 1_000_000);
    let trace_id = [u8::try_from(millis % 256).expect("fits"); 16];
    let row = SpanRow { start, end: secs(end), name, kind: SpanKind::Server, status, trace_id, ..SpanRow::default() };
    spans.push(&row).expect("has room");
    spans
}

/// What `metric` was emitted as: (time in seconds, value), for labels that contain `wanted`.
fn values(out: &[DerivedPoint], metric: &str, wanted: &str) -> Vec<(i64, f64)> {
    out.iter()
        .filter(|p| &*p.series.name == metric && p.series.labels.to_string().contains(wanted))
        .map(|p| (p.time.0 / 1_000_000_000, p.value))
        .collect()
}

/// A bucket of forty calls, after one that shows that the service was there before.
fn filled(red: &mut Red) {
    red.add_spans(&span("shop/api", "warm-up", -5, 1, false), secs(3));
    for i in 0..40 {
        red.add_spans(&span("shop/api", "GET /", 3, if i < 38 { 100 } else { 900 }, i < 4), secs(3));
    }
}

#[test]
fn a_bucket_adds_up_to_rate_errors_and_durations() {
    let mut red = Red::new(RedConfig::default());
    filled(&mut red);
    let mut out = Vec::new();
    red.close(None, IDLE, &mut out);
    assert!(out.is_empty(), "the last, unfinished bucket is never judged");
    red.add_spans(&span("shop/api", "GET /", 20, 100, false), secs(20));
    red.close(None, IDLE, &mut out);
    assert_eq!(values(&out, "traces_span_metrics_calls:rate", "GET /"), [(10, 4.0)]);
    assert_eq!(values(&out, "traces_span_metrics_errors:ratio", "GET /"), [(10, 0.1)]);
    let counted = |status: &str| {
        let of_operation: Vec<DerivedPoint> =
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
fn closing_what_moved_is_closing_what_there_is() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut one, mut other) = (Red::new(RedConfig::default()), Red::new(RedConfig::default()));
    let (mut now, mut day) = (0, 0);
    for _ in 0..2_000 {
        now += random.i64(0..2);
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        if random.u8(..10) == 0 {
            // Some are forgotten, and come back behind the others.
            day += i64::from(random.u8(..50) == 0) * 90_000;
            one.close(Some(secs(now + day)), IDLE, &mut out);
            other.close(Some(secs(now + day)), IDLE, &mut expected);
        } else {
            for _ in 0..random.usize(1..5) {
                let name = format!("s{}", random.u8(..20));
                let spans = span(&name, "op", now - random.i64(0..30), 1, random.bool());
                one.add_spans(&spans, secs(now + day));
                other.add_spans(&spans, secs(now + day));
            }
            one.close_moved(&mut out);
            other.close(None, IDLE, &mut expected);
        }
        let text = |points: &[DerivedPoint]| points.iter().map(|p| (p.series.key, p.time, p.value)).collect::<Vec<_>>();
        assert_eq!(text(&out), text(&expected));
        let open = one.services.values().flat_map(|service| service.open.keys());
        assert_eq!(one.first_end(), open.min().map(|start| start.plus(RedConfig::default().bucket)));
    }
}

#[test]
fn the_bucket_in_which_a_service_is_first_heard_has_no_rate() {
    let mut red = Red::new(RedConfig::default());
    for t in [7, 12, 15, 100, 112, 140] {
        red.add_spans(&span("s", "op", t, 1, false), secs(t));
    }
    let mut out = Vec::new();
    red.close(None, IDLE, &mut out);
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
    red.close(Some(secs(22)), IDLE, &mut out);
    assert!(out.is_empty());
    red.close(Some(secs(23)), IDLE, &mut out);
    assert_eq!(values(&out, "traces_span_metrics_calls:rate", "GET /").last(), Some(&(10, 4.0)));
}

#[test]
fn late_spans_are_counted_and_change_nothing() {
    let mut red = Red::new(RedConfig::default());
    filled(&mut red);
    red.add_spans(&span("shop/api", "GET /", 25, 1, false), secs(25));
    let mut out = Vec::new();
    red.close(None, IDLE, &mut out);
    red.add_spans(&span("shop/api", "GET /", 4, 1, false), secs(25));
    assert_eq!(red.late, 1);
}

#[test]
fn an_operation_without_calls_has_rate_zero_while_its_service_lives() {
    let mut red = Red::new(RedConfig::default());
    filled(&mut red);
    for t in [15, 40] {
        red.add_spans(&span("shop/api", "PUT /", t, 1, false), secs(t));
    }
    let mut out = Vec::new();
    red.close(None, IDLE, &mut out);
    assert_eq!(values(&out, "traces_span_metrics_calls:rate", "GET /"), [(10, 4.0), (20, 0.0)]);
    assert!(values(&out, "traces_span_metrics_errors:ratio", "GET /").len() == 1, "a share of nothing is no data");
}

#[test]
fn operations_beyond_the_limit_share_one() {
    let mut red = Red::new(RedConfig { max_operations: 2, ..RedConfig::default() });
    for (second, i) in [(-9, 0)].into_iter().chain((0..10).map(|i| (1, i))) {
        red.add_spans(&span("s", &format!("op {i}"), second, 1, false), secs(1));
    }
    let mut out = Vec::new();
    red.close(Some(secs(100)), IDLE, &mut out);
    assert_eq!(values(&out, "traces_span_metrics_calls:rate", OVERFLOW), [(10, 0.8)]);
}

#[test]
fn log_records_are_counted_by_severity() {
    let mut red = Red::new(RedConfig::default());
    for (second, severity) in [(-9, 9), (1, 0), (1, 9), (1, 9), (1, 12), (1, 17), (1, 24)] {
        let mut logs = LogColumns::default();
        logs.set_origin("s", b"", b"");
        logs.push(&LogRow { time: secs(second), severity, body: "x", ..LogRow::default() }).expect("has room");
        red.add_logs(&logs, secs(1));
    }
    let mut out = Vec::new();
    red.close(Some(secs(100)), IDLE, &mut out);
    assert_eq!(values(&out, "log_records:rate", "INFO"), [(10, 0.3)]);
    assert_eq!(values(&out, "log_records:rate", "ERROR"), [(10, 0.1)]);
    assert_eq!(values(&out, "log_records:rate", "DEBUG"), []);
}

#[test]
fn a_service_that_is_gone_for_a_day_gives_its_place_to_another() {
    let mut red = Red::new(RedConfig { max_services: 1, ..RedConfig::default() });
    red.add_spans(&span("old", "op", 1, 1, false), secs(1));
    red.add_spans(&span("new", "op", 2, 1, false), secs(2));
    assert_eq!(red.unsummed, 1);
    let mut out = Vec::new();
    red.close(Some(secs(100)), IDLE, &mut out);
    red.close(Some(secs(90_000)), IDLE, &mut out);
    red.add_spans(&span("new", "op", 90_000, 1, false), secs(90_000));
    assert_eq!(red.unsummed, 1);
}

#[test]
fn one_batch_of_many_services_names_and_buckets_is_the_same_as_span_by_span() {
    let mut all = SpanColumns::default();
    let (mut whole, mut single) = (Red::new(RedConfig::default()), Red::new(RedConfig::default()));
    for i in 0..600_i64 {
        let place = usize::try_from(i).expect("counts up");
        let (service, name) = (["a", "b", "b", "c"][place % 4], ["x", "y", "z"][place / 7 % 3]);
        let kind = if i % 5 == 0 { SpanKind::Client } else { SpanKind::Server };
        let end = secs(i / 10 * 3 % 100 - i % 3 * 5_000);
        let status = if i % 11 == 0 { SpanStatus::Error } else { SpanStatus::Ok };
        let row = SpanRow { start: UnixNanos(end.0 - i), end, name, kind, status, ..SpanRow::default() };
        let mut one = SpanColumns::default();
        for columns in [&mut all, &mut one] {
            columns.set_origin(service, b"", b"");
            columns.push(&row).expect("has room");
        }
        single.add_spans(&one, secs(7));
    }
    whole.add_spans(&all, secs(7));
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    whole.close(Some(secs(1_000)), IDLE, &mut out);
    single.close(Some(secs(1_000)), IDLE, &mut expected);
    let said = |points: &[DerivedPoint]| -> Vec<(SeriesKey, UnixNanos, u64)> {
        points.iter().map(|p| (p.series.key, p.time, p.value.to_bits())).collect()
    };
    assert!(out.len() > 100 && whole.late > 0);
    assert_eq!((said(&out), whole.late), (said(&expected), single.late));
    assert_eq!(whole.exemplars, single.exemplars);
}

#[test]
fn a_closed_bucket_names_its_slowest_and_its_failed_traces() {
    let mut red = Red::new(RedConfig::default());
    for (millis, failed) in [(10, false), (40, false), (20, true), (30, false), (5, true)] {
        red.add_spans(&span("shop", "GET /", 3, millis, failed), secs(3));
    }
    red.close(Some(secs(100)), IDLE, &mut Vec::new());
    let found: Vec<(u8, f64)> = red.exemplars.iter().map(|(_, e)| (e.trace_id[0], e.value)).collect();
    assert_eq!(found, [(40, 0.04), (30, 0.03), (20, 0.02), (20, 0.02), (5, 0.005)], "slowest, then failed");
    assert_ne!(red.exemplars[2].0, red.exemplars[3].0, "failed calls are another series");
    red.close(Some(secs(200)), IDLE, &mut Vec::new());
    assert!(red.exemplars.is_empty());
}
