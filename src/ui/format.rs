//! Numbers and times for people.

use chrono::DateTime;
use detect::UnixNanos;
use maud::{Markup, html};

use crate::rest::rfc3339;

/// Where nothing is known.
pub(super) const NOTHING: &str = "–";

/// Four significant digits, without a tail of zeros.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        return NOTHING.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = match size {
        s if s >= 1_000.0 => 0,
        s if s >= 100.0 => 1,
        s if s >= 10.0 => 2,
        s if s >= 1.0 => 3,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A number with its unit: seconds, bytes and shares as people say them, other units as they are.
pub(crate) fn value(value: f64, unit: &str) -> String {
    match unit {
        "s" => seconds(value),
        "By" => bytes(value),
        "1" | "" => number(value),
        "1/s" => format!("{}/s", number(value)),
        unit => format!("{} {unit}", number(value)),
    }
}

/// A duration in the unit that fits.
pub(super) fn seconds(value: f64) -> String {
    match value.abs() {
        s if s == 0.0 || s >= 1.0 => format!("{} s", number(value)),
        s if s >= 1e-3 => format!("{} ms", number(value * 1e3)),
        _ => format!("{} µs", number(value * 1e6)),
    }
}

/// A size in the unit that fits.
pub(super) fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{} {}", number(value), UNITS[unit])
}

/// A share as a percentage.
pub(super) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent > 0.0 && percent < 0.1 {
        return "< 0.1 %".to_owned();
    }
    format!("{} %", number((percent * 10.0).round() / 10.0))
}

/// How long ago `time` was at `now`, with the exact time for those who want it.
pub(super) fn ago(time: UnixNanos, now: UnixNanos) -> Markup {
    let exact = rfc3339(time);
    html! { time datetime=(exact) title=(exact) { (distance(time, now)) } }
}

fn distance(time: UnixNanos, now: UnixNanos) -> String {
    if time > now {
        return match time.since(now).as_secs() {
            0..2 => "now".to_owned(),
            s => format!("in {}", span(s)),
        };
    }
    match now.since(time).as_secs() {
        0..2 => "now".to_owned(),
        s => format!("{} ago", span(s)),
    }
}

/// A moment to the minute, in UTC.
pub(crate) fn moment(time: UnixNanos) -> String {
    DateTime::from_timestamp_nanos(time.0).format("%Y-%m-%d %H:%M").to_string()
}

/// A duration in its greatest unit.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s @ 7_200..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(got: &str, expected: &str) {
        assert_eq!(got, expected);
    }

    #[test]
    fn numbers_have_four_digits_and_no_tail() {
        check(&number(0.0), "0");
        check(&number(-0.000_000_1), "-1.00e-7");
        check(&number(0.123_456), "0.1235");
        check(&number(12.5), "12.5");
        check(&number(1200.0), "1200");
        check(&number(1_234_567.0), "1.23e6");
        check(&number(f64::NAN), "–");
    }

    #[test]
    fn units_are_those_that_people_use() {
        check(&value(0.0421, "s"), "42.1 ms");
        check(&value(2.0, "s"), "2 s");
        check(&value(3e-5, "s"), "30 µs");
        check(&value(1_610_612_736.0, "By"), "1.5 GiB");
        check(&value(3.0, "1/s"), "3/s");
        check(&value(20.0, "{quote}"), "20 {quote}");
        check(&percent(0.0004), "< 0.1 %");
        check(&percent(0.1234), "12.3 %");
        check(&percent(0.0), "0 %");
    }

    #[test]
    fn times_are_distances_with_the_exact_time_beside_them() {
        let now = UnixNanos(1_700_000_000_000_000_000);
        let at = |seconds: i64| UnixNanos(now.0 - seconds * 1_000_000_000);
        check(&distance(at(0), now), "now");
        check(&distance(at(59), now), "59 s ago");
        check(&distance(at(190), now), "3 min ago");
        check(&distance(at(8_000), now), "2 h ago");
        check(&distance(at(200_000), now), "2 d ago");
        check(&distance(at(-300), now), "in 5 min");
        check(
            &ago(at(190), now).into_string(),
            "<time datetime=\"2023-11-14T22:10:10.000Z\" title=\"2023-11-14T22:10:10.000Z\">3 min ago</time>",
        );
    }
}
