//! Groups from outside: what receivers are told, and when.

use std::{sync::Arc, thread::sleep, time::Duration};

use detect::{Alert, AlertState, AlertTransition, Decision, Labels, UnixNanos};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Damping, DeliveryFilter, Dispatcher, GroupBy, InhibitRule, Ledger, Matcher, MatcherJson, Order, Page, PostedAlert,
    Receiver, Route, Routing, ShownAlert, SilenceSpec, TimeInterval, clock,
    testing::{Later, alert, anomaly, at, opened},
};

mod days;

const WAIT: Duration = Duration::from_millis(150);

struct Fixture {
    directory: TempDir,
    ledger: Ledger,
    routing: Routing,
    receivers: Vec<Receiver>,
}

fn receivers() -> Vec<Receiver> {
    ["ops", "db"].map(|name| Receiver::webhook(name, "http://h/").expect("is one")).to_vec()
}

/// One group for each service, told after a moment.
fn by_service() -> Route {
    Route {
        group_by: GroupBy::Labels(vec!["service".into()]),
        group_wait: WAIT,
        group_interval: WAIT,
        repeat_interval: None,
        ..Route::to(Some("ops".into()))
    }
}

impl Fixture {
    fn new(routing: Routing) -> Self {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let ledger = Ledger::open(directory.path().join("ledger.db")).expect("opens");
        let mut fixture = Self { directory, ledger, routing, receivers: receivers() };
        fixture.start();
        fixture
    }

    fn start(&mut self) {
        self.ledger.route(self.routing.clone(), &self.receivers).expect("can be routed");
    }

    /// The process is killed and starts again, perhaps with another tree.
    fn restarted(self, routing: Routing) -> Self {
        let Self { directory, ledger, receivers, .. } = self;
        drop(ledger);
        let ledger = Ledger::open(directory.path().join("ledger.db")).expect("opens");
        let mut fixture = Self { directory, ledger, routing, receivers };
        fixture.start();
        fixture
    }

    fn dispatcher(&self) -> Dispatcher {
        self.ledger.dispatcher(self.receivers.clone())
    }

    fn record(&mut self, alerts: &[&Alert]) {
        let decisions: Vec<Decision> = alerts
            .iter()
            .map(|alert| {
                let (from, at) = match alert.state {
                    AlertState::Resolved => (AlertState::Firing, alert.resolved_at),
                    _ => (AlertState::Pending, alert.fired_at),
                };
                Decision::Alert(AlertTransition { from: Some(from), alert: (*alert).clone(), at: at.expect("is set") })
            })
            .collect();
        self.ledger.record(&decisions, &self.receivers).expect("records");
    }

    fn flush(&self) {
        self.dispatcher().flush().expect("flushes");
    }

    /// All messages: receiver, status, and the episodes with their states.
    fn told(&self) -> Vec<String> {
        let reader = self.ledger.reader();
        let page = Page { order: Order::Ascending, limit: 1000, after: None };
        let all = reader.deliveries(&DeliveryFilter::default(), page).expect("reads").items;
        all.iter()
            .map(|delivery| {
                let payload = reader.payload(&delivery.id).expect("reads").expect("is there");
                let message: Value = serde_json::from_str(&payload).expect("is JSON");
                let alerts: Vec<String> = message["alerts"]
                    .as_array()
                    .expect("is a list")
                    .iter()
                    .map(|a| format!("{}:{}", a["bellwether"]["episode"].as_str().unwrap_or_default(), a["status"]))
                    .collect();
                format!("{} {} {}", delivery.receiver, delivery.announced, alerts.join(" ")).replace('"', "")
            })
            .collect()
    }
}

fn firing(episode: &str, pairs: &[(&str, &str)]) -> Alert {
    let mut firing = alert(episode).firing(at(100));
    firing.labels = Labels::from_pairs([("alertname", "HighLatency")].into_iter().chain(pairs.iter().copied()));
    firing
}

