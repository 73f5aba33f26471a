//! Reading what has to hold: `level.objectives`, `level.openslo_files` and `level.weights`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use alerting::{LevelHook, Receiver, Target};
use detect::{
    HealthConfig, Objective,
    health::{Source, openslo},
    yaml::{Fault, Faults, Mapping, Value},
};
use query::Query;

use super::{
    Config,
    file::{number, positive, read_text, set},
};

/// Objectives that are read at most, each of which asks up to seven questions.
const MOST: usize = 200;
/// The share of the time for which a latency has to be good if nothing is said.
const TIME: f64 = 0.99;

/// Reads the keys of objectives in the section `level`; what is wrong with files that it names is returned.
pub(super) fn read(
    m: &mut Mapping<'_, '_>,
    health: &mut HealthConfig,
    directory: &Path,
    faults: &mut Faults,
) -> Vec<Fault> {
    let mut has_defaults = true;
    set(m, "default_objectives", faults, |v, f| v.boolean(f), &mut has_defaults);
    if !has_defaults {
        health.objectives.clear();
    }
    weights(m, health, faults);
    let mut names = BTreeSet::new();
    if let Some(value) = m.get("objectives") {
        let list = value.list(faults);
        if list.len() > MOST {
            value.expected(&format!("at most {MOST} objectives"), faults);
        }
        for entry in list.iter().take(MOST) {
            let Some(objective) = objective(entry, faults) else { continue };
            if !names.insert(Arc::clone(&objective.name)) {
                faults.add(entry.line(), format!("the objective `{}` is given twice", objective.name));
            }
            health.objectives.push(objective);
        }
    }
    let Some(value) = m.get("openslo_files") else { return Vec::new() };
    let files = value.list(faults);
    let files: Vec<PathBuf> = files.iter().filter_map(|v| Some(directory.join(v.text(faults)?))).collect();
    match read_openslo(&files) {
        Ok(objectives) => {
            for objective in objectives {
                if !names.insert(Arc::clone(&objective.name)) {
                    faults.add(value.line(), format!("the objective `{}` is given twice", objective.name));
                }
                health.objectives.push(objective);
            }
            Vec::new()
        }
        Err(others) => others,
    }
}

/// Reads files of OpenSLO v1.
///
/// # Errors
/// Every fault of every file.
pub(crate) fn read_openslo(files: &[PathBuf]) -> Result<Vec<Objective>, Vec<Fault>> {
    let (mut texts, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        match read_text(file) {
            Ok(text) => texts.push((file.display().to_string(), text)),
            Err(found) => faults.extend(found),
        }
    }
    match openslo::read(&texts) {
        Ok(objectives) if faults.is_empty() => Ok(objectives),
        Ok(_) => Err(faults),
        Err(others) => Err(faults.into_iter().chain(others).collect()),
    }
}

/// `level.webhooks`: who is told of changes.
pub(super) fn hooks(m: &mut Mapping<'_, '_>, hooks: &mut Vec<LevelHook>, faults: &mut Faults) {
    let Some(value) = m.get("webhooks") else { return };
    for entry in value.list(faults) {
        let Some(mut entry) = entry.mapping(faults) else { continue };
        let receiver = entry.required("receiver", faults).and_then(|v| v.text(faults));
        let service = entry.get("service").and_then(|v| v.text(faults));
        entry.finish(faults);
        hooks.extend(receiver.map(|receiver| LevelHook { receiver, service }));
    }
}

/// Whether those who are told can be: receivers come after the section `level`.
pub(super) fn check_hooks(config: &Config, faults: &mut Faults) {
    for hook in &config.level_hooks {
        let name = &hook.receiver;
        let receiver = config.receivers.iter().find(|receiver| receiver.name() == name);
        let has_webhook = |receiver: &Receiver| {
            receiver.integrations().iter().any(|integration| matches!(integration.target(), Target::Webhook(_)))
        };
        match receiver {
            None => faults.add(0, format!("level.webhooks: there is no receiver `{name}`")),
            Some(receiver) if !has_webhook(receiver) => {
                faults.add(0, format!("level.webhooks: receiver `{name}` has no webhook_configs"));
            }
            Some(_) => {}
        }
    }
}

