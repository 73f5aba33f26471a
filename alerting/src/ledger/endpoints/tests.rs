use super::{
    super::tests::{Fixture, receiver},
    *,
};
use crate::{
    Delivery, DeliveryFilter, Heartbeat, Integration, Page, Target, Webhook, WebhookUrl, clock,
    testing::{at, fired, resolved, room},
};

const LONGEST: Duration = Duration::from_hours(1);

pub(crate) fn settlement(id: &str, verdict: Verdict, at: UnixNanos) -> Settlement {
    let endpoint = Arc::new(endpoint("ops"));
    Settlement {
        id: id.into(),
        endpoint,
        stand_in: None,
        verdict,
        at,
        disables: false,
        releases: false,
        gives_up: None,
        said: Vec::new(),
    }
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint { receiver: name.into(), integration: "webhook/0".into() }
}

fn delivered() -> Verdict {
    Verdict::Delivered { status: Some(204) }
}

fn gives_up(error: &str) -> Verdict {
    Verdict::GiveUp { status: None, error: error.into() }
}

fn retry(at: UnixNanos) -> Verdict {
    Verdict::Retry { status: Some(500), error: "busy".into(), at }
}

/// A receiver with two webhooks.
fn twofold(name: &str) -> Receiver {
    let webhook = |key| {
        let url = WebhookUrl::parse("http://127.0.0.1:9/hook").expect("is a URL");
        Integration::new(key, Target::Webhook(Webhook::to(url)))
    };
    Receiver::new(name, vec![webhook("webhook/0"), webhook("webhook/1")]).expect("is valid")
}

fn of<'d>(deliveries: &'d [Delivery], receiver: &str) -> Vec<&'d Delivery> {
    deliveries.iter().filter(|d| d.receiver == receiver).collect()
}

#[test]
fn what_is_due_comes_by_time_and_in_order_within_its_thread() {
    let mut fixture = Fixture::new();
    fixture.record(&[fired("e1"), resolved("e1"), fired("e2")]);
    let (outbox, deliveries) = (fixture.ledger.outbox(), fixture.deliveries());
    let now = deliveries[0].created_at;
    let take = |now, busy: &[String]| outbox.take(&endpoint("ops"), busy, room(8), now, LONGEST).expect("reads");
    let ids = |taken: &Taken| taken.due.iter().map(|due| due.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&take(now, &[])), [deliveries[0].id.clone(), deliveries[2].id.clone()]);
    assert_eq!(ids(&take(now, &["e1".into()])), [deliveries[2].id.clone()]);
    assert_eq!(outbox.take(&endpoint("ops"), &[], room(1), now, LONGEST).expect("reads").due.len(), 1);
    let narrow = Room { messages: 8, bytes: 1 };
    assert_eq!(outbox.take(&endpoint("ops"), &[], narrow, now, LONGEST).expect("reads").due.len(), 1, "however long");
    let none = Room { bytes: 0, ..narrow };
    assert_eq!(outbox.take(&endpoint("ops"), &[], none, now, LONGEST).expect("reads"), Taken::default());
    assert_eq!(outbox.take(&endpoint("else"), &[], room(8), now, LONGEST).expect("reads"), Taken::default());
    let later = now.plus(Duration::from_secs(60));
    let ended = [settlement(&deliveries[0].id, retry(later), now), settlement(&deliveries[2].id, gives_up("no"), now)];
    outbox.settle(&ended).expect("writes");
    // The end of e1 was due before its beginning, which still comes first.
    assert_eq!(take(now, &[]), Taken { due: Vec::new(), wait: Some(Duration::from_secs(60)) });
    assert_eq!(take(later, &[]).due[0].attempts, 1);
    // A clock set back by a day does not hold the notification back for a day.
    assert_eq!(take(now.minus(Duration::from_hours(24)), &[]).due.len(), 1);
    outbox.settle(&[settlement(&deliveries[0].id, delivered(), later)]).expect("writes");
    assert_eq!(ids(&take(later, &[])), [deliveries[1].id.clone()]);
    let states: Vec<_> = fixture.deliveries().iter().map(|d| (d.state, d.attempts, d.last_status)).collect();
    use DeliveryState::{Delivered, Failed, Pending};
    assert_eq!(states, [(Delivered, 2, Some(204)), (Pending, 0, None), (Failed, 1, None)]);
    let filter = DeliveryFilter { state: Some(Failed), receiver: Some("ops".into()) };
    let failed = fixture.ledger.reader().deliveries(&filter, Page::default()).expect("reads").items;
    assert_eq!(failed.iter().map(|d| d.last_error.as_deref()).collect::<Vec<_>>(), [Some("no")]);
}

