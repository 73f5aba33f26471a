//! How the attributes of one item were written, so that those of the next are read by comparing.
//!
//! Items that come one after the other mostly have the same names in the same order, and values of the same lengths: then
//! all that comes before a value is equal byte by byte, and where the next attribute begins is known before it is read.

use super::value::{Plain, Repeated, high_in};
use crate::wire::delimited;

/// Most bytes of an attribute that come before its text: tags, lengths and the name.
const HEAD: usize = 64;
/// Attributes of the shape that an item may be without.
const MISSING: usize = 2;

/// The attributes of an item, and where those of the item stand that was compared with it last.
#[derive(Debug)]
pub struct Shape {
    parts: Vec<Part>,
    tags: Vec<usize>,
}

/// One attribute.
#[derive(Debug)]
struct Part {
    /// What comes before the text; all of it if the value is no text.
    head: [u8; HEAD],
    head_length: usize,
    /// Where in the head the name stands.
    key: (usize, usize),
    length: usize,
    /// Bytes from 128 on, if the texts are ASCII.
    high: usize,
}

impl Shape {
    /// The shape of [`KeyValue`](super::KeyValue)s that [`Repeated::read_plain`] reads; `None` for others, and where a
    /// name or a number takes too many bytes.
    #[must_use]
    pub fn of(attributes: &Repeated<'_>) -> Option<Self> {
        let raw = attributes.raw();
        let (mut parts, mut rest) = (Vec::new(), raw);
        while !rest.is_empty() {
            let (part, others) = Part::read(rest)?;
            parts.push(part);
            rest = others;
        }
        let mut shape = Self { parts, tags: Vec::new() };
        shape.fits(attributes).then_some(shape)
    }

    /// Whether these attributes have names of the shape, in the same order, and [`Repeated::read_plain`] reads them: what
    /// it would tell of them is then [`Shape::tags`].
    #[inline]
    pub fn fits(&mut self, attributes: &Repeated<'_>) -> bool {
        let raw = attributes.raw();
        let (mut rest, mut high, mut missing) = (raw, 0, 0);
        self.tags.clear();
        for part in &self.parts {
            if rest.is_empty() {
                break;
            }
            let Some((others, high_in_part)) = part.skip(rest) else {
                missing += 1;
                if missing > MISSING {
                    return false;
                }
                continue;
            };
            self.tags.push(raw.len() - rest.len());
            high += high_in_part;
            rest = others;
        }
        rest.is_empty() && high == high_in(raw)
    }

    /// Where in [`Repeated::raw`] the tags of the attributes stand that fitted last.
    #[must_use]
    pub fn tags(&self) -> &[usize] {
        &self.tags
    }
}

