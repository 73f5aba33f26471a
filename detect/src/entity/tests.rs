use window::{Labels, SeriesKind};

use super::*;
use crate::Verdict;

const MINUTE: i64 = 60_000_000_000;

struct Machine {
    entities: Entities,
    series: Vec<Arc<Series>>,
    corrections: Corrections,
}

impl Machine {
    fn new(metrics: usize) -> Self {
        let series = |i: usize| {
            let name: Arc<str> = format!("metric_{i}").into();
            let labels = Labels::from_pairs([("job", "fleet"), ("instance", "a")]);
            Arc::new(Series {
                key: SeriesKey(i as u128),
                source_name: Arc::clone(&name),
                name,
                unit: "".into(),
                kind: SeriesKind::Gauge,
                labels,
                service: "fleet".into(),
            })
        };
        let (series, corrections) = ((0..metrics).map(series).collect(), Corrections::default());
        Self { entities: Entities::new(EntityConfig::default()), series, corrections }
    }

    /// Sends one value of every metric at `minute`: calm ones, except that the first `disturbed` are far.
    fn at(&mut self, minute: i64, disturbed: u32) -> Vec<AnomalyEvent> {
        let metrics = u32::try_from(self.series.len()).expect("few");
        (0..metrics).flat_map(|nth| self.point(minute, nth, disturbed)).collect()
    }

    fn point(&mut self, minute: i64, nth: u32, disturbed: u32) -> Vec<AnomalyEvent> {
        let calm =
            f64::from((i32::try_from(minute).expect("small") * 7_919 + i32::try_from(nth).expect("few") * 31) % 41);
        let value = if nth < disturbed { 300.0 } else { calm / 10.0 };
        let point = Point { series: SeriesId(nth), time: UnixNanos(minute * MINUTE), value };
        self.entities.observe(&point, &self.series[nth as usize], &self.corrections)
    }

    fn calm(&mut self, minutes: std::ops::Range<i64>) -> usize {
        minutes.map(|m| self.at(m, 0).len()).sum()
    }
}

#[test]
fn several_metrics_out_at_once_are_one_anomaly_that_names_them() {
    let mut machine = Machine::new(20);
    assert_eq!(machine.calm(0..500), 0);
    let events = machine.at(500, 5);
    let [AnomalyEvent::Opened(a)] = &events[..] else { unreachable!("one anomaly opens: {events:?}") };
    assert_eq!((a.detector, a.pattern), (DetectorKind::Entity, Pattern::Joint));
    let shares: f64 = a.contributors.iter().map(|c| c.share).sum();
    assert!((shares - 1.0).abs() < 1e-9 && a.contributors.len() == 5);
    let mean = a.contributors.iter().map(|c| c.distance.ln_1p()).sum::<f64>() / 5.0;
    assert!((a.z.abs() - mean).abs() < 1e-9 && (a.score - a.z.abs() / a.threshold).abs() < 1e-9);
    assert!(machine.at(501, 5).is_empty(), "and it is said once");
    let ended: Vec<AnomalyEvent> = (502..520).flat_map(|m| machine.at(m, 0)).collect();
    assert_eq!(ended[0].anomaly().ends_at, Some(UnixNanos(502 * MINUTE)));
    assert_eq!((ended.len(), machine.entities.open().count()), (1, 0));
}

#[test]
fn one_absurd_metric_does_not_speak_for_all() {
    let mut machine = Machine::new(20);
    machine.calm(0..500);
    assert!(machine.at(500, 1).is_empty());
}

#[test]
fn few_metrics_are_no_entity() {
    let mut machine = Machine::new(7);
    machine.calm(0..500);
    assert!(machine.at(500, 7).is_empty());
    assert!((machine.entities.strictness(SeriesId(0)) - 1.0).abs() < 1e-12);
    let mut machine = Machine::new(8);
    machine.calm(0..500);
    assert!(!machine.at(500, 8).is_empty());
    assert!(machine.entities.strictness(SeriesId(0)) > 3.0);
}

#[test]
fn an_instant_that_lacks_metrics_is_judged_with_the_next() {
    let mut machine = Machine::new(20);
    machine.calm(0..500);
    let last = machine.series.pop();
    assert!(machine.at(500, 6).is_empty());
    machine.series.extend(last);
    assert!(matches!(machine.at(501, 0)[..], [AnomalyEvent::Opened(_)]));
}

/// Everything that is said of 600 minutes that come in requests of `rows`, metric by metric.
fn in_requests_of(rows: i64) -> Vec<AnomalyEvent> {
    let mut machine = Machine::new(20);
    machine.calm(0..5);
    let mut events = Vec::new();
    for first in (5..605).step_by(usize::try_from(rows).expect("positive")) {
        for nth in 0..20 {
            for minute in first..(first + rows).min(605) {
                let disturbed = if minute % 200 == 199 { 6 } else { 0 };
                events.extend(machine.point(minute, nth, disturbed));
            }
        }
    }
    events
}