#[test]
fn each_integration_has_its_own_notification_under_its_own_id() {
    let mut fixture = Fixture::new();
    fixture.ledger.record(&[fired("e1")], &[twofold("ops")]).expect("records");
    fixture.ledger.record(&[fired("e1")], &[twofold("ops")]).expect("records");
    let deliveries = fixture.deliveries();
    let told: Vec<_> = deliveries.iter().map(|d| (d.receiver.as_str(), d.integration.as_str())).collect();
    assert_eq!(told, [("ops", "webhook/0"), ("ops", "webhook/1")]);
    assert_ne!(deliveries[0].id, deliveries[1].id);
}

#[test]
fn an_endpoint_that_is_gone_is_sent_nothing_until_it_is_another_or_somebody_asks() {
    let mut fixture = Fixture::new();
    fixture.record(&[fired("e1"), fired("e2")]);
    let (outbox, now) = (fixture.ledger.outbox(), clock::now());
    let take = || outbox.take(&endpoint("ops"), &[], room(8), now.plus(LONGEST), LONGEST).expect("reads").due.len();
    outbox.begin(&endpoint("ops"), "here", now, now).expect("writes");
    let first = fixture.deliveries()[0].id.clone();
    let gone = Settlement { disables: true, ..settlement(&first, gives_up("gone"), now) };
    outbox.settle(&[gone]).expect("writes");
    outbox.begin(&endpoint("ops"), "here", now, now).expect("writes");
    assert_eq!(take(), 0);
    assert!(fixture.deliveries().iter().all(|d| d.state == DeliveryState::Failed));
    fixture.record(&[fired("e3")]);
    outbox.begin(&endpoint("ops"), "elsewhere", now, now).expect("writes");
    assert_eq!(take(), 1);
    let gone = Settlement { disables: true, ..settlement(&fixture.deliveries()[2].id, gives_up("gone"), now) };
    outbox.settle(&[gone]).expect("writes");
    assert_eq!(take(), 0);
    assert_eq!(fixture.ledger.operator().replay(&first, now).expect("writes"), Replay::Pending);
    // A worker that had seen it disabled before the replay comes to write that down only now.
    outbox.refuse_all(&endpoint("ops"), now).expect("writes");
    assert_eq!(take(), 1);
}

#[test]
fn only_what_was_given_up_is_sent_again_and_then_for_as_long_as_something_new() {
    let mut fixture = Fixture::new();
    fixture.record(&[fired("e1")]);
    let (outbox, operator) = (fixture.ledger.outbox(), fixture.ledger.operator());
    let id = fixture.deliveries()[0].id.clone();
    let days_later = clock::now().plus(Duration::from_hours(100));
    assert_eq!(operator.replay("msg_x", days_later).expect("reads"), Replay::Unknown);
    assert_eq!(operator.replay(&id, days_later).expect("reads"), Replay::NotFailed(DeliveryState::Pending));
    outbox.settle(&[settlement(&id, gives_up("no"), clock::now())]).expect("writes");
    let bell = outbox.bell();
    assert_eq!(operator.replay(&id, days_later).expect("writes"), Replay::Pending);
    assert!(bell.has_changed().expect("the ledger is open"));
    let due = outbox.take(&endpoint("ops"), &[], room(8), days_later, LONGEST).expect("reads").due;
    assert_eq!((due[0].id.as_str(), due[0].since), (id.as_str(), days_later));
    assert_eq!(fixture.deliveries()[0].finished_at, None);
}

