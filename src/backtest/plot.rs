//! A series over the whole of a replay, as SVG in the page.

use detect::{Anomaly, UnixNanos};
use maud::{Markup, html};

use crate::{
    tape::{Curve, Stretch, Track},
    ui,
};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;

/// Where times and values lie in the picture.
pub(super) struct Scale {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
    height: f64,
}

impl Scale {
    /// A picture of `values` between two moments.
    pub(super) fn of(from: UnixNanos, to: UnixNanos, values: (f64, f64), height: f64) -> Self {
        let (low, high) = if values.0 <= values.1 { values } else { (0.0, 1.0) };
        let margin = if high > low { (high - low) * 0.06 } else { high.abs().max(1.0) * 0.5 };
        let (from, to) = (from.as_secs_f64(), to.as_secs_f64());
        Self { from, to: if to > from { to } else { from + 1.0 }, low: low - margin, high: high + margin, height }
    }

    pub(super) fn x(&self, time: UnixNanos) -> f64 {
        let share = ((time.as_secs_f64() - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.height - BOTTOM - share * (self.height - TOP - BOTTOM)
    }

    fn dot(&self, time: UnixNanos, value: f64) -> String {
        format!("{:.1},{:.1}", self.x(time), self.y(value))
    }
}

fn values_of<'c>(curves: impl IntoIterator<Item = &'c Curve>) -> (f64, f64) {
    let steps = curves.into_iter().flat_map(Curve::steps);
    steps.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), step| (low.min(step.low), high.max(step.high)))
}

/// One series with its band, what was anomalous, and when alerts about it fired.
pub(super) fn series(track: &Track, anomalies: &[Anomaly], alerts: &[UnixNanos]) -> Markup {
    let Some((first, last)) = track.values.steps().first().zip(track.values.steps().last()) else {
        return html! { p.empty { "No points." } };
    };
    // A band that was wide while little was known must not flatten what was seen.
    let (low, high) = values_of([&track.values]);
    let (band_low, band_high) = values_of([&track.lower, &track.upper]);
    let reach = (high - low).max(f64::MIN_POSITIVE);
    let values = (low.min(band_low.max(low - reach)), high.max(band_high.min(high + reach)));
    let scale = Scale::of(first.from, last.from, values, HEIGHT);
    let unit = &track.series.unit;
    let label = format!(
        "{} from {} to {}, {} anomalies",
        track.series.name,
        ui::moment(first.from),
        ui::moment(last.from),
        anomalies.len()
    );
    html! {
        figure {
            svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(label) {
                (axes(&scale, (first.from, last.from), unit))
                @for anomaly in anomalies {
                    @let (left, right) = (scale.x(anomaly.starts_at), scale.x(anomaly.ends_at.unwrap_or(last.from)));
                    rect.interval x=(round(left)) y=(TOP) width=(round((right - left).max(2.0))) height=(HEIGHT - TOP - BOTTOM) {
                        title { (anomaly.explanation) }
                    }
                }
                polygon.band points=(band(&scale, track)) {}
                polyline.expected points=(line(&scale, track.expected.steps())) {}
                polyline.observed points=(line(&scale, track.values.steps())) {}
                @for anomaly in anomalies {
                    circle.peak cx=(round(scale.x(anomaly.starts_at))) cy=(round(scale.y(anomaly.observed))) r="3" {}
                }
                @for at in alerts {
                    line.alert x1=(round(scale.x(*at))) x2=(round(scale.x(*at))) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
                }
            }
            figcaption {
                span.key.observed { "observed" } span.key.expected { "expected" } span.key.band { "band" }
                span.key.interval { "anomaly" } @if !alerts.is_empty() { span.key.alert { "alert fired" } }
                span.zone { "times in UTC" }
            }
        }
    }
}

fn line(scale: &Scale, steps: &[Stretch]) -> String {
    let mut dots = Vec::with_capacity(2 * steps.len());
    for step in steps {
        dots.push(scale.dot(step.from, step.low));
        if step.high > step.low {
            dots.push(scale.dot(step.from, step.high));
        }
    }
    dots.join(" ")
}

