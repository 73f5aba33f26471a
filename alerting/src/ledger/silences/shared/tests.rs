use std::time::Duration;

use detect::{AlertState, AlertTransition, Decision, Level, Pin};
use tempfile::TempDir;

use super::*;
use crate::{
    Acknowledgement, Ledger, Matcher, MatcherJson, ServicePin, clock,
    testing::{self, Later as _},
};

const NOON: UnixNanos = UnixNanos(1_700_000_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// A node, and how far it has heard another one.
struct Node {
    directory: TempDir,
    ledger: Ledger,
    instance: String,
    after: u64,
}

impl Node {
    fn new() -> Self {
        clock::set(NOON);
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let ledger = Ledger::open(directory.path().join("ledger.db")).expect("opens");
        Self { directory, ledger, instance: String::new(), after: 0 }
    }

    fn restarted(self) -> Self {
        let Self { directory, ledger, instance, after } = self;
        drop(ledger);
        let ledger = Ledger::open(directory.path().join("ledger.db")).expect("opens");
        Self { directory, ledger, instance, after }
    }

    /// Hears all that is new at `other`; how much of it is news.
    fn hear(&mut self, other: &Self) -> usize {
        let mut taken = 0;
        loop {
            let page = other.ledger.reader().what_people_say(&self.instance, self.after).expect("reads");
            (self.instance, self.after) = (page.instance.clone(), page.next);
            let has_more = page.has_more;
            let Merged { silences, acknowledgements, pins } = self.ledger.operator().merge(page).expect("writes");
            taken += silences + acknowledgements + pins.len();
            if !has_more {
                return taken;
            }
        }
    }

    /// Puts an alert that fires there, in an episode of its own.
    fn fires(&mut self, episode: &str) {
        let mut alert = testing::alert(episode).firing(testing::at(100));
        alert.fingerprint = "00000000000000aa".into();
        let firing = AlertTransition { from: Some(AlertState::Pending), alert, at: testing::at(100) };
        self.ledger.record(&[Decision::Alert(firing)], &[]).expect("writes");
    }

    fn acknowledged(&self, episode: &str) -> Option<Acknowledgement> {
        self.ledger.reader().acknowledgement(episode).expect("reads")
    }

    fn said(&self) -> Vec<(String, &'static str)> {
        let state = |silence: &Silence| (silence.spec.comment.clone(), silence.state(clock::now()).as_str());
        self.ledger.reader().silences().iter().map(state).collect()
    }
}

fn spec(comment: &str) -> SilenceSpec {
    let matchers: Vec<MatcherJson> =
        Matcher::parse_list("service=\"x\"").expect("is one").iter().map(Matcher::to_json).collect();
    let (starts_at, ends_at) = (NOON, NOON.plus(HOUR));
    SilenceSpec { matchers, starts_at, ends_at, created_by: "ann".into(), comment: comment.into() }
}

#[test]
fn a_silence_and_its_end_hold_on_the_other_node_and_are_heard_once() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let id = a.ledger.operator().set_silence(None, spec("one")).expect("is one");
    assert_eq!((b.hear(&a), b.hear(&a)), (1, 0));
    assert_eq!(b.said(), [("one".to_owned(), "active")]);
    assert_eq!(a.hear(&b), 0, "that is where it comes from");
    let labels = detect::Labels::from_pairs([("service", "x")]);
    assert_eq!(b.ledger.store.silences().holding(&labels, NOON), std::slice::from_ref(&id));
    // By a clock that is behind, which makes the word no older.
    clock::set(UnixNanos(NOON.0 - 1_000_000_000));
    let mut longer = b.ledger.reader().silence(&id).expect("is there").spec;
    longer.ends_at = longer.ends_at.plus(HOUR);
    assert_eq!(b.ledger.operator().set_silence(Some(&id), longer.clone()).expect("is one"), id);
    assert_eq!((a.hear(&b), b.hear(&a)), (1, 0));
    assert_eq!(a.ledger.reader().silence(&id).expect("is there").spec.ends_at, longer.ends_at);
    clock::set(NOON.plus(HOUR));
    assert!(a.ledger.operator().expire_silence(&id).expect("writes"));
    // What is on disk is what is in memory.
    let mut b = b.restarted();
    assert_eq!(b.said(), [("one".to_owned(), "active")]);
    assert_eq!(b.hear(&a), 1);
    assert_eq!(b.restarted().said(), [("one".to_owned(), "expired")]);
}

