//! Numbers, text, ids and bytes in ProtoJSON: 64-bit integers as strings or numbers, floats with
//! names for what JSON cannot write, ids in hex, bytes in base64.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};

use super::{Budget, Json};
use crate::base64;

/// A trace or span id: hex, upper or lower case, without a prefix.
#[derive(Debug, Default)]
pub(super) struct Hex(pub(super) Vec<u8>);

/// Bytes in base64, standard or URL-safe.
#[derive(Debug, Default)]
pub(super) struct Base64(pub(super) Vec<u8>);

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, as a number or as a string")
    }

    fn visit_u64<E>(self, value: u64) -> Result<i128, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<i128, E> {
        Ok(value.into())
    }

    /// ProtoJSON takes `1.0` and `1e3` where an integer is wanted.
    #[expect(clippy::cast_possible_truncation, reason = "the value is integral and within the range of f64 integers")]
    fn visit_f64<E: Error>(self, value: f64) -> Result<i128, E> {
        if value.fract() == 0.0 && value.abs() < 1e20 {
            Ok(value as i128)
        } else {
            Err(E::custom(format!("expected an integer, got {value}")))
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i128, E> {
        if let Ok(integer) = text.parse() {
            return Ok(integer);
        }
        match number(text) {
            Some(value) => self.visit_f64(value),
            None => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

fn integer<'de, D: Deserializer<'de>, T: TryFrom<i128>>(deserializer: D) -> Result<T, D::Error> {
    let value = deserializer.deserialize_any(IntegerVisitor)?;
    T::try_from(value).map_err(|_| {
        D::Error::custom(format!(
            "{value} does not fit into {} bits ({})",
            size_of::<T>() * 8,
            std::any::type_name::<T>()
        ))
    })
}

impl Json for u64 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, _: &Budget) -> Result<Self, D::Error> {
        integer(deserializer)
    }
}

impl Json for i64 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, _: &Budget) -> Result<Self, D::Error> {
        integer(deserializer)
    }
}

impl Json for u32 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, _: &Budget) -> Result<Self, D::Error> {
        integer(deserializer)
    }
}

impl Json for i32 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, _: &Budget) -> Result<Self, D::Error> {
        integer(deserializer)
    }
}

/// A decimal number; Rust's own words for infinities and NaN are not ProtoJSON's.
fn number(text: &str) -> Option<f64> {
    let is_decimal = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    if is_decimal { text.parse().ok() } else { None }
}

struct DoubleVisitor;

impl Visitor<'_> for DoubleVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a number in a string, \"NaN\", \"Infinity\" or \"-Infinity\"")
    }

    fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        match text {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => number(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }
}

impl Json for f64 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, _: &Budget) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DoubleVisitor)
    }
}

impl Json for bool {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, _: &Budget) -> Result<Self, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}

impl Json for String {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, budget: &Budget) -> Result<Self, D::Error> {
        let text: Self = serde::Deserialize::deserialize(deserializer)?;
        budget.charge(text.len())?;
        Ok(text)
    }
}

impl Json for Hex {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, budget: &Budget) -> Result<Self, D::Error> {
        let text = String::read(deserializer, budget)?;
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let pair = |p: &[u8]| Some(digit(p[0])? << 4 | digit(*p.get(1)?)?);
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.map(Self).ok_or_else(|| D::Error::custom("expected an id in hex digits, two for each byte, no prefix"))
    }
}

impl Json for Base64 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, budget: &Budget) -> Result<Self, D::Error> {
        let text = String::read(deserializer, budget)?;
        base64::decode(&text).map(Self).ok_or_else(|| D::Error::custom("expected bytes in base64"))
    }
}
