//! Random requests, and what can be done to them.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message as _;

use crate::otlp::Signal;

/// A small generator (a linear congruential one), so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).expect("31 bits") % limit
    }

    fn some<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> String {
        ["", "a", "http.route", "\u{e4}\u{1f600}", "service.name", "x\0y"][self.below(6)].repeat(self.below(3))
    }

    fn long(&mut self) -> u64 {
        [0, 1, 127, 128, 1_700_000_000_000_000_000, u64::MAX, self.next()][self.below(7)]
    }

    fn int(&mut self) -> i32 {
        [0, 1, 2, -1, i32::MIN, i32::MAX][self.below(6)]
    }

    fn count(&mut self) -> u32 {
        [0, 1, u32::MAX][self.below(3)]
    }

    fn double(&mut self) -> f64 {
        [0.0, 1.5, -0.0, f64::NAN, f64::INFINITY, 1e308][self.below(6)]
    }

    fn id(&mut self) -> Vec<u8> {
        vec![7; [0, 3, 8, 16][self.below(4)]]
    }

    fn any(&mut self, levels: usize) -> AnyValue {
        let kinds = if levels == 0 { 6 } else { 8 };
        let value = match self.below(kinds) {
            0 => None,
            1 => Some(Value::StringValue(self.text())),
            2 => Some(Value::BoolValue(self.below(2) == 0)),
            3 => Some(Value::IntValue(self.long().cast_signed())),
            4 => Some(Value::DoubleValue(self.double())),
            5 => Some(Value::BytesValue(self.id())),
            6 => Some(Value::ArrayValue(ArrayValue { values: self.some(3, |r| r.any(levels - 1)) })),
            _ => Some(Value::KvlistValue(KeyValueList { values: self.some(3, |r| r.pair(levels - 1)) })),
        };
        AnyValue { value }
    }

    fn pair(&mut self, levels: usize) -> KeyValue {
        KeyValue { key: self.text(), value: (self.below(5) > 0).then(|| self.any(levels)), key_strindex: 0 }
    }

    fn pairs(&mut self) -> Vec<KeyValue> {
        self.some(4, |r| r.pair(3))
    }

    fn resource(&mut self) -> Option<Resource> {
        (self.below(4) > 0).then(|| Resource {
            attributes: self.pairs(),
            dropped_attributes_count: self.count(),
            entity_refs: Vec::new(),
        })
    }

    fn scope(&mut self) -> Option<InstrumentationScope> {
        (self.below(4) > 0).then(|| InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.pairs(),
            dropped_attributes_count: self.count(),
        })
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(),
            span_id: self.id(),
            trace_state: self.text(),
            parent_span_id: self.id(),
            flags: self.count(),
            name: self.text(),
            kind: self.int(),
            start_time_unix_nano: self.long(),
            end_time_unix_nano: self.long(),
            attributes: self.pairs(),
            dropped_attributes_count: self.count(),
            events: self.some(2, |r| span::Event {
                time_unix_nano: r.long(),
                name: r.text(),
                attributes: r.pairs(),
                dropped_attributes_count: r.count(),
            }),
            dropped_events_count: self.count(),
            links: self.some(2, |r| span::Link {
                trace_id: r.id(),
                span_id: r.id(),
                trace_state: r.text(),
                attributes: r.pairs(),
                dropped_attributes_count: r.count(),
                flags: r.count(),
            }),
            dropped_links_count: self.count(),
            status: (self.below(2) == 0).then(|| Status { message: self.text(), code: self.int() }),
        }
    }

    fn record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.long(),
            observed_time_unix_nano: self.long(),
            severity_number: self.int(),
            severity_text: self.text(),
            body: (self.below(4) > 0).then(|| self.any(4)),
            attributes: self.pairs(),
            dropped_attributes_count: self.count(),
            flags: self.count(),
            trace_id: self.id(),
            span_id: self.id(),
            event_name: self.text(),
        }
    }

    fn exemplars(&mut self) -> Vec<Exemplar> {
        self.some(2, |r| Exemplar {
            filtered_attributes: r.pairs(),
            time_unix_nano: r.long(),
            span_id: r.id(),
            trace_id: r.id(),
            value: match r.below(3) {
                0 => None,
                1 => Some(exemplar::Value::AsDouble(r.double())),
                _ => Some(exemplar::Value::AsInt(r.long().cast_signed())),
            },
        })
    }

    fn number(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.pairs(),
            start_time_unix_nano: self.long(),
            time_unix_nano: self.long(),
            exemplars: self.exemplars(),
            flags: self.count(),
            value: match self.below(3) {
                0 => None,
                1 => Some(number_data_point::Value::AsDouble(self.double())),
                _ => Some(number_data_point::Value::AsInt(self.long().cast_signed())),
            },
        }
    }

    fn histogram(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.pairs(),
            start_time_unix_nano: self.long(),
            time_unix_nano: self.long(),
            count: self.long(),
            sum: (self.below(2) == 0).then(|| self.double()),
            bucket_counts: self.some(5, Self::long),
            explicit_bounds: self.some(5, Self::double),
            exemplars: self.exemplars(),
            flags: self.count(),
            min: (self.below(2) == 0).then(|| self.double()),
            max: (self.below(2) == 0).then(|| self.double()),
        }
    }

    fn buckets(&mut self) -> Option<Buckets> {
        (self.below(2) == 0).then(|| Buckets { offset: self.int(), bucket_counts: self.some(5, Self::long) })
    }

    fn exponential(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.pairs(),
            start_time_unix_nano: self.long(),
            time_unix_nano: self.long(),
            count: self.long(),
            sum: (self.below(2) == 0).then(|| self.double()),
            scale: self.int(),
            zero_count: self.long(),
            positive: self.buckets(),
            negative: self.buckets(),
            flags: self.count(),
            exemplars: self.exemplars(),
            min: (self.below(2) == 0).then(|| self.double()),
            max: (self.below(2) == 0).then(|| self.double()),
            zero_threshold: self.double(),
        }
    }

    fn summary(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.pairs(),
            start_time_unix_nano: self.long(),
            time_unix_nano: self.long(),
            count: self.long(),
            sum: self.double(),
            quantile_values: self.some(3, |r| ValueAtQuantile { quantile: r.double(), value: r.double() }),
            flags: self.count(),
        }
    }

    fn metric(&mut self) -> Metric {
        let data = match self.below(6) {
            0 => None,
            1 => Some(Data::Gauge(Gauge { data_points: self.some(3, Self::number) })),
            2 => Some(Data::Sum(Sum {
                data_points: self.some(3, Self::number),
                aggregation_temporality: self.int(),
                is_monotonic: self.below(2) == 0,
            })),
            3 => Some(Data::Histogram(Histogram {
                data_points: self.some(3, Self::histogram),
                aggregation_temporality: self.int(),
            })),
            4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.some(3, Self::exponential),
                aggregation_temporality: self.int(),
            })),
            _ => Some(Data::Summary(Summary { data_points: self.some(3, Self::summary) })),
        };
        Metric { name: self.text(), description: self.text(), unit: self.text(), metadata: self.pairs(), data }
    }
}

