//! Has this series ever been here before?
//!
//! The evidence against a point is how far it lies from everything that the series has done, in four
//! views: its value, the value together with the one before (a jump within the usual range), what is
//! left after the usual value of the hour of day, and the short average. Distances are in standard
//! deviations of the series and are added as `ln(1 + weight * distance)`, so that several views that are
//! a little surprised count as much as one that is very.
//!
//! Distance to the nearest value ever seen is what the best of the Numenta benchmark's entries have in
//! common (Burnaev and Ishimtsev, "Conformalized density- and distance-based anomaly detection in
//! time-series data", 2016: k nearest neighbours). Unlike a z it needs no shape of distribution: two
//! modes, spikes every night or a long tail are known after they were seen. And it is scale-free in time:
//! a series sets records as often between its first and second week as between its first and second
//! hour (Rényi, "Théorie des éléments saillants d'une suite d'observations", 1962), so evidence is rare
//! without a fit to tails that a series has not shown yet.
//!
//! Memory is bounded, see [`crate::known`]; all state of a series takes at most 2,232 bytes.

use serde::{Deserialize, Serialize};

use crate::known::{Known, Set};

/// Newest points that do not count as seen before: a disturbance is not excused by its own beginning.
pub const LAG: usize = 20;
/// Points of the short average.
const AVERAGED: usize = 6;
/// Points remembered: enough for the average that is [`LAG`] points old.
const RECENT: usize = LAG + AVERAGED;
/// Points before the first verdict.
const FIRST: u64 = 25;
const HOURS: usize = 24;
const DAY: f64 = 86_400.0;
/// Weight of the newest value in the profile of its hour.
const PROFILE_WEIGHT: f32 = 0.3;
/// Distances below this share of a deviation are nothing.
const RESOLUTION: f64 = 0.02;
/// Distances beyond this many deviations say no more.
const FARTHEST: f64 = 50.0;
/// Sampling interval for which [`Params::limit`] holds.
const REFERENCE_INTERVAL: f64 = 300.0;
/// The limit never falls below this share of [`Params::limit`].
const LEAST_LIMIT: f64 = 0.4;
/// Rate at which the mean sampling interval follows.
const INTERVAL_RATE: f64 = 0.02;

/// The views in which a point is compared with the past, in the order of [`Judgement::distances`].
pub const VIEWS: [&str; 4] = ["value", "step", "hour of day", "short average"];

/// What holds for every series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Weights of the views. Default 2.2, 2.8, 0.5 and 0.6.
    pub weights: [f64; 4],
    /// Evidence from which on a point is anomalous, at one point every five minutes. Default 1.7.
    pub limit: f64,
    /// By how much the limit rises when points come e times as often: more points are more chances.
    /// Default 0.21 of the limit.
    pub per_rate: f64,
    /// By how much each anomaly of the recent past raises the limit of its series. Default 0.07.
    pub weariness: f64,
    /// For how long, in seconds of event time, it does so (time constant). Default five days.
    pub weary_for: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self { weights: [2.2, 2.8, 0.5, 0.6], limit: 1.7, per_rate: 0.21, weariness: 0.07, weary_for: 5.0 * DAY }
    }
}

/// What the past says of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Distance to the nearest of the past in each of [`VIEWS`], in deviations.
    pub distances: [f64; 4],
    /// `ln(1 + weight * distance)`, summed over the views.
    pub evidence: f64,
    /// Evidence at which the score is 1.
    pub limit: f64,
    /// `evidence / limit`: above 1 is anomalous.
    pub score: f64,
    /// The nearest value seen.
    pub nearest: f64,
    /// One standard deviation of the series.
    pub deviation: f64,
    /// Views in which the past knows nothing like it.
    news: [bool; 4],
    seen: Seen,
}

/// State of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Novelty {
    count: u64,
    age: f64,
    /// Values are kept as their difference to the first one, so that four bytes are enough.
    origin: f64,
    interval: f64,
    /// `ln(REFERENCE_INTERVAL / interval)`.
    rate: f64,
    recent: [f32; RECENT],
    residuals: [f32; LAG],
    profile: [f32; HOURS],
    /// Bit per hour of day that has a profile.
    profiled: u32,
    /// Bit `k`: the point `k` points ago was news in that view, and has to be kept when it is old enough.
    news: [u32; 4],
    value: Spread,
    residual: Spread,
    known: Known,
    weary: f64,
}

