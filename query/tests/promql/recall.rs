//! With a memory and without one, queries must say the same, to the bit, while series come and go and numbers of series
//! are used again.

use std::time::Duration;

use bellwether_query::{Options, Query, QueryError, Recall, Value};
use fastrand::Rng;
use window::{
    Buckets, Config, HistogramRow, Labels, Point, SeriesId, SeriesKey, SeriesKind, Snapshot, Temporality, UnixNanos,
    Window,
};

use crate::{
    consistency::{Element, elements, odd_or, pick, vector},
    support::series,
};

const STEP: i64 = 15_000_000_000;
const NAMES: [&str; 4] = ["a", "b_total", "h", "h_bucket"];

/// A window in which series come and go.
struct Fleet {
    window: Window,
    live: Vec<(SeriesId, bool)>,
    born: u128,
}

impl Fleet {
    fn new() -> Self {
        let span = Duration::from_mins(2);
        let config = Config { span, series_idle: span, ..Config::default() };
        Self { window: Window::new(config), live: Vec::new(), born: 0 }
    }

    fn add(&mut self, rng: &mut Rng) {
        self.born += 1;
        let (name, key) = (pick(rng, &NAMES), SeriesKey(self.born));
        let is_histogram = name == "h";
        let kind = match is_histogram {
            true => SeriesKind::Histogram { temporality: Temporality::Cumulative },
            false => SeriesKind::Gauge,
        };
        let labels = [("job", pick(rng, &["x", "y"])), ("instance", pick(rng, &["", "1", "2", "3"]))];
        let describe = || series(key, name, Labels::from_pairs(labels), kind);
        let id = self.window.registry_mut().find_or_add(key, describe).expect("far below the limit");
        self.live.push((id, is_histogram));
    }

    fn step(&mut self, time: UnixNanos, rng: &mut Rng) -> Snapshot {
        if self.live.is_empty() || rng.u8(0..10) < 3 {
            self.add(rng);
        }
        if self.live.len() > 3 && rng.u8(0..10) < 3 {
            self.live.swap_remove(rng.usize(..self.live.len()));
        }
        for (series, is_histogram) in &self.live {
            let (series, count) = (*series, rng.u64(1..9));
            if *is_histogram {
                let (bounds, counts) = ([1.0, 2.0][..].into(), [count, count, 1][..].into());
                let buckets = Buckets::Explicit { bounds, counts };
                let (sum, min, max, start) = (None, None, None, None);
                let count = 2 * count + 1;
                self.window.push_histogram(HistogramRow { series, time, start, count, sum, min, max, buckets });
            } else {
                let value = rng.f64();
                self.window.push_point(Point { series, time, value: odd_or(rng, value) });
            }
        }
        let snapshot = self.window.seal();
        if rng.u8(0..10) < 2 {
            self.window.expire_series();
            return self.window.snapshot();
        }
        snapshot
    }
}

fn query(rng: &mut Rng) -> String {
    match rng.u8(0..8) {
        0 => "sum by (job) (rate({__name__=~\"a|b.*\"}[1m]))".into(),
        1 => "histogram_quantile(0.5, sum by (job, le) (rate(h_bucket[1m]))) > 0.1".into(),
        2 => "{job=\"x\"}".into(),
        3 => "max_over_time(a{instance=\"1\"}[1m]) > ignoring (instance) min_over_time(a{instance=\"2\"}[1m])".into(),
        _ => vector(rng, 3),
    }
}

/// Values by their bits, since `==` does not hold for NaN.
fn told(answer: Result<Value, QueryError>) -> Result<Vec<Element>, String> {
    match answer {
        Ok(Value::Vector(vector)) => Ok(elements(vector)),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn answers_are_the_same_with_a_memory() {
    let options = Options { lookback: Duration::from_secs(45), ..Options::default() };
    let (mut compared, mut refused) = (0, 0);
    for seed in 0..25 {
        let mut rng = Rng::with_seed(seed);
        let queries: Vec<Query> =
            (0..12).map(|_| Query::parse(&query(&mut rng)).expect("the generator makes valid queries")).collect();
        let (mut fleet, mut recall) = (Fleet::new(), Recall::default());
        for step in 0..60 {
            let at = UnixNanos(step * STEP);
            let snapshot = fleet.step(at, &mut rng);
            for query in &queries {
                let plain = told(query.instant(&snapshot, at, &options));
                let recalled = told(query.instant_recalling(&snapshot, at, &options, &mut recall));
                assert_eq!(recalled, plain, "seed {seed}, step {step}: {}", query.text());
                compared += plain.as_ref().map_or(0, Vec::len);
                refused += usize::from(plain.is_err());
                let plain = query.observed(&snapshot, at, &options);
                let recalled = query.observed_recalling(&snapshot, at, &options, &mut recall);
                assert_eq!(recalled, plain, "seed {seed}, step {step}: {}", query.text());
            }
        }
    }
    assert!(compared > 8_000 && refused > 100, "compared {compared} elements, refused {refused} queries");
}
