//! Signs of life stop when a part of what they vouch for does: each is stopped in turn while the process lives on.

use std::{
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Setup, skipped, works};
use crate::{binary::Binary, sink::Sink};

/// Time from one sign of life to the next.
const INTERVAL: Duration = Duration::from_secs(2);

/// Threads that are held at their next system call, until this is dropped.
struct Held(Child);

impl Held {
    /// Those of `binary` with this name.
    fn threads(binary: &Binary, name: &str) -> Self {
        let tasks = format!("/proc/{}/task", binary.pid());
        let ids: Vec<String> = std::fs::read_dir(&tasks)
            .expect("it runs")
            .filter_map(|task| task.ok()?.file_name().into_string().ok())
            .filter(|id| {
                let is_name = |comm: String| comm.trim_end() == name;
                std::fs::read_to_string(Path::new(&tasks).join(id).join("comm")).is_ok_and(is_name)
            })
            .collect();
        assert!(!ids.is_empty(), "there is no thread {name}");
        let mut command = Command::new("strace");
        // Longer than any test waits; those that are not named go on.
        command.args(["-qq", "-e", "trace=all", "-e", "inject=all:delay_enter=600s", "-o", "/dev/null"]);
        for id in &ids {
            command.args(["-p", id]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut held = Self(child.expect("was probed"));
        // Attached once the kernel names its tracer.
        let is_traced = |id: &String| {
            let status = std::fs::read_to_string(format!("{tasks}/{id}/status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        let began = Instant::now();
        while !ids.iter().all(is_traced) {
            assert!(began.elapsed() < super::PATIENCE, "{}", held.said());
            std::thread::sleep(Duration::from_millis(10));
        }
        held
    }

    fn said(&mut self) -> String {
        let _ = self.0.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Whatever it was, it ends with the binary.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A binary that says that it is alive, and has said so twice.
async fn alive() -> (Setup, Sink, Binary) {
    let mut sink = Sink::listen(200).await;
    let setup = Setup::new(&format!(
        "receivers: [{{name: dead-man, webhook_configs: [{{url: '{}'}}]}}]\nheartbeat: {{receiver: dead-man, interval: {}s}}\n",
        sink.url(),
        INTERVAL.as_secs()
    ));
    let binary = setup.start();
    for _ in 0..2 {
        sink.request().await;
    }
    (setup, sink, binary)
}

/// Whether nothing comes any more once two intervals have passed.
async fn stops(sink: &mut Sink) -> bool {
    tokio::time::sleep(2 * INTERVAL).await;
    sink.everything();
    tokio::time::sleep(3 * INTERVAL).await;
    sink.is_quiet()
}

// B11
#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_stop_with_whichever_part_stops() {
    if !works(Command::new("strace").args(["-e", "inject=all:delay_enter=1us", "true"])) {
        return skipped("strace, or the right to use it");
    }
    // The log keeps the time; the pipeline detects and records; the others take telemetry in and send notifications.
    let threads = ["log", "pipeline", "tokio-rt-worker"];
    let of = |name: &'static str| async move {
        let (_setup, mut sink, binary) = alive().await;
        let held = tokio::task::block_in_place(|| Held::threads(&binary, name));
        let stopped = stops(&mut sink).await;
        // The other way round its end would wait for the one who holds it.
        drop(held);
        binary.kill();
        assert!(stopped, "it says that it is alive without its {name}");
    };
    tokio::join!(of(threads[0]), of(threads[1]), of(threads[2]));
}

/// The system gives the process no more files, so that no sender gets in, while what is open goes on.
// B11
#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_stop_when_no_telemetry_can_come_in() {
    if !works(Command::new("prlimit").args(["--pid", &std::process::id().to_string(), "--nofile"])) {
        return skipped("prlimit");
    }
    let (_setup, mut sink, binary) = alive().await;
    let files = |limit: &str| {
        let limit = format!("--nofile={limit}");
        works(Command::new("prlimit").args(["--pid", &binary.pid().to_string(), &limit]))
    };
    assert!(files("3:"));
    // Somebody who wants to come in, so that the door finds out; it waits in the system's queue.
    let address = binary.http.trim_start_matches("http://").to_owned();
    let _sender = tokio::net::TcpStream::connect(&address).await.expect("the system takes it");
    assert!(stops(&mut sink).await, "it says that it is alive");
    assert!(binary.log().contains("no sign of life is sent: a door takes no connections"), "{}", binary.log());
    assert!(files("1024:"));
    sink.request().await;
    assert!(binary.stop().success());
}