#[test]
fn a_process_that_counts_anew_is_heard_from_the_beginning() {
    let (a, mut b) = (Node::new(), Node::new());
    for comment in ["one", "two", "three"] {
        a.ledger.operator().set_silence(None, spec(comment)).expect("is one");
    }
    assert_eq!(b.hear(&a), 3);
    let a = a.restarted();
    a.ledger.operator().set_silence(None, spec("four")).expect("is one");
    assert_eq!(b.hear(&a), 1, "of all four");
    // A third one hears of it from the second.
    let mut c = Node::new();
    assert_eq!(c.hear(&b), 4);
}

#[test]
fn pages_end_and_go_on_where_they_ended() {
    let (a, mut b) = (Node::new(), Node::new());
    let operator = a.ledger.operator();
    let long = "x".repeat(4_000);
    for i in 0..300 {
        operator.set_silence(None, SilenceSpec { comment: format!("{i}{long}"), ..spec("") }).expect("is one");
    }
    let page = a.ledger.reader().what_people_say("", 0).expect("reads");
    let bytes = serde_json::to_vec(&page).expect("serialises").len();
    assert!(page.has_more && bytes < SharedPage::MOST_BYTES, "{bytes}");
    assert_eq!((b.hear(&a), b.said().len()), (300, 300));
}

#[test]
fn what_cannot_be_used_is_left_out_and_nothing_else_with_it() {
    let b = Node::new();
    let silence = |id: &str, spec: SilenceSpec| SharedSilence { id: id.into(), updated_at: NOON, spec };
    let id = |i: u32| format!("0a2b4c6d-0000-4000-8000-{i:012}");
    let bad = MatcherJson { name: "a".into(), value: "(".into(), is_regex: true, is_equal: true };
    let over = SilenceSpec { ends_at: NOON, ..spec("over") };
    let heard = vec![
        silence("../../etc", spec("no id")),
        silence(&id(1), SilenceSpec { matchers: vec![bad], ..spec("no expression") }),
        silence(&id(2), SilenceSpec { matchers: Vec::new(), ..spec("everything") }),
        silence(&id(3), SilenceSpec { created_by: "x".repeat(5_000), ..spec("long") }),
        silence(&id(4), over),
        silence(&id(5), spec("right")),
    ];
    let page = SharedPage { silences: heard, ..b.ledger.reader().what_people_say("", 0).expect("reads") };
    assert_eq!(b.ledger.operator().merge(page).expect("writes").silences, 1);
    assert_eq!(b.said(), [("right".to_owned(), "active")]);
}

#[test]
fn an_acknowledgement_is_that_of_the_same_alert_whatever_its_episode_is_called() {
    let (mut a, mut b) = (Node::new(), Node::new());
    a.fires("e1");
    b.fires("e2");
    let there = b.ledger.operator();
    b.hear(&a);
    assert!(a.ledger.operator().acknowledge("e1", "ann", "on it").expect("writes"));
    assert_eq!((b.hear(&a), b.hear(&a)), (1, 0));
    assert_eq!(b.acknowledged("e2"), a.acknowledged("e1"));
    assert!(b.acknowledged("e2").is_some_and(|said| said.author == "ann"));
    // The newer word holds, also one that takes it back, by a clock that is behind.
    clock::set(UnixNanos(NOON.0 - 1_000_000_000));
    assert!(there.unacknowledge("e2").expect("writes"));
    assert!(!there.unacknowledge("e2").expect("writes"), "it is taken back");
    assert_eq!((a.hear(&b), a.acknowledged("e1"), b.hear(&a)), (1, None, 0));
    let mut a = a.restarted();
    assert_eq!((b.hear(&a), b.acknowledged("e2")), (0, None), "who counts anew has not forgotten that");
    assert!(there.acknowledge("e2", "bob", "").expect("writes"));
    assert_eq!(a.hear(&b), 1);
    assert!(a.acknowledged("e1").is_some_and(|said| said.author == "bob"));
}

