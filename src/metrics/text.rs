//! Prometheus's text format, and OpenMetrics, which differs in a few places.

use std::fmt::Write;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// What a client with this `Accept` header understands.
    pub(super) fn asked_for(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Metrics as they are written: a family begins, then come its samples.
#[derive(Debug)]
pub(super) struct Text {
    format: Format,
    out: String,
    name: &'static str,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: String::with_capacity(16 << 10), name: "" }
    }

    /// Begins a counter, whose name ends in `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) {
        // OpenMetrics gives the suffix to the samples and not to the family.
        let family = match self.format {
            Format::Prometheus => name,
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        self.family(name, family, "counter", help);
    }

    /// Begins a gauge.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) {
        self.family(name, name, "gauge", help);
    }

    fn family(&mut self, name: &'static str, family: &str, kind: &str, help: &str) {
        self.name = name;
        self.out.push_str(&format!("# HELP {family} {}\n# TYPE {family} {kind}\n", escaped(help)));
    }

    /// A sample of the family that was begun last.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(self.name);
        for (i, (name, label)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            self.write(format_args!("{open}{name}=\"{}\"", escaped(label)));
        }
        self.out.push_str(if labels.is_empty() { " " } else { "} " });
        match value {
            v if v.is_nan() => self.out.push_str("NaN"),
            v if v.is_infinite() => self.out.push_str(if v > 0.0 { "+Inf" } else { "-Inf" }),
            v => self.write(format_args!("{v}")),
        }
        self.out.push('\n');
    }

    #[expect(clippy::cast_precision_loss, reason = "the format's numbers are floats")]
    pub(super) fn count(&mut self, labels: &[(&str, &str)], count: u64) {
        self.sample(labels, count as f64);
    }

    pub(super) fn size(&mut self, labels: &[(&str, &str)], size: usize) {
        self.count(labels, size as u64);
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.out.write_fmt(arguments).expect("writing to a string never fails");
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// Backslash, quote and line feed, which would end a label value early.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let mut text = Text::new(format);
        text.counter("a_total", "Things.");
        text.count(&[("x", "1"), ("y", "a\\b\"c\nd")], 3);
        text.gauge("b", "Others.");
        text.sample(&[], 0.25);
        text.sample(&[("x", "n")], f64::NAN);
        text.finish()
    }

    #[test]
    fn label_values_are_escaped_and_families_described() {
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\",y=\"a\\\\b\\\"c\\nd\"} 3\n\
            # HELP b Others.\n# TYPE b gauge\nb 0.25\nb{x=\"n\"} NaN\n";
        assert_eq!(written(Format::Prometheus), expected);
    }

    #[test]
    fn open_metrics_names_counters_without_their_suffix_and_has_an_end() {
        let text = written(Format::OpenMetrics);
        assert!(text.starts_with("# HELP a Things.\n# TYPE a counter\na_total{"), "{text}");
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert_eq!(Format::asked_for(prometheus), Format::OpenMetrics);
        assert_eq!(Format::asked_for("*/*"), Format::Prometheus);
    }
}
