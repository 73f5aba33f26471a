use std::time::Duration;

use detect::{AlertState, AlertTransition, Decision, Level};

use super::*;
use crate::{
    LevelHook, clock,
    ledger::{
        Settlement, Verdict,
        endpoints::tests::settlement,
        tests::{Fixture, receiver},
    },
    testing::{Later, at, level, room},
};

const LONGEST: Duration = Duration::from_hours(1);

fn ops() -> Endpoint {
    Endpoint { receiver: "ops".into(), integration: "webhook/0".into() }
}

fn changed(from: AlertState, alert: detect::Alert, seconds: i64) -> Decision {
    Decision::Alert(AlertTransition { from: Some(from), alert, at: at(seconds) })
}

/// Episodes of `x` begin with `x-`.
fn alert(episode: &str) -> detect::Alert {
    let (name, _) = episode.split_once('-').expect("has a name");
    detect::Alert { fingerprint: format!("{name:0>16}"), ..crate::testing::alert(episode) }
}

/// The episode fires since `start`.
fn fires(episode: &str, start: i64) -> Decision {
    changed(AlertState::Pending, alert(episode).firing(at(start)), start)
}

/// It is over since `end`.
fn ends(episode: &str, start: i64, end: i64) -> Decision {
    changed(AlertState::Firing, alert(episode).firing(at(start)).resolved(at(end)), end)
}

/// What is due for `ops`, at the time that is given it.
fn due(node: &Fixture) -> Option<Due> {
    node.ledger.outbox().take(&ops(), &[], room(10), clock::now(), LONGEST).expect("reads").due.first().cloned()
}

/// The question about what is due next, which is not sent.
fn question(node: &Fixture) -> Question {
    let mut due = due(node).expect("something is due");
    node.ledger.outbox().asking(&ops(), &mut due).expect("reads").expect("others are asked").question
}

fn settle(node: &Fixture, verdict: Verdict) -> String {
    let mut due = due(node).expect("something is due");
    let outbox = node.ledger.outbox();
    let said = outbox.asking(&ops(), &mut due).expect("reads").expect("others are asked").said;
    outbox.settle(&[Settlement { said, ..settlement(&due.id, verdict, clock::now()) }]).expect("writes");
    due.id
}

/// Tells what is due next; its id.
fn tells(node: &Fixture) -> String {
    settle(node, Verdict::Delivered { status: Some(200) })
}

/// Whether `node` says to have told what `asker` is about to tell; if so, that is written down there.
fn was_told_by(node: &Fixture, asker: &Fixture) -> bool {
    let told = node.ledger.reader().was_told(&question(asker)).expect("reads");
    if told {
        settle(asker, Verdict::Told { by: "a".into() });
    }
    told
}

#[test]
fn what_another_node_has_told_of_the_same_episode_is_known_though_it_began_at_another_time() {
    let [mut a, mut b] = [Fixture::new(), Fixture::new()];
    a.record(&[fires("x-1000", 1)]);
    b.record(&[fires("x-3000", 3)]);
    assert!(!was_told_by(&a, &b), "it is only about to");
    tells(&a);
    assert!(was_told_by(&a, &b));
    let told = &b.deliveries()[0];
    assert_eq!(
        (told.state, told.told_by.as_deref(), told.attempts),
        (super::super::DeliveryState::Delivered, Some("a"), 0)
    );
    a.record(&[ends("x-1000", 1, 9)]);
    b.record(&[ends("x-3000", 3, 10)]);
    assert!(!was_told_by(&a, &b));
    tells(&a);
    assert!(was_told_by(&a, &b));
    assert!(was_told_by(&b, &{
        let mut c = Fixture::new();
        c.record(&[fires("x-2000", 2)]);
        c
    }));
}

#[test]
fn an_episode_after_the_one_that_was_told_is_news() {
    let [mut a, mut b] = [Fixture::new(), Fixture::new()];
    a.record(&[fires("x-1000", 1), ends("x-1000", 1, 9)]);
    tells(&a);
    b.record(&[fires("x-20000", 20)]);
    assert!(!was_told_by(&a, &b), "its end was not told yet, but it has ended");
    tells(&a);
    assert!(!was_told_by(&a, &b));
    let mut other = Fixture::new();
    other.record(&[fires("y-1000", 1)]);
    assert!(!was_told_by(&a, &other), "of another alert");
}