fn spec(matchers: &str, lasts: Duration) -> SilenceSpec {
    let matchers: Vec<MatcherJson> =
        Matcher::parse_list(matchers).expect("are matchers").iter().map(Matcher::to_json).collect();
    let now = clock::now();
    SilenceSpec {
        matchers,
        starts_at: now,
        ends_at: now.plus(lasts),
        created_by: "ann".into(),
        comment: "drill".into(),
    }
}

fn tree(root: Route) -> Routing {
    Routing::new(root, Vec::new(), Vec::new())
}

#[test]
fn alerts_of_a_group_are_told_together_after_its_wait_and_then_at_its_interval() {
    let mut fixture = Fixture::new(tree(by_service()));
    let (a, b, c) =
        (firing("a", &[("service", "x")]), firing("b", &[("service", "x")]), firing("c", &[("service", "y")]));
    fixture.record(&[&a, &b, &c]);
    assert_eq!(fixture.told(), [""; 0], "groups wait for company");
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told(), ["ops firing a:firing b:firing", "ops firing c:firing"]);
    // Changes wait for the interval since the last flush, and come together.
    sleep(WAIT / 5);
    fixture.record(&[&a.clone().resolved(at(200))]);
    let d = firing("d", &[("service", "x")]);
    fixture.record(&[&d]);
    assert_eq!(fixture.told().len(), 2);
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told()[2..], ["ops firing b:firing d:firing a:resolved"]);
    sleep(WAIT);
    fixture.record(&[&b.resolved(at(300)), &d.resolved(at(300))]);
    fixture.flush();
    assert_eq!(fixture.told()[3..], ["ops resolved b:resolved d:resolved"]);
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told().len(), 4, "nothing is told twice");
}

#[test]
fn what_ends_while_its_group_waits_is_not_told() {
    let mut fixture = Fixture::new(tree(by_service()));
    let a = firing("a", &[]);
    fixture.record(&[&a]);
    fixture.record(&[&a.resolved(at(200))]);
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told(), [""; 0]);
}

#[test]
fn timers_and_what_was_told_survive_a_kill_and_another_tree() {
    let mut fixture = Fixture::new(tree(by_service()));
    let (a, b) = (firing("a", &[("service", "x")]), firing("b", &[("service", "y")]));
    fixture.record(&[&a]);
    let mut fixture = fixture.restarted(tree(by_service()));
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told(), ["ops firing a:firing"]);
    fixture.record(&[&b]);
    sleep(WAIT);
    // Its end waits for the interval when the tree changes.
    fixture.record(&[&a.resolved(at(200))]);
    let other = Route { matchers: Matcher::parse_list("alertname=HighLatency").expect("is one"), ..by_service() };
    let fixture = fixture.restarted(tree(other));
    sleep(WAIT);
    fixture.flush();
    let mut told = fixture.told();
    told.sort();
    assert_eq!(told, ["ops firing a:firing", "ops firing b:firing", "ops resolved a:resolved"]);
}

#[test]
fn what_is_told_of_a_group_has_the_same_ids_on_every_node_and_another_each_time() {
    let ids = |late: Duration| {
        let root = Route { repeat_interval: Some(Duration::from_hours(24)), group_interval: WAIT, ..by_service() };
        let mut node = Fixture::new(tree(root));
        sleep(late);
        let [a, b] = ["x-1", "y-1"].map(|episode| firing(episode, &[("service", "shop")]));
        node.record(&[&a, &b]);
        for alerts in [vec![], vec![a.clone().resolved(at(200))], vec![firing("z-1", &[("service", "shop")])]] {
            node.record(&alerts.iter().collect::<Vec<_>>());
            sleep(WAIT + late);
            node.flush();
        }
        let page = Page { order: Order::Ascending, ..Page::default() };
        let all = node.ledger.reader().deliveries(&DeliveryFilter::default(), page).expect("reads").items;
        all.into_iter().map(|delivery| delivery.id).collect::<Vec<_>>()
    };
    let (first, second) = (ids(Duration::ZERO), ids(Duration::from_millis(20)));
    assert_eq!(first, second);
    assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "{first:?}");
}

