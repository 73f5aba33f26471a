use super::*;
use crate::{AlertState, rules, testing::Feed};

const CALLS: &str = "traces_span_metrics_calls_total";
const P95: &str = "traces_span_metrics_duration_seconds:p95";

fn secs(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn quick() -> EngineConfig {
    let mut config = EngineConfig::default();
    config.zscore.publish_every = Duration::from_secs(10);
    config.assess_every = Duration::from_secs(10);
    config.level.hold_up = Duration::from_secs(30);
    config.level.hold_down = Duration::from_secs(60);
    config.rules = rules::read(
        "r.yaml",
        "groups:\n- name: g\n  interval: 10s\n  rules:\n  - alert: MarginLow\n    expr: margin < 0.9\n    labels: {severity: critical}\n",
        "",
    )
    .expect("is a valid rule file");
    config
}

/// A shop of two services, sampled every 10 s, driven through an engine.
struct Shop {
    feed: Feed,
    engine: Engine,
    said: Vec<Decision>,
}

impl Shop {
    fn new(config: EngineConfig, memory: Memory) -> Self {
        Self { feed: Feed::default(), engine: Engine::new(config, memory), said: Vec::new() }
    }

    /// Values at second `t`: latency of pricing, margin, and whether checkout still sends.
    fn step(&mut self, t: i64, p95: f64, margin: f64, checkout_sends: bool) {
        let noise = ((t / 10 * 7_919) % 41) as f64 / 41.0 - 0.5;
        let pricing = [("job", "shop/pricing"), ("span_name", "price"), ("span_kind", "SPAN_KIND_SERVER")];
        let mut points = vec![
            self.feed.gauge(P95, &pricing, t, p95 * (1.0 + 0.1 * noise)),
            self.feed.gauge("margin", &[("job", "shop/pricing")], t, margin + 0.005 * noise),
        ];
        let mut ok = pricing.to_vec();
        ok.push(("status_code", "STATUS_CODE_UNSET"));
        self.feed.counter(CALLS, &ok, t, t as f64);
        let (pricing, checkout): (Arc<str>, Arc<str>) = ("shop/pricing".into(), "shop/checkout".into());
        let mut heard = vec![(&pricing, secs(t))];
        if checkout_sends {
            points.push(self.feed.gauge("orders", &[("job", "shop/checkout")], t, 40.0 + noise));
            heard.push((&checkout, secs(t)));
        }
        let registry = self.feed.window.registry();
        let out = self.engine.observe(&points, registry, heard.into_iter());
        self.said.extend(out.decisions);
        for p in out.published {
            let series = Arc::clone(self.feed.window.registry().get(p.of).expect("was judged"));
            let labels: Vec<(String, String)> =
                series.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            for (suffix, value) in p.values() {
                let name = format!("{}{suffix}", series.name);
                self.feed.push(&name, &labels, window::SeriesKind::Published, t, value);
            }
        }
        let snapshot = self.feed.window.seal();
        let out = self.engine.evaluate(snapshot, secs(t));
        assert_eq!(out.failures, []);
        self.said.extend(out.decisions);
    }

    /// Announced alerts as (second, name and state).
    fn alerts(&self) -> Vec<(i64, String)> {
        self.said
            .iter()
            .filter_map(|d| match d {
                Decision::Alert(t) if t.is_announced() => {
                    Some((t.at.0 / 1_000_000_000, format!("{} {}", t.alert.name(), t.alert.state.as_str())))
                }
                _ => None,
            })
            .collect()
    }

    fn levels(&self, service: Option<&str>) -> Vec<u8> {
        self.said
            .iter()
            .filter_map(|d| match d {
                Decision::Level(change) if change.service.as_deref() == service => Some(change.to.number()),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn a_latency_step_is_found_explained_alerted_and_lowers_service() {
    let mut shop = Shop::new(quick(), Memory::default());
    for t in (0..3_000).step_by(10) {
        shop.step(t, if (1_000..1_600).contains(&t) { 0.4 } else { 0.1 }, 1.0, true);
    }
    let anomalies: Vec<&Anomaly> = shop
        .said
        .iter()
        .filter_map(|d| match d {
            Decision::Anomaly(AnomalyEvent::Opened(a)) => Some(a),
            _ => None,
        })
        .collect();
    assert_eq!(anomalies.len(), 1, "{anomalies:?}");
    assert_eq!((anomalies[0].starts_at, anomalies[0].seq), (secs(1_000), 1));
    assert!(anomalies[0].runbook_url.as_ref().is_some_and(|u| u.ends_with("/high-latency")));
    let alerts = shop.alerts();
    let names: Vec<&str> = alerts.iter().map(|(_, n)| n.as_str()).collect();
    assert_eq!(names, ["LatencyAnomaly firing", "LatencyAnomaly resolved"]);
    assert!((1_060..=1_070).contains(&alerts[0].0), "{alerts:?}");
    // First the latency objective argues for level 1, then the critical alert for level 2.
    assert_eq!(shop.levels(Some("shop/pricing")), [1, 2, 1, 0]);
    assert_eq!(shop.levels(None), [1, 2, 1, 0]);
    assert_eq!(shop.levels(Some("shop/checkout")), []);
}

#[test]
fn calm_data_says_nothing() {
    let mut shop = Shop::new(quick(), Memory::default());
    for t in (0..8_000).step_by(10) {
        shop.step(t, 0.1, 1.0, true);
    }
    assert_eq!(shop.said, []);
}

#[test]
fn a_rule_fires_with_its_level() {
    let mut shop = Shop::new(quick(), Memory::default());
    for t in (0..2_000).step_by(10) {
        shop.step(t, 0.1, if (1_000..1_200).contains(&t) { 0.8 } else { 1.0 }, true);
    }
    assert_eq!(shop.alerts(), [(1_000, "MarginLow firing".into()), (1_200, "MarginLow resolved".into())]);
    assert_eq!(shop.levels(None), [2, 1, 0]);
}

#[test]
fn a_service_that_stops_sending_is_missed_and_its_level_is_frozen() {
    let mut shop = Shop::new(quick(), Memory::default());
    for t in (0..1_500).step_by(10) {
        shop.step(t, 0.1, 1.0, !(1_000..1_300).contains(&t));
        if t == 1_200 {
            let levels = shop.engine.levels();
            let checkout = levels.iter().find(|l| l.service.as_deref() == Some("shop/checkout"));
            assert!(checkout.is_some_and(|l| l.frozen && l.because[0].contains("frozen")), "{levels:?}");
        }
    }
    assert_eq!(shop.alerts(), [(1_120, "TelemetryGap firing".into()), (1_300, "TelemetryGap resolved".into())]);
    assert_eq!(shop.levels(None), []);
}

#[test]
fn decisions_are_the_same_in_every_run() {
    let go = || {
        let mut shop = Shop::new(quick(), Memory::default());
        for t in (0..2_500).step_by(10) {
            shop.step(t, if t % 900 > 700 { 0.5 } else { 0.1 }, if t % 700 > 650 { 0.7 } else { 1.0 }, t % 800 < 600);
        }
        shop.said
    };
    let said = go();
    assert!(said.len() > 10);
    assert_eq!(said, go());
}

/// `engine` as it is after it was written down and read again.
fn restarted(engine: &Engine, snapshot: Snapshot) -> Engine {
    let bytes = postcard::to_stdvec(engine).expect("can be written");
    let read: Engine = postcard::from_bytes(&bytes).expect("can be read");
    let resumed = read.resume(quick(), snapshot);
    assert_eq!(postcard::to_stdvec(&resumed).expect("can be written"), bytes);
    resumed
}

#[test]
fn a_run_that_was_interrupted_decides_as_one_that_was_not() {
    let disturbed = |t: i64, shop: &mut Shop| {
        let p95 = if (1_000..1_600).contains(&t) { 0.4 } else { 0.1 };
        let margin = if (1_300..1_700).contains(&t) { 0.8 } else { 1.0 };
        shop.step(t, p95, margin, !(2_000..2_500).contains(&t));
    };
    let mut whole = Shop::new(quick(), Memory::default());
    (0..3_000).step_by(10).for_each(|t| disturbed(t, &mut whole));
    for every in [10, 370] {
        let mut cut = Shop::new(quick(), Memory::default());
        for t in (0..3_000).step_by(10) {
            disturbed(t, &mut cut);
            if t % every == 0 {
                let snapshot = cut.feed.snapshot();
                cut.engine = restarted(&cut.engine, snapshot);
            }
        }
        assert!(whole.said.len() > 10 && whole.said == cut.said, "interrupted every {every} s");
    }
}

#[test]
fn an_absence_of_our_own_resolves_nothing_and_misses_nobody() {
    for away in [20, 300, 7_200, 172_800] {
        let mut shop = Shop::new(quick(), Memory::default());
        for t in (0..1_200).step_by(10) {
            shop.step(t, 0.1, if t >= 1_000 { 0.8 } else { 1.0 }, true);
        }
        assert_eq!(shop.alerts(), [(1_000, "MarginLow firing".into())]);
        let snapshot = shop.feed.snapshot();
        shop.engine = restarted(&shop.engine, snapshot);
        shop.engine.was_away(Duration::from_secs(away));
        let back = 1_200 + i64::try_from(away).expect("is small");
        for t in (back..back + 600).step_by(10) {
            // Checkout comes back half a minute later than pricing.
            shop.step(t, 0.1, if t < back + 300 { 0.8 } else { 1.0 }, t >= back + 30);
        }
        let alerts = shop.alerts();
        assert_eq!(alerts.len(), 2, "{away}: {alerts:?}");
        assert_eq!(alerts[1], (back + 300, "MarginLow resolved".into()), "{away}");
    }
}

#[test]
fn an_alert_of_a_rule_that_is_gone_resolves_after_a_restart() {
    let mut shop = Shop::new(quick(), Memory::default());
    for t in (0..1_200).step_by(10) {
        shop.step(t, 0.1, if t >= 1_000 { 0.8 } else { 1.0 }, true);
    }
    let bytes = postcard::to_stdvec(&shop.engine).expect("can be written");
    let read: Engine = postcard::from_bytes(&bytes).expect("can be read");
    let config = EngineConfig { rules: Vec::new(), ..quick() };
    shop.engine = read.resume(config, shop.feed.snapshot());
    shop.step(1_200, 0.1, 0.8, true);
    assert_eq!(shop.alerts(), [(1_000, "MarginLow firing".into()), (1_200, "MarginLow resolved".into())]);
}

#[test]
fn after_a_restart_alerts_go_on_and_nothing_resolves_for_lack_of_data() {
    let mut first = Shop::new(quick(), Memory::default());
    for t in (0..1_100).step_by(10) {
        first.step(t, 0.1, if t >= 1_000 { 0.8 } else { 1.0 }, true);
    }
    assert_eq!(first.alerts().len(), 1);
    let memory = || Memory {
        alerts: first.engine.alerts().cloned().collect(),
        levels: first.engine.levels().into_iter().map(|l| (l.service, l.level)).collect(),
        last_seq: 7,
        ..Memory::default()
    };
    let mut second = Shop::new(quick(), memory());
    // The window is empty, and time goes on: stale, but not resolved, and not said again.
    let out = second.engine.evaluate(Snapshot::default(), secs(1_110));
    let states: Vec<AlertState> = out
        .decisions
        .iter()
        .filter_map(|d| match d {
            Decision::Alert(t) => Some(t.alert.state),
            _ => None,
        })
        .collect();
    assert_eq!(states, [AlertState::Stale]);
    for t in (1_120..1_300).step_by(10) {
        second.step(t, 0.1, if t < 1_200 { 0.8 } else { 1.0 }, true);
    }
    assert_eq!(second.alerts(), [(1_200, "MarginLow resolved".into())]);
    assert_eq!(second.levels(None), [1], "it was 2 before the restart and has begun to fall");
}

#[test]
fn a_pin_changes_the_level_at_once_and_says_so() {
    let mut shop = Shop::new(quick(), Memory::default());
    shop.step(0, 0.1, 1.0, true);
    let pin = Pin { level: Level::ReadOnly, author: "ada".into(), reason: "drill".into(), expires_at: secs(100) };
    let change = shop.engine.pin(None, Some(pin), secs(1)).expect("the level changes");
    assert_eq!((change.from.number(), change.to.number()), (0, 3));
    assert_eq!(change.because, ["pinned to 3 (read-only) by ada: drill"]);
    for t in (10..=100).step_by(10) {
        shop.step(t, 0.1, 1.0, true);
    }
    assert_eq!(shop.levels(None), [0], "it ends by itself");
}

#[test]
fn a_jump_in_event_time_is_caught_up_in_bounded_work() {
    let (due, next) = grid(Some(secs(0)), Duration::from_secs(10), secs(1_000_000));
    assert_eq!((due.len(), next), (120, secs(1_000_010)));
    assert_eq!(grid(None, Duration::from_secs(10), secs(25)).0, [secs(20)]);
    assert_eq!(grid(Some(secs(30)), Duration::from_secs(10), secs(25)), (vec![], secs(30)));
}

#[test]
fn symptoms_of_those_behind_an_open_breaker_raise_no_alert() {
    let run = |breaker: f64| {
        let mut config = quick();
        config.rules.clear();
        let mut shop = Shop::new(config, Memory::default());
        for t in (0..1_600).step_by(10) {
            let labels = [("job", "shop/pricing"), ("breaker", "tax")];
            shop.feed.gauge("circuit_breaker_state", &labels, t, if t < 1_000 { 0.0 } else { breaker });
            shop.step(t, if t < 1_000 { 0.1 } else { 0.4 }, 1.0, true);
        }
        let because = shop.engine.levels().iter().find(|l| l.service.as_deref() == Some("shop/pricing")).cloned();
        (shop.alerts(), because.expect("is known").because.join("\n"))
    };
    let (alerts, because) = run(1.0);
    assert_eq!(alerts, []);
    assert!(because.contains("circuit breaker tax of shop/pricing is open"), "{because}");
    let (alerts, because) = run(0.0);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert!(!because.contains("breaker"), "{because}");
}

#[test]
fn an_alert_on_an_open_breaker_names_who_is_behind_it_and_those_who_come_to_be() {
    let mut config = quick();
    let rule = "groups:\n- name: g\n  interval: 10s\n  rules:\n  - alert: BreakerOpen\n    expr: bellwether_breaker_state == 1\n  - alert: MarginLow\n    expr: margin < 0.9\n";
    config.rules = rules::read("r.yaml", rule, "").expect("is a valid rule file");
    let mut shop = Shop::new(config, Memory::default());
    shop.engine.graph.note("shop/front", "shop/pricing", secs(0));
    let breaker = [("job", "shop/pricing"), ("breaker", "tax")];
    for t in (0..100).step_by(10) {
        if t == 60 {
            shop.engine.graph.note("shop/app", "shop/pricing", secs(t));
        }
        let points = [shop.feed.gauge("circuit_breaker_state", &breaker, t, f64::from((30..80).contains(&t)))];
        let registry = shop.feed.window.registry();
        let published = shop.engine.observe(&points, registry, std::iter::empty()).published;
        assert!(published.is_empty(), "{published:?}");
        let out = shop.engine.evaluate(shop.feed.window.seal(), secs(t));
        for recorded in &out.recorded {
            let labels: Vec<(&str, &str)> = recorded.labels.iter().collect();
            shop.feed.push(&recorded.name, &labels, window::SeriesKind::Published, t, recorded.value);
        }
        shop.said.extend(out.decisions);
    }
    let alerts = shop.said.iter().filter_map(|decision| match decision {
        Decision::Alert(t) => Some((t.at, t.alert.state, t.is_announced(), t.alert.dependents.join(" "))),
        _ => None,
    });
    let (firing, resolved) = (AlertState::Firing, AlertState::Resolved);
    let expected = [
        (secs(40), firing, true, "shop/front shop/pricing"),
        (secs(60), firing, false, "shop/app shop/front shop/pricing"),
        (secs(90), resolved, true, "shop/app shop/front shop/pricing"),
    ];
    let expected = expected.map(|(at, state, is_announced, services)| (at, state, is_announced, services.to_owned()));
    assert_eq!(alerts.collect::<Vec<_>>(), expected);
}

#[test]
fn an_alert_of_a_service_names_who_calls_it() {
    let mut shop = Shop::new(quick(), Memory::default());
    for (caller, callee) in [("shop/front", "shop/pricing"), ("shop/pricing", "shop/db"), ("shop/app", "shop/other")] {
        shop.engine.graph.note(caller, callee, secs(0));
    }
    shop.step(0, 0.1, 0.5, true);
    let Some(Decision::Alert(change)) = shop.said.first() else { unreachable!("{:?}", shop.said) };
    assert_eq!((change.alert.name(), &*change.alert.dependents), ("MarginLow", &["shop/front".into()][..]));
}