#[test]
fn a_recovered_endpoint_gets_at_once_what_waited_because_it_failed() {
    let mut fixture = Fixture::new();
    fixture.record(&[fired("e1"), fired("e2"), fired("e3")]);
    let (outbox, now) = (fixture.ledger.outbox(), clock::now().plus(LONGEST));
    let later = now.plus(Duration::from_mins(5));
    let [first, second, third] = [0, 1, 2].map(|i| fixture.deliveries()[i].id.clone());
    let asked = Verdict::Retry { status: Some(429), error: "slow down".into(), at: later };
    outbox.settle(&[settlement(&first, retry(later), now), settlement(&second, asked, now)]).expect("writes");
    let recovered = Settlement { releases: true, ..settlement(&third, delivered(), now) };
    outbox.settle(&[recovered]).expect("writes");
    let due = outbox.take(&endpoint("ops"), &[], room(8), now, LONGEST).expect("reads").due;
    assert_eq!(due.iter().map(|due| due.id.as_str()).collect::<Vec<_>>(), [first]);
}

#[test]
fn what_is_as_old_as_one_that_is_given_up_is_given_up_with_it() {
    let mut fixture = Fixture::new();
    fixture.record(&[fired("e1"), fired("e2")]);
    let (outbox, first) = (fixture.ledger.outbox(), fixture.deliveries()[0].id.clone());
    let now = clock::now().plus(LONGEST);
    fixture.ledger.record(&[fired("e3")], &[receiver("other")]).expect("records");
    let old = Settlement { gives_up: Some(now), ..settlement(&first, gives_up("too late"), now) };
    outbox.settle(&[old]).expect("writes");
    let states: Vec<_> = fixture.deliveries().iter().map(|d| (d.state, d.attempts)).collect();
    use DeliveryState::{Failed, Pending};
    assert_eq!(states, [(Failed, 1), (Failed, 0), (Pending, 0)], "the other endpoint's is not");
}

#[test]
fn the_fallback_is_told_what_is_late_or_given_up_once_and_then_how_it_ends() {
    let mut fixture = Fixture::new();
    let (primary, other) = (twofold("ops"), receiver("boss"));
    let stand_in = Arc::new(StandIn::new(&other, Duration::from_mins(5), Duration::ZERO));
    fixture.ledger.record(&[fired("e1"), fired("e2")], std::slice::from_ref(&primary)).expect("records");
    let (outbox, now) = (fixture.ledger.outbox(), clock::now());
    let second = Endpoint { integration: "webhook/1".into(), ..endpoint("ops") };
    let hand_over = |endpoint: &Endpoint, now| outbox.hand_over(endpoint, &stand_in, now).expect("writes");
    assert_eq!(hand_over(&endpoint("ops"), now), 0, "it is early");
    let e2 = fixture.deliveries()[2].id.clone();
    outbox.settle(&[settlement(&e2, gives_up("no"), now)]).expect("writes");
    assert_eq!(hand_over(&endpoint("ops"), now), 1);
    let late = now.plus(Duration::from_mins(6));
    assert_eq!((hand_over(&endpoint("ops"), late), hand_over(&second, late)), (1, 2));
    assert_eq!(hand_over(&endpoint("ops"), late), 0, "nothing is handed over twice");
    let deliveries = fixture.deliveries();
    let told: Vec<_> =
        of(&deliveries, "boss").iter().map(|d| (d.episode.as_str(), d.stands_in_for.as_deref())).collect();
    assert_eq!(told, [("e2", Some("ops")), ("e1", Some("ops"))], "once, though both webhooks fail");
    // The primary recovers: it takes the beginning late, and the end in time, of which the fallback hears, too.
    let settle = |index: usize, deliveries: &[Delivery]| {
        let id = &of(deliveries, "ops")[index].id;
        let settled = Settlement { stand_in: Some(Arc::clone(&stand_in)), ..settlement(id, delivered(), late) };
        outbox.settle(&[settled]).expect("writes");
    };
    settle(0, &deliveries);
    fixture.ledger.record(&[resolved("e1")], std::slice::from_ref(&primary)).expect("records");
    settle(4, &fixture.deliveries());
    fixture.ledger.record(&[fired("e3")], &[primary]).expect("records");
    settle(6, &fixture.deliveries());
    let deliveries = fixture.deliveries();
    let told: Vec<_> = of(&deliveries, "boss").iter().map(|d| (d.episode.as_str(), d.announced.as_str())).collect();
    assert_eq!(told, [("e2", "firing"), ("e1", "firing"), ("e1", "resolved")]);
}

