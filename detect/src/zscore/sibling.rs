//! A new instance begins with what is known of another.
//!
//! Every rollout makes all series of a service new, and it would take a day to know again what is usual, and two weeks what
//! a Sunday is. So a series that differs from a settled one in its label `instance` alone judges its first points by a copy of
//! that one's baseline too. If all of them are usual by it, it goes on from the copy; with the first that is not the copy is
//! dropped, and the series learns by itself like any other: instances need not be alike.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use window::{Point, Series, SeriesId};

use super::{Baseline, MetricSettings, State, ZScoreConfig};

/// The label that tells instances of a service apart: OpenTelemetry's `service.instance.id`.
const INSTANCE: &str = "instance";
/// Series of one family that are remembered; a further one takes the place of the oldest.
const MOST: usize = 8;
/// Copies that are tried at the same time, of all series: 75 MB of them. Series that come beyond learn by themselves.
pub(super) const MOST_TRIALS: usize = 20_000;
/// A baseline that has not been fed for so long is not lent.
const FED: Duration = Duration::from_hours(1);

/// Series that differ in their instance alone, by the fingerprint of what they have in common.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Siblings(BTreeMap<u64, Vec<SeriesId>>);

impl Siblings {
    /// Takes in a new series; those that were there before, oldest first.
    pub(super) fn join(&mut self, series: &Series, id: SeriesId) -> Vec<SeriesId> {
        if series.labels.get(INSTANCE).is_none() {
            return Vec::new();
        }
        let common = series.labels.filtered(|name| name != INSTANCE).fingerprint();
        let family = self.0.entry(common ^ xxhash_rust::xxh3::xxh3_64(series.name.as_bytes())).or_default();
        let before = family.clone();
        if family.len() >= MOST {
            family.remove(0);
        }
        family.push(id);
        before
    }

    /// Forgets series that are gone.
    pub(super) fn forget(&mut self, gone: &HashSet<SeriesId>) {
        self.0.retain(|_, family| {
            family.retain(|id| !gone.contains(id));
            !family.is_empty()
        });
    }
}

/// A copy of another's baseline that is tried, and how many points were usual by it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Trial {
    by: State,
    points: u64,
}

