//! Nothing to take is a success that says nothing.

use crate::kit::{
    ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest, InstrumentationScope, Metric,
    Payload, ResourceLogs, ResourceMetrics, ResourceSpans, Route, ScopeLogs, ScopeMetrics, ScopeSpans, Service, gauge,
    resource,
};

fn of_metrics(resource_metrics: Vec<ResourceMetrics>) -> Payload {
    Payload::Metrics(ExportMetricsServiceRequest { resource_metrics })
}

fn of_traces(resource_spans: Vec<ResourceSpans>) -> Payload {
    Payload::Traces(ExportTraceServiceRequest { resource_spans })
}

fn of_logs(resource_logs: Vec<ResourceLogs>) -> Payload {
    Payload::Logs(ExportLogsServiceRequest { resource_logs })
}

/// Four shapes of each signal: no envelope, an empty one, an empty inner one, and a whole one without items.
fn shapes() -> Vec<Payload> {
    let resource = || Some(resource("empties"));
    let scope = || Some(InstrumentationScope { name: "s".into(), ..InstrumentationScope::default() });
    let metrics = |metrics: Vec<Metric>| {
        let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
        vec![ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() }]
    };
    let inner_metrics = ResourceMetrics { scope_metrics: vec![ScopeMetrics::default()], ..ResourceMetrics::default() };
    let inner_spans = ResourceSpans { scope_spans: vec![ScopeSpans::default()], ..ResourceSpans::default() };
    let inner_logs = ResourceLogs { scope_logs: vec![ScopeLogs::default()], ..ResourceLogs::default() };
    let whole_spans = ResourceSpans {
        resource: resource(),
        scope_spans: vec![ScopeSpans { scope: scope(), ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    let whole_logs = ResourceLogs {
        resource: resource(),
        scope_logs: vec![ScopeLogs { scope: scope(), ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    vec![
        of_metrics(Vec::new()),
        of_metrics(vec![ResourceMetrics::default()]),
        of_metrics(vec![inner_metrics]),
        of_metrics(metrics(vec![gauge("no.points", Vec::new())])),
        of_traces(Vec::new()),
        of_traces(vec![ResourceSpans::default()]),
        of_traces(vec![inner_spans]),
        of_traces(vec![whole_spans]),
        of_logs(Vec::new()),
        of_logs(vec![ResourceLogs::default()]),
        of_logs(vec![inner_logs]),
        of_logs(vec![whole_logs]),
    ]
}

// A5
#[tokio::test(flavor = "multi_thread")]
async fn empty_requests_and_envelopes_succeed_with_partial_success_absent_on_the_wire() {
    let service = Service::shared();
    let mut seen = 0;
    for payload in shapes() {
        for route in Route::PLAIN {
            let answer = service.send(&payload, route).await;
            assert!(answer.is_complete(), "{route:?} {payload:?}: {answer:?}");
            let expected: &[u8] = if route.is_json() { b"{}" } else { b"" };
            assert_eq!(answer.body(), expected, "{route:?} {payload:?}");
            seen += 1;
        }
    }
    assert_eq!(seen, 36);
}

// A5
#[tokio::test(flavor = "multi_thread")]
async fn complete_success_says_nothing_on_the_wire() {
    let service = Service::shared();
    for signal in crate::kit::Signal::ALL {
        for route in Route::PLAIN {
            let answer = service.send(&Payload::one(signal, &crate::kit::unique("complete")), route).await;
            assert!(answer.is_complete(), "{answer:?}");
            let expected: &[u8] = if route.is_json() { b"{}" } else { b"" };
            assert_eq!(answer.body(), expected, "{route:?} {signal:?}");
        }
    }
}