fn weights(m: &mut Mapping<'_, '_>, health: &mut HealthConfig, faults: &mut Faults) {
    let Some(weights) = m.get("weights").and_then(|v| v.mapping(faults)) else { return };
    for (service, text, line) in weights.texts(faults) {
        match text.parse::<f64>() {
            Ok(weight) if (0.0..=1.0).contains(&weight) => {
                health.weights.insert(service, weight);
            }
            _ => faults.add(line, format!("level.weights.{service}: expected a number from 0 to 1, found `{text}`")),
        }
    }
}

fn objective(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Objective> {
    let mut m = value.mapping(faults)?;
    let line = m.line();
    let name = m.required("name", faults).and_then(|v| v.text(faults));
    let service = m.get("service").and_then(|v| v.text(faults));
    let mut weight = 1.0;
    set(&mut m, "weight", faults, |v, f| number(v, f, 0.0, 1.0), &mut weight);
    let kind = m.required("kind", faults)?;
    let measured = match kind.text(faults)?.as_str() {
        "error_ratio" => error_ratio(&mut m, faults),
        "latency" => latency(&mut m, faults),
        "saturation" => valued(&mut m, "below", faults),
        "business_ratio" | "cache_hit_ratio" => valued(&mut m, "above", faults),
        _ => {
            kind.expected("error_ratio, latency, saturation, business_ratio or cache_hit_ratio", faults);
            return None;
        }
    };
    m.finish(faults);
    let (name, measured) = (name?, measured?);
    let Measured { source, range, good, bad, budget } = measured;
    let made = Objective::new(&name, &source, range, good, bad).and_then(|objective| match budget {
        Some(share) => objective.with_budget(&source, share),
        None => Ok(objective),
    });
    let objective = made.map_err(|error| faults.add(line, format!("objective `{name}`: {error}"))).ok()?;
    Some(Objective { service: service.map(Into::into), weight, is_published: true, ..objective })
}

/// What an objective is made of.
struct Measured {
    source: Source,
    range: Duration,
    good: f64,
    bad: f64,
    budget: Option<f64>,
}

fn range(m: &mut Mapping<'_, '_>, faults: &mut Faults) -> Duration {
    let mut range = Objective::RANGE;
    set(m, "range", faults, positive, &mut range);
    range
}

/// A share that has to be good, of which something is left to spend.
fn share(value: &Value<'_, '_>, faults: &mut Faults) -> Option<f64> {
    let share = value.number(faults)?;
    if !(share > 0.0 && share < 1.0) {
        value.expected("a share greater than 0 and less than 1, such as 0.999", faults);
        return None;
    }
    Some(share)
}

fn worst(m: &mut Mapping<'_, '_>, good: f64, bad: f64, faults: &mut Faults) -> Option<f64> {
    let Some(value) = m.get("worst") else { return Some(bad) };
    let given = value.number(faults)?;
    // On the same side of the target as what is bad if nothing is said.
    if (given > good) != (bad > good) || (given - good).abs() < f64::EPSILON {
        let side = if bad > good { "more" } else { "less" };
        value.expected(&format!("a value that is {side} than the target, {good}"), faults);
        return None;
    }
    Some(given)
}

/// Label matchers such as `span_name="quote"`.
fn selector(m: &mut Mapping<'_, '_>, faults: &mut Faults) -> Option<String> {
    let Some(value) = m.get("selector") else { return Some(String::new()) };
    let text = value.text(faults)?;
    let text = text.trim().trim_start_matches('{').trim_end_matches('}').trim();
    if Query::parse(&format!("x{{{text}}}")).is_ok_and(|query| query.selector().is_some()) {
        return Some(text.to_owned());
    }
    value.expected("label matchers such as span_name=\"quote\"", faults);
    None
}

fn error_ratio(m: &mut Mapping<'_, '_>, faults: &mut Faults) -> Option<Measured> {
    let target = m.required("target", faults).and_then(|v| share(&v, faults));
    let range = range(m, faults);
    let selector = selector(m, faults);
    let (errors, total) = (counter(m, "errors", faults), counter(m, "total", faults));
    let source = match (errors, total) {
        (Some(bad), Some(total)) => Source::Counters { bad, total },
        (None, None) => Source::Calls(selector?),
        _ => {
            faults.add(m.line(), "expected both `errors` and `total`, or neither");
            return None;
        }
    };
    let good = 1.0 - target?;
    let bad = worst(m, good, Objective::worst_share(good), faults)?;
    Some(Measured { source, range, good, bad, budget: Some(good) })
}

/// The selector of a counter.
fn counter(m: &mut Mapping<'_, '_>, key: &'static str, faults: &mut Faults) -> Option<String> {
    let value = m.get(key)?;
    let text = value.text(faults)?;
    if !Query::parse(&text).is_ok_and(|query| query.selector().is_some()) {
        value.expected("a selector such as http_errors_total{code=\"500\"}", faults);
    }
    Some(text)
}

fn latency(m: &mut Mapping<'_, '_>, faults: &mut Faults) -> Option<Measured> {
    let threshold = m.required("threshold", faults).and_then(|v| positive(&v, faults));
    let range = range(m, faults);
    let mut target = TIME;
    set(m, "target", faults, share, &mut target);
    let mut quantile = 0.95;
    set(m, "quantile", faults, share, &mut quantile);
    let selector = selector(m, faults);
    let source = match m.get("metric") {
        Some(metric) => Source::Histogram(quantile, metric.text(faults)?),
        None if [0.5, 0.95, 0.99].iter().any(|known| (quantile - known).abs() < 1e-9) => {
            Source::Durations(quantile, selector?)
        }
        None => {
            faults.add(m.line(), "quantile: expected 0.5, 0.95 or 0.99 of spans, or the `metric` of a histogram");
            return None;
        }
    };
    let good = threshold?.as_secs_f64();
    let bad = match m.get("worst") {
        None => good * Objective::WORST_TIMES,
        Some(value) => {
            let worst = positive(&value, faults)?.as_secs_f64();
            if worst <= good {
                value.expected("a duration longer than the threshold", faults);
                return None;
            }
            worst
        }
    };
    Some(Measured { source, range, good, bad, budget: Some(1.0 - target) })
}

/// A value by PromQL, whose target is a least or a greatest one.
fn valued(m: &mut Mapping<'_, '_>, direction: &'static str, faults: &mut Faults) -> Option<Measured> {
    let expr = m.required("expr", faults).and_then(|v| v.text(faults));
    let good = m.required("target", faults).and_then(|v| number(&v, faults, f64::MIN_POSITIVE, f64::MAX));
    let mut is_above = direction == "above";
    let side = |value: &Value<'_, '_>, faults: &mut Faults| match value.text(faults)?.as_str() {
        "above" => Some(true),
        "below" => Some(false),
        _ => {
            value.expected("above or below", faults);
            None
        }
    };
    set(m, "direction", faults, side, &mut is_above);
    let mut time = None;
    set(m, "time_target", faults, |v, f| share(v, f).map(Some), &mut time);
    let good = good?;
    let bad = match is_above {
        true => 0.0,
        false if good < 1.0 => 1.0,
        false => 2.0 * good,
    };
    let bad = worst(m, good, bad, faults)?;
    Some(Measured {
        source: Source::Expression(expr?),
        range: Objective::RANGE,
        good,
        bad,
        budget: time.map(|t| 1.0 - t),
    })
}

#[cfg(test)]
#[path = "objectives/tests.rs"]
mod tests;
