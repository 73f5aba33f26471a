//! Reading `detect.metrics`: what is known of single metrics beforehand.

use std::time::Duration;

use detect::{
    Direction, Limit, MetricSettings, Settings,
    yaml::{Faults, Mapping, Value},
};
use query::{Query, SeriesSelector};

use super::file::{number, positive, section, set};

/// Settings that are read at most: each new series is compared with all of them.
const MOST: usize = 1_000;
/// How far a forecast looks ahead if nothing is said.
const HORIZON: Duration = Duration::from_hours(4);
/// Probability from which on a forecast is said if nothing is said.
const PROBABILITY: f64 = 0.5;

/// The settings of all metrics; those that are wrong are left out, with a fault.
pub(super) fn read(value: &Value<'_, '_>, faults: &mut Faults) -> Settings {
    let list = value.list(faults);
    if list.len() > MOST {
        value.expected(&format!("at most {MOST} entries"), faults);
        return Settings::default();
    }
    Settings::new(list.iter().filter_map(|entry| metric(entry, faults)).collect())
}

fn metric(value: &Value<'_, '_>, faults: &mut Faults) -> Option<MetricSettings> {
    let mut m = value.mapping(faults)?;
    let selector = m.required("match", faults).and_then(|v| selector(&v, faults));
    // What else is wrong is said with a wrong selector too.
    let anything = || Query::parse("{__name__=~\".+\"}").ok()?.selector();
    let mut settings = MetricSettings::of(selector.clone().or_else(anything)?);
    set(&mut m, "enabled", faults, |v, f| v.boolean(f), &mut settings.enabled);
    set(&mut m, "direction", faults, direction, &mut settings.direction);
    let deviation = |v: &Value<'_, '_>, f: &mut Faults| number(v, f, 0.0, f64::MAX);
    set(&mut m, "min_absolute_deviation", faults, deviation, &mut settings.min_absolute_deviation);
    set(&mut m, "min_relative_deviation", faults, deviation, &mut settings.min_relative_deviation);
    set(&mut m, "valid_range", faults, range, &mut settings.valid_range);
    set(&mut m, "sensitivity", faults, |v, f| number(v, f, 0.01, 100.0), &mut settings.sensitivity);
    section(&mut m, "z_thresholds", faults, |m, f| settings.thresholds = thresholds(m, f));
    section(&mut m, "limit", faults, |m, f| settings.limit = limit(m, f));
    m.finish(faults);
    selector.map(|selector| MetricSettings { selector, ..settings })
}

/// A selector without a range or an offset.
fn selector(value: &Value<'_, '_>, faults: &mut Faults) -> Option<SeriesSelector> {
    let text = value.text(faults)?;
    match Query::parse(&text) {
        Ok(query) => {
            let selector = query.selector();
            if selector.is_none() {
                value.expected("a selector such as queue_depth{queue=\"quotes\"}", faults);
            }
            selector
        }
        Err(error) => {
            value.expected(&format!("a selector ({error})"), faults);
            None
        }
    }
}

#[expect(clippy::option_option, reason = "the outer one is a fault, the inner one both sides")]
fn direction(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Option<Direction>> {
    match value.text(faults)?.as_str() {
        "up" => Some(Some(Direction::Up)),
        "down" => Some(Some(Direction::Down)),
        "both" => Some(None),
        _ => {
            value.expected("up, down or both", faults);
            None
        }
    }
}

/// `{min: 0, max: 100}`, either of which may be left out.
fn range(value: &Value<'_, '_>, faults: &mut Faults) -> Option<(f64, f64)> {
    let mut m = value.mapping(faults)?;
    let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
    set(&mut m, "min", faults, |v, f| v.number(f), &mut least);
    set(&mut m, "max", faults, |v, f| v.number(f), &mut most);
    m.finish(faults);
    if least >= most {
        value.expected("a min below its max", faults);
        return None;
    }
    Some((least, most))
}

/// Classic thresholds of |z|.
fn thresholds(m: &mut Mapping<'_, '_>, faults: &mut Faults) -> Option<(f64, f64)> {
    let (mut warning, mut critical) = (3.0, 5.0);
    set(m, "warning", faults, |v, f| number(v, f, 0.1, 1e6), &mut warning);
    set(m, "critical", faults, |v, f| number(v, f, 0.1, 1e6), &mut critical);
    if critical < warning {
        faults.add(m.line(), "z_thresholds: expected `critical` to be at least `warning`");
        return None;
    }
    Some((warning, critical))
}

/// A limit that must not be reached.
fn limit(m: &mut Mapping<'_, '_>, faults: &mut Faults) -> Option<Limit> {
    let value = m.required("value", faults).and_then(|v| v.number(faults));
    let (mut towards, mut horizon, mut probability) = (Some(Direction::Up), HORIZON, PROBABILITY);
    set(m, "direction", faults, direction, &mut towards);
    set(m, "horizon", faults, positive, &mut horizon);
    set(m, "probability", faults, |v, f| number(v, f, 0.01, 0.99), &mut probability);
    if towards.is_none() {
        faults.add(m.line(), "limit: expected `direction` to be up or down");
    }
    Some(Limit { value: value?, towards: towards?, horizon, probability })
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
