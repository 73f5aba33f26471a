//! OTLP/JSON, rewritten as the protobuf bytes that the same sender would have sent otherwise.
//!
//! There is one reader of requests, and it reads protobuf. JSON is brought into that form first, so that
//! both encodings give the same rows by construction and share every limit. Each message has a table of
//! its keys (`shapes`); one loop walks text and table together (`transcode`) and writes as it goes,
//! without a tree in between.
//!
//! The mapping is ProtoJSON with OTLP's changes: ids are hex, enums are numbers, keys are lowerCamelCase
//! only. Unknown keys are ignored, `null` means unset, 64-bit integers may be strings, and doubles have
//! names for what JSON cannot write. A value that is not what its key wants is an error that names the
//! place: a type error which silently becomes an absent value would lose data that was acknowledged.

mod number;
mod output;
mod shapes;
mod stop;
mod text;
mod transcode;

use crate::otlp::Signal;

/// JSON within JSON beyond which a text is refused, counting the request's own object: enough for the
/// deepest value that the protobuf reader takes, where each map is four levels of JSON.
pub const MAX_DEPTH: usize = 160;

/// Why a text was not rewritten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not such a request. Holds where, as a path such as
    /// `resourceSpans[0].scopeSpans[2].spans[17].startTimeUnixNano`, and what was expected and found;
    /// at most 512 bytes.
    #[error("{0}")]
    Malformed(String),
    /// In protobuf it would be longer than the limit.
    #[error("longer than the limit when written as protobuf")]
    TooLarge,
}

/// Reads the request for `signal` that `text` holds and gives it as protobuf, at most `limit` bytes of it.
///
/// The bytes are canonical but for the order of fields, which is that of the text: values that are their
/// type's default are left out where the field does not track presence. A key that is given twice is
/// written twice, which means for protobuf that the last scalar wins and that lists go on; a message or
/// the members of a oneof cannot be merged like that and are refused. Memory stays below twice `limit` and
/// the longest single string.
///
/// # Errors
/// [`Fault`]; nothing is dropped silently and nothing is read in part. An empty text is not a request.
pub fn to_protobuf(signal: Signal, text: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let shape = match signal {
        Signal::Metrics => &shapes::METRICS_REQUEST,
        Signal::Traces => &shapes::TRACES_REQUEST,
        Signal::Logs => &shapes::LOGS_REQUEST,
    };
    transcode::request(shape, text, limit).map_err(stop::Stop::into_fault)
}

#[cfg(test)]
mod tests;
