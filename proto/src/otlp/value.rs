//! Attributes and their values, read in place.

use std::borrow::Cow;

use crate::wire::{Field, Fields, Malformed, Text, Value};

/// Arrays and maps within one another beyond which a value is refused; prost stops at about 45.
pub const MAX_NESTING: usize = 32;

/// `opentelemetry.proto.common.v1.AnyValue`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AnyValue<'a> {
    /// No value; a reference into a dictionary that requests do not carry counts as none.
    Unset,
    /// `string_value`.
    Text(Text<'a>),
    /// `bool_value`.
    Bool(bool),
    /// `int_value`.
    Int(i64),
    /// `double_value`.
    Double(f64),
    /// `array_value`.
    Array(Array<'a>),
    /// `kvlist_value`.
    Map(KeyValues<'a>),
    /// `bytes_value`.
    Bytes(&'a [u8]),
}

/// The elements of an array, which have been read once and are well formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a>(&'a [u8]);

/// The entries of a map, which have been read once and are well formed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyValues<'a>(&'a [u8]);

/// `opentelemetry.proto.common.v1.KeyValue`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyValue<'a> {
    /// The name.
    pub key: Text<'a>,
    /// The value.
    pub value: AnyValue<'a>,
    /// The whole message as it was sent.
    pub raw: &'a [u8],
}

impl<'a> KeyValue<'a> {
    /// Reads a `KeyValue` message and everything in it.
    ///
    /// # Errors
    /// [`Malformed`], also when a value nests deeper than [`MAX_NESTING`].
    #[inline(always)]
    pub fn read(raw: &'a [u8]) -> Result<Self, Malformed> {
        match Self::plain(raw) {
            Some(attribute) => Ok(attribute),
            None => Self::read_nested(raw, MAX_NESTING),
        }
    }

    /// What nearly every attribute is, written as encoders write it: a name, then a text or a small
    /// number. `None` for all others, and for what is malformed.
    #[inline(always)]
    fn plain(raw: &'a [u8]) -> Option<Self> {
        let (key, rest) = delimited(0x0a, raw)?;
        let (message, []) = delimited(0x12, rest)? else { return None };
        // One look at all of it is cheaper than one at each text. A length from 128 on is no ASCII.
        let is_ascii = raw.is_ascii();
        let text = |bytes| if is_ascii { Some(Text::ascii(bytes)) } else { Text::new(bytes) };
        let value = match *message {
            [0x18, low] if low < 0x80 => AnyValue::Int(i64::from(low)),
            [0x18, low, high] if low >= 0x80 && high < 0x80 => {
                AnyValue::Int(i64::from(low & 0x7f) | i64::from(high) << 7)
            }
            _ => match delimited(0x0a, message)? {
                (bytes, []) => AnyValue::Text(text(bytes)?),
                _ => return None,
            },
        };
        Some(Self { key: text(key)?, value, raw })
    }

    #[inline]
    fn read_nested(raw: &'a [u8], levels: usize) -> Result<Self, Malformed> {
        let mut fields = Fields::new("KeyValue", raw);
        let (mut key, mut value) = (Text::default(), AnyValue::Unset);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => key = fields.text(field.value)?,
                2 => value.merge(fields.bytes(field.value)?, levels)?,
                3 => drop(fields.int32(field.value)?),
                _ => {}
            }
        }
        Ok(Self { key, value, raw })
    }
}

/// The contents of a field that begins with `tag`, below 16 KiB, and what follows it.
#[inline(always)]
fn delimited(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [first, length, rest @ ..] if *first == tag && *length < 0x80 => rest.split_at_checked(usize::from(*length)),
        [first, low, high, rest @ ..] if *first == tag && *high < 0x80 => {
            rest.split_at_checked(usize::from(*low & 0x7f) | usize::from(*high) << 7)
        }
        _ => None,
    }
}

