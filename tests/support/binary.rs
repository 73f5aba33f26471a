//! The real binary as a child process, on free ports.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// How long it may take until the start-up lines have been printed.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take to drain after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running `bellwether serve`. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Binary {
    child: Child,
    /// OTLP/gRPC, `http://host:port`.
    pub(crate) grpc: String,
    /// OTLP/HTTP, `http://host:port`.
    pub(crate) http: String,
    /// REST, `http://host:port`.
    pub(crate) api: String,
    log: Arc<Mutex<String>>,
}

impl Binary {
    /// Starts it with `arguments` (whose configuration should name port 0) and waits until it has
    /// said where it listens.
    pub(crate) fn start(arguments: &[&OsStr]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts it on free ports with `settings` besides, in `directory`, where its configuration and data are from then on.
    pub(crate) fn start_in(directory: &Path, settings: &str) -> Self {
        let (config, data) = (directory.join("bellwether.yaml"), directory.join("data"));
        let listen = "listen: {grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '127.0.0.1:0'}";
        std::fs::write(&config, format!("{listen}\n{settings}")).expect("the directory is writable");
        Self::start(&[OsStr::new("--config"), config.as_os_str(), OsStr::new("--data-dir"), data.as_os_str()])
    }

    /// As [`Self::start`], with these variables in its environment.
    pub(crate) fn start_with(arguments: &[&OsStr], environment: &[(&str, &str)]) -> Self {
        let (mut binary, lines) = Self::spawn(Command::new(env!("CARGO_BIN_EXE_bellwether")), arguments, environment);
        assert!(binary.listens(&lines), "it did not say where it listens:\n{}", binary.log());
        binary
    }

    /// The same through another program, given with its arguments, that becomes the binary; `None` when
    /// it ends before it listens.
    pub(crate) fn start_through(wrapper: &[OsString], arguments: &[&OsStr]) -> Option<Self> {
        let (program, options) = wrapper.split_first()?;
        let mut command = Command::new(program);
        command.args(options).arg(env!("CARGO_BIN_EXE_bellwether"));
        let (mut binary, lines) = Self::spawn(command, arguments, &[]);
        binary.listens(&lines).then_some(binary)
    }

    /// The process, and the lines that it prints.
    fn spawn(
        mut command: Command,
        arguments: &[&OsStr],
        environment: &[(&str, &str)],
    ) -> (Self, mpsc::Receiver<String>) {
        let mut child = command
            .args(arguments)
            // What the developer has set must not decide what is tested.
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cargo has built the binary");
        let log = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = mpsc::channel();
        let stdout = child.stdout.take().expect("stdout is piped");
        follow(stdout, Arc::clone(&log), move |line| {
            // Nobody listens any more once the start-up lines have been read.
            let _ = sender.send(line.to_owned());
        });
        let stderr = child.stderr.take().expect("stderr is piped");
        follow(stderr, Arc::clone(&log), |_| {});
        (Self { child, grpc: String::new(), http: String::new(), api: String::new(), log }, lines)
    }

    /// Reads where it listens; whether it says so.
    fn listens(&mut self, lines: &mpsc::Receiver<String>) -> bool {
        let deadline = Instant::now() + START_LIMIT;
        while self.grpc.is_empty() || self.http.is_empty() || self.api.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else { return false };
            let after = |prefix: &str| line.trim_start().strip_prefix(prefix).map(|rest| rest.trim().to_owned());
            if let Some(address) = after("OTLP/gRPC") {
                self.grpc = format!("http://{address}");
            } else if let Some(address) = after("OTLP/HTTP") {
                self.http = address;
            } else if let Some(address) = after("page, REST") {
                self.api = address;
            }
        }
        true
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// What it has printed so far, for messages of failed assertions.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it as `kill -9` does: nothing can be finished or written any more.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub(crate) fn stop(self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().expect("every Unix has kill");
        assert!(asked.success(), "it was not running any more:\n{}", self.log());
        self.wait()
    }

    /// Waits until it has ended, for as long as it may take to drain.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not stop:\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // Both fail only for a child that has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `stream` to its end on a thread of its own, so that the child never waits for us.
fn follow(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>, mut on_line: impl FnMut(&str) + Send + 'static) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            on_line(&line);
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
        }
    });
}