#[test]
fn a_group_that_does_not_change_is_repeated_unless_it_is_acknowledged() {
    let root = Route { repeat_interval: Some(WAIT), group_wait: Duration::ZERO, ..by_service() };
    let mut fixture = Fixture::new(tree(root));
    let a = firing("a", &[]);
    fixture.record(&[&a]);
    let repeat = |fixture: &Fixture| {
        sleep(WAIT.max(Duration::from_secs(1)));
        fixture.flush();
        fixture.told().len()
    };
    assert_eq!((fixture.told().len(), repeat(&fixture)), (1, 2));
    let operator = fixture.ledger.operator();
    assert!(operator.acknowledge("a", "ann", "on it").expect("writes"));
    assert_eq!((repeat(&fixture), repeat(&fixture)), (2, 2), "somebody is on it");
    fixture.record(&[&a.resolved(at(200))]);
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told()[2..], ["ops resolved a:resolved"]);
    assert!(!operator.acknowledge("a", "ann", "").expect("writes"), "it is over");
    assert!(operator.acknowledge("a", "", "").is_err());
}

/// Whether each message says of its first alert that it flaps.
fn marks(fixture: &Fixture) -> Vec<bool> {
    let reader = fixture.ledger.reader();
    let page = Page { order: Order::Ascending, limit: 1000, after: None };
    let all = reader.deliveries(&DeliveryFilter::default(), page).expect("reads").items;
    let message = |id: &str| reader.payload(id).expect("reads").expect("is there");
    let parsed = |id: &str| serde_json::from_str::<Value>(&message(id)).expect("is JSON");
    let marked = |message: &Value| {
        let alert = &message["alerts"][0];
        let summary = alert["annotations"]["summary"].as_str().unwrap_or_default();
        assert_eq!(summary.starts_with("Flapping: "), alert["annotations"]["flapping"].is_string());
        alert["bellwether"]["flapping"] == true
    };
    all.iter().map(|delivery| marked(&parsed(&delivery.id))).collect()
}

/// An episode of the same alert, at so many milliseconds.
fn flip(episode: &str, millis: i64) -> [Alert; 2] {
    let time = |millis: i64| UnixNanos(millis * 1_000_000);
    let mut alert = firing(episode, &[]).firing(time(millis));
    alert.fingerprint = "00000000000000ff".into();
    [alert.clone(), alert.resolved(time(millis + 5))]
}

fn flaps_through(root: Route) -> Fixture {
    let damping = Damping { changes: 3, window: Duration::from_hours(1) };
    let mut fixture = Fixture::new(tree(root).damped(Some(damping)));
    for (i, episode) in (0..).zip(["a", "b", "c", "d"]) {
        for change in flip(episode, 1_000 + i * 10) {
            fixture.record(&[&change]);
            sleep(WAIT);
            fixture.flush();
        }
    }
    fixture
}

#[test]
fn an_alert_that_flaps_is_told_once_with_the_mark_and_again_when_it_has_calmed() {
    let fixture = flaps_through(by_service());
    // The fourth change is the end of b, which is not told any more.
    let told = ["ops firing a:firing", "ops resolved a:resolved", "ops firing b:firing", "ops firing c:firing"];
    assert_eq!(fixture.told(), told);
    assert_eq!(marks(&fixture), [false, false, false, true]);
    assert!(fixture.ledger.reader().flapping().expect("reads").contains("00000000000000ff"));
    let shown = fixture.dispatcher().alerts().expect("reads");
    assert!(shown.is_empty(), "it is over just now: {shown:?}");
    // It is on disk, as all is. Without damping everything is calm.
    let fixture = fixture.restarted(tree(by_service()));
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told()[4..], ["ops resolved c:resolved"], "one end, of what was told last");
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told().len(), 5, "nothing is told twice");
}

