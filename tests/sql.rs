//! SQL over the windows and exports, from outside: the same data as REST and PromQL show, and bounds that hold.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::binary::Binary;

#[cfg(feature = "analysis")]
#[path = "support/api.rs"]
mod api;
#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;

#[cfg(feature = "analysis")]
#[path = "sql/answers.rs"]
mod answers;
#[cfg(feature = "analysis")]
#[path = "sql/bounds.rs"]
mod bounds;
#[cfg(feature = "analysis")]
#[path = "sql/export.rs"]
mod export;

/// A running service and its data directory.
struct Service {
    binary: Binary,
    client: reqwest::Client,
    data: PathBuf,
    directory: tempfile::TempDir,
}

/// An answer with its whole body.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("is JSON")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Service {
    fn start() -> Self {
        Self::start_with("")
    }

    fn start_with(more: &str) -> Self {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let config = directory.path().join("bellwether.yaml");
        let text = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}\n".to_owned() + more;
        std::fs::write(&config, text).expect("the directory is writable");
        let data = directory.path().join("data");
        let binary =
            Binary::start(&[OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()]);
        // An error says that another test has installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { binary, client: reqwest::Client::new(), data, directory }
    }

    async fn ask(&self, statement: &str) -> Answer {
        self.ask_with(statement, "", "application/json").await
    }

    /// Puts `statement` with these parameters, for an answer in this form.
    async fn ask_with(&self, statement: &str, parameters: &str, accept: &str) -> Answer {
        let request = self.client.post(format!("{}/api/v1/sql?{parameters}", self.binary.api));
        let request = request.header("content-type", "application/sql").header("accept", accept);
        let answer = request.body(statement.to_owned()).send().await.expect("the service answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.expect("has a body").to_vec() }
    }

    /// Sends an OTLP request in JSON.
    async fn send(&self, signal: &str, body: &Value) {
        let request = self.client.post(format!("{}/v1/{signal}", self.binary.http));
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await;
        let answer = answer.expect("the door is open");
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.text().await.expect("has a body").trim(), "{}");
    }
}

/// Runs `bellwether export` with these arguments.
fn export(data: &Path, arguments: &[&OsStr]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.arg("export").arg("--data-dir").arg(data).args(arguments);
    command.output().expect("cargo has built the binary")
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// The resource of `shop/pricing`.
fn resource() -> Value {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    json!({"attributes": [attribute("service.name", "pricing"), attribute("service.namespace", "shop")]})
}

#[cfg(not(feature = "analysis"))]
#[tokio::test]
async fn a_binary_without_it_says_how_to_get_it() {
    let service = Service::start();
    service.send("metrics", &json!({"resourceMetrics": [{"resource": resource(), "scopeMetrics": []}]})).await;
    let answer = service.ask("SELECT 1").await;
    assert_eq!((answer.status, answer.header("content-type")), (501, "application/problem+json"));
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("cargo build --release --features analysis"), "{detail}");
    let file = service.directory.path().join("out.parquet");
    let output = export(&service.data, &[OsStr::new("--output"), file.as_os_str()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--features analysis"), "{said}");
    assert!(!file.exists() && now() > 0);
}
