//! A receiver that does as it is told: any status, any body, any place to go on to.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it answers.
#[derive(Clone, Debug)]
struct Script {
    status: u16,
    body: String,
    location: Option<String>,
    /// Headers of answers to OPTIONS.
    options: Vec<(HeaderName, HeaderValue)>,
    /// Whether every other request is answered with 503, and whether the next is.
    fails: Option<bool>,
    /// The notifications of which one was.
    failed: HashSet<String>,
}

#[derive(Clone, Debug)]
struct Shared {
    script: Arc<Mutex<Script>>,
    requests: mpsc::UnboundedSender<Request>,
}

/// What it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) is_taken: bool,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("is JSON")
    }
}

/// Listens until the test ends.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    requests: mpsc::UnboundedReceiver<Request>,
}

impl Sink {
    /// On a free port, answering `status`.
    pub(crate) async fn listen(status: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let script = Arc::new(Mutex::new(Script {
            status,
            body: "said".into(),
            location: None,
            options: Vec::new(),
            fails: None,
            failed: HashSet::new(),
        }));
        let (sender, requests) = mpsc::unbounded_channel();
        let shared = Shared { script: Arc::clone(&script), requests: sender };
        let router = Router::new().fallback(take).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, script, requests }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers `status` from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.script().status = status;
    }

    /// Answers with this body from now on.
    pub(crate) fn say(&self, body: &str) {
        self.script().body = body.to_owned();
    }

    /// Leads there from now on.
    pub(crate) fn redirect(&self, location: &str) {
        self.script().location = Some(location.to_owned());
    }

    /// Answers OPTIONS with these headers from now on.
    pub(crate) fn answer_options(&self, headers: &[(&'static str, &'static str)]) {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        self.script().options = headers.iter().map(header).collect();
    }

    /// Fails every other time from now on, but nothing twice: who is unlucky would wait longer each time.
    pub(crate) fn fail_every_other_time(&self) {
        self.script().fails = Some(true);
    }

    /// The next of the requests that have come and were not failed.
    pub(crate) fn taken(&mut self) -> Option<Request> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).find(|request| request.is_taken)
    }

    /// All requests that have come since.
    pub(crate) fn everything(&mut self) -> Vec<Request> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }

    /// `http://host:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The next request.
    pub(crate) async fn request(&mut self) -> Request {
        let next = tokio::time::timeout(PATIENCE, self.requests.recv()).await;
        next.expect("a request comes in time").expect("the sink lives")
    }

    /// Whether nothing has come since.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

async fn take(State(shared): State<Shared>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    let said = String::from_utf8_lossy(&body).into_owned();
    let (Script { status, body, location, options, .. }, fails) = {
        let mut script = shared.script.lock().unwrap_or_else(PoisonError::into_inner);
        let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let fails = script.fails.unwrap_or(false) && script.failed.insert(id.to_owned());
        script.fails = script.fails.map(|fails| !fails);
        (script.clone(), fails)
    };
    let status = if fails { 503 } else { status };
    let is_options = method == Method::OPTIONS;
    let is_taken = (200..300).contains(&status);
    let _ = shared.requests.send(Request { method, headers, body: said, is_taken });
    let status = StatusCode::from_u16(status).expect("the test names a status");
    let mut response = (status, body).into_response();
    if let Some(location) = location.and_then(|location| location.parse().ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if is_options {
        response.headers_mut().extend(options);
    }
    response
}