/// A request of each signal.
pub(super) fn requests(seed: u64) -> [(Signal, Vec<u8>); 3] {
    let mut random = Random(seed);
    let metrics = ExportMetricsServiceRequest {
        resource_metrics: random.some(2, |r| ResourceMetrics {
            resource: r.resource(),
            scope_metrics: r.some(2, |r| ScopeMetrics {
                scope: r.scope(),
                metrics: r.some(4, Random::metric),
                schema_url: r.text(),
            }),
            schema_url: r.text(),
        }),
    };
    let traces = ExportTraceServiceRequest {
        resource_spans: random.some(2, |r| ResourceSpans {
            resource: r.resource(),
            scope_spans: r.some(2, |r| ScopeSpans {
                scope: r.scope(),
                spans: r.some(3, Random::span),
                schema_url: r.text(),
            }),
            schema_url: r.text(),
        }),
    };
    let logs = ExportLogsServiceRequest {
        resource_logs: random.some(2, |r| ResourceLogs {
            resource: r.resource(),
            scope_logs: r.some(2, |r| ScopeLogs {
                scope: r.scope(),
                log_records: r.some(3, Random::record),
                schema_url: r.text(),
            }),
            schema_url: r.text(),
        }),
    };
    [
        (Signal::Metrics, metrics.encode_to_vec()),
        (Signal::Traces, traces.encode_to_vec()),
        (Signal::Logs, logs.encode_to_vec()),
    ]
}

/// The same messages with fields in another order, three levels down: what is repeated may come out
/// in another order as well, in the same way for every reader.
pub(super) fn shuffled(message: &[u8], seed: u64) -> Vec<u8> {
    fn at(message: &[u8], levels: usize, random: &mut Random) -> Vec<u8> {
        let mut fields = crate::wire::Fields::new("M", message);
        let mut parts: Vec<Vec<u8>> = Vec::new();
        loop {
            match fields.next() {
                Ok(Some(crate::wire::Field { number, value: crate::wire::Value::Bytes(bytes) })) if levels > 0 => {
                    let mut part = Vec::new();
                    crate::wire::put_bytes(number, &at(bytes, levels - 1, random), &mut part);
                    parts.push(part);
                }
                Ok(Some(_)) => parts.push(message[fields.range()].to_vec()),
                // It is no message but text: it stays as it is.
                Err(_) => return message.to_vec(),
                Ok(None) => break,
            }
        }
        for i in (1..parts.len()).rev() {
            parts.swap(i, random.below(i + 1));
        }
        parts.concat()
    }
    at(message, 4, &mut Random(seed))
}

