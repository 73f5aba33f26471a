//! What the budget of an objective of OpenSLO is of: events, slices of time, or what slices are in the mean.

use std::{ops::RangeInclusive, time::Duration};

use crate::yaml::{Faults, Mapping, Value};

/// How long slices of time may be: not shorter than values are published, not longer than the fastest pair of windows.
const SLICES: RangeInclusive<Duration> = Duration::from_secs(15)..=Duration::from_hours(1);

/// `budgetingMethod`: what a budget is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    /// Events.
    Occurrences,
    /// Slices of time that are good or bad.
    Timeslices,
    /// The mean of the slices' shares of bad events.
    RatioTimeslices,
}

impl Method {
    /// The method that is named, or else [`Self::Occurrences`].
    pub(super) fn of(value: Option<Value<'_, '_>>, faults: &mut Faults) -> Self {
        let Some(value) = value else { return Self::Occurrences };
        match value.text(faults).as_deref() {
            Some("Timeslices") => Self::Timeslices,
            Some("RatioTimeslices") => Self::RatioTimeslices,
            Some("Occurrences") | None => Self::Occurrences,
            Some(_) => {
                value.expected("Occurrences, Timeslices or RatioTimeslices", faults);
                Self::Occurrences
            }
        }
    }
}

/// A budget with what it needs to know of slices.
#[derive(Clone, Copy, Debug)]
pub(super) enum Budgeting {
    Occurrences,
    /// The share of good events, or of values that meet the threshold, that makes a slice good, and how long one is.
    Timeslices(f64, Duration),
    /// How long a slice is.
    RatioTimeslices(Duration),
}

impl Budgeting {
    /// What the objective `m` says of slices.
    pub(super) fn of(m: &mut Mapping<'_, '_>, method: Method, faults: &mut Faults) -> Option<Self> {
        let (line, target, window) = (m.line(), m.get("timeSliceTarget"), m.get("timeSliceWindow"));
        let unasked = match method {
            Method::Occurrences => target.as_ref().or(window.as_ref()),
            Method::Timeslices => None,
            Method::RatioTimeslices => target.as_ref(),
        };
        if let Some(value) = unasked {
            value.expected("none of it with this budgeting method", faults);
            return None;
        }
        match (method, target, window) {
            (Method::Occurrences, ..) => Some(Self::Occurrences),
            (Method::Timeslices, Some(target), Some(window)) => {
                let (share, length) = (target.number(faults)?, slice(&window, faults)?);
                if !(share > 0.0 && share <= 1.0) {
                    target.expected("more than 0 and at most 1", faults);
                    return None;
                }
                Some(Self::Timeslices(share, length))
            }
            (Method::RatioTimeslices, _, Some(window)) => Some(Self::RatioTimeslices(slice(&window, faults)?)),
            (Method::Timeslices, ..) => {
                faults
                    .add(line, "expected `timeSliceTarget` and `timeSliceWindow` for the budgeting method Timeslices");
                None
            }
            (Method::RatioTimeslices, ..) => {
                faults.add(line, "expected `timeSliceWindow` for the budgeting method RatioTimeslices");
                None
            }
        }
    }
}

fn slice(window: &Value<'_, '_>, faults: &mut Faults) -> Option<Duration> {
    let minutes = window.text(faults)?.parse::<f64>().ok();
    let length = match minutes {
        Some(minutes) => Duration::try_from_secs_f64(minutes * 60.0).unwrap_or_default(),
        None => window.duration(faults)?,
    };
    if !SLICES.contains(&length) {
        window.expected("from 15s to 1h, in minutes without a unit", faults);
        return None;
    }
    Some(length)
}
