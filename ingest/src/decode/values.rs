//! Attributes: their text, their canonical bytes for identity, and the bounds on them.

use std::borrow::Cow;

use proto::{
    base64,
    otlp::{AnyValue, KeyValue, Repeated, cut},
    wire::{Field, Fields, Malformed, Value},
};
use serde_json::json;

use super::Limits;

/// The attributes of `what`, in the order sent; or what is wrong with them. An attribute can be sent
/// in two bytes, so no more are kept than may be.
///
/// # Errors
/// When one of them is no attribute.
pub(super) fn read<'a>(
    what: &str,
    sent: &'a Repeated<'_>,
    limits: &Limits,
) -> Result<Result<Vec<KeyValue<'a>>, String>, Malformed> {
    let mut list = Vec::new();
    let mut count = 0;
    for raw in sent.iter() {
        let attribute = KeyValue::read(raw)?;
        count += 1;
        if count <= limits.attributes_per_item {
            list.push(attribute);
        }
    }
    Ok(match fault(what, count, &list, limits) {
        Some(fault) => Err(fault),
        None => Ok(list),
    })
}

/// Orders `list` by name; of equal names the first sent is kept. Returns how many others there were.
pub(super) fn sort(list: &mut Vec<KeyValue<'_>>) -> u64 {
    let sent = list.len();
    list.sort_by(|a, b| a.key.cmp(&b.key));
    list.dedup_by(|later, first| later.key == first.key);
    (sent - list.len()) as u64
}

/// What is wrong with the `count` attributes of `what`, if anything.
fn fault(what: &str, count: usize, list: &[KeyValue<'_>], limits: &Limits) -> Option<String> {
    if count > limits.attributes_per_item {
        return Some(too_many(what, count, limits));
    }
    let long = list.iter().find(|a| a.key.bytes().len() > limits.attribute_name_bytes)?;
    Some(long_name(what, long.key.as_str(), limits))
}

#[cold]
pub(super) fn too_many(what: &str, count: usize, limits: &Limits) -> String {
    format!("{what}: {count} attributes, the limit is {}", limits.attributes_per_item)
}

#[cold]
pub(super) fn long_name(what: &str, name: &str, limits: &Limits) -> String {
    let (length, limit) = (name.len(), limits.attribute_name_bytes);
    format!("{what}: attribute name of {length} bytes ({:?}...), the limit is {limit}", cut(name, 32))
}

/// The value as text, at most `limit` bytes: text as it is, numbers in decimal, bytes in base64,
/// arrays and maps as JSON, nothing as nothing.
pub(super) fn text<'a>(value: &AnyValue<'a>, limit: usize) -> Cow<'a, str> {
    let full: Cow<'a, str> = match value {
        AnyValue::Unset => Cow::Borrowed(""),
        AnyValue::Text(text) => Cow::Borrowed(text.as_str()),
        AnyValue::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
        AnyValue::Int(value) => Cow::Owned(value.to_string()),
        AnyValue::Double(value) => Cow::Owned(double(*value)),
        // Three bytes make four digits, so this much is enough for the cut below.
        AnyValue::Bytes(bytes) => Cow::Owned(base64::encode(&bytes[..bytes.len().min(limit)])),
        AnyValue::Array(_) | AnyValue::Map(_) => Cow::Owned(json_of(value).to_string()),
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

/// The attributes of an encoded `KeyValueList` or `Resource`, as windows keep them, as a JSON object: bytes in
/// base64, numbers that are not finite as text. What is malformed is left out.
#[must_use]
pub fn attributes_as_json(list: &[u8]) -> String {
    let mut object = serde_json::Map::new();
    let mut fields = Fields::new("KeyValueList", list);
    while let Ok(Some(field)) = fields.next() {
        if let Field { number: 1, value: Value::Bytes(entry) } = field
            && let Ok(entry) = KeyValue::read(entry)
        {
            object.entry(entry.key.as_str()).or_insert_with(|| json_of(&entry.value));
        }
    }
    serde_json::Value::Object(object).to_string()
}

/// Recursion is bounded: the reader refuses deep nesting.
fn json_of(value: &AnyValue<'_>) -> serde_json::Value {
    match value {
        AnyValue::Unset => serde_json::Value::Null,
        AnyValue::Text(text) => json!(text.as_str()),
        AnyValue::Bool(value) => json!(value),
        AnyValue::Int(value) => json!(value),
        AnyValue::Double(value) if value.is_finite() => json!(value),
        AnyValue::Double(value) => json!(double(*value)),
        AnyValue::Bytes(bytes) => json!(base64::encode(bytes)),
        AnyValue::Array(array) => array.iter().map(|v| json_of(&v)).collect(),
        AnyValue::Map(map) => {
            let mut object = serde_json::Map::new();
            for entry in map.iter() {
                object.entry(entry.key.as_str()).or_insert_with(|| json_of(&entry.value));
            }
            object.into()
        }
    }
}

