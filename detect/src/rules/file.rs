//! Reading rule files.

use std::{collections::BTreeSet, time::Duration};

use query::Query;

use super::{AlertRule, RecordRule, Rule, RuleGroup, Template};
use crate::{
    Owner,
    yaml::{Document, Fault, Faults, Mapping, Value},
};

/// Interval of a group that does not name one, as in Prometheus.
const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);

/// Reads a rule file in Prometheus's format. `file` is its name, for faults and for the API;
/// `external_url` is what `{{ $externalURL }}` stands for in labels and annotations.
///
/// # Errors
/// Every fault of the file at once, with its line.
pub fn read(file: &str, text: &str, external_url: &str) -> Result<Vec<RuleGroup>, Vec<Fault>> {
    let mut faults = Faults::of(file);
    let document = Document::parse(text, &mut faults);
    let mut top = document.mapping(&mut faults);
    let mut groups = Vec::new();
    let mut names = BTreeSet::new();
    if let Some(list) = top.get("groups") {
        for value in list.list(&mut faults) {
            let Some(group) = value.mapping(&mut faults).map(|g| read_group(file, external_url, g, &mut faults)) else {
                continue;
            };
            if !names.insert(group.name.clone()) {
                faults.add(value.line(), format!("group `{}` is given twice", group.name));
            }
            groups.push(group);
        }
    }
    top.finish(&mut faults);
    faults.into_result(groups)
}

fn read_group(file: &str, external_url: &str, mut group: Mapping<'_, '_>, faults: &mut Faults) -> RuleGroup {
    let name = group.required("name", faults).and_then(|v| v.text(faults)).unwrap_or_default();
    let interval = duration(&mut group, "interval", faults).unwrap_or(DEFAULT_INTERVAL);
    if interval.is_zero() {
        faults.add(group.line(), format!("interval of group `{name}` must be greater than 0"));
    }
    let labels = texts(&mut group, "labels", faults);
    let mut rules = Vec::new();
    for value in group.required("rules", faults).map(|v| v.list(faults)).unwrap_or_default() {
        let Some(rule) = value.mapping(faults) else { continue };
        let context =
            Context { group: (file, &name), before: &rules, external_url, group_labels: &labels, line: value.line() };
        rules.extend(read_rule(&context, rule, faults));
    }
    for key in ["limit", "query_offset", "partial_response_strategy"] {
        if let Some(value) = group.get(key) {
            faults.add(value.line(), format!("`{key}` of a group is not supported"));
        }
    }
    group.finish(faults);
    RuleGroup { name, file: file.to_owned(), interval, rules }
}

type Text = (String, String, usize);

/// Where a rule stands.
struct Context<'c> {
    /// File and group.
    group: (&'c str, &'c str),
    /// The rules before it in its group.
    before: &'c [Rule],
    external_url: &'c str,
    group_labels: &'c [Text],
    line: usize,
}

impl Context<'_> {
    /// What tells the alerting rule `name` from all others, also when others are added to its group or taken away:
    /// of several of one name in a group the how manieth it is.
    fn owner(&self, name: &str) -> String {
        let is_namesake = |rule: &&Rule| matches!(rule, Rule::Alert(alert) if alert.name == name);
        let (file, group) = self.group;
        format!("{file}/{group}/{}/{name}", self.before.iter().filter(is_namesake).count())
    }
}

fn read_rule(context: &Context<'_>, mut rule: Mapping<'_, '_>, faults: &mut Faults) -> Option<Rule> {
    let alert = rule.get("alert").and_then(|v| v.text(faults));
    let record = rule.get("record").and_then(|v| v.text(faults));
    let query = rule.required("expr", faults).and_then(|v| read_expr(&v, faults));
    let hold = duration(&mut rule, "for", faults);
    let keep_firing = duration(&mut rule, "keep_firing_for", faults);
    let mut labels = texts(&mut rule, "labels", faults);
    let annotations = texts(&mut rule, "annotations", faults);
    rule.finish(faults);
    for (name, value, line) in context.group_labels {
        if !labels.iter().any(|(own, _, _)| own == name) {
            labels.push((name.clone(), value.clone(), *line));
        }
    }
    check_label_names(&labels, faults);
    match (alert, record) {
        (Some(name), None) => {
            let labels = templates(&labels, context, faults);
            let annotations = templates(&annotations, context, faults);
            let query = query?;
            let owner = Owner {
                name: context.owner(&name),
                source: query.text().to_owned(),
                hold: hold.unwrap_or_default(),
                keep_firing: keep_firing.unwrap_or_default(),
            };
            Some(Rule::Alert(AlertRule { name, query, owner, labels, annotations }))
        }
        (None, Some(name)) => {
            let alerting = [("for", hold.is_some()), ("keep_firing_for", keep_firing.is_some())];
            for (key, _) in alerting.into_iter().chain([("annotations", !annotations.is_empty())]).filter(|(_, g)| *g) {
                faults.add(context.line, format!("`{key}` does not go with `record`"));
            }
            check_metric_name(&name, context.line, faults);
            let labels = labels.into_iter().map(|(name, value, _)| (name, value)).collect();
            Some(Rule::Record(RecordRule { name: name.into(), query: query?, labels }))
        }
        (Some(_), Some(_)) => {
            faults.add(context.line, "a rule has either `alert` or `record`, not both");
            None
        }
        (None, None) => {
            faults.add(context.line, "a rule needs `alert` or `record`");
            None
        }
    }
}

fn check_metric_name(name: &str, line: usize, faults: &mut Faults) {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if name.is_empty() || !name.chars().all(valid) || name.starts_with(|c: char| c.is_ascii_digit()) {
        faults.add(line, format!("`{name}` is not a valid metric name"));
    }
}

fn read_expr(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Query> {
    let text = value.text(faults)?;
    match Query::parse(text.trim()) {
        Ok(query) => Some(query),
        Err(error) => {
            faults.add(value.line(), format!("expr: {error}"));
            None
        }
    }
}

fn duration(mapping: &mut Mapping<'_, '_>, key: &'static str, faults: &mut Faults) -> Option<Duration> {
    mapping.get(key).and_then(|v| v.duration(faults))
}

fn texts(mapping: &mut Mapping<'_, '_>, key: &'static str, faults: &mut Faults) -> Vec<Text> {
    mapping.get(key).and_then(|v| v.mapping(faults)).map(|m| m.texts(faults)).unwrap_or_default()
}

fn templates(texts: &[Text], context: &Context<'_>, faults: &mut Faults) -> Vec<(String, Template)> {
    texts
        .iter()
        .filter_map(|(name, text, line)| match Template::parse(text, context.external_url) {
            Ok(template) => Some((name.clone(), template)),
            Err(error) => {
                faults.add(*line, format!("`{name}`: {error}"));
                None
            }
        })
        .collect()
}

fn check_label_names(labels: &[Text], faults: &mut Faults) {
    for (name, _, line) in labels {
        let valid = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !valid || name.is_empty() || name == "__name__" || name == "alertname" {
            faults.add(*line, format!("`{name}` is not a label name that a rule may set"));
        }
    }
}