#[test]
fn it_does_not_matter_how_many_instants_a_request_carries() {
    let one_by_one = in_requests_of(1);
    assert!(one_by_one.iter().filter(|e| matches!(e, AnomalyEvent::Opened(_))).count() >= 3, "{one_by_one:?}");
    for rows in [2, 33, 200] {
        assert_eq!(in_requests_of(rows), one_by_one, "{rows}");
    }
}

#[test]
fn a_metric_that_stopped_delays_the_others_once() {
    let mut machine = Machine::new(20);
    machine.calm(0..500);
    machine.series.pop();
    let pending = i64::try_from(PENDING).expect("small");
    assert_eq!(machine.calm(500..500 + pending), 0);
    let events = machine.at(500 + pending, 6);
    assert!(matches!(events[..], [AnomalyEvent::Opened(_)]), "{events:?}");
}

#[test]
fn when_the_last_metric_is_gone_the_anomaly_ends() {
    let mut machine = Machine::new(10);
    machine.calm(0..500);
    machine.at(500, 8);
    assert_eq!(machine.entities.open().count(), 1);
    let ids: Vec<SeriesId> = (0..10).map(SeriesId).collect();
    assert!(machine.entities.forget(&ids[..9]).is_empty());
    assert_eq!(machine.entities.forget(&ids[9..]).len(), 1);
    assert_eq!(machine.entities.open().count(), 0);
}

#[test]
fn a_series_without_siblings_needs_no_entity_and_leaves_nothing_behind() {
    let mut lone = Machine::new(1);
    assert_eq!(lone.calm(0..50), 0);
    assert!(lone.entities.entities.is_empty());
    assert!(lone.entities.forget(&[SeriesId(0)]).is_empty() && lone.entities.known.is_empty());
    // The second of two makes an entity of both.
    let mut pair = Machine::new(2);
    (0..50).for_each(|minute| assert!(pair.point(minute, 0, 0).is_empty()));
    pair.calm(50..60);
    let [entity] = &pair.entities.entities[..] else { unreachable!("one entity") };
    assert_eq!(entity.members, [SeriesId(0), SeriesId(1)]);
    assert_eq!(entity.judged, Some(UnixNanos(59 * MINUTE)));
    assert!(pair.entities.forget(&[SeriesId(0), SeriesId(1)]).is_empty() && pair.entities.known.is_empty());
}

/// A machine with an anomaly at minute 500 that somebody has said something of, and the change that followed.
fn told(verdict: Verdict) -> (Machine, Correction) {
    let mut machine = Machine::new(20);
    machine.calm(0..500);
    let events = machine.at(500, 5);
    let [AnomalyEvent::Opened(anomaly)] = &events[..] else { unreachable!("one anomaly opens: {events:?}") };
    let series = Correction::subject(anomaly).expect("can be changed");
    let change = Change::proposed(verdict, anomaly).expect("can be changed");
    let correction = Correction { id: "c".into(), series, change };
    machine.corrections.add(correction.clone());
    (machine, correction)
}

#[test]
fn a_false_alarm_of_a_thing_is_not_said_again_until_it_is_taken_back() {
    let (mut machine, correction) = told(Verdict::FalsePositive);
    machine.calm(501..600);
    assert_eq!(machine.at(600, 5), []);
    machine.corrections.remove(&correction.id);
    machine.calm(601..700);
    assert!(matches!(machine.at(700, 5)[..], [AnomalyEvent::Opened(_)]));
}

#[test]
fn a_thing_is_not_judged_in_the_hours_that_are_left_out() {
    let (mut machine, _) = told(Verdict::Expected);
    assert!(matches!(machine.at(501, 5)[..], [AnomalyEvent::Ended(_)]), "08:21 is within the hour");
    assert_eq!(machine.at(510, 20), []);
    machine.calm(511..540);
    assert!(matches!(machine.at(540, 5)[..], [AnomalyEvent::Opened(_)]), "09:00 is not");
}

#[test]
fn the_baseline_of_a_thing_begins_anew_and_is_taken_back() {
    let (mut machine, correction) = told(Verdict::NewNormal);
    assert!(matches!(machine.entities.begin_anew(&correction), Some(AnomalyEvent::Ended(_))));
    let moved: Vec<AnomalyEvent> = (501..800).flat_map(|minute| machine.at(minute, 5)).collect();
    assert_eq!(moved, [], "is normal now");
    machine.entities.undo(&correction.id);
    let before: Vec<AnomalyEvent> = (800..810).flat_map(|minute| machine.at(minute, 5)).collect();
    let [AnomalyEvent::Opened(again), ..] = &before[..] else { unreachable!("as before: {before:?}") };
    assert_eq!(again.baseline_span, Duration::from_mins(800), "and known for as long");
}
