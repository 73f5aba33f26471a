//! The templates of labels and annotations, as Prometheus's rules have them.
//!
//! `$labels`, `$value` and `$externalURL` (with `.Labels`, `.Value` and `.ExternalURL`) in the language of
//! [`crate::template`]; queries are not among its functions. What cannot work is refused when the rule is read, so that
//! no alert ever goes out with a hole in it.

use std::sync::{Arc, LazyLock};

use window::Labels;

use crate::template::{self, Library, Value, plain};

/// Bytes of one text at most.
const MOST: usize = 16 << 10;
const VARIABLES: [&str; 3] = ["$labels", "$value", "$externalURL"];

static NOTHING: LazyLock<Arc<Library>> = LazyLock::new(Arc::default);

/// A checked template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template {
    template: template::Template,
    external_url: Value,
}

impl Template {
    /// Reads `text`; the error says what is wrong or not supported.
    pub(crate) fn parse(text: &str, external_url: &str) -> Result<Self, String> {
        let template = template::Template::parse(text, &VARIABLES, &NOTHING).map_err(|fault| fault.to_string())?;
        let read = Self { template, external_url: Value::text(external_url) };
        match read.try_render(&Labels::default(), 1.0) {
            Err(fault) if !fault.depends_on_data => Err(fault.to_string()),
            _ => Ok(read),
        }
    }

    /// The template as it was written.
    pub(crate) fn text(&self) -> &str {
        self.template.text()
    }

    /// The text for one result. Where the template fails with these data, that is what it says, as in Prometheus.
    pub(crate) fn render(&self, labels: &Labels, value: f64) -> String {
        self.try_render(labels, value).unwrap_or_else(|fault| format!("<error expanding template: {fault}>"))
    }

    fn try_render(&self, labels: &Labels, value: f64) -> Result<String, template::Fault> {
        if self.template.is_plain() {
            return self.template.render(&Value::Nothing, &[], plain, usize::MAX);
        }
        let values = [Value::labels(labels), Value::Number(value), self.external_url.clone()];
        let dot = Value::record(["Labels", "Value", "ExternalURL"].into_iter().zip(values.clone()));
        let variables: Vec<(&str, Value)> = VARIABLES.into_iter().zip(values).collect();
        self.template.render(&dot, &variables, plain, MOST)
    }
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
        check("{{ if gt $value 0.1 }}{{ .Labels.job | toUpper }}{{ else }}low{{ end }}", "API");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for bad in ["{{ $labels. }}", "{{ query \"up\" }}", "{{ $value | reverse }}", "{{", "{{ range . }}x{{ end }}"] {
            assert!(Template::parse(bad, "").is_err(), "{bad}");
        }
        assert!(Template::parse("{{ query 1 }}", "").expect_err("refused").contains("function query"));
    }

    #[test]
    fn what_fails_with_the_data_says_so() {
        let template = Template::parse("{{ slice $labels.job 2 }}", "").expect("may work");
        assert_eq!(template.render(&Labels::from_pairs([("job", "api")]), 1.0), "i");
        assert!(template.render(&Labels::default(), 1.0).starts_with("<error expanding template: line 1"));
    }
}
