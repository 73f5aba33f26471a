//! What is refused, and that no statement takes the service along.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Service, api::eventually, now, resource};

const PATIENCE: Duration = Duration::from_secs(30);
/// Reads as many large objects as there are pairs of spans: the work of minutes, in little memory.
const LONG: &str = "SELECT count(json_text(a.attributes, 'k')) FROM spans a CROSS JOIN spans b CROSS JOIN spans c";

/// Spans with attributes of some 20 KB, all among readers.
async fn fill(service: &Service) {
    let attributes: Vec<Value> = (0..100)
        .map(|i| json!({"key": format!("k{i}"), "value": {"stringValue": "x".repeat(200)}}))
        .chain([json!({"key": "k", "value": {"stringValue": "y"}})])
        .collect();
    let start = now() * 1_000_000_000;
    let spans: Vec<Value> = (1..=200)
        .map(|i| {
            json!({
                "traceId": format!("{i:032x}"), "spanId": format!("{i:016x}"), "name": "price", "kind": 2,
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": start.to_string(), "attributes": attributes,
            })
        })
        .collect();
    let scope = [json!({"spans": spans})];
    service.send("traces", &json!({"resourceSpans": [{"resource": resource(), "scopeSpans": scope}]})).await;
    let sealed = eventually(PATIENCE, || async {
        (service.ask("SELECT count(*) FROM spans").await.json()["rows"] == json!([[200]])).then_some(())
    });
    sealed.await.expect("the head is sealed within a second or so");
}