impl<'a> AnyValue<'a> {
    /// Reads an `AnyValue` message and everything in it.
    ///
    /// # Errors
    /// [`Malformed`], also when it nests deeper than [`MAX_NESTING`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut value = Self::Unset;
        value.merge(bytes, MAX_NESTING)?;
        Ok(value)
    }

    /// Takes in a message as protobuf merges messages: the last member of the oneof wins. Two arrays
    /// or two maps in a row would have to be joined; no encoder writes that, and it is refused.
    #[inline]
    pub(crate) fn merge(&mut self, bytes: &'a [u8], levels: usize) -> Result<(), Malformed> {
        let mut fields = Fields::new("AnyValue", bytes);
        while let Some(Field { number, value }) = fields.next()? {
            *self = match number {
                1 => Self::Text(fields.text(value)?),
                2 => Self::Bool(fields.varint_of(value)? != 0),
                3 => Self::Int(fields.varint_of(value)?.cast_signed()),
                4 => Self::Double(fields.double(value)?),
                5 if !matches!(self, Self::Array(_)) => Self::Array(Array::read(fields.bytes(value)?, levels)?),
                6 if !matches!(self, Self::Map(_)) => Self::Map(KeyValues::read(fields.bytes(value)?, levels)?),
                5 | 6 => return Err(fields.malformed("array or map is given twice")),
                7 => Self::Bytes(fields.bytes(value)?),
                8 => {
                    fields.int32(value)?;
                    Self::Unset
                }
                _ => continue,
            }
        }
        Ok(())
    }
}

impl<'a> Array<'a> {
    fn read(bytes: &'a [u8], levels: usize) -> Result<Self, Malformed> {
        let mut fields = Fields::new("ArrayValue", bytes);
        let levels = levels.checked_sub(1).ok_or_else(|| fields.malformed("nests too deeply"))?;
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                AnyValue::Unset.merge(fields.bytes(field.value)?, levels)?;
            }
        }
        Ok(Self(bytes))
    }

    /// The elements.
    pub fn iter(self) -> impl Iterator<Item = AnyValue<'a>> {
        elements("ArrayValue", self.0).filter_map(|element| AnyValue::read(element).ok())
    }
}

impl<'a> KeyValues<'a> {
    fn read(bytes: &'a [u8], levels: usize) -> Result<Self, Malformed> {
        let mut fields = Fields::new("KeyValueList", bytes);
        let levels = levels.checked_sub(1).ok_or_else(|| fields.malformed("nests too deeply"))?;
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                KeyValue::read_nested(fields.bytes(field.value)?, levels)?;
            }
        }
        Ok(Self(bytes))
    }

    /// The entries, as sent.
    pub fn iter(self) -> impl Iterator<Item = KeyValue<'a>> {
        elements("KeyValueList", self.0).filter_map(|element| KeyValue::read(element).ok())
    }
}

/// The values of field 1 of a message that is well formed.
fn elements<'a>(message: &'static str, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut fields = Fields::new(message, bytes);
    std::iter::from_fn(move || {
        loop {
            if let Field { number: 1, value: Value::Bytes(element) } = fields.next().ok()?? {
                return Some(element);
            }
        }
    })
}

/// The occurrences of one repeated message field, not looked into yet: attributes, exemplars,
/// events, links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repeated<'a> {
    raw: Cow<'a, [u8]>,
}

impl<'a> Repeated<'a> {
    pub(crate) fn new(raw: Cow<'a, [u8]>) -> Self {
        Self { raw }
    }

    /// The messages with their tags and lengths, one after the other. Equal bytes mean equal messages.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Each message.
    #[inline]
    #[must_use]
    pub fn iter(&self) -> Messages<'_> {
        Messages { rest: &self.raw }
    }
}

/// The messages of [`Repeated`]. A type with a name, because a closure here is called and not inlined, which
/// is a tenth of the time of spans with attributes.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        // All have the same tag, which is one byte for the fields of which there are many.
        let tag = *self.rest.first()?;
        match delimited(tag, self.rest) {
            Some((message, others)) if tag & 0x87 == 2 => {
                self.rest = others;
                Some(message)
            }
            _ => self.next_slowly(),
        }
    }
}

impl<'a> Messages<'a> {
    #[cold]
    fn next_slowly(&mut self) -> Option<&'a [u8]> {
        let mut fields = Fields::new("repeated field", self.rest);
        let Ok(Some(Field { value: Value::Bytes(message), .. })) = fields.next() else { return None };
        self.rest = &self.rest[fields.range().end..];
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1 as wire;
    use prost::Message as _;
    use wire::any_value::Value as Sent;

    use super::*;

    fn any(value: Sent) -> wire::AnyValue {
        wire::AnyValue { value: Some(value) }
    }

    fn pair(key: &str, value: Sent) -> wire::KeyValue {
        wire::KeyValue { key: key.into(), value: Some(any(value)), key_strindex: 0 }
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let text = Text::new(b"t").expect("is ASCII");
        for (sent, expected) in [
            (Sent::StringValue("t".into()), AnyValue::Text(text)),
            (Sent::BoolValue(true), AnyValue::Bool(true)),
            (Sent::IntValue(-3), AnyValue::Int(-3)),
            (Sent::DoubleValue(0.5), AnyValue::Double(0.5)),
            (Sent::BytesValue(vec![1, 255]), AnyValue::Bytes(&[1, 255])),
            (Sent::StringValueStrindex(4), AnyValue::Unset),
        ] {
            let bytes = pair("k", sent).encode_to_vec();
            let read = KeyValue::read(&bytes).expect("is well formed");
            assert_eq!((read.key.as_str(), read.value, read.raw), ("k", expected, &bytes[..]));
        }
    }