/// Changes, inserts, repeats or removes a byte or a few.
pub(super) fn damage(request: &mut Vec<u8>, seed: u64) {
    if request.is_empty() {
        return;
    }
    let mut random = Random(seed ^ request.iter().fold(0, |h: u64, b| h.rotate_left(5) ^ u64::from(*b)));
    random.next();
    let place = random.below(request.len());
    let byte = u8::try_from(random.below(256)).expect("a byte");
    match random.below(4) {
        0 => request[place] = byte,
        1 => request.insert(place, byte),
        2 => drop(request.remove(place)),
        _ => {
            let end = (place + random.below(20)).min(request.len());
            let again = request[place..end].to_vec();
            request.splice(place..place, again);
        }
    }
}

fn normalise_any(value: &mut Option<AnyValue>) {
    match value.as_mut().and_then(|v| v.value.as_mut()) {
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(|v| {
            let mut element = Some(std::mem::take(v));
            normalise_any(&mut element);
            *v = element.unwrap_or_default();
        }),
        Some(Value::KvlistValue(list)) => normalise_pairs(&mut list.values),
        Some(Value::StringValueStrindex(_)) | None => *value = None,
        Some(_) => {}
    }
}

fn normalise_pairs(pairs: &mut [KeyValue]) {
    for pair in pairs {
        pair.key_strindex = 0;
        normalise_any(&mut pair.value);
    }
}

fn normalise_resource(resource: &mut Option<Resource>) {
    let resource = resource.get_or_insert_default();
    resource.entity_refs.clear();
    normalise_pairs(&mut resource.attributes);
}

fn normalise_scope(scope: &mut Option<InstrumentationScope>) {
    normalise_pairs(&mut scope.get_or_insert_default().attributes);
}

pub(super) fn normalise_traces(request: &mut ExportTraceServiceRequest) {
    for resource in &mut request.resource_spans {
        normalise_resource(&mut resource.resource);
        resource.schema_url.clear();
        for scope in &mut resource.scope_spans {
            normalise_scope(&mut scope.scope);
            scope.schema_url.clear();
            for span in &mut scope.spans {
                span.status.get_or_insert_default();
                normalise_pairs(&mut span.attributes);
                span.events.iter_mut().for_each(|e| normalise_pairs(&mut e.attributes));
                span.links.iter_mut().for_each(|l| normalise_pairs(&mut l.attributes));
            }
        }
    }
}

pub(super) fn normalise_logs(request: &mut ExportLogsServiceRequest) {
    for resource in &mut request.resource_logs {
        normalise_resource(&mut resource.resource);
        resource.schema_url.clear();
        for scope in &mut resource.scope_logs {
            normalise_scope(&mut scope.scope);
            scope.schema_url.clear();
            for record in &mut scope.log_records {
                normalise_pairs(&mut record.attributes);
                normalise_any(&mut record.body);
            }
        }
    }
}

fn normalise_exemplars(exemplars: &mut [Exemplar]) {
    exemplars.iter_mut().for_each(|e| normalise_pairs(&mut e.filtered_attributes));
}

pub(super) fn normalise_metrics(request: &mut ExportMetricsServiceRequest) {
    for resource in &mut request.resource_metrics {
        normalise_resource(&mut resource.resource);
        resource.schema_url.clear();
        for scope in &mut resource.scope_metrics {
            normalise_scope(&mut scope.scope);
            scope.schema_url.clear();
            for metric in &mut scope.metrics {
                metric.metadata.clear();
                normalise_data(&mut metric.data);
            }
        }
    }
}

fn normalise_data(data: &mut Option<Data>) {
    let is_sent = |b: &Buckets| *b != Buckets::default();
    match data {
        Some(Data::Gauge(Gauge { data_points }) | Data::Sum(Sum { data_points, .. })) => {
            for point in data_points {
                normalise_pairs(&mut point.attributes);
                normalise_exemplars(&mut point.exemplars);
            }
        }
        Some(Data::Histogram(histogram)) => {
            for point in &mut histogram.data_points {
                normalise_pairs(&mut point.attributes);
                normalise_exemplars(&mut point.exemplars);
            }
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            for point in &mut histogram.data_points {
                normalise_pairs(&mut point.attributes);
                normalise_exemplars(&mut point.exemplars);
                point.positive = point.positive.take().filter(is_sent);
                point.negative = point.negative.take().filter(is_sent);
            }
        }
        Some(Data::Summary(summary)) => {
            summary.data_points.iter_mut().for_each(|p| normalise_pairs(&mut p.attributes));
        }
        None => {}
    }
}
