//! The service under test and the ways to it.

use std::{
    ffi::OsStr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use serde_json::Value;

use super::{
    Answer, Connection, Framing, Payload, Signal, Watched, encoded, eventually, frame, gzip, http1, json_of,
    now_seconds,
};
use crate::{api::Api, binary::Binary};

/// How long what was taken may need until it can be asked for.
const PATIENCE: Duration = Duration::from_secs(20);
/// One service for all tests that do not need their own; gone when no test holds it.
static SHARED: Mutex<Weak<Service>> = Mutex::new(Weak::new());

/// Whether the counts of the checklist are asked for (`BELLWETHER_CONFORMANCE=full`), instead of
/// those that fit continuous integration.
pub(crate) fn is_full() -> bool {
    std::env::var("BELLWETHER_CONFORMANCE").is_ok_and(|value| value == "full")
}

/// How often to repeat a case: `few`, or `all` in a full run.
pub(crate) fn cases(few: u32, all: u32) -> u32 {
    if is_full() { all } else { few }
}

/// A way into the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Grpc,
    GrpcGzip,
    Protobuf,
    ProtobufGzip,
    Json,
    JsonGzip,
}

impl Route {
    /// Every way.
    pub(crate) const ALL: [Self; 6] =
        [Self::Grpc, Self::GrpcGzip, Self::Protobuf, Self::ProtobufGzip, Self::Json, Self::JsonGzip];
    /// One for each transport, uncompressed.
    pub(crate) const PLAIN: [Self; 3] = [Self::Grpc, Self::Protobuf, Self::Json];

    /// Whether bodies are JSON.
    pub(crate) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::JsonGzip)
    }

    fn is_gzip(self) -> bool {
        matches!(self, Self::GrpcGzip | Self::ProtobufGzip | Self::JsonGzip)
    }
}

/// A running service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) binary: Binary,
    pub(crate) api: Api,
    _directory: tempfile::TempDir,
}

impl Service {
    /// The one that tests share: they keep apart by the name of the service that they send for.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = shared.upgrade() {
            return service;
        }
        let service = Arc::new(Self::start(""));
        *shared = Arc::downgrade(&service);
        service
    }

    /// One of its own, with these lines in its configuration.
    pub(crate) fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let path = directory.path().join("bellwether.yaml");
        let text = format!("listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}}\n{config}\n");
        std::fs::write(&path, text).expect("the directory is writable");
        let data = directory.path().join("data");
        let binary =
            Binary::start(&[OsStr::new("--config"), path.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()]);
        let api = Api::new(&binary.api);
        Self { binary, api, _directory: directory }
    }

    /// The process.
    pub(crate) fn process(&self) -> Watched {
        Watched::new(self.binary.pid())
    }

    /// Sends a request one way.
    pub(crate) async fn send(&self, payload: &Payload, route: Route) -> Answer {
        let bytes = if route.is_json() { json_of(payload).to_string().into_bytes() } else { payload.protobuf() };
        self.send_bytes(payload.signal(), &bytes, route).await
    }

    /// Sends these bytes as the request's message; a route with gzip compresses them.
    pub(crate) async fn send_bytes(&self, signal: Signal, bytes: &[u8], route: Route) -> Answer {
        let packed = route.is_gzip().then(|| gzip(bytes));
        let body = packed.as_deref().unwrap_or(bytes);
        self.send_packed(signal, body, route).await
    }

    /// Sends these bytes, compressed already when the route says so.
    pub(crate) async fn send_packed(&self, signal: Signal, body: &[u8], route: Route) -> Answer {
        let kind = if route.is_json() { "application/json" } else { "application/x-protobuf" };
        match route {
            Route::Grpc | Route::GrpcGzip => {
                let connection = Connection::open(&self.binary.grpc).await;
                let headers: &[_] = if route.is_gzip() { &[("grpc-encoding", "gzip")] } else { &[] };
                let answer = connection.call(signal.method(), headers, frame(body, route.is_gzip())).await;
                Answer::Grpc(answer.expect("a call is answered"))
            }
            _ => {
                let mut headers = vec![("content-type", kind)];
                headers.extend(route.is_gzip().then_some(("content-encoding", "gzip")));
                let base = &self.binary.http;
                Answer::Http(route, http1(base, "POST", signal.path(), &headers, body, Framing::Length).await)
            }
        }
    }

    /// Every raw point of the selected series in the last hour and the hour to come, series by series
    /// in the order of their labels: `(labels, [(seconds, value)])`.
    pub(crate) async fn points(&self, selector: &str) -> Vec<(String, Vec<(f64, String)>)> {
        let end = now_seconds() + 3_600;
        let path = format!("/api/v1/query?time={end}&query={}", encoded(&format!("{selector}[7300s]")));
        let answer = self.api.get(&path).await;
        assert_eq!(answer["data"]["resultType"], "matrix", "{answer}");
        let mut all: Vec<_> = answer["data"]["result"].as_array().into_iter().flatten().map(series).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Waits until `wanted` points of the selected series can be asked for, and gives them.
    pub(crate) async fn points_when(&self, selector: &str, wanted: usize) -> Vec<(String, Vec<(f64, String)>)> {
        let found = eventually(PATIENCE, || async {
            let all = self.points(selector).await;
            (all.iter().map(|(_, p)| p.len()).sum::<usize>() >= wanted).then_some(all)
        });
        match found.await {
            Some(all) => all,
            None => self.points(selector).await,
        }
    }

    /// Waits until the expression gives one series with this value; the last value seen otherwise.
    pub(crate) async fn settles_at(&self, expression: &str, wanted: f64) -> f64 {
        let ask = || async {
            let value = self.api.value_of(expression).await;
            ((value - wanted).abs() < 1e-9 * wanted.abs().max(1.0)).then_some(value)
        };
        match eventually(PATIENCE, ask).await {
            Some(value) => value,
            None => self.api.value_of(expression).await,
        }
    }

    /// The sum of the samples of a metric of the service itself whose labels contain all `labels`.
    pub(crate) async fn counted(&self, metric: &str, labels: &[&str]) -> f64 {
        let text = http1(&self.binary.api, "GET", "/metrics", &[], &[], Framing::Length).await.text();
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(metric);
            rest.is_some_and(|r| r.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// That it lives, answers, and nothing in it panicked.
    pub(crate) async fn assert_healthy(&self) {
        assert_eq!(self.api.get("/api/v1/status").await["version"], env!("CARGO_PKG_VERSION"));
        let log = self.binary.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

fn series(one: &Value) -> (String, Vec<(f64, String)>) {
    let point = |p: &Value| (p[0].as_f64().unwrap_or(f64::NAN), p[1].as_str().unwrap_or_default().to_owned());
    let points = one["values"].as_array().into_iter().flatten().map(point).collect();
    (one["metric"].to_string(), points)
}
