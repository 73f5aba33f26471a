//! Attributes and their values, read in place.

use std::borrow::Cow;

use crate::wire::{Field, Fields, Malformed, Text, Value, delimited};

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

    /// Reads [`KeyValue`]s in one go, if all are written as encoders write them: a name, then an ASCII text or a plain
    /// number. `each` is told the name and where in [`Repeated::raw`] the message's tag stands, and whether to go on.
    ///
    /// `false` when one of them is anything else, which may be malformed, or when `each` said so: what `each` was told
    /// is void then. Where it is `true`, tags and lengths of the messages are as short as they can be.
    #[inline(always)]
    pub fn read_plain(&self, mut each: impl FnMut(&[u8], usize) -> bool) -> bool {
        let raw = self.raw();
        let Some(tag) = raw.first().copied() else { return true };
        if tag & 0x87 != 2 {
            return false;
        }
        // Bytes from 128 on that lengths and numbers account for. Texts are ASCII when there are no others, which one
        // look at all of it tells more cheaply than one at each text.
        let (mut rest, mut high) = (raw, 0);
        while let Some((plain, others)) = Plain::read(tag, rest) {
            high += plain.high;
            if !each(plain.key, raw.len() - rest.len()) {
                return false;
            }
            rest = others;
        }
        rest.is_empty() && high == high_in(raw)
    }
}

/// A [`KeyValue`] as encoders write it: a name, then a text or a plain number. Whether the texts are ASCII is not looked
/// at yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    /// How many bytes from 128 on there are if the texts are ASCII; where there are more, they are not, or a length is
    /// not written as shortly as it can be.
    pub(super) high: usize,
}

impl<'a> Plain<'a> {
    /// The message that begins with `tag`, and what follows it; `None` when it is anything else.
    #[inline(always)]
    pub(super) fn read(tag: u8, bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (message, others) = delimited(tag, bytes)?;
        let (key, value) = delimited(0x0a, message)?;
        let (value, []) = delimited(0x12, value)? else { return None };
        let lengths: usize = [message, key, value].map(|part| usize::from(part.len() >= 0x80)).iter().sum();
        Some((Self { key, value, high: lengths + high_in_plain(value)? }, others))
    }
}

/// How many bytes from 128 on stand in an `AnyValue` if its text is ASCII; `None` when it is neither text nor a plain
/// number, or is not written as shortly as it can be.
#[inline(always)]
fn high_in_plain(value: &[u8]) -> Option<usize> {
    match value {
        [0x0a, ..] => match delimited(0x0a, value)? {
            (text, []) => Some(usize::from(text.len() >= 0x80)),
            _ => None,
        },
        [0x18, low] | [0x10, low @ 0..=1] if *low < 0x80 => Some(0),
        [0x18, low, high] if *low >= 0x80 && *high < 0x80 => Some(1),
        [0x18, continued @ .., last] => {
            // Ten bytes hold 70 bits, of which a number has 64.
            let greatest = if continued.len() < 9 { 0x7f } else { 1 };
            let is_number = continued.len() <= 9 && *last <= greatest && continued.iter().all(|byte| *byte >= 0x80);
            is_number.then_some(continued.len())
        }
        [0x21, double @ ..] if double.len() == 8 => Some(high_in(double)),
        _ => None,
    }
}

/// How many of `bytes` are 128 or more.
#[inline]
pub(super) fn high_in(bytes: &[u8]) -> usize {
    const LANES: usize = 16;
    let (blocks, rest) = bytes.as_chunks::<LANES>();
    let mut count = rest.iter().map(|byte| usize::from(byte >> 7)).sum();
    // As many as the count of a lane can hold.
    for blocks in blocks.chunks(u8::MAX.into()) {
        let mut lanes = [0_u8; LANES];
        for block in blocks {
            for (lane, byte) in lanes.iter_mut().zip(block) {
                *lane += byte >> 7;
            }
        }
        count += lanes.iter().map(|lane| usize::from(*lane)).sum::<usize>();
    }
    count
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
    use crate::wire::tests::damaged;

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
            for odd in damaged(&bytes, &[0, 0x80, 0xff]) {
                assert_eq!(KeyValue::read(&odd), KeyValue::read_nested(&odd, MAX_NESTING), "{odd:?}");
            }
        }
    }

    /// Attributes with these values, as they stand in a list, and what reading them in one go tells of them.
    fn in_one_go(raw: &[u8]) -> Option<Vec<(Vec<u8>, usize)>> {
        let mut told = Vec::new();
        let is_plain = Repeated::new(Cow::Borrowed(raw)).read_plain(|key, tag| {
            told.push((key.to_vec(), tag));
            true
        });
        is_plain.then_some(told)
    }

    fn list(values: &[Sent]) -> Vec<u8> {
        let keys = ["k", "http.request.method"].into_iter().chain([128, 200].map(|n| &*"x".repeat(n).leak()));
        let values = keys.cycle().zip(values).map(|(key, value)| pair(key, value.clone())).collect();
        wire::KeyValueList { values }.encode_to_vec()
    }

    fn plain_values() -> Vec<Sent> {
        let texts = [1, 2, 100, 127, 128, 129, 300].map(|n| Sent::StringValue("x".repeat(n)));
        let numbers = [0, 1, 127, 128, 16_383, 16_384, 1 << 40, i64::MAX, -1, i64::MIN].map(Sent::IntValue);
        let others =
            [Sent::BoolValue(true), Sent::BoolValue(false), Sent::DoubleValue(-0.5), Sent::DoubleValue(f64::NAN)];
        texts.into_iter().chain(numbers).chain(others).collect()
    }

    #[test]
    fn plain_attributes_are_read_in_one_go() {
        for raw in [list(&plain_values()), Vec::new()] {
            let messages = Repeated::new(Cow::Borrowed(&raw));
            let places = messages.iter().map(|m| m.as_ptr().addr() - raw.as_ptr().addr());
            let starts = places.zip(messages.iter()).map(|(at, m)| at - 1 - (1 + usize::from(m.len() >= 0x80)));
            let keys = messages.iter().map(|m| KeyValue::read(m).expect("is well formed").key.bytes().to_vec());
            assert_eq!(in_one_go(&raw).expect("all are plain"), keys.zip(starts).collect::<Vec<_>>());
        }
        let others = [
            Sent::StringValue("\u{e4}".into()),
            Sent::StringValue("x".repeat(1 << 14)),
            Sent::BytesValue(vec![1]),
            Sent::ArrayValue(wire::ArrayValue::default()),
            Sent::StringValueStrindex(1),
        ];
        for other in others {
            assert_eq!(in_one_go(&list(&[Sent::IntValue(1), other.clone()])), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_read_in_one_go_is_what_is_read_one_by_one() {
        let raw = list(&plain_values());
        let mut plain = 0;
        for raw in damaged(&raw, &[0, 1, 2, 0x0a, 0x7f, 0x80, 0x81, 0xff]) {
            let Some(told) = in_one_go(&raw) else { continue };
            plain += 1;
            let (mut again, mut keys) = (Vec::new(), Vec::new());
            for message in Repeated::new(Cow::Borrowed(&raw)).iter() {
                keys.push((KeyValue::read(message).expect("is well formed").key.bytes().to_vec(), again.len()));
                crate::wire::put_bytes(u32::from(raw[0] >> 3), message, &mut again);
            }
            assert!((told, &raw) == (keys, &again), "{raw:?}");
        }
        assert!(plain > 1_000, "{plain}");
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
