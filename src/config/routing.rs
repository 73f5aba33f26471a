//! Who is told of what: `route`, `inhibit_rules` and `time_intervals` in Alertmanager's words, and whole files of
//! Alertmanager's.

use std::{path::Path, time::Duration};

use alerting::{Damping, GroupBy, InhibitRule, Matcher, Route, Routing, TimeInterval, Zone};
use detect::yaml::{Document, Fault, Faults, Mapping, Value};

use super::{
    Config,
    file::{number, positive, read_text, set, whole},
    receivers,
};

/// Nodes of the tree at most.
const MOST_NODES: usize = 10_000;

/// `alertmanager_config`: the receivers and the routing of a file of Alertmanager's.
///
/// # Errors
/// Every fault of that file, unless it is that there are receivers or a route in ours as well.
pub(super) fn alertmanager(path: &Path, config: &mut Config) -> Result<(), Vec<Fault>> {
    let text = read_text(path)?;
    let mut faults = Faults::of(&path.display().to_string());
    let document = Document::parse(&text, &mut faults);
    let mut top = document.mapping(&mut faults);
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    receivers::receivers(&mut top, config, directory, &mut faults);
    routing(&mut top, config, &mut faults);
    top.finish(&mut faults);
    faults.into_result(())
}

/// `route`, `inhibit_rules`, `time_intervals` and `mute_time_intervals`, which come after `receivers`.
pub(super) fn routing(top: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    let mut intervals = Vec::new();
    for key in ["time_intervals", "mute_time_intervals"] {
        let listed = top.get(key).map(|value| value.list(faults)).unwrap_or_default();
        for value in listed {
            let Some((name, interval)) = named_interval(&value, faults) else { continue };
            if intervals.iter().any(|(known, _)| *known == name) {
                faults.add(value.line(), format!("{key}: `{name}` is given twice"));
            }
            intervals.push((name, interval));
        }
    }
    let rules = top.get("inhibit_rules");
    let inhibit: Vec<InhibitRule> = match &rules {
        None => vec![InhibitRule::of_breakers()],
        Some(value) => value.list(faults).iter().filter_map(|value| inhibit_rule(value, faults)).collect(),
    };
    let Some(value) = top.get("route") else {
        if let Some(rules) = rules {
            faults.add(rules.line(), "`inhibit_rules` expects `route` beside it");
        }
        return;
    };
    let mut tree = Tree { config, intervals: &intervals, nodes: 0 };
    let root = tree.route(&value, None, faults);
    if let Some(root) = root {
        if root.receiver.is_none() {
            faults.add(value.line(), "route: `receiver` is missing");
        }
        if !root.matchers.is_empty() || root.continues {
            faults.add(value.line(), "route: the root takes every alert; expected neither matchers nor continue");
        }
        config.routing = Some(Routing::new(root, inhibit, intervals));
    }
}

/// `flapping`.
pub(super) fn flapping(m: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    let (mut is_enabled, mut damping) = (true, Damping::default());
    set(m, "enabled", faults, |v, f| v.boolean(f), &mut is_enabled);
    set(m, "changes", faults, |v, f| number(v, f, 2.0, 1e6).map(whole), &mut damping.changes);
    set(m, "window", faults, positive, &mut damping.window);
    config.damping = is_enabled.then_some(damping);
}

struct Tree<'c> {
    config: &'c Config,
    intervals: &'c [(String, Vec<TimeInterval>)],
    nodes: usize,
}

impl Tree<'_> {
    /// A node, and those below it, which have from it what they do not say themselves.
    fn route(&mut self, value: &Value<'_, '_>, above: Option<&Route>, faults: &mut Faults) -> Option<Route> {
        self.nodes += 1;
        if self.nodes == MOST_NODES + 1 {
            faults.add(value.line(), format!("route: expected at most {MOST_NODES} nodes"));
        }
        let mut m = value.mapping(faults)?;
        let mut route = match above {
            None => Route::to(None),
            Some(above) => Route {
                receiver: above.receiver.clone(),
                group_by: above.group_by.clone(),
                group_by_incident: above.group_by_incident,
                group_wait: above.group_wait,
                group_interval: above.group_interval,
                repeat_interval: above.repeat_interval,
                ..Route::to(None)
            },
        };
        if let Some(value) = m.get("receiver")
            && let Some(name) = value.text(faults)
        {
            if !self.config.receivers.iter().any(|known| known.name() == name) {
                faults.add(value.line(), format!("receiver: there is no receiver `{name}`"));
            }
            route.receiver = Some(name);
        }
        set(&mut m, "group_by", faults, group_by, &mut route.group_by);
        set(&mut m, "group_by_incident", faults, |v, f| v.boolean(f), &mut route.group_by_incident);
        set(&mut m, "group_wait", faults, |v, f| v.duration(f), &mut route.group_wait);
        set(&mut m, "group_interval", faults, positive, &mut route.group_interval);
        set(&mut m, "repeat_interval", faults, |v, f| positive(v, f).map(Some), &mut route.repeat_interval);
        set(&mut m, "continue", faults, |v, f| v.boolean(f), &mut route.continues);
        route.matchers = matchers(&mut m, ["matchers", "match", "match_re"], faults);
        route.mute_time_intervals = self.names(&mut m, "mute_time_intervals", faults);
        route.active_time_intervals = self.names(&mut m, "active_time_intervals", faults);
        let below = m.get("routes").map(|value| value.list(faults)).unwrap_or_default();
        m.finish(faults);
        route.routes = below.iter().filter_map(|value| self.route(value, Some(&route), faults)).collect();
        Some(route)
    }

    fn names(&self, m: &mut Mapping<'_, '_>, key: &'static str, faults: &mut Faults) -> Vec<String> {
        let listed = m.get(key).map(|value| value.list(faults)).unwrap_or_default();
        let mut names = Vec::new();
        for value in listed {
            let Some(name) = value.text(faults) else { continue };
            if !self.intervals.iter().any(|(known, _)| *known == name) {
                faults.add(value.line(), format!("{key}: there is no time interval `{name}`"));
            }
            names.push(name);
        }
        names
    }
}