#[test]
fn the_last_word_of_each_thread_goes_on_until_its_end_is_old() {
    let mut fixture = Fixture::new();
    fixture.record(&[fired("e1"), fired("e2"), resolved("e2"), fired("e3"), resolved("e3"), fired("e4")]);
    let outbox = fixture.ledger.outbox();
    for (i, seconds) in [(0, 10), (1, 10), (2, 20), (3, 10), (4, 100)] {
        outbox.settle(&[settlement(&fixture.deliveries()[i].id, delivered(), at(seconds))]).expect("writes");
    }
    let standing = outbox.standing(&endpoint("ops"), at(50)).expect("reads");
    let said: Vec<_> = standing
        .iter()
        .map(|payload| serde_json::from_str::<serde_json::Value>(payload).expect("is JSON")["alerts"][0].clone())
        .map(|alert| format!("{} {}", alert["bellwether"]["episode"], alert["status"]))
        .collect();
    assert_eq!(said, ["\"e1\" \"firing\"", "\"e3\" \"resolved\""]);
}

#[test]
fn only_old_notifications_without_a_receiver_are_given_up() {
    let mut fixture = Fixture::new();
    fixture.ledger.record(&[fired("e1")], &[receiver("gone"), receiver("ops")]).expect("records");
    let outbox = fixture.ledger.outbox();
    let known = [endpoint("ops"), Endpoint { integration: "webhook/1".into(), ..endpoint("gone") }];
    let now = clock::now();
    assert_eq!(outbox.give_up_orphans(&known, at(5), now).expect("writes"), 0);
    let later = now.plus(Duration::from_secs(1));
    assert_eq!(outbox.give_up_orphans(&known, later, later).expect("writes"), 1);
    let states: Vec<_> = fixture.deliveries().into_iter().map(|d| (d.receiver, d.state)).collect();
    assert_eq!(states, [("gone".to_owned(), DeliveryState::Failed), ("ops".to_owned(), DeliveryState::Pending)]);
}

#[test]
fn a_sign_of_life_is_never_on_its_way_twice_and_says_when_it_was_made() {
    let mut fixture = Fixture::new();
    let heartbeat = Heartbeat { receiver: "ops".into(), interval: Duration::from_mins(1) };
    let mut beat = |seconds| fixture.ledger.beat(&heartbeat, &receiver("ops"), at(seconds)).expect("writes");
    assert!(beat(60));
    assert!(!beat(120), "the first is still on its way");
    let first = fixture.deliveries()[0].clone();
    let payload = fixture.ledger.reader().payload(&first.id).expect("reads").expect("is there");
    assert!(payload.contains("\"startsAt\":\"1970-01-01T00:02:00Z\""), "{payload}");
    fixture.ledger.outbox().settle(&[settlement(&first.id, delivered(), at(121))]).expect("writes");
    let mut beat = |seconds| fixture.ledger.beat(&heartbeat, &receiver("ops"), at(seconds)).expect("writes");
    assert!(beat(180));
    assert_eq!(fixture.deliveries().len(), 2);
    assert!(fixture.ledger.outbox().standing(&endpoint("ops"), at(0)).expect("reads").is_empty());
    let second = fixture.deliveries()[1].id.clone();
    fixture.ledger.outbox().settle(&[settlement(&second, delivered(), at(181))]).expect("writes");
    assert!(fixture.ledger.beat(&heartbeat, &receiver("ops"), at(720)).expect("writes"));
    assert_eq!(fixture.deliveries().len(), 2, "the oldest is forgotten");
}

#[test]
fn notifications_of_an_older_schema_find_their_integration() {
    let fixture = Fixture::new();
    let path = fixture.path().with_file_name("old.db");
    let old = rusqlite::Connection::open(&path).expect("opens");
    super::super::schema::testing::as_version_1(&old);
    for receiver in ["ops", "ops/1"] {
        let sql = "INSERT INTO outbox (id, receiver, episode, announced, payload, created_at, next_attempt_at)
            VALUES (?1, ?1, 'e', 'firing', '{}', 1, 1)";
        old.execute(sql, [receiver]).expect("writes");
    }
    drop(old);
    let ledger = super::super::Ledger::open(&path).expect("is brought up to date");
    let page = Page { order: crate::Order::Ascending, ..Page::default() };
    let found = ledger.reader().deliveries(&DeliveryFilter::default(), page).expect("reads").items;
    let found: Vec<_> = found.iter().map(|d| (d.receiver.as_str(), d.integration.as_str())).collect();
    assert_eq!(found, [("ops", "webhook/0"), ("ops", "webhook/1")]);
}
