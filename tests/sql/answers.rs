//! What is answered, in all forms.

use std::io::Cursor;

use arrow_array::{Array, cast::AsArray, types::Float64Type};
use arrow_ipc::reader::StreamReader;
use serde_json::{Value, json};

use super::{Service, api::Api, now, resource};

/// Points of a series, one every 10 s up to now.
const POINTS: u64 = 60;
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// Two series of a gauge, which jump at the end; spans, every tenth of which failed; log records.
async fn fill(service: &Service, now: u64) {
    let points: Vec<Value> = (0..POINTS)
        .flat_map(|i| ["a", "b"].map(|queue| (i, queue)))
        .map(|(i, queue)| {
            let calm = 100.0 + ((i * 7) % 11) as f64 / 10.0;
            let value = if i >= POINTS - 3 { 400.0 } else { calm };
            let attributes = [json!({"key": "queue", "value": {"stringValue": queue}})];
            let time = (now - 10 * (POINTS - 1 - i)) * 1_000_000_000;
            json!({"timeUnixNano": time.to_string(), "asDouble": value, "attributes": attributes})
        })
        .collect();
    let metric = json!({"name": "queue.wait", "unit": "ms", "gauge": {"dataPoints": points}});
    let scope = [json!({"metrics": [metric]})];
    service.send("metrics", &json!({"resourceMetrics": [{"resource": resource(), "scopeMetrics": scope}]})).await;
    let spans: Vec<Value> = (0..50)
        .map(|i| {
            let start = (now - 60 + i) * 1_000_000_000;
            let route = json!({"key": "http.route", "value": {"stringValue": format!("/p/{}", i % 3)}});
            json!({
                "traceId": format!("{:032x}", i + 1), "spanId": format!("{:016x}", i + 1), "name": "price", "kind": 2,
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + 250_000_000).to_string(),
                "status": {"code": if i % 10 == 0 { 2 } else { 0 }}, "attributes": [route],
            })
        })
        .collect();
    let scope = [json!({"spans": spans})];
    service.send("traces", &json!({"resourceSpans": [{"resource": resource(), "scopeSpans": scope}]})).await;
    let logs: Vec<Value> = (0..20)
        .map(|i| {
            json!({
                "timeUnixNano": ((now - 60 + i) * 1_000_000_000).to_string(),
                "severityNumber": if i % 4 == 0 { 17 } else { 9 }, "body": {"stringValue": format!("say \"{i}\", é")},
                "attributes": [{"key": "n", "value": {"intValue": i.to_string()}}],
            })
        })
        .collect();
    let scope = [json!({"logRecords": logs})];
    service.send("logs", &json!({"resourceLogs": [{"resource": resource(), "scopeLogs": scope}]})).await;
    sealed(service).await;
}

/// Waits until everything is where readers see it.
async fn sealed(service: &Service) {
    let counted = super::api::eventually(std::time::Duration::from_secs(20), || async {
        let logs = rows(service, "SELECT count(*) FROM logs").await;
        let points = rows(service, "SELECT count(*) FROM metrics WHERE name = 'queue_wait_milliseconds'").await;
        (logs == json!([[20]]) && points == json!([[2 * POINTS]])).then_some(())
    });
    counted.await.expect("heads are sealed within a second or so");
}

