//! A real OpenTelemetry Collector between a client and Bellwether.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{api::eventually, ledger::Ledger};

/// How long it may take to start, and to send what it holds before it stops.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it sends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Export {
    /// `otlp_grpc` or `otlp_http`.
    pub(crate) exporter: &'static str,
    /// `gzip` is what it does unless told otherwise.
    pub(crate) compression: &'static str,
}

/// A running Collector. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    child: Child,
    /// Its OTLP/gRPC door, `http://host:port`.
    pub(crate) grpc: String,
    /// Its OTLP/HTTP door, `http://host:port`.
    pub(crate) http: String,
    log: PathBuf,
    _directory: TempDir,
}

/// The program, if it has been built.
pub(crate) fn program() -> Option<PathBuf> {
    let path = crate::clients().join("collector/.build/otelcol");
    path.exists().then_some(path)
}

impl Collector {
    /// Starts one that sends everything to each of the ledgers, as their exports say.
    pub(crate) async fn start(program: &Path, ledgers: &[(Export, Ledger)]) -> Self {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let (config, log) = (directory.path().join("collector.json"), directory.path().join("log"));
        fs::write(&config, configuration(ledgers).to_string()).expect("the directory is writable");
        let child = Command::new(program)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the directory is writable"))
            .spawn()
            .expect("the program was built for this machine");
        let mut collector = Self { child, grpc: String::new(), http: String::new(), log, _directory: directory };
        let addresses = eventually(PATIENCE, || async {
            Some((collector.said("Starting GRPC server")?, collector.said("Starting HTTP server")?))
        });
        let addresses = addresses.await;
        assert!(addresses.is_some(), "the Collector did not start:\n{}", collector.log());
        (collector.grpc, collector.http) = addresses.unwrap_or_default();
        collector
    }

    /// Asks it to stop, and waits until it has sent what it held. It must not have complained.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().expect("every Unix has kill");
        assert!(asked.success(), "it was not running any more:\n{}", self.log());
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(tokio::time::Instant::now() < deadline, "the Collector did not stop:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(status.success(), "{status}:\n{}", self.log());
        let complaints: Vec<Value> = self.lines().filter(|line| line["level"] == "error").collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    /// The endpoint that it names when it says `message`.
    fn said(&self, message: &str) -> Option<String> {
        let line = self.lines().find(|line| line["msg"] == message)?;
        line["endpoint"].as_str().map(|address| format!("http://{address}"))
    }

    fn lines(&self) -> impl Iterator<Item = Value> + use<> {
        let lines: Vec<String> = self.log().lines().map(str::to_owned).collect();
        lines.into_iter().filter_map(|line| serde_json::from_str(&line).ok())
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Both fail only for a child that has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its configuration, in the JSON that is also YAML.
fn configuration(ledgers: &[(Export, Ledger)]) -> Value {
    let door = serde_json::json!({"endpoint": "127.0.0.1:0"});
    let mut exporters = serde_json::Map::new();
    for (Export { exporter, compression }, ledger) in ledgers {
        let binary = &ledger.binary;
        let endpoint = if *exporter == "otlp_grpc" { &binary.grpc } else { &binary.http };
        let settings = serde_json::json!({
            "endpoint": endpoint,
            "tls": {"insecure": true},
            "compression": compression,
        });
        exporters.insert(format!("{exporter}/{compression}"), settings);
    }
    let names: Vec<&String> = exporters.keys().collect();
    let pipeline = serde_json::json!({"receivers": ["otlp"], "processors": ["batch"], "exporters": names});
    serde_json::json!({
        "receivers": {"otlp": {"protocols": {"grpc": door, "http": door}}},
        "processors": {"batch": {}},
        "exporters": exporters,
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": {"encoding": "json"}},
            "pipelines": {"traces": pipeline, "metrics": pipeline, "logs": pipeline},
        },
    })
}