/// Running mean and variance (Welford, 1962).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Spread {
    mean: f64,
    squares: f64,
}

impl Spread {
    fn take(&mut self, x: f64, count: f64) {
        let delta = x - self.mean;
        self.mean += delta / count;
        self.squares += delta * (x - self.mean);
    }

    fn deviation(self, count: f64) -> f64 {
        (self.squares / count.max(1.0)).max(0.0).sqrt()
    }
}

/// One point in the terms in which the past is remembered.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    x: f32,
    before: f32,
    hour: usize,
    residual: f32,
    average: f32,
}

impl Novelty {
    /// Points learned so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Seconds of event time between the first and the last point learned.
    #[must_use]
    pub fn age(&self) -> f64 {
        self.age
    }

    /// What the past says of the finite `value` at `second` of event time, or `None` while it is too
    /// short. `floor` is the smallest deviation that makes sense for the series, in its unit.
    #[must_use]
    pub fn judge(&self, params: &Params, floor: f64, second: f64, value: f64) -> Option<Judgement> {
        if self.count < FIRST {
            return None;
        }
        let seen = self.seen(second, value);
        let (deviation, around) = self.deviations(floor);
        let known = &self.known;
        let nearest = known.nearest(Set::Values, seen.x);
        // In the order in which they are in memory: most of the time is waiting for it.
        let (hourly, average) =
            (known.distance(Set::Hourly, seen.residual), known.distance(Set::Averages, seen.average));
        let pair = known.distance_of_pair((seen.x, seen.before));
        let raw = [nearest.map_or(f32::INFINITY, |near| (seen.x - near).abs()), pair, hourly, average];
        let (coarse, fine) = (resolution(deviation), resolution(around));
        let news = [
            known.is_news(Set::Values, raw[0], coarse),
            known.is_news(Set::Pairs, raw[1], coarse),
            known.is_news(Set::Hourly, raw[2], fine),
            known.is_news(Set::Averages, raw[3], coarse),
        ];
        let distances = [
            in_deviations(raw[0], deviation),
            in_deviations(raw[1], deviation),
            in_deviations(raw[2], around),
            in_deviations(raw[3], deviation),
        ];
        let evidence = evidence(params, &distances);
        let limit = self.limit(params);
        let nearest = self.origin + f64::from(nearest.unwrap_or(seen.x));
        Some(Judgement { distances, evidence, limit, score: evidence / limit, nearest, deviation, news, seen })
    }

    /// Evidence at which the score is 1: higher for series that are sampled often, and for series that
    /// have had anomalies lately.
    fn limit(&self, params: &Params) -> f64 {
        params.limit * (1.0 + params.per_rate * self.rate).max(LEAST_LIMIT) * (1.0 + params.weariness * self.weary)
    }

    /// Takes a finite value, `elapsed` seconds after the one before (0 for the first), with what
    /// [`Novelty::judge`] said of this very point.
    pub fn learn(&mut self, params: &Params, second: f64, value: f64, elapsed: f64, judged: Option<&Judgement>) {
        if self.count == 0 {
            self.origin = value;
        }
        let seen = judged.map_or_else(|| self.seen(second, value), |j| j.seen);
        let index = self.count;
        self.count += 1;
        self.age += elapsed;
        let rate = (1.0 / precise(index).max(1.0)).max(INTERVAL_RATE);
        let interval = self.interval + rate * (elapsed - self.interval);
        // Logarithm and exponential are most of the cost of learning a point that is no news.
        if index == 0 || interval.to_bits() != self.interval.to_bits() {
            (self.interval, self.rate) = (interval, (REFERENCE_INTERVAL / interval.max(1e-3)).ln());
        }
        if self.weary > 0.0 {
            self.weary *= (-elapsed / params.weary_for).exp();
        }
        self.remember_old(index, judged.map_or([true; 4], |j| j.news));
        self.profile_hour(seen.hour, seen.x);
        self.residuals[place(index, LAG)] = seen.residual;
        self.recent[place(index, RECENT)] = seen.x;
        self.value.take(f64::from(seen.x), precise(self.count));
        self.residual.take(f64::from(seen.residual), precise(self.count));
    }

    /// An anomaly has begun: the next one has to be a little more surprising.
    pub fn note_anomaly(&mut self) {
        self.weary += 1.0;
    }

