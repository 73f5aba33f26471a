use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, Request},
};
use detect::{AnomalyEvent, Decision, Level, LevelChange, LevelStatus};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::testing::{Fixture, SCRIPT, SERVICE, anomaly, at, level, view};
use crate::{pipeline::Command, view::View};

#[tokio::test]
async fn instant_queries_answer_in_the_envelope_of_prometheus() {
    let fixture = Fixture::troubled();
    let check = async |query: &str, expected: Value| {
        let got = fixture.json(&format!("/api/v1/query?time=1435781451.781&query={query}")).await;
        assert_eq!(got, json!({"status": "success", "data": expected}), "{query}");
    };
    check("1%2B1", json!({"resultType": "scalar", "result": [1_435_781_451.781, "2"]})).await;
    check("0%2F0", json!({"resultType": "scalar", "result": [1_435_781_451.781, "NaN"]})).await;
    check("1%2F0", json!({"resultType": "scalar", "result": [1_435_781_451.781, "+Inf"]})).await;
    check("%22a%22", json!({"resultType": "string", "result": [1_435_781_451.781, "a"]})).await;
    check("nothing", json!({"resultType": "vector", "result": []})).await;
    let time = at(0).0 / 1_000_000_000;
    let found = fixture.json(&format!("/api/v1/query?time={time}&query=traces_span_metrics_calls:rate")).await;
    let metric = json!({"__name__": "traces_span_metrics_calls:rate", "job": SERVICE, "span_kind": "SPAN_KIND_SERVER",
                        "span_name": SCRIPT});
    assert_eq!(found["data"]["result"], json!([{"metric": metric, "value": [time, "20"]}]));
    let matrix = fixture.json(&format!("/api/v1/query?time={time}&query=traces_span_metrics_calls:rate[15s]")).await;
    assert_eq!(matrix["data"]["resultType"], "matrix");
    assert_eq!(matrix["data"]["result"][0]["values"], json!([[time - 10, "20"], [time, "20"]]));
}

#[tokio::test]
async fn range_queries_come_by_get_and_by_form() {
    let fixture = Fixture::troubled();
    let end = at(0).0 / 1_000_000_000;
    let form = format!(
        "query=sum(traces_span_metrics_duration_seconds:p95)&start={}&end={end}&step=1m&timeout=10s&unknown=x",
        end - 180
    );
    let expected = json!({"status": "success", "data": {"resultType": "matrix", "result": [
        {"metric": {}, "values": [[end - 180, "0.1"], [end - 120, "0.9"], [end - 60, "0.9"], [end, "0.9"]]}
    ]}});
    assert_eq!(fixture.json(&format!("/api/v1/query_range?{form}")).await, expected);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let posted = fixture.send(Method::POST, "/api/v1/query_range", &headers, &form).await;
    assert_eq!(posted.json(), expected);
}

#[tokio::test]
async fn bad_queries_are_refused_as_prometheus_does() {
    let fixture = Fixture::troubled();
    let check = async |path: &str, status: u16, kind: &str, says: &str| {
        let answer = fixture.get(path).await;
        let wire = answer.json();
        let error = wire["error"].as_str().unwrap_or_default();
        assert_eq!((answer.status(), wire["errorType"].as_str()), (status, Some(kind)), "{path}: {error}");
        assert_eq!(wire["status"], "error");
        assert!(error.contains(says), "{path}: {error}");
    };
    check("/api/v1/query", 400, "bad_data", "\"query\" is missing").await;
    check("/api/v1/query?query=sum(", 400, "bad_data", "parse error").await;
    check("/api/v1/query?query=1&time=noon", 400, "bad_data", "\"time\": expected a time").await;
    check("/api/v1/query_range?query=1&start=1&end=2", 400, "bad_data", "\"step\" is missing").await;
    check("/api/v1/query_range?query=1&start=2&end=1&step=1", 400, "bad_data", "before start").await;
    check("/api/v1/query_range?query=1&start=0&end=1e9&step=1", 400, "bad_data", "steps").await;
    check("/api/v1/query_range?query=1&start=0&end=1&step=0", 400, "bad_data", "step").await;
    check("/api/v1/series", 400, "bad_data", "match[]").await;
    check("/api/v1/series?match[]=sum(up)", 400, "bad_data", "selector").await;
    check("/api/v1/series?match[]=1%2Bup%23", 400, "bad_data", "selector").await;
    check("/api/v1/label/a-b/values", 400, "bad_data", "label name").await;
    let clash = "traces_span_metrics_calls:rate%2Bon()group_left()up";
    assert_eq!(fixture.get(&format!("/api/v1/query?query={clash}")).await.json()["status"], "error");
}

