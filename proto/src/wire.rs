//! Protobuf's wire format, field by field, over borrowed bytes.
//!
//! A reader over the raw bytes makes no struct that the bytes do not need: an empty message of two
//! bytes costs two bytes. Which field means what is said in `otlp`.
//!
//! Source: the Protocol Buffers documentation, "Encoding". Groups, which OTLP does not have, are
//! skipped as the unknown fields that they are.

use std::{borrow::Cow, ops::Range};

/// Groups within groups beyond which a message is refused.
const MAX_GROUPS: usize = 32;

/// The bytes are not such a message. Sending them again will not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {fault}")]
pub struct Malformed {
    /// The message type that was being read, such as `Span`.
    pub message: &'static str,
    /// What is wrong with it.
    pub fault: &'static str,
}

/// What stands in a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field<'a> {
    /// The field's number, at least 1.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
}

/// The fields of one message, in the order of the wire.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    message: &'static str,
    bytes: &'a [u8],
    at: usize,
    /// Where the field that was read last began.
    began: usize,
}

impl<'a> Fields<'a> {
    /// The fields of `bytes`, which hold a `message`.
    #[must_use]
    pub fn new(message: &'static str, bytes: &'a [u8]) -> Self {
        Self { message, bytes, at: 0, began: 0 }
    }

    /// The fields from byte `at` on, where one begins.
    #[inline]
    pub(crate) fn from(self, at: usize) -> Self {
        Self { at, ..self }
    }

    /// Where the field that was read last stands in the message, with its tag.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.began..self.at
    }

    /// The fault of this message.
    #[must_use]
    pub fn malformed(&self, fault: &'static str) -> Malformed {
        Malformed { message: self.message, fault }
    }

    /// The next field; `None` at the end.
    ///
    /// # Errors
    /// When the bytes end within a field, or a tag or a number is no such thing.
    #[inline(always)]
    #[expect(clippy::should_implement_trait, reason = "an iterator of results cannot be left by `?` as simply")]
    pub fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        loop {
            if self.at == self.bytes.len() {
                return Ok(None);
            }
            self.began = self.at;
            let (number, kind) = self.tag()?;
            if kind == 3 {
                self.skip_group(number)?;
                continue;
            }
            return Ok(Some(Field { number, value: self.value(kind)? }));
        }
    }

    /// Reads on over the fields that follow and have the same tag byte as the one read last, which
    /// was length-delimited and of a number below 16. Attributes come in such runs, and nobody needs
    /// them one by one to know where the run ends.
    ///
    /// # Errors
    /// When the bytes end within a field.
    #[inline]
    fn rest_of_run(&mut self, number: u32) -> Result<(), Malformed> {
        let tag = number << 3 | 2;
        while self.bytes.get(self.at).is_some_and(|byte| u32::from(*byte) == tag) {
            self.at += 1;
            let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
            if length > self.bytes.len() - self.at {
                return Err(self.malformed("ends within a field"));
            }
            self.at += length;
        }
        Ok(())
    }

    #[inline(always)]
    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| self.malformed("tag is too large"))?;
        let number = tag >> 3;
        if number == 0 {
            return Err(self.malformed("tag with field number 0"));
        }
        Ok((number, (tag & 7) as u8))
    }

    #[inline(always)]
    fn value(&mut self, kind: u8) -> Result<Value<'a>, Malformed> {
        Ok(match kind {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let rest = &self.bytes[self.at..];
                let length = usize::try_from(length).ok().filter(|l| *l <= rest.len());
                let length = length.ok_or_else(|| self.malformed("ends within a field"))?;
                self.at += length;
                Value::Bytes(&rest[..length])
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            4 => return Err(self.malformed("group ends that did not begin")),
            _ => return Err(self.malformed("unknown wire type")),
        })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let found = self.bytes[self.at..].first_chunk::<N>();
        let found = *found.ok_or_else(|| self.malformed("ends within a field"))?;
        self.at += N;
        Ok(found)
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes.get(self.at..) {
            Some([byte, ..]) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            Some([low, high, ..]) if *high < 0x80 => {
                self.at += 2;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (i, byte) in self.bytes[self.at..].iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                if i == 9 && *byte > 1 {
                    break;
                }
                self.at += i + 1;
                return Ok(value);
            }
        }
        let is_cut = self.bytes.len() - self.at < 10;
        Err(self.malformed(if is_cut { "ends within a field" } else { "number of more than 64 bits" }))
    }

    /// Skips a group whose start has been read.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<(), Malformed> {
        let mut open = [0; MAX_GROUPS];
        open[0] = number;
        let mut depth = 1;
        while depth > 0 {
            if self.at == self.bytes.len() {
                return Err(self.malformed("ends within a group"));
            }
            match self.tag()? {
                (number, 3) => {
                    *open.get_mut(depth).ok_or_else(|| self.malformed("groups nest too deeply"))? = number;
                    depth += 1;
                }
                (number, 4) if open[depth - 1] == number => depth -= 1,
                (_, kind) => drop(self.value(kind)?),
            }
        }
        Ok(())
    }
}