#[test]
fn an_alert_that_goes_on_when_it_has_calmed_is_told_without_the_mark() {
    let mut fixture = flaps_through(Route { group_by: GroupBy::Each(Vec::new()), ..by_service() });
    let [e, _] = flip("e", 2_000);
    fixture.record(&[&e]);
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told().len(), 4, "{:?}", fixture.told());
    let shown = fixture.dispatcher().alerts().expect("reads");
    assert!(shown[0].muted.is_flapping && shown[0].muted.state() == "suppressed", "{shown:?}");
    let fixture = fixture.restarted(tree(Route { group_by: GroupBy::Each(Vec::new()), ..by_service() }));
    sleep(WAIT);
    fixture.flush();
    assert_eq!((&fixture.told()[4..], marks(&fixture)[4]), (&["ops firing e:firing".to_owned()][..], false));
}

#[test]
fn a_silence_holds_back_what_begins_and_lets_ends_through() {
    let mut fixture = Fixture::new(Routing::to_all(&receivers()[..1]));
    let operator = fixture.ledger.operator();
    let (a, b) = (firing("a", &[("service", "x")]), firing("b", &[("service", "x")]));
    fixture.record(&[&a]);
    let id = operator.set_silence(None, spec("{service=\"x\"}", Duration::from_hours(1))).expect("is one");
    fixture.record(&[&b]);
    fixture.record(&[&a.resolved(at(200))]);
    assert_eq!(fixture.told(), ["ops firing a:firing", "ops resolved a:resolved"]);
    let shown = fixture.dispatcher().alerts().expect("reads");
    assert_eq!((shown.len(), &shown[0].muted.silenced_by), (1, &vec![id.clone()]));
    drop(operator);
    // A restart forgets no silence, and what still fires is told when it ends.
    let fixture = fixture.restarted(Routing::to_all(&receivers()[..1]));
    fixture.flush();
    assert_eq!(fixture.told().len(), 2);
    assert!(fixture.ledger.operator().expire_silence(&id).expect("writes"));
    fixture.flush();
    assert_eq!(fixture.told()[2..], ["ops firing b:firing"]);
    assert!(fixture.ledger.operator().expire_silence(&id).is_err(), "has ended already");
}

#[test]
fn a_clock_that_is_set_back_neither_lifts_a_silence_nor_brings_one_back() {
    let fixture = Fixture::new(tree(by_service()));
    let (operator, reader) = (fixture.ledger.operator(), fixture.ledger.reader());
    let hour = Duration::from_hours(1);
    let [holds, ended] = ["a=b", "a=c"].map(|text| operator.set_silence(None, spec(text, hour)).expect("is one"));
    let later = clock::now().plus(Duration::from_mins(10));
    let planned = SilenceSpec { starts_at: later, ..spec("a=d", hour) };
    let planned = operator.set_silence(None, planned).expect("is one");
    assert!(operator.expire_silence(&ended).expect("writes"));
    let states =
        || [&holds, &ended, &planned].map(|id| reader.silence(id).expect("is there").state(clock::now()).as_str());
    assert_eq!(states(), ["active", "expired", "pending"]);
    clock::set(UnixNanos(clock::now().0 - 7_200_000_000_000));
    assert_eq!(states(), ["active", "expired", "pending"]);
    clock::set(later);
    assert_eq!(states(), ["active", "expired", "active"]);
}

