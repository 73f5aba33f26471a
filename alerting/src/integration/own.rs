//! Texts of one's own: templates over Alertmanager's data in place of our forms.
//!
//! A template is tried on two messages when it is read, so that most faults are found then. One that fails later
//! costs nobody a notification: the text is the one that there is without it, and the fault is counted and logged.

use std::{collections::BTreeMap, sync::Arc};

use chrono::DateTime;
use detect::{
    UnixNanos,
    template::{Escape, Fault, Library, Template, Value},
};
use serde_json::json;

use super::message::{Message, Texts, Told, is_web, test_message};

/// Bytes of one text at most, before it is cut to what its place takes.
const MOST: usize = 1 << 20;
const DEFAULTS: &str = include_str!("default.tmpl");

/// Named templates: Alertmanager's well-known ones, and those of files.
#[derive(Clone, Debug)]
pub struct Templates(Arc<Library>);

/// The templates of one integration, by the names of the fields that they make.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnTexts {
    /// Fields by name.
    pub texts: BTreeMap<&'static str, Template>,
    /// Of `PagerDuty`: further details by name.
    pub details: BTreeMap<String, Template>,
    /// Of Slack: short facts, each with a title, a value, and whether two stand side by side.
    pub fields: Vec<(Template, Template, bool)>,
}

impl Default for Templates {
    /// The well-known ones.
    ///
    /// # Panics
    /// Never: they are constants.
    fn default() -> Self {
        let mut library = Library::default();
        library.define(DEFAULTS).expect("are templates");
        Self(Arc::new(library))
    }
}

impl Templates {
    /// The same with every `define` of a file's text, which may replace well-known ones.
    ///
    /// # Errors
    /// The first fault, which may be that a template is used that none of `texts` defines.
    pub fn with<'a>(&self, texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, (String, Fault)> {
        let mut library = Library::clone(&self.0);
        let mut last = String::new();
        for (file, text) in texts {
            library.define(text).map_err(|fault| (file.to_owned(), fault))?;
            file.clone_into(&mut last);
        }
        library.check().map_err(|fault| (last, fault))?;
        Ok(Self(Arc::new(library)))
    }

    /// A template of a receiver's field.
    ///
    /// # Errors
    /// The first fault, whether in reading it or in trying it on a message.
    pub fn read(&self, text: &str) -> Result<Template, Fault> {
        let template = Template::parse(text, &[], &self.0)?;
        for status in ["firing", "resolved"] {
            match template.render(&data(&sample(status)), &[], detect::template::plain, MOST) {
                Err(fault) if !fault.depends_on_data => return Err(fault),
                _ => {}
            }
        }
        Ok(template)
    }
}

/// Renders the templates of one integration over one message, and remembers which failed.
pub(super) struct Renderer<'a> {
    own: &'a OwnTexts,
    data: Value,
    faults: &'a mut Vec<String>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(own: &'a OwnTexts, message: &Message, faults: &'a mut Vec<String>) -> Self {
        // What nobody asks for is not made.
        let data = if *own == OwnTexts::default() { Value::Nothing } else { data(message) };
        Self { own, data, faults }
    }

    /// The field `name`, if there is a template of it that works; `escape` is for what comes from telemetry.
    pub(super) fn text(&mut self, name: &'static str, escape: Escape) -> Option<String> {
        self.rendered(self.own.texts.get(name)?, name, escape)
    }

    /// The same for details, by name.
    pub(super) fn details(&mut self) -> Vec<(&'a str, String)> {
        let own = self.own;
        let one = |(name, template): (&'a String, &'a Template)| {
            Some((name.as_str(), self.rendered(template, name, detect::template::plain)?))
        };
        own.details.iter().filter_map(one).collect()
    }

    /// The same for Slack's short facts.
    pub(super) fn fields(&mut self, escape: Escape) -> Vec<(String, String, bool)> {
        let own = self.own;
        let one = |(title, value, is_short): &'a (Template, Template, bool)| {
            let title = self.rendered(title, "fields", escape)?;
            Some((title, self.rendered(value, "fields", escape)?, *is_short))
        };
        own.fields.iter().filter_map(one).collect()
    }

    /// Notes that what a template has made cannot be sent.
    pub(super) fn fails(&mut self, name: &str, reason: &str) {
        self.faults.push(format!("{name}: {reason}"));
    }

    fn rendered(&mut self, template: &Template, name: &str, escape: Escape) -> Option<String> {
        let rendered = template.render(&self.data, &[], escape, MOST);
        rendered.map_err(|fault| self.fails(name, &fault.to_string())).ok()
    }
}