#[test]
fn a_node_that_is_behind_tells_nothing_that_is_over_and_no_end_of_what_goes_on() {
    let [mut a, mut b] = [Fixture::new(), Fixture::new()];
    a.record(&[fires("x-1000", 1), ends("x-1000", 1, 9), fires("x-20000", 20)]);
    for _ in 0..3 {
        tells(&a);
    }
    b.record(&[fires("x-1000", 1), ends("x-1000", 1, 9), fires("x-20000", 20)]);
    assert!((0..3).all(|_| was_told_by(&a, &b)));
    // To this one it is a single episode, and the other one has begun again.
    let mut c = Fixture::new();
    c.record(&[fires("x-2000", 2), ends("x-2000", 2, 25)]);
    assert!(was_told_by(&a, &c));
    assert!(!was_told_by(&a, &c), "it fires again");
}

#[test]
fn what_is_told_survives_the_process_and_goes_with_the_notification() {
    let [mut a, mut b] = [Fixture::new(), Fixture::new()];
    a.record(&[fires("x-1000", 1)]);
    tells(&a);
    b.record(&[fires("x-1000", 1)]);
    let mut a = a.reopened();
    let asked = question(&b);
    assert!(a.ledger.reader().was_told(&asked).expect("reads"));
    a.ledger.prune(clock::now().plus(LONGEST)).expect("prunes");
    assert!(!a.ledger.reader().was_told(&asked).expect("reads"));
}

#[test]
fn what_is_told_again_has_to_have_been_told_again() {
    let said = |since| Said {
        alert: format!("{:0>16}", "x"),
        announced: "firing".into(),
        flapping: false,
        starts_at: at(1),
        ends_at: None,
        after: None,
        since,
        episode: String::new(),
    };
    let mut a = Fixture::new();
    a.record(&[fires("x-1000", 1)]);
    tells(&a);
    let mut asked = Question { alerts: vec![said(None)], ..question_of_nobody() };
    let mut told = |since| {
        asked.alerts = vec![said(since)];
        a.ledger.reader().was_told(&asked).expect("reads")
    };
    let created_at = a.deliveries()[0].created_at;
    assert!(told(None) && told(Some(created_at)));
    assert!(!told(Some(created_at.plus(Duration::from_nanos(1)))));
    let flapping = Question { alerts: vec![Said { flapping: true, ..said(None) }], ..question_of_nobody() };
    assert!(!a.ledger.reader().was_told(&flapping).expect("reads"), "it was not told that it flaps");
}

fn question_of_nobody() -> Question {
    let [receiver, integration] = [ops().receiver, ops().integration];
    Question {
        position: 0,
        id: format!("msg_{:032x}", 7),
        receiver,
        integration,
        created_at: at(1),
        alerts: Vec::new(),
    }
}

#[test]
fn a_question_is_told_under_the_id_that_another_node_has_said_first() {
    let [mut a, mut b] = [Fixture::new(), Fixture::new()];
    a.record(&[fires("x-1000", 1)]);
    let first = question(&a);
    assert!(!b.ledger.reader().was_told(&first).expect("reads"), "heard before it is decided here");
    b.record(&[fires("x-3000", 3)]);
    assert_ne!(due(&b).expect("is due").id, first.id);
    assert_eq!(tells(&b), first.id);
    assert_eq!(b.deliveries()[0].id, first.id);
    // So has its end, whether or not anybody says that.
    a.record(&[ends("x-1000", 1, 9)]);
    b.record(&[ends("x-3000", 3, 9)]);
    assert_eq!(a.deliveries()[1].id, b.deliveries()[1].id);
    // Another episode has an id of its own, whatever was said of the one before.
    b.record(&[fires("x-20000", 20)]);
    tells(&b);
    assert_ne!(tells(&b), first.id);
    // What was tried has arrived under its own id, perhaps.
    let mut c = Fixture::new();
    c.record(&[fires("x-2000", 2)]);
    let own = settle(&c, Verdict::Retry { status: None, error: "late".into(), at: clock::now() });
    assert!(!c.ledger.reader().was_told(&first).expect("reads"));
    assert_eq!(tells(&c), own);
}

#[test]
fn an_id_that_another_node_has_said_is_for_what_was_said_last() {
    let mut a = Fixture::new();
    a.record(&[fires("x-1000", 1), ends("x-1000", 1, 9)]);
    let first = question(&a);
    tells(&a);
    let end = question(&a);
    // This one was not fed when that was decided, and heard of it all the same.
    let mut b = Fixture::new();
    b.ledger.reader().was_told(&first).expect("reads");
    b.ledger.reader().was_told(&end).expect("reads");
    b.record(&[fires("x-5000", 5)]);
    assert_ne!(tells(&b), first.id, "a receiver would take it for what has ended");
    // Nor is it when this one has told an end itself.
    let mut c = Fixture::new();
    c.record(&[fires("x-1000", 1), ends("x-1000", 1, 9)]);
    tells(&c);
    tells(&c);
    c.ledger.reader().was_told(&Question { id: format!("msg_{:032x}", 9), ..first }).expect("reads");
    c.record(&[fires("x-20000", 20)]);
    assert_ne!(tells(&c), format!("msg_{:032x}", 9));
}

