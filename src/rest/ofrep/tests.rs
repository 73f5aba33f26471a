use axum::{
    body::Body,
    http::{Method, Request},
};
use detect::{Level, LevelStatus, Pin};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

use crate::rest::testing::{Answer, Fixture, SERVICE, at, level, view};

const FLAGS: &str = "/ofrep/v1/evaluate/flags";

async fn evaluate(fixture: &Fixture, key: &str, context: Value) -> Answer {
    let body = json!({"context": context}).to_string();
    fixture.send(Method::POST, &format!("{FLAGS}/{key}"), &[("content-type", "application/json")], &body).await
}

#[tokio::test]
async fn a_flag_is_what_the_level_of_the_service_in_the_context_makes_it() {
    let fixture = Fixture::troubled();
    let check = async |key: &str, context: Value, expected: (Value, &str, &str)| {
        let answer = evaluate(&fixture, key, context.clone()).await;
        assert_eq!((answer.status(), answer.header("content-type")), (200, "application/json"), "{context}");
        let flag = answer.json();
        let (value, variant, reason) = expected;
        assert_eq!(flag["key"], key);
        assert_eq!((&flag["value"], &flag["variant"], &flag["reason"]), (&value, &json!(variant), &json!(reason)));
        assert!(flag["metadata"].as_object().is_some_and(|m| m.values().all(|v| !v.is_object() && !v.is_array())));
    };
    let all = (json!(2), "cache-only", "STATIC");
    let its = (json!(3), "read-only", "TARGETING_MATCH");
    check("degradation-level", json!({}), all.clone()).await;
    check("degradation-level", json!({"targetingKey": "x"}), all.clone()).await;
    for context in [
        json!({"service": {"name": SERVICE}}),
        json!({"service": {"name": "pricing", "namespace": "shop"}}),
        json!({"service": SERVICE}),
        json!({"service.name": "pricing", "service.namespace": "shop"}),
        json!({"service_name": SERVICE}),
        json!({"service.name": "pricing"}),
    ] {
        check("degradation-level", context, its.clone()).await;
    }
    check("degradation-level", json!({"service.name": "somebody"}), all.clone()).await;
    check("degradation-level", json!({"service.name": "pricing", "service.namespace": "other"}), all).await;
    check("degradation-mode", json!({}), (json!("cache-only"), "cache-only", "STATIC")).await;
    check("real-time-pricing", json!({}), (json!(false), "off", "STATIC")).await;
    check("writes", json!({}), (json!(true), "on", "STATIC")).await;
    check("writes", json!({"service": SERVICE}), (json!(false), "off", "TARGETING_MATCH")).await;
    check("emergency-contact", json!({"service": SERVICE}), (json!(true), "on", "TARGETING_MATCH")).await;
}

