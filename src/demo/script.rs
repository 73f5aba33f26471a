//! The plan of the demonstration: what goes wrong in the shop, and when.
//!
//! The incidents come one after the other with a calm recovery between them, because the closing
//! table must say which finding belongs to which incident without guessing.

use std::time::Duration;

/// What can go wrong in the simulated shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum IncidentKind {
    /// Pricing takes four times as long.
    LatencyStep,
    /// Most analyses of STEP files fail.
    DfmFailures,
    /// Far fewer quotes become orders.
    ConversionDrop,
    /// Quotes earn a fifth less than they should.
    MarginErosion,
    /// The breaker towards the tax service opens.
    BreakerOpen,
    /// The notification service sends no telemetry at all.
    ExporterSilent,
}

impl IncidentKind {
    /// Every kind, in the order of the script.
    pub(crate) const ALL: [Self; 6] = [
        Self::LatencyStep,
        Self::DfmFailures,
        Self::ConversionDrop,
        Self::MarginErosion,
        Self::BreakerOpen,
        Self::ExporterSilent,
    ];

    /// A short name for tables and logs.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LatencyStep => "pricing latency step",
            Self::DfmFailures => "DFM failures for STEP files",
            Self::ConversionDrop => "conversion drop",
            Self::MarginErosion => "margin erosion",
            Self::BreakerOpen => "tax-service breaker open",
            Self::ExporterSilent => "notification exporter silent",
        }
    }

    /// A sentence that says what happens.
    #[must_use]
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::LatencyStep => "Pricing takes four times as long for every quote.",
            Self::DfmFailures => "35 % of the analyses of STEP files fail instead of 2 %.",
            Self::ConversionDrop => "12 % of the quotes become orders instead of 30 %.",
            Self::MarginErosion => "The margin falls from 1.0 to 0.8 of its target.",
            Self::BreakerOpen => {
                "The circuit breaker towards the tax service opens, and is half-open before it closes."
            }
            Self::ExporterSilent => "The notification service stops sending telemetry, although it still works.",
        }
    }

    /// Time that the kind needs relative to the others. A step in a gauge shows with the next
    /// export; what is judged over a bucket or a rolling window of 10 s needs longer.
    fn weight(self) -> f64 {
        match self {
            Self::LatencyStep => 1.15,
            Self::DfmFailures | Self::ConversionDrop | Self::ExporterSilent => 1.1,
            Self::MarginErosion => 0.8,
            Self::BreakerOpen => 0.75,
        }
    }
}

/// One scripted disturbance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incident {
    /// What goes wrong.
    pub(crate) kind: IncidentKind,
    /// [`IncidentKind::name`].
    pub(crate) name: &'static str,
    /// When it begins, relative to the start of the shop.
    pub(crate) from: Duration,
    /// When it is over, relative to the start of the shop; from here on all is calm.
    pub(crate) until: Duration,
    /// [`IncidentKind::what`].
    pub(crate) what: &'static str,
}

/// The incidents of one demonstration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// By time, without overlap, each followed by a calm stretch.
    pub(crate) incidents: Vec<Incident>,
    /// How long the shop is open; the last recovery ends with it.
    pub(crate) total: Duration,
}

/// A duration into which the script does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duration of the demo: expected {} s to {} s, got {:.3} s", Script::SHORTEST.as_secs(), Script::LONGEST.as_secs(), actual.as_secs_f64())]
pub(crate) struct ScriptError {
    /// What was asked for.
    pub(crate) actual: Duration,
}

/// Share of the time in which nothing happens at first, so that a baseline can be learned.
const WARM_UP_SHARE: f64 = 0.35;
/// One day of the shop: a shorter warm-up would not show its whole shape.
const WARM_UP_MIN: Duration = Duration::from_mins(1);
/// Share of an incident's slot in which it lasts; the rest is recovery.
const DISTURBED_SHARE: f64 = 0.55;
/// The seed moves an incident by up to this share of its slot.
const JITTER_SHARE: f64 = 0.06;

