//! A question put to a worker, from the service's side.
//!
//! Whoever waits for [`Workers::answer`] owns the worker: when the asker leaves, the future is dropped and the
//! worker killed with it, whatever it is doing.

use std::{ffi::OsString, process::Stdio, sync::Arc, time::Duration};

use alerting::LedgerError;
use detect::UnixNanos;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
    task::spawn_blocking,
};

use super::{
    protocol::{Ask, END, Format, Reply, Span, frame, line},
    source::{Pieces, SourceError},
};
use crate::faces::Face;

/// Questions that are worked on at the same time.
const WORKERS: usize = 2;
/// Bytes that a worker may allocate.
const MEMORY: u64 = 1 << 30;
/// Bytes of rows that a statement may read.
const INPUT: usize = 256 << 20;
/// Bytes of values in an answer.
const ANSWER: usize = 16 << 20;
/// The same written down: text may be longer than what it stands for.
const WRITTEN: u64 = 128 << 20;
/// The longest line that a worker may say.
const LINE: u64 = 1 << 20;
/// What a dying worker may say.
const LAST_WORDS: u64 = 4 << 10;
/// Threads of a worker.
const THREADS: usize = 4;

/// A statement and the bounds on it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) query: String,
    pub(crate) format: Format,
    /// Rows to answer.
    pub(crate) limit: usize,
    /// How long it may take.
    pub(crate) timeout: Duration,
    /// Rows from this time on.
    pub(crate) from: Option<UnixNanos>,
    /// Rows up to this time.
    pub(crate) to: Option<UnixNanos>,
}

/// The rows, in the form that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) rows: usize,
    /// Whether there would have been more.
    pub(crate) truncated: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The statement is refused, or cannot be run.
    Query(String),
    /// It would take, or took, more than it may.
    Cost { parameter: &'static str, detail: String },
    /// All workers are busy.
    Busy,
    /// The ledger cannot be read.
    Ledger(LedgerError),
    /// A fault of ours, or of the system.
    Broken(String),
}

/// How many workers there may be.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    turns: Arc<Semaphore>,
}

impl Default for Workers {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(WORKERS)) }
    }
}

impl Workers {
    /// Answers `question` from what a tenant sees.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn answer(&self, question: Question, face: &Face) -> Result<Answer, Failure> {
        let _turn = self.turns.try_acquire().map_err(|_| Failure::Busy)?;
        let timeout = question.timeout;
        let mut worker = Worker::start()?;
        let answered = tokio::time::timeout(timeout, worker.exchange(&question, face)).await;
        match answered {
            Err(_) => Err(took_too_long(timeout)),
            Ok(Err(Ended::Failure(failure))) => Err(failure),
            Ok(Err(Ended::Worker(fault))) => Err(worker.post_mortem(&fault, timeout).await),
            Ok(Ok(answer)) => Ok(answer),
        }
    }
}

fn took_too_long(timeout: Duration) -> Failure {
    let seconds = timeout.as_secs_f64();
    Failure::Cost { parameter: "timeout", detail: format!("the statement took longer than {seconds} s, the limit") }
}

/// Why an exchange ended.
enum Ended {
    Failure(Failure),
    /// The worker does not answer any more.
    Worker(String),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Worker(error.to_string())
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::TooMuch(detail) => Self::Cost { parameter: "query", detail },
            SourceError::Ledger(error) => Self::Ledger(error),
            SourceError::Arrow(error) => Self::Broken(error.to_string()),
        }
    }
}

/// A process that answers one question. Killed when dropped.
struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

