//! Fairness and limits on a clock of the tests' own.

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, ResourceMetrics, ScopeMetrics, metric},
};
use prost::Message as _;

use super::*;

const MIB: u64 = 1 << 20;
/// A queue that takes no more, in percent.
const SHORT: u64 = 95;

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("is a name")
}

fn admission(config: &AdmissionConfig) -> Admission {
    Admission::new(config, Arc::default())
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn load(bytes: u64) -> Load {
    Load { items: 1, bytes }
}

fn metrics(bytes: u64) -> (Signal, Load) {
    (Signal::Metrics, load(bytes))
}

/// Lets in as many requests of one unit as there is room for.
fn flood(admission: &Admission, name: &Tenant, now: Duration) -> (Vec<Ticket>, Refusal) {
    let mut tickets = Vec::new();
    loop {
        match admission.enter(name, metrics(1), 0, now) {
            Ok(ticket) => tickets.push(ticket),
            Err(refusal) => return (tickets, refusal),
        }
    }
}

#[test]
fn one_tenant_alone_has_the_whole_limit_and_a_full_service_is_busy() {
    let admission = admission(&AdmissionConfig::default());
    let (tickets, refusal) = flood(&admission, &Tenant::default(), secs(1.0));
    assert_eq!(tickets.len(), 200);
    assert!(refusal.outcome == Outcome::Busy && refusal.retry_after.is_some(), "{refusal:?}");
    drop(tickets);
    assert!(admission.enter(&Tenant::default(), metrics(1), 0, secs(1.0)).is_ok());
}

#[test]
fn a_large_request_takes_as_many_units_as_it_weighs() {
    let admission = admission(&AdmissionConfig::default());
    let one = Tenant::default();
    let mut first = admission.enter(&one, metrics(1), 0, secs(1.0)).expect("there is room");
    first.weigh(&[], load(150 * MIB), secs(1.0)).expect("there is room");
    let (mut tickets, _) = flood(&admission, &one, secs(1.0));
    assert_eq!(tickets.len(), 50);
    let refusal = tickets[0].weigh(&[], load(10 * MIB), secs(1.0)).expect_err("there is no room to grow");
    assert_eq!(refusal.outcome, Outcome::Busy);
}

#[test]
fn many_items_weigh_although_they_have_few_bytes() {
    assert_eq!(cost(Load { items: 1 << 20, bytes: 7 }), 256 << 20);
    assert_eq!(cost(Load { items: 1, bytes: 1000 }), 1000);
}

#[test]
fn a_flood_is_held_at_its_share_and_others_come_in() {
    let config = AdmissionConfig {
        tenants: [(tenant("gold"), TenantLimits { weight: 3, ..TenantLimits::default() })].into(),
        ..AdmissionConfig::default()
    };
    let admission = admission(&config);
    let (elephant, mouse, gold) = (tenant("elephant"), tenant("mouse"), tenant("gold"));
    let (mut flooding, _) = flood(&admission, &elephant, secs(1.0));
    assert_eq!(flooding.len(), 200, "there was room");
    let (mice, refusal) = flood(&admission, &mouse, secs(1.1));
    assert_eq!((mice.len(), refusal.outcome), (100, Outcome::Limited), "a half each");
    let (golden, _) = flood(&admission, &gold, secs(1.2));
    assert_eq!(golden.len(), 120, "three fifths");
    // The flood gives back and asks again, and gets nothing while the others use their shares.
    flooding.truncate(60);
    assert!(admission.enter(&elephant, metrics(1), 0, secs(1.3)).is_err());
    flooding.truncate(39);
    assert!(admission.enter(&elephant, metrics(1), 0, secs(1.3)).is_ok(), "below its fifth");
}

#[test]
fn mice_pass_at_once_while_an_elephant_asks_fifty_times_as_often() {
    let admission = admission(&AdmissionConfig::default());
    let elephant = tenant("elephant");
    let mice: Vec<Tenant> = (0..99).map(|i| tenant(&format!("mouse-{i}"))).collect();
    // What is in flight, and when it will be answered: each request takes half a second.
    let mut in_flight: Vec<(f64, bool, Ticket)> = Vec::new();
    let (mut refused, mut asked, mut elephants) = (0, 0, 0);
    for step in 0..4_000_u32 {
        let now = f64::from(step) * 0.01;
        in_flight.retain(|(until, _, _)| *until > now);
        for _ in 0..50 {
            if let Ok(ticket) = admission.enter(&elephant, metrics(1), 0, secs(now)) {
                in_flight.push((now + 0.5, true, ticket));
                elephants += 1;
            }
        }
        let mouse = &mice[step as usize % 99];
        asked += 1;
        match admission.enter(mouse, metrics(1), 0, secs(now)) {
            Ok(ticket) => in_flight.push((now + 0.5, false, ticket)),
            Err(_) => refused += 1,
        }
    }
    assert_eq!((refused, asked), (0, 4_000));
    let idle_room = in_flight.iter().filter(|(_, is_elephant, _)| *is_elephant).count();
    assert!(idle_room >= 100, "room that nobody else wants is used: {idle_room}");
    assert!(elephants > 4_000, "{elephants}");
}

#[test]
fn the_door_is_never_wholly_shut_for_a_tenant() {
    let admission = admission(&AdmissionConfig { max_tenants: 501, ..AdmissionConfig::default() });
    let (_all, _) = flood(&admission, &tenant("a"), secs(1.0));
    for i in 0..500 {
        let ticket = admission.enter(&tenant(&format!("t{i}")), metrics(1), SHORT, secs(1.0));
        let mut ticket = ticket.expect("has nothing in flight");
        ticket.weigh(&[], load(300 * MIB), secs(1.0)).expect("is the only one of its tenant");
    }
}

#[test]
fn behind_a_short_queue_tenants_share_what_is_in_flight() {
    let admission = admission(&AdmissionConfig::default());
    let (a, b) = (tenant("a"), tenant("b"));
    let mut flooding: Vec<Ticket> =
        (0..20).map(|_| admission.enter(&a, metrics(1), 0, secs(1.0)).expect("there is room")).collect();
    let refusal = admission.enter(&a, metrics(1), SHORT, secs(1.0)).expect_err("is more than can be done");
    assert_eq!(refusal.outcome, Outcome::Busy);
    let _b: Vec<Ticket> =
        (0..10).map(|_| admission.enter(&b, metrics(1), SHORT, secs(1.0)).expect("within its share")).collect();
    flooding.truncate(15);
    let refusal = admission.enter(&a, metrics(1), SHORT, secs(1.0)).expect_err("is over its share");
    assert_eq!(refusal.outcome, Outcome::Limited);
    flooding.clear();
    assert!(admission.enter(&a, metrics(1), SHORT, secs(1.0)).is_ok(), "has nothing in flight");
    assert!(admission.enter(&b, metrics(1), 0, secs(1.0)).is_ok(), "there is room again");
}

#[test]
fn rates_hold_per_tenant_and_say_how_long_to_wait() {
    let rate = Rate { per_second: 1000, burst: 1000 };
    let limited = TenantLimits { items: Some(rate), bytes: Some(Rate { burst: 4000, ..rate }), weight: 1 };
    let config = AdmissionConfig { default: limited, ..AdmissionConfig::default() };
    let admission = admission(&config);
    let take = |name: &str, items, bytes, now| {
        let mut ticket =
            admission.enter(&tenant(name), (Signal::Metrics, Load::default()), 0, secs(now)).expect("there is room");
        ticket.weigh(&[], Load { items, bytes }, secs(now))
    };
    take("a", 1000, 1, 1.0).expect("is within the burst");
    let refusal = take("a", 1000, 1, 1.0).expect_err("is over the rate of items");
    assert!(refusal.message.contains("1000 items per second"), "{}", refusal.message);
    assert_eq!((refusal.outcome, refusal.retry_after.is_some()), (Outcome::Limited, true));
    take("b", 1000, 1, 1.0).expect("is another tenant");
    take("a", 1, 5000, 2.0).expect("owes no bytes yet");
    let refusal = take("a", 1, 4000, 2.0).expect_err("is over the rate of bytes");
    assert!(refusal.message.contains("decoded bytes"), "{}", refusal.message);
    assert!(refusal.retry_after.is_some_and(|wait| wait >= secs(5.0)), "{refusal:?}");
    take("a", 900, 1, 3.0).expect_err("still owes a byte too many");
    take("a", 1000, 0, 3.0).expect("a refusal by one rate takes nothing from the other");
}

#[test]
fn tenants_are_bounded_and_idle_ones_forgotten() {
    let config = AdmissionConfig { max_tenants: 3, ..AdmissionConfig::default() };
    let admission = admission(&config);
    let enter = |name: &str, now| admission.enter(&tenant(name), metrics(1), 0, secs(now));
    for name in ["a", "b", "c", "a"] {
        enter(name, 1.0).expect("there is room");
    }
    let refusal = enter("d", 2.0).expect_err("is one too many");
    assert!(refusal.outcome == Outcome::Busy && refusal.message.contains('3'), "{refusal:?}");
    let _busy = enter("a", 10.5).expect("is known");
    enter("d", 12.0).expect("b and c are idle");
    enter("e", 12.0).expect("b and c are idle");
    assert!(enter("f", 12.0).is_err(), "a is in flight, d and e are active");
}

#[test]
fn the_limit_follows_the_time_that_work_takes() {
    let admission = admission(&AdmissionConfig::default());
    let one = Tenant::default();
    let mut now = 0.0;
    let round = |seconds: f64, now: &mut f64| {
        let (tickets, _) = flood(&admission, &one, secs(*now));
        let count = tickets.len();
        *now += seconds;
        for ticket in tickets {
            ticket.finish(secs(*now));
        }
        count
    };
    for _ in 0..60 {
        round(0.1, &mut now);
    }
    assert_eq!(round(0.1, &mut now), 200);
    let slowed = now;
    while round(0.4, &mut now) > 100 {
        assert!(now < slowed + 30.0, "the limit does not follow");
    }
}

/// Requests in flight of one tenant, by class, when each class comes as long as it is let in, the least first.
fn fill(admission: &Admission, requests: &[(Signal, Vec<u8>)], queue: u64, now: f64) -> (Vec<usize>, Vec<Ticket>) {
    let mut tickets: Vec<Ticket> = Vec::new();
    let counts = requests.iter().zip(0_u8..).map(|((signal, request), i)| {
        let (before, now) = (tickets.len(), now + 0.15 * f64::from(i));
        while let Ok(mut ticket) = admission.enter(&Tenant::default(), (*signal, load(1)), queue, secs(now)) {
            if ticket.weigh(request, load(1), secs(now)).is_err() {
                break;
            }
            tickets.push(ticket);
        }
        tickets.len() - before
    });
    (counts.collect(), tickets)
}

/// One request of each class.
fn of_each_class() -> Vec<(Signal, Vec<u8>)> {
    let log = |severity_number| {
        let log_records = vec![LogRecord { severity_number, ..LogRecord::default() }];
        let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        (Signal::Logs, ExportLogsServiceRequest { resource_logs }.encode_to_vec())
    };
    let metric = |name: &str| {
        let data = Some(metric::Data::Gauge(Gauge::default()));
        let metrics = vec![Metric { name: name.into(), data, ..Metric::default() }];
        let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        (Signal::Metrics, ExportMetricsServiceRequest { resource_metrics }.encode_to_vec())
    };
    vec![log(5), log(9), (Signal::Traces, Vec::new()), metric("any"), metric("used")]
}

fn with_rules() -> Admission {
    let used = UsedMetrics::new([Some("used:expected")]);
    admission(&AdmissionConfig { used, ..AdmissionConfig::default() })
}

#[test]
fn each_class_leaves_a_part_to_those_above_it() {
    let (admission, requests) = (with_rules(), of_each_class());
    let (_, first) = fill(&admission, &requests, 0, 1.0);
    drop(first);
    // From now on all classes are known to be sent.
    let (counts, tickets) = fill(&admission, &requests, 0, 2.0);
    // Below 120 nobody looks, and the first one that is seen to be up to DEBUG is the only one in flight.
    assert_eq!(counts, [121, 19, 20, 20, 20], "of 200");
    let refusal = admission.enter(&Tenant::default(), (Signal::Logs, load(1)), 0, secs(2.0)).expect_err("is full");
    assert_eq!((refusal.outcome, refusal.retry_after.is_some()), (Outcome::Busy, true));
    drop(tickets);
    // What is above goes first, down to the least.
    let reversed: Vec<_> = requests.into_iter().rev().collect();
    let (counts, _tickets) = fill(&admission, &reversed, 0, 3.0);
    assert_eq!(counts, [200, 1, 1, 1, 1], "one of each class of a tenant is always let in");
}

#[test]
fn nothing_is_kept_for_what_is_not_sent() {
    let (admission, requests) = (with_rules(), of_each_class());
    let (counts, tickets) = fill(&admission, &requests[2..3], 0, 1.0);
    assert_eq!(counts, [200], "there are spans only");
    drop(tickets);
    let (_, tickets) = fill(&admission, &requests[4..], 0, 2.0);
    drop(tickets);
    let (counts, tickets) = fill(&admission, &requests[2..3], 0, 3.0);
    assert_eq!(counts, [160], "there are metrics too");
    drop(tickets);
    let (counts, _tickets) = fill(&admission, &requests[2..3], 0, 20.0);
    assert_eq!(counts, [200], "there were metrics");
}

#[test]
fn a_queue_that_fills_is_closed_to_what_matters_least_first() {
    let (admission, requests) = (with_rules(), of_each_class());
    let (counts, _in_flight) = fill(&admission, &requests, SHORT, 1.0);
    assert_eq!(counts, [1; 5], "one of each is always let in");
    for (queue, closed) in [(50, 0), (60, 1), (70, 2), (80, 3), (85, 4), (95, 5)] {
        let (counts, _tickets) = fill(&admission, &requests, queue, 2.0);
        let open: Vec<bool> = counts.iter().map(|count| *count > 0).collect();
        let expected: Vec<bool> = (0..5).map(|class| class >= closed).collect();
        assert_eq!(open, expected, "{queue} %: {counts:?}");
    }
}

#[test]
fn a_tenants_logs_do_not_wait_for_another_ones_metrics() {
    let (admission, requests) = (with_rules(), of_each_class());
    let (signal, used) = &requests[4];
    let mut flooding = Vec::new();
    while let Ok(mut ticket) = admission.enter(&tenant("elephant"), (*signal, load(1)), 0, secs(1.0)) {
        if ticket.weigh(used, load(1), secs(1.0)).is_err() {
            break;
        }
        flooding.push(ticket);
    }
    let log = || {
        let mut ticket = admission.enter(&tenant("mouse"), (Signal::Logs, load(1)), 0, secs(1.0))?;
        ticket.weigh(&requests[1].1, load(1), secs(1.0)).map(|()| ticket)
    };
    let mice: Vec<Ticket> = (0..200).map_while(|_| log().ok()).collect();
    assert_eq!((flooding.len(), mice.len()), (200, 70), "of its half the part of logs");
}
