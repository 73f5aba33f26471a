//! The binary under test: this very one, in a process of its own, asked only as anybody could ask it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::Context;
use serde_json::Value;

use crate::scratch::Scratch;

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(120);
/// As shipped, but on free ports and in memory; with less frequent rules and assessments, which have no part
/// in anomalies, since event time passes thousands of times as fast as usual.
const CONFIGURATION: &str = "\
listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}
durability: memory
rule_files: [rules.yaml]
history: {enabled: false}
level: {assess_every: 1m}
";
const RULES: &str = "groups: [{name: none, interval: 1h, rules: [{record: selftest, expr: vector(1)}]}]\n";

/// A running service. Ends when dropped.
pub(super) struct Subject {
    child: Child,
    http: String,
    api: String,
    client: reqwest::Client,
    _scratch: Scratch,
}

impl Subject {
    /// Starts it.
    pub(super) fn start() -> anyhow::Result<Self> {
        let scratch = Scratch::new("selftest").context("cannot make a temporary directory")?;
        let config = scratch.path().join("bellwether.yaml");
        std::fs::write(&config, CONFIGURATION).context("cannot write a configuration")?;
        std::fs::write(scratch.path().join("rules.yaml"), RULES).context("cannot write rules")?;
        let itself = std::env::current_exe().context("cannot find this binary")?;
        let mut child = Command::new(itself)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(scratch.path().join("data"))
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .env("BELLWETHER_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start this binary")?;
        let stdout = child.stdout.take().context("its standard output is not ours")?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(ANSWER).build()?;
        let mut subject = Self { child, http: String::new(), api: String::new(), client, _scratch: scratch };
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens any more once it has started.
                let _ = sender.send(line);
            }
        });
        while subject.http.is_empty() || subject.api.is_empty() {
            let line = lines.recv_timeout(START).context("it did not say where it listens")?;
            let after = |prefix: &str| line.trim_start().strip_prefix(prefix).map(|rest| rest.trim().to_owned());
            if let Some(address) = after("OTLP/HTTP") {
                subject.http = address;
            } else if let Some(address) = after("page, REST") {
                subject.api = address;
            }
        }
        Ok(subject)
    }

    /// Sends a request of `signal` (`metrics` or `traces`).
    pub(super) async fn send(&self, signal: &str, body: Vec<u8>) -> anyhow::Result<()> {
        let request = self.client.post(format!("{}/v1/{signal}", self.http));
        let answer = request.header("content-type", "application/x-protobuf").body(body).send().await?;
        anyhow::ensure!(answer.status().is_success(), "OTLP/HTTP answered {}", answer.status());
        Ok(())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.api)).send().await?;
        anyhow::ensure!(answer.status().is_success(), "GET {path} answered {}", answer.status());
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// All anomalies, in the order in which they were said.
    pub(super) async fn anomalies(&self) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut path) = (Vec::new(), "/api/v1/anomalies?limit=1000".to_owned());
        loop {
            let page = self.get(&path).await?;
            all.extend(page["items"].as_array().cloned().unwrap_or_default());
            let Some(cursor) = page["nextCursor"].as_str() else { return Ok(all) };
            path = format!("/api/v1/anomalies?limit=1000&cursor={cursor}");
        }
    }

    /// All alerts that are active.
    pub(super) async fn alerts(&self) -> anyhow::Result<Vec<Value>> {
        Ok(self.get("/api/v1/alerts").await?["data"]["alerts"].as_array().cloned().unwrap_or_default())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Both fail only for a child that has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
