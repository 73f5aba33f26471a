//! Known series with known disturbances: made from a seed, so that everybody measures the same.

use std::f64::consts::TAU;

/// Seconds between two points.
pub(super) const EVERY: u64 = 300;
/// Points in a day.
pub(super) const DAY: usize = 288;
/// Points after the beginning of a disturbance.
pub(super) const AFTER: usize = 72;
/// Calm points before a disturbance, of a settled series.
pub(super) const SETTLED: usize = 4 * DAY;
/// The same of a young one.
pub(super) const YOUNG: usize = 100;
/// Metrics of a thing that is judged as one.
pub(super) const TOGETHER: usize = 10;
/// Calm points before a joint disturbance.
pub(super) const JOINT: usize = 2 * DAY;

/// What a series does when nothing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Base {
    Flat,
    Noisy,
    Seasonal,
    Bursty,
}

impl Base {
    pub(super) const ALL: [Self; 4] = [Self::Flat, Self::Noisy, Self::Seasonal, Self::Bursty];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Noisy => "noisy",
            Self::Seasonal => "seasonal",
            Self::Bursty => "bursty",
        }
    }

    /// What a disturbance is measured in: what this series does by itself.
    fn unit(self) -> f64 {
        if self == Self::Bursty { 20.0 } else { 5.0 }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signal {
    /// One point far above.
    Spike,
    /// Three points far below.
    Drop,
    /// A new level.
    Step,
    /// A new level, reached in an hour.
    Ramp,
    /// The same level, with much more noise.
    Variance,
    /// The day comes at another time.
    Season,
    /// The data stops.
    Gap,
    /// Ten metrics of one thing leave their usual range together, none of them far.
    Joint,
}

impl Signal {
    pub(super) const ALL: [Self; 8] =
        [Self::Spike, Self::Drop, Self::Step, Self::Ramp, Self::Variance, Self::Season, Self::Gap, Self::Joint];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Spike => "spike",
            Self::Drop => "drop",
            Self::Step => "step",
            Self::Ramp => "ramp",
            Self::Variance => "variance",
            Self::Season => "season break",
            Self::Gap => "gap",
            Self::Joint => "joint",
        }
    }

    /// Sizes, in units of the base; of a gap in points, of a season break in hours.
    pub(super) fn sizes(self) -> [f64; 3] {
        match self {
            Self::Spike | Self::Drop | Self::Ramp => [8.0, 15.0, 40.0],
            Self::Step => [6.0, 12.0, 25.0],
            Self::Variance => [4.0, 8.0, 20.0],
            Self::Season => [4.0, 8.0, 12.0],
            Self::Gap => [6.0, 24.0, 60.0],
            Self::Joint => [4.0, 6.0, 10.0],
        }
    }

    /// To which side it goes, where there is one.
    pub(super) fn direction(self) -> Option<&'static str> {
        match self {
            Self::Spike | Self::Step | Self::Ramp => Some("up"),
            Self::Drop => Some("down"),
            Self::Variance | Self::Season | Self::Gap | Self::Joint => None,
        }
    }

    /// Whether it can happen to this base.
    pub(super) fn suits(self, base: Base) -> bool {
        match self {
            Self::Season => base == Base::Seasonal,
            // Gaps have nothing to do with values.
            Self::Gap => base == Base::Noisy,
            Self::Joint => matches!(base, Base::Noisy | Base::Seasonal),
            _ => true,
        }
    }
}

/// A series, or several of one thing, and what goes wrong with it if anything does.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// The label by which its anomalies are known.
    pub(super) id: String,
    pub(super) base: Base,
    /// `None` for a series in which nothing goes wrong.
    pub(super) signal: Option<(Signal, usize)>,
    /// The step of the whole at which it begins.
    pub(super) born: usize,
    /// The step at which it goes wrong, or would.
    pub(super) begins: usize,
    pub(super) is_young: bool,
    pub(super) metrics: usize,
    seed: u64,
}

/// Steps of the whole.
pub(super) const STEPS: usize = SETTLED + AFTER;

/// All cases: everything that can go wrong with each base in each size, to young and to settled series, and of
/// each base series in which nothing goes wrong.
pub(super) fn cases(seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |base: Base, signal: Option<(Signal, usize)>, before: usize, metrics: usize, which: usize| {
        let what = signal.map_or("calm", |(signal, _)| signal.as_str()).replace(' ', "-");
        let id = format!("{what}-{}-{which}-{before}", base.as_str());
        let seed = seed.wrapping_mul(1_000_003) + cases.len() as u64;
        let is_young = before == YOUNG;
        cases.push(Case { id, base, signal, born: SETTLED - before, begins: SETTLED, is_young, metrics, seed });
    };
    for base in Base::ALL {
        for signal in Signal::ALL.into_iter().filter(|signal| signal.suits(base)) {
            for size in 0..signal.sizes().len() {
                let signal_of = Some((signal, size));
                match signal {
                    Signal::Joint => add(base, signal_of, JOINT, TOGETHER, size),
                    // Nobody can know a season before it has come again.
                    Signal::Season => add(base, signal_of, SETTLED, 1, size),
                    _ => {
                        add(base, signal_of, YOUNG, 1, size);
                        add(base, signal_of, SETTLED, 1, size);
                    }
                }
            }
        }
        for which in 0..4 {
            add(base, None, SETTLED, 1, which);
            add(base, None, YOUNG, 1, which);
        }
        if Signal::Joint.suits(base) {
            add(base, None, JOINT, TOGETHER, 0);
        }
    }
    cases
}

