//! Recorded OTLP, as the Collector's file exporter writes it: a request a line in JSON, or each request in
//! protobuf behind its length.
//!
//! The file exporter writes lengths as four bytes, the greatest first; protobuf's own delimited streams
//! write them as varints. They are told apart by the first byte, which is zero in the one case (for
//! requests below 16 MiB) and never in the other. Neither says which signal a request is of; its fields do.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use proto::{
    otlp::{Encoding, Signal},
    wire::{Fields, Value},
};

use super::input::{Counted, Fault, MAX_BYTES, Recorded};

/// Requests in JSON: one a line, or each over several lines.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<Counted>,
    line: u64,
    is_over: bool,
}

impl Lines {
    pub(super) fn new(path: &Path, file: Counted) -> Self {
        Self { path: path.to_owned(), reader: BufReader::new(file), line: 0, is_over: false }
    }

    /// The next text with balanced braces, and the line in which it begins.
    fn text(&mut self) -> Result<Option<(u64, Vec<u8>)>, Fault> {
        let (mut text, mut nesting, mut began) = (Vec::new(), Nesting::default(), self.line + 1);
        loop {
            let start = text.len();
            let most = (MAX_BYTES - start) as u64 + 1;
            let read = self.reader.by_ref().take(most).read_until(b'\n', &mut text);
            let read = read.map_err(|e| self.ends(began, format_args!("cannot be read: {e}")))?;
            if text.len() > MAX_BYTES {
                return Err(self.ends(began, format_args!("a request is longer than {MAX_BYTES} bytes")));
            }
            if read == 0 {
                if text.is_empty() {
                    return Ok(None);
                }
                return Err(self.ends(began, "ends within a request"));
            }
            self.line += 1;
            nesting.read(text.get(start..).unwrap_or_default());
            if nesting.depth <= 0 {
                if !text.iter().all(u8::is_ascii_whitespace) {
                    return Ok(Some((began, text)));
                }
                text.clear();
                began = self.line + 1;
            }
        }
    }

    fn ends(&mut self, line: u64, message: impl std::fmt::Display) -> Fault {
        self.is_over = true;
        Fault::of(&self.path, message).at(line)
    }
}

impl Iterator for Lines {
    type Item = Result<Recorded, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            let (line, text) = match self.text() {
                Ok(Some(read)) => read,
                Ok(None) => break,
                Err(fault) => return Some(Err(fault)),
            };
            let Some(signal) = signal_of_json(&text) else {
                if text.trim_ascii() == b"{}" {
                    continue;
                }
                let message = "expected a JSON object with resourceMetrics, resourceSpans or resourceLogs";
                return Some(Err(Fault::of(&self.path, message).at(line)));
            };
            return Some(Ok(Recorded { signal, encoding: Encoding::Json, body: text.into(), newest: None, line }));
        }
        None
    }
}

/// How deep in braces a text is.
#[derive(Default)]
struct Nesting {
    depth: i64,
    in_text: bool,
    is_escaped: bool,
}

impl Nesting {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                b'{' | b'[' if !self.in_text => self.depth += 1,
                b'}' | b']' if !self.in_text => self.depth -= 1,
                _ => {}
            }
        }
    }
}

/// What the first of the known keys says.
fn signal_of_json(text: &[u8]) -> Option<Signal> {
    const KEYS: [(&[u8], Signal); 6] = [
        (b"\"resourceMetrics\"", Signal::Metrics),
        (b"\"resource_metrics\"", Signal::Metrics),
        (b"\"resourceSpans\"", Signal::Traces),
        (b"\"resource_spans\"", Signal::Traces),
        (b"\"resourceLogs\"", Signal::Logs),
        (b"\"resource_logs\"", Signal::Logs),
    ];
    // Whatever a request is of, its key comes before everything that a sender could have named.
    let quotes = text.iter().enumerate().filter(|(_, byte)| **byte == b'"');
    let mut keys = quotes.filter_map(|(at, _)| {
        let rest = text.get(at..)?;
        KEYS.iter().find(|(key, _)| rest.starts_with(key)).map(|(_, signal)| *signal)
    });
    keys.next()
}

/// Requests in protobuf, each behind its length.
pub(super) struct Frames {
    path: PathBuf,
    reader: BufReader<Counted>,
    number: u64,
    is_over: bool,
}

impl Frames {
    pub(super) fn new(path: &Path, file: Counted) -> Self {
        Self { path: path.to_owned(), reader: BufReader::new(file), number: 0, is_over: false }
    }

    /// The next request; `None` at the end.
    fn frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut first = [0_u8];
        if self.reader.read(&mut first)? == 0 {
            return Ok(None);
        }
        let len = if first == [0] {
            let mut rest = [0_u8; 3];
            self.reader.read_exact(&mut rest)?;
            rest.iter().fold(0_u64, |len, byte| len << 8 | u64::from(*byte))
        } else {
            self.varint(first[0])?
        };
        if len > MAX_BYTES as u64 {
            return Err(io::Error::other(format!("is said to have {len} bytes; expected at most {MAX_BYTES}")));
        }
        let mut body = Vec::new();
        let read = self.reader.by_ref().take(len).read_to_end(&mut body)?;
        if (read as u64) < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(body))
    }

    fn varint(&mut self, first: u8) -> io::Result<u64> {
        let (mut value, mut byte, mut shift) = (0_u64, first, 0);
        loop {
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
            if shift > 35 {
                return Err(io::Error::other("has no length in front of it"));
            }
            let mut next = [0_u8];
            self.reader.read_exact(&mut next)?;
            byte = next[0];
        }
    }
}

