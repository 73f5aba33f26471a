use window::{Labels, SeriesKind};

use super::*;

const MINUTE: i64 = 60_000_000_000;

struct Machine {
    entities: Entities,
    series: Vec<Arc<Series>>,
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
        Self { entities: Entities::new(EntityConfig::default()), series: (0..metrics).map(series).collect() }
    }

    /// Sends one value of every metric at `minute`: calm ones, except that the first `disturbed` are far.
    fn at(&mut self, minute: i64, disturbed: usize) -> Vec<AnomalyEvent> {
        let mut events = Vec::new();
        for ((id, nth), series) in (0_u32..).zip(0_i64..).zip(&self.series) {
            let calm = ((minute * 7_919 + nth * 31) % 41) as f64 / 10.0;
            let value = if (id as usize) < disturbed { 300.0 } else { calm };
            let point = Point { series: SeriesId(id), time: UnixNanos(minute * MINUTE), value };
            events.extend(self.entities.observe(&point, series));
        }
        events
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
