//! Requests that are encoded once and sent again and again with new times.
//!
//! A receiver that knows its series would drop a point whose time it has seen, so the times have to
//! move. They are fixed64 on the wire: each can be written over where it stands. So can the values of
//! sums and histograms that have to grow, for which the time serves as well.

mod content;

use std::fmt;

/// Requests in a cycle, unless something else is asked for.
pub(crate) const REQUESTS: u16 = 10;
/// Requests in a cycle that make a million series.
pub(crate) const REQUESTS_FOR_A_MILLION: usize = 1_000;
/// gRPC's flag and length before the message.
const FRAME_HEADER: usize = 5;
/// The upper half of a number to be patched; the lower half is by how much it is less than the
/// request's time, in nanoseconds. As a time it would be in the year 2188, and it is no text.
const MARK: u64 = 0x5fee_d1ed;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Signal {
    /// 1,000 points a request with 5 attributes, each request with series of its own.
    Metrics,
    /// 500 spans a request, with 12 attributes, some 0.9 KB each.
    Spans,
    /// 1,000 log records a request, with 5 attributes, some 0.3 KB each.
    Logs,
}

/// The points of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A number that stays as it is.
    Gauge,
    /// A cumulative, monotonic integer that grows with time, so that rates are made of it.
    Sum,
    /// A cumulative histogram of 15 buckets, one of which grows with time.
    Histogram,
}

/// What a cycle of requests looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// What is sent.
    pub(crate) signal: Signal,
    /// The points, if that is metrics.
    pub(crate) kind: Kind,
    /// How many requests are in the cycle.
    pub(crate) requests: usize,
}

impl Signal {
    /// What is counted.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Metrics => "points",
            Self::Spans => "spans",
            Self::Logs => "log records",
        }
    }

    /// The method's path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Spans => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = self.signal.unit();
        match self.signal {
            Signal::Metrics => {
                let kind = match self.kind {
                    Kind::Gauge => "gauges",
                    Kind::Sum => "sums",
                    Kind::Histogram => "histograms",
                };
                write!(f, "{unit} of {kind}, {} series with 5 attributes", self.requests * content::POINTS)
            }
            Signal::Spans => write!(f, "{unit} with 12 attributes"),
            Signal::Logs => write!(f, "{unit} with 5 attributes"),
        }
    }
}

/// A framed request with the places of its times.
pub(crate) struct Payload {
    /// gRPC frame and message.
    pub(crate) bytes: Vec<u8>,
    /// Items in it.
    pub(crate) items: u64,
    /// The numbers that move.
    pub(crate) places: Vec<Place>,
}

/// Where a number stands that moves with time, and by how much it is less than the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    at: u32,
    before: u32,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("items", &self.items).field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Payload {
    /// The request with this number in the cycle. What is cumulative has been so since `start`, in
    /// nanoseconds since the epoch.
    pub(crate) fn new(shape: &Shape, number: usize, start: u64) -> Self {
        let content::Content { message, items, marks } = content::of(shape, number, start);
        let length = u32::try_from(message.len()).expect("half a megabyte");
        let mut bytes = Vec::with_capacity(FRAME_HEADER + message.len());
        bytes.push(0);
        bytes.extend(length.to_be_bytes());
        bytes.extend(message);
        let places = marked(&bytes);
        assert_eq!(places.len(), marks, "each number that moves is found, and nothing else");
        Self { bytes, items: items as u64, places }
    }
}

/// Writes the numbers of a request that is sent at `now`, in nanoseconds since the epoch, into its bytes.
pub(crate) fn stamp(places: &[Place], bytes: &mut [u8], now: u64) {
    for Place { at, before } in places {
        let at = *at as usize;
        bytes[at..at + 8].copy_from_slice(&(now - u64::from(*before)).to_le_bytes());
    }
}