/// Appends sorted attributes in a form in which no two different sets are alike: counts, lengths
/// and types before contents.
pub(super) fn canonical_sorted(list: &[KeyValue<'_>], out: &mut Vec<u8>) {
    length(list.len(), out);
    for attribute in list {
        bytes(attribute.key.bytes(), out);
        canonical_value(&attribute.value, out);
    }
}

fn canonical_value(value: &AnyValue<'_>, out: &mut Vec<u8>) {
    match value {
        AnyValue::Unset => out.push(0),
        AnyValue::Text(text) => {
            out.push(1);
            bytes(text.bytes(), out);
        }
        AnyValue::Bool(value) => out.extend([2, u8::from(*value)]),
        AnyValue::Int(value) => {
            out.push(3);
            out.extend(value.to_le_bytes());
        }
        AnyValue::Double(value) => {
            out.push(4);
            // There are many NaNs in binary, and one in JSON.
            let value = if value.is_nan() { f64::NAN } else { *value };
            out.extend(value.to_bits().to_le_bytes());
        }
        AnyValue::Array(array) => {
            out.push(5);
            length(array.iter().count(), out);
            array.iter().for_each(|v| canonical_value(&v, out));
        }
        AnyValue::Map(map) => {
            out.push(6);
            let mut entries: Vec<KeyValue<'_>> = map.iter().collect();
            sort(&mut entries);
            canonical_sorted(&entries, out);
        }
        AnyValue::Bytes(value) => {
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
    use opentelemetry_proto::tonic::common::v1 as wire;
    use prost::Message as _;
    use wire::any_value::Value;

    use super::*;

    fn any(value: Value) -> wire::AnyValue {
        wire::AnyValue { value: Some(value) }
    }

    fn pair(key: &str, value: Value) -> wire::KeyValue {
        wire::KeyValue { key: key.into(), value: Some(any(value)), key_strindex: 0 }
    }

    fn check_text(value: Value, limit: usize, expected: &str) {
        let bytes = any(value).encode_to_vec();
        assert_eq!(text(&AnyValue::read(&bytes).expect("is a value"), limit), expected);
    }

    #[test]
    fn every_kind_of_value_has_a_text() {
        check_text(Value::StringValue("a b".into()), 64, "a b");
        check_text(Value::BoolValue(true), 64, "true");
        check_text(Value::IntValue(-7), 64, "-7");
        check_text(Value::DoubleValue(0.5), 64, "0.5");
        check_text(Value::DoubleValue(f64::NEG_INFINITY), 64, "-Infinity");
        check_text(Value::BytesValue(vec![0xff, 0]), 64, "/wA=");
        let values = vec![any(Value::IntValue(1)), wire::AnyValue { value: None }, any(Value::DoubleValue(f64::NAN))];
        check_text(Value::ArrayValue(wire::ArrayValue { values }), 64, r#"[1,null,"NaN"]"#);
        let values = vec![pair("k", Value::StringValue("v\"".into()))];
        check_text(Value::KvlistValue(wire::KeyValueList { values }), 64, r#"{"k":"v\""}"#);
        assert_eq!(text(&AnyValue::Unset, 64), "");
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        check_text(Value::StringValue("\u{e4}".repeat(100)), 5, "\u{e4}\u{e4}");
        check_text(Value::BytesValue(vec![0; 1000]), 6, "AAAAAA");
    }

    #[test]
    fn kept_attributes_are_shown_as_an_object_and_what_is_malformed_is_left_out() {
        let nested = Value::ArrayValue(wire::ArrayValue { values: vec![any(Value::BoolValue(true))] });
        let values = vec![pair("b", nested), pair("a", Value::IntValue(1)), pair("a", Value::IntValue(2))];
        let mut list = wire::KeyValueList { values }.encode_to_vec();
        assert_eq!(attributes_as_json(&list), r#"{"a":1,"b":[true]}"#);
        list.extend([0x0a, 0x02, 0x12, 0x7f]);
        assert_eq!(attributes_as_json(&list), r#"{"a":1,"b":[true]}"#);
        assert_eq!(attributes_as_json(b"\xff\xff"), "{}");
        assert_eq!(attributes_as_json(b""), "{}");
    }

    fn key(attributes: &[wire::KeyValue]) -> Vec<u8> {
        let encoded: Vec<Vec<u8>> = attributes.iter().map(prost::Message::encode_to_vec).collect();
        let mut list: Vec<_> = encoded.iter().map(|a| KeyValue::read(a).expect("is an attribute")).collect();
        sort(&mut list);
        let mut out = Vec::new();
        canonical_sorted(&list, &mut out);
        out
    }

    #[test]
    fn types_and_borders_are_part_of_identity() {
        let text = |k: &str, v: &str| pair(k, Value::StringValue(v.into()));
        assert_ne!(key(&[text("ab", "c")]), key(&[text("a", "bc")]));
        assert_ne!(key(&[text("a", "1")]), key(&[pair("a", Value::IntValue(1))]));
        assert_ne!(key(&[]), key(&[text("", "")]));
        let not_a_number = |bits| key(&[pair("a", Value::DoubleValue(f64::from_bits(bits)))]);
        assert_eq!(not_a_number(0x7ff8_0000_0000_0000), not_a_number(0xfff8_0000_0000_0001));
        assert_eq!(key(&[text("a", "1"), text("b", "2")]), key(&[text("b", "2"), text("a", "1")]));
        assert_eq!(key(&[text("a", "1"), text("a", "2")]), key(&[text("a", "1")]), "the first of equal names is kept");
    }
}
