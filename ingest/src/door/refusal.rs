//! Saying no: one refusal, which each door says in its own codes.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use proto::{
    otlp::cut,
    rpc::{Code, Status},
};

use super::{Coding, Outcome};
use crate::Tenant;

/// Longest text of a refusal, in bytes.
const MAX_TEXT: usize = 1024;
/// Seconds that a sender is asked to wait at least, when nothing is known about when there is room.
const SOON: u64 = 1;
/// The greatest least wait; the jitter goes up to [`MAX_WAIT`].
const LATE: u64 = 8;
/// The longest wait that is asked for, in seconds: exporters give up after some minutes.
pub(super) const MAX_WAIT: u64 = 30;
/// The longest wait in terms of the least one. With 4, the standard deviation is at least a third of
/// the mean, so that senders who were refused together do not come back together.
const SPREAD: u64 = 4;
/// The mean wait in terms of the least one.
pub(super) const MEAN_WAIT: f64 = (1 + SPREAD) as f64 / 2.0;

/// Why a request was not taken. The doors say it in their own codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) outcome: Outcome,
    /// At most [`MAX_TEXT`] bytes, in English.
    pub(crate) message: String,
    /// Whose request it was, where that is known.
    pub(super) tenant: Option<Tenant>,
    /// Set when the sender should try again: no sooner than after this time, as far as is known of this request alone.
    /// Once it may be said (`Door::until_said`), after this time, in whole seconds.
    pub(crate) retry_after: Option<Duration>,
    /// The canonical code, which the body of an HTTP answer carries too.
    pub(crate) code: Code,
    /// The status of an HTTP answer. Clients repeat 429, 502, 503 and 504, and nothing else.
    pub(crate) http_code: StatusCode,
    /// What a sender must do to be let in or understood: a header of the answer.
    hint: Option<(&'static str, &'static str)>,
}

impl Refusal {
    pub(crate) fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(cut(&message, MAX_TEXT).len());
        let retry_after = matches!(outcome, Outcome::Busy | Outcome::Limited).then_some(Duration::ZERO);
        let (code, http_code) = codes(outcome);
        Self { outcome, message, tenant: None, retry_after, code, http_code, hint: None }
    }

    /// The same, of a request of `tenant`.
    pub(crate) fn of(self, tenant: Tenant) -> Self {
        Self { tenant: Some(tenant), ..self }
    }

    /// The same, asking to come back after `wait`, or later.
    pub(crate) fn not_before(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The same, said in these codes.
    pub(crate) fn with_codes(self, code: Code, http_code: StatusCode) -> Self {
        Self { code, http_code, ..self }
    }

    /// The same, with a header in the answer.
    pub(crate) fn with_header(self, name: &'static str, value: &'static str) -> Self {
        Self { hint: Some((name, value)), ..self }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            Outcome::TooLarge,
            format!("request is larger than {limit} bytes (uncompressed); send smaller batches"),
        )
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Outcome::Malformed, message)
    }

    /// As the message that both transports carry.
    pub(crate) fn status(&self) -> Status {
        Status::new(self.code, self.message.as_str(), self.retry_after)
    }

    /// Adds what the answer's headers have to say beside the code.
    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        if let Some((name, value)) = self.hint {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

fn codes(outcome: Outcome) -> (Code, StatusCode) {
    match outcome {
        Outcome::Malformed | Outcome::Refused => (Code::InvalidArgument, StatusCode::BAD_REQUEST),
        Outcome::TooLarge => (Code::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE),
        Outcome::Busy => (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
        Outcome::Limited => (Code::Unavailable, StatusCode::TOO_MANY_REQUESTS),
        Outcome::Unauthenticated => (Code::Unauthenticated, StatusCode::UNAUTHORIZED),
        Outcome::Forbidden => (Code::PermissionDenied, StatusCode::FORBIDDEN),
        Outcome::Abandoned => (Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT),
        Outcome::Ok | Outcome::Partial | Outcome::Failed => (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// That a coding is not known, with those that are in `header`.
pub(crate) fn unknown_coding(field: &str, header: &'static str, got: &str) -> Refusal {
    Refusal::new(Outcome::Refused, format!("{field}: expected gzip, zstd or identity, got {got}"))
        .with_codes(Code::Unimplemented, StatusCode::UNSUPPORTED_MEDIA_TYPE)
        .with_header(header, Coding::ACCEPTED)
}

/// A time to wait of at least `least` (as far as that is at most [`LATE`]), in whole seconds from 1 to
/// 30, evenly spread from there to [`SPREAD`] times as long.
pub(super) fn wait(least: Duration) -> Duration {
    let least = least.as_secs().saturating_add(u64::from(least.subsec_nanos() > 0));
    let least = least.clamp(SOON, LATE);
    Duration::from_secs(fastrand::u64(least..=(SPREAD * least).min(MAX_WAIT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_whole_seconds_in_bounds_and_spread() {
        for least in [0.0, 0.2, 1.0, 3.5, 7.0, 8.0, 29.0, 1e6] {
            let least = Duration::from_secs_f64(least);
            let waits: Vec<Duration> = (0..4_000).map(|_| wait(least)).collect();
            assert!(waits.iter().all(|w| w.subsec_nanos() == 0 && (1..=30).contains(&w.as_secs())));
            assert!(waits.iter().all(|w| *w >= least.min(Duration::from_secs(LATE))), "{least:?}");
            let mean = waits.iter().map(Duration::as_secs_f64).sum::<f64>() / 4_000.0;
            let variance = waits.iter().map(|w| (w.as_secs_f64() - mean).powi(2)).sum::<f64>() / 4_000.0;
            assert!(variance.sqrt() / mean >= 0.3, "{least:?}: {mean} {variance}");
        }
    }

    #[test]
    fn only_what_may_be_sent_again_has_a_wait() {
        for outcome in Outcome::ALL {
            let refusal = Refusal::new(outcome, "no");
            let is_retryable = matches!(refusal.http_code.as_u16(), 429 | 503);
            assert_eq!(refusal.retry_after.is_some(), is_retryable, "{outcome:?}");
            assert_eq!(refusal.code == Code::Unavailable, is_retryable, "{outcome:?}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let refusal = Refusal::malformed("é".repeat(600) + "x");
        assert_eq!(refusal.message.len(), 1024);
        assert_eq!(Refusal::malformed("x".to_owned() + &"é".repeat(600)).message.len(), 1023);
    }
}
