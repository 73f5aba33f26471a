//! `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).

use std::time::Duration;

use chrono::DateTime;
use detect::UnixNanos;

/// How long the receiver asks to wait, seen from `now`; zero for a date that has passed. `None` when
/// the value is neither form, which is the same as no value.
pub(super) fn parse(value: &str, now: UnixNanos) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number can have still means "very long".
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some(UnixNanos(date.timestamp_nanos_opt()?).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_understood_and_nothing_else() {
        let now = UnixNanos(784_111_777_000_000_000);
        let seconds = |value| parse(value, now).map(|d| d.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(u64::MAX));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:36 GMT"), Some(0));
        for nonsense in ["", "-1", "1.5", "soon", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(seconds(nonsense), None, "{nonsense}");
        }
    }
}