impl Part {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (plain, others) = Plain::read(*bytes.first()?, bytes)?;
        let length = bytes.len() - others.len();
        // A text stands at the end.
        let text = delimited(0x0a, plain.value).map_or(0, |(text, _)| text.len());
        let head_length = length - text;
        let mut head = [0; HEAD];
        head.get_mut(..head_length)?.copy_from_slice(&bytes[..head_length]);
        let place = plain.key.as_ptr().addr() - bytes.as_ptr().addr();
        let key = (place, place + plain.key.len());
        Some((Self { head, head_length, key, length, high: plain.high }, others))
    }

    /// What follows this attribute in `bytes`, and how many bytes from 128 on it has; `None` when another one stands
    /// there.
    #[inline(always)]
    fn skip<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], usize)> {
        if bytes.get(..self.head_length) == self.head.get(..self.head_length) {
            return bytes.get(self.length..).map(|others| (others, self.high));
        }
        // Of another length, or another number.
        let (plain, others) = Plain::read(self.head[0], bytes)?;
        (Some(plain.key) == self.head.get(self.key.0..self.key.1)).then_some((others, plain.high))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, KeyValueList, any_value::Value};
    use prost::Message as _;

    use super::*;
    use crate::wire::tests::damaged;

    fn list(attributes: &[(&str, Value)]) -> Vec<u8> {
        let pair = |(key, value): &(&str, Value)| KeyValue {
            key: (*key).into(),
            value: Some(AnyValue { value: Some(value.clone()) }),
            key_strindex: 0,
        };
        KeyValueList { values: attributes.iter().map(pair).collect() }.encode_to_vec()
    }

    fn text(length: usize) -> Value {
        Value::StringValue("x".repeat(length))
    }

    fn usual() -> Vec<(&'static str, Value)> {
        vec![
            ("http.route", text(7)),
            ("http.response.status_code", Value::IntValue(200)),
            ("url.full", text(127)),
            ("k", text(0)),
            ("load", Value::DoubleValue(-0.5)),
            ("cached", Value::BoolValue(true)),
            ("user", text(1)),
        ]
    }

    /// Names of attributes and where their tags stand, as [`Repeated::read_plain`] tells them.
    fn told(raw: &[u8]) -> Option<(Vec<Vec<u8>>, Vec<usize>)> {
        let (mut names, mut tags) = (Vec::new(), Vec::new());
        let is_plain = Repeated::new(Cow::Borrowed(raw)).read_plain(|key, tag| {
            names.push(key.to_vec());
            tags.push(tag);
            true
        });
        is_plain.then_some((names, tags))
    }

    /// Whether `raw` fits `shape`, which is of attributes with these `names`. If so, it has to be what reading it tells.
    fn fits(shape: &mut Shape, names: &[Vec<u8>], raw: &[u8]) -> bool {
        let fits = shape.fits(&Repeated::new(Cow::Borrowed(raw)));
        if fits {
            let (found, tags) = told(raw).expect("what fits is plain");
            let mut left = names.iter();
            assert!(found.iter().all(|name| left.any(|known| known == name)), "{raw:?}: {found:?}");
            assert_eq!(shape.tags(), tags, "{raw:?}");
        }
        fits
    }

    fn shape(raw: &[u8]) -> (Shape, Vec<Vec<u8>>) {
        let shape = Shape::of(&Repeated::new(Cow::Borrowed(raw))).expect("is plain");
        (shape, told(raw).expect("is plain").0)
    }

    #[test]
    fn items_with_the_same_names_fit_whatever_their_values() {
        let (mut shape, names) = shape(&list(&usual()));
        let values = [text(0), text(7), text(127), text(128), text(300), Value::IntValue(-1), Value::DoubleValue(2.0)];
        for (place, value) in (0..names.len()).flat_map(|place| values.iter().map(move |value| (place, value))) {
            let mut attributes = usual();
            attributes[place].1 = value.clone();
            let raw = list(&attributes);
            assert!(fits(&mut shape, &names, &raw), "{attributes:?}");
            assert!(fits(&mut shape, &names, &list(&usual())), "is as before");
        }
    }

    #[test]
    fn some_may_be_missing_and_none_may_be_new_or_elsewhere() {
        let (mut shape, names) = shape(&list(&usual()));
        let mut is = |attributes: &[(&str, Value)]| fits(&mut shape, &names, &list(attributes));
        assert!(is(&[]) && is(&usual()[..4]) && is(&usual()[2..]) && !is(&usual()[3..]));
        let mut swapped = usual();
        swapped.swap(1, 2);
        let twice = [&usual()[..2], &usual()[1..]].concat();
        let other = [&usual()[..], &[("new", text(1))]].concat();
        let accented = [&usual()[..6], &[("user", Value::StringValue("\u{e4}".into()))]].concat();
        for attributes in [swapped, twice, other, accented] {
            assert!(!is(&attributes), "{attributes:?}");
        }
    }

    #[test]
    fn bytes_that_fit_are_those_that_are_read_so() {
        let raw = list(&usual());
        let (mut shape, names) = shape(&raw);
        let others = [0, 1, 2, 0x0a, 0x12, 0x7f, 0x80, 0x81, 0xff];
        let fitting = damaged(&raw, &others).filter(|raw| fits(&mut shape, &names, raw)).count();
        assert!(fitting > 100, "{fitting}");
    }

    #[test]
    fn there_is_no_shape_of_what_is_not_plain_or_of_long_names() {
        let of = |attributes: &[(&str, Value)]| Shape::of(&Repeated::new(Cow::Owned(list(attributes)))).is_some();
        assert!(of(&usual()) && of(&[]) && of(&[(&"n".repeat(HEAD - 8), text(9))]));
        for odd in [Value::BytesValue(vec![1]), Value::StringValue("\u{e4}".into())] {
            assert!(!of(&[("k", text(1)), ("k", odd.clone())]), "{odd:?}");
        }
        assert!(!of(&[(&"n".repeat(HEAD), text(1))]));
    }
}
