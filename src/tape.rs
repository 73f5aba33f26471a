//! What detectors saw and thought, kept small enough to draw all of a long replay.
//!
//! The window forgets after hours, while a replay goes through months. So each series has four curves, each
//! of a bounded number of steps: when a curve is full, two steps become one, with the lowest and the highest
//! value of both, so that no peak is lost.

use std::{
    mem::size_of,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use detect::UnixNanos;
use window::{Labels, Point, Registry, Series, SeriesId};

/// Steps of one curve.
const STEPS: usize = 720;
/// Memory for all curves, in bytes. Series that are met when it is full are not drawn.
const MAX_BYTES: usize = 256 << 20;
/// Width of a step at first, in nanoseconds.
const FINEST: i64 = 1_000_000_000;

/// One step of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// The first time in it.
    pub(crate) from: UnixNanos,
    /// The lowest value in it.
    pub(crate) low: f64,
    /// The highest value in it.
    pub(crate) high: f64,
}

/// Values over time, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    steps: Vec<Stretch>,
    width: i64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { steps: Vec::new(), width: FINEST }
    }
}

impl Curve {
    /// Its steps.
    pub(crate) fn steps(&self) -> &[Stretch] {
        &self.steps
    }

    /// Adds a value. Only what is finite and not older than the last step is drawn.
    fn add(&mut self, time: UnixNanos, value: f64) {
        if !value.is_finite() {
            return;
        }
        let place = time.0.div_euclid(self.width);
        if let Some(last) = self.steps.last_mut() {
            match place.cmp(&last.from.0.div_euclid(self.width)) {
                std::cmp::Ordering::Less => return,
                std::cmp::Ordering::Equal => {
                    (last.low, last.high) = (last.low.min(value), last.high.max(value));
                    return;
                }
                std::cmp::Ordering::Greater => {}
            }
        }
        self.steps.push(Stretch { from: time, low: value, high: value });
        while self.steps.len() > STEPS && self.width < i64::MAX / 2 {
            self.width *= 2;
            let width = self.width;
            self.steps.dedup_by(|next, kept| {
                let is_same = next.from.0.div_euclid(width) == kept.from.0.div_euclid(width);
                if is_same {
                    (kept.low, kept.high) = (kept.low.min(next.low), kept.high.max(next.high));
                }
                is_same
            });
        }
    }
}

/// One series, as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    /// What it is.
    pub(crate) series: Arc<Series>,
    /// What was judged.
    pub(crate) values: Curve,
    /// What was expected.
    pub(crate) expected: Curve,
    /// The lower limit of the band.
    pub(crate) lower: Curve,
    /// The upper limit.
    pub(crate) upper: Curve,
}

#[derive(Debug, Default)]
struct Reel {
    tracks: Vec<Track>,
    /// By number of the series: where its track is.
    places: Vec<Option<usize>>,
    steps: usize,
    left_out: u64,
}

/// The tape of one line. Clones are of the same tape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape(Arc<Mutex<Reel>>);

impl Tape {
    /// Notes points that detectors are shown.
    pub(crate) fn judged(&self, points: &[Point], registry: &Registry) {
        let mut reel = self.reel();
        for point in points {
            reel.add(point.series, registry, point.time, point.value, |track| &mut track.values);
        }
    }

    /// Notes what a detector published beside the series `of`.
    pub(crate) fn published(&self, of: SeriesId, registry: &Registry, suffix: &str, time: UnixNanos, value: f64) {
        let curve: fn(&mut Track) -> &mut Curve = match suffix {
            ":expected" => |track| &mut track.expected,
            ":lower" => |track| &mut track.lower,
            ":upper" => |track| &mut track.upper,
            _ => return,
        };
        self.reel().add(of, registry, time, value, curve);
    }

    /// Forgets the numbers of series that are gone, not what was seen of them.
    pub(crate) fn forget(&self, expired: &[SeriesId]) {
        let mut reel = self.reel();
        for id in expired {
            if let Some(place) = reel.places.get_mut(id.index()) {
                *place = None;
            }
        }
    }

    /// The tracks of the series with this name and these labels: several when it went away and came back.
    pub(crate) fn of(&self, metric: &str, labels: &Labels) -> Vec<Track> {
        let reel = self.reel();
        let same = |track: &&Track| &*track.series.name == metric && track.series.labels == *labels;
        reel.tracks.iter().filter(same).cloned().collect()
    }

    /// How many points were not noted for want of room.
    pub(crate) fn left_out(&self) -> u64 {
        self.reel().left_out
    }

    fn reel(&self) -> MutexGuard<'_, Reel> {
        // Whole between any two statements, so a thread that died has left no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reel {
    fn add(
        &mut self,
        id: SeriesId,
        registry: &Registry,
        time: UnixNanos,
        value: f64,
        curve: impl Fn(&mut Track) -> &mut Curve,
    ) {
        let Some(place) = self.place(id, registry) else {
            self.left_out += 1;
            return;
        };
        let curve = curve(&mut self.tracks[place]);
        let before = curve.steps.len();
        curve.add(time, value);
        self.steps = (self.steps + curve.steps.len()).saturating_sub(before);
    }

    fn place(&mut self, id: SeriesId, registry: &Registry) -> Option<usize> {
        if self.places.len() <= id.index() {
            self.places.resize(id.index() + 1, None);
        }
        if let Some(place) = self.places[id.index()] {
            return Some(place);
        }
        // A track's curves have room for one step each from the start.
        let bytes = self.steps * 2 * size_of::<Stretch>() + self.tracks.len() * 2 * size_of::<Track>();
        if bytes >= MAX_BYTES {
            return None;
        }
        let track = Track {
            series: Arc::clone(registry.get(id)?),
            values: Curve::default(),
            expected: Curve::default(),
            lower: Curve::default(),
            upper: Curve::default(),
        };
        self.places[id.index()] = Some(self.tracks.len());
        self.tracks.push(track);
        self.places[id.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_curve_has_wider_steps_the_same_peaks_and_no_more_steps() {
        let mut curve = Curve::default();
        let minute = |i: i64| UnixNanos(i * 60 * FINEST);
        for i in 0..100_000 {
            curve.add(minute(i), if i == 54_321 { 99.0 } else { f64::from(u8::from(i % 2 == 0)) });
        }
        let steps = curve.steps();
        assert!((STEPS / 2..=STEPS).contains(&steps.len()), "{}", steps.len());
        assert!(steps.is_sorted_by(|a, b| a.from < b.from));
        let peak: Vec<_> = steps.iter().filter(|s| s.high > 1.0).collect();
        assert!(peak.len() == 1 && peak[0].from <= minute(54_321), "{peak:?}");
        assert!(steps.iter().all(|s| s.low.abs() < 1e-9), "every step saw an odd minute");
    }

    #[test]
    fn what_is_not_finite_or_old_is_not_drawn() {
        let mut curve = Curve::default();
        for (time, value) in [(10, 1.0), (11, f64::NAN), (5, 7.0), (10, 3.0)] {
            curve.add(UnixNanos(time * FINEST), value);
        }
        assert_eq!(curve.steps(), [Stretch { from: UnixNanos(10 * FINEST), low: 1.0, high: 3.0 }]);
    }
}