#[test]
fn silences_are_changed_ended_and_refused_as_alertmanager_does() {
    let fixture = Fixture::new(tree(by_service()));
    let (operator, reader) = (fixture.ledger.operator(), fixture.ledger.reader());
    let hour = Duration::from_hours(1);
    let first = operator.set_silence(None, spec("a=\"b\"", hour)).expect("is one");
    let mut longer = reader.silence(&first).expect("is there").spec;
    longer.ends_at = longer.ends_at.plus(hour);
    assert_eq!(operator.set_silence(Some(&first), longer.clone()).expect("is one"), first, "is prolonged");
    let second = operator.set_silence(Some(&first), SilenceSpec { matchers: spec("a=\"c\"", hour).matchers, ..longer });
    let second = second.expect("is one");
    assert_ne!(first, second);
    let states: Vec<_> = reader.silences().iter().map(|s| (s.id.clone(), s.state(clock::now()).as_str())).collect();
    assert_eq!(states, [(second, "active"), (first, "expired")]);
    for (bad, field) in [
        (SilenceSpec { matchers: Vec::new(), ..spec("a=b", hour) }, "matchers"),
        (spec("a=\"\"", hour), "matchers"),
        (SilenceSpec { ends_at: UnixNanos(5), starts_at: UnixNanos(1), ..spec("a=b", hour) }, "endsAt"),
        (SilenceSpec { comment: "x".repeat(5_000), ..spec("a=b", hour) }, "comment"),
    ] {
        let said = operator.set_silence(None, bad).expect_err(field).to_string();
        assert!(said.starts_with(field), "{said}");
    }
    assert!(operator.set_silence(Some("nobody's"), spec("a=b", hour)).is_err());
    assert!(!operator.expire_silence("nobody's").expect("reads"));
}

#[test]
fn what_is_inhibited_is_told_when_its_source_is_over() {
    let parse = |text| Matcher::parse_list(text).expect("are matchers");
    let (source, target) = (parse("severity=critical"), parse("severity=warning"));
    let rule = InhibitRule { source, target, equal: vec!["service".into()], dependents: false };
    let root = Route { group_by: GroupBy::Everything, group_wait: Duration::ZERO, ..by_service() };
    let mut fixture = Fixture::new(Routing::new(root, vec![rule], Vec::new()));
    let critical = firing("c", &[("service", "x"), ("severity", "critical")]);
    let warning = firing("w", &[("service", "x"), ("severity", "warning")]);
    let elsewhere = firing("e", &[("service", "y"), ("severity", "warning")]);
    fixture.record(&[&warning, &critical, &elsewhere]);
    assert_eq!(fixture.told(), ["ops firing c:firing", "ops firing e:firing"]);
    let shown = fixture.dispatcher().groups().expect("reads");
    let muted: Vec<usize> = shown.iter().map(|group| group.alerts[0].muted.inhibited_by.len()).collect();
    assert_eq!(muted.iter().sum::<usize>(), 1);
    sleep(WAIT);
    fixture.record(&[&critical.resolved(at(200))]);
    fixture.ledger.store.write(|t| super::wake_untold(t, clock::now())).expect("writes");
    fixture.flush();
    assert_eq!(fixture.told()[2..], ["ops resolved c:resolved", "ops firing w:firing"]);
}

#[test]
fn alerts_of_those_behind_an_open_breaker_are_told_when_it_has_closed() {
    let mut fixture = Fixture::new(Routing::to_all(&receivers()[..1]));
    let mut breaker = firing("b", &[("job", "tax"), ("breaker", "x"), ("severity", "warning")]);
    breaker.dependents = ["front", "shop"].map(Arc::from).to_vec();
    let of = |episode, job, severity| firing(episode, &[("job", job), ("severity", severity)]);
    let (front, money, other) = (of("f", "front", "warning"), of("m", "shop", "critical"), of("o", "other", "warning"));
    fixture.record(&[&breaker, &front, &money, &other]);
    assert_eq!(fixture.told(), ["ops firing b:firing", "ops firing m:firing", "ops firing o:firing"]);
    let shown = fixture.dispatcher().alerts().expect("reads");
    let by = |job| shown.iter().find(|a| a.labels.get("job") == Some(job)).map(|a| a.muted.inhibited_by.clone());
    assert_eq!((by("front"), by("shop")), (Some(vec![breaker.fingerprint.clone()]), Some(Vec::new())));
    // It is remembered over a restart.
    let mut fixture = fixture.restarted(Routing::to_all(&receivers()[..1]));
    fixture.record(&[&breaker.resolved(at(200))]);
    fixture.ledger.store.write(|t| super::wake_untold(t, clock::now())).expect("writes");
    fixture.flush();
    let mut then = fixture.told().split_off(3);
    then.sort();
    assert_eq!(then, ["ops firing f:firing", "ops resolved b:resolved"]);
}

