use query::{Options, Recall};

use super::*;
use crate::{AlertState, Level, testing::Feed};

fn alert(job: &str, severity: &str, state: AlertState) -> Alert {
    let labels = Labels::from_pairs([("alertname", "A"), ("job", job), ("severity", severity)]);
    Alert {
        episode: "e".into(),
        fingerprint: "f".into(),
        labels,
        annotations: Labels::default(),
        state,
        active_at: UnixNanos(0),
        fired_at: None,
        last_true_at: UnixNanos(0),
        resolved_at: None,
        value: 1.0,
        source: String::new(),
        anomalies: Vec::new(),
        attributes: Vec::new(),
        dependents: Vec::new(),
        argued_level: Level::NonCriticalOff,
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// Health by service, everything under the empty name.
fn assess(config: &HealthConfig, feed: &mut Feed, alerts: &[Alert]) -> BTreeMap<String, Health> {
    let snapshot = feed.snapshot();
    let known: [Arc<str>; 1] = ["known".into()];
    let (options, mut recall) = (Options::default(), Recall::default());
    let at = UnixNanos(60_000_000_000);
    let moment = Moment { snapshot: &snapshot, at, options: &options, recall: &mut recall };
    let all = config.assess(Evidence { moment, caps: &[] }, alerts.iter(), known.iter(), &mut Burns::default());
    all.healths.into_iter().map(|h| (h.service.as_deref().unwrap_or_default().to_owned(), h)).collect()
}

fn calls(feed: &mut Feed, job: &str, status: &str, per_second: f64) {
    let labels = [("job", job), ("span_kind", "SPAN_KIND_SERVER"), ("status_code", status)];
    for t in [10, 20, 30, 40, 50, 60] {
        feed.counter("traces_span_metrics_calls_total", &labels, t, per_second * t as f64);
    }
}

#[test]
fn without_trouble_health_is_full_and_has_no_reasons() {
    let healths = assess(&HealthConfig::default(), &mut Feed::default(), &[]);
    assert!(healths.values().all(|h| near(h.health, 1.0) && h.because.is_empty()));
    assert!(healths.contains_key("known"));
}

#[test]
fn the_error_ratio_lowers_a_service_and_everything() {
    let mut feed = Feed::default();
    calls(&mut feed, "a", "STATUS_CODE_UNSET", 7.0);
    calls(&mut feed, "a", "STATUS_CODE_ERROR", 3.0);
    calls(&mut feed, "b", "STATUS_CODE_UNSET", 7.0);
    let healths = assess(&HealthConfig::default(), &mut feed, &[]);
    let want = (0.5 - 0.3) / (0.5 - 0.01);
    assert!(near(healths["a"].health, want) && near(healths[""].health, want), "{healths:?}");
    assert_eq!(healths[""].because, ["error ratio of a is 0.3; target: at most 0.01"]);
    assert!(!healths.contains_key("b"), "no errors is no value of the ratio");
}

#[test]
fn firing_alerts_take_their_share_and_pending_ones_none() {
    let alerts = [
        alert("a", "critical", AlertState::Firing),
        alert("a", "warning", AlertState::Stale),
        alert("b", "critical", AlertState::Pending),
    ];
    let healths = assess(&HealthConfig::default(), &mut Feed::default(), &alerts);
    assert!(near(healths["a"].health, 0.65 * 0.85) && near(healths[""].health, 0.65 * 0.85));
    assert!(!healths.contains_key("b"));
}

#[test]
fn a_weight_limits_what_a_service_does_to_everything() {
    let weights = BTreeMap::from([("a".to_owned(), 0.2)]);
    let config = HealthConfig { weights, ..HealthConfig::default() };
    let healths = assess(&config, &mut Feed::default(), &[alert("a", "critical", AlertState::Firing)]);
    assert!(near(healths["a"].health, 0.65) && near(healths[""].health, 1.0 - 0.2 * 0.35));
}

/// Errors at `failing` a second of ten calls a second, for `hours` until now.
fn hours_of_errors(hours: i64, failing: f64) -> (Feed, UnixNanos) {
    let mut feed = Feed::default();
    let labels = |status| [("job", "shop/a"), ("span_kind", "SPAN_KIND_SERVER"), ("status_code", status)];
    let end = hours * 3_600;
    for t in (0..=end).step_by(60) {
        feed.counter("traces_span_metrics_calls_total", &labels("STATUS_CODE_UNSET"), t, t as f64 * (10.0 - failing));
        feed.counter("traces_span_metrics_calls_total", &labels("STATUS_CODE_ERROR"), t, t as f64 * failing);
    }
    (feed, UnixNanos(end * 1_000_000_000))
}

fn availability(target: f64) -> HealthConfig {
    let calls = Source::Calls(String::new());
    let objective = Objective::new("availability", &calls, Duration::from_mins(5), 1.0 - target, 0.5)
        .and_then(|objective| objective.with_budget(&calls, 1.0 - target))
        .expect("is PromQL");
    HealthConfig { objectives: vec![objective], ..HealthConfig::default() }
}

fn health_of(config: &HealthConfig, feed: &mut Feed, at: UnixNanos) -> Health {
    let (snapshot, options, mut recall) = (feed.snapshot(), Options::default(), Recall::default());
    let moment = Moment { snapshot: &snapshot, at, options: &options, recall: &mut recall };
    let assessed = config.assess(Evidence { moment, caps: &[] }, [].iter(), [].iter(), &mut Burns::default());
    assessed.healths.into_iter().nth(1).expect("there is a service")
}

#[test]
fn a_burning_budget_takes_one_step_and_says_so() {
    // 2 % errors are 20 times the budget of 99.9 %: over 1 h and 5 min more than 14.4 times.
    let (mut feed, at) = hours_of_errors(2, 0.2);
    let health = health_of(&availability(0.999), &mut feed, at);
    assert!(near(health.health, 0.75), "{health:?}");
    assert_eq!(
        health.because,
        [
            "availability of shop/a is 0.02; target: at most 0.001; its budget burns 20 times over 1 h and 20 times over \
          5 min as fast as it lasts (limit 14.4)"
        ]
    );
    // 0.8 % are 8 times: only the slow pair.
    let (mut feed, at) = hours_of_errors(2, 0.08);
    assert!(near(health_of(&availability(0.999), &mut feed, at).health, 0.85));
    let (mut feed, at) = hours_of_errors(2, 0.005);
    let health = health_of(&availability(0.999), &mut feed, at);
    assert!(near(health.health, 1.0) && health.because.is_empty(), "half the budget: {health:?}");
}

#[test]
fn the_value_takes_further_steps_only_while_windows_agree() {
    let (mut feed, at) = hours_of_errors(2, 4.0);
    let want = (0.5 - 0.4) / (0.5 - 0.001);
    assert!(near(health_of(&availability(0.999), &mut feed, at).health, want));
    // Against a target of 50 % nothing burns fast: the value alone goes no further than level 2.
    let mut config = availability(0.5);
    config.objectives[0].bad = 0.6;
    config.objectives[0].good = 0.1;
    assert!(near(health_of(&config, &mut feed, at).health, 0.5));
}

#[test]
fn what_is_good_above_its_target_is_worse_below() {
    let source = Source::Expression("cache_hits".into());
    let mut hits = Objective::new("cache hits", &source, Duration::from_mins(1), 0.8, 0.0).expect("is PromQL");
    hits.service = Some("shop".into());
    hits.weight = 0.5;
    let config = HealthConfig { objectives: vec![hits], ..HealthConfig::default() };
    let mut feed = Feed::default();
    feed.gauge("cache_hits", &[], 60, 0.4);
    let health = health_of(&config, &mut feed, UnixNanos(60_000_000_000));
    assert!(near(health.health, 0.75) && health.service.as_deref() == Some("shop"), "{health:?}");
    assert_eq!(health.because, ["cache hits of shop is 0.4; target: at least 0.8"]);
    feed.gauge("cache_hits", &[("job", "other/thing")], 61, 0.1);
    let health = health_of(&config, &mut feed, UnixNanos(61_000_000_000));
    assert_eq!(health.service.as_deref(), Some("shop"), "another service's values do not count");
}

#[test]
fn values_are_published_for_budgets_of_time() {
    let source = Source::Expression("max by (job) (latency)".into());
    let mut slow = Objective::new("p\"95", &source, Duration::from_mins(1), 0.4, 4.0)
        .and_then(|objective| objective.with_budget(&source, 0.01))
        .expect("is PromQL");
    slow.is_published = true;
    let config = HealthConfig { objectives: vec![slow], ..HealthConfig::default() };
    let (mut feed, mut burns) = (Feed::default(), Burns::default());
    let (options, mut recall) = (Options::default(), Recall::default());
    let mut last = Vec::new();
    for t in (5..=3_600).step_by(5) {
        feed.gauge("latency", &[("job", "a")], t, 3.0);
        let snapshot = feed.snapshot();
        let at = UnixNanos(t * 1_000_000_000);
        let moment = Moment { snapshot: &snapshot, at, options: &options, recall: &mut recall };
        let evidence = Evidence { moment, caps: &[] };
        let Assessed { healths, published } = config.assess(evidence, [].iter(), [].iter(), &mut burns);
        assert_eq!(published.is_empty(), t % 15 != 0 && t != 5, "at {t}");
        for recorded in published {
            let labels: Vec<(&str, &str)> = recorded.labels.iter().collect();
            feed.push(&recorded.name, &labels, window::SeriesKind::Published, t, recorded.value);
        }
        last = healths;
    }
    let want = (4.0 - 3.0) / (4.0 - 0.4);
    assert!(near(last[1].health, want), "{last:?}");
    assert!(last[1].because[0].contains("burns 100 times over 1 h and 100 times over 5 min"), "{last:?}");
}
