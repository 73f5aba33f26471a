//! Decisions about single series in words and numbers.

use std::time::Duration;

use super::{ZScoreConfig, form, smooth};
use crate::{Anomaly, DetectorKind};

/// The decision in one sentence, with its numbers.
pub(super) fn decision(a: &Anomaly, config: &ZScoreConfig, of_mean: bool) -> String {
    if a.detector == DetectorKind::Limit {
        return outside(a);
    }
    if a.detector == DetectorKind::Pattern {
        return form::explain(a, &subject(a), number);
    }
    let what = if of_mean { format!("the mean of the last {} points of ", smooth::POINTS) } else { String::new() };
    let (limit, beyond) = if a.z > 0.0 { (a.upper, "above") } else { (a.lower, "below") };
    let why = if a.detector == DetectorKind::Novelty {
        let parts = a.contributors.iter().map(|c| format!("{} {:.2}", c.name, c.distance));
        format!(
            "In standard deviations of {} from anything that the series has ever done: {}. That is evidence of {:.2}, \
             and {:.2} is rare for this series",
            number(a.scale),
            parts.collect::<Vec<_>>().join(", "),
            a.z.abs(),
            a.threshold,
        )
    } else {
        let period = config.params.return_period / 86_400.0;
        format!(
            "That is {:.1} robust standard deviations of {} {beyond}; by itself the series goes beyond {:.1} once in \
             {period:.0} days",
            a.z.abs(),
            number(a.scale),
            a.threshold,
        )
    };
    format!(
        "{what}{} was {}, expected {} (band {} to {}, from {} points over {}). {why}. It would not have fired unless {beyond} \
         {}.",
        subject(a),
        number(a.observed),
        number(a.expected),
        number(a.lower),
        number(a.upper),
        a.sample_count,
        span(a.baseline_span),
        number(limit),
    )
}

/// What is to be said of a value that is not valid.
fn outside(a: &Anomaly) -> String {
    let (limit, beyond) = if a.z > 0.0 { (a.upper, "above") } else { (a.lower, "below") };
    format!(
        "{} was {}, {beyond} {}, which the configuration gives as the limit of what is valid. The distance is {:.2} times \
         {}. It would not have fired unless {beyond} {}.",
        subject(a),
        number(a.observed),
        number(limit),
        a.z.abs() - 1.0,
        number(a.scale),
        number(limit),
    )
}

/// The series in words: its name, its service, and the labels that tell it from its siblings.
pub(crate) fn subject(a: &Anomaly) -> String {
    const ABOUT_THE_SENDER: [&str; 7] =
        ["job", "instance", "service_", "deployment_", "k8s_", "host_name", "cloud_region"];
    let telling: Vec<String> = a
        .labels
        .iter()
        .filter(|(name, _)| !ABOUT_THE_SENDER.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, value)| format!("{name}={value}"))
        .take(4)
        .collect();
    let of = if a.service.is_empty() { String::new() } else { format!(" of {}", a.service) };
    let telling = if telling.is_empty() { String::new() } else { format!(" ({})", telling.join(", ")) };
    format!("{}{of}{telling}", a.metric)
}

/// Four significant digits, without an exponent where people do not need one.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e7).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let digits = if magnitude >= 1_000.0 {
        1
    } else if magnitude >= 1.0 {
        3
    } else {
        5
    };
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A duration in its two greatest units.
pub(crate) fn span(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}