#[test]
fn outside_of_its_time_nobody_is_told_and_afterwards_what_still_holds() {
    let never = TimeInterval { years: vec![1999..=1999], ..TimeInterval::default() };
    let intervals = vec![("never".to_owned(), vec![never])];
    let root = Route { group_wait: Duration::ZERO, active_time_intervals: vec!["never".into()], ..by_service() };
    let mut fixture = Fixture::new(Routing::new(root.clone(), Vec::new(), intervals.clone()));
    let (a, b) = (firing("a", &[]), firing("b", &[]));
    fixture.record(&[&a, &b]);
    fixture.record(&[&b.resolved(at(200))]);
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told(), [""; 0]);
    let open = Route { active_time_intervals: Vec::new(), mute_time_intervals: vec!["never".into()], ..root };
    let fixture = fixture.restarted(Routing::new(open, Vec::new(), intervals));
    sleep(WAIT);
    fixture.flush();
    assert_eq!(fixture.told(), ["ops firing a:firing"]);
}

#[test]
fn alerts_of_others_last_until_they_are_over_or_nobody_speaks_of_them() {
    let fixture = Fixture::new(Routing::to_all(&receivers()[..1]));
    let dispatcher = fixture.dispatcher();
    let posted = |name: &str, ends_at| PostedAlert {
        labels: Labels::from_pairs([("alertname", name), ("job", "api")]),
        annotations: Labels::from_pairs([("summary", "s")]),
        starts_at: Some(at(50)),
        ends_at,
        generator_url: "http://prometheus/graph".into(),
    };
    let hour = Duration::from_hours(1);
    let bad = PostedAlert { labels: Labels::default(), ..posted("A", None) };
    let faults = dispatcher.post(&[posted("A", None), bad, posted("B", Some(clock::now().plus(hour)))], WAIT);
    assert_eq!(faults.expect("writes").len(), 1);
    let shown = dispatcher.alerts().expect("reads");
    assert_eq!((shown.len(), shown[0].generator_url.as_str()), (2, "http://prometheus/graph"));
    assert_eq!(fixture.ledger.reader().active_alerts().expect("reads").len(), 0, "an engine takes up its own only");
    // Said again, it goes on and is not told again.
    assert_eq!(dispatcher.post(&[posted("A", None)], WAIT).expect("writes").len(), 0);
    assert_eq!(fixture.told().len(), 2);
    sleep(WAIT);
    dispatcher.flush().expect("flushes");
    dispatcher.post(&[posted("B", Some(at(60)))], WAIT).expect("writes");
    let told: Vec<String> = fixture.told().iter().map(|t| t.split(' ').nth(1).unwrap_or_default().to_owned()).collect();
    assert_eq!(told, ["firing", "firing", "resolved", "resolved"]);
    assert_eq!(dispatcher.alerts().expect("reads").len(), 0);
    // It may come back.
    dispatcher.post(&[posted("B", Some(clock::now().plus(hour)))], WAIT).expect("writes");
    assert_eq!(fixture.told().len(), 5);
}

