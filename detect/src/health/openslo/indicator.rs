//! What an `SLI` of OpenSLO measures.

use query::Query;

use super::super::objective::Source;
use crate::yaml::{Faults, Mapping, Value};

/// What is measured.
#[derive(Clone, Debug)]
pub(super) enum Indicator {
    /// The share of bad events.
    Ratio(Source),
    /// The same, of which only the quotient is known.
    Share(Source),
    /// A value that is compared with a threshold.
    Threshold(Source),
}

/// The `spec` of an SLI.
pub(super) fn indicator(mut spec: Mapping<'_, '_>, faults: &mut Faults) -> Option<Indicator> {
    spec.get("description");
    let line = spec.line();
    let ratio = spec.get("ratioMetric");
    let threshold = spec.get("thresholdMetric");
    spec.finish(faults);
    match (ratio, threshold) {
        (Some(ratio), None) => ratio_metric(ratio.mapping(faults)?, faults),
        (None, Some(threshold)) => Some(Indicator::Threshold(Source::Expression(query_of(&threshold, faults)?.0))),
        _ => {
            faults.add(line, "expected either `ratioMetric` or `thresholdMetric`");
            None
        }
    }
}

fn ratio_metric(mut ratio: Mapping<'_, '_>, faults: &mut Faults) -> Option<Indicator> {
    let line = ratio.line();
    // Rates are made of both kinds of counters alike: rising ones, and those whose queries are rates already.
    ratio.get("counter").and_then(|counter| counter.boolean(faults));
    let (raw, of_what) = (ratio.get("raw"), ratio.get("rawType"));
    let mut counter = |key: &'static str, faults: &mut Faults| {
        let value = ratio.get(key)?;
        let (text, line) = query_of(&value, faults)?;
        let selector = counter_of(&text);
        if selector.is_none() {
            faults.add(line, format!("{key}: not done; expected a selector of a counter, or a sum or rate of one"));
        }
        selector
    };
    let (good, bad, total) = (counter("good", faults), counter("bad", faults), counter("total", faults));
    ratio.finish(faults);
    match (raw, good, bad, total) {
        (Some(raw), None, None, None) => share(&raw, of_what.as_ref(), faults),
        (None, Some(good), None, Some(total)) if of_what.is_none() => {
            Some(Indicator::Ratio(Source::GoodCounters { good, total }))
        }
        (None, None, Some(bad), Some(total)) if of_what.is_none() => {
            Some(Indicator::Ratio(Source::Counters { bad, total }))
        }
        _ => {
            faults.add(line, "ratioMetric: expected `total` and either `good` or `bad`, or `raw` and `rawType`");
            None
        }
    }
}

/// A ratio that has been divided already, of what was good or of what was bad.
fn share(raw: &Value<'_, '_>, of_what: Option<&Value<'_, '_>>, faults: &mut Faults) -> Option<Indicator> {
    let (text, _) = query_of(raw, faults)?;
    let Some(of_what) = of_what else {
        faults.add(raw.line(), "raw: expected `rawType` beside it");
        return None;
    };
    match of_what.text(faults)?.as_str() {
        // The text may end in a comment.
        "success" => Some(Indicator::Share(Source::Expression(format!("1 - ({text}\n)")))),
        "failure" => Some(Indicator::Share(Source::Expression(text))),
        _ => {
            of_what.expected("success or failure", faults);
            None
        }
    }
}

/// The PromQL of a `metricSource`, and its line.
fn query_of(value: &Value<'_, '_>, faults: &mut Faults) -> Option<(String, usize)> {
    let mut outer = value.mapping(faults)?;
    let mut source = outer.required("metricSource", faults)?.mapping(faults)?;
    outer.finish(faults);
    source.get("metricSourceRef").and_then(|name| name.text(faults));
    if let Some(kind) = source.get("type")
        && kind.text(faults)? != "Prometheus"
    {
        kind.expected("Prometheus: others are not done", faults);
        return None;
    }
    let mut spec = source.required("spec", faults)?.mapping(faults)?;
    source.finish(faults);
    let query = spec.required("query", faults)?;
    spec.finish(faults);
    let text = query.text(faults)?.trim().to_owned();
    if let Err(error) = Query::parse(&text) {
        faults.add(query.line(), format!("query: {error}"));
        return None;
    }
    Some((text, query.line()))
}

/// The selector of the counter in `text`: alone, or in sums and rates, which are made anew for each window.
pub(super) fn counter_of(text: &str) -> Option<String> {
    let text = text.trim();
    if Query::parse(text).is_ok_and(|query| query.selector().is_some()) {
        return Some(text.to_owned());
    }
    let inner = |function: &str| {
        let rest = text.strip_prefix(function)?.trim_start();
        // `sum by (job) (x)`, `sum(x) by (job)`, `sum(x)`, `rate(x[5m])`.
        let rest = match rest.strip_prefix("by") {
            Some(rest) => rest.split_once(')')?.1.trim_start(),
            None => rest,
        };
        let (body, after) = rest.strip_prefix('(')?.rsplit_once(')')?;
        let grouped = body.rsplit_once(')').filter(|(_, by)| by.trim_start().starts_with("by"));
        after.trim().is_empty().then(|| grouped.map_or(body, |(body, _)| body).to_owned())
    };
    if let Some(body) = inner("sum") {
        return counter_of(&body);
    }
    let body = inner("rate").or_else(|| inner("increase"))?;
    counter_of(body.rsplit_once('[')?.0)
}