/// Reads a byte of each cache line, so that they all come near at once and not one after the other: where a field begins
/// is known only from the length of the one before. A twentieth of the time of spans with attributes.
#[inline]
pub(crate) fn touch(bytes: &[u8]) {
    const LINE: usize = 64;
    std::hint::black_box(bytes.iter().step_by(LINE).fold(0, |all, byte| all | byte));
}

/// The contents of a field that begins with `tag`, below 16 KiB, and what follows it.
#[inline(always)]
pub(crate) fn delimited(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [first, length, rest @ ..] if *first == tag && *length < 0x80 => rest.split_at_checked(usize::from(*length)),
        [first, low, high, rest @ ..] if *first == tag && *high < 0x80 => {
            rest.split_at_checked(usize::from(*low & 0x7f) | usize::from(*high) << 7)
        }
        _ => None,
    }
}

/// The same for a field of `N` bytes, below 128.
#[inline(always)]
pub(crate) fn exactly<const N: usize>(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match bytes {
        [first, length, rest @ ..] if *first == tag && usize::from(*length) == N => rest.split_at_checked(N),
        _ => None,
    }
}

/// The bits of a 64-bit field that begins with `tag`, and what follows it.
#[inline(always)]
pub(crate) fn fixed64(tag: u8, bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (number, rest) = rest.split_first_chunk()?;
    (*first == tag).then(|| (u64::from_le_bytes(*number), rest))
}

/// Whether `bytes` are fields that begin with `tag` only, each below 16 KiB.
#[inline]
pub(crate) fn is_run(tag: u8, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((_, others)) = delimited(tag, rest) {
        rest = others;
    }
    rest.is_empty()
}

/// Text that is known to be UTF-8, kept as bytes so that it need not be looked at again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// `bytes` as text, or `None` when they are not UTF-8.
    #[inline]
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        // Most texts are short and ASCII, for which this is the cheaper question.
        (bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()).then_some(Self(bytes))
    }

    /// Bytes that are known to be ASCII, or some of such bytes.
    #[inline]
    pub(crate) fn ascii(bytes: &'a [u8]) -> Self {
        debug_assert!(bytes.is_ascii());
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// As a string.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Reading a field as what the schema says it is.
impl<'a> Fields<'a> {
    /// A message or bytes.
    ///
    /// # Errors
    /// When the field is of another wire type.
    #[inline]
    pub fn bytes(&self, value: Value<'a>) -> Result<&'a [u8], Malformed> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.malformed("field of a wrong wire type, expected bytes")),
        }
    }

    /// Text.
    ///
    /// # Errors
    /// When the field is of another wire type, or is not UTF-8.
    #[inline]
    pub fn text(&self, value: Value<'a>) -> Result<Text<'a>, Malformed> {
        Text::new(self.bytes(value)?).ok_or_else(|| self.malformed("text is not UTF-8"))
    }

    /// A varint.
    ///
    /// # Errors
    /// When the field is of another wire type.
    #[inline]
    pub fn varint_of(&self, value: Value<'a>) -> Result<u64, Malformed> {
        match value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.malformed("field of a wrong wire type, expected a varint")),
        }
    }

    /// An `int32`, `uint32` or enum's number: the lower 32 bits of a varint.
    ///
    /// # Errors
    /// When the field is of another wire type.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "protobuf keeps the lower 32 bits")]
    pub fn int32(&self, value: Value<'a>) -> Result<i32, Malformed> {
        Ok((self.varint_of(value)? as u32).cast_signed())
    }

    /// A `fixed64`, `sfixed64` or `double`, as bits.
    ///
    /// # Errors
    /// When the field is of another wire type.
    #[inline]
    pub fn fixed64(&self, value: Value<'a>) -> Result<u64, Malformed> {
        match value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(self.malformed("field of a wrong wire type, expected 64 bits")),
        }
    }

    /// A `double`.
    ///
    /// # Errors
    /// When the field is of another wire type.
    #[inline]
    pub fn double(&self, value: Value<'a>) -> Result<f64, Malformed> {
        self.fixed64(value).map(f64::from_bits)
    }

    /// A `fixed32`.
    ///
    /// # Errors
    /// When the field is of another wire type.
    #[inline]
    pub fn fixed32(&self, value: Value<'a>) -> Result<u32, Malformed> {
        match value {
            Value::Fixed32(value) => Ok(value),
            _ => Err(self.malformed("field of a wrong wire type, expected 32 bits")),
        }
    }

    /// Appends the elements of a repeated 64-bit field, packed or single.
    ///
    /// # Errors
    /// When the field is of another wire type or not a whole number of elements.
    pub fn fixed64s(&self, value: Value<'a>, out: &mut Vec<u64>) -> Result<(), Malformed> {
        match value {
            Value::Fixed64(value) => out.push(value),
            Value::Bytes(packed) => {
                let (elements, rest) = packed.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(self.malformed("packed field is not a whole number of elements"));
                }
                out.extend(elements.iter().map(|e| u64::from_le_bytes(*e)));
            }
            _ => return Err(self.malformed("field of a wrong wire type, expected 64 bits")),
        }
        Ok(())
    }

    /// Appends the elements of a repeated varint field, packed or single.
    ///
    /// # Errors
    /// When the field is of another wire type or ends within a number.
    pub fn varints(&self, value: Value<'a>, out: &mut Vec<u64>) -> Result<(), Malformed> {
        match value {
            Value::Varint(value) => out.push(value),
            Value::Bytes(packed) => {
                let mut elements = Self::new(self.message, packed);
                while elements.at < packed.len() {
                    out.push(elements.varint()?);
                }
            }
            _ => return Err(self.malformed("field of a wrong wire type, expected varints")),
        }
        Ok(())
    }
}

