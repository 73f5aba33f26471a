//! Delivery with other nodes that may have told something.

use super::*;
use crate::Cluster;

/// Nodes at these addresses behind this one, which waits for `before` others.
fn among(others: &[&str], before: usize) -> DeliveryConfig {
    patient(others, before, Duration::from_secs(1))
}

/// The same with another time for each of them.
fn patient(others: &[&str], before: usize, peer_timeout: Duration) -> DeliveryConfig {
    let mut all: Vec<WebhookUrl> =
        others.iter().map(|url| WebhookUrl::parse(url.trim_end_matches("/hook")).expect("is valid")).collect();
    all.insert(before, WebhookUrl::parse("http://this.invalid").expect("is valid"));
    let cluster = Cluster::new(&all, before, peer_timeout, Some(crate::Secret::new("Bearer t0ken")));
    DeliveryConfig { cluster: Some(cluster.expect("is one")), tenant: "acme".into(), ..quick() }
}

fn says(answer: &str) -> Answer {
    status(200, "", answer)
}

#[tokio::test]
async fn what_a_peer_has_told_is_not_told_again_and_is_written_down_so() {
    let (mut peer, mut sink) = (Sink::answering([says(r#"{"told": true}"#)]).await, Sink::answering([]).await);
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &among(&[&peer.url], 0));
    service.record(&[fired("e1")]);
    let asked = peer.request().await;
    assert!(asked.head.starts_with("POST /api/v1/peers/told HTTP/1.1\r\n"), "{}", asked.head);
    assert_eq!((asked.header("authorization"), asked.header("x-scope-orgid")), ("Bearer t0ken", "acme"));
    let delivered = service.settled().await;
    assert_eq!((&asked.body["id"], &asked.body["receiver"]), (&delivered[0].id.as_str().into(), &"ops".into()));
    assert_eq!((&asked.body["alerts"][0]["announced"], &asked.body["position"]), (&"firing".into(), &0.into()));
    assert_eq!(delivered[0].told_by.as_deref(), Some(peer.url.trim_end_matches("/hook")));
    assert_eq!((delivered[0].state, delivered[0].attempts), (DeliveryState::Delivered, 0));
    assert!(sink.is_quiet());
    let counters = service.deliverer.counters();
    assert_eq!((counters.told_by_peers(), counters.delivered(), counters.failed_questions()), (1, 0, 0));
}

#[tokio::test]
async fn whoever_does_not_say_yes_in_time_has_not_told_it() {
    for answer in [
        says(r#"{"told": false}"#),
        says(r#"{"told": "true"}"#),
        says("true"),
        says(&format!(r#"{{"x": "{}", "told": true}}"#, "x".repeat(1 << 20))),
        status(401, "", r#"{"told": true}"#),
        status(302, "location: http://127.0.0.1:1/\r\n", r#"{"told": true}"#),
        status(500, "", ""),
        Answer::Send("nonsense".into()),
        Answer::Hang,
    ] {
        let (mut peer, mut sink) = (Sink::answering([answer.clone()]).await, Sink::answering([]).await);
        let config = among(&["http://127.0.0.1:1/", &peer.url], 0);
        let mut service = Service::start(vec![receiver("ops", &sink.url)], &config);
        service.record(&[fired("e1")]);
        peer.request().await;
        assert_eq!(sink.request().await.status(), "firing", "{answer:?}");
        let delivered = service.settled().await;
        assert_eq!((delivered[0].state, delivered[0].told_by.as_ref()), (DeliveryState::Delivered, None), "{answer:?}");
    }
}

#[tokio::test]
async fn a_peer_that_hangs_holds_up_the_first_notification_only() {
    let (mut peer, mut sink) = (Sink::answering([Answer::Hang]).await, Sink::answering([]).await);
    let mut service = Service::start(vec![receiver("ops", &sink.url)], &among(&[&peer.url], 0));
    service.record(&[fired("e1")]);
    peer.request().await;
    sink.request().await;
    service.settled().await;
    let second: Vec<String> = (2..20).map(|i| format!("e{i}")).collect();
    service.record(&second.iter().map(|episode| fired(episode)).collect::<Vec<_>>());
    for _ in &second {
        sink.request().await;
    }
    service.settled().await;
    // It may be asked again, but not about each of them.
    assert!(service.deliverer.counters().failed_questions() < 18);
}

#[tokio::test]
async fn a_node_waits_for_those_before_it() {
    let (mut peer, mut sink) = (Sink::answering([says(r#"{"told": false}"#)]).await, Sink::answering([]).await);
    let mut service = Service::start(Vec::new(), &among(&[&peer.url], 1));
    let receivers = vec![receiver("ops", &sink.url)];
    let config = among(&[&peer.url], 1);
    service.ledger.route(crate::Routing::to_all(&receivers).in_turn(config.turn()), &receivers).expect("writes");
    service.deliverer.reconfigure(&receivers, &config).expect("is right");
    service.receivers = receivers;
    service.record(&[fired("e1")]);
    let recorded = service.deliveries(|all| !all.is_empty()).await.remove(0);
    assert_eq!(recorded.next_attempt_at, Some(recorded.created_at.plus(Duration::from_secs(1))));
    peer.request().await;
    sink.request().await;
    let delivered = service.settled().await;
    assert!(delivered[0].last_attempt_at >= recorded.next_attempt_at);
}

#[tokio::test]
async fn a_message_of_thousands_is_asked_about_in_parts_and_was_told_if_all_of_them_were() {
    let [yes, no] = ["true", "false"].map(|told| says(&format!(r#"{{"told": {told}}}"#)));
    for (answers, was_told) in [(vec![yes.clone(); 3], true), (vec![yes.clone(), yes, no], false)] {
        let (mut peer, mut sink) = (Sink::answering(answers).await, Sink::answering([]).await);
        let config = patient(&[&peer.url], 0, Duration::from_mins(1));
        let mut service = Service::start(Vec::new(), &config);
        let receivers = vec![receiver("ops", &sink.url)];
        let route = crate::Route { group_wait: Duration::ZERO, ..crate::Route::to(Some("ops".into())) };
        let route = crate::Route { group_by: crate::GroupBy::Labels(Vec::new()), ..route };
        service.ledger.route(crate::Routing::new(route, Vec::new(), Vec::new()), &receivers).expect("writes");
        service.deliverer.reconfigure(&receivers, &config).expect("is right");
        service.receivers = receivers;
        service.record(&(0..2_500).map(|i| fired(&format!("e{i}"))).collect::<Vec<_>>());
        for expected in [1_000, 1_000, 500] {
            let asked = peer.request().await;
            assert_eq!(asked.body["alerts"].as_array().map(Vec::len), Some(expected));
        }
        if !was_told {
            assert_eq!(sink.request().await.body["alerts"].as_array().map(Vec::len), Some(2_500));
        }
        let delivered = service.settled().await;
        assert_eq!((delivered.len(), delivered[0].told_by.is_some()), (1, was_told));
        assert!(sink.is_quiet());
    }
}

#[tokio::test]
async fn nobody_stands_in_for_a_receiver_that_a_peer_has_told() {
    let answers = vec![says(r#"{"told": false}"#), says(r#"{"told": true}"#)];
    let (mut peer, mut boss) = (Sink::answering(answers).await, Sink::answering([]).await);
    let fallback = Some(Fallback { receiver: "boss".into(), after: Duration::from_secs(2) });
    let ops = receiver("ops", "http://127.0.0.1:1/").with_fallback(fallback);
    // Not tried again before the fallback would be told.
    let backoff = Backoff { start: Duration::from_mins(10), cap: Duration::from_mins(10) };
    let config = DeliveryConfig { backoff, ..among(&[&peer.url], 0) };
    let mut service = Service::start(vec![ops.clone(), receiver("boss", &boss.url)], &config);
    service.receivers = vec![ops];
    service.record(&[fired("e1")]);
    for _ in 0..2 {
        assert_eq!(peer.request().await.body["receiver"], "ops");
    }
    let delivered = service.settled().await;
    assert_eq!(delivered.len(), 1);
    assert!(delivered[0].told_by.is_some() && boss.is_quiet());
}
