//! Who sends far more than others is known by address, whoever else sends.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use crate::kit::{Payload, Service, Signal, eventually};

/// Sends `count` requests over one connection from the loopback address 127.0.0.`host`.
async fn send_from(service: &Service, host: u8, count: usize) {
    let body = Payload::one(Signal::Metrics, "jobs").protobuf();
    let to: SocketAddr = service.binary.http.trim_start_matches("http://").parse().expect("is an address");
    let socket = TcpSocket::new_v4().expect("can be made");
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).expect("Linux has all of 127.0.0.0/8");
    let mut stream = socket.connect(to).await.expect("the door is open");
    let head = format!(
        "POST /v1/metrics HTTP/1.1\r\nhost: c\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // All at once, so that a slow machine does not stretch them over more time than is looked at.
    stream.write_all(&[head.as_bytes(), &body].concat().repeat(count)).await.expect("takes them");
    let (mut answers, mut part) = (Vec::new(), vec![0; 65_536]);
    while answers.windows(9).filter(|window| *window == b"HTTP/1.1 ").count() < count {
        let length = stream.read(&mut part).await.expect("answers");
        assert!(length > 0, "ended before all was answered");
        answers.extend_from_slice(&part[..length]);
    }
}

// D11
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_sends_far_more_than_others_is_shown_with_its_score() {
    let service = Service::start("durability: memory");
    let shown = eventually(Duration::from_secs(60), || async {
        send_from(&service, 66, 300).await;
        futures_util::future::join_all((10..30).map(|host| send_from(&service, host, 1))).await;
        let status = service.api.get("/api/v1/status").await;
        let sources = status["sources"].as_array().cloned().unwrap_or_default();
        (sources.len() >= 15).then_some(sources)
    });
    let sources = shown.await.expect("the heaviest are shown");
    assert_eq!(sources[0]["address"], "127.0.0.66", "{sources:?}");
    let scores: Vec<f64> = sources.iter().filter_map(|source| source["score"].as_f64()).collect();
    assert!(scores[0] > 1.0 && scores[1..].iter().all(|score| *score < 0.1), "{scores:?}");
    let above = service.counted("bellwether_ingest_sources_above_limit", &[]).await;
    assert!((above - 1.0).abs() < 1e-9, "{above}");
}
