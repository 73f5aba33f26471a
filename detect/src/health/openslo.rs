//! Objectives from OpenSLO v1 files. What cannot be followed is a fault by file and line, never left out in silence.
//!
//! Kinds `SLO` and `SLI` are read. `Service` and `DataSource` name things and change nothing here. `AlertPolicy`,
//! `AlertCondition` and `AlertNotificationTarget` say who is told of what, which rules and receivers do.

mod budget;
mod indicator;

use std::collections::BTreeMap;

use self::{
    budget::{Budgeting, Method},
    indicator::{Indicator, indicator},
};
use super::objective::Objective;
use crate::yaml::{Document, Fault, Faults, Mapping, Value};

/// The version that is read.
const VERSION: &str = "openslo/v1";

/// Whether `text` holds objectives as OpenSLO writes them.
#[must_use]
pub fn is_openslo(text: &str) -> bool {
    let mut faults = Faults::of("");
    let version = |document: &Document<'_>| {
        let version = document.mapping(&mut Faults::of("")).get("apiVersion")?.text(&mut Faults::of(""))?;
        Some(version.starts_with("openslo/"))
    };
    Document::all(text, &mut faults).iter().any(|document| version(document) == Some(true))
}

/// Reads files, given by name and text. An indicator may stand in another file than the objectives that use it.
///
/// # Errors
/// Every fault of every file.
pub fn read(files: &[(String, String)]) -> Result<Vec<Objective>, Vec<Fault>> {
    let mut known = Known::default();
    let mut all = Vec::new();
    for (file, text) in files {
        let mut faults = Faults::of(file);
        let documents = Document::all(text, &mut faults);
        for document in &documents {
            if let Some((name, indicator)) = indicator_document(document, &mut faults) {
                known.indicators.insert(name, indicator);
            }
            for title in titles(document) {
                *known.titles.entry(title).or_default() += 1;
            }
        }
        all.extend(faults.into_result(()).err().into_iter().flatten());
    }
    let mut objectives: Vec<Objective> = Vec::new();
    for (file, text) in files {
        // What is wrong with the text has been said.
        let documents = Document::all(text, &mut Faults::of(file));
        let mut faults = Faults::of(file);
        for document in &documents {
            objectives.extend(objective_document(document, &known, &mut faults));
        }
        all.extend(faults.into_result(()).err().into_iter().flatten());
    }
    all.sort();
    all.dedup();
    if all.is_empty() { Ok(objectives) } else { Err(all) }
}

/// What is known of all files before objectives are read.
#[derive(Default)]
struct Known {
    indicators: BTreeMap<String, Indicator>,
    /// How many objectives have each title.
    titles: BTreeMap<String, usize>,
}

impl Known {
    /// What an objective is called: its title, behind the name of its SLO where others have the same title.
    fn name(&self, slo: &str, title: Option<String>) -> String {
        match title {
            Some(title) if self.titles.get(&title).is_none_or(|count| *count < 2) => title,
            Some(title) => format!("{slo}: {title}"),
            None => slo.to_owned(),
        }
    }
}

/// The titles of the objectives in a document. What is wrong with it is said when it is read.
fn titles(document: &Document<'_>) -> Vec<String> {
    let mut faults = Faults::of("");
    let Some((_, _, mut top)) = head(document, &mut faults) else { return Vec::new() };
    let spec = top.get("spec");
    let mut spec = spec.as_ref().and_then(|spec| spec.mapping(&mut faults));
    let objectives = spec.as_mut().and_then(|spec| spec.get("objectives"));
    let objectives = objectives.map(|value| value.list(&mut faults)).unwrap_or_default();
    let title = |value: &Value<'_, '_>| {
        let mut faults = Faults::of("");
        value.mapping(&mut faults)?.get("displayName")?.text(&mut faults)
    };
    objectives.iter().filter_map(title).collect()
}

/// The parts that all kinds have: kind, name, and the rest.
fn head<'d, 'a>(document: &'d Document<'a>, faults: &mut Faults) -> Option<(String, String, Mapping<'d, 'a>)> {
    let mut top = document.mapping(faults);
    let version = top.required("apiVersion", faults)?;
    if version.text(faults)? != VERSION {
        version.expected(VERSION, faults);
        return None;
    }
    let kind = top.required("kind", faults)?;
    let kind_text = kind.text(faults)?;
    let mut metadata = top.required("metadata", faults)?.mapping(faults)?;
    let name = metadata.required("name", faults)?.text(faults)?;
    match kind_text.as_str() {
        "SLO" | "SLI" | "Service" | "DataSource" => Some((kind_text, name, top)),
        "AlertPolicy" | "AlertCondition" | "AlertNotificationTarget" => {
            let line = kind.line();
            faults.add(line, format!("kind {kind_text}: not done; alerts are raised by rules and go to receivers"));
            None
        }
        _ => {
            kind.expected("SLO, SLI, Service or DataSource", faults);
            None
        }
    }
}