    #[test]
    fn the_short_way_reads_what_the_long_way_reads() {
        let texts = ["", "t", "\u{e4}"].map(str::to_owned).into_iter().chain([127, 128, 300].map(|n| "x".repeat(n)));
        let texts: Vec<String> = texts.collect();
        let numbers = [0, 1, 127, 128, 200, 16_383, 16_384, -1].map(Sent::IntValue);
        let values: Vec<Sent> = texts.iter().cloned().map(Sent::StringValue).chain(numbers).collect();
        for (key, value) in texts.iter().flat_map(|key| values.iter().map(move |value| (key, value))) {
            let bytes = pair(key, value.clone()).encode_to_vec();
            assert_eq!(KeyValue::read(&bytes), KeyValue::read_nested(&bytes, MAX_NESTING));
            for broken in (0..bytes.len()).flat_map(|i| [0, 0x80, 0xff].map(|b| (i, b))) {
                let mut odd = bytes.clone();
                odd[broken.0] = broken.1;
                assert_eq!(KeyValue::read(&odd), KeyValue::read_nested(&odd, MAX_NESTING), "{broken:?}");
                assert_eq!(KeyValue::read(&odd[..broken.0]), KeyValue::read_nested(&odd[..broken.0], MAX_NESTING));
            }
        }
    }

    #[test]
    fn texts_around_the_longest_that_the_short_way_takes_are_read_alike() {
        for length in 16_370..16_390 {
            let bytes = pair("k", Sent::StringValue("x".repeat(length))).encode_to_vec();
            assert_eq!(KeyValue::read(&bytes), KeyValue::read_nested(&bytes, MAX_NESTING), "{length}");
        }
    }

    #[test]
    fn arrays_and_maps_are_walked() {
        let list = wire::ArrayValue { values: vec![any(Sent::IntValue(1)), wire::AnyValue { value: None }] };
        let bytes = any(Sent::ArrayValue(list)).encode_to_vec();
        let Ok(AnyValue::Array(array)) = AnyValue::read(&bytes) else { unreachable!("is an array") };
        assert_eq!(array.iter().collect::<Vec<_>>(), [AnyValue::Int(1), AnyValue::Unset]);
        let map = wire::KeyValueList { values: vec![pair("a", Sent::BoolValue(false))] };
        let bytes = any(Sent::KvlistValue(map)).encode_to_vec();
        let Ok(AnyValue::Map(map)) = AnyValue::read(&bytes) else { unreachable!("is a map") };
        assert_eq!(
            map.iter().map(|kv| (kv.key.as_str(), kv.value)).collect::<Vec<_>>(),
            [("a", AnyValue::Bool(false))]
        );
    }

    fn nested(levels: usize) -> Vec<u8> {
        let mut value = any(Sent::IntValue(7));
        for _ in 0..levels {
            value = any(Sent::ArrayValue(wire::ArrayValue { values: vec![value] }));
        }
        value.encode_to_vec()
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(AnyValue::read(&nested(MAX_NESTING)).is_ok());
        let too_deep = nested(MAX_NESTING + 1);
        let fault = AnyValue::read(&too_deep).map_err(|e| e.to_string());
        assert_eq!(fault, Err("ArrayValue: nests too deeply".to_owned()));
    }

    #[test]
    fn the_last_member_of_a_oneof_wins_and_arrays_are_not_joined() {
        let twice =
            [any(Sent::IntValue(1)).encode_to_vec(), any(Sent::StringValue("x".into())).encode_to_vec()].concat();
        assert_eq!(AnyValue::read(&twice), Ok(AnyValue::Text(Text::new(b"x").expect("is ASCII"))));
        let arrays = [nested(1), nested(1)].concat();
        assert_eq!(AnyValue::read(&arrays).map_err(|e| e.fault), Err("array or map is given twice"));
    }

    #[test]
    fn what_is_not_utf8_or_of_a_wrong_type_is_refused() {
        assert_eq!(KeyValue::read(&[0x0a, 1, 0xff]).map_err(|e| e.fault), Err("text is not UTF-8"));
        assert!(KeyValue::read(&[0x08, 1]).is_err(), "a key that is a number");
        assert!(AnyValue::read(&[0x0a, 1, 0xff]).is_err());
    }
}
