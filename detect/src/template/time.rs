//! Times in Go's layouts, in UTC.

use chrono::DateTime;
use window::UnixNanos;

/// As early as a time that was never set is here, or earlier.
pub(super) const ZERO: UnixNanos = UnixNanos(0);

/// The words of a layout, and what they are for chrono; longer ones before those that they begin with.
const WORDS: [(&str, &str); 22] = [
    ("January", "%B"),
    ("Monday", "%A"),
    ("2006", "%Y"),
    ("Z07:00", "Z"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("06", "%y"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("15", "%H"),
    ("_2", "%e"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("2", "%-d"),
    ("1", "%-m"),
    ("3", "%-I"),
];

/// The time in `layout`, in which what Go does not know is text.
pub(super) fn format(at: UnixNanos, layout: &str) -> String {
    let at = DateTime::from_timestamp_nanos(at.0);
    let (mut out, mut rest) = (String::new(), layout);
    while let Some(c) = rest.chars().next() {
        if let Some((word, meaning)) = WORDS.iter().find(|(word, _)| rest.starts_with(word)) {
            out.push_str(&at.format(meaning).to_string());
            rest = &rest[word.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_layout_is_that_of_the_time() {
        let at = |seconds: i64| UnixNanos(seconds * 1_000_000_000);
        let long = "Monday Mon January Jan 2006 06 01 1 02 2 _2 15 03 3 04 05 PM pm MST -0700 -07:00 Z07:00, 100 %d";
        let said = "Thursday Thu February Feb 2024 24 02 2 29 29 29 23 11 11 59 58 PM pm UTC +0000 +00:00 Z, 200 %d";
        assert_eq!(format(at(1_709_251_198), long), said);
        assert_eq!(format(at(0), "2006-01-02T15:04:05Z07:00 Mon _2 3PM"), "1970-01-01T00:00:00Z Thu  1 12AM");
        assert_eq!(format(at(-1), "2 Jan 2006, 15:04:05"), "31 Dec 1969, 23:59:59");
    }
}