/// The occurrences of one repeated field within a message: usually they stand side by side, and then
/// are one slice of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    start: usize,
    end: usize,
    is_scattered: bool,
}

impl Run {
    /// Notes where the field stands that was read last.
    #[inline]
    pub(crate) fn note(&mut self, fields: &Fields<'_>) {
        let Range { start, end } = fields.range();
        if self.end == 0 {
            self.start = start;
        } else if self.end != start {
            self.is_scattered = true;
        }
        self.end = end;
    }

    /// The same for a message field, and for those of its number that follow it at once.
    ///
    /// # Errors
    /// When it is of another wire type, or the bytes end within a field.
    #[inline]
    pub(crate) fn take(&mut self, field: Field<'_>, fields: &mut Fields<'_>) -> Result<(), Malformed> {
        let Value::Bytes(_) = field.value else {
            return Err(fields.malformed("field of a wrong wire type, expected a message"));
        };
        fields.rest_of_run(field.number)?;
        self.note(fields);
        Ok(())
    }

    /// All occurrences with their tags; copied only when others stand between them.
    #[inline]
    pub(crate) fn of<'a>(&self, number: u32, fields: &Fields<'a>) -> Cow<'a, [u8]> {
        if self.is_scattered {
            self.gathered(number, fields)
        } else {
            Cow::Borrowed(&fields.bytes[self.start..self.end])
        }
    }

    #[cold]
    fn gathered<'a>(&self, number: u32, fields: &Fields<'a>) -> Cow<'a, [u8]> {
        let mut gathered = Vec::new();
        let mut again = Fields { at: self.start, ..*fields };
        while again.at < self.end {
            // It was read once already, so it cannot fail.
            match again.next() {
                Ok(Some(field)) if field.number == number => gathered.extend(&fields.bytes[again.range()]),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        Cow::Owned(gathered)
    }
}

/// `value` as a varint: in groups of seven bits, the lowest first.
pub(crate) fn varint_into(buffer: &mut [u8; 10], mut value: u64) -> &[u8] {
    let mut length = 0;
    for byte in buffer.iter_mut() {
        length += 1;
        *byte = value.to_le_bytes()[0] | 0x80;
        value >>= 7;
        if value == 0 {
            *byte &= 0x7f;
            break;
        }
    }
    &buffer[..length]
}