impl Iterator for Frames {
    type Item = Result<Recorded, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            self.number += 1;
            let frame = match self.frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    self.is_over = true;
                    let reason = match error.kind() {
                        io::ErrorKind::UnexpectedEof => "is cut off by the end of the file".to_owned(),
                        _ => error.to_string(),
                    };
                    let message = format!("request {} {reason}", self.number);
                    return Some(Err(Fault::of(&self.path, message).at(self.number)));
                }
            };
            if frame.is_empty() {
                continue;
            }
            let Some(signal) = signal_of(&frame) else {
                let message = format!("request {} is no export of metrics, spans or logs", self.number);
                return Some(Err(Fault::of(&self.path, message).at(self.number)));
            };
            let (encoding, line) = (Encoding::Protobuf, self.number);
            return Some(Ok(Recorded { signal, encoding, body: frame.into(), newest: None, line }));
        }
        None
    }
}

/// What a request in protobuf is of, by the fields of the first item in it: a span has an identity of 16
/// bytes and two times, a log record a time, a metric a name. `None` when there is no item at all.
fn signal_of(request: &[u8]) -> Option<Signal> {
    // The envelopes are alike: resource (1: of the request), scope (2), item (2).
    for resource in messages(request, 1) {
        for scope in messages(resource, 2) {
            if let Some(item) = messages(scope, 2).next() {
                return item_of(item);
            }
        }
    }
    None
}

/// The messages in field `number` of `bytes`, as far as they can be read.
fn messages(bytes: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let mut fields = Fields::new("request", bytes);
    std::iter::from_fn(move || {
        loop {
            let field = fields.next().ok()??;
            match field.value {
                Value::Bytes(inside) if field.number == number => return Some(inside),
                _ => {}
            }
        }
    })
}

fn item_of(item: &[u8]) -> Option<Signal> {
    let mut fields = Fields::new("item", item);
    while let Ok(Some(field)) = fields.next() {
        match (field.number, field.value) {
            // Times: of a log record (when it was, when it was seen), of a span (begin and end).
            (1 | 11, Value::Fixed64(_)) => return Some(Signal::Logs),
            (7 | 8, Value::Fixed64(_)) => return Some(Signal::Traces),
            // The kinds of metrics.
            (5 | 7 | 9 | 10 | 11, Value::Bytes(_)) if fields_look_like_metric(item) => return Some(Signal::Metrics),
            _ => {}
        }
    }
    // A metric without points, or an item of which nothing is known.
    None
}

/// A name that is text, and no times where a log record or a span has them.
fn fields_look_like_metric(item: &[u8]) -> bool {
    let mut fields = Fields::new("item", item);
    let mut is_named = false;
    while let Ok(Some(field)) = fields.next() {
        match (field.number, field.value) {
            (1 | 7 | 8 | 11, Value::Fixed64(_)) => return false,
            (1, Value::Bytes(name)) => is_named = std::str::from_utf8(name).is_ok(),
            _ => {}
        }
    }
    is_named
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use prost::Message as _;

    use super::*;
    use crate::export::Export;

    fn requests() -> [(Signal, Vec<u8>); 3] {
        let mut export = Export::default();
        export.add("shop", "load", [("host", "a")], detect::UnixNanos(1_000_000_000), 1.0);
        let span = Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "quote".into(),
            start_time_unix_nano: 1,
            end_time_unix_nano: 2,
            ..Span::default()
        };
        let spans = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        let spans = ResourceSpans { scope_spans: vec![spans], ..ResourceSpans::default() };
        let record = LogRecord { observed_time_unix_nano: 5, severity_text: "INFO".into(), ..LogRecord::default() };
        let logs = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
        let logs = ResourceLogs { scope_logs: vec![logs], ..ResourceLogs::default() };
        [
            (Signal::Metrics, export.take().encode_to_vec()),
            (Signal::Traces, ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec()),
            (Signal::Logs, ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()),
        ]
    }

    #[test]
    fn the_signal_of_a_request_is_known_by_its_fields() {
        for (signal, request) in requests() {
            assert_eq!(signal_of(&request), Some(signal));
        }
        assert_eq!(signal_of(b"garbage"), None);
        assert_eq!(signal_of_json(br#"{ "resourceSpans":[]}"#), Some(Signal::Traces));
        assert_eq!(signal_of_json(br#"{"resource_logs":[{"x":"\"resourceSpans\""}]}"#), Some(Signal::Logs));
        assert_eq!(signal_of_json(b"[1]"), None);
    }

    #[test]
    fn braces_in_texts_do_not_count() {
        let mut nesting = Nesting::default();
        nesting.read(br#"{"a": "}\"}", "#);
        assert_eq!(nesting.depth, 1);
        nesting.read(b"\"b\": {}}\n");
        assert_eq!(nesting.depth, 0);
    }
}
