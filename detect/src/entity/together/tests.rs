use std::sync::Arc;

use window::{Point, Series, SeriesId, UnixNanos};

use crate::{
    Anomaly, AnomalyEvent, Change, Correction, DetectorKind, Entities, EntityConfig, Pattern, Verdict,
    corrections::Corrections, testing::series, zscore::number,
};

const METRICS: [&str; 5] = ["connections", "cpu", "memory", "queue", "requests"];
/// Instants of a settled thing, one every five minutes.
const SETTLED: i64 = 3 * 288;

/// Nearly normal with deviation 1, the same in every run.
fn noise(i: i64, metric: usize) -> f64 {
    let part = |k: u64| {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&i.to_le_bytes(), metric as u64 * 16 + k);
        f64::from((hash >> 40) as u32) / f64::from(1_u32 << 24) - 0.5
    };
    (0..12).map(part).sum()
}

/// All follow the load of the hour; each has noise of its own.
fn usual(i: i64, metric: usize) -> f64 {
    let load = 30.0 * (std::f64::consts::TAU * i as f64 / 288.0).sin() + 3.0 * noise(i, 99);
    100.0 + (1.0 + metric as f64 / 5.0) * load + noise(i, metric)
}

fn metrics() -> Vec<Arc<Series>> {
    METRICS.iter().map(|name| series(name, "", &[("job", "shop/api"), ("instance", "a")])).collect()
}

/// Runs instants, metrics in `order`, and returns what was said.
fn run(
    entities: &mut Entities,
    instants: std::ops::Range<i64>,
    order: &[usize],
    value: impl Fn(i64, usize) -> f64,
) -> Vec<AnomalyEvent> {
    run_by(&Corrections::default(), entities, instants, order, value)
}

/// The same with corrections in force.
fn run_by(
    corrections: &Corrections,
    entities: &mut Entities,
    instants: std::ops::Range<i64>,
    order: &[usize],
    value: impl Fn(i64, usize) -> f64,
) -> Vec<AnomalyEvent> {
    let metrics = metrics();
    let mut events = Vec::new();
    for i in instants {
        for metric in order {
            let series = SeriesId(u32::try_from(*metric).expect("few"));
            let point = Point { series, time: UnixNanos(i * 300_000_000_000), value: value(i, *metric) };
            events.extend(entities.observe(&point, &metrics[*metric], corrections));
        }
    }
    events
}

/// The queue stays where it was while everything else follows the load.
fn stuck(i: i64, metric: usize) -> f64 {
    if i >= SETTLED + 60 && metric == 3 { usual(i - 144, metric) } else { usual(i, metric) }
}

fn opened(events: &[AnomalyEvent]) -> Vec<&Anomaly> {
    let opened = |e: &AnomalyEvent| matches!(e, AnomalyEvent::Opened(_));
    events.iter().filter(|e| opened(e)).map(AnomalyEvent::anomaly).collect()
}

#[test]
fn a_metric_that_leaves_the_others_is_found_though_it_is_usual_by_itself() {
    let mut entities = Entities::new(EntityConfig::default());
    assert!(run(&mut entities, 0..SETTLED + 60, &[0, 1, 2, 3, 4], usual).is_empty(), "a day is no news");
    let events = run(&mut entities, SETTLED + 60..SETTLED + 80, &[0, 1, 2, 3, 4], stuck);
    let all = opened(&events);
    let a = all.first().expect("found");
    assert_eq!((a.detector, a.pattern, &*a.metric), (DetectorKind::Forest, Pattern::Joint, "queue"), "{a:?}");
    assert_eq!(a.emitted_at, UnixNanos((SETTLED + 61) * 300_000_000_000), "two in a row");
    // What is said can be computed again.
    assert!((a.score - a.z.abs() / a.threshold).abs() < 1e-9 && a.score > 1.0, "{a:?}");
    let residual = (a.observed - a.expected) / a.scale;
    assert!((residual.abs() - a.contributors[0].distance).abs() < 1e-6 * residual.abs(), "{a:?}");
    let evidence: f64 = a.contributors.iter().map(|c| c.distance.ln_1p()).sum::<f64>() / 5.0;
    for shown in [format!("{evidence:.2}"), number(a.observed), number(a.expected), "isolation forest".into()] {
        assert!(a.explanation.contains(&shown), "{shown} is not in: {}", a.explanation);
    }
    assert!((a.contributors.iter().map(|c| c.share).sum::<f64>() - 1.0).abs() < 1e-9);
    let events = run(&mut entities, SETTLED + 80..SETTLED + 90, &[0, 1, 2, 3, 4], usual);
    let ends = events.iter().find_map(|e| e.anomaly().ends_at);
    assert_eq!(ends, Some(UnixNanos((SETTLED + 80) * 300_000_000_000)));
}

