//! That an intake goes on where another one was, and that nothing hangs on what decoders know.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exponential_histogram_data_point::Buckets, metric::Data,
        number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use proptest::prelude::*;
use prost::Message as _;
use proto::otlp::{Encoding, Signal};
use window::Config;

use super::*;
use crate::{Decoder, Limits};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_000;

/// What happens to an intake.
#[derive(Clone, Debug)]
enum Event {
    Request(Signal, Vec<u8>),
    Tick,
    Expire,
}

/// What one point is made of; each signal takes what it needs.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) shape: u8,
    pub(super) name: u8,
    pub(super) service: u8,
    /// Seconds.
    pub(super) time: u64,
    pub(super) value: u8,
}

pub(super) fn item() -> impl Strategy<Value = Item> {
    (0..8_u8, 0..3_u8, 0..2_u8, 0..60_u64, any::<u8>()).prop_map(|(shape, name, service, time, value)| Item {
        shape,
        name,
        service,
        time,
        value,
    })
}

/// A stream that moves on a little with every request.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (0..9_u8, prop::collection::vec(item(), 1..12));
    prop::collection::vec(event, 2..24).prop_map(|events| {
        let event = |(step, (what, mut items)): (u64, (u8, Vec<Item>))| {
            items.iter_mut().for_each(|item| item.time += step * 8);
            match what {
                0..4 => Event::Request(Signal::Metrics, metrics(&items)),
                4..6 => Event::Request(Signal::Traces, spans(&items)),
                6 => Event::Request(Signal::Logs, logs(&items)),
                7 => Event::Tick,
                _ => Event::Expire,
            }
        };
        (0..).zip(events).map(event).collect()
    })
}

fn pair(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, key_strindex: 0 }
}

fn resource(service: u8) -> Option<Resource> {
    Some(Resource { attributes: vec![pair("service.name", &format!("s{service}"))], ..Resource::default() })
}

/// Every shape of metric; of the shape 7 an attribute comes twice.
pub(super) fn metrics(items: &[Item]) -> Vec<u8> {
    let one = |item: &Item| {
        let (time, start) = (item.time * SECOND, u64::from(item.value % 4) * 20 * SECOND);
        let mut attributes = vec![pair("a", &item.name.to_string())];
        if item.shape == 7 {
            attributes.push(pair("a", "again"));
        }
        let value = if item.value == 7 { f64::NAN } else { f64::from(item.value) / 3.0 };
        let number = vec![NumberDataPoint {
            attributes: attributes.clone(),
            time_unix_nano: time,
            start_time_unix_nano: start,
            value: Some(number_data_point::Value::AsDouble(value)),
            ..NumberDataPoint::default()
        }];
        let counts = [u64::from(item.value), item.time, 9];
        let (count, sum) = (counts.iter().sum(), Some(value * 9.0));
        let (aggregation_temporality, is_monotonic) = (i32::from(item.shape % 2) + 1, item.shape < 4);
        let data = match item.shape {
            1..5 => Data::Sum(Sum { data_points: number, aggregation_temporality, is_monotonic }),
            5 => Data::Histogram(Histogram {
                data_points: vec![HistogramDataPoint {
                    attributes,
                    time_unix_nano: time,
                    count,
                    sum,
                    bucket_counts: counts.to_vec(),
                    explicit_bounds: vec![1.0, 2.0],
                    ..HistogramDataPoint::default()
                }],
                aggregation_temporality,
            }),
            6 => Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![ExponentialHistogramDataPoint {
                    attributes,
                    time_unix_nano: time,
                    count,
                    sum,
                    scale: i32::from(item.value % 3),
                    positive: Some(Buckets { offset: i32::from(item.value % 5), bucket_counts: counts.to_vec() }),
                    ..ExponentialHistogramDataPoint::default()
                }],
                aggregation_temporality: 2,
            }),
            _ => Data::Gauge(Gauge { data_points: number }),
        };
        let metric = Metric { name: format!("m{}", item.shape), data: Some(data), ..Metric::default() };
        let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
        ResourceMetrics { resource: resource(item.service), scope_metrics, ..ResourceMetrics::default() }
    };
    ExportMetricsServiceRequest { resource_metrics: items.iter().map(one).collect() }.encode_to_vec()
}

