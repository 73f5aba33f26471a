//! That within the lateness neither order nor batches nor repetitions make a difference.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::otlp::{Encoding, Signal};
use window::{Config, SeriesKey};

use super::{
    going_on::{Item, item, logs, metrics, spans},
    *,
};
use crate::{Decoder, Limits};

const LATENESS: u64 = 60;
const SECOND: i64 = 1_000_000_000;
const NOW: UnixNanos = UnixNanos(2_000 * SECOND);

type Judged = Vec<(SeriesKey, UnixNanos, u64)>;
type Stored = BTreeMap<SeriesKey, Vec<(UnixNanos, u64)>>;

struct Line {
    intake: Intake,
    window: Window,
    judged: Judged,
    heard: Vec<(UnixNanos, Arc<str>)>,
    /// What was evaluated when, and how much had been judged by then.
    evaluated: BTreeMap<UnixNanos, usize>,
    due: Option<UnixNanos>,
}

impl Line {
    fn new(lateness: LatenessConfig) -> Self {
        let config = IntakeConfig { lateness, ..IntakeConfig::default() };
        Self {
            intake: Intake::new(config, Arc::new(KnownSeries::new(1_000))),
            window: Window::new(Config::default()),
            judged: Vec::new(),
            heard: Vec::new(),
            evaluated: BTreeMap::new(),
            due: None,
        }
    }

    fn send(&mut self, signal: Signal, items: &[Item]) {
        let body = match signal {
            Signal::Metrics => metrics(items),
            Signal::Traces => spans(items),
            Signal::Logs => logs(items),
        };
        let decoder = Decoder::new(Limits::default());
        let measured = decoder.measure(signal, Encoding::Protobuf, &body).expect("is a request");
        let batch = decoder.decode(&measured, &KnownSeries::new(0)).expect("is a request").batch;
        let applied = self.intake.apply(batch, &mut self.window, Some(NOW)).expect("is not outdated");
        self.note(&applied);
        self.go_on(NOW);
    }

    /// As the pipeline does: a step, then what is due every five seconds.
    fn go_on(&mut self, now: UnixNanos) {
        while let Some(applied) = self.intake.release(&mut self.window, Some(now), self.due) {
            self.note(&applied);
            let Some(until) = self.intake.judged_until() else { continue };
            let step = Duration::from_secs(5);
            while self.due.is_none_or(|due| due <= until) {
                let due = self.due.unwrap_or(until.floor_to(step));
                self.evaluated.insert(due, self.judged.len());
                self.due = Some(due.plus(step));
            }
        }
    }

    fn note(&mut self, applied: &Applied) {
        let key = |id| self.window.registry().get(id).expect("is known").key;
        self.judged.extend(applied.judged.iter().map(|p| (key(p.series), p.time, p.value.to_bits())));
        self.heard.extend(applied.feeds.iter().map(|(feed, time)| (*time, Arc::clone(&feed.service))));
    }

    /// Waits for nobody any longer.
    fn finish(&mut self) {
        self.go_on(NOW.plus(Duration::from_hours(1)));
        assert_eq!(self.intake.judged_until(), None, "nothing waits");
    }

    fn stored(&mut self) -> Stored {
        let snapshot = self.window.seal();
        let mut stored = BTreeMap::new();
        for (id, series) in snapshot.registry.iter() {
            let mut samples = Vec::new();
            snapshot.samples_into(id, UnixNanos::MIN, UnixNanos::MAX, &mut samples);
            stored.insert(series.key, samples.iter().map(|s| (s.time, s.value.to_bits())).collect());
        }
        stored
    }
}

/// An item with the signal that it is sent by, how late it comes, and how late once more if it comes
/// twice.
type Sent = (Item, u8, u64, Option<u64>);

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let late = 0..LATENESS;
    let one = (item(), 0..4_u8, 0..400_u64, late.clone(), prop::option::weighted(0.3, late));
    let spread = |(mut item, signal, time, late, again): (Item, u8, u64, u64, Option<u64>)| {
        item.time = time + 500;
        (item, signal, late, again)
    };
    prop::collection::vec(one.prop_map(spread), 1..60)
}

fn signal(number: u8) -> Signal {
    match number {
        0 => Signal::Traces,
        1 => Signal::Logs,
        _ => Signal::Metrics,
    }
}

/// Sends items in this order, so many of one signal at once.
fn play(items: &[(Item, u8)], sizes: &[usize]) -> Line {
    let wait = LatenessConfig { lateness: Duration::from_secs(LATENESS), ..LatenessConfig::default() };
    let mut line = Line::new(wait);
    let mut rest = items;
    let mut sizes = sizes.iter().cycle();
    while let Some((_, first)) = rest.first() {
        let same = rest.iter().take_while(|(_, number)| signal(*number) == signal(*first)).count();
        let (batch, others) = rest.split_at(same.min(*sizes.next().expect("goes on for ever")));
        rest = others;
        let items: Vec<Item> = batch.iter().map(|(item, _)| item.clone()).collect();
        line.send(signal(*first), &items);
    }
    line.finish();
    line
}

