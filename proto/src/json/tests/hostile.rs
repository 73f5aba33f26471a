//! Texts that are broken, too deep or too large: a clean error each, never a panic.

use crate::otlp::MAX_NESTING;

use super::{Fault, MAX_DEPTH, Signal, logs, metrics, refusal, to_protobuf, traces};

const DEPTHS: [usize; 6] = [10, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 1000, 100_000];

/// A request of every kind of token, for cutting and breaking.
const VALID: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"a\u00e4\ud83d\ude00ü","value":{"arrayValue":
    {"values":[{"intValue":"-1"},{"doubleValue":-1.5e-3},{"boolValue":true},{"bytesValue":"AQI="}]}}}]},
    "scopeSpans":[{"spans":[{"traceId":"01","name":null,"kind":2,"unknown":[false,{"x":"\n"},1e5,null]}]}]}]}"#;

#[test]
fn depth_is_bounded_with_and_without_a_known_key() {
    for depth in DEPTHS {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let bomb = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let whole = metrics(&format!(r#"{{"x":{bomb}}}"#));
            let cut = refusal(metrics(&format!(r#"{{"x":{}"#, open.repeat(depth))));
            // The request is a level of its own.
            if depth < MAX_DEPTH {
                assert!(whole.is_ok(), "{depth} {open}");
                assert!(cut.contains("found the end of the text"), "{depth} {open}: {cut}");
            } else {
                assert_eq!(refusal(whole), "x: JSON nests deeper than 160 levels", "{depth} {open}");
                assert_eq!(cut, "x: JSON nests deeper than 160 levels", "{depth} {open}");
            }
        }
        assert_eq!(refusal(metrics(&"[".repeat(depth))), "expected an object, found an array");
    }
}

#[test]
fn nested_values_are_bounded_and_their_path_is_shortened() {
    for (open, close, levels) in
        [(r#"{"arrayValue":{"values":["#, "]}}", 3), (r#"{"kvlistValue":{"values":[{"value":"#, "}]}}", 4)]
    {
        let body = |depth: usize| {
            let value = format!("{}{{}}{}", open.repeat(depth), close.repeat(depth));
            logs(&format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}"#))
        };
        // The request, two messages with a list each, and the list of records make 7 levels; `{}` is one more.
        let deepest = (MAX_DEPTH - 8) / levels;
        assert!(body(MAX_NESTING).is_ok(), "{open}");
        assert!(deepest >= MAX_NESTING, "what protobuf may hold, JSON may hold");
        for depth in [deepest + 1, 100, 100_000] {
            let reason = refusal(body(depth));
            assert!(reason.starts_with("resourceLogs[0].scopeLogs[0].logRecords[0].body."), "{reason}");
            assert!(reason.ends_with(": JSON nests deeper than 160 levels") && reason.len() <= 512, "{reason}");
        }
    }
}

#[test]
fn a_request_that_ends_early_is_an_error_at_each_byte() {
    assert!(traces(VALID).is_ok());
    for end in 0..VALID.len() {
        let fault = to_protobuf(Signal::Traces, &VALID.as_bytes()[..end], 1 << 20);
        assert!(matches!(&fault, Err(Fault::Malformed(reason)) if reason.len() <= 512), "{end}: {fault:?}");
    }
}

#[test]
fn a_request_with_any_one_byte_changed_is_read_or_refused() {
    let mut bytes = VALID.as_bytes().to_vec();
    for at in 0..bytes.len() {
        let original = bytes[at];
        for byte in [0, b'"', b'\\', b'{', b'}', b'[', b']', b',', b':', b'0', b'-', b'u', b'e', b' ', 0x80, 0xff] {
            bytes[at] = byte;
            if let Err(Fault::Malformed(reason)) = to_protobuf(Signal::Traces, &bytes, 1 << 20) {
                assert!(!reason.is_empty() && reason.len() <= 512, "{at} {byte}: {reason}");
            }
        }
        bytes[at] = original;
    }
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for (text, expected) in [
        ("", "expected an object, found the end of the text"),
        (" \n", "expected an object, found the end of the text"),
        ("null", "expected an object, found null"),
        ("[]", "expected an object, found an array"),
        ("\u{feff}{}", "expected an object, found '\\u{feff}'"),
        ("{} {}", "expected nothing after the request, found an object at byte 3"),
        ("{},", "expected nothing after the request, found ',' at byte 2"),
        ("{,}", "expected a key in quotes, found ',' at byte 1"),
        (r#"{"a":1,}"#, "expected a key in quotes, found '}' at byte 7"),
        (r#"{"a" 1}"#, "expected ':', found 1 at byte 5"),
        (r#"{a:1}"#, "expected a key in quotes, found 'a' at byte 1"),
        (r#"{"a":[1,]}"#, "a: expected a value, found ']' at byte 8"),
        (r#"{"a":[1 2]}"#, "a: expected ',' or ']', found 2 at byte 8"),
        (r#"{"a":[,1]}"#, "a: expected a value, found ',' at byte 6"),
        (r#"{"a":01}"#, "expected ',' or '}', found 1 at byte 6"),
        (r#"{"a":1.}"#, "expected ',' or '}', found '.' at byte 6"),
        (r#"{"a":.5}"#, "a: expected a value, found '.' at byte 5"),
        (r#"{"a":+1}"#, "a: expected a value, found '+' at byte 5"),
        (r#"{"a":nul}"#, "a: expected a value, found 'n' at byte 5"),
        (r#"{"a":nullx}"#, "expected ',' or '}', found 'x' at byte 9"),
        (r#"{"a":'b'}"#, "a: expected a value, found '\\'' at byte 5"),
        ("{\"a\":\"\n\"}", "a: expected control characters to be escaped, found '\\n' at byte 6"),
        (r#"{"a":"b"#, "a: expected '\"', found the end of the text at byte 7"),
        (r#"{"a":"\"#, "a: expected '\"', found the end of the text at byte 7"),
        (r#"{"a":"\x"}"#, "a: expected an escape of JSON, found \\x in a string"),
        (r#"{"a":"\u12g4"}"#, "a: expected an escape of JSON, found \\u12g4 in a string"),
        (r#"{"a":"\u+123"}"#, "a: expected an escape of JSON, found \\u+123 in a string"),
        (r#"{"a":"\ud83d"}"#, "a: expected a pair of surrogates, found \\ud83d alone in a string"),
        (r#"{"a":"\ude00\ud83d"}"#, "a: expected a pair of surrogates, found \\ude00 alone in a string"),
        (r#"{"a":"\ud83d\u0041"}"#, "a: expected a pair of surrogates, found \\ud83d alone in a string"),
        (r#"{"\ud83d":1}"#, "expected a pair of surrogates, found \\ud83d alone in a string"),
        (r#"{"resourceMetrics":{}}"#, "resourceMetrics: expected an array, found an object"),
    ] {
        assert_eq!(refusal(metrics(text)), expected, "{text}");
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused_where_it_stands() {
    for (text, expected) in [
        (
            &b"{\"resourceMetrics\":[{\"schemaUrl\":\"a\xff\"}]}"[..],
            "resourceMetrics[0].schemaUrl: expected '\"', found bytes that are not UTF-8 at byte 35",
        ),
        (b"{\"x\":\"\xed\xa0\x80\"}", "x: expected '\"', found bytes that are not UTF-8 at byte 6"),
        (b"{}\x80", "expected nothing after the request, found bytes that are not UTF-8 at byte 2"),
        (b"\x80", "expected an object, found bytes that are not UTF-8"),
    ] {
        assert_eq!(to_protobuf(Signal::Metrics, text, 1 << 20), Err(Fault::Malformed(expected.to_owned())));
    }
}

#[test]
fn the_limit_counts_the_bytes_written() {
    for text in [VALID, r#"{"resourceSpans":[{},{},{"schemaUrl":"long enough"},{}]}"#] {
        let whole = to_protobuf(Signal::Traces, text.as_bytes(), usize::MAX).expect("is valid");
        assert_eq!(to_protobuf(Signal::Traces, text.as_bytes(), whole.len()), Ok(whole.clone()));
        for limit in 0..whole.len() {
            assert_eq!(to_protobuf(Signal::Traces, text.as_bytes(), limit), Err(Fault::TooLarge), "{limit}");
        }
    }
    let bounds = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[
        {{"explicitBounds":[0{}]}}]}}}}]}}]}}]}}"#,
        ",0".repeat(100_000)
    );
    assert_eq!(to_protobuf(Signal::Metrics, bounds.as_bytes(), 1 << 16), Err(Fault::TooLarge));
}

#[test]
fn errors_are_short_however_long_what_the_sender_wrote() {
    let long = "ü".repeat(10_000);
    for text in [
        format!(r#"{{"{long}":tru}}"#),
        format!(r#"{{"resourceMetrics":"{long}"}}"#),
        format!(r#"{{"resourceMetrics":{}}}"#, "1".repeat(10_000)),
        format!(r#"{{"{}\ud83d":1}}"#, "\\u0041".repeat(10_000)),
        format!(r#"{{"a":1}} {long}"#),
    ] {
        let reason = refusal(metrics(&text));
        assert!(reason.len() <= 512, "{} bytes", reason.len());
    }
}