fn band(scale: &Scale, track: &Track) -> String {
    let upper = track.upper.steps().iter().map(|step| scale.dot(step.from, step.high));
    let lower = track.lower.steps().iter().rev().map(|step| scale.dot(step.from, step.low));
    upper.chain(lower).collect::<Vec<_>>().join(" ")
}

fn axes(scale: &Scale, (from, to): (UnixNanos, UnixNanos), unit: &str) -> Markup {
    let (right, bottom) = (WIDTH - RIGHT, scale.height - BOTTOM);
    let middle = UnixNanos(from.0 / 2 + to.0 / 2);
    html! {
        @for tick in ui::ticks(scale.low, scale.high) {
            line.grid x1=(LEFT) x2=(right) y1=(round(scale.y(tick))) y2=(round(scale.y(tick))) {}
            text.tick x=(LEFT - 6.0) y=(round(scale.y(tick) + 4.0)) text-anchor="end" { (ui::value(tick, unit)) }
        }
        line.axis x1=(LEFT) x2=(right) y1=(bottom) y2=(bottom) {}
        @for (time, anchor) in [(from, "start"), (middle, "middle"), (to, "end")] {
            text.tick x=(round(scale.x(time))) y=(scale.height - 8.0) text-anchor=(anchor) { (ui::moment(time)) }
        }
    }
}

/// The level of everything over time, as steps.
pub(super) fn levels(changes: &[(UnixNanos, u8)], from: UnixNanos, to: UnixNanos) -> Markup {
    const LEVELS_HEIGHT: f64 = 120.0;
    let scale = Scale::of(from, to, (0.0, 4.0), LEVELS_HEIGHT);
    let mut dots = vec![scale.dot(from, 0.0)];
    let mut level = 0;
    for (at, next) in changes {
        dots.push(scale.dot(*at, f64::from(level)));
        dots.push(scale.dot(*at, f64::from(*next)));
        level = *next;
    }
    dots.push(scale.dot(to, f64::from(level)));
    html! {
        figure {
            svg.chart viewBox={ "0 0 " (WIDTH) " " (LEVELS_HEIGHT) } role="img" aria-label="Level over time" {
                (axes(&scale, (from, to), ""))
                polyline.level points=(dots.join(" ")) {}
            }
        }
    }
}

/// Counts by day as bars.
pub(super) fn days(days: &[(String, u64)]) -> Markup {
    const DAYS_HEIGHT: f64 = 120.0;
    let most = days.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let (top, bottom) = (TOP + 8.0, DAYS_HEIGHT - BOTTOM);
    #[expect(clippy::cast_precision_loss, reason = "places in a picture")]
    let place = |i: usize| LEFT + (WIDTH - LEFT - RIGHT) * i as f64 / days.len().max(1) as f64;
    #[expect(clippy::cast_precision_loss, reason = "places in a picture")]
    let height = |count: u64| (bottom - top) * count as f64 / most.max(1) as f64;
    html! {
        figure {
            svg.chart viewBox={ "0 0 " (WIDTH) " " (DAYS_HEIGHT) } role="img" aria-label="Alerts by day" {
                text.tick x=(LEFT - 6.0) y=(top + 4.0) text-anchor="end" { (most) }
                line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(bottom) y2=(bottom) {}
                @for (i, (day, count)) in days.iter().enumerate() {
                    rect.bar x=(round(place(i) + 0.5)) width=(round((place(i + 1) - place(i) - 1.0).max(0.5)))
                        y=(round(bottom - height(*count))) height=(round(height(*count))) {
                        title { (day) ": " (count) }
                    }
                }
                @if let (Some((first, _)), Some((last, _))) = (days.first(), days.last()) {
                    text.tick x=(LEFT) y=(DAYS_HEIGHT - 8.0) text-anchor="start" { (first) }
                    text.tick x=(WIDTH - RIGHT) y=(DAYS_HEIGHT - 8.0) text-anchor="end" { (last) }
                }
            }
        }
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
