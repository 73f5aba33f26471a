//! Binding and ending.

use http::Request;

use super::*;
use crate::fake::{self, Service};

#[tokio::test]
async fn a_taken_address_is_named_and_nothing_else_is_held() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is always free");
    let address = taken.local_addr().expect("is bound");
    let config = Config { http_listen: address, ..fake::config() };
    let error = Receivers::bind(&config).await.expect_err("the address is taken");
    let ReceiverError::Bind(error) = error else { unreachable!("no certificates are configured: {error}") };
    assert_eq!((error.address, error.transport), (address, Transport::Http));
    assert!(error.to_string().starts_with(&format!("cannot listen on {address} for OTLP/http: ")), "{error}");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let (queue, mut submissions) = Queue::new(1 << 20, fake::nothing_known());
    let service = Service::start_with(queue).await;
    let request = Request::post("/v1/metrics").header("content-type", "application/x-protobuf");
    let sending = tokio::spawn(fake::http(service.http, request.body(fake::metrics(1, 0)).expect("is a request")));
    let submission = submissions.recv().await.expect("the request arrives");
    service.stop.send(()).expect("the service runs");
    while tokio::net::TcpStream::connect(service.http).await.is_ok() {
        tokio::task::yield_now().await;
    }
    submission.reply.send(Ok(crate::Rejections::default())).expect("someone waits");
    assert_eq!(sending.await.expect("no panic").status.as_u16(), 200);
    service.running.await.expect("no panic");
    assert!(submissions.recv().await.is_none(), "the queue's last sender is gone");
}

#[tokio::test]
async fn a_stopped_pipeline_is_unavailable() {
    let (queue, submissions) = Queue::new(1 << 20, fake::nothing_known());
    drop(submissions);
    let service = Service::start_with(queue).await;
    let request = Request::post("/v1/logs").header("content-type", "application/x-protobuf");
    let answer = fake::http(service.http, request.body(fake::logs(1, 0)).expect("is a request")).await;
    assert_eq!(answer.status.as_u16(), 503);
}

#[test]
fn defaults_are_the_standard_ports_on_this_machine_only() {
    let config = Config::default();
    assert_eq!(config.grpc_listen.to_string(), "127.0.0.1:4317");
    assert_eq!(config.http_listen.to_string(), "127.0.0.1:4318");
    assert_eq!(config.max_request_bytes, 64 << 20);
}

mod slow;
mod tls;
