//! Classes of requests that prost has written.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{self as wire, ResourceMetrics, ScopeMetrics, metric::Data},
};
use prost::Message as _;

use super::*;
use crate::fake;

fn logs_of(severities: &[i32]) -> Vec<u8> {
    let record = |severity: &i32| LogRecord { severity_number: *severity, ..LogRecord::default() };
    let log_records = severities.iter().map(record).collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
        .encode_to_vec()
}

fn metrics_of(metrics: &[(&str, &str, Data)]) -> Vec<u8> {
    let metric = |(name, unit, data): &(&str, &str, Data)| wire::Metric {
        name: (*name).into(),
        unit: (*unit).into(),
        data: Some(data.clone()),
        ..wire::Metric::default()
    };
    let scope_metrics = vec![ScopeMetrics { metrics: metrics.iter().map(metric).collect(), ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn gauge() -> Data {
    Data::Gauge(wire::Gauge::default())
}

fn counter() -> Data {
    Data::Sum(wire::Sum { is_monotonic: true, aggregation_temporality: 2, ..wire::Sum::default() })
}

fn histogram() -> Data {
    Data::Histogram(wire::Histogram::default())
}

#[test]
fn one_record_above_debug_makes_a_request_more_than_debug_logs() {
    let nothing = UsedMetrics::default();
    for (severities, class) in [
        (&[1, 5, 8][..], Class::DebugLogs),
        (&[1, 9], Class::Logs),
        (&[17], Class::Logs),
        (&[5, 0], Class::Logs),
        (&[-1], Class::Logs),
    ] {
        assert_eq!(Class::of(Signal::Logs, &logs_of(severities), &nothing), class, "{severities:?}");
    }
    assert_eq!(Class::of(Signal::Traces, &fake::traces(1, 0), &nothing), Class::Spans);
}

#[test]
fn a_metric_is_used_when_a_rule_reads_it_or_anything_that_comes_from_it() {
    let check = |read: &str, sent: (&str, &str, Data), expected: Class| {
        let used = UsedMetrics::new([Some("something_else"), Some(read)]);
        let request = metrics_of(&[("other.metric", "", gauge()), sent.clone()]);
        assert_eq!(Class::of(Signal::Metrics, &request, &used), expected, "{read} of {sent:?}");
    };
    let (used, unused) = (Class::UsedMetrics, Class::Metrics);
    check("orders_total", ("orders", "", counter()), used);
    check("orders:rate", ("orders", "", counter()), used);
    check("orders:rate:expected", ("orders", "", counter()), used);
    check("quote_conversion_ratio", ("quote.conversion", "1", gauge()), used);
    check("quote_conversion_ratio:expected", ("quote.conversion", "1", gauge()), used);
    for read in ["http_server_request_duration_seconds", "http_server_request_duration_seconds_bucket"] {
        check(read, ("http.server.request.duration", "s", histogram()), used);
        check(read, ("http.server.request.duration", "ms", histogram()), unused);
    }
    check("http_server_request_duration_seconds:p95", ("http.server.request.duration", "s", histogram()), used);
    check("order_total", ("orders", "", counter()), unused);
}

#[test]
fn a_rule_that_names_no_metric_reads_all_and_no_rules_read_none() {
    let request = metrics_of(&[("any", "", gauge())]);
    assert_eq!(Class::of(Signal::Metrics, &request, &UsedMetrics::new([None])), Class::UsedMetrics);
    assert_eq!(Class::of(Signal::Metrics, &request, &UsedMetrics::default()), Class::Metrics);
    assert_eq!(Class::at_best(Signal::Metrics, &UsedMetrics::default()), Class::Metrics);
    assert_eq!(Class::at_best(Signal::Metrics, &UsedMetrics::new([Some("a")])), Class::UsedMetrics);
}

#[test]
fn what_is_malformed_is_left_to_the_decoder() {
    assert_eq!(Class::of(Signal::Logs, &[0xff], &UsedMetrics::default()), Class::Logs);
    assert_eq!(Class::of(Signal::Metrics, &[0xff], &UsedMetrics::new([Some("a")])), Class::UsedMetrics);
}