#[test]
fn the_order_in_which_metrics_come_changes_nothing() {
    let mut one = Entities::new(EntityConfig::default());
    let mut other = Entities::new(EntityConfig::default());
    let first = run(&mut one, 0..SETTLED + 80, &[0, 1, 2, 3, 4], stuck);
    let second = run(&mut other, 0..SETTLED + 80, &[4, 2, 0, 3, 1], stuck);
    assert!(!first.is_empty());
    assert_eq!(first, second);
}

#[test]
fn a_young_thing_is_not_judged_and_one_that_lacks_a_metric_neither() {
    let mut entities = Entities::new(EntityConfig::default());
    let early = |i: i64, metric: usize| if i >= 200 && metric == 3 { usual(i + 144, metric) } else { usual(i, metric) };
    assert!(run(&mut entities, 0..280, &[0, 1, 2, 3, 4], early).is_empty());
    let mut entities = Entities::new(EntityConfig::default());
    run(&mut entities, 0..SETTLED + 60, &[0, 1, 2, 3, 4], usual);
    assert!(run(&mut entities, SETTLED + 60..SETTLED + 70, &[1, 2, 3], stuck).is_empty());
}

#[test]
fn what_was_written_down_goes_on_the_same() {
    let mut one = Entities::new(EntityConfig::default());
    run(&mut one, 0..SETTLED + 63, &[0, 1, 2, 3, 4], stuck);
    assert_eq!(one.open().count(), 1);
    let bytes = postcard::to_allocvec(&one).expect("plain data");
    let other: Entities = postcard::from_bytes(&bytes).expect("as written");
    let mut other = other.with_config(EntityConfig::default());
    let rest = SETTLED + 63..SETTLED + 200;
    assert_eq!(run(&mut one, rest.clone(), &[0, 1, 2, 3, 4], stuck), run(&mut other, rest, &[0, 1, 2, 3, 4], stuck));
}

#[test]
fn an_anomaly_of_which_nothing_else_is_left_ends_when_all_metrics_are_heard() {
    let mut before = Entities::new(EntityConfig::default());
    run(&mut before, 0..SETTLED + 63, &[0, 1, 2, 3, 4], stuck);
    let open: Vec<Anomaly> = before.open().cloned().collect();
    let mut after = Entities::new(EntityConfig::default());
    after.restore(open);
    assert_eq!(after.open().count(), 1);
    let events = run(&mut after, SETTLED + 70..SETTLED + 75, &[0, 1, 2, 3, 4], usual);
    assert!(matches!(events[..], [AnomalyEvent::Ended(_)]), "{events:?}");
}

#[test]
fn what_is_said_of_how_metrics_go_together_changes_that_and_is_taken_back() {
    let order = [0, 1, 2, 3, 4];
    let told = |verdict: Verdict| {
        let mut entities = Entities::new(EntityConfig::default());
        let events = run(&mut entities, 0..SETTLED + 80, &order, stuck);
        let first = opened(&events)[0].clone();
        let series = Correction::subject(&first).expect("can be changed");
        let change = Change::proposed(verdict, &first).expect("can be changed");
        let correction = Correction { id: "c".into(), series, change };
        let mut corrections = Corrections::default();
        corrections.add(correction.clone());
        (entities, corrections, correction, first)
    };
    let rest = SETTLED + 80..SETTLED + 200;
    let (mut entities, corrections, _, first) = told(Verdict::FalsePositive);
    let quiet = run_by(&corrections, &mut entities, rest.clone(), &order, stuck);
    assert!(opened(&quiet).iter().all(|a| a.threshold > first.threshold), "the number says what held: {quiet:?}");
    let (mut entities, _, correction, _) = told(Verdict::NewNormal);
    assert!(matches!(entities.begin_anew(&correction), Some(AnomalyEvent::Ended(_)) | None));
    assert_eq!(opened(&run(&mut entities, rest.clone(), &order, stuck)).len(), 0, "nothing is known yet");
    entities.undo(&correction.id);
    assert_ne!(opened(&run(&mut entities, SETTLED + 200..SETTLED + 320, &order, stuck)).len(), 0, "as before");
}
