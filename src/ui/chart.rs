//! A chart as SVG inside the page: attributes and classes only, since styles in the markup are
//! forbidden by our own headers.

use chrono::DateTime;
use detect::{Anomaly, UnixNanos};
use maud::{Markup, html};

use super::format::value;
use crate::rest::{Chart, ChartPoint};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
/// Points of a quiet series are marked when there are so few that a line would hide them.
const MARKED: usize = 80;

/// Where times and values lie in the picture.
struct Scale {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn of(chart: &Chart, a: &Anomaly) -> Self {
        let lists = [&chart.points, &chart.expected, &chart.lower, &chart.upper];
        let values = lists.into_iter().flatten().map(|p| p.value);
        let values = values.chain([a.observed, a.expected, a.lower, a.upper]).filter(|v| v.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let margin = if high > low { (high - low) * 0.06 } else { high.abs().max(1.0) * 0.5 };
        let (from, to) = (chart.from.as_secs_f64(), chart.to.as_secs_f64());
        Self { from, to: if to > from { to } else { from + 1.0 }, low: low - margin, high: high + margin }
    }

    fn x(&self, time: UnixNanos) -> f64 {
        let share = ((time.as_secs_f64() - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn dot(&self, time: UnixNanos, value: f64) -> String {
        format!("{:.1},{:.1}", self.x(time), self.y(value))
    }

    fn line(&self, points: &[ChartPoint]) -> String {
        points.iter().map(|p| self.dot(p.time, p.value)).collect::<Vec<_>>().join(" ")
    }

    /// Values that hold until the next one, and the last one until the end.
    fn steps(&self, points: &[ChartPoint], end: UnixNanos) -> Vec<String> {
        let mut dots = Vec::with_capacity(2 * points.len());
        for (i, point) in points.iter().enumerate() {
            let until = points.get(i + 1).map_or(end, |next| next.time);
            dots.push(self.dot(point.time, point.value));
            dots.push(self.dot(until, point.value));
        }
        dots
    }
}

/// The series around an anomaly, with the band and the anomaly itself.
pub(super) fn draw(chart: &Chart, a: &Anomaly) -> Markup {
    if chart.points.is_empty() {
        return html! {
            p.empty { "The points around this anomaly are no longer in the window. The numbers below were kept with it." }
        };
    }
    let scale = Scale::of(chart, a);
    let label = format!(
        "{} from {} to {}: observed {} where {} was expected",
        chart.metric,
        clock(chart.from),
        clock(chart.to),
        value(a.observed, &chart.unit),
        value(a.expected, &chart.unit)
    );
    html! {
        figure {
            svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(label) {
                (axes(&scale, chart))
                (interval(&scale, chart, a))
                (band(&scale, chart, a))
                polyline.observed points=(scale.line(&chart.points)) {}
                @if chart.points.len() <= MARKED {
                    @for p in &chart.points { circle.observed cx=(round(scale.x(p.time))) cy=(round(scale.y(p.value))) r="2" {} }
                }
            }
            figcaption {
                span.key.observed { "observed" } span.key.expected { "expected" } span.key.band { "band" }
                span.key.interval { "anomaly" } span.zone { "times in UTC" }
            }
        }
    }
}

fn interval(scale: &Scale, chart: &Chart, a: &Anomaly) -> Markup {
    let (left, right) = (scale.x(a.starts_at), scale.x(a.ends_at.unwrap_or(chart.to)));
    let (width, height) = ((right - left).max(2.0), HEIGHT - TOP - BOTTOM);
    html! { rect.interval x=(round(left)) y=(TOP) width=(round(width)) height=(height) {} }
}

/// The band as it was published; before the first time that it was, the one of the verdict.
fn band(scale: &Scale, chart: &Chart, a: &Anomaly) -> Markup {
    let constant = |value: f64| vec![ChartPoint { time: a.starts_at, value }];
    let or_verdict = |points: &[ChartPoint], value: f64| {
        let drawn = if points.is_empty() && value.is_finite() { constant(value) } else { points.to_vec() };
        scale.steps(&drawn, chart.to)
    };
    let (lower, upper) = (or_verdict(&chart.lower, a.lower), or_verdict(&chart.upper, a.upper));
    let expected = or_verdict(&chart.expected, a.expected);
    let outline: Vec<String> = upper.into_iter().chain(lower.into_iter().rev()).collect();
    html! {
        polygon.band points=(outline.join(" ")) {}
        polyline.expected points=(expected.join(" ")) {}
    }
}

fn axes(scale: &Scale, chart: &Chart) -> Markup {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let middle = UnixNanos(chart.from.0 / 2 + chart.to.0 / 2);
    html! {
        @for tick in ticks(scale.low, scale.high) {
            line.grid x1=(LEFT) x2=(right) y1=(round(scale.y(tick))) y2=(round(scale.y(tick))) {}
            text.tick x=(LEFT - 6.0) y=(round(scale.y(tick) + 4.0)) text-anchor="end" { (value(tick, &chart.unit)) }
        }
        line.axis x1=(LEFT) x2=(right) y1=(bottom) y2=(bottom) {}
        @for (time, anchor) in [(chart.from, "start"), (middle, "middle"), (chart.to, "end")] {
            text.tick x=(round(scale.x(time))) y=(HEIGHT - 8.0) text-anchor=(anchor) { (clock(time)) }
        }
    }
}

/// About four round numbers between `low` and `high`.
pub(crate) fn ticks(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low) / 4.0;
    if !raw.is_finite() || raw <= 0.0 {
        return Vec::new();
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= raw).unwrap_or(10.0 * power);
    let mut tick = (low / step).ceil();
    let mut out = Vec::new();
    while tick * step <= high && out.len() < 10 {
        out.push(tick * step);
        tick += 1.0;
    }
    out
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn clock(time: UnixNanos) -> String {
    DateTime::from_timestamp_nanos(time.0).format("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(low: f64, high: f64, expected: &[f64]) {
        let got = ticks(low, high);
        assert!(got.len() == expected.len(), "{got:?}");
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?}");
    }

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        check(0.0, 1.0, &[0.0, 0.5, 1.0]);
        check(-3.0, 7.5, &[0.0, 5.0]);
        check(0.11, 0.19, &[0.12, 0.14, 0.16, 0.18]);
        check(5.0, 5.0, &[]);
        check(0.0, f64::INFINITY, &[]);
    }

    #[test]
    fn steps_hold_until_the_next_value_and_the_end() {
        let scale = Scale { from: 0.0, to: 10.0, low: 0.0, high: 1.0 };
        let at = |seconds: i64| UnixNanos(seconds * 1_000_000_000);
        let points = [ChartPoint { time: at(0), value: 0.0 }, ChartPoint { time: at(5), value: 1.0 }];
        assert_eq!(scale.steps(&points, at(10)), ["72.0,232.0", "390.0,232.0", "390.0,12.0", "708.0,12.0"]);
    }
}