#[test]
fn what_begins_after_an_acknowledgement_is_not_acknowledged() {
    let (mut a, mut b) = (Node::new(), Node::new());
    a.fires("e1");
    clock::set(testing::at(30));
    assert!(a.ledger.operator().acknowledge("e1", "ann", "").expect("writes"));
    // The alert there began at 40 s.
    b.fires("e2");
    assert_eq!((b.hear(&a), b.acknowledged("e2")), (0, None));
}

fn pin(level: Level, at: UnixNanos) -> ServicePin {
    let pin = Pin { level, author: "ann".into(), reason: "drill".into(), expires_at: at.plus(HOUR) };
    ServicePin { service: None, created_at: at, pin }
}

#[test]
fn a_pin_holds_on_both_and_is_taken_back_on_both() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let levels = |node: &Node| -> Vec<Level> {
        node.ledger.reader().pins().expect("reads").iter().map(|pin| pin.pin.level).collect()
    };
    a.ledger.operator().set_pin(&pin(Level::ReadOnly, NOON)).expect("writes");
    assert_eq!((b.hear(&a), a.hear(&b)), (1, 0));
    assert_eq!(levels(&b), [Level::ReadOnly]);
    // The newer one holds, also by a clock that is behind.
    let before = UnixNanos(NOON.0 - 1_000_000_000);
    b.ledger.operator().set_pin(&pin(Level::CacheOnly, before)).expect("writes");
    assert_eq!((a.hear(&b), levels(&a)), (1, vec![Level::CacheOnly]));
    clock::set(before);
    assert!(a.ledger.operator().clear_pin(None).expect("writes"));
    assert!(!a.ledger.operator().clear_pin(None).expect("writes"), "there is none any more");
    let a = a.restarted();
    let page = a.ledger.reader().what_people_say("", 0).expect("reads");
    let merged = b.ledger.operator().merge(page).expect("writes");
    assert!(merged.pins.len() == 1 && merged.pins[0].withdrawn);
    assert_eq!((levels(&a), levels(&b), levels(&b.restarted())), (Vec::new(), Vec::new(), Vec::new()));
}

/// Behind the end of time no later word could be written, and nobody could take it back.
#[test]
fn times_after_which_there_is_none_are_left_out() {
    let (mut a, mut b) = (Node::new(), Node::new());
    b.fires("e1");
    let last = UnixNanos(i64::MAX);
    let said = Acknowledgement { author: "ann".into(), comment: String::new(), at: last };
    let fingerprint = "00000000000000aa".to_owned();
    let acknowledgement = SharedAcknowledgement { fingerprint, acknowledgement: said, withdrawn: false };
    let pin = SharedPin { pin: ServicePin { created_at: last, ..pin(Level::ReadOnly, NOON) }, withdrawn: false };
    let nothing = a.ledger.reader().what_people_say("", 0).expect("reads");
    let page = SharedPage { acknowledgements: vec![acknowledgement], pins: vec![pin], ..nothing };
    let nothing = Merged { silences: 0, acknowledgements: 0, pins: Vec::new() };
    assert_eq!(b.ledger.operator().merge(page).expect("writes"), nothing);
    assert!(b.ledger.operator().acknowledge("e1", "bob", "").expect("writes"));
    assert_eq!(a.hear(&b), 0);
}