pub(super) fn spans(items: &[Item]) -> Vec<u8> {
    let one = |item: &Item| {
        let end_time_unix_nano = item.time * SECOND;
        let status = Some(Status { code: i32::from(item.value % 3), ..Status::default() });
        let span = Span {
            trace_id: vec![item.value; 16],
            span_id: vec![1; 8],
            name: format!("op{}", item.name),
            kind: i32::from(item.shape % 6),
            start_time_unix_nano: end_time_unix_nano.saturating_sub(u64::from(item.value) * 1_000_000),
            end_time_unix_nano,
            status,
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
        ResourceSpans { resource: resource(item.service), scope_spans, ..ResourceSpans::default() }
    };
    ExportTraceServiceRequest { resource_spans: items.iter().map(one).collect() }.encode_to_vec()
}

pub(super) fn logs(items: &[Item]) -> Vec<u8> {
    let one = |item: &Item| {
        let record = LogRecord {
            time_unix_nano: item.time * SECOND,
            severity_number: i32::from(item.value % 25),
            ..LogRecord::default()
        };
        let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
        ResourceLogs { resource: resource(item.service), scope_logs, ..ResourceLogs::default() }
    };
    ExportLogsServiceRequest { resource_logs: items.iter().map(one).collect() }.encode_to_vec()
}

/// Limits that the events exceed.
fn config(lateness: u64) -> IntakeConfig {
    let lateness = LatenessConfig { lateness: Duration::from_secs(lateness), ..LatenessConfig::default() };
    let red = RedConfig { max_operations: 4, ..RedConfig::default() };
    IntakeConfig { max_series: 24, max_series_per_metric: 4, red, lateness, ..IntakeConfig::default() }
}

struct Run {
    intake: Intake,
    window: Window,
    known: Arc<KnownSeries>,
    /// Whether series are decoded by number once they have been met.
    knows: bool,
    lateness: u64,
}

/// What came of an event, comparable to the bit.
type Outcome = (Vec<(SeriesId, UnixNanos, u64)>, Vec<(Feed, UnixNanos)>, Rejections);

impl Run {
    fn new(knows: bool, lateness: u64) -> Self {
        let known = Arc::new(KnownSeries::new(1_000));
        // Series expire after 20 s, so that their numbers come back as others'.
        let short = Duration::from_secs(10);
        let window = Window::new(Config { span: short, series_idle: short, ..Config::default() });
        Self { intake: Intake::new(config(lateness), Arc::clone(&known)), window, known, knows, lateness }
    }

    fn play(&mut self, (step, event): (u64, &Event)) -> Outcome {
        let now = UnixNanos(i64::try_from((NOW + step * 8) * SECOND).expect("fits"));
        let mut applied = match event {
            Event::Request(signal, body) => {
                let decoder = Decoder::new(Limits::default());
                let measured = decoder.measure(*signal, Encoding::Protobuf, body).expect("is a request");
                let nothing = KnownSeries::new(0);
                let known = if self.knows { &*self.known } else { &nothing };
                let batch = decoder.decode(&measured, known).expect("is a request").batch;
                self.intake.apply(batch, &mut self.window, Some(now)).expect("is not outdated")
            }
            Event::Tick => self.intake.tick(&mut self.window, now),
            Event::Expire => {
                let gone = self.window.expire_series();
                self.intake.forget(&gone);
                Applied::default()
            }
        };
        while let Some(further) = self.intake.release(&mut self.window, Some(now), None) {
            applied.judged.extend(further.judged);
            applied.feeds.extend(further.feeds);
        }
        let bits = |p: &Point| (p.series, p.time, p.value.to_bits());
        (applied.judged.iter().map(bits).collect(), applied.feeds, applied.rejected)
    }

    fn bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self.intake.state()).expect("can be written")
    }

    fn stop_and_start(&mut self) {
        let state = postcard::from_bytes(&self.bytes()).expect("was written so");
        self.known = Arc::new(KnownSeries::new(1_000));
        self.intake = Intake::restore(config(self.lateness), Arc::clone(&self.known), state);
    }
}

/// Seconds.
fn lateness() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(30)]
}

proptest! {
    #[test]
    fn a_restart_anywhere_changes_nothing_that_comes_later(events in events(), stops in any::<prop::sample::Index>(), lateness in lateness()) {
        let (mut whole, mut stopped) = (Run::new(true, lateness), Run::new(true, lateness));
        let stops = stops.index(events.len());
        for event in (0..).zip(&events) {
            if event.0 == stops as u64 {
                stopped.stop_and_start();
                prop_assert_eq!(whole.bytes(), stopped.bytes());
            }
            prop_assert_eq!(whole.play(event), stopped.play(event));
        }
        prop_assert_eq!(whole.bytes(), stopped.bytes());
    }

    #[test]
    fn a_series_is_the_same_to_those_who_know_it_by_number_and_to_those_who_do_not(events in events(), lateness in lateness()) {
        let (mut knowing, mut ignorant) = (Run::new(true, lateness), Run::new(false, lateness));
        for event in (0..).zip(&events) {
            prop_assert_eq!(knowing.play(event), ignorant.play(event));
        }
        prop_assert_eq!(knowing.bytes(), ignorant.bytes());
    }
}

#[test]
fn buckets_of_another_length_are_let_go() {
    let mut run = Run { window: Window::new(Config::default()), ..Run::new(true, 0) };
    let item = |time| Item { shape: 2, name: 0, service: 0, time, value: 9 };
    run.play((0, &Event::Request(Signal::Traces, spans(&[item(3)]))));
    let state = postcard::from_bytes(&run.bytes()).expect("was written so");
    let red = RedConfig { bucket: Duration::from_secs(7), ..RedConfig::default() };
    let known = Arc::clone(&run.known);
    run.intake = Intake::restore(IntakeConfig { red, ..IntakeConfig::default() }, known, state);
    run.play((1, &Event::Request(Signal::Traces, spans(&[item(8), item(60)]))));
    let counted = run.window.seal();
    let name = "traces_span_metrics_calls_total";
    let mut samples = Vec::new();
    counted.samples_into(counted.registry.named(name)[0], UnixNanos::MIN, UnixNanos::MAX, &mut samples);
    let seen: Vec<(f64, f64)> = samples.iter().map(|s| (s.time.as_secs_f64(), s.value)).collect();
    assert_eq!(seen, [(7.0, 0.0), (14.0, 1.0)], "the call at 3 s is not in them");
}
