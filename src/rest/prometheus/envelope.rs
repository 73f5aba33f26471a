//! Prometheus's envelope around answers and errors, and its way of writing numbers.

use std::{fmt, io};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use detect::UnixNanos;
use query::{InstantSample, QueryError, RangeSeries, Value};
use serde::{Serialize, Serializer, ser::SerializeMap};
use window::Labels;

use crate::rest::{Busy, json::json};

/// Greatest answer: a query that would say more is refused before it fills the memory.
const MAX_BYTES: usize = 64 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    error_type: &'static str,
    message: String,
}

impl Refusal {
    /// The request is at fault.
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error_type: "bad_data", message: message.into() }
    }

    fn execution(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, error_type: "execution", message: message.into() }
    }

    /// A query that was parsed and could not be evaluated.
    pub(super) fn of_query(error: &QueryError) -> Self {
        let message = error.to_string();
        match error {
            QueryError::Step(_)
            | QueryError::EndBeforeStart { .. }
            | QueryError::TooManySteps { .. }
            | QueryError::NotRangeable { .. } => Self::bad_data(message),
            _ => Self::execution(message),
        }
    }
}

impl From<alerting::LedgerError> for Refusal {
    fn from(error: alerting::LedgerError) -> Self {
        tracing::error!(%error, "the ledger cannot be read");
        let message = "the ledger cannot be read; the log says why".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, error_type: "internal", message }
    }
}

impl From<Busy> for Refusal {
    fn from(_: Busy) -> Self {
        let message = "too many queries are being worked on, or the service is shutting down";
        Self { status: StatusCode::SERVICE_UNAVAILABLE, error_type: "unavailable", message: message.to_owned() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            status: &'static str,
            error_type: &'static str,
            error: &'a str,
        }
        let wire = Wire { status: "error", error_type: self.error_type, error: &self.message };
        let mut response = json(self.status, &wire);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// An answer.
#[derive(Debug, Serialize)]
pub(super) struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    warnings: &'static [&'static str],
}

/// What a query answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<R> {
    result_type: &'static str,
    result: R,
}

impl<T: Serialize> Success<T> {
    /// `data` as it is; `truncated` when a limit has cut it.
    pub(super) fn new(data: T, truncated: bool) -> Self {
        let warnings: &[&str] = if truncated { &["results truncated due to limit"] } else { &[] };
        Self { status: "success", data, warnings }
    }

    /// The answer, unless it is too long.
    pub(super) fn response(&self) -> Result<Response, Refusal> {
        let mut out = Bounded(Vec::new());
        if serde_json::to_writer(&mut out, self).is_err() {
            let limit = MAX_BYTES >> 20;
            return Err(Refusal::execution(format!(
                "the answer would be longer than {limit} MiB: ask for fewer series, a shorter range or a larger step"
            )));
        }
        let mut response = Response::new(Body::from(out.0));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

impl Success<()> {
    /// The answer of an instant query.
    pub(super) fn instant(value: &Value, at: UnixNanos, limit: Option<usize>) -> Result<Response, Refusal> {
        match value {
            Value::Scalar(value) => {
                Success::new(Data { result_type: "scalar", result: (Seconds(at), Number(*value)) }, false).response()
            }
            Value::String(text) => {
                Success::new(Data { result_type: "string", result: (Seconds(at), text) }, false).response()
            }
            Value::Vector(samples) => {
                let (samples, truncated) = cut(samples, limit);
                let result: Vec<_> = samples.iter().map(|sample| VectorItem { sample, at }).collect();
                Success::new(Data { result_type: "vector", result }, truncated).response()
            }
            Value::Matrix(series) => Self::range(series, limit),
        }
    }

    /// The answer of a range query.
    pub(super) fn range(series: &[RangeSeries], limit: Option<usize>) -> Result<Response, Refusal> {
        let (series, truncated) = cut(series, limit);
        let result: Vec<_> = series.iter().map(MatrixItem).collect();
        Success::new(Data { result_type: "matrix", result }, truncated).response()
    }
}

/// The first `limit` items, and whether there were more.
pub(super) fn cut<T>(items: &[T], limit: Option<usize>) -> (&[T], bool) {
    let kept = limit.unwrap_or(items.len()).min(items.len());
    (&items[..kept], kept < items.len())
}

/// Collects bytes up to [`MAX_BYTES`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A series as JSON: its labels with `__name__` first.
pub(super) struct Metric<'a>(pub(super) Option<&'a str>, pub(super) &'a Labels);

impl Serialize for Metric<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(name) = self.0 {
            map.serialize_entry("__name__", name)?;
        }
        for (name, value) in self.1.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct VectorItem<'a> {
    sample: &'a InstantSample,
    at: UnixNanos,
}

impl Serialize for VectorItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("metric", &Metric(self.sample.name.as_deref(), &self.sample.labels))?;
        map.serialize_entry("value", &(Seconds(self.at), Number(self.sample.value)))?;
        map.end()
    }
}

struct MatrixItem<'a>(&'a RangeSeries);

impl Serialize for MatrixItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Samples<'a>(&'a [window::Sample]);
        impl Serialize for Samples<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.iter().map(|s| (Seconds(s.time), Number(s.value))))
            }
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("metric", &Metric(self.0.name.as_deref(), &self.0.labels))?;
        map.serialize_entry("values", &Samples(&self.0.samples))?;
        map.end()
    }
}

/// A time as Prometheus writes it: Unix seconds with milliseconds where there are any.
struct Seconds(UnixNanos);

impl Serialize for Seconds {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this millennium are far below 2^53")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let milliseconds = self.0.0.div_euclid(1_000_000);
        if milliseconds % 1_000 == 0 {
            serializer.serialize_i64(milliseconds / 1_000)
        } else {
            serializer.serialize_f64(milliseconds as f64 / 1e3)
        }
    }
}

/// A value as Prometheus writes it, in a string.
struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Number {
    /// The shortest digits that give the same number, with an exponent only for the very small and
    /// the very large.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, size) = (self.0, self.0.abs());
        if value.is_nan() {
            return f.write_str("NaN");
        }
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        if size >= 1e21 {
            return f.write_str(&format!("{value:e}").replace('e', "e+"));
        }
        if size > 0.0 && size < 1e-6 { write!(f, "{value:e}") } else { write!(f, "{value}") }
    }
}

/// `value` as Prometheus writes it.
pub(in crate::rest) fn number(value: f64) -> String {
    Number(value).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_does() {
        let check = |value: f64, expected| assert_eq!(number(value), expected);
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(-2.5e-7, "-2.5e-7");
        check(0.000_001, "0.000001");
    }

    #[test]
    fn times_are_seconds_with_milliseconds_where_there_are_any() {
        let check = |nanos, expected| {
            let got = serde_json::to_string(&Seconds(UnixNanos(nanos))).expect("serialises");
            assert_eq!(got, expected);
        };
        check(1_435_781_451_781_000_000, "1435781451.781");
        check(1_435_781_451_000_999_999, "1435781451");
        check(-500_000_000, "-0.5");
    }

    #[test]
    fn an_answer_that_is_too_long_is_refused() {
        let long = "x".repeat(MAX_BYTES);
        let refusal = Success::new(long, false).response().expect_err("is too long");
        assert_eq!((refusal.status.as_u16(), refusal.error_type), (422, "execution"));
    }
}