/// Appends a varint.
#[inline]
pub fn put_varint(value: u64, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(byte @ ..0x80) => out.push(byte),
        _ => out.extend_from_slice(varint_into(&mut [0; 10], value)),
    }
}

/// Appends a length-delimited field.
pub fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | 2, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `bytes` with each of them changed to each of `others`, and cut before each.
    pub(crate) fn damaged<'a>(bytes: &'a [u8], others: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + 'a {
        (0..bytes.len()).flat_map(move |place| {
            let change = move |other: &u8| [&bytes[..place], &[*other], &bytes[place + 1..]].concat();
            others.iter().map(change).chain([bytes[..place].to_vec()])
        })
    }

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, &'static str> {
        let mut fields = Fields::new("M", bytes);
        let mut found = Vec::new();
        while let Some(field) = fields.next().map_err(|e| e.fault)? {
            found.push((field.number, field.value));
        }
        Ok(found)
    }

    #[test]
    fn every_wire_type_is_read() {
        let bytes =
            [&[0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21][..], &7_u64.to_le_bytes()].concat();
        let expected =
            [(1, Value::Varint(150)), (2, Value::Bytes(b"hi")), (3, Value::Fixed32(1)), (4, Value::Fixed64(7))];
        assert_eq!(all(&bytes).expect("is well formed"), expected);
    }

    #[test]
    fn groups_are_skipped_and_must_end() {
        assert_eq!(all(&[0x0b, 0x10, 1, 0x13, 0x14, 0x0c, 0x08, 5]), Ok(vec![(1, Value::Varint(5))]));
        assert_eq!(all(&[0x0b, 0x10, 1]), Err("ends within a group"));
        assert_eq!(all(&[0x0b, 0x14]), Err("group ends that did not begin"));
        assert_eq!(all(&[0x0c]), Err("group ends that did not begin"));
        assert_eq!(all(&[0x0b; 100]), Err("groups nest too deeply"));
    }

    #[test]
    fn what_is_no_field_is_said() {
        assert_eq!(all(&[0x00]), Err("tag with field number 0"));
        assert_eq!(all(&[0x0e, 0]), Err("unknown wire type"));
        assert_eq!(all(&[0x0a, 3, 1]), Err("ends within a field"));
        assert_eq!(all(&[0x09, 1, 2]), Err("ends within a field"));
        assert_eq!(all(&[0x08, 0x80]), Err("ends within a field"));
        assert_eq!(all(&[&[0x08][..], &[0xff; 10]].concat()), Err("number of more than 64 bits"));
        assert_eq!(all(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0]), Err("tag is too large"));
        let greatest = [&[0x08][..], &[0xff; 9], &[1]].concat();
        assert_eq!(all(&greatest), Ok(vec![(1, Value::Varint(u64::MAX))]));
    }

    #[test]
    fn a_run_is_a_slice_or_gathered() {
        let run_of = |bytes: &[u8]| {
            let mut fields = Fields::new("M", bytes);
            let mut run = Run::default();
            loop {
                match fields.next().expect("is well formed") {
                    Some(field) if field.number == 1 => run.note(&fields),
                    Some(_) => {}
                    None => return (run.is_scattered, run.of(1, &fields).into_owned()),
                }
            }
        };
        assert_eq!(run_of(&[0x10, 9, 0x08, 1, 0x08, 2, 0x10, 9]), (false, vec![0x08, 1, 0x08, 2]));
        assert_eq!(run_of(&[0x08, 1, 0x10, 9, 0x08, 2]), (true, vec![0x08, 1, 0x08, 2]));
        assert_eq!(run_of(&[0x10, 9]), (false, vec![]));
    }

    #[test]
    fn repeated_numbers_may_be_packed_or_not() {
        let fields = Fields::new("M", &[]);
        let mut out = Vec::new();
        fields.varints(Value::Bytes(&[1, 0x80, 1]), &mut out).expect("is packed");
        fields.varints(Value::Varint(7), &mut out).expect("is single");
        assert_eq!(out, [1, 128, 7]);
        assert!(fields.varints(Value::Bytes(&[0x80]), &mut out).is_err());
        assert!(fields.fixed64s(Value::Bytes(&[0; 9]), &mut out).is_err());
    }

    #[test]
    fn text_is_utf8() {
        assert_eq!(Text::new("\u{e4}".as_bytes()).map(Text::as_str), Some("\u{e4}"));
        assert_eq!(Text::new(b"\xff"), None);
    }
}
