//! Does this series follow the day or the week, and does it still?
//!
//! The means of whole hours are predicted four ways: by the mean of all, by the hour before, by what is usual at this
//! hour of the day, and at this hour of the week. Whichever errs least, and by enough, is the season of the series; most
//! have none. How far an hour is from its season is measured in the season's own mean error, and an hour counts as
//! broken with its neighbour only: two hours in a row that are further out than the series has ever been.
//!
//! Hours are those of UTC. Profiles are exponential averages (Gardner, "Exponential smoothing: the state of the art",
//! 1985, of seasonal profiles without trend); hours that are broken do not teach them, unless that lasts for a day. All
//! state takes 592 bytes.

use serde::{Deserialize, Serialize};

use crate::record::{Bounds, Record};

const HOUR: f64 = 3_600.0;
const DAY: usize = 24;
const WEEKDAYS: usize = 7;
/// Hours that were predicted before a day can be known as a season, and a week.
const DAY_KNOWN: u32 = 48;
const WEEK_KNOWN: u32 = 168;
/// Weight of the newest hour in its profile.
const PROFILE_WEIGHT: f32 = 0.3;
/// Least weight of the newest error: a memory of about a week.
const ERROR_WEIGHT: f64 = 1.0 / 168.0;
/// A season errs by at most this share of what having none errs by ...
const BETTER_THAN_LEVEL: f64 = 0.5;
/// ... and of what the hour before errs by, or the day where the week is the season.
const BETTER_THAN_SIMPLER: f64 = 0.7;
/// From how many mean errors on two hours in a row are broken.
const BROKEN: Bounds = Bounds { least: 5.0, beyond: 1.3 };
/// The farthest is forgotten by this factor an hour: to a half within ten days.
const FADE: f64 = 0.997;
/// A season's mean error is at least this share of what having none errs by.
const LEAST_SCALE: f64 = 0.02;
/// Broken hours after which they are the new season.
const ADOPTED: u32 = 24;

/// What a series follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cycle {
    /// The hour of the day.
    Day,
    /// The hour of the week.
    Week,
}

/// What the last two whole hours say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Mean of the last hour.
    pub observed: f64,
    /// What its season says.
    pub expected: f64,
    /// Mean error of the season by itself.
    pub scale: f64,
    /// Of the last two hours the lesser distance in mean errors, signed; 0 if they are on different sides.
    pub z: f64,
    /// The |z| that is broken.
    pub threshold: f64,
}

/// State of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Season {
    /// The hour that is filled now, since 1970, the sum of its points and their number.
    hour: i64,
    sum: f64,
    points: u32,
    /// Whether the last two hours are broken: asked with every point, for which what is known need not be fetched.
    is_broken: bool,
    learned: Option<Box<Learned>>,
}

/// What is known once an hour is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Learned {
    /// Profiles are kept as differences to the first hour, so that two bytes are enough.
    origin: f64,
    /// Mean of all hours.
    level: Mean,
    before: f64,
    /// Usual values by hour, and by day of the week and hour; not a number where nothing is known.
    day: [Short; DAY],
    week: [[Short; DAY]; WEEKDAYS],
    /// Mean absolute errors of the mean, the hour before, the day and the week.
    errors: [Mean; 4],
    /// Mean of the last hour, what its season said, and the distance of both in mean errors; that of the hour before.
    last: Option<Hour>,
    earlier: Option<f64>,
    cycle: Option<Cycle>,
    /// How far the series goes by itself, in mean errors.
    record: Record,
    /// Hours in a row that were broken.
    broken: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Hour {
    observed: f64,
    expected: f64,
    scale: f64,
    z: f64,
}

/// A number of which eight bits are kept, as much as bfloat16 has: two in a thousand, a tenth of [`LEAST_SCALE`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Short(u16);

impl Short {
    const UNKNOWN: Self = Self(0x7FC0);

    fn of(x: f32) -> Self {
        // Rounded to the nearest; no infinity comes out of what is at most 1e37.
        let bits = x.to_bits().saturating_add(0x8000) >> 16;
        u16::try_from(bits).map_or(Self::UNKNOWN, Self)
    }

    fn get(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// An average over the newest, and a plain one as long as there is little to forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    value: f64,
    count: u32,
}

impl Mean {
    fn take(&mut self, x: f64) {
        self.count = self.count.saturating_add(1);
        self.value += (1.0 / f64::from(self.count)).max(ERROR_WEIGHT) * (x - self.value);
    }
}

impl Season {
    /// What the series follows, if anything.
    #[must_use]
    pub fn cycle(&self) -> Option<Cycle> {
        self.learned.as_ref().and_then(|learned| learned.cycle)
    }

    /// What the last two whole hours say, or `None` while there is no season.
    #[must_use]
    pub fn judge(&self) -> Option<Judgement> {
        let learned = self.learned.as_ref()?;
        learned.cycle?;
        let Hour { observed, expected, scale, .. } = learned.last?;
        let (z, threshold) = (learned.distance()?, learned.record.limit(BROKEN));
        Some(Judgement { observed, expected, scale, z, threshold })
    }

