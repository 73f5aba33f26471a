//! Walks a text along the tables and writes protobuf.

use super::{
    number::{self, Whole},
    output::{Output, Value},
    shapes::{Field, Kind, Number, Presence, Shape},
    stop::{Done, Step, Stop},
    text::{Raw, Text, shorten, unescape},
};
use crate::base64;

/// No key of ours is longer with every character escaped, so a longer one is not worth decoding.
const MAX_ESCAPED_KEY: usize = 6 * 32;

/// Rewrites the one message that `text` holds.
pub(super) fn request(shape: &'static Shape, text: &[u8], limit: usize) -> Done<Vec<u8>> {
    // Protobuf takes some 40 % of what JSON takes.
    let mut transcoder = Transcoder { text: Text::new(text), out: Output::new(text.len() / 2, limit) };
    transcoder.message(shape)?;
    transcoder.text.end()?;
    transcoder.out.finish()
}

struct Transcoder<'a> {
    text: Text<'a>,
    out: Output,
}

/// What of an object has been read so far.
struct Members {
    /// A bit for each field, by its place in the table.
    seen: u32,
    /// The member of the oneof that was given.
    chosen: Option<&'static str>,
    /// Where the next key is expected in the table: senders mostly keep to one order.
    next: usize,
    /// Number of the field that was given last.
    last: u8,
    /// Whether the fields were given in the order of their numbers.
    is_ordered: bool,
}

impl Members {
    fn new() -> Self {
        Self { seen: 0, chosen: None, next: 0, last: 0, is_ordered: true }
    }

    /// Notes that a value is given for the field at `index`, and says whether one had been before.
    fn note(&mut self, field: &Field, index: usize) -> Done<bool> {
        let was_given = self.seen & (1 << index) != 0;
        self.seen |= 1 << index;
        self.is_ordered &= field.number >= self.last;
        self.last = field.number;
        if field.presence == Presence::OneOf {
            let chosen = *self.chosen.get_or_insert(field.key);
            if chosen != field.key {
                let both = format!("expected only one of {chosen} and {}, found both", field.key);
                return Err(Stop::wrong(both));
            }
        }
        if was_given && matches!(field.kind, Kind::Message(_)) {
            return Err(Stop::wrong(format!("expected {} once, found it twice", field.key)));
        }
        Ok(was_given)
    }
}

impl<'a> Transcoder<'a> {
    /// An object, into the message that was begun.
    fn message(&mut self, shape: &'static Shape) -> Done {
        self.text.open(b'{', "an object")?;
        let (mut members, start) = (Members::new(), self.out.position());
        while let Some(raw) = self.text.key()? {
            let Some((index, field)) = find(shape, raw, members.next)? else {
                self.text.skip().map_err(|stop| stop.within(Step::Unknown(shorten(raw.text).into_owned())))?;
                continue;
            };
            members.next = index + 1;
            if self.text.peek() == Some(b'n') && self.text.word("null") {
                continue;
            }
            let was_given = members.note(field, index)?;
            self.value(field, was_given).map_err(|stop| stop.within(Step::Key(field.key)))?;
        }
        if !members.is_ordered {
            self.out.order_since(start);
        }
        Ok(())
    }

    /// The value of a key. What was given before has to be overwritten, even by the type's default.
    fn value(&mut self, field: &'static Field, was_given: bool) -> Done {
        let is_kept = was_given || field.presence != Presence::Implicit;
        match field.kind {
            Kind::Text => {
                let raw = self.text.string("a string")?;
                if is_kept || !raw.text.is_empty() { self.string(field.number, raw) } else { Ok(()) }
            }
            Kind::Id => self.id(field.number, is_kept),
            Kind::Base64 => self.bytes(field.number, is_kept),
            Kind::Number(kind) => {
                let value = self.number(kind)?;
                if is_kept || !value.is_default() {
                    self.out.field(field.number, value);
                }
                self.out.check(0)
            }
            Kind::Message(shape) => self.nested(field.number, shape),
            Kind::Messages(shape) => self.list(|reader| reader.nested(field.number, shape)),
            Kind::Texts => self.list(|reader| {
                let raw = reader.text.string("a string")?;
                reader.string(field.number, raw)
            }),
            Kind::Numbers(kind) => self.packed(field.number, kind),
        }
    }

    fn list(&mut self, mut element: impl FnMut(&mut Self) -> Done) -> Done {
        self.text.open(b'[', "an array")?;
        let mut index = 0;
        while self.text.advance(b']')? {
            element(self).map_err(|stop| stop.within(Step::Index(index)))?;
            index += 1;
        }
        Ok(())
    }

    fn nested(&mut self, number: u8, shape: &'static Shape) -> Done {
        let mark = self.out.begin(number);
        self.message(shape)?;
        self.out.end(mark);
        self.out.check(0)
    }

    fn packed(&mut self, number: u8, kind: Number) -> Done {
        let mark = self.out.begin(number);
        self.list(|reader| {
            let value = reader.number(kind)?;
            reader.out.value(value);
            reader.out.check(0)
        })?;
        if self.out.is_empty_since(mark) {
            self.out.cancel(mark);
        } else {
            self.out.end(mark);
        }
        Ok(())
    }

    fn string(&mut self, number: u8, raw: Raw<'a>) -> Done {
        if !raw.has_escapes {
            return self.out.blob(number, raw.text.as_bytes());
        }
        let mark = self.out.begin(number);
        unescape(raw.text, |piece| self.out.append(piece.as_bytes()))?;
        self.out.end(mark);
        Ok(())
    }

