//! Debian's Alertmanager, alone on a free port.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::api::eventually;

const START: Duration = Duration::from_secs(30);
const CONFIG: &str = "route: {receiver: none}\nreceivers: [{name: none}]\n";

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Alertmanager {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Alertmanager {
    /// `None` where there is none.
    pub(crate) async fn start() -> Option<Self> {
        Self::with(CONFIG).await
    }

    /// With this configuration.
    pub(crate) async fn with(config: &str) -> Option<Self> {
        let probe = Command::new("prometheus-alertmanager").arg("--version").output();
        if !probe.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        drop(free);
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        Some(Self::run(port, directory, config).await)
    }

    async fn run(port: u16, directory: TempDir, text: &str) -> Self {
        let config = directory.path().join("alertmanager.yml");
        std::fs::write(&config, text).expect("the directory is writable");
        let child = spawn(port, &config, directory.path());
        let started = Self { child, port, directory };
        let url = format!("{}/-/ready", started.url());
        let ready = eventually(START, || async { reqwest::get(&url).await.ok().filter(|a| a.status().is_success()) });
        assert!(ready.await.is_some(), "Alertmanager is not ready");
        started
    }

    /// The same, after it was killed and has forgotten everything.
    pub(crate) async fn restarted(mut self) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let port = self.port;
        drop(self);
        Self::run(port, tempfile::tempdir().expect("there is a temporary directory"), CONFIG).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// When the active alerts of this name end, as it knows.
    pub(crate) async fn ends_of(&self, name: &str) -> Vec<String> {
        let url = format!("{}/api/v2/alerts?filter=alertname%3D{name}", self.url());
        let answer = reqwest::get(&url).await.expect("it answers").text().await.expect("the answer has an end");
        let alerts: Vec<Value> = serde_json::from_str(&answer).expect("it answers a list");
        alerts.iter().filter_map(|alert| Some(alert["endsAt"].as_str()?.to_owned())).collect()
    }
}

fn spawn(port: u16, config: &Path, directory: &Path) -> Child {
    Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", directory.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was probed")
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its directory goes after it.
        let _ = &self.directory;
    }
}
