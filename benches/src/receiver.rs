//! What is measured: a process of its own, on a core of its own.

use std::{
    ffi::OsString,
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::Stdio,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::floor::Floor;

/// Before the address in the line that says where a receiver takes OTLP over gRPC.
pub(crate) const ANNOUNCEMENT: &str = "OTLP/gRPC";

/// How the real binary is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Decoding, identity, windows, derived series: without log, detectors and rules.
    Ingest,
    /// The same, answering when a request is on disk.
    Durable,
    /// The same with room for a million series and some.
    Million,
    /// As it comes, but without a log.
    Everything,
}

impl Setting {
    fn config(self) -> String {
        let own = match self {
            Self::Ingest => "durability: memory\ndetect: {enabled: false}\n",
            Self::Durable => "durability: acknowledged\ndetect: {enabled: false}\n",
            Self::Million => "durability: memory\ndetect: {enabled: false}\nwindow: {max_series: 4000000}\n",
            Self::Everything => "durability: memory\n",
        };
        format!("listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}}\n{own}")
    }
}

/// A running receiver.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Of its gRPC door.
    pub(crate) address: SocketAddr,
    /// Of its process.
    pub(crate) pid: u32,
    process: Child,
    directory: Option<TempDir>,
}

impl Receiver {
    /// Starts a floor server, pinned to `core` if one is given.
    pub(crate) async fn floor(floor: Floor, core: Option<u16>) -> Result<Self> {
        let program = std::env::current_exe()?;
        let command = pinned(&program, ["serve-floor".into(), floor.argument().into()], core);
        Self::start(command, None).await.context("the floor server did not start")
    }

    /// Starts the real binary with a data directory of its own, pinned to `core` if one is given.
    pub(crate) async fn bellwether(program: &Path, setting: Setting, core: Option<u16>) -> Result<Self> {
        Self::configured(program, &setting.config(), core, tempfile::tempdir()?).await
    }

    /// The same with this configuration, on what an earlier one has left in `directory`.
    pub(crate) async fn configured(program: &Path, text: &str, core: Option<u16>, directory: TempDir) -> Result<Self> {
        let path = |name| directory.path().join(name);
        let (config, log) = (path("bellwether.yaml"), path("log"));
        fs::write(&config, text)?;
        let arguments: [OsString; 5] =
            ["serve".into(), "--config".into(), config.into(), "--data-dir".into(), path("data").into()];
        let mut command = pinned(program, arguments, core);
        command.stderr(File::create(&log)?).env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
        let started = Self::start(command, Some(directory)).await;
        started.with_context(|| format!("{} did not start", program.display()))
    }

    async fn start(mut command: Command, directory: Option<TempDir>) -> Result<Self> {
        let mut process = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start it (is taskset installed?)")?;
        // taskset becomes the program that it starts, so the process is the receiver's own.
        let pid = process.id().context("it has ended")?;
        let output = process.stdout.take().context("it has no output")?;
        let mut lines = BufReader::new(output).lines();
        let address = loop {
            let line = lines.next_line().await?;
            let Some(line) = line else {
                let log = directory.as_ref().and_then(|d| fs::read_to_string(d.path().join("log")).ok());
                anyhow::bail!("it did not say where it listens: {}", log.unwrap_or_default());
            };
            if let Some(address) = line.trim_start().strip_prefix(ANNOUNCEMENT) {
                break address.trim().parse()?;
            }
        };
        Ok(Self { address, pid, process, directory })
    }

    /// Ends it and waits until it is gone, so that it costs the next one nothing.
    pub(crate) async fn stop(self) -> Result<()> {
        self.kill().await.map(drop)
    }

    /// Ends it as `kill -9` does, and returns its directory.
    pub(crate) async fn kill(mut self) -> Result<Option<TempDir>> {
        self.process.kill().await.context("the receiver had ended by itself")?;
        Ok(self.directory)
    }

    /// Asks it to end, waits until it has, and returns its directory.
    pub(crate) async fn terminate(mut self) -> Result<Option<TempDir>> {
        let asked = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().await?;
        anyhow::ensure!(asked.success(), "the receiver had ended by itself");
        let status = self.process.wait().await?;
        anyhow::ensure!(status.success(), "the receiver ended with {status}");
        Ok(self.directory)
    }

    /// Bytes of its data directory.
    pub(crate) fn bytes_on_disk(&self) -> Result<u64> {
        self.directory.as_ref().map_or(Ok(0), |directory| bytes_in(&directory.path().join("data")))
    }
}

/// Bytes of all files below `directory`.
fn bytes_in(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_directory = entry.file_type()?.is_dir();
        bytes += if is_directory { bytes_in(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn pinned<const N: usize>(program: &Path, arguments: [OsString; N], core: Option<u16>) -> Command {
    let mut command = match core {
        None => Command::new(program),
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(program);
            command
        }
    };
    command.args(arguments);
    command
}
