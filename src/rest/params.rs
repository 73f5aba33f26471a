//! Parameters: from query strings and forms to values, with every fault found at once.

use std::time::Duration;

use alerting::{Order, Page};
use axum::http::Uri;
use chrono::DateTime;
use detect::UnixNanos;

use super::{
    asked::TENANT,
    problem::{Fault, Problem},
};

/// What a time parameter may be.
pub(crate) const TIME: &str = "a time as RFC 3339 or Unix seconds";

/// The parameters of one request. Values that are empty count as not given.
///
/// Reading collects faults and goes on; [`Self::finish`] reports them together with parameters that
/// nobody has asked for, so that a misspelt filter is an error and not a longer list.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
    known: Vec<&'static str>,
}

impl Params {
    /// From the query of `uri`.
    pub(crate) fn of(uri: &Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default())
    }

    /// From `application/x-www-form-urlencoded` text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut params = Self::default();
        params.add(text);
        params
    }

    /// Adds the parameters of another part of the request.
    pub(crate) fn add(&mut self, text: &str) {
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = String::from_utf8_lossy(&decoded(name)).into_owned();
            match String::from_utf8(decoded(value)) {
                Ok(value) => self.pairs.push((name, value)),
                Err(_) => self.faults.push(Fault::new(&name, "UTF-8 text", value)),
            }
        }
    }

    /// Every value of a parameter that may be repeated.
    pub(crate) fn all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let values = self.pairs.iter().filter(|(n, v)| n == name && !v.is_empty());
        values.map(|(_, value)| value.clone()).collect()
    }

    /// The value of a parameter that may be given once.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        let mut values = self.all(name);
        if values.len() > 1 {
            self.faults.push(Fault::new(name, "one value", &values.join("&")));
        }
        values.pop()
    }

    /// The value of a parameter as `parse` reads it; a fault when it cannot.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.faults.push(Fault::new(name, expected, &text));
        }
        value
    }

    /// One word of a closed set, by the name that each has.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[T],
        word: impl Fn(T) -> &'static str,
    ) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|c| word(*c)).collect();
        let expected = format!("one of {}", words.join(", "));
        self.read(name, &expected, |text| choices.iter().copied().find(|c| word(*c) == text))
    }

    /// A time.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<UnixNanos> {
        self.read(name, TIME, time)
    }

    /// `limit`, `cursor` and `order`; `order` is what the list has by default.
    pub(crate) fn page(&mut self, order: Order) -> Page {
        let number = |text: &str| text.parse().ok();
        let in_range = |text: &str| text.parse().ok().filter(|limit| (1..=Page::MAX_LIMIT).contains(limit));
        let limit = self.read("limit", "1 to 1000", in_range).unwrap_or(Page::default().limit);
        let after = self.read("cursor", "the nextCursor of an earlier answer", number);
        let orders = [Order::Ascending, Order::Descending];
        let order =
            self.choice("order", &orders, |o| if o == Order::Ascending { "asc" } else { "desc" }).unwrap_or(order);
        Page { after, order, limit }
    }

    /// Reports everything that was wrong.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in &self.pairs {
            // Whose question it is has been settled before it is read.
            if !self.known.contains(&name.as_str()) && name != TENANT {
                let expected = match self.known.as_slice() {
                    [] => "no parameters".to_owned(),
                    known => format!("one of {}", known.join(", ")),
                };
                self.faults.push(Fault {
                    parameter: name.clone(),
                    detail: format!("is not a parameter here; expected {expected}"),
                });
            }
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::bad_parameters(self.faults)) }
    }

    /// The first fault among the values that were read, leaving out what nobody asked for.
    pub(crate) fn first_fault(&self) -> Option<&Fault> {
        self.faults.first()
    }
}

/// Decodes `+` and `%xx`; what is not properly encoded stays as it is, as browsers do.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                let digits = (ahead.next().and_then(hex), ahead.next().and_then(hex));
                if let (Some(high), Some(low)) = digits {
                    out.push(high * 16 + low);
                    bytes = ahead;
                } else {
                    out.push(b'%');
                }
            }
            byte => out.push(byte),
        }
    }
    out
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// Percent-encoded for a path segment or a query value.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A time as RFC 3339 or as Unix seconds with an optional fraction; `None` for anything else and for
/// years that nanoseconds cannot count.
pub(crate) fn time(text: &str) -> Option<UnixNanos> {
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds.abs() < 9.2e9).then(|| milliseconds(seconds));
    }
    DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt().map(UnixNanos)
}

