//! Numbers and texts that were chosen to hurt.

use serde_json::Value;

use crate::kit::{
    Any, CUMULATIVE, ExponentialHistogramDataPoint, Framing, HistogramDataPoint, LogRecord, Metric, Number,
    NumberDataPoint, Payload, Route, SECOND, Service, Span, a_span, any, attribute, base_time, counter, exponential,
    exponential_point, gauge, histogram, histogram_point, http1, logs, metrics, point, record, text, traces, unique,
};

const NUMBERS: [f64; 12] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE / 4.0,
    1e308,
    -1e308,
    0.0,
    -0.0,
    1e-320,
    9_007_199_254_740_992.0,
];

/// Every page and JSON answer that shows what came in.
const SHOWN: [&str; 5] =
    ["/api/v1/anomalies?limit=1000", "/api/v1/services", "/api/v1/degradation", "/api/v1/status", "/api/v1/alerts"];

fn is_finite(value: &Value) -> bool {
    match value {
        // Prometheus's API says NaN as text, where a sample's value stands; nowhere else.
        Value::String(text) => !["NaN", "Inf", "inf", "-Inf", "-inf", "Infinity"].contains(&text.as_str()),
        Value::Array(list) => list.iter().all(is_finite),
        Value::Object(map) => map.values().all(is_finite),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

async fn get(service: &Service, path: &str) -> crate::kit::HttpAnswer {
    http1(&service.binary.api, "GET", path, &[], &[], Framing::Length).await
}

/// Series that were calm and then meet every number, as gauge and as sum, with integers beyond what
/// doubles hold, and spans and histograms to match.
fn hostile_numbers(name: &str) -> Vec<Payload> {
    let base = base_time();
    let mut requests = Vec::new();
    for (number, i) in NUMBERS.into_iter().zip(0_u32..) {
        let id = i.to_string();
        let calm = (0..40).map(|s| {
            point(base + s * SECOND, 100.0 + f64::from(u8::try_from(s % 3).expect("is small")), &[("id", &id)])
        });
        let worst = (40..50).map(|s| point(base + s * SECOND, number, &[("id", &id)]));
        let points: Vec<_> = calm.chain(worst).collect();
        requests.push(metrics(
            name,
            vec![gauge("hostile.gauge", points.clone()), counter("hostile.sum", CUMULATIVE, points)],
        ));
        let sums = HistogramDataPoint {
            sum: Some(number),
            min: Some(number),
            max: Some(number),
            ..histogram_point(base + SECOND)
        };
        let exponentials = ExponentialHistogramDataPoint { sum: Some(number), ..exponential_point(base + SECOND) };
        requests.push(metrics(
            name,
            vec![histogram("hostile.h", vec![sums]), exponential("hostile.e", vec![exponentials])],
        ));
    }
    for integer in [i64::MIN, i64::MAX, -1] {
        let at = |s: u64| NumberDataPoint { value: Some(Number::AsInt(integer)), ..point(base + s * SECOND, 0.0, &[]) };
        requests.push(metrics(
            name,
            vec![gauge("hostile.int", vec![at(1), at(2)]), counter("hostile.intsum", CUMULATIVE, vec![at(1), at(2)])],
        ));
    }
    let spans = [(base, base - 3_600 * SECOND), (1, base), (base, base), (base, u64::MAX), (u64::MAX, base)];
    requests.push(traces(name, spans.into_iter().map(|(start, end)| a_span("hostile", start, end)).collect()));
    requests.push(logs(name, vec![LogRecord { severity_number: i32::MIN, ..record(base, "b") }]));
    requests
}

// E6
#[tokio::test(flavor = "multi_thread")]
async fn hostile_numbers_leave_no_nan_or_infinity_in_any_answer() {
    let service = Service::start("level: {assess_every: 1s}\ndetect: {publish_every: 1s}");
    for request in hostile_numbers("hostile") {
        let verdict = service.send(&request, Route::Grpc).await.verdict();
        assert!(verdict.is_ok(), "{verdict:?}");
    }
    assert!(!service.points_when("hostile_gauge", 400).await.is_empty());
    for path in SHOWN {
        let answer = get(&service, path).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        assert!(answer.status == 200 && body.is_object(), "{path}: {} {}", answer.status, answer.text());
        assert!(is_finite(&body), "{path}: {body}");
    }
    // Of a service's own series nothing that it published is other than a number.
    for part in ["expected", "lower", "upper", "score"] {
        for (labels, points) in service.points(&format!("{{__name__=~\"hostile.*:{part}\"}}")).await {
            let wrong = points.iter().find(|(_, v)| !v.parse::<f64>().is_ok_and(f64::is_finite));
            assert!(wrong.is_none(), "{labels}: {wrong:?}");
        }
    }
    for expression in ["hostile_gauge", "sum(hostile_gauge)", "rate(hostile_sum_total[5m])", "hostile_gauge / 0"] {
        let path =
            format!("/api/v1/query?query={}&time={}", crate::kit::encoded(expression), base_time() / SECOND + 50);
        let answer = get(&service, &path).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        assert_eq!((answer.status, &body["status"]), (200, &Value::from("success")), "{expression}: {}", answer.text());
    }
    service.assert_healthy().await;
}

/// Texts with what terminals, browsers, parsers and readers of logs stumble over.
fn hostile_texts() -> Vec<String> {
    vec![
        "\u{1b}[31mred\u{1b}[0m".into(),
        "a\0b".into(),
        "line\nbreak\r\nand\ttab".into(),
        "\u{202e}txet\u{202c}\u{2066}x".into(),
        "p\u{430}ypal".into(),
        "\"quoted\\\" {label=\"x\"} 1\n# EOF".into(),
        "<script>alert(1)</script><img src=x onerror=alert(1)>".into(),
        "'; DROP TABLE alerts; --".into(),
        "${jndi:ldap://x} {{ .Values }} %s%n".into(),
        "\u{feff}\u{fffe}\u{10ffff}\u{7f}\u{85}\u{9b}31m".into(),
        "e\u{301}".repeat(3_000),
        "\u{1f600}".repeat(1_000),
        String::new(),
    ]
}

/// That there is no control character but the ends of lines.
fn is_clean(log: &str) -> bool {
    log.chars().all(|c| !c.is_control() || c == '\n')
}

// E7
#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_stay_texts_on_the_page_in_answers_and_in_logs() {
    let service = Service::start("level: {assess_every: 1s}");
    let base = base_time();
    for nasty in hostile_texts() {
        let pairs = vec![attribute("label", text(&nasty)), attribute(&nasty, text("value"))];
        // Calm, then a jump, so that an anomaly says the name on the page.
        let points = (0..60_u64).map(|s| {
            let value =
                if s < 57 { 100.0 + f64::from(u8::try_from(s * 7 % 11).expect("is small")) / 10.0 } else { 400.0 };
            NumberDataPoint { attributes: pairs.clone(), ..point(base + s * SECOND, value, &[]) }
        });
        let metric = Metric { unit: nasty.chars().take(20).collect(), ..gauge("hostile.text", points.collect()) };
        let named = gauge(&format!("n{}", nasty.chars().take(200).collect::<String>()), vec![point(base, 1.0, &[])]);
        let span = Span { attributes: pairs.clone(), ..a_span(&nasty, base, base + 1) };
        let body = LogRecord { severity_text: nasty.clone(), attributes: pairs, ..record(base, &nasty) };
        for request in [metrics(&nasty, vec![metric, named]), traces(&nasty, vec![span]), logs(&nasty, vec![body])] {
            for route in [Route::Grpc, Route::Json] {
                let verdict = service.send(&request, route).await.verdict();
                assert!(verdict.is_ok(), "{nasty:?} {route:?}: {verdict:?}");
            }
        }
        // Refusals repeat a part of what was said.
        let headers = [("content-type", "text/\u{1b}[31m"), ("x-scope-orgid", "a/../b")];
        let answer = http1(&service.binary.http, "POST", "/v1/traces", &headers, b"x", Framing::Length).await;
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    assert!(!service.points_when("hostile_text", 60).await.is_empty());
    let page = get(&service, "/").await;
    assert_eq!(page.status, 200);
    for bad in ["<script>alert", "<img src=x", "onerror=alert(1)>"] {
        assert!(!page.text().contains(bad), "{bad} is on the page");
    }
    for path in SHOWN.into_iter().chain([
        "/api/v1/labels",
        "/api/v1/label/label/values",
        "/api/v1/label/__name__/values",
        "/api/v1/query?query=hostile_text",
    ]) {
        let answer = get(&service, path).await;
        assert!(
            serde_json::from_slice::<Value>(&answer.body).is_ok_and(|v| v.is_object()),
            "{path}: {}",
            answer.text()
        );
    }
    let exposed = get(&service, "/metrics").await.text();
    for line in exposed.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        assert!(line.starts_with("bellwether_") || line.starts_with("process_"), "{line:?}");
        assert!(line.rsplit_once(' ').is_some_and(|(_, v)| v.parse::<f64>().is_ok()), "{line:?}");
    }
    assert!(is_clean(&service.binary.log()), "{:?}", service.binary.log());
    service.assert_healthy().await;
}

// E7
#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_ten_mebibytes_is_cut_between_characters() {
    let service = Service::shared();
    let name = unique("long");
    let long = "\u{e4}\u{1f600}".repeat(10 << 20 >> 2);
    let one = NumberDataPoint { attributes: vec![attribute("long", text(&long))], ..point(base_time(), 1.0, &[]) };
    let bytes = NumberDataPoint {
        attributes: vec![attribute("long", any(Any::BytesValue(vec![7; 10 << 20])))],
        ..point(base_time(), 1.0, &[])
    };
    let payload = metrics(&name, vec![gauge("long.text", vec![one]), gauge("long.bytes", vec![bytes])]);
    let answer = service.send(&payload, Route::Grpc).await;
    assert!(answer.is_complete(), "{answer:?}");
    for metric in ["long_text", "long_bytes"] {
        let stored = service.points_when(&format!("{metric}{{service_name=\"{name}\"}}"), 1).await;
        let labels: Value = serde_json::from_str(&stored[0].0).expect("was JSON");
        let kept = labels["long"].as_str().expect("is a label");
        assert!(!kept.is_empty() && kept.len() <= 4_096, "{metric}: {} bytes", kept.len());
        assert!(metric == "long_bytes" || long.starts_with(kept), "{metric}");
    }
}
