//! How long the caller will wait: `grpc-timeout`, up to eight digits and a unit.

use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use crate::door::{Refusal, shown};

const MAX_DIGITS: usize = 8;

/// When the caller stops waiting, if it said so.
///
/// # Errors
/// When the header is no such time.
pub(super) fn deadline(value: Option<&HeaderValue>) -> Result<Option<Instant>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let expected = || {
        let expected = "up to eight digits and one of H, M, S, m, u and n";
        Refusal::malformed(format!("grpc-timeout: expected {expected}, got {}", shown(Some(value))))
    };
    let timeout = value.to_str().ok().and_then(parse).ok_or_else(expected)?;
    Ok(Instant::now().checked_add(timeout))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=MAX_DIGITS).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_digits_and_a_unit() {
        let seconds = |text| parse(text).map(|d| d.as_secs_f64());
        assert_eq!(seconds("10S"), Some(10.0));
        assert_eq!(seconds("99999999H"), Some(359_999_996_400.0));
        assert_eq!(seconds("1500m"), Some(1.5));
        assert_eq!(seconds("500000u"), Some(0.5));
        assert_eq!(seconds("0n"), Some(0.0));
        for bad in ["", "S", "10", "123456789S", "-1S", "1.5S", "1s", "+1S", "1é", "é"] {
            assert_eq!(seconds(bad), None, "{bad:?}");
        }
    }
}
