//! The templates of labels and annotations: the small part of Prometheus's that rules use.
//!
//! `{{ $externalURL }}`, `{{ $labels.name }}`, and `{{ $value }}`, the last optionally through `humanize`, `humanizePercentage`,
//! `humanizeDuration` or `printf "%.2f"`. Anything else is refused when the rule is read, so that no
//! alert ever goes out with a hole in it.

use std::time::Duration;

use window::Labels;

use crate::zscore::{number, span};

/// A checked template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Label(String),
    Value(Format),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Plain,
    Humanize,
    Percentage,
    Duration,
    Decimals(usize),
}

impl Template {
    /// Reads `text`; the error says which action is not supported.
    pub(crate) fn parse(text: &str, external_url: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            parts.push(Part::Text(rest[..open].to_owned()));
            let Some(length) = rest[open..].find("}}") else { return Err("`{{` without `}}`".into()) };
            let inside = rest[open + 2..open + length].trim_matches('-').trim();
            parts.push(if inside == "$externalURL" { Part::Text(external_url.to_owned()) } else { action(inside)? });
            rest = &rest[open + length + 2..];
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The template as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text for one result.
    pub(crate) fn render(&self, labels: &Labels, value: f64) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Label(name) => out.push_str(labels.get(name).unwrap_or_default()),
                Part::Value(format) => out.push_str(&format.apply(value)),
            }
        }
        out
    }
}

fn action(text: &str) -> Result<Part, String> {
    let unsupported = || {
        format!(
            "`{{{{ {text} }}}}` is not supported; expected $externalURL, $labels.<name> or $value, with humanize, humanizePercentage, \
             humanizeDuration or printf \"%.2f\""
        )
    };
    if let Some(name) = text.strip_prefix("$labels.") {
        let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        return if valid { Ok(Part::Label(name.to_owned())) } else { Err(unsupported()) };
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let format = match words.as_slice() {
        ["$value"] => Format::Plain,
        ["$value", "|", function] | [function, "$value"] => match *function {
            "humanize" => Format::Humanize,
            "humanizePercentage" => Format::Percentage,
            "humanizeDuration" => Format::Duration,
            _ => return Err(unsupported()),
        },
        ["$value", "|", "printf", pattern] | ["printf", pattern, "$value"] => {
            let digits = pattern.strip_prefix("\"%.").and_then(|p| p.strip_suffix("f\""));
            match digits.and_then(|d| d.parse().ok()).filter(|d| *d <= 12) {
                Some(digits) => Format::Decimals(digits),
                None => return Err(unsupported()),
            }
        }
        _ => return Err(unsupported()),
    };
    Ok(Part::Value(format))
}

impl Format {
    fn apply(self, value: f64) -> String {
        match self {
            Self::Plain => value.to_string(),
            Self::Humanize => humanize(value),
            Self::Percentage => format!("{}%", number(value * 100.0)),
            Self::Duration => span(Duration::try_from_secs_f64(value).unwrap_or_default()),
            Self::Decimals(digits) => format!("{value:.digits$}"),
        }
    }
}

/// With an SI prefix and four digits, as Prometheus's `humanize`.
fn humanize(value: f64) -> String {
    const PREFIXES: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let prefix = PREFIXES.iter().find(|(size, _)| value.abs() >= *size);
    prefix.map_or_else(|| number(value), |(size, letter)| format!("{}{letter}", number(value / size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expected: &str) {
        let labels = Labels::from_pairs([("job", "api")]);
        let got = Template::parse(template, "http://b").map(|t| t.render(&labels, 0.1234));
        assert_eq!(got.as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn labels_and_values_are_filled_in() {
        check("plain", "plain");
        check("{{ $externalURL }}/runbooks/x", "http://b/runbooks/x");
        check("{{ $labels.job }} at {{$value}}", "api at 0.1234");
        check("{{ $value | humanizePercentage }} of {{ $labels.gone }}.", "12.34% of .");
        check("{{ printf \"%.1f\" $value }}, {{ humanize $value }}", "0.1, 0.1234");
        assert_eq!(humanize(12_345_678.0), "12.346M");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for bad in ["{{ $labels. }}", "{{ query \"up\" }}", "{{ $value | reverse }}", "{{", "{{ range . }}x{{ end }}"] {
            assert!(Template::parse(bad, "").is_err(), "{bad}");
        }
        assert!(Template::parse("{{ query 1 }}", "").expect_err("refused").contains("query 1"));
    }
}
