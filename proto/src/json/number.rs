//! JSON's numbers: their grammar, and their exact value as integers.
//!
//! A 64-bit integer must not go through a double, which has 53 bits: `1e19` and `18446744073709551615.0`
//! are read digit by digit.

/// An integer of up to 64 bits and a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) is_negative: bool,
    pub(super) magnitude: u64,
}

impl Whole {
    /// The value, if it is not below zero.
    pub(super) fn unsigned(self) -> Option<u64> {
        (!self.is_negative || self.magnitude == 0).then_some(self.magnitude)
    }

    /// The value, if an `i64` can hold it.
    pub(super) fn signed(self) -> Option<i64> {
        if self.is_negative { 0_i64.checked_sub_unsigned(self.magnitude) } else { i64::try_from(self.magnitude).ok() }
    }
}

/// How many bytes at the beginning are a number of JSON: the longest such prefix, or 0.
pub(super) fn length(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let start = usize::from(bytes.first() == Some(&b'-'));
    let mut end = match bytes.get(start) {
        Some(b'0') => start + 1,
        Some(b'1'..=b'9') => start + digits(start),
        _ => return 0,
    };
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == 0 {
            return end;
        }
        end += 1 + fraction;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

/// Whether all of `text` is one number of JSON.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && length(text.as_bytes()) == text.len()
}

/// The value of a number of JSON, if it is an integer and fits.
pub(super) fn whole(number: &str) -> Option<Whole> {
    let (is_negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let mut magnitude = 0_u64;
    for byte in digits.bytes() {
        if !byte.is_ascii_digit() {
            return scaled(digits).map(|magnitude| Whole { is_negative, magnitude });
        }
        magnitude = append(magnitude, byte)?;
    }
    Some(Whole { is_negative, magnitude })
}

/// The value of digits with a fraction, an exponent or both.
fn scaled(number: &str) -> Option<u64> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || integer.bytes().chain(fraction.bytes());
    if digits().all(|digit| digit == b'0') {
        return Some(0);
    }
    // Digits after this many are behind the point. An exponent that no i64 holds is far beyond any length
    // that the digits may have, so its sign alone decides.
    let beyond = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    let point = exponent.parse().unwrap_or(beyond).saturating_add(i64::try_from(integer.len()).ok()?);
    let point = usize::try_from(point).unwrap_or(0);
    if digits().skip(point).any(|digit| digit != b'0') {
        return None;
    }
    let mut magnitude = 0_u64;
    for digit in
        digits().chain(std::iter::repeat(b'0')).skip_while(|digit| *digit == b'0').take(missing(point, digits()))
    {
        magnitude = append(magnitude, digit)?;
    }
    Some(magnitude)
}

/// How many of the `point` digits before the point are left when leading zeros are not counted.
fn missing(point: usize, digits: impl Iterator<Item = u8>) -> usize {
    point.saturating_sub(digits.take_while(|digit| *digit == b'0').count())
}

fn append(magnitude: u64, digit: u8) -> Option<u64> {
    magnitude.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
}

/// The double nearest to a number of JSON, if one is near: what would become infinite is out of range.
pub(super) fn double(number: &str) -> Option<f64> {
    number.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_number_at_the_beginning_counts() {
        for (text, expected) in [
            ("0", 1),
            ("-0", 2),
            ("10", 2),
            ("01", 1),
            ("-", 0),
            ("", 0),
            ("+1", 0),
            (".5", 0),
            ("1.", 1),
            ("1.5", 3),
            ("1e", 1),
            ("1e+", 1),
            ("1e+5", 4),
            ("1E-05x", 5),
            ("1.5e3.5", 5),
            ("-12.50e1,", 8),
            ("NaN", 0),
        ] {
            assert_eq!(length(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn integers_are_exact_in_every_notation() {
        for (text, expected) in [
            ("0", 0),
            ("-0", 0),
            ("-0.0e5", 0),
            ("1e3", 1000),
            ("5.0", 5),
            ("0.5e1", 5),
            ("1.25e2", 125),
            ("100e-2", 1),
            ("0.000012e6", 12),
            ("1844674407370955161.5e1", u64::MAX),
            ("18446744073709551615.000", u64::MAX),
            ("1e19", 10_000_000_000_000_000_000),
            ("0e99999999999999999999", 0),
            ("0.0e-99999999999999999999", 0),
        ] {
            assert_eq!(whole(text).map(|w| w.magnitude), Some(expected), "{text}");
        }
        for text in [
            "1.5",
            "1e-1",
            "125e-2",
            "1e20",
            "18446744073709551616",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "18446744073709551615.5",
            "0.1",
            "1e9223372036854775807",
        ] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn signs_and_limits_are_kept() {
        let signed = |text| whole(text).and_then(Whole::signed);
        assert_eq!(signed("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(signed("9223372036854775807"), Some(i64::MAX));
        assert_eq!((signed("-9223372036854775809"), signed("9223372036854775808")), (None, None));
        let unsigned = |text| whole(text).and_then(Whole::unsigned);
        assert_eq!((unsigned("18446744073709551615"), unsigned("-1"), unsigned("-0")), (Some(u64::MAX), None, Some(0)));
    }

    #[test]
    fn doubles_that_would_be_infinite_are_out_of_range() {
        assert_eq!((double("1e308"), double("1e309"), double("-1e400")), (Some(1e308), None, None));
        assert_eq!(double("4.9e-400"), Some(0.0));
    }
}