fn indicator_document(document: &Document<'_>, faults: &mut Faults) -> Option<(String, Indicator)> {
    let (kind, name, mut top) = head(document, faults)?;
    if kind != "SLI" {
        return None;
    }
    let spec = top.required("spec", faults)?.mapping(faults)?;
    Some((name, indicator(spec, faults)?))
}

fn objective_document(document: &Document<'_>, known: &Known, faults: &mut Faults) -> Vec<Objective> {
    // What is wrong with the head has been said.
    match head(document, &mut Faults::of("")) {
        Some((kind, name, top)) if kind == "SLO" => slo(&name, top, known, faults).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn slo(name: &str, mut top: Mapping<'_, '_>, known: &Known, faults: &mut Faults) -> Option<Vec<Objective>> {
    let mut spec = top.required("spec", faults)?.mapping(faults)?;
    spec.get("description");
    let service = spec.required("service", faults)?.text(faults)?;
    let inline = spec.get("indicator");
    let named = spec.get("indicatorRef");
    let indicator = match (&inline, &named) {
        (Some(inline), None) => {
            let mut inline = inline.mapping(faults)?;
            inline.get("metadata");
            let spec = inline.required("spec", faults)?.mapping(faults)?;
            inline.finish(faults);
            indicator(spec, faults)
        }
        (None, Some(named)) => {
            let found = known.indicators.get(&named.text(faults)?);
            if found.is_none() {
                named.expected("the name of an SLI in one of the files", faults);
            }
            found.cloned()
        }
        _ => {
            faults.add(spec.line(), "expected either `indicator` or `indicatorRef`");
            None
        }
    };
    let method = Method::of(spec.get("budgetingMethod"), faults);
    time_window(&mut spec, faults);
    if let Some(policies) = spec.get("alertPolicies")
        && !policies.list(faults).is_empty()
    {
        faults.add(policies.line(), "alertPolicies: not done; alerts are raised by rules and go to receivers");
    }
    let objectives = spec.required("objectives", faults)?.list(faults);
    spec.finish(faults);
    let indicator = indicator?;
    let read = objectives.iter().enumerate().filter_map(|(i, value)| {
        let name = if objectives.len() == 1 { name.to_owned() } else { format!("{name}/{}", i + 1) };
        let mut objective = objective(&name, value, (&indicator, method), known, faults)?;
        objective.service = Some(service.as_str().into());
        objective.is_published = true;
        Some(objective)
    });
    Some(read.collect())
}

/// Burn rates are those of any window: neither its length decides anything here, nor when it begins anew.
fn time_window(spec: &mut Mapping<'_, '_>, faults: &mut Faults) {
    let Some(value) = spec.get("timeWindow") else { return };
    for window in value.list(faults) {
        let Some(mut window) = window.mapping(faults) else { continue };
        window.get("duration").and_then(|duration| duration.text(faults));
        let calendar = window.get("calendar");
        if let Some(mut calendar) = calendar.as_ref().and_then(|value| value.mapping(faults)) {
            calendar.required("startTime", faults).and_then(|value| value.text(faults));
            calendar.get("timeZone").and_then(|value| value.text(faults));
            calendar.finish(faults);
        }
        if let Some(rolling) = window.get("isRolling")
            && rolling.boolean(faults) == Some(calendar.is_some())
        {
            rolling.expected("true without `calendar` and false with it", faults);
        }
        window.finish(faults);
    }
}

fn objective(
    name: &str,
    value: &Value<'_, '_>,
    (indicator, method): (&Indicator, Method),
    known: &Known,
    faults: &mut Faults,
) -> Option<Objective> {
    let mut m = value.mapping(faults)?;
    let title = m.get("displayName").and_then(|title| title.text(faults));
    let weight = m.get("compositeWeight");
    let (target, percent) = (m.get("target"), m.get("targetPercent"));
    let budgeting = Budgeting::of(&mut m, method, faults);
    for key in ["indicator", "indicatorRef"] {
        if let Some(value) = m.get(key) {
            faults.add(value.line(), format!("{key}: not done in an objective"));
        }
    }
    let (op, limit) = (m.get("op"), m.get("value"));
    let line = m.line();
    m.finish(faults);
    let budget = 1.0 - share(target, percent, line, faults)?;
    let budgeting = budgeting?;
    let name = known.name(name, title);
    let made = match indicator {
        Indicator::Ratio(source) | Indicator::Share(source) => {
            check_comparison(op, limit, faults);
            let new = |range, good| Objective::new(&name, source, range, good, Objective::worst_share(good));
            match budgeting {
                Budgeting::Timeslices(share, slice) => {
                    new(slice, 1.0 - share).and_then(|o| o.with_budget_of_time(budget))
                }
                Budgeting::RatioTimeslices(slice) => new(slice, budget).and_then(|o| o.with_budget_of_values(budget)),
                Budgeting::Occurrences => new(Objective::RANGE, budget).and_then(|o| match indicator {
                    Indicator::Share(_) => o.with_budget_of_values(budget),
                    _ => o.with_budget(source, budget),
                }),
            }
        }
        Indicator::Threshold(source) => {
            let Limits { good, bad, is_strict } = limits(op, limit, line, faults)?;
            let new = Objective::new(&name, source, Objective::RANGE, good, bad);
            new.map(|o| Objective { is_strict, ..o }).and_then(|o| match budgeting {
                Budgeting::Timeslices(target, slice) => o.with_budget_of_slices(budget, slice, Some(target)),
                Budgeting::RatioTimeslices(slice) => o.with_budget_of_slices(budget, slice, None),
                Budgeting::Occurrences => o.with_budget(source, budget),
            })
        }
    };
    let mut objective = made.map_err(|error| faults.add(line, error)).ok()?;
    if let Some(weight) = weight {
        objective.weight = weight.number(faults)?;
        if !(0.0..=1.0).contains(&objective.weight) {
            weight.expected("a weight from 0 to 1", faults);
        }
    }
    Some(objective)
}

/// The share that has to be good: `target`, or `targetPercent` of a hundred.
fn share(
    target: Option<Value<'_, '_>>,
    percent: Option<Value<'_, '_>>,
    line: usize,
    faults: &mut Faults,
) -> Option<f64> {
    let (share, written) = match (target, percent) {
        (Some(target), None) => (target.number(faults)?, target),
        (None, Some(percent)) => (percent.number(faults)? / 100.0, percent),
        _ => {
            faults.add(line, "expected either `target` or `targetPercent`");
            return None;
        }
    };
    if !(share > 0.0 && share < 1.0) {
        written.expected("more than 0 and less than 1 (100 as a percentage)", faults);
        return None;
    }
    Some(share)
}

/// A share of good events is compared with its target, in one way only.
fn check_comparison(op: Option<Value<'_, '_>>, limit: Option<Value<'_, '_>>, faults: &mut Faults) {
    if let Some(op) = op
        && op.text(faults).is_some_and(|op| op != "gt" && op != "gte")
    {
        op.expected("gt or gte for a ratioMetric, or nothing", faults);
    }
    if let Some(limit) = limit {
        faults.add(limit.line(), "`value` is of a thresholdMetric");
    }
}

/// Where a value is good, and where health is 0.
struct Limits {
    good: f64,
    /// Ten times as far, or nothing at all.
    bad: f64,
    is_strict: bool,
}

fn limits(op: Option<Value<'_, '_>>, limit: Option<Value<'_, '_>>, line: usize, faults: &mut Faults) -> Option<Limits> {
    let (Some(op), Some(limit)) = (op, limit) else {
        faults.add(line, "expected `op` and `value` for a thresholdMetric");
        return None;
    };
    let good = limit.number(faults)?;
    if good <= 0.0 {
        limit.expected("a value greater than 0", faults);
        return None;
    }
    let (bad, is_strict) = match op.text(faults)?.as_str() {
        "lt" => (good * Objective::WORST_TIMES, true),
        "lte" => (good * Objective::WORST_TIMES, false),
        "gt" => (0.0, true),
        "gte" => (0.0, false),
        _ => {
            op.expected("lt, lte, gt or gte", faults);
            return None;
        }
    };
    Some(Limits { good, bad, is_strict })
}

#[cfg(test)]
#[path = "openslo/tests.rs"]
mod tests;