#[tokio::test]
async fn bodies_may_be_missing_and_bad_ones_are_told_as_the_protocol_says() {
    let fixture = Fixture::troubled();
    let check = async |body: &str, status: u16, code: Option<&str>| {
        for key in ["", "/writes"] {
            let answer = fixture.send(Method::POST, &format!("{FLAGS}{key}"), &[], body).await;
            let wire = answer.json();
            assert_eq!((answer.status(), wire["errorCode"].as_str()), (status, code), "{body}: {wire}");
            assert_eq!(wire["errorDetails"].is_string(), code.is_some());
            assert_eq!(wire["key"].is_string(), !key.is_empty(), "{wire}");
        }
    };
    for body in ["", "{}", "{\"context\":null}", "{\"context\":{}}"] {
        check(body, 200, None).await;
    }
    check("{", 400, Some("PARSE_ERROR")).await;
    check(" ", 400, Some("PARSE_ERROR")).await;
    check("[]", 400, Some("PARSE_ERROR")).await;
    check("{\"context\":[]}", 400, Some("INVALID_CONTEXT")).await;
    check("{\"context\":{\"service.name\":7}}", 400, Some("INVALID_CONTEXT")).await;
    let deep = format!("{{\"context\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    check(&deep, 400, Some("PARSE_ERROR")).await;
    check(&" ".repeat(70_000), 413, Some("GENERAL")).await;
    let unknown = evaluate(&fixture, "no-such-flag", json!({})).await;
    assert_eq!((unknown.status(), unknown.json()["errorCode"].as_str()), (404, Some("FLAG_NOT_FOUND")));
    assert_eq!(unknown.json()["key"], "no-such-flag");
    assert_eq!(fixture.get(FLAGS).await.status(), 405);
}

#[tokio::test]
async fn before_anything_is_known_everything_is_on() {
    let answer = Fixture::empty().send(Method::POST, FLAGS, &[], "").await.json();
    let flags = answer["flags"].as_array().expect("is a list");
    assert_eq!((&flags[0]["value"], &flags[0]["reason"]), (&json!(0), &json!("UNKNOWN")));
    assert!(flags[2..].iter().all(|flag| flag["value"] == json!(true)), "{flags:?}");
}

#[tokio::test]
async fn all_flags_come_with_a_tag_that_lasts_until_something_changes() {
    let fixture = Fixture::troubled();
    let ask = async |tag: &str| fixture.send(Method::POST, FLAGS, &[("if-none-match", tag)], "{}").await;
    let first = ask("").await;
    let etag = first.header("etag").to_owned();
    assert_eq!((first.status(), etag.len()), (200, 18));
    let wire = first.json();
    assert_eq!(wire["flags"].as_array().map(Vec::len), Some(10));
    let stream = json!([{"type": "sse", "endpoint": {"requestUri": "/ofrep/v1/events"}, "inactivityDelaySec": 120}]);
    assert_eq!(wire["eventStreams"], stream);
    for tag in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".into()] {
        let again = ask(&tag).await;
        assert_eq!((again.status(), again.text.as_str(), again.header("etag")), (304, "", etag.as_str()), "{tag}");
    }
    // Health moves all the time.
    let mut other = view();
    other.levels[0].health = 0.6501;
    fixture.view.send_replace(Arc::new(other));
    assert_eq!(ask(&etag).await.status(), 304);
    let mut pinned = view();
    let pin = Pin { level: Level::CacheOnly, author: "ann".into(), reason: "test".into(), expires_at: at(600) };
    pinned.levels[0].pin = Some(pin);
    fixture.view.send_replace(Arc::new(pinned));
    let changed = ask(&etag).await;
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.json()["flags"][0]["metadata"]["pinnedBy"], "ann");
    let service = fixture.send(Method::POST, FLAGS, &[], "{\"context\":{\"service\":\"shop/pricing\"}}").await.json();
    assert_eq!(service["eventStreams"][0]["endpoint"]["requestUri"], "/ofrep/v1/events?service=shop%2Fpricing");
}

#[tokio::test]
async fn a_stream_tells_when_to_ask_again_and_nothing_twice() {
    let fixture = Fixture::troubled();
    let open = async |last: &str| {
        let request = Request::get("/ofrep/v1/events").header("last-event-id", last).body(Body::empty());
        let response = fixture.router.clone().oneshot(request.expect("is valid")).await.expect("always answers");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.into_body().into_data_stream()
    };
    let mut events = open("").await;
    let mut next = async || {
        let bytes = events.next().await.expect("goes on").expect("is whole");
        let text = String::from_utf8(bytes.to_vec()).expect("is text");
        let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        let data: Value = serde_json::from_str(&field("data:")).expect("is JSON");
        assert_eq!((field("event:").as_str(), &data["type"]), ("message", &json!("refetchEvaluation")));
        (field("id:"), data["etag"].clone())
    };
    let (first, etag) = next().await;
    let asked = fixture.send(Method::POST, FLAGS, &[], "").await;
    assert_eq!(json!(asked.header("etag")), etag);
    let show = |to, health| {
        let mut view = view();
        view.levels[0] = LevelStatus { health, ..level(None, to) };
        fixture.view.send_replace(Arc::new(view));
    };
    show(Level::CacheOnly, 0.6);
    show(Level::ReadOnly, 0.4);
    let (second, etag) = next().await;
    assert_ne!(first, second);
    assert_eq!(etag, json!(format!("\"{second}\"")));
    // Who has heard the last event hears nothing before the next change.
    let mut again = open(&second).await;
    assert!(futures_util::poll!(again.next()).is_pending());
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let fixture = Fixture::troubled();
    let one = format!("{FLAGS}/degradation-level");
    let ask = async |path: &str| fixture.send(Method::POST, path, &[], "{}").await;
    let refused = loop {
        let answer = ask(FLAGS).await;
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status(), refused.header("retry-after")), (429, "1"));
    assert_eq!(refused.json()["errorCode"], "GENERAL");
    let details = refused.json()["errorDetails"].to_string();
    assert!(details.contains("at most 50 evaluations a second: listen.evaluations_per_second"), "{details}");
    let refused = loop {
        let answer = ask(&one).await;
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status(), &refused.json()["key"]), (429, &json!("degradation-level")));
}
