//! Attributes as the window keeps them: an encoded `KeyValueList`, or a `Resource`, which begins the same way.
//!
//! Field 1 holds pairs of a key (1) and a value (2). A value that is text has it in its field 1, a truth value in 2, a
//! whole number in 3. (Source: opentelemetry-proto, `common/v1/common.proto`.)

use std::borrow::Cow;

/// The pairs of an encoded list: keys, and values still encoded. Ends at the first thing that is no pair.
pub(crate) fn pairs(mut list: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (1, mut fields) = next_field(&mut list)? else { return None };
        let (mut key, mut value) = (&[][..], &[][..]);
        while let Some((number, bytes)) = next_field(&mut fields) {
            match number {
                1 => key = bytes,
                2 => value = bytes,
                _ => {}
            }
        }
        Some((key, value))
    })
}

/// An encoded value in words, if it is text, a truth value or a whole number.
pub(crate) fn scalar(mut value: &[u8]) -> Option<Cow<'_, str>> {
    if let Some((number, text)) = next_field(&mut value) {
        return std::str::from_utf8(text).ok().filter(|text| number == 1 && !text.is_empty()).map(Cow::Borrowed);
    }
    match (varint(&mut value)?, varint(&mut value)?) {
        (0x10, truth) => Some(Cow::Borrowed(if truth == 0 { "false" } else { "true" })),
        (0x18, number) => Some(Cow::Owned(number.cast_signed().to_string())),
        _ => None,
    }
}

/// The next field if it holds bytes; none at the end, or before anything else, which is not skipped.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let mut at = *bytes;
    let tag = varint(&mut at)?;
    if tag & 7 != 2 {
        return None;
    }
    let length = usize::try_from(varint(&mut at)?).ok()?;
    let (field, rest) = at.split_at_checked(length)?;
    *bytes = rest;
    Some((tag >> 3, field))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// {"a": 7, "peer.service": "tax", "b": true}
    const LIST: &[u8] =
        b"\x0a\x07\x0a\x01a\x12\x02\x18\x07\x0a\x15\x0a\x0cpeer.service\x12\x05\x0a\x03tax\x0a\x07\x0a\x01b\x12\x02\x10\x01";

    #[test]
    fn scalars_are_read_and_nonsense_is_none() {
        let read: Vec<String> = pairs(LIST)
            .map(|(key, value)| format!("{}={}", String::from_utf8_lossy(key), scalar(value).unwrap_or_default()))
            .collect();
        assert_eq!(read, ["a=7", "peer.service=tax", "b=true"]);
        for cut in 0..LIST.len() {
            pairs(&LIST[..cut]).for_each(|(_, value)| drop(scalar(value)));
        }
        assert_eq!(pairs(&[0xff; 20]).count(), 0);
        assert_eq!((scalar(&[0x21, 0, 0, 0, 0, 0, 0, 0, 0]), scalar(b"\x2a\x00"), scalar(b"")), (None, None, None));
    }
}