    /// The same, if that is broken.
    #[must_use]
    pub fn broken(&self) -> Option<Judgement> {
        if self.is_broken { self.judge() } else { None }
    }

    /// Takes a finite value at `second` of event time, not before those already taken.
    pub fn learn(&mut self, second: f64, value: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "hours since 1970, saturating")]
        let hour = (second / HOUR).floor() as i64;
        if self.points > 0 && hour != self.hour {
            let mean = self.sum / f64::from(self.points);
            let learned = self.learned.get_or_insert_with(|| Box::new(Learned::new(mean)));
            learned.take(self.hour, mean);
            if hour > self.hour.saturating_add(1) {
                // What came before a gap is not the hour before.
                learned.last = None;
            }
            self.is_broken = self.judge().is_some_and(|j| j.z.abs() / j.threshold > 1.0);
            (self.sum, self.points) = (0.0, 0);
        }
        self.hour = hour;
        self.sum += value;
        self.points = self.points.saturating_add(1);
    }
}

impl Learned {
    fn new(origin: f64) -> Self {
        Self {
            origin,
            level: Mean::default(),
            before: 0.0,
            day: [Short::UNKNOWN; DAY],
            week: [[Short::UNKNOWN; DAY]; WEEKDAYS],
            errors: [Mean::default(); 4],
            last: None,
            earlier: None,
            cycle: None,
            record: Record::default(),
            broken: 0,
        }
    }

    /// Takes the mean of a whole hour.
    fn take(&mut self, hour: i64, mean: f64) {
        let x = mean - self.origin;
        let (of_day, weekday) = places(hour);
        let (day, week) = (f64::from(self.day[of_day].get()), f64::from(self.week[weekday][of_day].get()));
        self.judge(x, day, week);
        let is_broken = self.distance().is_some_and(|z| z.abs() > self.record.limit(BROKEN));
        self.broken = if is_broken { self.broken + 1 } else { 0 };
        if self.broken == 0 || self.broken > ADOPTED {
            if self.level.count > 0 {
                for (error, guess) in self.errors.iter_mut().zip([self.level.value, self.before, day, week]) {
                    if guess.is_finite() {
                        error.take((x - guess).abs());
                    }
                }
            }
            self.profile(of_day, weekday, x);
        }
        self.level.take(x);
        self.before = x;
        self.cycle = self.best();
    }

    /// Sets the hour against the season, and remembers how far the series goes.
    fn judge(&mut self, x: f64, day: f64, week: f64) {
        let [level, _, by_day, by_week] = self.errors.map(|e| e.value);
        let (expected, error) = match self.cycle {
            Some(Cycle::Week) if week.is_finite() => (week, by_week),
            Some(_) if day.is_finite() => (day, by_day),
            _ => {
                (self.last, self.earlier) = (None, None);
                return;
            }
        };
        let scale = error.max(LEAST_SCALE * level).max(f64::MIN_POSITIVE);
        let hour =
            Hour { observed: x + self.origin, expected: expected + self.origin, scale, z: (x - expected) / scale };
        (self.earlier, self.last) = (self.last.map(|last| last.z), Some(hour));
        self.record.take(self.distance().unwrap_or(0.0).abs(), BROKEN, FADE);
    }

    /// The lesser distance of the last two hours, signed; 0 if they are on different sides.
    fn distance(&self) -> Option<f64> {
        let (last, earlier) = (self.last?.z, self.earlier?);
        let lesser = last.abs().min(earlier.abs());
        Some(if last * earlier > 0.0 { lesser.copysign(last) } else { 0.0 })
    }

    fn profile(&mut self, of_day: usize, weekday: usize, x: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "seven digits of a difference are plenty")]
        let x = x.clamp(-1e37, 1e37) as f32;
        for usual in [&mut self.day[of_day], &mut self.week[weekday][of_day]] {
            let before = usual.get();
            *usual = Short::of(if before.is_nan() { x } else { before + PROFILE_WEIGHT * (x - before) });
        }
    }

    /// The season that errs least, if it errs by enough less than what is simpler.
    fn best(&self) -> Option<Cycle> {
        let [level, before, day, week] = self.errors;
        let beats = |season: Mean, known: u32, simpler: Mean| {
            season.count >= known
                && season.value < BETTER_THAN_LEVEL * level.value
                && season.value < BETTER_THAN_SIMPLER * before.value.min(simpler.value)
        };
        if beats(week, WEEK_KNOWN, day) {
            Some(Cycle::Week)
        } else {
            beats(day, DAY_KNOWN, before).then_some(Cycle::Day)
        }
    }
}

/// Hour of the day, and day of the week.
fn places(hour: i64) -> (usize, usize) {
    let part = |n: i64| usize::try_from(n).unwrap_or_default();
    (part(hour.rem_euclid(24)), part(hour.div_euclid(24).rem_euclid(7)))
}

#[cfg(test)]
#[path = "season/tests.rs"]
mod tests;