#[tokio::test]
async fn grafana_finds_labels_values_series_and_what_we_are() {
    let fixture = Fixture::troubled();
    let data = async |path: &str| fixture.json(path).await["data"].clone();
    assert_eq!(data("/api/v1/labels").await, json!(["__name__", "job", "span_kind", "span_name"]));
    assert_eq!(data("/api/v1/label/job/values").await, json!([SERVICE]));
    let end = at(0).0 / 1_000_000_000;
    let names = format!("/api/v1/label/__name__/values?match[]={{job=~%22shop.*%22}}&start={}&end={end}", end - 600);
    assert_eq!(data(&names).await.as_array().map(Vec::len), Some(6));
    let series = format!("/api/v1/series?match[]=traces_span_metrics_errors:ratio&end={end}");
    assert_eq!(data(&series).await[0]["__name__"], "traces_span_metrics_errors:ratio");
    let cut = fixture.json("/api/v1/labels?limit=1").await;
    assert_eq!((cut["data"].as_array().map(Vec::len), cut["warnings"].is_array()), (Some(1), true));
    let meaning = data("/api/v1/metadata?metric=traces_span_metrics_calls:rate").await;
    assert_eq!(meaning["traces_span_metrics_calls:rate"], json!([{"type": "gauge", "help": "", "unit": "1/s"}]));
    assert_eq!(data("/api/v1/status/buildinfo").await["version"], "0.0.1");
}