impl Worker {
    fn start() -> Result<Self, Failure> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS));
        let mut command = Command::new(ourselves()?);
        command
            .arg0("bellwether")
            .arg("sql-worker")
            // Nothing of the service's environment, which may have secrets in it.
            .env_clear()
            .env("POLARS_MAX_THREADS", threads.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| broken(format!("a worker cannot be started: {error}")))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(broken("a worker has no pipes")) };
        Ok(Self { child, stdin: Some(stdin), stdout: BufReader::new(stdout), stderr })
    }

    async fn exchange(&mut self, question: &Question, face: &Face) -> Result<Answer, Ended> {
        let snapshot = face.view().snapshot.clone();
        let ask = ask(question, snapshot.floor);
        self.write(&line(&ask)).await?;
        let needs = match self.reply().await? {
            Reply::Needs(needs) => needs,
            Reply::Refused(detail) => return Err(Failure::Query(detail).into()),
            Reply::Done { .. } => return Err(broken("a worker answered without rows").into()),
        };
        let ledger = face.ledger.clone();
        let gathered = spawn_blocking(move || Pieces::gather(&needs, &snapshot, &ledger, ask.span, INPUT));
        let pieces = gathered.await.map_err(|_| broken("the service is shutting down"))?.map_err(Failure::from)?;
        for (part, rows) in pieces.list {
            let framed = spawn_blocking(move || frame(part, &rows)).await;
            let framed = framed.map_err(|_| broken("the service is shutting down"))?;
            self.write(&framed.map_err(|error| Failure::Broken(error.to_string()))?).await?;
        }
        self.write(&END).await?;
        self.stdin = None;
        match self.reply().await? {
            Reply::Done { rows, truncated } => {
                let mut bytes = Vec::new();
                (&mut self.stdout).take(WRITTEN).read_to_end(&mut bytes).await?;
                if bytes.len() as u64 == WRITTEN {
                    return Err(broken("a worker answered more than it may").into());
                }
                let status = self.child.wait().await?;
                if !status.success() {
                    return Err(Ended::Worker("it ended while it answered".into()));
                }
                Ok(Answer { rows, truncated, bytes })
            }
            Reply::Refused(detail) => Err(Failure::Query(detail).into()),
            Reply::Needs(_) => Err(broken("a worker asked twice").into()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        match &mut self.stdin {
            Some(stdin) => Ok(stdin.write_all(bytes).await?),
            None => Err(broken("a worker is written to that has been told all").into()),
        }
    }

    async fn reply(&mut self) -> Result<Reply, Ended> {
        let mut line = Vec::new();
        (&mut self.stdout).take(LINE).read_until(b'\n', &mut line).await?;
        serde_json::from_slice(&line).map_err(|error| Ended::Worker(error.to_string()))
    }

    /// What to say of a worker that has ended before its time.
    async fn post_mortem(&mut self, fault: &str, timeout: Duration) -> Failure {
        use std::os::unix::process::ExitStatusExt;
        const SIGXCPU: i32 = 24;
        self.stdin = None;
        let mut last_words = Vec::new();
        // It is dead, or about to be; what it has not said by now does not matter.
        let mut stderr = (&mut self.stderr).take(LAST_WORDS);
        let _ = tokio::time::timeout(Duration::from_secs(1), stderr.read_to_end(&mut last_words)).await;
        let _ = self.child.start_kill();
        let status = self.child.wait().await.ok();
        let last_words = String::from_utf8_lossy(&last_words);
        if last_words.contains("memory allocation of") {
            let detail = format!("the statement needs more than {} MiB of memory, the limit", MEMORY >> 20);
            return Failure::Cost { parameter: "query", detail };
        }
        if last_words.contains("overflowed its stack") {
            return Failure::Query("the statement nests too deeply".into());
        }
        let signal = status.and_then(|status| status.signal());
        if signal == Some(SIGXCPU) {
            return took_too_long(timeout);
        }
        tracing::warn!(fault, ?status, %last_words, "a statement ended its worker");
        let detail = "the statement ended its worker in an unforeseen way; the log says more".to_owned();
        Failure::Cost { parameter: "query", detail }
    }
}

fn broken(what: impl Into<String>) -> Failure {
    Failure::Broken(what.into())
}

/// This binary. On Linux under a name that stays right when the file is replaced while it runs.
fn ourselves() -> Result<OsString, Failure> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    let path = std::env::current_exe().map_err(|error| broken(format!("this binary is not found: {error}")))?;
    Ok(path.into())
}

fn ask(question: &Question, floor: UnixNanos) -> Ask {
    let span = Span {
        floor: floor.0,
        from: question.from.map_or(i64::MIN, |time| time.0),
        to: question.to.map_or(i64::MAX, |time| time.0),
    };
    Ask {
        query: question.query.clone(),
        format: question.format,
        span,
        limit: question.limit,
        answer_bytes: ANSWER,
        memory: MEMORY,
        // All its threads for all its time, and a little for the start.
        cpu_seconds: (question.timeout.as_secs() + 2) * THREADS as u64,
    }
}
