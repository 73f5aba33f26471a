//! Fairness and limits on a clock of the tests' own.

use super::*;

const MIB: u64 = 1 << 20;

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

/// Lets in as many requests of one unit as there is room for.
fn flood(admission: &Admission, name: &Tenant, now: Duration) -> (Vec<Ticket>, Refusal) {
    let mut tickets = Vec::new();
    loop {
        match admission.enter(name, load(1), false, now) {
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
    assert!(admission.enter(&Tenant::default(), load(1), false, secs(1.0)).is_ok());
}

#[test]
fn a_large_request_takes_as_many_units_as_it_weighs() {
    let admission = admission(&AdmissionConfig::default());
    let one = Tenant::default();
    let mut first = admission.enter(&one, load(1), false, secs(1.0)).expect("there is room");
    first.weigh(load(150 * MIB), secs(1.0)).expect("there is room");
    let (mut tickets, _) = flood(&admission, &one, secs(1.0));
    assert_eq!(tickets.len(), 50);
    let refusal = tickets[0].weigh(load(10 * MIB), secs(1.0)).expect_err("there is no room to grow");
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
    assert!(admission.enter(&elephant, load(1), false, secs(1.3)).is_err());
    flooding.truncate(39);
    assert!(admission.enter(&elephant, load(1), false, secs(1.3)).is_ok(), "below its fifth");
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
            if let Ok(ticket) = admission.enter(&elephant, load(1), false, secs(now)) {
                in_flight.push((now + 0.5, true, ticket));
                elephants += 1;
            }
        }
        let mouse = &mice[step as usize % 99];
        asked += 1;
        match admission.enter(mouse, load(1), false, secs(now)) {
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
        let ticket = admission.enter(&tenant(&format!("t{i}")), load(1), true, secs(1.0));
        let mut ticket = ticket.expect("has nothing in flight");
        ticket.weigh(load(300 * MIB), secs(1.0)).expect("is the only one of its tenant");
    }
}

#[test]
fn a_short_queue_is_shared_like_a_full_service() {
    let admission = admission(&AdmissionConfig::default());
    let (a, b) = (tenant("a"), tenant("b"));
    let _b = admission.enter(&b, load(1), false, secs(1.0)).expect("there is room");
    let _a: Vec<Ticket> =
        (0..100).map(|_| admission.enter(&a, load(1), true, secs(1.0)).expect("within its share")).collect();
    let refusal = admission.enter(&a, load(1), true, secs(1.0)).expect_err("is over its share");
    assert_eq!(refusal.outcome, Outcome::Limited);
    assert!(admission.enter(&a, load(1), false, secs(1.0)).is_ok(), "there is room again");
}

#[test]
fn rates_hold_per_tenant_and_say_how_long_to_wait() {
    let rate = Rate { per_second: 1000, burst: 1000 };
    let limited = TenantLimits { items: Some(rate), bytes: Some(Rate { burst: 4000, ..rate }), weight: 1 };
    let config = AdmissionConfig { default: limited, ..AdmissionConfig::default() };
    let admission = admission(&config);
    let take = |name: &str, items, bytes, now| {
        let mut ticket = admission.enter(&tenant(name), Load::default(), false, secs(now)).expect("there is room");
        ticket.weigh(Load { items, bytes }, secs(now))
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
    let enter = |name: &str, now| admission.enter(&tenant(name), load(1), false, secs(now));
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
