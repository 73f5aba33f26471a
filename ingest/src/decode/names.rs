//! Names as PromQL knows them: the translation of OpenTelemetry names that Prometheus's own OTLP
//! receiver makes, with unit and type suffixes.

use window::SeriesKind;

/// Prometheus's name for a metric, given its OpenTelemetry name and unit.
pub(crate) fn metric(name: &str, unit: &str, kind: SeriesKind) -> String {
    let mut tokens: Vec<&str> = name.split(|c: char| !is_name_char(c)).filter(|t| !t.is_empty()).collect();
    let units = unit_tokens(unit);
    for token in &units {
        if !tokens.contains(&token.as_str()) {
            tokens.push(token);
        } else if token == "per" {
            break;
        }
    }
    let moved_to_the_end = match kind {
        SeriesKind::Sum { monotonic: true, .. } => Some("total"),
        SeriesKind::Gauge if unit == "1" => Some("ratio"),
        SeriesKind::Sum { .. }
        | SeriesKind::Gauge
        | SeriesKind::Histogram { .. }
        | SeriesKind::Derived
        | SeriesKind::Published => None,
    };
    if let Some(suffix) = moved_to_the_end {
        tokens.retain(|t| *t != suffix);
        tokens.push(suffix);
    }
    let joined = tokens.join("_");
    if joined.is_empty() || joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// Prometheus's name for an attribute; names that begin with an underscore are kept apart from the
/// ones that Prometheus reserves.
pub(super) fn label(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match clean.bytes().next() {
        Some(b'0'..=b'9') => format!("key_{clean}"),
        Some(b'_') => format!("key{clean}"),
        _ => clean,
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// `By` gives `bytes`; `m/s` gives `meters`, `per`, `second`; `{request}` gives nothing.
fn unit_tokens(unit: &str) -> Vec<String> {
    let (main, per) = unit.split_once('/').map_or((unit, None), |(main, per)| (main, Some(per)));
    let mut tokens: Vec<String> = part(main, main_unit).into_iter().collect();
    if let Some(per) = per.and_then(|per| part(per, per_unit)) {
        tokens.extend(["per".to_owned(), per]);
    }
    tokens
}

fn part(unit: &str, word: fn(&str) -> Option<&'static str>) -> Option<String> {
    let unit = unit.trim();
    if unit.contains(['{', '}']) {
        return None;
    }
    let spelled = word(unit).unwrap_or(unit);
    let clean: Vec<&str> = spelled.split(|c: char| !c.is_ascii_alphanumeric()).filter(|t| !t.is_empty()).collect();
    let joined = clean.join("_");
    (!joined.is_empty()).then_some(joined)
}

fn main_unit(ucum: &str) -> Option<&'static str> {
    Some(match ucum {
        "1" => "",
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        _ => return None,
    })
}

fn per_unit(ucum: &str) -> Option<&'static str> {
    Some(match ucum {
        "s" => "second",
        "min" | "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use window::Temporality;

    use super::*;

    const COUNTER: SeriesKind = SeriesKind::Sum { monotonic: true, temporality: Temporality::Cumulative };
    const UP_DOWN: SeriesKind = SeriesKind::Sum { monotonic: false, temporality: Temporality::Delta };

    fn check(name: &str, unit: &str, kind: SeriesKind, expected: &str) {
        assert_eq!(metric(name, unit, kind), expected, "{name} in {unit}");
    }

    #[test]
    fn units_become_suffixes() {
        check("http.server.request.duration", "s", SeriesKind::Derived, "http_server_request_duration_seconds");
        check("process.memory", "By", SeriesKind::Gauge, "process_memory_bytes");
        check("latency", "ms", SeriesKind::Gauge, "latency_milliseconds");
        check("cpu.load", "%", SeriesKind::Gauge, "cpu_load_percent");
        check("active", "{request}", UP_DOWN, "active");
        check("speed", "m/s", SeriesKind::Gauge, "speed_meters_per_second");
        check("flow", "{req}/s", SeriesKind::Gauge, "flow_per_second");
        check("odd", "foo/bar", SeriesKind::Gauge, "odd_foo_per_bar");
        check("odd", "a b%", SeriesKind::Gauge, "odd_a_b");
    }

    #[test]
    fn a_suffix_that_is_there_is_not_repeated() {
        check("memory.bytes", "By", SeriesKind::Gauge, "memory_bytes");
        check("requests.total", "1", COUNTER, "requests_total");
        check("requests_total_count", "", COUNTER, "requests_count_total");
        check("hit.ratio", "1", SeriesKind::Gauge, "hit_ratio");
        check("speed_per_second", "/s", SeriesKind::Gauge, "speed_per_second");
    }

    #[test]
    fn counters_end_in_total_and_dimensionless_gauges_in_ratio() {
        check("http.requests", "{request}", COUNTER, "http_requests_total");
        check("sent", "By", COUNTER, "sent_bytes_total");
        check("hit", "1", SeriesKind::Gauge, "hit_ratio");
        check("open", "1", UP_DOWN, "open");
    }

    #[test]
    fn what_prometheus_cannot_spell_becomes_an_underscore() {
        check("a..b--c", "", SeriesKind::Gauge, "a_b_c");
        check("4xx", "", SeriesKind::Gauge, "_4xx");
        check("job:rate", "", SeriesKind::Gauge, "job:rate");
        check("\u{e4}\u{f6}", "", SeriesKind::Gauge, "_");
    }

    #[test]
    fn labels_keep_away_from_reserved_names() {
        for (name, expected) in [
            ("http.route", "http_route"),
            ("1st", "key_1st"),
            ("_x", "key_x"),
            ("__name__", "key__name__"),
            ("a:b", "a_b"),
            ("a..b", "a__b"),
        ] {
            assert_eq!(label(name), expected);
        }
    }
}