impl Script {
    /// Below this the incidents are too short to be told apart.
    pub(crate) const SHORTEST: Duration = Duration::from_secs(150);
    /// A whole day; longer adds nothing that a day does not show.
    pub(crate) const LONGEST: Duration = Duration::from_hours(24);

    /// Fits the six incidents into `total`: a calm warm-up of 35 % (at least 60 s), then each
    /// incident with its recovery. `seed` moves the incidents a little, so that nothing can learn
    /// the timetable by heart; the same seed gives the same script.
    ///
    /// # Errors
    /// [`ScriptError`] when `total` is not within [`Script::SHORTEST`] and [`Script::LONGEST`].
    pub(crate) fn scaled(total: Duration, seed: u64) -> Result<Self, ScriptError> {
        if !(Self::SHORTEST..=Self::LONGEST).contains(&total) {
            return Err(ScriptError { actual: total });
        }
        let mut rng = fastrand::Rng::with_seed(seed);
        let warm_up = total.mul_f64(WARM_UP_SHARE).max(WARM_UP_MIN);
        let weights: f64 = IncidentKind::ALL.iter().map(|kind| kind.weight()).sum();
        let mut slot_start = warm_up;
        let mut incidents = Vec::with_capacity(IncidentKind::ALL.len());
        for kind in IncidentKind::ALL {
            let slot = (total - warm_up).mul_f64(kind.weight() / weights);
            let from = slot_start + slot.mul_f64(JITTER_SHARE * rng.f64());
            let until = from + slot.mul_f64(DISTURBED_SHARE);
            incidents.push(Incident { kind, name: kind.name(), from, until, what: kind.what() });
            slot_start += slot;
        }
        Ok(Self { incidents, total })
    }

    /// The incident that is under way at `at` after the start, if any.
    #[must_use]
    pub(crate) fn active(&self, at: Duration) -> Option<&Incident> {
        self.incidents.iter().find(|incident| (incident.from..incident.until).contains(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn script(seconds: u64) -> Script {
        Script::scaled(Duration::from_secs(seconds), 1).expect("long enough")
    }

    #[test]
    fn the_six_incidents_come_in_order() {
        let kinds: Vec<IncidentKind> = script(300).incidents.iter().map(|i| i.kind).collect();
        assert_eq!(kinds, IncidentKind::ALL);
    }

    #[test]
    fn warm_up_is_a_third_and_at_least_a_day_of_the_shop() {
        assert!(script(150).incidents[0].from >= 60 * SECOND);
        let from = script(600).incidents[0].from;
        assert!(from >= 210 * SECOND && from < 215 * SECOND, "{from:?}");
    }

    #[test]
    fn every_incident_is_followed_by_a_recovery_that_scales() {
        for (total, shortest_recovery) in [(150, 4.0), (300, 9.0), (3600, 110.0)] {
            let script = script(total);
            let next = script.incidents.iter().skip(1).map(|i| i.from).chain([script.total]);
            for (incident, next) in script.incidents.iter().zip(next) {
                assert!(incident.from < incident.until);
                let recovery = next.saturating_sub(incident.until).as_secs_f64();
                assert!(recovery >= shortest_recovery, "{}: {recovery} s at {total} s", incident.name);
            }
        }
    }

    #[test]
    fn a_duration_out_of_range_is_refused_with_the_limits() {
        let error = Script::scaled(Duration::from_secs(149), 1).expect_err("too short");
        assert_eq!(error.to_string(), "duration of the demo: expected 150 s to 86400 s, got 149.000 s");
        assert!(Script::scaled(Duration::MAX, 1).is_err());
        assert!(Script::scaled(Script::LONGEST, 1).is_ok());
    }

    #[test]
    fn the_seed_moves_incidents_and_repeats_itself() {
        let at = |seed| Script::scaled(Script::SHORTEST * 2, seed).expect("long enough");
        assert_eq!(at(7), at(7));
        assert_ne!(at(7), at(8));
    }

    #[test]
    fn active_covers_the_start_and_not_the_end() {
        let script = script(300);
        let first = &script.incidents[0];
        assert_eq!(script.active(first.from), Some(first));
        assert_eq!(script.active(first.until), None);
        assert_eq!(script.active(Duration::ZERO), None);
    }
}