/// Seconds with their fraction cut to milliseconds, which a float still tells apart.
#[expect(clippy::cast_possible_truncation, reason = "the caller has checked the range")]
fn milliseconds(seconds: f64) -> UnixNanos {
    UnixNanos(((seconds * 1e3).round() as i64).saturating_mul(1_000_000))
}

/// A duration as float seconds or as PromQL writes it (`1h30m`); `None` for anything else, for
/// negative ones and for more than 100 years.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    seconds(text).map(Duration::from_secs_f64)
}

/// The same in seconds, which have not been rounded to nanoseconds: for those who have a limit.
pub(crate) fn seconds(text: &str) -> Option<f64> {
    const CENTURY: f64 = 100.0 * 365.0 * 86_400.0;
    if let Ok(seconds) = text.parse() {
        return Some(seconds).filter(|seconds| (0.0..=CENTURY).contains(seconds));
    }
    const UNITS: [(&str, f64); 7] = [
        ("y", 365.0 * 86_400.0),
        ("w", 7.0 * 86_400.0),
        ("d", 86_400.0),
        ("h", 3_600.0),
        ("m", 60.0),
        ("s", 1.0),
        ("ms", 0.001),
    ];
    let (mut rest, mut total, mut units) = (text, 0.0, UNITS.as_slice());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = &rest[..rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len())];
        // Each unit once, the greatest first.
        let place = units.iter().position(|(name, _)| *name == unit)?;
        total += number * units[place].1;
        (rest, units) = (&rest[unit.len()..], &units[place + 1..]);
    }
    (!text.is_empty() && total <= CENTURY).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_and_the_rest_is_left_alone() {
        let mut params = Params::parse("service=shop%2Fpricing&metric=a+b&minScore=%zz&&empty=");
        assert_eq!(params.text("service").as_deref(), Some("shop/pricing"));
        assert_eq!(params.text("metric").as_deref(), Some("a b"));
        assert_eq!(params.text("minScore").as_deref(), Some("%zz"));
        assert_eq!(params.text("empty"), None);
        assert_eq!(params.finish(), Ok(()));
    }

    #[test]
    fn every_fault_is_reported_at_once_by_name() {
        let mut params = Params::parse("limit=0&order=up&colour=red&service=%ff&from=noon&metric=a&metric=b");
        params.page(Order::Ascending);
        params.time("from");
        for name in ["service", "metric"] {
            params.text(name);
        }
        let problem = params.finish().expect_err("is refused");
        let blamed: Vec<&str> = problem.faults.iter().map(|f| f.parameter.as_str()).collect();
        assert_eq!(blamed, ["service", "limit", "order", "from", "metric", "colour"]);
        assert!(problem.detail.contains("limit: expected 1 to 1000, got \"0\""), "{}", problem.detail);
        assert!(problem.detail.contains("from: expected a time as RFC 3339 or Unix seconds, got \"noon\""));
    }

    #[test]
    fn times_are_rfc_3339_or_unix_seconds() {
        let expected = Some(UnixNanos(1_435_781_451_781_000_000));
        for text in ["1435781451.781", "2015-07-01T20:10:51.781Z", "2015-07-01T22:10:51.781+02:00"] {
            assert_eq!(time(text), expected, "{text}");
        }
        for text in ["", "NaN", "inf", "1e300", "yesterday", "2015-07-01", "9999-01-01T00:00:00Z"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_or_as_promql_writes_them() {
        let check = |text, seconds: f64| assert_eq!(duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        check("15", 15.0);
        check("0.5", 0.5);
        check("1h30m", 5_400.0);
        check("250ms", 0.25);
        check("1d", 86_400.0);
        for text in ["", "-1", "NaN", "m", "5", "30m1h", "1m1m", "5x", "1h-3m", "101y", "1.5h"] {
            let expected = (text == "5").then(|| Duration::from_secs(5));
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn encoding_and_decoding_give_the_same_text() {
        let text = "shop/a b&c=%<é>";
        assert_eq!(decoded(&encoded(text)), text.as_bytes());
    }
}