#[tokio::test]
async fn rules_and_alerts_are_listed_with_our_fields_beside_those_of_prometheus() {
    let fixture = Fixture::troubled();
    let alerts = fixture.json("/api/v1/alerts").await;
    let alert = &alerts["data"]["alerts"][0];
    assert_eq!((&alert["state"], &alert["value"], &alert["episode"]), (&json!("firing"), &json!("0.9"), &json!("e1")));
    assert_eq!((&alert["stale"], &alert["service"]), (&json!(false), &json!(SERVICE)));
    let groups = fixture.json("/api/v1/rules").await;
    let rules = &groups["data"]["groups"][0]["rules"];
    assert_eq!(
        (&rules[0]["type"], &rules[0]["name"], &rules[0]["state"]),
        (&json!("alerting"), &json!("Slow"), &json!("firing"))
    );
    assert_eq!((&rules[0]["duration"], &rules[0]["alerts"][0]["episode"]), (&json!(60.0), &json!("e1")));
    assert_eq!((&rules[1]["type"], &rules[1]["name"]), (&json!("recording"), &json!("a:b")));
    let only = fixture.json("/api/v1/rules?type=record").await;
    assert_eq!(only["data"]["groups"][0]["rules"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_follower_of_anomalies_gets_each_once() {
    let mut fixture = Fixture::troubled();
    let seqs =
        |list: &Value| list["items"].as_array().map(|a| a.iter().filter_map(|i| i["seq"].as_u64()).collect::<Vec<_>>());
    let first = fixture.json("/api/v1/anomalies").await;
    assert_eq!((seqs(&first), &first["nextCursor"]), (Some(vec![1]), &Value::Null));
    let more: Vec<Decision> = (2..=4).map(|seq| Decision::Anomaly(AnomalyEvent::Opened(anomaly(seq)))).collect();
    fixture.ledger.record(&more, &[]).expect("the ledger records");
    let second = fixture.json("/api/v1/anomalies?cursor=1&limit=2").await;
    assert_eq!((seqs(&second), &second["nextCursor"]), (Some(vec![2, 3]), &json!("3")));
    let newest = fixture.json("/api/v1/anomalies?order=desc&limit=1").await;
    assert_eq!(seqs(&newest), Some(vec![4]));
}

#[tokio::test]
async fn anomalies_are_filtered_and_found_by_id() {
    let fixture = Fixture::troubled();
    let count =
        async |query: &str| fixture.json(&format!("/api/v1/anomalies?{query}")).await["items"].as_array().map(Vec::len);
    assert_eq!(count("service=shop%2Fpricing&state=active&severity=critical&pattern=level-shift").await, Some(1));
    assert_eq!(count("detector=z-score&minScore=2.5&service=").await, Some(1));
    assert_eq!(count("minScore=2.6").await, Some(0));
    assert_eq!(count("state=ended").await, Some(0));
    let one = fixture.json("/api/v1/anomalies/a1").await;
    assert_eq!((&one["baselineSpanSeconds"], &one["endsAt"]), (&json!(1000.0), &Value::Null));
    assert_eq!(one["links"]["chart"], "/api/v1/anomalies/a1/chart");
    assert_eq!(one["startsAt"], super::rfc3339(at(-120)));
    let chart = fixture.json("/api/v1/anomalies/a1/chart").await;
    let len = |name: &str| chart[name].as_array().map(Vec::len);
    assert_eq!([len("points"), len("expected"), len("lower"), len("upper")], [Some(61); 4]);
    assert_eq!(chart["unit"], "s");
}

#[tokio::test]
async fn problems_name_the_parameter_and_what_was_expected() {
    let fixture = Fixture::troubled();
    let answer = fixture.get("/api/v1/anomalies?limit=1001&severity=bad&colour=red").await;
    assert_eq!((answer.status(), answer.header("content-type")), (400, "application/problem+json"));
    let problem = answer.json();
    assert_eq!(
        (&problem["type"], &problem["title"], &problem["parameter"]),
        (&json!("about:blank"), &json!("Bad Request"), &json!("severity"))
    );
    let errors = problem["errors"].as_array().expect("all are listed");
    assert_eq!(errors[0]["detail"], "expected one of info, warning, critical, got \"bad\"");
    assert_eq!(errors.len(), 3);
    for path in ["/api/v1/anomalies/none", "/api/v1/services/none", "/api/v1/degradation?service=none", "/api/v2/x"] {
        let answer = fixture.get(path).await;
        assert_eq!((answer.status(), answer.header("content-type")), (404, "application/problem+json"), "{path}");
    }
    let answer = fixture.send(Method::DELETE, "/api/v1/anomalies", &[], "").await;
    assert_eq!((answer.status(), answer.header("allow")), (405, "GET,HEAD"));
    assert_eq!(answer.json()["status"], 405);
    let large = "x".repeat(70_000);
    let answer =
        fixture.send(Method::PUT, "/api/v1/degradation/pin", &[("content-type", "application/json")], &large).await;
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn services_show_what_they_do_now() {
    let fixture = Fixture::troubled();
    let list = fixture.json("/api/v1/services").await;
    let names: Vec<_> = list["items"].as_array().expect("is a list").iter().map(|s| &s["service"]).collect();
    assert_eq!(names, [&json!(SCRIPT), &json!(SERVICE)]);
    let (idle, busy) = (&list["items"][0], &list["items"][1]);
    assert_eq!((&idle["callsPerSecond"], &idle["health"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&busy["callsPerSecond"], &busy["errorRatio"], &busy["p95Seconds"]),
        (&json!(20.0), &json!(0.25), &json!(0.9))
    );
    assert_eq!((&busy["openAnomalies"], &busy["alerts"], &busy["level"]), (&json!(1), &json!(1), &json!(3)));
    for path in ["/api/v1/services/shop/pricing", "/api/v1/services/shop%2Fpricing"] {
        let one = fixture.json(path).await;
        assert_eq!((&one["service"], &one["operations"][0]["name"]), (&json!(SERVICE), &json!(SCRIPT)), "{path}");
        assert_eq!((&one["alertsOpen"][0]["episode"], &one["anomaliesOpen"][0]["id"]), (&json!("e1"), &json!("a1")));
    }
    let page = fixture.json("/api/v1/services?limit=1").await;
    assert_eq!(page["nextCursor"], SCRIPT);
    let next = fixture.json(&format!("/api/v1/services?cursor={}", super::encoded(SCRIPT))).await;
    assert_eq!((&next["items"][0]["service"], &next["nextCursor"]), (&json!(SERVICE), &Value::Null));
}

#[tokio::test]
async fn the_level_says_what_it_is_why_and_what_it_turns_off() {
    let fixture = Fixture::troubled();
    let all = fixture.json("/api/v1/degradation").await;
    assert_eq!((&all["level"], &all["name"], &all["health"]), (&json!(2), &json!("cache-only"), &json!(0.65)));
    let off = json!(["recommendations", "analytics", "notifications", "real-time-pricing"]);
    assert_eq!((&all["disabledFeatures"], &all["service"]), (&off, &Value::Null));
    assert_eq!(all["services"][0]["service"], SERVICE);
    assert!(all["because"][0].as_str().is_some_and(|why| why.contains("Slow")));
    let one = fixture.json("/api/v1/degradation?service=shop%2Fpricing").await;
    assert_eq!((&one["level"], &one["service"], one.get("services")), (&json!(3), &json!(SERVICE), None));
    let unknown = Fixture::empty().json("/api/v1/degradation").await;
    assert_eq!((&unknown["level"], &unknown["health"], &unknown["frozen"]), (&json!(0), &Value::Null, &json!(true)));
    let remembered = View { levels: vec![level(None, Level::ReadOnly)], ..View::default() };
    fixture.view.send_replace(Arc::new(remembered));
    let all = fixture.json("/api/v1/degradation").await;
    assert_eq!((&all["level"], &all["health"], &all["frozen"]), (&json!(3), &Value::Null, &json!(true)));
    assert!(fixture.get("/").await.text.contains("No telemetry has arrived since the start"));
}

#[tokio::test]
async fn a_pin_is_written_then_put_in_force_then_answered() {
    let mut fixture = Fixture::troubled();
    let expires = super::rfc3339(crate::pipeline::now().plus(std::time::Duration::from_secs(600)));
    let body = json!({"level": 4, "author": "ann", "reason": "drill", "expiresAt": expires, "service": SERVICE});
    let (router, view) = (fixture.router.clone(), fixture.view.clone());
    let reader = fixture.ledger.reader();
    let pipeline = async {
        let Some(Command::Pin { service, pin, done, .. }) = fixture.commands.recv().await else { return };
        assert_eq!(service.as_deref(), Some(SERVICE));
        assert_eq!(reader.pins().expect("reads").len(), 1);
        let mut status = level(Some(SERVICE), Level::EmergencyMode);
        status.pin = pin;
        view.send_replace(Arc::new(View { levels: vec![status], ..super::testing::view() }));
        done.send(()).expect("somebody waits");
    };
    let request = Request::put("/api/v1/degradation/pin").header("content-type", "application/json");
    let request = request.body(Body::from(body.to_string())).expect("is valid");
    let (response, ()) = tokio::join!(router.oneshot(request), pipeline);
    let response = response.expect("the router always answers");
    assert_eq!(response.status(), 200);
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("is whole");
    let answer: Value = serde_json::from_slice(&bytes).expect("is JSON");
    assert_eq!((&answer["pin"]["author"], &answer["level"]), (&json!("ann"), &json!(4)));
    assert_eq!(answer["onlyFeatures"], json!(["core-quote-view", "emergency-contact"]));
}

#[tokio::test]
async fn a_pin_of_another_site_or_with_faults_changes_nothing() {
    let fixture = Fixture::troubled();
    let put = async |headers: &[(&str, &str)], body: &str| {
        fixture.send(Method::PUT, "/api/v1/degradation/pin", headers, body).await
    };
    let typed = ("content-type", "application/json");
    let good =
        json!({"level": 1, "author": "a", "reason": "b", "expiresAt": "2999-01-01T00:00:00Z", "service": "none"});
    assert_eq!(put(&[typed, ("sec-fetch-site", "cross-site")], "{}").await.status(), 403);
    assert_eq!(put(&[("content-type", "text/plain")], "{}").await.status(), 415);
    assert_eq!(put(&[typed], "[1]").await.status(), 400);
    let answer = put(&[typed], &good.to_string()).await;
    assert_eq!((answer.status(), &answer.json()["parameter"]), (400, &json!("expiresAt")));
    let deleted = fixture.send(Method::DELETE, "/api/v1/degradation/pin?service=none", &[], "").await;
    assert_eq!(deleted.status(), 404);
    assert_eq!(fixture.ledger.reader().pins().expect("reads"), []);
}

/// Opens the stream of levels as one who heard the event `last` last.
async fn open_stream(fixture: &Fixture, last: Option<&str>) -> axum::body::BodyDataStream {
    let mut request = Request::get("/api/v1/degradation/stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let request = request.body(Body::empty()).expect("is valid");
    let response = fixture.router.clone().oneshot(request).await.expect("the router always answers");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

/// The id, level and health of the next event.
async fn next_level(events: &mut axum::body::BodyDataStream) -> (String, u64, f64) {
    let bytes = events.next().await.expect("goes on").expect("is whole");
    let text = String::from_utf8(bytes.to_vec()).expect("is text");
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert_eq!(field("event:"), "level");
    let data: Value = serde_json::from_str(&field("data:")).expect("is JSON");
    (field("id:"), data["level"].as_u64().expect("is a number"), data["health"].as_f64().expect("is known"))
}

fn change_at(service: Option<&str>, to: Level, seconds: i64) -> LevelChange {
    let (from, because) = (Level::CacheOnly, vec!["worse".into()]);
    LevelChange { service: service.map(Into::into), from, to, health: 0.4, at: at(seconds), because }
}

fn show_level(fixture: &Fixture, to: Level, seconds: i64) {
    let mut view = view();
    view.levels[0] = LevelStatus { since: Some(at(seconds)), ..level(None, to) };
    fixture.view.send_replace(Arc::new(view));
}

#[tokio::test]
async fn the_stream_begins_with_the_level_and_tells_each_change() {
    let fixture = Fixture::troubled();
    let [mut events, mut others] = [open_stream(&fixture, None).await, open_stream(&fixture, None).await];
    let mut heard = async || {
        let (id, level, health) = next_level(&mut events).await;
        assert_eq!(next_level(&mut others).await, (id.clone(), level, health), "all hear the same");
        (id, (level, health))
    };
    let (first, told) = heard().await;
    assert_eq!(told, (2, 0.65));
    let announce = |service: Option<&str>, to, seconds| {
        let change = change_at(service, to, seconds);
        fixture.decisions.send(Arc::new(Decision::Level(change))).expect("somebody listens");
    };
    announce(Some(SERVICE), Level::EmergencyMode, 1);
    announce(None, Level::ReadOnly, 2);
    announce(None, Level::EmergencyMode, 3);
    // What follows from a decision is said when it is shown.
    show_level(&fixture, Level::EmergencyMode, 3);
    let (second, told) = heard().await;
    assert_eq!(told, (3, 0.4));
    let (third, told) = heard().await;
    assert_eq!(told, (4, 0.65));
    show_level(&fixture, Level::EmergencyMode, 3);
    show_level(&fixture, Level::FullService, 9);
    let (fourth, told) = heard().await;
    assert_eq!(told, (0, 0.65));
    let ids: std::collections::BTreeSet<_> = [first, second, third, fourth].into();
    assert_eq!(ids.len(), 4, "each has an id of its own");
}

#[tokio::test]
async fn who_comes_back_hears_what_he_missed_and_nothing_twice() {
    let mut fixture = Fixture::troubled();
    let mut events = open_stream(&fixture, None).await;
    show_level(&fixture, Level::CacheOnly, 5);
    // Whatever was said between: this was the last.
    let (mut last, mut told) = (String::new(), None);
    while told != Some(2) || !last.starts_with(&format!("{}-", at(5).0)) {
        let (id, level, _) = next_level(&mut events).await;
        (last, told) = (id, Some(level));
    }
    let mut again = open_stream(&fixture, Some(&last)).await;
    assert!(futures_util::poll!(again.next()).is_pending(), "nothing has happened");
    drop((again, events));

    // Nobody listens, as while the service is started anew; the ledger has what is missed.
    let changes = [(Level::ReadOnly, 6), (Level::EmergencyMode, 7), (Level::FullService, 8)];
    let mut decisions: Vec<_> = changes.map(|(to, t)| Decision::Level(change_at(None, to, t))).into();
    decisions.push(Decision::Level(change_at(Some(SERVICE), Level::FullService, 7)));
    fixture.ledger.record(&decisions, &[]).expect("the ledger records");
    show_level(&fixture, Level::FullService, 8);
    let mut back = open_stream(&fixture, Some(&last)).await;
    let mut levels = Vec::new();
    for _ in 0..3 {
        let (id, level, _) = next_level(&mut back).await;
        levels.push(level);
        last = id;
    }
    assert_eq!(levels, [3, 4, 0]);
    assert!(futures_util::poll!(back.next()).is_pending());
    let mut again = open_stream(&fixture, Some(&last)).await;
    assert!(futures_util::poll!(again.next()).is_pending(), "the last id is that of what stands");
    // An id that is not ours says nothing; the level is told as to anybody.
    for strange in ["", "7", "x-00000000", "99999999999999999999999-00000000"] {
        let mut events = open_stream(&fixture, Some(strange)).await;
        assert_eq!(next_level(&mut events).await.1, 0, "{strange}");
    }
}

#[tokio::test]
async fn pages_of_listed_origins_may_read_the_level_and_nothing_else() {
    let access = ingest::AccessConfig::default();
    let fixture = Fixture::made(&access, super::Origins::Only(vec!["https://app.example.com".into()]));
    let origin = ("origin", "https://app.example.com");
    let asks = ("access-control-request-method", "POST");
    let flags = "/ofrep/v1/evaluate/flags";
    let allowed = fixture.send(Method::OPTIONS, flags, &[origin, asks], "").await;
    assert_eq!((allowed.status(), allowed.header("access-control-allow-origin")), (204, origin.1));
    assert_eq!(allowed.header("access-control-allow-methods"), "POST");
    assert!(allowed.header("access-control-allow-headers").contains("if-none-match"));
    let answer = fixture.send(Method::POST, flags, &[origin], "").await;
    assert_eq!((answer.status(), answer.header("access-control-allow-origin")), (200, origin.1));
    assert!(answer.header("access-control-expose-headers").contains("etag") && answer.header("vary") == "origin");
    for (path, origin) in [
        (flags, "https://evil.example.com"),
        (flags, "https://app.example.com.evil.org"),
        ("/api/v1/degradation/pin", origin.1),
        ("/api/v1/alerts", origin.1),
        ("/metrics", origin.1),
    ] {
        let refused = fixture.send(Method::OPTIONS, path, &[("origin", origin), asks], "").await;
        assert_eq!((refused.status() >= 400, refused.header("access-control-allow-origin")), (true, ""), "{path}");
    }
    let closed = Fixture::empty().send(Method::OPTIONS, flags, &[origin, asks], "").await;
    assert_eq!((closed.status(), closed.header("access-control-allow-origin")), (405, ""));
}

#[tokio::test]
async fn streams_are_bounded() {
    let fixture = Fixture::troubled();
    let mut open = Vec::new();
    for _ in 0..40 {
        let request = Request::get("/api/v1/degradation/stream").body(Body::empty()).expect("is valid");
        open.push(fixture.router.clone().oneshot(request).await.expect("the router always answers"));
    }
    let refused = fixture.get("/api/v1/degradation/stream").await;
    assert_eq!((refused.status(), refused.header("retry-after")), (503, "5"));
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("listen.max_streams") && detail.contains("40"), "{detail}");
    open.pop();
    let request = Request::get("/api/v1/degradation/stream").body(Body::empty()).expect("is valid");
    let response = fixture.router.clone().oneshot(request).await.expect("the router always answers");
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn history_deliveries_and_status_tell_what_happened() {
    let mut fixture = Fixture::troubled();
    let change = |service: Option<&str>| {
        let (from, to) = (Level::FullService, Level::CacheOnly);
        Decision::Level(LevelChange {
            service: service.map(Into::into),
            from,
            to,
            health: 0.6,
            at: at(0),
            because: Vec::new(),
        })
    };
    fixture.ledger.record(&[change(None), change(Some(SERVICE))], &[]).expect("the ledger records");
    let scopes = async |query: &str| {
        let list = fixture.json(&format!("/api/v1/degradation/history{query}")).await;
        list["items"].as_array().map(|a| a.iter().map(|c| c["service"].clone()).collect::<Vec<_>>())
    };
    assert_eq!(scopes("").await, Some(vec![json!(SERVICE), Value::Null]));
    assert_eq!(scopes("?scope=all").await, Some(vec![Value::Null]));
    assert_eq!(scopes("?service=shop/pricing").await, Some(vec![json!(SERVICE)]));
    let deliveries = fixture.json("/api/v1/deliveries?state=pending").await;
    assert_eq!(
        (&deliveries["items"][0]["receiver"], &deliveries["items"][0]["episode"]),
        (&json!("ops"), &json!("e1"))
    );
    let status = fixture.json("/api/v1/status").await;
    assert_eq!((&status["ready"], &status["deliveries"]["pending"]), (&json!(true), &json!(1)));
    assert_eq!((&status["rules"]["rules"], &status["listens"]["grpc"]), (&json!(2), &json!("127.0.0.1:4317")));
}

#[tokio::test]
async fn readiness_waits_for_the_first_view() {
    let fixture = Fixture::empty();
    assert_eq!(fixture.get("/healthz").await.text, "ok\n");
    assert_eq!(fixture.get("/readyz").await.status(), 503);
    fixture.view.send_replace(Arc::new(view()));
    assert_eq!(fixture.get("/readyz").await.status(), 200);
}

#[tokio::test]
async fn metrics_come_in_either_format() {
    let fixture = Fixture::troubled();
    let plain = fixture.get("/metrics").await;
    assert!(plain.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "bellwether_degradation_level{service=\"\"} 2",
        "bellwether_degradation_level{service=\"shop/pricing\"} 3",
        "bellwether_alerts{state=\"firing\"} 1",
        "bellwether_notifications_pending 1",
        "bellwether_build_info{version=\"0.0.1\"} 1",
        "bellwether_ingest_requests_total{signal=\"traces\",transport=\"grpc\",outcome=\"ok\"} 0",
    ] {
        assert!(plain.text.lines().any(|l| l == line), "{line} is not in\n{}", plain.text);
    }
    let request = Request::get("/metrics").header("accept", "application/openmetrics-text; version=1.0.0");
    let open = fixture.ask(request.body(Body::empty()).expect("is valid")).await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));
    assert!(open.text.ends_with("# EOF\n") && open.text.contains("# TYPE bellwether_evaluations counter\n"));
}

#[tokio::test]
async fn what_telemetry_says_is_text_on_every_page() {
    let fixture = Fixture::troubled();
    for path in ["/", "/anomalies/a1"] {
        let page = fixture.get(path).await;
        assert_eq!((page.status(), page.header("x-content-type-options")), (200, "nosniff"), "{path}");
        assert!(page.header("content-security-policy").starts_with("default-src 'none'; style-src 'self'"));
        assert_eq!((page.header("x-frame-options"), page.header("referrer-policy")), ("DENY", "no-referrer"));
        assert!(page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{path}");
        assert!(!page.text.contains("<script") && !page.text.contains("style="), "{path}");
        assert!(!page.text.contains("href=\"javascript:"), "{path}");
    }
}

#[tokio::test]
async fn the_page_shows_level_alerts_services_and_anomalies() {
    let fixture = Fixture::troubled();
    let page = fixture.get("/").await.text;
    for part in
        ["Level 2: cache-only", "is firing (critical)", "Slow", "shop/pricing", "900 ms", "25 %", "/anomalies/a1"]
    {
        assert!(page.contains(part), "{part} is not on the page");
    }
    let anomaly = fixture.get("/anomalies/a1").await.text;
    for part in ["<svg", "<polygon class=\"band\"", "Score = |z| / threshold", "/runbooks/high-latency"] {
        assert!(anomaly.contains(part), "{part} is not on the page");
    }
    assert_eq!(fixture.get("/anomalies/none").await.status(), 404);
    assert_eq!(fixture.get("/nowhere").await.status(), 404);
}

#[tokio::test]
async fn a_page_without_telemetry_says_what_to_do_next() {
    let page = Fixture::empty().get("/").await.text;
    assert!(page.contains("No telemetry yet") && page.contains("http://127.0.0.1:4318"));
}

#[tokio::test]
async fn runbooks_and_styles_are_served() {
    let fixture = Fixture::empty();
    assert!(fixture.get("/runbooks").await.text.contains("href=\"/runbooks/high-latency\""));
    assert!(fixture.get("/runbooks/high-latency").await.text.contains("<h2>Steps</h2>"));
    assert_eq!(fixture.get("/runbooks/none").await.status(), 404);
    assert_eq!(fixture.get("/style.css").await.header("content-type"), "text/css; charset=utf-8");
}

#[tokio::test]
async fn where_there_are_credentials_everybody_needs_one() {
    let credential = ingest::Credential {
        name: "people".into(),
        proof: ingest::Proof::Bearer(ingest::Secret::new("a-long-token")),
        tenants: vec![ingest::Tenant::default()],
    };
    let fixture = Fixture::guarded(&ingest::AccessConfig { credentials: vec![credential], trust_header: false });
    let paths = ["/", "/metrics", "/api/v1/anomalies", "/api/v1/query?query=1", "/api/v1/degradation", "/no/such"];
    for path in paths {
        for headers in [&[][..], &[("authorization", "Bearer another")], &[("authorization", "Basic eDp5")]] {
            let answer = fixture.send(Method::GET, path, headers, "").await;
            assert_eq!(answer.head.status(), 401, "{path}");
            assert!(answer.head.headers()["www-authenticate"].to_str().is_ok_and(|c| c.starts_with("Bearer")));
        }
        let answer = fixture.send(Method::GET, path, &[("authorization", "Bearer a-long-token")], "").await;
        assert_ne!(answer.head.status(), 401, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_ne!(fixture.get(path).await.head.status(), 401, "{path}");
    }
}

fn named(name: &str) -> ingest::Tenant {
    ingest::Tenant::new(name).expect("is a name")
}

#[tokio::test]
async fn a_tenant_without_data_sees_an_empty_service() {
    let fixture = Fixture::troubled_for(&ingest::AccessConfig { trust_header: true, ..Default::default() });
    let of = |tenant| [("x-scope-orgid", tenant)];
    for path in ["/api/v1/anomalies", "/api/v1/services", "/api/v1/deliveries", "/api/v1/degradation/history"] {
        let full = fixture.send(Method::GET, path, &[], "").await.json();
        let empty = fixture.send(Method::GET, path, &of("acme"), "").await;
        assert_eq!((empty.status(), empty.json()["items"].as_array().map(Vec::len)), (200, Some(0)), "{path}");
        assert!(path.ends_with("history") || full["items"].as_array().is_some_and(|i| !i.is_empty()), "{path}: {full}");
    }
    let alerts = fixture.send(Method::GET, "/api/v1/alerts", &of("acme"), "").await.json();
    assert_eq!(alerts["data"]["alerts"].as_array().map(Vec::len), Some(0), "{alerts}");
    let status = fixture.send(Method::GET, "/api/v1/status", &of("acme"), "").await.json();
    assert_eq!((&status["tenant"], &status["window"]["series"]), (&"acme".into(), &0.into()), "{status}");
    for path in ["/", "/metrics", "/api/v1/degradation"] {
        let answer = fixture.send(Method::GET, path, &of("acme"), "").await;
        assert!(answer.status() == 200 && !answer.text.contains("pricing"), "{path}: {}", answer.text);
    }
    assert_eq!(fixture.send(Method::GET, "/api/v1/anomalies/a1", &of("acme"), "").await.status(), 404);
    let pin = r#"{"level": 1, "author": "ann", "reason": "drill", "expiresAt": 99}"#;
    let json = [("x-scope-orgid", "acme"), ("content-type", "application/json")];
    let pin = pin.replace("99", &(crate::pipeline::now().as_secs_f64() + 60.0).to_string());
    assert_eq!(fixture.send(Method::PUT, "/api/v1/degradation/pin", &json, &pin).await.status(), 404);
    for hostile in ["..", "a/b", "../default", "a b", ""] {
        assert_eq!(fixture.send(Method::GET, "/api/v1/status", &of(hostile), "").await.status(), 400, "{hostile}");
    }
}

#[tokio::test]
async fn the_parameter_of_links_names_a_tenant_where_the_credential_allows_it() {
    let credential = ingest::Credential {
        name: "people".into(),
        proof: ingest::Proof::Bearer(ingest::Secret::new("a-long-token")),
        tenants: vec![ingest::Tenant::default(), named("acme")],
    };
    let fixture = Fixture::troubled_for(&ingest::AccessConfig { credentials: vec![credential], trust_header: false });
    let token = ("authorization", "Bearer a-long-token");
    let ask = async |path: &str| fixture.send(Method::GET, path, &[token], "").await;
    assert_eq!(ask("/api/v1/status").await.json()["tenant"], "default");
    assert_eq!(ask("/api/v1/status?tenant=acme").await.json()["tenant"], "acme");
    for bad in ["tenant=bank", "tenant=acme&tenant=bank"] {
        let answer = fixture.send(Method::GET, &format!("/api/v1/status?{bad}"), &[token], "").await;
        assert_eq!(answer.status(), 403, "{bad}");
    }
    assert_eq!(ask("/api/v1/status?tenant=%2E%2E%2Fa").await.status(), 400);
    let both = [token, ("x-scope-orgid", "default")];
    assert_eq!(fixture.send(Method::GET, "/api/v1/status?tenant=acme", &both, "").await.status(), 403);
    let page = ask("/anomalies/a1?tenant=default").await.text;
    assert!(page.contains("href=\"/api/v1/anomalies/a1/chart?tenant=default\""), "{page}");
    assert!(!ask("/").await.text.contains("tenant=") && ask("/?tenant=acme").await.text.contains("/?tenant=acme"));
}

#[tokio::test]
async fn without_credentials_the_parameter_only_agrees_with_the_header() {
    for trust_header in [false, true] {
        let fixture = Fixture::guarded(&ingest::AccessConfig { trust_header, ..Default::default() });
        let answer = fixture.get("/api/v1/status?tenant=acme").await;
        assert_eq!(answer.status(), 403, "past the proxy that sets the header nobody may choose");
        assert_eq!(fixture.get("/api/v1/status?tenant=default").await.status(), 200);
    }
    let fixture = Fixture::guarded(&ingest::AccessConfig { trust_header: true, ..Default::default() });
    let of = [("x-scope-orgid", "acme")];
    assert_eq!(fixture.send(Method::GET, "/api/v1/status?tenant=acme", &of, "").await.json()["tenant"], "acme");
}