impl Case {
    /// What the case's metric with number `metric` says at a step; `None` when it says nothing.
    pub(super) fn value(&self, step: usize, metric: usize) -> Option<f64> {
        if step < self.born {
            return None;
        }
        let since = step.checked_sub(self.begins);
        if let (Some((Signal::Gap, size)), Some(_)) = (self.signal, since) {
            // The longest begins with the rest; shorter ones later, so that all last until the end.
            let length = at(Signal::Gap.sizes(), size);
            if float(STEPS - step) <= length {
                return None;
            }
        }
        let shifted = match (self.signal, since) {
            (Some((Signal::Season, size)), Some(_)) => at(Signal::Season.sizes(), size) / 24.0,
            _ => 0.0,
        };
        let noise = normal(self.seed, step, metric);
        let calm = match self.base {
            Base::Flat => 100.0,
            Base::Noisy => 100.0 + 5.0 * noise,
            Base::Seasonal => {
                let day = float(step % DAY) / float(DAY) + shifted;
                100.0 + 40.0 * (TAU * day).sin() + 3.0 * noise
            }
            Base::Bursty => {
                let is_burst = uniform(self.seed ^ 0xB0, step / 2, metric) < 0.05;
                let burst = if is_burst { 30.0 + 30.0 * uniform(self.seed ^ 0xB1, step, metric) } else { 0.0 };
                100.0 + 3.0 * noise + burst
            }
        };
        Some(calm + self.disturbance(since, step, metric))
    }

    fn disturbance(&self, since: Option<usize>, step: usize, metric: usize) -> f64 {
        let (Some((signal, size)), Some(since)) = (self.signal, since) else { return 0.0 };
        let size = at(signal.sizes(), size) * self.base.unit();
        match signal {
            Signal::Spike if since == 0 => size,
            Signal::Drop if since < 3 => -size,
            Signal::Step => size,
            Signal::Ramp => size * (float(since + 1) / 12.0).min(1.0),
            Signal::Variance if since < 36 => size * normal(self.seed ^ 0xA5, step, metric),
            // In standard deviations of the noise rather than in units.
            Signal::Joint if since < 12 => {
                let deviation = if self.base == Base::Seasonal { 3.0 } else { 5.0 };
                size / self.base.unit() * deviation * if metric.is_multiple_of(2) { 1.0 } else { -1.0 }
            }
            _ => 0.0,
        }
    }

    /// The step at which it goes wrong.
    pub(super) fn wrong_from(&self) -> usize {
        match self.signal {
            Some((Signal::Gap, size)) => {
                let length = at(Signal::Gap.sizes(), size);
                (self.begins..STEPS).find(|step| float(STEPS - step) <= length).unwrap_or(STEPS)
            }
            _ => self.begins,
        }
    }
}

fn at(sizes: [f64; 3], size: usize) -> f64 {
    sizes.get(size).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "steps are small")]
fn float(n: usize) -> f64 {
    n as f64
}

/// In [0, 1), the same for the same arguments.
pub(super) fn uniform(seed: u64, step: usize, metric: usize) -> f64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (step as u64 + 1).wrapping_mul(0xBF58_476D_1CE4_E5B9)
        ^ (metric as u64 + 1).wrapping_mul(0x94D0_49BB_1331_11EB);
    for shift in [30, 27, 31] {
        x = (x ^ (x >> shift)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    }
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let share = (x >> 11) as f64;
    share / 9_007_199_254_740_992.0
}

/// Normal with mean 0 and deviation 1 (Box and Muller).
fn normal(seed: u64, step: usize, metric: usize) -> f64 {
    let (a, b) = (uniform(seed, step, metric), uniform(seed ^ 0x5EED, step, metric));
    (-2.0 * (1.0 - a).ln()).sqrt() * (TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_a_name_of_its_own_and_is_calm_until_it_goes_wrong() {
        let all = cases(1);
        let mut ids: Vec<&str> = all.iter().map(|case| case.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
        for case in all.iter().filter(|case| case.base == Base::Noisy) {
            let calm = (case.born..case.wrong_from()).filter_map(|step| case.value(step, 0));
            assert!(calm.clone().all(|value| (value - 100.0).abs() < 30.0), "{}", case.id);
            assert_eq!(calm.count(), case.wrong_from() - case.born, "{}", case.id);
        }
    }

    #[test]
    fn noise_is_standard_normal() {
        let all: Vec<f64> = (0..20_000).map(|step| normal(7, step, 0)).collect();
        let mean = all.iter().sum::<f64>() / 20_000.0;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