fn group_by(value: &Value<'_, '_>, faults: &mut Faults) -> Option<GroupBy> {
    let listed = value.list(faults);
    let names: Vec<String> = listed.iter().filter_map(|v| v.text(faults)).collect();
    if !names.iter().any(|name| name == "...") {
        return Some(GroupBy::Labels(names));
    }
    if names.len() > 1 {
        value.expected("`...` alone, or names of labels", faults);
    }
    Some(GroupBy::Everything)
}

/// Matchers in today's form, and those of two older ones.
fn matchers(m: &mut Mapping<'_, '_>, keys: [&'static str; 3], faults: &mut Faults) -> Vec<Matcher> {
    let mut all = Vec::new();
    let listed = m.get(keys[0]).map(|value| value.list(faults)).unwrap_or_default();
    for value in listed {
        match value.text(faults).map(|text| Matcher::parse_list(&text)) {
            Some(Ok(matchers)) => all.extend(matchers),
            Some(Err(error)) => faults.add(value.line(), error.to_string()),
            None => {}
        }
    }
    for (key, is_regex) in [(keys[1], false), (keys[2], true)] {
        let Some(inner) = m.get(key).and_then(|value| value.mapping(faults)) else { continue };
        for (name, text, line) in inner.texts(faults) {
            match Matcher::new(&name, &text, true, is_regex) {
                Ok(matcher) => all.push(matcher),
                Err(error) => faults.add(line, error.to_string()),
            }
        }
    }
    all
}

fn inhibit_rule(value: &Value<'_, '_>, faults: &mut Faults) -> Option<InhibitRule> {
    let mut m = value.mapping(faults)?;
    let source = matchers(&mut m, ["source_matchers", "source_match", "source_match_re"], faults);
    let target = matchers(&mut m, ["target_matchers", "target_match", "target_match_re"], faults);
    let listed = m.get("equal").map(|value| value.list(faults)).unwrap_or_default();
    let equal = listed.iter().filter_map(|value| value.text(faults)).collect();
    let mut dependents = false;
    set(&mut m, "dependents", faults, |v, f| v.boolean(f), &mut dependents);
    let line = m.line();
    m.finish(faults);
    if source.is_empty() || target.is_empty() {
        faults.add(line, "inhibit_rules: expected source_matchers and target_matchers");
    }
    Some(InhibitRule { source, target, equal, dependents })
}

fn named_interval(value: &Value<'_, '_>, faults: &mut Faults) -> Option<(String, Vec<TimeInterval>)> {
    let mut m = value.mapping(faults)?;
    let name = m.required("name", faults).and_then(|value| value.text(faults));
    let parts = m.get("time_intervals").map(|value| value.list(faults)).unwrap_or_default();
    m.finish(faults);
    Some((name?, parts.iter().filter_map(|part| interval(part, faults)).collect()))
}

fn interval(value: &Value<'_, '_>, faults: &mut Faults) -> Option<TimeInterval> {
    let mut m = value.mapping(faults)?;
    let mut interval = TimeInterval {
        weekdays: ranges(&mut m, "weekdays", TimeInterval::weekday_range, faults),
        days_of_month: ranges(&mut m, "days_of_month", TimeInterval::day_range, faults),
        months: ranges(&mut m, "months", TimeInterval::month_range, faults),
        years: ranges(&mut m, "years", TimeInterval::year_range, faults),
        ..TimeInterval::default()
    };
    for value in m.get("times").map(|value| value.list(faults)).unwrap_or_default() {
        let Some(mut m) = value.mapping(faults) else { continue };
        let start = m.required("start_time", faults).and_then(|value| value.text(faults));
        let end = m.required("end_time", faults).and_then(|value| value.text(faults));
        m.finish(faults);
        match start.zip(end).map(|(start, end)| TimeInterval::time_range(&start, &end)) {
            Some(Ok(range)) => interval.times.push(range),
            Some(Err(reason)) => faults.add(value.line(), format!("times: {reason}")),
            None => {}
        }
    }
    if let Some(value) = m.get("location") {
        match value.text(faults).map(|text| Zone::parse(&text)) {
            Some(Ok(zone)) => interval.zone = zone,
            Some(Err(expected)) => value.expected(expected, faults),
            None => {}
        }
    }
    m.finish(faults);
    Some(interval)
}

fn ranges<T>(
    m: &mut Mapping<'_, '_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<T, &'static str>,
    faults: &mut Faults,
) -> Vec<T> {
    let mut all = Vec::new();
    for value in m.get(key).map(|value| value.list(faults)).unwrap_or_default() {
        match value.text(faults).map(|text| read(&text)) {
            Some(Ok(range)) => all.push(range),
            Some(Err(reason)) => faults.add(value.line(), format!("{key}: {reason}")),
            None => {}
        }
    }
    all
}

/// How long an alert of others lasts when its sender does not say when it ends, unless another is configured.
pub(super) const RESOLVE_TIMEOUT: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse;

    const RECEIVERS: &str = "receivers:\n- name: ops\n  webhook_configs: [{url: 'http://127.0.0.1:1/'}]\n- name: db\n";

    fn faults_of(text: &str) -> Vec<String> {
        let parsed = parse("f", &format!("{RECEIVERS}{text}"), Path::new("."));
        parsed.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tree_in_alertmanagers_words_is_read() {
        let text = r#"
route:
  receiver: ops
  group_by: [alertname, cluster]
  group_wait: 10s
  repeat_interval: 3h
  routes:
  - matchers: ['service=~"db|cache"', severity="critical"]
    receiver: db
    continue: true
    mute_time_intervals: [weekend]
  - match: {team: web}
    match_re: {host: 'w.*'}
    group_by: ['...']
inhibit_rules:
- source_matchers: [severity="critical"]
  target_matchers: ['{severity="warning", team="web"}']
  equal: [service]
- {source_matchers: [db!=""], target_matchers: [db=""], dependents: true}
time_intervals:
- name: weekend
  time_intervals:
  - weekdays: ['saturday:sunday']
    location: America/New_York
"#;
        // Alertmanager's weeks begin with Sunday.
        let text = text.replace("'saturday:sunday'", "saturday, sunday");
        assert_eq!(faults_of(&text), [""; 0]);
        let config = parse("f", &format!("{RECEIVERS}{text}"), Path::new(".")).expect("is right");
        assert!(config.routing.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("route: {receiver: nobody}", "there is no receiver `nobody`"),
            ("route: {group_wait: 5s}", "`receiver` is missing"),
            ("route: {receiver: ops, matchers: ['a=b']}", "the root takes every alert"),
            ("route: {receiver: ops, routes: [{matchers: ['a']}]}", "bad matcher `a`"),
            ("route: {receiver: ops, routes: [{mute_time_intervals: [x]}]}", "there is no time interval `x`"),
            ("route: {receiver: ops, group_interval: 0s}", "group_interval"),
            ("route: {receiver: ops, colour: red}", "unknown key `route.colour`"),
            ("inhibit_rules: []", "expects `route`"),
            ("inhibit_rules: [{source_matchers: [a=b], target_matchers: [c=d]}]", "expects `route`"),
            ("route: {receiver: ops}\ninhibit_rules: [{target_matchers: [c=d]}]", "expected source_matchers"),
            ("time_intervals: [{name: x, time_intervals: [{times: [{start_time: '9', end_time: '10:00'}]}]}]", "times"),
            ("time_intervals: [{name: x, time_intervals: [{location: Mars}]}]", "location"),
        ];
        for (text, expected) in cases {
            let faults = faults_of(text);
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{text}: {faults:?}");
        }
    }

    #[test]
    fn a_file_of_alertmanagers_is_taken_over() {
        let directory = tempfile::tempdir().expect("there is a temporary directory");
        let write = |text: &str| std::fs::write(directory.path().join("alertmanager.yml"), text).expect("writes");
        let read = || parse("f", "alertmanager_config: alertmanager.yml", directory.path());
        write(&format!("global: {{resolve_timeout: 7m}}\nroute: {{receiver: ops}}\n{RECEIVERS}"));
        let config = read().expect("is right");
        assert_eq!((config.receivers.len(), config.resolve_timeout), (2, Duration::from_mins(7)));
        assert!(config.routing.is_some());
        std::fs::write(directory.path().join("a.tmpl"), "{{ define \"a\" }}\n{{ nope }}{{ end }}").expect("writes");
        write(&format!("global: {{opsgenie_api_key: x}}\nroute: {{receiver: ops}}\n{RECEIVERS}templates: ['*.tmpl']"));
        let faults = read().expect_err("is wrong");
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(faults.len() == 2 && faults.iter().all(|fault| fault.contains("alertmanager.yml:")), "{faults:?}");
        assert!(faults[0].contains("global.opsgenie_api_key"), "{faults:?}");
    }
}
