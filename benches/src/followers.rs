//! What it takes to tell many followers of a level, and to answer many who ask for flags.
//!
//! Followers are plain connections that read until they have seen a level. The level is changed by a pin, whose
//! time includes writing it to the ledger and putting it in force. Those who ask send the entity tag that they have.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use crate::{cpu, receiver::Receiver};

/// Connections that are being made at the same time.
const OPENING: usize = 64;
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts `program` as it comes, with its interface where nobody else listens.
async fn start(program: &Path, core: Option<u16>) -> Result<(Receiver, SocketAddr)> {
    let api = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    // It is to say what it can, not what it may.
    let limit = "evaluations_per_second: 100000000";
    let config = format!("listen: {{grpc: '127.0.0.1:0', http: '127.0.0.1:0', api: '{api}', {limit}}}\n");
    let receiver = Receiver::configured(program, &config, core, tempfile::tempdir()?).await?;
    Ok((receiver, api))
}

/// Connects `followers` to the level's stream of `program` and prints how long a change takes to reach all.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) async fn tell(program: &Path, followers: u16) -> Result<()> {
    let (receiver, api) = start(program, None).await?;
    let before = cpu::resident_memory_of(receiver.pid)?;
    let (heard, mut hears) = mpsc::channel(usize::from(followers.max(1)));
    let opening = Arc::new(Semaphore::new(OPENING));
    let mut all = JoinSet::new();
    for _ in 0..followers {
        all.spawn(follow(api, Arc::clone(&opening), heard.clone()));
    }
    let mut counted = async |level| {
        for _ in 0..followers {
            let hears = tokio::time::timeout(PATIENCE, hears.recv()).await;
            let (got, _) = hears.context("a follower heard nothing")?.context("all followers have ended")?;
            ensure!(got == level, "heard level {got}, expected {level}");
        }
        anyhow::Ok(())
    };
    let began = Instant::now();
    counted(0).await?;
    println!("{followers} followers connected in {:.2} s", began.elapsed().as_secs_f64());
    let memory = cpu::resident_memory_of(receiver.pid)?.saturating_sub(before);
    println!("resident memory of the service grew by {} bytes for each", memory / u64::from(followers.max(1)));
    for level in [2, 3, 1] {
        let spent = cpu::time_of(receiver.pid)?;
        let began = Instant::now();
        pin(api, level).await?;
        let answered = began.elapsed();
        counted(level).await?;
        let told = began.elapsed();
        let spent = cpu::time_of(receiver.pid)?.saturating_sub(spent);
        println!(
            "level {level}: the pin was answered after {:.0} ms, all had it after {:.0} ms, CPU {:.0} ms",
            answered.as_secs_f64() * 1e3,
            told.as_secs_f64() * 1e3,
            spent.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

/// One who follows, and says each level that it hears.
async fn follow(api: SocketAddr, opening: Arc<Semaphore>, heard: mpsc::Sender<(u8, Instant)>) -> Result<()> {
    let place = opening.acquire().await?;
    let mut stream = TcpStream::connect(api).await?;
    stream.write_all(b"GET /api/v1/degradation/stream HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    let (mut read, mut text) = (vec![0; 4096], Vec::new());
    let mut place = Some(place);
    loop {
        let size = stream.read(&mut read).await?;
        ensure!(size > 0, "the stream has ended");
        text.extend_from_slice(&read[..size]);
        // Each event ends with an empty line, as does the head.
        while let Some(end) = find(&text, b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            let Some(at) = find(&event, b"\"level\":") else { continue };
            drop(place.take());
            heard.send((event[at + 8] - b'0', Instant::now())).await?;
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

async fn pin(api: SocketAddr, level: u8) -> Result<()> {
    let body = format!("{{\"level\":{level},\"author\":\"load\",\"reason\":\"load\",\"expiresAt\":{}}}", soon());
    let mut stream = TcpStream::connect(api).await?;
    let head = format!(
        "PUT /api/v1/degradation/pin HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "the pin was refused: {answer}");
    Ok(())
}

/// Unix seconds an hour from now.
fn soon() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() + 3_600
}

/// Asks `program`, pinned to `core`, for all flags over `connections` for `time`, with the tag that it gave.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) async fn ask(program: &Path, core: Option<u16>, connections: usize, time: Duration) -> Result<()> {
    let (receiver, api) = start(program, core).await?;
    pin(api, 2).await?;
    let first = exchange(&mut TcpStream::connect(api).await?, &question("")).await?;
    let tag = first.lines().find_map(|line| line.strip_prefix("etag: ")).context("there is no entity tag")?;
    let question = Arc::new(question(&format!("if-none-match: {tag}\r\n")));
    let spent = cpu::time_of(receiver.pid)?;
    let began = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..connections {
        let question = Arc::clone(&question);
        all.spawn(async move {
            let mut stream = TcpStream::connect(api).await?;
            let mut answers = 0_u32;
            while began.elapsed() < time {
                let head = exchange(&mut stream, &question).await?;
                ensure!(head.starts_with("HTTP/1.1 304"), "expected 304, got {head}");
                answers += 1;
            }
            anyhow::Ok(answers)
        });
    }
    let mut answers = 0;
    while let Some(done) = all.join_next().await {
        answers += done??;
    }
    let (took, spent) = (began.elapsed(), cpu::time_of(receiver.pid)?.saturating_sub(spent));
    ensure!(answers > 0 && !spent.is_zero(), "nothing was answered");
    let each = spent.div_f64(f64::from(answers));
    let in_a_second = |time: Duration| f64::from(answers) / time.as_secs_f64();
    println!(
        "{:.0} answers of 304 a second, {each:.1?} of CPU each: {:.0} a second of CPU",
        in_a_second(took),
        in_a_second(spent)
    );
    Ok(())
}

fn question(header: &str) -> String {
    let body = "{\"context\":{\"targetingKey\":\"web-1\",\"service\":{\"name\":\"checkout\"}}}";
    format!(
        "POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{header}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a question and reads the head of its answer, and what comes with it.
async fn exchange(stream: &mut TcpStream, question: &str) -> Result<String> {
    stream.write_all(question.as_bytes()).await?;
    let (mut read, mut text) = (vec![0; 4096], Vec::new());
    while find(&text, b"\r\n\r\n").is_none() {
        match stream.read(&mut read).await? {
            0 => bail!("the connection has ended"),
            size => text.extend_from_slice(&read[..size]),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
