//! Attributes: their text, their canonical bytes for identity, and the bounds on them.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use proto::{base64, otlp::cut};
use serde_json::json;

use super::Limits;

/// `attributes` by name, in `order`; of equal names the first sent is kept.
pub(super) fn sort_into<'a>(attributes: &'a [KeyValue], order: &mut Vec<&'a KeyValue>) {
    order.clear();
    order.extend(attributes);
    order.sort_by(|a, b| a.key.cmp(&b.key));
    order.dedup_by(|later, first| later.key == first.key);
}

/// What is wrong with the attributes of `what`, if anything.
pub(super) fn fault(what: &str, attributes: &[KeyValue], limits: &Limits) -> Option<String> {
    if attributes.len() > limits.attributes_per_item {
        let limit = limits.attributes_per_item;
        return Some(format!("{what}: {} attributes, the limit is {limit}", attributes.len()));
    }
    let limit = limits.attribute_name_bytes;
    let long = attributes.iter().find(|a| a.key.len() > limit)?;
    Some(format!(
        "{what}: attribute name of {} bytes ({:?}...), the limit is {limit}",
        long.key.len(),
        cut(&long.key, 32)
    ))
}

/// The value as text, at most `limit` bytes: text as it is, numbers in decimal, bytes in base64,
/// arrays and maps as JSON, nothing as nothing.
pub(super) fn text(value: Option<&AnyValue>, limit: usize) -> Cow<'_, str> {
    let full: Cow<'_, str> = match value.and_then(|v| v.value.as_ref()) {
        None | Some(Value::StringValueStrindex(_)) => Cow::Borrowed(""),
        Some(Value::StringValue(text)) => Cow::Borrowed(text),
        Some(Value::BoolValue(value)) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Some(Value::IntValue(value)) => Cow::Owned(value.to_string()),
        Some(Value::DoubleValue(value)) => Cow::Owned(double(*value)),
        // Three bytes make four digits, so this much is enough for the cut below.
        Some(Value::BytesValue(bytes)) => Cow::Owned(base64::encode(&bytes[..bytes.len().min(limit)])),
        Some(value @ (Value::ArrayValue(_) | Value::KvlistValue(_))) => Cow::Owned(json_of(value).to_string()),
    };
    match full {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text, limit)),
        Cow::Owned(mut text) => {
            text.truncate(cut(&text, limit).len());
            Cow::Owned(text)
        }
    }
}

fn double(value: f64) -> String {
    match value {
        v if v.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        v => v.to_string(),
    }
}

/// Recursion is bounded: the readers refuse deep nesting.
fn json_of(value: &Value) -> serde_json::Value {
    let inner = |v: Option<&AnyValue>| v.and_then(|v| v.value.as_ref()).map_or(serde_json::Value::Null, json_of);
    match value {
        Value::StringValue(text) => json!(text),
        Value::BoolValue(value) => json!(value),
        Value::IntValue(value) => json!(value),
        Value::DoubleValue(value) if value.is_finite() => json!(value),
        Value::DoubleValue(value) => json!(double(*value)),
        Value::BytesValue(bytes) => json!(base64::encode(bytes)),
        Value::ArrayValue(array) => array.values.iter().map(|v| inner(Some(v))).collect(),
        Value::KvlistValue(list) => {
            let mut map = serde_json::Map::new();
            for kv in &list.values {
                map.entry(kv.key.as_str()).or_insert_with(|| inner(kv.value.as_ref()));
            }
            map.into()
        }
        Value::StringValueStrindex(_) => serde_json::Value::Null,
    }
}

/// Appends sorted attributes in a form in which no two different sets are alike: counts, lengths
/// and types before contents.
pub(super) fn canonical_sorted(order: &[&KeyValue], out: &mut Vec<u8>) {
    length(order.len(), out);
    for attribute in order {
        bytes(attribute.key.as_bytes(), out);
        canonical_value(attribute.value.as_ref().and_then(|v| v.value.as_ref()), out);
    }
}

