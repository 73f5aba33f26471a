//! Runbooks as data: what raises them, what is seen, and steps that a person follows today and that name, in a
//! checked form, what a machine could do.
//!
//! Nothing here runs anything. The form is checked all the same, so that what is written today can be run later.

use std::{collections::BTreeSet, time::Duration};

use detect::yaml::{Document, Fault, Faults, Mapping, Value};
use query::Query;

/// A runbook that was read from YAML.
#[derive(Clone, Debug)]
pub struct Runbook {
    /// What it is about, in a few words.
    pub title: String,
    /// What raises it, for people.
    pub trigger: String,
    /// What is seen.
    pub symptoms: Vec<String>,
    /// What it comes from, most of the time; may be empty.
    pub causes: Vec<String>,
    /// What to do, in this order. Never empty; no two have the same name.
    pub steps: Vec<Step>,
    /// How one knows that it is over.
    pub verification: Vec<String>,
    /// Whom to call, and when.
    pub escalation: String,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name: unique in the runbook.
    pub name: String,
    /// What a person does.
    pub text: Option<String>,
    /// What a machine would do.
    pub action: Option<Action>,
    /// How long to wait afterwards.
    pub wait: Option<Duration>,
    /// How one knows that it worked.
    pub verify: Option<Verify>,
    /// What happens when it did not. Default [`OnFailure::Abort`].
    pub on_failure: OnFailure,
    /// Whether it is done at all; always without one.
    pub condition: Option<Condition>,
}

/// An action by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Lower-case letters, digits, `_`, `-` and `.`; at most 100 characters.
    pub name: String,
    /// What it is given, in the order of the file.
    pub params: Vec<(String, String)>,
}

/// A number that has to be right.
#[derive(Clone, Debug)]
pub struct Verify {
    /// The number, as a query.
    pub metric: Query,
    /// What is right.
    pub condition: Comparison,
    /// How long it has to be; a moment without it.
    pub hold: Option<Duration>,
    /// How long it may take.
    pub deadline: Option<Duration>,
}

/// A comparison with a number: `> 20`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// One of `>`, `>=`, `<`, `<=`, `==`, `!=`.
    pub operator: &'static str,
    /// Finite.
    pub number: f64,
}

/// What happens when a step fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The runbook ends.
    #[default]
    Abort,
    /// The next step is done.
    Continue,
    /// Somebody is called.
    Escalate,
    /// It goes on with this step.
    Step(String),
}

/// When a step is done.
#[derive(Clone, Debug)]
pub enum Condition {
    /// When all steps before it have failed.
    AllStepsFailed,
    /// When any step before it has failed.
    AnyStepFailed,
    /// When this query has a result.
    Query(Query),
}

const OPERATORS: [&str; 6] = [">=", "<=", "==", "!=", ">", "<"];
const MAX_STEPS: usize = 100;
const MAX_NAME: usize = 100;

/// Whether `text` looks like a runbook in YAML, as opposed to rules or a configuration.
#[must_use]
pub fn is_runbook(text: &str) -> bool {
    let mut faults = Faults::of("");
    Document::parse(text, &mut faults).mapping(&mut faults).get("steps").is_some()
}

impl Runbook {
    /// Reads `text`; `file` names it in faults.
    ///
    /// # Errors
    /// Every fault at once, with its line and field.
    pub fn read(file: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::of(file);
        let document = Document::parse(text, &mut faults);
        let mut top = document.mapping(&mut faults);
        let mut required = |key| top.required(key, &mut faults).and_then(|v| v.text(&mut faults)).unwrap_or_default();
        let (title, trigger, escalation) = (required("title"), required("trigger"), required("escalation"));
        let symptoms = texts(top.required("symptoms", &mut faults), &mut faults);
        let causes = texts(top.get("causes"), &mut faults);
        let verification = texts(top.required("verification", &mut faults), &mut faults);
        let steps = steps(&mut top, &mut faults);
        top.finish(&mut faults);
        faults.into_result(Self { title, trigger, symptoms, causes, steps, verification, escalation })
    }
}

fn texts(value: Option<Value<'_, '_>>, faults: &mut Faults) -> Vec<String> {
    let items = value.map(|v| v.list(faults)).unwrap_or_default();
    items.iter().filter_map(|v| v.text(faults)).collect()
}

