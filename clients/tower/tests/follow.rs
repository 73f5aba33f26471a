//! An application behind the layer, and a feed that says what the test wants.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bellwether_tower::{DegradationLayer, Followed, Policy, follow};
use http_body_util::BodyExt as _;
use tokio::{net::TcpListener, sync::watch};
use tower::ServiceExt as _;

const DEADLINE: Duration = Duration::from_secs(30);

fn application(followed: &Followed) -> Router {
    let policy = Policy::default().keep("/quotes").retry_after(Duration::from_secs(7));
    Router::new()
        .route("/quotes", get(async || "a quote"))
        .route("/orders", post(async || "ordered").get(async || "orders"))
        .layer(DegradationLayer::new(followed.clone(), policy))
}

async fn ask(router: &Router, method: &str, path: &str) -> Response {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("is valid");
    router.clone().oneshot(request).await.expect("the router always answers")
}

#[tokio::test]
async fn requests_are_refused_and_restored_as_the_level_moves() {
    let followed = Followed::default();
    let router = application(&followed);
    let mut seen = Vec::new();
    for level in [0, 2, 3, 4, 3, 0] {
        followed.set_at(level, Instant::now());
        let mut statuses = Vec::new();
        for (method, path) in [("POST", "/orders"), ("GET", "/orders"), ("GET", "/quotes")] {
            let response = ask(&router, method, path).await;
            assert_eq!(response.headers()["x-degradation-level"], level.to_string());
            statuses.push(response.status().as_u16());
        }
        seen.push(statuses);
    }
    let all = [200, 200, 200];
    assert_eq!(seen, [all, all, [503, 200, 200], [503, 503, 200], [503, 200, 200], all]);
}

#[tokio::test]
async fn a_refusal_says_why_and_when_to_come_again() {
    let followed = Followed::default();
    followed.set_at(3, Instant::now());
    let response = ask(&application(&followed), "POST", "/orders").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let headers = response.headers();
    assert_eq!(
        (&headers["retry-after"], &headers["x-service-status"]),
        (&"7".parse().expect("is valid"), &"read-only".parse().expect("is valid"))
    );
    assert_eq!(headers["content-type"], "application/problem+json");
    let body = response.into_body().collect().await.expect("is whole").to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).expect("is JSON");
    assert_eq!(problem["status"], 503);
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
}

/// What the feed says, and how often somebody came back for it.
#[derive(Clone)]
struct Feed {
    level: watch::Receiver<u8>,
    resumed: Arc<AtomicUsize>,
}

/// One event, and the end of the connection after the next.
async fn stream(State(feed): State<Feed>, headers: HeaderMap) -> Response {
    if headers.contains_key("last-event-id") {
        feed.resumed.fetch_add(1, Ordering::SeqCst);
    }
    let mut level = feed.level.clone();
    level.mark_changed();
    let events = futures_util::stream::unfold((level, 0), |(mut level, said)| async move {
        if said == 2 || level.changed().await.is_err() {
            return None;
        }
        let now = *level.borrow_and_update();
        Some((Ok::<_, Infallible>(format!("id: {now}-x\ndata: {{\"level\":{now}}}\n\n")), (level, said + 1)))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

async fn until(wanted: impl Fn() -> bool) {
    let waiting = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("comes in time");
}

#[tokio::test]
async fn the_stream_is_followed_over_connections_that_end() {
    // Who has installed one already has the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (say, level) = watch::channel(2);
    let resumed = Arc::new(AtomicUsize::new(0));
    let feed = Router::new().route("/stream", get(stream)).with_state(Feed { level, resumed: Arc::clone(&resumed) });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/stream", listener.local_addr().expect("is bound")).parse().expect("is a URL");
    tokio::spawn(async move { axum::serve(listener, feed).await });
    let followed = Followed::default();
    let task = tokio::spawn(follow(reqwest::Client::new(), url, followed.clone()));
    until(|| followed.level() == 2).await;
    // Ends the connection; the next one is another's.
    say.send_replace(4);
    until(|| followed.level() == 4).await;
    until(|| resumed.load(Ordering::SeqCst) > 0).await;
    say.send_replace(0);
    until(|| followed.level() == 0).await;
    task.abort();
}