/// Appends attributes in the same form, whatever their order.
pub(super) fn canonical(attributes: &[KeyValue], out: &mut Vec<u8>) {
    let mut order = Vec::with_capacity(attributes.len());
    sort_into(attributes, &mut order);
    canonical_sorted(&order, out);
}

fn canonical_value(value: Option<&Value>, out: &mut Vec<u8>) {
    match value {
        // References into a dictionary that OTLP's requests do not carry count as absent.
        None | Some(Value::StringValueStrindex(_)) => out.push(0),
        Some(Value::StringValue(text)) => {
            out.push(1);
            bytes(text.as_bytes(), out);
        }
        Some(Value::BoolValue(value)) => out.extend([2, u8::from(*value)]),
        Some(Value::IntValue(value)) => {
            out.push(3);
            out.extend(value.to_le_bytes());
        }
        Some(Value::DoubleValue(value)) => {
            out.push(4);
            out.extend(value.to_bits().to_le_bytes());
        }
        Some(Value::ArrayValue(array)) => {
            out.push(5);
            length(array.values.len(), out);
            array.values.iter().for_each(|v| canonical_value(v.value.as_ref(), out));
        }
        Some(Value::KvlistValue(list)) => {
            out.push(6);
            canonical(&list.values, out);
        }
        Some(Value::BytesValue(value)) => {
            out.push(7);
            bytes(value, out);
        }
    }
}

/// Appends `text`'s length and contents.
pub(super) fn bytes(text: &[u8], out: &mut Vec<u8>) {
    length(text.len(), out);
    out.extend(text);
}

fn length(length: usize, out: &mut Vec<u8>) {
    out.extend((length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn pair(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.into(), value: Some(any(value)), key_strindex: 0 }
    }

    fn check_text(value: Value, expected: &str) {
        assert_eq!(text(Some(&any(value)), 64), expected);
    }

    #[test]
    fn every_kind_of_value_has_a_text() {
        check_text(Value::StringValue("a b".into()), "a b");
        check_text(Value::BoolValue(true), "true");
        check_text(Value::IntValue(-7), "-7");
        check_text(Value::DoubleValue(0.5), "0.5");
        check_text(Value::DoubleValue(f64::NEG_INFINITY), "-Infinity");
        check_text(Value::BytesValue(vec![0xff, 0]), "/wA=");
        let list = vec![any(Value::IntValue(1)), AnyValue { value: None }, any(Value::DoubleValue(f64::NAN))];
        check_text(Value::ArrayValue(ArrayValue { values: list }), r#"[1,null,"NaN"]"#);
        let map = vec![pair("k", Value::StringValue("v\"".into()))];
        check_text(Value::KvlistValue(KeyValueList { values: map }), r#"{"k":"v\""}"#);
        assert_eq!(text(None, 64), "");
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let value = any(Value::StringValue("\u{e4}".repeat(100)));
        assert_eq!(text(Some(&value), 5), "\u{e4}\u{e4}");
        let value = any(Value::BytesValue(vec![0; 1000]));
        assert_eq!(text(Some(&value), 6), "AAAAAA");
    }

    #[test]
    fn types_and_borders_are_part_of_identity() {
        let key = |attributes: &[KeyValue]| {
            let mut out = Vec::new();
            canonical(attributes, &mut out);
            out
        };
        let text = |k: &str, v: &str| pair(k, Value::StringValue(v.into()));
        assert_ne!(key(&[text("ab", "c")]), key(&[text("a", "bc")]));
        assert_ne!(key(&[text("a", "1")]), key(&[pair("a", Value::IntValue(1))]));
        assert_ne!(key(&[]), key(&[text("", "")]));
        assert_eq!(key(&[text("a", "1"), text("a", "2")]), key(&[text("a", "1")]), "the first of equal names is kept");
    }
}