/// Asserts that `statement` is refused with `status`, blaming `parameter`, in words that contain all of `said`.
async fn refused(service: &Service, statement: &str, with: &str, expected: (u16, &str), said: &[&str]) {
    let answer = service.ask_with(statement, with, "application/json").await;
    let problem = answer.json();
    let (status, parameter) = expected;
    assert_eq!((answer.status, &problem["parameter"]), (status, &json!(parameter)), "{statement}: {problem}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(said.iter().all(|said| detail.contains(said)), "{statement}: expected {said:?}, got {detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_select_over_the_tables_is_refused_by_name() {
    let service = Service::start();
    let blamed = (400, "query");
    for (statement, said) in [
        ("DROP TABLE metrics", &["expected a SELECT, got DROP"][..]),
        ("DELETE FROM metrics", &["got DELETE"]),
        ("INSERT INTO metrics VALUES (1)", &["got INSERT"]),
        ("CREATE TABLE a AS SELECT * FROM metrics", &["got CREATE"]),
        ("SELECT 1; DROP TABLE metrics", &["expected one statement, got 2"]),
        ("SELECT * FROM read_csv('/etc/passwd')", &["read_csv(...) is not served"]),
        ("SELECT * FROM '/etc/passwd'", &["there is no table \"/etc/passwd\""]),
        ("SELECT * FROM metric", &["there is no table \"metric\"", "metrics, spans, logs, anomalies, alerts"]),
        ("SELECT colour FROM spans", &["\"colour\"", "trace_id", "duration_seconds"]),
        ("SELECT * FROM", &["sql parser error"]),
        ("SELECT time_bucket('often', time) FROM logs", &["time_bucket", "\"often\""]),
    ] {
        refused(&service, statement, "", blamed, said).await;
    }
    let nested = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    refused(&service, &nested, "", blamed, &["recursion limit"]).await;
    let long = format!("SELECT {}1", "1+".repeat(20_000));
    refused(&service, &long, "", blamed, &["nests too deeply"]).await;
    refused(&service, "SELECT 1", "limit=100001", (400, "limit"), &["1 to 100000", "\"100001\""]).await;
    refused(&service, "SELECT 1", "timeout=61", (400, "timeout"), &["at most 60 s"]).await;
    // More than the limit, and as many nanoseconds; more than nothing, and no nanosecond.
    refused(&service, "SELECT 1", "timeout=60.00000000000001", (400, "timeout"), &["at most 60 s"]).await;
    refused(&service, "SELECT 1", "timeout=1e-12", (400, "timeout"), &["at most 60 s"]).await;
    refused(&service, "SELECT 1", "colour=red", (400, "colour"), &["query, limit, timeout, from, to"]).await;
    refused(&service, "", "", (400, "query"), &["expected a statement"]).await;
    let huge = service.ask(&format!("SELECT '{}'", "x".repeat(1 << 16))).await;
    assert_eq!(huge.status, 413);
    let get = service.client.get(format!("{}/api/v1/sql", service.binary.api)).send().await.expect("answers");
    assert_eq!(get.status().as_u16(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_without_bounds_end_their_worker_and_not_the_service() {
    let service = Service::start();
    fill(&service).await;
    let memory = (422, "query");
    for statement in [
        "SELECT a.name, b.name, c.name, d.name FROM spans a, spans b, spans c, spans d",
        "SELECT count(*) FROM spans a CROSS JOIN spans b CROSS JOIN spans c CROSS JOIN spans d",
        "SELECT a.name FROM spans a JOIN spans b USING (service) JOIN spans c USING (service) \
         JOIN spans d USING (service) ORDER BY d.time",
    ] {
        let answer = service.ask(statement).await;
        // Polars may see a way to do it with little; whatever it does, an answer comes.
        assert!([200, 400, 422].contains(&answer.status), "{statement}: {answer:?}");
    }
    let grows = "SELECT a.trace_id FROM spans a CROSS JOIN spans b CROSS JOIN spans c CROSS JOIN spans d ORDER BY 1";
    refused(&service, grows, "", memory, &["more than 1024 MiB of memory, the limit"]).await;
    refused(&service, LONG, "timeout=1ms", (422, "timeout"), &["took longer than 0.001 s, the limit"]).await;
    // Rows are bounded by number, and by their bytes.
    let many = service.ask("SELECT a.span_id FROM spans a CROSS JOIN spans b").await;
    let body = many.json();
    assert_eq!((body["rows"].as_array().map(Vec::len), &body["truncated"]), (Some(10_000), &json!(true)));
    let large = service.ask_with("SELECT a.attributes FROM spans a CROSS JOIN spans b", "limit=100000", "*/*").await;
    let rows = large.json()["rows"].as_array().map_or(0, Vec::len);
    assert!(large.header("bellwether-truncated") == "true" && rows > 100 && rows < 2_000, "{rows} rows");
    assert!(large.body.len() < 64 << 20, "{} bytes", large.body.len());
    assert_eq!(service.ask("SELECT count(*) FROM spans").await.json()["rows"], json!([[200]]));
}

/// Workers of the service that there are.
#[cfg(target_os = "linux")]
fn workers(service: &Service) -> usize {
    let children = format!("/proc/{}/task", service.binary.pid());
    let tasks = std::fs::read_dir(children).expect("it runs");
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children: Vec<String> =
        children.flat_map(|c| c.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    let is_worker = |pid: &&String| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.windows(10).any(|w| w == b"sql-worker"))
    };
    children.iter().filter(is_worker).count()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn two_statements_at_a_time_and_none_whose_asker_has_left() {
    let service = Service::start();
    fill(&service).await;
    let ask = || {
        let request = service.client.post(format!("{}/api/v1/sql?timeout=60", service.binary.api));
        let request = request.header("content-type", "application/sql").body(LONG);
        tokio::spawn(async move { request.send().await.map(|answer| answer.status().as_u16()) })
    };
    let waiting = [ask(), ask()];
    let both = eventually(PATIENCE, || async { (workers(&service) == 2).then_some(()) });
    both.await.expect("both are worked on");
    let third = service.ask("SELECT 1").await;
    assert_eq!((third.status, third.header("retry-after")), (503, "5"), "{third:?}");
    let promql = service.client.get(format!("{}/api/v1/query?query=1", service.binary.api)).send().await;
    assert_eq!(promql.expect("answers").status().as_u16(), 200, "all else goes on");
    assert!(waiting.iter().all(|asker| !asker.is_finished()), "they take long");
    waiting.iter().for_each(|asker| asker.abort());
    let none = eventually(PATIENCE, || async { (workers(&service) == 0).then_some(()) });
    none.await.expect("workers go with their askers");
    assert_eq!(service.ask("SELECT 1").await.status, 200);
}
