//! Kills, stops and a failing disk, while requests come in.

use std::ffi::OsString;

use crate::{
    is_full,
    kit::has_strace,
    pause,
    service::{Outcome, Service},
};

/// strace with these faults, counted for calls that touch the log only. The service is its parent, so
/// that a kill hits the service.
fn under(service: &Service, faults: &[String]) -> Vec<OsString> {
    let mut words: Vec<OsString> = ["strace", "-D", "-f", "-qq", "-o", "/dev/null"].map(OsString::from).into();
    words.extend(["-e", "trace=fdatasync,fsync,writev,openat,ftruncate"].map(OsString::from));
    let log = service.log();
    let segments = (1..=40).map(|number| log.join(format!("{number:020}.log")));
    for path in segments.chain([log.clone()]) {
        words.extend([OsString::from("-P"), path.into()]);
    }
    for fault in faults {
        words.extend([OsString::from("-e"), OsString::from(format!("inject={fault}"))]);
    }
    words
}

// C1
#[tokio::test]
async fn kill_9_under_load_loses_nothing_that_was_acknowledged() {
    for durability in ["acknowledged", "interval"] {
        let mut service = Service::new(&format!("durability: {durability}"));
        let rounds = if is_full() { 200 } else { 5 };
        for round in 0..rounds {
            service.start();
            let pid = service.binary.as_ref().expect("it was started").pid().to_string();
            service
                .load(async {
                    pause(300 + round * 97 % 700).await;
                    let killed = std::process::Command::new("kill").args(["-9", &pid]).status();
                    assert!(killed.is_ok_and(|status| status.success()));
                    pause(50).await;
                })
                .await;
            service.binary = None;
        }
        service.start();
        assert!(service.count(Outcome::Acknowledged) > 100, "there was load");
        service.settle(durability).await;
    }
}

// C12: senders have threads of their own, so that they go on while the service stops and starts.
#[tokio::test(flavor = "multi_thread")]
async fn restarts_under_load_lose_nothing_of_senders_that_come_again() {
    let mut service = Service::new("");
    service.start();
    let senders = service.persistent();
    for _ in 0..if is_full() { 100 } else { 3 } {
        pause(500).await;
        let pid = service.binary.as_ref().expect("it was started").pid().to_string();
        let asked = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.is_ok_and(|status| status.success()));
        // Fails when it takes more than 30 s.
        let status = service.binary.take().expect("it was started").wait();
        assert!(status.success(), "{status}");
        service.start();
        senders.follow(&service);
    }
    pause(500).await;
    senders.end().await;
    assert!(service.count(Outcome::Acknowledged) > 50, "there was load");
    service.settle("restarts").await;
}

// An orchestrator ends what does not say that it lives.
#[tokio::test(flavor = "multi_thread")]
async fn while_it_starts_it_lives_and_is_not_ready() {
    if !has_strace() {
        return;
    }
    let mut service = Service::new("");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    service.api_address = free.expect("a port is free").to_string();
    service.start();
    service.load(pause(500)).await;
    service.binary.take().expect("it was started").kill();
    let base = format!("http://{}", service.api_address);
    let asked = tokio::spawn(async move {
        let mut answers = Vec::new();
        loop {
            let status = async |path: &str| {
                let answer = reqwest::get(format!("{base}{path}")).await;
                answer.map(|answer| answer.status().as_u16()).unwrap_or_default()
            };
            let answer = (status("/healthz").await, status("/-/ready").await, status("/api/v1/status").await);
            answers.push(answer);
            if answer.1 == 200 {
                return answers;
            }
            pause(50).await;
        }
    });
    // It waits for the disk before it reads its log.
    let faults = ["fdatasync:delay_enter=3000000:when=1".to_owned()];
    let wrapper = under(&service, &faults);
    assert!(tokio::task::block_in_place(|| service.start_through(&wrapper)), "it starts");
    let mut answers = asked.await.expect("asks until it is ready");
    answers.retain(|(alive, ..)| *alive != 0);
    let starting = answers.iter().filter(|answer| **answer == (200, 503, 503)).count();
    assert!(starting >= 5, "{answers:?}");
    assert!(answers.iter().all(|(alive, ..)| *alive == 200), "{answers:?}");
    service.settle("a slow start").await;
}

// C2
#[tokio::test]
async fn a_kill_at_a_call_of_the_log_loses_nothing_that_was_acknowledged() {
    if !has_strace() {
        return;
    }
    let mut service = Service::new("");
    let step = if is_full() { 1 } else { 7 };
    for call in ["fdatasync", "writev", "fsync"] {
        let most = if call == "fsync" { 2 } else { 24 };
        for at in (1..=most).step_by(step) {
            let faults = [format!("{call}:signal=KILL:when={at}")];
            // It may be killed while it starts.
            if service.start_through(&under(&service, &faults)) {
                service.load(pause(1_500)).await;
            }
            service.binary = None;
        }
    }
    service.start();
    assert!(service.count(Outcome::Acknowledged) > 0, "there was load");
    service.settle("kills").await;
}

// C4
#[tokio::test]
async fn a_failed_sync_is_never_a_success_and_the_service_goes_on() {
    if !has_strace() {
        return;
    }
    let mut service = Service::new("");
    let faults = ["fdatasync:error=EIO:when=7+40".to_owned()];
    assert!(service.start_through(&under(&service, &faults)), "it starts");
    service.load(pause(8_000)).await;
    assert!(service.count(Outcome::Refused) > 0, "it failed");
    let acknowledged = service.count(Outcome::Acknowledged);
    service.settle("failed syncs").await;
    service.binary.take().expect("it was started").kill();
    service.start();
    service.settle("failed syncs, then a kill").await;
    service.load(pause(500)).await;
    assert!(service.count(Outcome::Acknowledged) > acknowledged, "it takes requests again");
    service.settle("after that").await;
}

// C5
#[tokio::test]
async fn a_full_disk_refuses_and_takes_again_without_a_restart() {
    if !has_strace() {
        return;
    }
    let mut service = Service::new("");
    let faults = ["writev:error=ENOSPC:when=20..24".to_owned()];
    assert!(service.start_through(&under(&service, &faults)), "it starts");
    service.load(pause(12_000)).await;
    assert!(service.count(Outcome::Refused) > 0, "it was full");
    let acknowledged = service.count(Outcome::Acknowledged);
    service.load(pause(1_000)).await;
    assert!(service.count(Outcome::Acknowledged) > acknowledged, "it takes requests again");
    service.settle("a full disk").await;
    service.binary.take().expect("it was started").kill();
    service.start();
    service.settle("a full disk, then a kill").await;
}
