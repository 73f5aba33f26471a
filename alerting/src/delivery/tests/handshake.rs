//! Endpoints that have to agree before they are told anything.

use super::*;
use crate::{Handshake, Secret, Webhook, WebhookFormat};

/// A receiver of CloudEvents that is asked first, for so many in a minute.
fn asked(url: &str, rate: Option<u32>) -> Receiver {
    let webhook = Webhook {
        authorization: Some(Secret::new("Bearer t0ken")),
        format: WebhookFormat::CloudEvents,
        handshake: Some(Handshake::new("bw.example.com", rate).expect("is valid")),
        ..Webhook::to(WebhookUrl::parse(url).expect("is valid"))
    };
    Receiver::new("ops", vec![Integration::new("webhook/0", Target::Webhook(webhook))]).expect("is valid")
}

fn consents(rate: &str) -> Answer {
    status(200, &format!("allow: POST\r\nwebhook-allowed-origin: bw.example.com\r\n{rate}"), "")
}

#[tokio::test]
async fn nothing_is_sent_before_consent_and_consent_is_remembered() {
    let answers = [
        status(200, "allow: GET, POST, OPTIONS\r\n", "welcome"),
        status(204, "webhook-allowed-origin: other.example.com\r\n", ""),
        status(405, "", ""),
        consents("webhook-allowed-rate: *\r\n"),
        status(503, "", ""),
    ];
    let mut sink = Sink::answering(answers).await;
    let mut service = Service::start(vec![asked(&sink.url, Some(120))], &quick());
    service.record(&[fired("e1")]);
    for turn in 1..=4 {
        let request = sink.request().await;
        assert!(request.head.starts_with("OPTIONS /hook HTTP/1.1\r\n"), "{turn}: {}", request.head);
        assert_eq!(request.header("webhook-request-origin"), "bw.example.com");
        assert_eq!((request.header("webhook-request-rate"), request.header("authorization")), ("120", ""));
    }
    let (first, again) = (sink.request().await, sink.request().await);
    for request in [&first, &again] {
        assert!(request.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", request.head);
        assert_eq!(request.header("webhook-request-origin"), "bw.example.com");
        assert_eq!(request.header("content-type"), "application/cloudevents+json; charset=utf-8");
        assert_eq!(request.body["id"], request.header("webhook-id"));
        assert_eq!(request.body["data"]["alerts"][0]["bellwether"]["episode"], "e1");
    }
    assert_eq!(first.body, again.body, "the event is the same in each attempt");
    let delivered = service.settled().await;
    assert_eq!((delivered[0].state, delivered[0].attempts), (DeliveryState::Delivered, 5));
    service.record(&[resolved("e1")]);
    let last = sink.request().await;
    assert!(last.head.starts_with("POST ") && last.body["type"] == "bellwether.alerts.resolved", "{last:?}");
    service.settled().await;
    assert!(sink.is_quiet());
}

#[tokio::test]
async fn without_consent_the_notification_stays_pending_and_says_why() {
    let refusal = status(200, "retry-after: 1800\r\n", "");
    let mut sink = Sink::answering([refusal]).await;
    let before = clock::now();
    let mut service = Service::start(vec![asked(&sink.url, None)], &quick());
    service.record(&[fired("e1")]);
    assert_eq!(sink.request().await.header("webhook-request-rate"), "", "nothing is asked for");
    let waiting = service.deliveries(|all| all[0].attempts == 1).await;
    assert_eq!((waiting[0].state, waiting[0].last_status), (DeliveryState::Pending, Some(200)));
    assert!(waiting[0].next_attempt_at.expect("is pending").since(before) >= Duration::from_mins(30));
    let error = waiting[0].last_error.as_deref().unwrap_or_default();
    assert_eq!(error, "has not consented: its answer to OPTIONS, 200 OK, has no WebHook-Allowed-Origin");
    assert!(sink.is_quiet());
}

#[tokio::test]
async fn no_more_is_sent_in_a_minute_than_was_allowed() {
    // What it allows counts, and what was asked for where that is less.
    for (asks, allows) in [
        (None, "webhook-allowed-rate: 2\r\n"),
        (Some(600), "webhook-allowed-rate: 2\r\n"),
        (Some(2), "webhook-allowed-rate: 600\r\n"),
        (Some(2), ""),
    ] {
        let mut sink = Sink::answering([consents(allows)]).await;
        let mut service = Service::start(vec![asked(&sink.url, asks)], &quick());
        service.record(&["e1", "e2", "e3", "e4", "e5"].map(fired));
        let methods = [sink.request().await, sink.request().await, sink.request().await];
        let methods = methods.map(|request| request.head.split(' ').next().unwrap_or_default().to_owned());
        assert_eq!(methods, ["OPTIONS", "POST", "POST"]);
        service.deliveries(|all| all.iter().filter(|d| d.state == DeliveryState::Delivered).count() == 2).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(sink.is_quiet(), "{asks:?} {allows}");
    }
}

#[tokio::test]
async fn the_inside_is_not_even_asked() {
    let mut sink = Sink::answering([]).await;
    let destinations = Destinations { allow_loopback: false, ..Destinations::default() };
    let config = DeliveryConfig { destinations, ..quick() };
    let mut service = Service::start(vec![asked(&sink.url.replace("127.0.0.1", "localhost"), None)], &config);
    service.record(&[fired("e1")]);
    let tried = service.deliveries(|all| all[0].attempts > 0).await;
    assert!(tried[0].last_error.as_ref().is_some_and(|error| error.contains("is not a public address")), "{tried:?}");
    assert!(sink.is_quiet());
}