    /// What is [`LAG`] points older than the point number `index` (which was `news` in these views) is
    /// now the past.
    fn remember_old(&mut self, index: u64, news: [bool; 4]) {
        for (bits, is_news) in self.news.iter_mut().zip(news) {
            *bits = *bits << 1 | u32::from(is_news);
        }
        let is_due = |view: usize| self.news[view] >> LAG & 1 == 1;
        if !(0..VIEWS.len()).any(is_due) {
            return;
        }
        let Some(old) = self.back(index, LAG) else { return };
        let (deviation, around) = self.deviations(0.0);
        let (coarse, fine) = (resolution(deviation), resolution(around));
        if is_due(0) {
            self.known.add(Set::Values, old, coarse);
        }
        if is_due(1) {
            let before = self.back(index, LAG + 1).unwrap_or(old);
            self.known.add_pair((old, before), coarse);
        }
        if is_due(2) {
            // The oldest, in whose place the newest comes.
            self.known.add(Set::Hourly, self.residuals[place(index, LAG)], fine);
        }
        if is_due(3) {
            self.known.add(Set::Averages, self.average(index - LAG as u64, old), coarse);
        }
    }

    fn profile_hour(&mut self, hour: usize, x: f32) {
        if self.profiled >> hour & 1 == 1 {
            self.profile[hour] += PROFILE_WEIGHT * (x - self.profile[hour]);
        } else {
            self.profile[hour] = x;
            self.profiled |= 1 << hour;
        }
    }

    fn seen(&self, second: f64, value: f64) -> Seen {
        let x = rough(value - self.origin);
        let midnight = (second / DAY).floor() * DAY;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an hour of the day")]
        let hour = ((second - midnight) / 3_600.0) as usize % HOURS;
        let usual = if self.profiled >> hour & 1 == 1 { self.profile[hour] } else { rough(self.value.mean) };
        let before = self.back(self.count, 1).unwrap_or(x);
        Seen { x, before, hour, residual: x - usual, average: self.average(self.count, x) }
    }

    /// Mean of `x`, the point number `index`, and the points before it.
    fn average(&self, index: u64, x: f32) -> f32 {
        let (mut sum, mut n) = (x, 1.0);
        for back in 1..AVERAGED {
            let Some(older) = self.at(index, back) else { break };
            sum += older;
            n += 1.0;
        }
        sum / n
    }

    /// The point `back` points before the point number `index`, the next one; `None` if there is none.
    fn back(&self, index: u64, back: usize) -> Option<f32> {
        (back <= RECENT).then(|| self.at(index, back)).flatten()
    }

    fn at(&self, index: u64, back: usize) -> Option<f32> {
        index.checked_sub(back as u64).map(|i| self.recent[place(i, RECENT)])
    }

    /// Standard deviation of the series and of its residuals around the hour's usual value.
    fn deviations(&self, floor: f64) -> (f64, f64) {
        let n = precise(self.count);
        (self.value.deviation(n).max(floor), self.residual.deviation(n).max(floor))
    }
}

/// The evidence of distances in deviations: `ln(1 + weight * distance)` summed over the views, as the logarithm
/// of a product, which cannot overflow since distances are at most 50.
#[must_use]
pub fn evidence(params: &Params, distances: &[f64; 4]) -> f64 {
    params.weights.iter().zip(distances).map(|(weight, distance)| 1.0 + weight * distance).product::<f64>().ln()
}

fn in_deviations(distance: f32, deviation: f64) -> f64 {
    if !distance.is_finite() || distance <= 0.0 {
        0.0
    } else if deviation > 0.0 {
        (f64::from(distance) / deviation).min(FARTHEST)
    } else {
        1.0
    }
}

fn resolution(deviation: f64) -> f32 {
    rough(RESOLUTION * deviation)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seven digits of a difference are plenty, and bounded by the clamp"
)]
fn rough(x: f64) -> f32 {
    x.clamp(-1e37, 1e37) as f32
}

#[expect(clippy::cast_precision_loss, reason = "a count of points is far below 2^52")]
fn precise(count: u64) -> f64 {
    count as f64
}

/// Where the point number `index` is among the last `length`.
#[expect(clippy::cast_possible_truncation, reason = "a remainder of a small length")]
fn place(index: u64, length: usize) -> usize {
    (index % length as u64) as usize
}

#[cfg(test)]
#[path = "novelty/tests.rs"]
mod tests;
