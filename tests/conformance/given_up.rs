//! Senders that do not wait for the answer any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::kit::{
    Answer, Connection, Framing, Route, SECOND, Service, Signal, base_time, eventually, figures, frame, gauge, http1,
    is_full, metrics, point,
};

/// Published series would add to the rows. With a log, requests that were processed in time wait to be on
/// disk before they are answered; here an answer comes with the end of the work.
const QUIET: &str = "durability: memory\ndetect: {publish_every: 1h}";
/// Points in one request: enough that the requests of one round take the service a while.
const POINTS: u64 = 3_000;
/// Requests of one round, all at once; fewer than are let in.
const REQUESTS: u64 = 100;
/// Of those by gRPC; a connection with many resets at once is ended.
const CONNECTIONS: usize = 5;
/// After so many answers the others are given up.
const ANSWERS: u64 = 12;

fn body(round: u32, id: u64) -> Vec<u8> {
    let (round, id) = (round.to_string(), id.to_string());
    let one = |i| point(base_time() + i * SECOND / 1_000, 1.0, &[("round", &round), ("id", &id)]);
    metrics("given.up", vec![gauge("given.up", (0..POINTS).map(one).collect())]).protobuf()
}

/// How many requests were taken and answered, and how many were given up.
async fn round(service: &Service, round: u32) -> (u64, u64) {
    let answered = Arc::new(AtomicU64::new(0));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Arc::new(Connection::open(&service.binary.grpc).await));
    }
    let mut asking = tokio::task::JoinSet::new();
    let bodies: Vec<Vec<u8>> = (0..REQUESTS).map(|id| body(round, id)).collect();
    for (id, body) in bodies.into_iter().enumerate() {
        let (answered, http) = (Arc::clone(&answered), service.binary.http.clone());
        let connection = Arc::clone(&connections[id % CONNECTIONS]);
        asking.spawn(async move {
            let answer = if id.is_multiple_of(2) {
                let call = connection.call(Signal::Metrics.method(), &[("grpc-timeout", "1H")], frame(&body, false));
                Answer::Grpc(call.await.expect("a call is answered"))
            } else {
                let kind = [("content-type", "application/x-protobuf")];
                let path = Signal::Metrics.path();
                Answer::Http(Route::Protobuf, http1(&http, "POST", path, &kind, &body, Framing::Length).await)
            };
            assert!(answer.is_complete(), "{answer:?}");
            answered.fetch_add(1, Ordering::Relaxed);
        });
    }
    while answered.load(Ordering::Relaxed) < ANSWERS {
        asking.join_next().await.expect("there are more of them").expect("no sender fails");
    }
    // Streams are reset and connections closed while the service looks away: it does not matter how
    // quickly this process does it.
    service.process().pause();
    while let Ok(Some(one)) = tokio::time::timeout(Duration::from_millis(200), asking.join_next()).await {
        one.expect("no sender fails");
    }
    asking.abort_all();
    while asking.join_next().await.is_some() {}
    tokio::time::sleep(Duration::from_millis(100)).await;
    service.process().resume();
    let answered = answered.load(Ordering::Relaxed);
    (answered, REQUESTS - answered)
}

// D7
#[tokio::test(flavor = "multi_thread")]
async fn hardly_anything_is_done_for_those_who_have_given_up() {
    let service = Service::start(QUIET);
    let rounds = if is_full() { 40 } else { 2 };
    let (mut all_gone, mut all_dead) = (0, 0);
    for i in 0..rounds {
        let (answered, gone) = round(&service, i).await;
        let idle = eventually(Duration::from_secs(60), || async {
            (service.counted("bellwether_ingest_in_flight_units", &[]).await < 0.5).then_some(())
        });
        idle.await.expect("what is given up stays in flight");
        let stored = format!("count(count_over_time(given_up{{round=\"{i}\"}}[2h]))");
        // Seals come every second.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let stored = service.api.value_of(&stored).await;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "is a count")]
        let dead = (stored as u64).saturating_sub(answered);
        figures(&format!("D7 round {i}: {answered} answered, {gone} gone, {stored} stored"));
        (all_gone, all_dead) = (all_gone + gone, all_dead + dead);
    }
    assert!(all_gone >= u64::from(rounds) * REQUESTS / 2, "only {all_gone} were given up");
    // At the moment when they give up one is at work, some are being read, and one may be answered already;
    // where processors are short, some more follow until the service has looked at its sockets.
    let allowed = if is_full() { all_gone.div_ceil(100) + 4 * u64::from(rounds) } else { all_gone / 10 };
    assert!(all_dead <= allowed, "{all_dead} of {all_gone} requests were processed for nobody");
    let abandoned = service.counted("bellwether_ingest_requests_total", &["outcome=\"abandoned\""]).await;
    figures(&format!("D7 {all_dead} dead of {all_gone}, {abandoned} abandoned"));
    service.assert_healthy().await;
}
