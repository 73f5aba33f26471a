//! `google.rpc.Status`, which is how OTLP says no: the body of every HTTP error and the details of
//! a gRPC one. Three small messages, written by hand rather than generated.

use std::time::Duration;

use prost::Message as _;
use serde_json::json;

use crate::otlp::Encoding;

const RETRY_INFO_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// The canonical codes that this service answers with, with their wire numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// The request cannot be read; not worth a retry.
    InvalidArgument = 3,
    /// The sender's own time limit has passed.
    DeadlineExceeded = 4,
    /// No such path.
    NotFound = 5,
    /// The sender is known and may not do this.
    PermissionDenied = 7,
    /// Too large. Worth a retry only with [`RetryInfo`].
    ResourceExhausted = 8,
    /// No such method.
    Unimplemented = 12,
    /// A fault of ours that comes again with the same request.
    Internal = 13,
    /// Cannot take it now; worth a retry.
    Unavailable = 14,
    /// The sender did not say who it is, or not truly.
    Unauthenticated = 16,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// A [`Code`]'s number.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// What went wrong, for a developer, in English.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Messages that say more; here at most one, a [`RetryInfo`].
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    /// Which message it is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RetryInfo {
    /// How long to wait before the next attempt.
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<WireDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct WireDuration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Status {
    /// A status; with `retry_after`, one that invites a retry after that time.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let details = retry_after.map(|delay| {
            let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
            let nanos = i32::try_from(delay.subsec_nanos()).unwrap_or(0);
            let info = RetryInfo { retry_delay: Some(WireDuration { seconds, nanos }) };
            Any { type_url: RETRY_INFO_TYPE.to_owned(), value: info.encode_to_vec() }
        });
        Self { code: code as i32, message: message.into(), details: details.into_iter().collect() }
    }

    /// The delay that it asks for, if it invites a retry.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let info = self.details.iter().find(|d| d.type_url == RETRY_INFO_TYPE)?;
        let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
        Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?))
    }

    /// Its bytes.
    #[must_use]
    pub fn encode_as(&self, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Protobuf => self.encode_to_vec(),
            Encoding::Json => {
                let details: Vec<_> = self
                    .retry_after()
                    .map(|delay| json!({"@type": RETRY_INFO_TYPE, "retryDelay": format!("{}s", delay.as_secs_f64())}))
                    .into_iter()
                    .collect();
                let mut status = json!({"code": self.code, "message": self.message});
                if !details.is_empty() {
                    status["details"] = json!(details);
                }
                status.to_string().into_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_say_the_same() {
        let status = Status::new(Code::Unavailable, "queue is full", Some(Duration::from_millis(1500)));
        let read = Status::decode(&*status.encode_as(Encoding::Protobuf)).expect("is a status");
        assert_eq!((read.code, read.retry_after()), (14, Some(Duration::from_millis(1500))));
        let read: serde_json::Value = serde_json::from_slice(&status.encode_as(Encoding::Json)).expect("is JSON");
        assert_eq!(read["code"], 14);
        assert_eq!(read["details"][0]["retryDelay"], "1.5s");
    }

    #[test]
    fn without_a_delay_there_is_no_invitation() {
        let status = Status::new(Code::ResourceExhausted, "too large", None);
        assert_eq!(status.retry_after(), None);
        let read: serde_json::Value = serde_json::from_slice(&status.encode_as(Encoding::Json)).expect("is JSON");
        assert_eq!(read, json!({"code": 8, "message": "too large"}));
    }
}