fn steps(top: &mut Mapping<'_, '_>, faults: &mut Faults) -> Vec<Step> {
    let Some(value) = top.required("steps", faults) else { return Vec::new() };
    let items = value.list(faults);
    if !(1..=MAX_STEPS).contains(&items.len()) {
        faults.add(value.line(), format!("steps: expected 1 to {MAX_STEPS} steps, got {}", items.len()));
    }
    let steps: Vec<(Step, usize)> = items.iter().filter_map(|v| Some((step(v, faults)?, v.line()))).collect();
    let mut names = BTreeSet::new();
    for (step, line) in &steps {
        if !names.insert(&step.name) {
            faults.add(*line, format!("steps: the name `{}` is given twice", step.name));
        }
    }
    for (step, line) in &steps {
        if let OnFailure::Step(name) = &step.on_failure
            && !names.contains(name)
        {
            faults.add(*line, format!("steps.on_failure: there is no step `{name}`"));
        }
    }
    steps.into_iter().map(|(step, _)| step).collect()
}

fn step(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Step> {
    let mut m = value.mapping(faults)?;
    let name = m.required("name", faults).and_then(|v| v.text(faults));
    if name.as_ref().is_some_and(|name| !(1..=MAX_NAME).contains(&name.chars().count())) {
        faults.add(value.line(), format!("steps.name: expected 1 to {MAX_NAME} characters"));
    }
    let text = m.get("text").and_then(|v| v.text(faults));
    let action = action(&mut m, faults);
    let wait = duration(&mut m, "wait", faults);
    let verify = m.get("verify").and_then(|v| verify(&v, faults));
    let on_failure = m.get("on_failure").and_then(|v| on_failure(&v, faults)).unwrap_or_default();
    let condition = m.get("condition").and_then(|v| condition(&v, faults));
    let does_something = ["text", "action", "wait", "verify"].into_iter().any(|key| m.get(key).is_some());
    if !does_something {
        faults.add(value.line(), "steps: expected `text`, `action`, `wait` or `verify` in each step");
    }
    m.finish(faults);
    Some(Step { name: name?, text, action, wait, verify, on_failure, condition })
}

fn action(m: &mut Mapping<'_, '_>, faults: &mut Faults) -> Option<Action> {
    let (action, params) = (m.get("action"), m.get("params"));
    let params_line = params.as_ref().map(Value::line);
    let params = params.and_then(|v| v.mapping(faults)).map(|m| m.texts(faults)).unwrap_or_default();
    let params = params.into_iter().map(|(name, value, _)| (name, value)).collect();
    let Some(value) = action else {
        if let Some(line) = params_line {
            faults.add(line, "`params` expects `action` beside it");
        }
        return None;
    };
    let name = value.text(faults)?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    if !(1..=MAX_NAME).contains(&name.len()) || !name.chars().all(is_name) {
        value.expected("a name of lower-case letters, digits, _, - and .", faults);
        return None;
    }
    Some(Action { name, params })
}

fn duration(m: &mut Mapping<'_, '_>, key: &'static str, faults: &mut Faults) -> Option<Duration> {
    m.get(key).and_then(|v| v.duration(faults))
}

fn verify(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Verify> {
    let mut m = value.mapping(faults)?;
    let metric = m.required("metric", faults).and_then(|v| query(&v, faults));
    let condition = m.required("condition", faults).and_then(|v| {
        let read = comparison(&v.text(faults)?);
        if read.is_none() {
            v.expected("a comparison with a number, such as \"> 20\"", faults);
        }
        read
    });
    let (hold, deadline) = (duration(&mut m, "for", faults), duration(&mut m, "deadline", faults));
    if hold > deadline && deadline.is_some() {
        faults.add(value.line(), "verify.deadline: expected at least `for`");
    }
    m.finish(faults);
    Some(Verify { metric: metric?, condition: condition?, hold, deadline })
}

fn query(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Query> {
    let text = value.text(faults)?;
    Query::parse(&text).map_err(|error| value.expected(&format!("a query ({error})"), faults)).ok()
}

fn comparison(text: &str) -> Option<Comparison> {
    let text = text.trim();
    let operator = OPERATORS.into_iter().find(|operator| text.starts_with(operator))?;
    let number = text[operator.len()..].trim().parse().ok().filter(|number: &f64| number.is_finite())?;
    Some(Comparison { operator, number })
}

fn on_failure(value: &Value<'_, '_>, faults: &mut Faults) -> Option<OnFailure> {
    match value.text(faults)?.as_str() {
        "abort" => Some(OnFailure::Abort),
        "continue" => Some(OnFailure::Continue),
        "escalate" => Some(OnFailure::Escalate),
        text => {
            let step = text.strip_prefix("step:").map(|name| OnFailure::Step(name.trim().to_owned()));
            if step.is_none() {
                value.expected("abort, continue, escalate or step:NAME", faults);
            }
            step
        }
    }
}

fn condition(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Condition> {
    match value.text(faults)?.as_str() {
        "all_steps_failed" => Some(Condition::AllStepsFailed),
        "any_step_failed" => Some(Condition::AnyStepFailed),
        _ => query(value, faults).map(Condition::Query),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "
title: Too few connections
trigger: no connection is free
symptoms: [calls wait]
steps:
  - name: Look
    text: who holds them?
  - name: More
    action: db.pool_resize
    params: {size: 50, service: quotes}
    wait: 10s
    verify: {metric: 'sum(db_connections_available)', condition: '> 20', for: 30s, deadline: 2m}
    on_failure: step:Last
  - name: Last
    action: restart
    condition: all_steps_failed
    on_failure: escalate
verification: [calls do not wait]
escalation: the owner of the database
";

    fn faults(text: &str) -> Vec<String> {
        Runbook::read("r.yaml", text)
            .map_or_else(|found| found.iter().map(ToString::to_string).collect(), |_| Vec::new())
    }

    #[test]
    fn every_field_of_a_step_is_read() {
        let runbook = Runbook::read("r.yaml", SOUND).expect("is sound");
        let [look, more, last] = &runbook.steps[..] else { unreachable!("it has three steps") };
        assert_eq!((look.text.as_deref(), &look.on_failure), (Some("who holds them?"), &OnFailure::Abort));
        let params = [("size", "50"), ("service", "quotes")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(more.action, Some(Action { name: "db.pool_resize".into(), params: params.into() }));
        let verify = more.verify.as_ref().expect("is given");
        assert_eq!(verify.condition, Comparison { operator: ">", number: 20.0 });
        assert_eq!((verify.hold, verify.deadline), (Some(Duration::from_secs(30)), Some(Duration::from_mins(2))));
        assert_eq!((more.wait, &more.on_failure), (Some(Duration::from_secs(10)), &OnFailure::Step("Last".into())));
        assert!(matches!(last.condition, Some(Condition::AllStepsFailed)));
        assert!(is_runbook(SOUND) && !is_runbook("groups: []") && !is_runbook("steps"));
    }

    #[test]
    fn every_fault_is_found_with_its_line_and_field() {
        let bad = SOUND
            .replace("'> 20'", "'about 20'")
            .replace("sum(", "summ(")
            .replace("db.pool_resize", "rm -rf /")
            .replace("step:Last", "step:Lost")
            .replace("wait: 10s", "wait: soon")
            .replace("on_failure: escalate", "on_failure: pray")
            .replace("escalation:", "escalate:")
            .replace("text: who holds them?", "note: none");
        let found = faults(&bad);
        for expected in [
            "r.yaml:2: `escalation` is missing",
            "r.yaml:6: steps: expected `text`, `action`, `wait` or `verify` in each step",
            "r.yaml:7: unknown key `steps[0].note`",
            "r.yaml:9: steps[1].action: expected a name of lower-case letters",
            "r.yaml:11: steps[1].wait: expected",
            "r.yaml:12: steps[1].verify.metric: expected a query (",
            "r.yaml:12: steps[1].verify.condition: expected a comparison with a number",
            "r.yaml:8: steps.on_failure: there is no step `Lost`",
            "r.yaml:17: steps[2].on_failure: expected abort, continue, escalate or step:NAME",
            "unknown key `escalate`",
        ] {
            assert!(found.iter().any(|fault| fault.contains(expected)), "{expected} in {found:#?}");
        }
    }

    #[test]
    fn nothing_and_nonsense_are_faults_and_no_panic() {
        for text in
            ["", "steps:", "steps: []", "steps: [1]", "steps: {a: b}", "title: [", "steps: [{name: '', text: x}]"]
        {
            assert!(!faults(text).is_empty(), "{text}");
        }
        let twice = SOUND.replace("name: More", "name: Look");
        assert!(faults(&twice).iter().any(|fault| fault.contains("the name `Look` is given twice")));
    }
}