#[test]
fn a_node_that_is_not_fed_any_more_keeps_nobody_from_telling_what_begins_again() {
    let [mut a, mut b] = [Fixture::new(), Fixture::new()];
    a.record(&[fires("x-1000", 1)]);
    tells(&a);
    b.record(&[fires("x-1000", 1), ends("x-1000", 1, 9), fires("x-20000", 20)]);
    assert!(was_told_by(&a, &b));
    assert!(!was_told_by(&a, &b), "to the other one it goes on");
    tells(&b);
    assert!(!was_told_by(&a, &b), "what it has told was of the time before");
    let levels = |changes: &[(Level, Level, i64)]| {
        changes.iter().map(|(from, to, at)| level(None, *from, *to, *at)).collect::<Vec<_>>()
    };
    let [mut a, mut b] = [Fixture::new(), Fixture::new()];
    for node in [&mut a, &mut b] {
        node.ledger.follow_levels(vec![LevelHook { receiver: "ops".into(), service: None }]);
    }
    let (full, cache) = (Level::FullService, Level::CacheOnly);
    a.record(&levels(&[(full, cache, 100)]));
    tells(&a);
    b.record(&levels(&[(full, cache, 100), (cache, full, 200), (full, cache, 300)]));
    assert!(was_told_by(&a, &b));
    tells(&b);
    assert!(!was_told_by(&a, &b));
}

/// That `alert` fires.
fn said(alert: &str) -> Said {
    Said {
        alert: alert.into(),
        announced: "firing".into(),
        flapping: false,
        starts_at: at(1),
        ends_at: None,
        after: None,
        since: None,
        episode: String::new(),
    }
}

#[test]
fn ids_of_others_are_bounded_and_the_oldest_go_first() {
    let mut claims = Claims::default();
    let of = |alert: usize| Question { alerts: vec![said(&alert.to_string())], ..question_of_nobody() };
    for alert in 0..=MOST_CLAIMS {
        claims.note(&of(alert));
        claims.note(&of(alert));
    }
    assert_eq!((claims.claims.len(), claims.order.len()), (MOST_CLAIMS, MOST_CLAIMS));
    assert!(claims.of(&of(0)).is_none() && claims.of(&of(1)).is_some() && claims.of(&of(MOST_CLAIMS)).is_some());
}

#[test]
fn a_level_is_the_same_change_until_the_next_one() {
    let [mut a, mut b] = [Fixture::new(), Fixture::new()];
    for node in [&mut a, &mut b] {
        node.ledger.follow_levels(vec![LevelHook { receiver: "ops".into(), service: None }]);
    }
    let changes = |first, second, third| {
        [
            level(Some("shop"), Level::FullService, Level::CacheOnly, first),
            level(Some("shop"), Level::CacheOnly, Level::FullService, second),
            level(Some("shop"), Level::FullService, Level::CacheOnly, third),
        ]
    };
    a.record(&changes(100, 200, 300)[..2]);
    tells(&a);
    tells(&a);
    b.record(&changes(105, 210, 305));
    assert!(was_told_by(&a, &b));
    assert!(was_told_by(&a, &b));
    assert!(!was_told_by(&a, &b), "the third change is another one");
}

#[test]
fn nobody_is_asked_about_signs_of_life() {
    let mut a = Fixture::new();
    let heartbeat = crate::Heartbeat { receiver: "ops".into(), interval: Duration::from_mins(1) };
    a.ledger.beat(&heartbeat, &receiver("ops"), clock::now()).expect("writes");
    let mut due = due(&a).expect("is due");
    assert_eq!(a.ledger.outbox().asking(&ops(), &mut due).expect("reads"), None);
}

#[test]
fn a_question_that_no_node_asks_is_not_sound() {
    let sound = Question { alerts: vec![said("x")], ..question_of_nobody() };
    assert!(sound.is_sound());
    for wrong in [
        Question { alerts: Vec::new(), ..sound.clone() },
        Question { alerts: vec![said("x"); Question::MOST + 1], ..sound.clone() },
        Question { alerts: vec![said(&"x".repeat(Question::MOST_CHARS + 1))], ..sound.clone() },
        Question { id: "msg_\r\nx: y".into(), ..sound.clone() },
        Question { position: Cluster::MOST, ..sound.clone() },
        Question { receiver: "x".repeat(Question::MOST_CHARS + 1), ..sound.clone() },
    ] {
        assert!(!wrong.is_sound(), "{wrong:?}");
    }
}