#[test]
fn alerts_of_one_incident_are_told_together_and_stay_so_to_their_end() {
    let root = Route { group_by_incident: true, group_by: GroupBy::Labels(vec!["service".into()]), ..by_service() };
    let mut fixture = Fixture::new(tree(root.clone()));
    let of = |seq: u32, incident: Option<&str>| {
        let mut found = anomaly(seq);
        found.incident_id = incident.map(str::to_owned);
        opened(found)
    };
    let decisions = [of(1, Some("inc-a1")), of(2, Some("inc-a1")), of(3, None)];
    fixture.ledger.record(&decisions, &fixture.receivers).expect("records");
    let with = |episode: &str, service: &str, cause: &str| {
        let mut alert = firing(episode, &[("service", service)]);
        alert.anomalies = vec![cause.to_owned()];
        alert
    };
    let (a, b) = (with("a", "x", "a1"), with("b", "y", "a2"));
    let (c, d) = (with("c", "x", "a3"), firing("d", &[("service", "x")]));
    fixture.record(&[&a, &b, &c, &d]);
    assert_eq!(shown(&fixture), ["{incident=\"inc-a1\"}: a b", "{service=\"x\"}: c d"]);
    sleep(WAIT);
    fixture.flush();
    let mut told = fixture.told();
    told.sort();
    assert_eq!(told, ["ops firing a:firing b:firing", "ops firing c:firing d:firing"]);
    // What comes to be of an incident later stays where it was told.
    let mut joined = anomaly(3);
    joined.incident_id = Some("inc-a1".into());
    fixture
        .ledger
        .record(&[Decision::Anomaly(detect::AnomalyEvent::Updated(joined))], &fixture.receivers)
        .expect("records");
    let mut fixture = fixture.restarted(tree(root));
    assert_eq!(shown(&fixture), ["{incident=\"inc-a1\"}: a b", "{service=\"x\"}: c d"], "as it was placed");
    sleep(WAIT);
    fixture.record(&[&a.resolved(at(200)), &c.resolved(at(200)), &b.resolved(at(200))]);
    sleep(WAIT);
    fixture.flush();
    let mut told = fixture.told()[2..].to_vec();
    told.sort();
    assert_eq!(told, ["ops firing d:firing c:resolved", "ops resolved a:resolved b:resolved"]);
}

/// The groups as they are shown: labels and episodes.
fn shown(fixture: &Fixture) -> Vec<String> {
    let groups = fixture.dispatcher().groups().expect("reads");
    let episodes = |alerts: &[ShownAlert]| alerts.iter().map(|s| format!(" {}", s.alert.episode)).collect::<String>();
    groups.iter().map(|group| format!("{}:{}", group.labels, episodes(&group.alerts))).collect()
}

/// How often the beginning and the end of `episode` were told, and of how many threads of messages.
fn told_of(fixture: &Fixture, episode: &str) -> [usize; 3] {
    let reader = fixture.ledger.reader();
    let page = Page { order: Order::Ascending, limit: 1000, after: None };
    let all = reader.deliveries(&DeliveryFilter::default(), page).expect("reads").items;
    let says = |payload: &str, status: &str| {
        let message: Value = serde_json::from_str(payload).expect("is JSON");
        let alerts = message["alerts"].as_array().expect("is a list");
        alerts.iter().any(|a| a["bellwether"]["episode"] == episode && a["status"] == status)
    };
    let mut threads = std::collections::BTreeSet::new();
    let mut count = |status: &str| {
        let about = all.iter().filter(|delivery| {
            let payload = reader.payload(&delivery.id).expect("reads").expect("is there");
            says(&payload, status)
        });
        about.map(|delivery| threads.insert(delivery.episode.clone())).count()
    };
    [count("firing"), count("resolved"), threads.len()]
}