proptest! {
    #[test]
    fn order_batches_and_repetitions_within_the_lateness_make_no_difference(
        sent in sent(),
        sizes in prop::collection::vec(1..20_usize, 1..8),
    ) {
        let mut in_order: Vec<(Item, u8)> = sent.iter().map(|(item, signal, ..)| (item.clone(), *signal)).collect();
        in_order.sort_by_key(|(item, _)| item.time);
        let mut late: Vec<(u64, Item, u8)> = Vec::new();
        for (item, signal, delay, again) in &sent {
            for delay in [Some(*delay), *again].into_iter().flatten() {
                late.push((item.time + delay, item.clone(), *signal));
            }
        }
        late.sort_by_key(|(arrival, ..)| *arrival);
        let late: Vec<(Item, u8)> = late.into_iter().map(|(_, item, signal)| (item, signal)).collect();
        let (mut plain, mut mixed) = (play(&in_order, &[1]), play(&late, &sizes));
        prop_assert_eq!(&plain.judged, &mixed.judged);
        prop_assert_eq!(plain.intake.passed().late, 0);
        prop_assert_eq!(mixed.intake.passed().late, 0);
        prop_assert_eq!(mixed.intake.passed().late_events, 0);
        prop_assert_eq!(&plain.heard, &mixed.heard);
        prop_assert_eq!(plain.stored(), mixed.stored());
        // What is evaluated in both was evaluated after the same points.
        for (at, judged) in &plain.evaluated {
            prop_assert!(mixed.evaluated.get(at).is_none_or(|other| other == judged), "at {at}");
        }
    }
}

fn gauge(time: u64, value: u8) -> Item {
    Item { shape: 0, name: 0, service: 0, time, value }
}

#[test]
fn a_point_is_judged_once_the_newest_is_past_it_by_the_lateness() {
    let wait = LatenessConfig { lateness: Duration::from_secs(60), ..LatenessConfig::default() };
    let mut line = Line::new(wait);
    for (time, judged) in [(100, 0), (90, 0), (159, 1), (160, 2), (95, 2), (400, 4)] {
        line.send(Signal::Metrics, &[gauge(time, 3)]);
        assert_eq!(line.judged.len(), judged, "after the point at {time} s");
    }
    let times: Vec<i64> = line.judged.iter().map(|(_, time, _)| time.0 / SECOND).collect();
    assert_eq!(times, [90, 100, 159, 160]);
    assert_eq!(line.intake.passed().late, 1, "the point at 95 s was beyond the lateness");
}

#[test]
fn of_values_for_one_time_the_greatest_is_taken_whichever_comes_first() {
    for values in [[3, 200, 9], [200, 9, 3]] {
        let mut line = Line::new(LatenessConfig { lateness: Duration::from_secs(60), ..LatenessConfig::default() });
        values.into_iter().for_each(|value| line.send(Signal::Metrics, &[gauge(100, value)]));
        line.finish();
        let judged: Vec<f64> = line.judged.iter().map(|(.., bits)| f64::from_bits(*bits)).collect();
        assert_eq!(judged, [200.0 / 3.0]);
        assert_eq!(line.intake.passed().repeated, 2);
    }
}

#[test]
fn what_waits_is_bounded_and_what_goes_early_is_counted() {
    let wait = LatenessConfig { lateness: Duration::from_secs(600), max_bytes: 2_000, idle: Idle::Off };
    let mut line = Line::new(wait);
    for time in 1..=100 {
        line.send(Signal::Metrics, &[gauge(time, 3)]);
        assert!(line.intake.state().progress.held.bytes() <= 2_000);
    }
    assert!(line.judged.len() > 80, "{}", line.judged.len());
    assert_eq!(line.intake.passed().early, line.judged.len() as u64);
    assert!(line.judged.is_sorted_by_key(|(_, time, _)| *time));
}

#[test]
fn without_an_idle_time_nothing_goes_on_by_the_wall_clock() {
    for (idle, judged) in [(Idle::Auto, 1), (Idle::After(Duration::from_secs(5)), 1), (Idle::Off, 0)] {
        let mut line =
            Line::new(LatenessConfig { lateness: Duration::from_secs(60), idle, ..LatenessConfig::default() });
        line.send(Signal::Metrics, &[gauge(100, 3)]);
        line.go_on(NOW.plus(Duration::from_secs(4)));
        assert_eq!(line.judged.len(), 0);
        line.go_on(NOW.plus(Duration::from_secs(80)));
        assert_eq!(line.judged.len(), judged, "{idle:?}");
    }
}

#[test]
fn what_waits_goes_on_when_a_restart_takes_the_lateness_away() {
    let mut line = Line::new(LatenessConfig { lateness: Duration::from_secs(60), ..LatenessConfig::default() });
    line.send(Signal::Metrics, &[gauge(100, 3), gauge(110, 3)]);
    let state = postcard::to_stdvec(line.intake.state()).expect("can be written");
    let state = postcard::from_bytes(&state).expect("was written so");
    line.intake = Intake::restore(IntakeConfig::default(), Arc::new(KnownSeries::new(9)), state);
    line.send(Signal::Metrics, &[gauge(120, 3)]);
    assert_eq!(line.judged.iter().map(|(_, time, _)| time.0 / SECOND).collect::<Vec<_>>(), [100, 110, 120]);
}