async fn rows(service: &Service, statement: &str) -> Value {
    let answer = service.ask(statement).await;
    assert_eq!(answer.status, 200, "{statement}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()["rows"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_and_promql_say_the_same_about_metrics() {
    let (service, now) = (Service::start(), now());
    fill(&service, now).await;
    let api = Api::new(&service.binary.api);
    let statement = "SELECT json_text(labels, 'queue') AS queue, count(*) AS n, sum(value) AS s, min(value) AS low, \
        max(value) AS high FROM metrics WHERE name = 'queue_wait_milliseconds' AND service = 'shop/pricing' \
        GROUP BY queue ORDER BY queue";
    let answer = service.ask(statement).await;
    let names: Vec<Value> =
        answer.json()["columns"].as_array().expect("is a list").iter().map(|column| column["type"].clone()).collect();
    assert_eq!(names, ["string", "integer", "float", "float", "float"]);
    for (row, queue) in answer.json()["rows"].as_array().expect("is a list").iter().zip(["a", "b"]) {
        assert_eq!(row[0], queue);
        for (column, function) in ["count", "sum", "min", "max"].into_iter().enumerate() {
            let expression = format!("{function}_over_time(queue_wait_milliseconds{{queue=\"{queue}\"}}[20m])");
            let expected = api.value_of(&expression).await;
            let actual = row[column + 1].as_f64().expect("is a number");
            assert!((actual - expected).abs() < 1e-9 * expected, "{expression}: {actual}, PromQL says {expected}");
        }
    }
    // What detectors publish is there as well, under the names that PromQL has for it.
    let published = rows(&service, "SELECT DISTINCT name FROM metrics WHERE kind = 'published' ORDER BY name").await;
    assert!(published.as_array().is_some_and(|p| p.contains(&json!(["queue_wait_milliseconds:score"]))), "{published}");
    // Parameters bound what is read, both ends included.
    let window = format!("from={}&to={}", now - 100, now - 50);
    let counted = "SELECT count(*) AS n FROM metrics WHERE name = 'queue_wait_milliseconds'";
    let within = service.ask_with(counted, &window, "*/*").await.json();
    assert_eq!(within["rows"], json!([[12]]), "{within}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_rows_of_another_tenant() {
    let (service, now) = (Service::start_with("tenants: {trust_header: true}\n"), now());
    fill(&service, now).await;
    for (tenant, expected) in [("default", 50), ("other", 0)] {
        for (table, expected) in [("spans", expected), ("logs", expected * 2 / 5), ("anomalies", expected / 25)] {
            let request = service.client.post(format!("{}/api/v1/sql", service.binary.api));
            let request = request.header("content-type", "application/sql").header("x-scope-orgid", tenant);
            let answer = request.body(format!("SELECT count(*) FROM {table}")).send().await.expect("answers");
            let text = answer.text().await.expect("has a body");
            assert!(text.contains(&format!("\"rows\":[[{expected}]]")), "{tenant}, {table}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_logs_and_decisions_are_tables() {
    let (service, now) = (Service::start(), now());
    fill(&service, now).await;
    let by_route = "SELECT json_text(attributes, 'http.route') AS route, count(*) AS n, max(duration_seconds) AS d \
        FROM spans WHERE service = 'shop/pricing' AND kind = 'SPAN_KIND_SERVER' GROUP BY route ORDER BY route";
    assert_eq!(rows(&service, by_route).await, json!([["/p/0", 17, 0.25], ["/p/1", 17, 0.25], ["/p/2", 16, 0.25]]));
    let failed = "SELECT trace_id, span_id, parent_span_id, json_text(resource, 'service.name') FROM spans \
        WHERE status = 'STATUS_CODE_ERROR' ORDER BY time LIMIT 1";
    let ids = json!([[format!("{:032x}", 1), format!("{:016x}", 1), null, "pricing"]]);
    assert_eq!(rows(&service, failed).await, ids);
    let logs = "SELECT severity, severity_number, count(*) AS n FROM logs GROUP BY 1, 2 ORDER BY 2";
    assert_eq!(rows(&service, logs).await, json!([["INFO", 9, 15], ["ERROR", 17, 5]]));
    let since = format!("SELECT body, json_text(attributes, 'n') FROM logs WHERE time >= instant('{}')", now - 42);
    assert_eq!(rows(&service, &since).await, json!([["say \"18\", é", "18"], ["say \"19\", é", "19"]]));
    let joined = "SELECT count(*) FROM logs JOIN spans ON logs.time = spans.time";
    assert_eq!(rows(&service, joined).await, json!([[20]]));

    let listed = Api::new(&service.binary.api).items("/api/v1/anomalies?metric=queue_wait_milliseconds").await;
    assert!(!listed.is_empty());
    let columns = "SELECT id, seq, detector, severity, direction, score, observed, ends_at, explanation FROM anomalies \
        WHERE metric = 'queue_wait_milliseconds' ORDER BY seq";
    let columns = rows(&service, columns).await;
    for (row, item) in columns.as_array().expect("is a list").iter().zip(&listed) {
        let names = ["id", "seq", "detector", "severity", "direction", "score", "observed", "endsAt", "explanation"];
        for (value, name) in row.as_array().expect("is a row").iter().zip(names) {
            assert_eq!(*value, item[name], "{name}");
        }
    }
    assert_eq!(rows(&service, "SELECT count(*) FROM alerts WHERE state = 'firing'").await, json!([[0]]));
    let buckets = "SELECT time_bucket('1h', time) AS hour FROM logs GROUP BY hour ORDER BY hour";
    let hour = (now - 60) / 3_600 * 3_600;
    let first = rows(&service, buckets).await[0][0].as_str().expect("is a time").to_owned();
    let expected = format!("SELECT instant('{hour}') AS t");
    assert_eq!(rows(&service, &expected).await[0][0], first);
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_and_arrow_say_what_json_says() {
    let (service, now) = (Service::start(), now());
    fill(&service, now).await;
    let statement = "SELECT time, name, value, json_text(labels, 'none') AS none FROM metrics \
        WHERE name = 'queue_wait_milliseconds' ORDER BY time, series_id";
    let json = service.ask_with(statement, "limit=7", "application/json").await;
    assert_eq!(json.header("content-type"), "application/json");
    assert_eq!((json.header("bellwether-rows"), json.header("bellwether-truncated")), ("7", "true"));
    assert_eq!(json.json()["truncated"], true);
    let rows = json.json()["rows"].as_array().expect("is a list").clone();
    assert_eq!(rows.len(), 7);

    let csv = service.ask_with(statement, "limit=7", "text/csv").await;
    assert_eq!(csv.header("content-type"), "text/csv");
    assert_eq!(csv.header("bellwether-truncated"), "true");
    let text = String::from_utf8(csv.body).expect("is text");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("time,name,value,none"));
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned).replace("null", "");
    for (line, row) in lines.zip(&rows) {
        let expected: Vec<String> = row.as_array().expect("is a row").iter().map(cell).collect();
        assert_eq!(line.split(',').collect::<Vec<_>>(), expected);
    }

    let arrow = service.ask_with(statement, "limit=7", &format!("{ARROW}, application/json;q=0.1")).await;
    assert_eq!(arrow.header("content-type"), ARROW);
    let reader = StreamReader::try_new(Cursor::new(arrow.body), None).expect("is a stream");
    let mut values = Vec::new();
    for batch in reader {
        let batch = batch.expect("is a batch");
        assert_eq!(batch.schema().field(0).data_type().to_string(), "Timestamp(ns, \"UTC\")");
        values.extend(batch.column(2).as_primitive::<Float64Type>().values().iter().copied());
        assert_eq!(batch.column(3).null_count(), batch.num_rows());
    }
    let expected: Vec<f64> = rows.iter().map(|row| row[2].as_f64().expect("is a number")).collect();
    assert_eq!(values, expected);
    assert_eq!(service.ask_with(statement, "", "text/html").await.status, 406);
}