#[test]
fn however_alerts_are_grouped_after_a_reload_each_is_in_one_group_and_its_end_is_told_once() {
    let labels = |name: &str| Route { group_by: GroupBy::Labels(vec![name.into()]), ..by_service() };
    let each = Route { group_by: GroupBy::Each(vec!["service".into()]), ..by_service() };
    let of_incident = |route: Route| Route { group_by_incident: true, ..route };
    let service = || labels("service");
    let changes = [
        (service(), labels("zone")),
        (service(), of_incident(service())),
        (of_incident(service()), service()),
        (service(), each.clone()),
        (each.clone(), service()),
        (each.clone(), of_incident(each.clone())),
        (of_incident(each.clone()), each.clone()),
        (each.clone(), Route { group_by: GroupBy::Each(vec!["zone".into()]), ..each }),
    ];
    for (before, after) in changes {
        let what = format!("{before:?} to {after:?}");
        let mut fixture = Fixture::new(tree(before.clone()));
        let mut cause = anomaly(1);
        cause.incident_id = Some("inc-a1".into());
        fixture.ledger.record(&[opened(cause)], &fixture.receivers).expect("records");
        let of = |episode: &str, zone: &str| {
            let mut alert = firing(episode, &[("service", "x"), ("zone", zone)]);
            alert.anomalies = vec!["a1".into()];
            alert
        };
        // One that was told, one that is over just before it would be told so, and one that nobody has heard of.
        let (told, over, untold) = (of("told", "1"), of("over", "1"), of("untold", "2"));
        fixture.record(&[&told, &over]);
        sleep(WAIT);
        fixture.flush();
        fixture.record(&[&over.resolved(at(200)), &untold]);
        fixture.ledger.route(tree(after.clone()), &fixture.receivers).expect("can be routed");
        let groups = shown(&fixture).join(" ");
        for episode in [" told", " untold"] {
            assert_eq!(groups.matches(episode).count(), 1, "{what}: {groups}");
        }
        sleep(WAIT * 2);
        fixture.flush();
        assert_eq!([told_of(&fixture, "untold")[0], told_of(&fixture, "over")[1]], [1, 1], "{what}");
        // And back, with all of it told.
        fixture.ledger.route(tree(before), &fixture.receivers).expect("can be routed");
        sleep(WAIT);
        fixture.record(&[&told.resolved(at(300)), &untold.resolved(at(300))]);
        sleep(WAIT);
        fixture.flush();
        for episode in ["told", "over", "untold"] {
            let [_, ends, threads] = told_of(&fixture, episode);
            assert_eq!((ends, threads), (1, 1), "{what}: {episode} {:?}", fixture.told());
        }
        assert_eq!(shown(&fixture), [""; 0], "{what}");
    }
}

#[test]
fn a_node_for_some_alerts_of_a_receiver_does_not_tell_again_what_was_told_above_it() {
    let mut fixture = Fixture::new(tree(by_service()));
    let (a, b) = (firing("a", &[("service", "x")]), firing("b", &[("service", "x")]));
    fixture.record(&[&a]);
    sleep(WAIT);
    fixture.flush();
    let matchers = Matcher::parse_list("service=x").expect("is one");
    let below = Route { matchers, group_by: GroupBy::Each(Vec::new()), ..by_service() };
    let other = Route { continues: true, receiver: Some("db".into()), ..below.clone() };
    fixture
        .ledger
        .route(tree(Route { routes: vec![other, below], ..by_service() }), &fixture.receivers)
        .expect("is one");
    fixture.record(&[&b]);
    sleep(WAIT);
    fixture.flush();
    for end in [&a, &b] {
        fixture.record(&[&end.clone().resolved(at(200))]);
    }
    sleep(WAIT);
    fixture.flush();
    let mut told = fixture.told();
    told.sort();
    let begins = ["db firing a:firing", "db firing b:firing", "ops firing a:firing", "ops firing b:firing"];
    let ends =
        ["db resolved a:resolved", "db resolved b:resolved", "ops resolved a:resolved", "ops resolved b:resolved"];
    assert_eq!(told, [&begins[..2], &ends[..2], &begins[2..], &ends[2..]].concat());
}