    fn id(&mut self, number: u8, is_kept: bool) -> Done {
        const EXPECTED: &str = "an id in hex, two digits for each byte and no prefix";
        let place = self.text.place();
        let digits = self.text.string(EXPECTED)?.decoded()?;
        if digits.is_empty() && !is_kept {
            return Ok(());
        }
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        self.out.check(pairs.len())?;
        let mark = self.out.begin(number);
        for [high, low] in pairs {
            let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(self.not(place, EXPECTED)) };
            self.out.push(high << 4 | low);
        }
        if !rest.is_empty() {
            return Err(self.not(place, EXPECTED));
        }
        self.out.end(mark);
        Ok(())
    }

    fn bytes(&mut self, number: u8, is_kept: bool) -> Done {
        const EXPECTED: &str = "bytes in base64";
        let place = self.text.place();
        let digits = self.text.string(EXPECTED)?.decoded()?;
        if digits.is_empty() && !is_kept {
            return Ok(());
        }
        self.out.check(digits.len() / 4 * 3)?;
        match base64::decode(&digits) {
            Some(bytes) => self.out.blob(number, &bytes),
            None => Err(self.not(place, EXPECTED)),
        }
    }

    fn number(&mut self, kind: Number) -> Done<Value> {
        match kind {
            Number::Bool if self.text.word("true") => Ok(Value::Varint(1)),
            Number::Bool if self.text.word("false") => Ok(Value::Varint(0)),
            Number::Bool => Err(self.text.expected("true or false")),
            Number::Double => self.double(),
            Number::Enum => {
                let place = self.text.place();
                let value = self.text.number().and_then(number::whole).and_then(int32).map(varint);
                value.ok_or_else(|| self.not(place, "the number of an enum's value"))
            }
            Number::Sint32 => self.integer("a 32-bit integer", |w| int32(w).map(zigzag)),
            Number::Uint32 => {
                self.integer("an unsigned 32-bit integer", |w| uint32(w).map(|v| Value::Varint(v.into())))
            }
            Number::Fixed32 => self.integer("an unsigned 32-bit integer", |w| uint32(w).map(Value::Fixed32)),
            Number::Int64 => self.integer("a 64-bit integer", |w| w.signed().map(varint)),
            Number::Sfixed64 => {
                self.integer("a 64-bit integer", |w| w.signed().map(|v| Value::Fixed64(v.cast_unsigned())))
            }
            Number::Uint64 => self.integer("an unsigned 64-bit integer", |w| w.unsigned().map(Value::Varint)),
            Number::Fixed64 => self.integer("an unsigned 64-bit integer", |w| w.unsigned().map(Value::Fixed64)),
        }
    }

    /// An integer as a number or as a string with one.
    fn integer(&mut self, expected: &str, fit: impl Fn(Whole) -> Option<Value>) -> Done<Value> {
        let place = self.text.place();
        let value = if self.text.peek() == Some(b'"') {
            let digits = self.text.string(expected)?.decoded()?;
            if number::is_number(&digits) { number::whole(&digits) } else { None }
        } else {
            self.text.number().and_then(number::whole)
        };
        value.and_then(fit).ok_or_else(|| self.not(place, expected))
    }

    fn double(&mut self) -> Done<Value> {
        const EXPECTED: &str = "a number, or \"NaN\", \"Infinity\" or \"-Infinity\"";
        let place = self.text.place();
        let value = if self.text.peek() == Some(b'"') {
            let digits = self.text.string(EXPECTED)?.decoded()?;
            match &*digits {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                _ if number::is_number(&digits) => number::double(&digits),
                _ => None,
            }
        } else {
            self.text.number().and_then(number::double)
        };
        value.map(Value::Double).ok_or_else(|| self.not(place, EXPECTED))
    }

    /// An error about the value at `place`, which was read and is not what was expected.
    fn not(&mut self, place: usize, expected: &str) -> Stop {
        self.text.back(place);
        self.text.expected(expected)
    }
}

/// The field of a key and its place in the table, which is looked for from `next` on.
fn find(shape: &'static Shape, raw: Raw<'_>, next: usize) -> Done<Option<(usize, &'static Field)>> {
    if !raw.has_escapes {
        return Ok(named(shape, raw.text, next));
    }
    if raw.text.len() > MAX_ESCAPED_KEY {
        unescape(raw.text, |_| Ok(()))?;
        return Ok(None);
    }
    Ok(named(shape, &raw.decoded()?, next))
}

fn named(shape: &'static Shape, key: &str, next: usize) -> Option<(usize, &'static Field)> {
    let known = |(_, field): &(usize, &Field)| field.key == key;
    let expected = shape.fields.get(next).map(|field| (next, field)).filter(known);
    expected.or_else(|| shape.fields.iter().enumerate().find(known))
}

fn int32(whole: Whole) -> Option<i32> {
    whole.signed().and_then(|value| i32::try_from(value).ok())
}

fn uint32(whole: Whole) -> Option<u32> {
    whole.unsigned().and_then(|value| u32::try_from(value).ok())
}

/// Negative integers take all ten bytes, 32-bit ones too.
fn varint(value: impl Into<i64>) -> Value {
    Value::Varint(value.into().cast_unsigned())
}

/// Small absolute values become small numbers: 0, -1, 1, -2, 2.
fn zigzag(value: i32) -> Value {
    Value::Varint(((value << 1) ^ (value >> 31)).cast_unsigned().into())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