impl Trial {
    /// A copy of the baseline of the first of `lenders` that was fed last, of those that are settled and calm at `point`.
    pub(super) fn of<'a>(
        lenders: impl Iterator<Item = &'a State>,
        config: &ZScoreConfig,
        point: &Point,
    ) -> Option<Box<Self>> {
        let lends = |lender: &&State| {
            lender.is_settled(config)
                && lender.open.is_none()
                && lender.last.plus(FED) >= point.time
                && lender.began.is_some_and(|began| began < point.time)
        };
        let lender = lenders.filter(lends).reduce(|best, other| if other.last > best.last { other } else { best })?;
        let mut by = State { last: lender.last, last_value: lender.last_value, ..State::default() };
        by.replace(Baseline {
            model: lender.model.clone(),
            novelty: lender.novelty.clone(),
            shape: lender.shape.clone(),
            season: lender.season.clone(),
            smooth: lender.smooth.clone(),
            began: lender.began,
        });
        Some(Box::new(Self { by, points: 0 }))
    }

    /// Judges one more point, `elapsed` seconds after the one before; `None` if it is unusual. `floor` is said of what is
    /// expected, `factor` what scores are multiplied by.
    pub(super) fn goes_on(
        mut self: Box<Self>,
        (config, settings): (&ZScoreConfig, Option<&MetricSettings>),
        (floor, strictness, factor): (impl Fn(f64) -> f64, f64, f64),
        point: &Point,
        elapsed: f64,
    ) -> Option<Box<Self>> {
        let floor = floor(self.by.model.expected().unwrap_or_default());
        let mut verdict = self.by.verdict(config, settings, (floor, strictness), point)?;
        verdict.multiply(factor);
        if verdict.score > 1.0 {
            return None;
        }
        self.by.learn(config, floor, point, elapsed, Some(&verdict), false);
        self.points += 1;
        Some(self)
    }

    /// The baseline to go on from, once enough points were usual by it.
    pub(super) fn passed(self: Box<Self>, config: &ZScoreConfig) -> Result<Baseline, Box<Self>> {
        if self.points < config.settle_points {
            return Err(self);
        }
        let mut by = self.by;
        Ok(by.replace(Baseline::default()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use window::UnixNanos;

    use super::super::ZScoreDetector;
    use super::*;
    use crate::{Anomaly, AnomalyEvent, testing};

    const MINUTE: i64 = 60_000_000_000;
    const DAY: i64 = 24 * 60;

    /// A wave of a day, and something that scatters and is the same in every run.
    fn wave(minute: i64) -> f64 {
        let turn = std::f64::consts::TAU * minute as f64 / DAY as f64;
        100.0 + 40.0 * turn.sin() + ((minute * 7_919) % 41) as f64 / 20.0
    }

    fn series(instance: &str) -> Arc<Series> {
        testing::series("queue_depth", "", &[("job", "shop"), ("instance", instance)])
    }

    struct Fleet(ZScoreDetector);

    impl Fleet {
        /// An instance `a` that has run for four days.
        fn new() -> Self {
            let mut fleet = Self(ZScoreDetector::new(ZScoreConfig::default()));
            fleet.run(0, "a", 0..4 * DAY, wave);
            fleet
        }

        /// What is found in `minutes` of `instance`, which has the number `id`.
        fn run(
            &mut self,
            id: u32,
            instance: &str,
            minutes: std::ops::Range<i64>,
            value: impl Fn(i64) -> f64,
        ) -> Vec<Anomaly> {
            let series = series(instance);
            let point = |m: i64| Point { series: SeriesId(id), time: UnixNanos(m * MINUTE), value: value(m) };
            let events = minutes.filter_map(|m| self.0.observe(&point(m), &series).event);
            events.filter_map(|e| if let AnomalyEvent::Opened(a) = e { Some(a) } else { None }).collect()
        }

        fn is_settled(&self, id: u32) -> bool {
            self.0.states[id as usize].is_settled(&self.0.config)
        }
    }

    #[test]
    fn a_new_instance_that_does_as_another_goes_on_from_there() {
        let mut fleet = Fleet::new();
        let rolled_out = 4 * DAY..4 * DAY + 60;
        assert_eq!(fleet.run(1, "b", rolled_out.clone(), wave), []);
        assert!(fleet.is_settled(1), "after an hour");
        // The night of its first day is nothing new, and what no instance has done is found by what all of them have.
        assert_eq!(fleet.run(1, "b", 4 * DAY + 60..5 * DAY, wave), []);
        let strange = fleet.run(1, "b", 5 * DAY..5 * DAY + 10, |m| wave(m) + 120.0);
        assert!(strange[0].baseline_span > Duration::from_hours(4 * 24), "{strange:?}");
        let mut alone = Fleet(ZScoreDetector::new(ZScoreConfig::default()));
        alone.run(1, "b", rolled_out, wave);
        assert!(!alone.is_settled(1));
    }

    #[test]
    fn a_new_instance_that_is_different_learns_by_itself() {
        let mut fleet = Fleet::new();
        assert_eq!(fleet.run(1, "b", 4 * DAY..4 * DAY + 60, |m| 10.0 * wave(m)), [], "is no news either");
        assert!(!fleet.is_settled(1));
        assert!(fleet.0.states[1].trial.is_none() && fleet.0.trials == 0);
    }

    #[test]
    fn who_is_young_or_gone_lends_nothing() {
        let mut fleet = Fleet(ZScoreDetector::new(ZScoreConfig::default()));
        fleet.run(0, "a", 0..DAY / 2, wave);
        fleet.run(1, "b", DAY / 2..DAY / 2 + 60, wave);
        assert!(!fleet.is_settled(1), "a is young");
        let mut fleet = Fleet::new();
        fleet.run(1, "b", 4 * DAY + 90..4 * DAY + 150, wave);
        assert!(!fleet.is_settled(1), "a was not heard for long");
        let mut fleet = Fleet::new();
        fleet.run(1, "b", 4 * DAY..4 * DAY + 60, wave);
        assert_eq!(fleet.0.trials, 0, "none is left");
        fleet.run(2, "d", 4 * DAY + 50..4 * DAY + 60, wave);
        assert_eq!(fleet.0.trials, 1);
        fleet.0.forget(&[SeriesId(0), SeriesId(2)]);
        assert_eq!(fleet.0.trials, 0);
        fleet.run(0, "c", 4 * DAY + 60..4 * DAY + 120, wave);
        assert!(fleet.is_settled(0), "b lends what it was lent");
    }

    #[test]
    fn a_trial_that_was_written_down_goes_on_the_same() {
        let mut one = Fleet::new();
        one.run(1, "b", 4 * DAY..4 * DAY + 20, wave);
        let bytes = postcard::to_allocvec(&one.0).expect("plain data");
        let read: ZScoreDetector = postcard::from_bytes(&bytes).expect("as written");
        let mut other = Fleet(read.with_config(ZScoreConfig::default(), |_| None));
        for fleet in [&mut one, &mut other] {
            fleet.run(1, "b", 4 * DAY + 20..4 * DAY + 60, wave);
            assert!(fleet.is_settled(1));
        }
        let bytes = |fleet: &Fleet| postcard::to_allocvec(&fleet.0).expect("plain data");
        assert_eq!(bytes(&one), bytes(&other));
    }
}
