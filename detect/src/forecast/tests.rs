use super::*;
use crate::testing;

fn series() -> Arc<Series> {
    testing::series("disk_used_ratio", "1", &[("job", "shop/db")])
}

const LIMIT: Limit = Limit { value: 0.95, towards: Direction::Up, horizon: Duration::from_hours(4), probability: 0.5 };

/// What is said of `value(minute)`, as (minute, event).
fn run(
    forecasts: &mut Forecasts,
    minutes: std::ops::Range<i64>,
    value: impl Fn(f64) -> f64,
) -> Vec<(i64, AnomalyEvent)> {
    let point = |m: i64| Point { series: SeriesId(3), time: UnixNanos(m * 60_000_000_000), value: value(m as f64) };
    minutes.filter_map(|m| Some((m, forecasts.observe(&point(m), &series(), Some((&LIMIT, 1.0)))?))).collect()
}

/// Something that scatters and is the same in every run.
fn noise(minute: f64) -> f64 {
    ((minute * 7_919.0) % 41.0) / 41.0 - 0.5
}

#[test]
fn a_disk_that_fills_is_said_hours_ahead_and_in_time() {
    let mut forecasts = Forecasts::default();
    // From 0.5, and from the tenth hour on 0.05 an hour: full at the nineteenth.
    let value = |m: f64| 0.5 + 0.05 * ((m - 600.0).max(0.0) / 60.0) + 0.01 * noise(m);
    let said = run(&mut forecasts, 0..1_140, value);
    let (at, first) = &said[0];
    assert!(matches!(first, AnomalyEvent::Opened(_)) && (840..1_020).contains(at), "{at}");
    let a = first.anomaly();
    let forecast = a.forecast.as_ref().expect("says when");
    let truth = f64::from(1_140 - i32::try_from(*at).expect("a minute")) * 60.0;
    let seconds = |t: Option<Duration>| t.expect("gets there").as_secs_f64();
    let (early, middle, late) = (seconds(forecast.p10), seconds(forecast.p50), seconds(forecast.p90));
    assert!(early <= truth && truth <= late && (middle / truth - 1.0).abs() < 0.25, "{early} {middle} {late} {truth}");
    assert!((a.score - a.z.abs() / a.threshold).abs() < 1e-12 && a.score > 1.0 && a.z > 0.0);
    assert!((a.z.abs() - forecast.probability).abs() < 1e-12 && a.observed > a.upper, "{a:?}");
    assert_eq!((a.pattern, a.direction, a.severity), (Pattern::Trend, Direction::Up, Severity::Warning));
    assert!(a.explanation.contains("reaches its limit of 0.95 in"), "{}", a.explanation);
    let last = said.last().expect("more is said").1.anomaly();
    assert_eq!(last.severity, Severity::Critical, "less than an hour is left");
    assert_eq!(last.id, a.id);
}

#[test]
fn what_turns_back_ends_and_what_stands_still_says_nothing() {
    let mut forecasts = Forecasts::default();
    assert_eq!(run(&mut forecasts, 0..3_000, |m| 0.8 + 0.05 * noise(m)).len(), 0);
    let rise = |m: f64| 0.8 + 0.02 * ((m - 3_000.0) / 60.0) + 0.01 * noise(m);
    let risen = run(&mut forecasts, 3_000..3_360, rise);
    assert!(matches!(risen.as_slice(), [(_, AnomalyEvent::Opened(_)), ..]));
    let ended = run(&mut forecasts, 3_360..4_000, |m| 0.8 + 0.01 * noise(m));
    assert!(matches!(ended.as_slice(), [.., (_, AnomalyEvent::Ended(a))] if a.id == risen[0].1.anomaly().id));
    assert_eq!(forecasts.open().count(), 0);
}

#[test]
fn a_limit_that_is_taken_away_or_a_series_that_goes_ends_it() {
    let mut forecasts = Forecasts::default();
    let rise = |m: f64| 0.5 + 0.05 * (m / 60.0);
    run(&mut forecasts, 0..400, rise);
    assert_eq!(forecasts.open().count(), 1);
    let point = Point { series: SeriesId(3), time: UnixNanos(400 * 60_000_000_000), value: 0.8 };
    assert!(matches!(forecasts.observe(&point, &series(), None), Some(AnomalyEvent::Ended(_))));
    assert_eq!(forecasts.open().count(), 0);
    run(&mut forecasts, 401..800, rise);
    assert!(matches!(forecasts.forget(&[SeriesId(3)]).as_slice(), [AnomalyEvent::Ended(_)]));
}

#[test]
fn an_open_one_is_taken_back_after_a_restart() {
    let rise = |m: f64| 0.5 + 0.05 * (m / 60.0);
    let mut before = Forecasts::default();
    let opened = run(&mut before, 0..400, rise);
    let mut anomaly = opened[0].1.anomaly().clone();
    anomaly.series_key = Some(SeriesKey(7));
    let mut after = Forecasts::default();
    after.restore([anomaly.clone()]);
    assert_eq!(after.open().count(), 1);
    let said = run(&mut after, 400..700, |_| 0.5);
    assert!(matches!(said.as_slice(), [(_, AnomalyEvent::Ended(a))] if a.id == anomaly.id), "{said:?}");
}

#[test]
fn a_forecast_that_was_a_false_alarm_needs_a_greater_probability() {
    let rise = |m: f64| 0.5 + 0.05 * (m / 60.0) + 0.03 * noise(m);
    let first = |factor: f64| {
        let mut forecasts = Forecasts::default();
        let point = |m: i64| Point { series: SeriesId(3), time: UnixNanos(m * 60_000_000_000), value: rise(m as f64) };
        (0..600).find_map(|m| match forecasts.observe(&point(m), &series(), Some((&LIMIT, factor))) {
            Some(AnomalyEvent::Opened(a)) => Some((m, a)),
            _ => None,
        })
    };
    let (at, plain) = first(1.0).expect("is said");
    let (later, strict) = first(0.6).expect("is said");
    assert!(later > at && strict.threshold > plain.threshold, "{at} {later}");
    assert!((strict.score - strict.z.abs() / strict.threshold).abs() < 1e-12 && strict.score > 1.0);
}
