use super::*;
use crate::{CallGraph, peers::Peers, testing::Feed};

fn at(second: i64) -> UnixNanos {
    UnixNanos(second * 1_000_000_000)
}

/// Second, name, labels and value.
type Sent<'a> = (i64, &'a str, &'a [(&'a str, &'a str)], f64);

/// The state of the only breaker after each of `samples`: second, name, labels and value.
fn states(samples: &[Sent<'_>]) -> Vec<BreakerState> {
    let (mut feed, mut breakers, mut out) = (Feed::default(), Breakers::default(), Vec::new());
    let mut seconds: Vec<i64> = samples.iter().map(|(second, ..)| *second).collect();
    seconds.dedup();
    for now in seconds {
        for (second, name, labels, value) in samples.iter().filter(|(second, ..)| *second == now) {
            let labels: Vec<_> = labels.iter().copied().chain([("job", "shop/checkout")]).collect();
            feed.gauge(name, &labels, *second, *value);
        }
        breakers.update(&feed.snapshot(), at(now));
        assert_eq!(breakers.iter().count(), 1);
        out.extend(breakers.iter().map(|breaker| breaker.state));
    }
    out
}

use BreakerState::{Closed, HalfOpen, Open, Unknown};

#[test]
fn the_plain_gauge_is_read_by_its_numbers() {
    let name = "circuit_breaker_state";
    let one = |second, value| (second, name, [("breaker", "tax")].as_slice(), value);
    let got = states(&[one(1, 0.0), one(2, 1.0), one(3, 2.0), one(4, 7.0), one(5, f64::NAN)]);
    assert_eq!(got, [Closed, Open, HalfOpen, Unknown, Unknown]);
}

#[test]
fn one_gauge_for_each_state_is_that_which_is_not_zero() {
    for (name, key, half) in [
        ("resilience4j_circuitbreaker_state", "name", "half_open"),
        ("ft.circuitbreaker.state.current", "method", "halfOpen"),
    ] {
        let names = ["closed", "open", half, "disabled"];
        let labels = names.map(|state| [(key, "tax"), ("state", state)]);
        let mut samples: Vec<Sent<'_>> = Vec::new();
        for (second, is) in (1..).zip(names) {
            for (state, labels) in names.iter().zip(&labels) {
                samples.push((second, name, labels, if *state == is { 1.0 } else { 0.0 }));
            }
        }
        assert_eq!(states(&samples), [Closed, Open, HalfOpen, Unknown], "{name}");
    }
}

#[test]
fn time_in_a_state_is_the_state_that_grows() {
    let name = "ft.circuitbreaker.state.total";
    let closed = [("method", "Tax.of"), ("state", "closed")];
    let open = [("method", "Tax.of"), ("state", "open")];
    let got = states(&[
        (10, name, &closed, 5e9),
        (10, name, &open, 3e9),
        (20, name, &closed, 15e9),
        (20, name, &open, 3e9),
        (30, name, &closed, 16e9),
        (30, name, &open, 12e9),
        (40, name, &closed, 16e9),
        (40, name, &open, 22e9),
    ]);
    assert_eq!(got, [Unknown, Closed, Open, Open]);
}

#[test]
fn events_are_unknown_until_the_first_and_then_the_last() {
    for (name, key, event, fire, opened, half, closed) in [
        ("circuit", "name", "event", "fire", "open", "halfOpen", "close"),
        (
            "resilience.polly.strategy.events",
            "pipeline_name",
            "event_name",
            "OnTimeout",
            "OnCircuitOpened",
            "OnCircuitHalfOpened",
            "OnCircuitClosed",
        ),
    ] {
        let of = |what| [(key, "tax"), (event, what)];
        let got = states(&[
            (1, name, &of(fire), 9.0),
            (2, name, &of(opened), 1.0),
            (3, name, &of(half), 1.0),
            (4, name, &of(opened), 2.0),
            (5, name, &of(closed), 1.0),
            (6, name, &of(closed), 1.0),
        ]);
        assert_eq!(got, [Unknown, Open, HalfOpen, Open, Closed, Closed], "{name}");
        // What it begins with may be long ago.
        assert_eq!(states(&[(1, name, &of(opened), 3.0), (2, name, &of(opened), 3.0)]), [Unknown, Unknown]);
    }
}

#[test]
fn envoys_limits_are_open_when_one_is_reached() {
    let name = |kind: &str| format!("cluster.tax.circuit_breakers.default.{kind}_open");
    let (cx, rq) = (name("cx"), name("rq"));
    let got = states(&[(1, &cx, &[], 0.0), (1, &rq, &[], 0.0), (2, &cx, &[], 0.0), (2, &rq, &[], 1.0)]);
    assert_eq!(got, [Closed, Open]);
    let labelled = [("envoy_cluster_name", "tax")];
    assert_eq!(states(&[(1, "envoy_cluster_circuit_breakers_high_rq_open", &labelled, 1.0)]), [Open]);
}

#[test]
fn a_breaker_that_is_silent_is_unknown_and_then_forgotten() {
    let (mut feed, mut breakers) = (Feed::default(), Breakers::default());
    feed.gauge("circuit_breaker_state", &[("job", "a"), ("breaker", "tax")], 1, 0.0);
    let snapshot = feed.snapshot();
    breakers.update(&snapshot, at(1));
    assert!(breakers.published(at(1))[0].value.abs() < f64::EPSILON);
    breakers.update(&snapshot, at(302));
    assert_eq!(breakers.iter().next().map(|b| (b.state, b.since)), Some((Unknown, at(302))));
    assert!(breakers.published(at(302)).is_empty(), "unknown is not closed");
    breakers.update(&snapshot, at(3_700));
    assert_eq!(breakers.iter().count(), 0);
}

#[test]
fn an_open_breaker_reaches_callers_and_a_closed_one_nobody() {
    let (mut feed, mut breakers) = (Feed::default(), Breakers::default());
    let labels = [("job", "shop/checkout"), ("breaker", "tax_service")];
    feed.gauge("circuit_breaker_state", &labels, 1, 1.0);
    breakers.update(&feed.snapshot(), at(1));
    let (mut graph, mut peers) = (CallGraph::default(), Peers::default());
    graph.note("shop/api", "shop/checkout", at(1));
    for (peer, caller) in [("tax-service", "shop/billing"), ("x", "shop/other")] {
        peers.note(peer, caller, at(1));
    }
    let effects = Effects::of(&breakers, &graph, &peers);
    let shown: Vec<_> = effects.caps.iter().map(|cap| (&*cap.service, cap.health)).collect();
    assert_eq!(shown, [("shop/checkout", 0.85), ("shop/api", 0.85), ("shop/billing", 0.85)]);
    assert!(effects.caps[1].because.starts_with("shop/checkout, which it calls, has opened its circuit breaker"));
    assert!(effects.holds_back("shop/api") && effects.holds_back("shop/checkout") && !effects.holds_back("shop/other"));
    feed.gauge("circuit_breaker_state", &labels, 2, 2.0);
    breakers.update(&feed.snapshot(), at(2));
    let effects = Effects::of(&breakers, &graph, &peers);
    assert_eq!((effects.caps.len(), effects.caps[0].health), (1, 0.95));
    feed.gauge("circuit_breaker_state", &labels, 3, 0.0);
    breakers.update(&feed.snapshot(), at(3));
    assert_eq!(Effects::of(&breakers, &graph, &peers), Effects::default());
}