fn mark(before: u32) -> u64 {
    (MARK << 32) | u64::from(before)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half of a mark, in a message below 4 GiB")]
fn marked(bytes: &[u8]) -> Vec<Place> {
    let number = |window: &[u8]| u64::from_le_bytes(window.try_into().expect("windows of eight bytes"));
    let windows = bytes.windows(8).map(number).enumerate();
    let places = windows.filter(|(_, n)| n >> 32 == MARK);
    places.map(|(at, n)| Place { at: at as u32, before: n as u32 }).collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::{
            logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
            trace::v1::ExportTraceServiceRequest,
        },
        metrics::v1::{metric::Data, number_data_point::Value},
    };
    use prost::Message;

    use super::*;

    const START: u64 = 1_600_000_000_000_000_000;
    const NOW: u64 = 1_700_000_000_000_000_000;

    fn payload(signal: Signal, kind: Kind) -> Payload {
        Payload::new(&Shape { signal, kind, requests: 10 }, 3, START)
    }

    fn stamped<M: Message + Default>(signal: Signal, kind: Kind) -> M {
        let mut payload = payload(signal, kind);
        stamp(&payload.places, &mut payload.bytes, NOW);
        M::decode(&payload.bytes[FRAME_HEADER..]).expect("is a request")
    }

    fn data(kind: Kind) -> Vec<Data> {
        let request: ExportMetricsServiceRequest = stamped(Signal::Metrics, kind);
        request.resource_metrics[0].scope_metrics[0].metrics.iter().filter_map(|m| m.data.clone()).collect()
    }

    #[test]
    fn stamped_gauges_have_the_given_time() {
        let points = data(Kind::Gauge).into_iter().flat_map(|data| match data {
            Data::Gauge(gauge) => gauge.data_points,
            _ => Vec::new(),
        });
        let times: Vec<u64> = points.map(|p| p.time_unix_nano).collect();
        assert_eq!(times, vec![NOW; content::POINTS]);
    }

    #[test]
    fn stamped_sums_grow_with_time_and_keep_their_start() {
        let points = data(Kind::Sum).into_iter().flat_map(|data| match data {
            Data::Sum(sum) => sum.data_points,
            _ => Vec::new(),
        });
        let got: Vec<_> = points.map(|p| (p.start_time_unix_nano, p.time_unix_nano, p.value)).collect();
        assert_eq!(got.len(), content::POINTS);
        assert_eq!(got[7], (START, NOW, Some(Value::AsInt(NOW.cast_signed()))));
    }

    #[test]
    fn stamped_histograms_count_what_is_in_their_buckets() {
        let points = data(Kind::Histogram).into_iter().flat_map(|data| match data {
            Data::Histogram(histogram) => histogram.data_points,
            _ => Vec::new(),
        });
        let points: Vec<_> = points.collect();
        assert_eq!(points.len(), content::POINTS);
        for point in points {
            assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
            assert_eq!((point.bucket_counts.iter().sum::<u64>(), point.count), (NOW, NOW));
        }
    }

    #[test]
    fn stamped_spans_keep_their_durations() {
        let request: ExportTraceServiceRequest = stamped(Signal::Spans, Kind::Gauge);
        let span = &request.resource_spans[0].scope_spans[0].spans[100];
        assert_eq!(span.end_time_unix_nano, NOW);
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 3_300_000);
        assert_eq!(span.attributes.len(), 12);
    }

    #[test]
    fn stamped_log_records_have_the_given_time() {
        let request: ExportLogsServiceRequest = stamped(Signal::Logs, Kind::Gauge);
        let record = &request.resource_logs[0].scope_logs[0].log_records[999];
        assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (NOW, NOW));
    }

    #[test]
    fn sizes_are_what_the_table_says() {
        let bytes = |signal| payload(signal, Kind::Gauge).bytes.len();
        assert!((150_000..250_000).contains(&bytes(Signal::Metrics)), "{}", bytes(Signal::Metrics));
        assert!((400_000..500_000).contains(&bytes(Signal::Spans)), "{}", bytes(Signal::Spans));
        assert!((250_000..400_000).contains(&bytes(Signal::Logs)), "{}", bytes(Signal::Logs));
    }
}