/// The message as Alertmanager's templates know it, with `.TruncatedAlerts` and, of an alert, `.Explanations` and
/// `.Incident`.
fn data(message: &Message) -> Value {
    Value::record([
        ("Receiver", Value::text(&message.receiver)),
        ("Status", Value::text(&message.status)),
        ("Alerts", Value::List(message.alerts.iter().map(of_alert).collect())),
        ("GroupLabels", of_texts(&message.group_labels)),
        ("CommonLabels", of_texts(&message.common_labels)),
        ("CommonAnnotations", of_texts(&message.common_annotations)),
        ("ExternalURL", Value::text(&message.external_url)),
        ("TruncatedAlerts", Value::Int(i64::try_from(message.truncated_alerts).unwrap_or(i64::MAX))),
    ])
}

fn of_alert(alert: &Told) -> Value {
    let causes = &alert.bellwether.anomalies;
    let explanations = causes.iter().filter_map(|cause| cause.explanation.as_deref()).map(Value::text);
    let incident = causes.iter().find_map(|cause| cause.incident_id.as_deref()).unwrap_or_default();
    Value::record([
        ("Status", Value::text(&alert.status)),
        ("Labels", of_texts(&alert.labels)),
        ("Annotations", of_texts(&alert.annotations)),
        ("StartsAt", time(&alert.starts_at)),
        ("EndsAt", time(&alert.ends_at)),
        ("GeneratorURL", Value::text(&alert.generator_url)),
        ("Fingerprint", Value::text(&alert.fingerprint)),
        ("Explanations", Value::List(explanations.collect())),
        ("Incident", Value::text(incident)),
    ])
}

fn of_texts(texts: &Texts) -> Value {
    Value::map(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())))
}

/// Nanoseconds do not reach back to Go's zero time: what is not set is 1970.
fn time(text: &str) -> Value {
    let parsed = DateTime::parse_from_rfc3339(text).ok().and_then(|at| at.timestamp_nanos_opt());
    Value::Time(UnixNanos(parsed.unwrap_or(0)))
}

/// A message to try templates on: of one alert that fires, or that has ceased to.
fn sample(status: &str) -> Message {
    let mut message = test_message("test", "http://localhost", "2026-01-02T03:04:05Z");
    message["status"] = json!(status);
    message["alerts"][0]["status"] = json!(status);
    serde_json::from_value(message).unwrap_or_default()
}

/// Text for HTML: what is not an address does not become one.
pub(super) fn html(written: &str, value: &str) -> String {
    let is_link = ["href=\"", "href='", "src=\"", "src='"].iter().any(|mark| written.ends_with(mark));
    if is_link && !is_web(value) { "#".to_owned() } else { super::text::html(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_ones_work_on_every_message() {
        let names = DEFAULTS.split("{{ define \"").skip(1).filter_map(|rest| rest.split('"').next());
        let templates = Templates::default();
        for name in names.filter(|name| !name.ends_with("list") && !name.ends_with("markdown")) {
            let dot = if name.ends_with("instances") { ".Alerts" } else { "." };
            templates.read(&format!("{{{{ template \"{name}\" {dot} }}}}")).expect(name);
        }
        let subject = templates.read("{{ template \"__subject\" . }}").expect("is one");
        let said = subject.render(&data(&sample("firing")), &[], detect::template::plain, MOST);
        assert_eq!(said.as_deref(), Ok("[FIRING:1] BellwetherTest (bellwether info)"));
    }

    #[test]
    fn files_define_templates_and_faults_are_found_when_they_are_read() {
        let templates = Templates::default();
        let mine = templates.with([("a.tmpl", "{{ define \"mine\" }}{{ .Receiver }}{{ end }}")]).expect("is right");
        assert!(mine.read("{{ template \"mine\" . }}").is_ok());
        let fault = |text: &str| templates.read(text).expect_err(text).to_string();
        assert!(fault("x\n{{ .Alert }}").starts_with("line 2 of the template: there is no field .Alert; expected"));
        assert!(fault("{{ template \"mine\" . }}").contains("no template \"mine\""));
        assert!(templates.read("{{ (index .Alerts 5).Status }}").is_ok(), "may be right for others");
        let (file, fault) = templates.with([("b.tmpl", "\n{{ define \"x\" }}{{ nope }}{{ end }}")]).expect_err("wrong");
        assert_eq!((file.as_str(), fault.line), ("b.tmpl", 2));
        assert!(templates.with([("c.tmpl", "{{ define \"x\" }}{{ template \"y\" }}{{ end }}")]).is_err());
    }
}
