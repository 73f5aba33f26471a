//! Which series a selector means, and their samples: read once, then walked along by the steps.

use std::{sync::Arc, time::Duration};

use regex::{Regex, RegexBuilder};
use window::{Labels, Sample, Series, SeriesId, SeriesKind, Snapshot, UnixNanos, is_stale};

use crate::{
    Options, QueryError,
    buckets::{self, LE},
    plan::Selector,
    value::Metric,
};

/// The label under which PromQL knows the name of a series.
pub(crate) const METRIC_NAME: &str = "__name__";

/// Greatest size of a compiled regular expression in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// One condition on one label.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) test: Test,
}

/// What a label's value must be; a label that is not set has the empty value.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    Is(String),
    IsNot(String),
    Matches(Regex),
    MatchesNot(Regex),
}

impl Test {
    pub(crate) fn holds(&self, value: &str) -> bool {
        match self {
            Self::Is(wanted) => value == wanted,
            Self::IsNot(unwanted) => value != unwanted,
            Self::Matches(regex) => regex.is_match(value),
            Self::MatchesNot(regex) => !regex.is_match(value),
        }
    }
}

/// Compiles `pattern` as PromQL means it: anchored at both ends, `.` matches line ends too.
///
/// Go takes a brace that starts no repetition for itself (`/users/{id}`), so that is tried second.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |p: &str| RegexBuilder::new(&format!("^(?s:{p})$")).size_limit(MAX_REGEX_BYTES).build();
    // The first error is the one about what the user wrote.
    build(pattern).or_else(|e| build(&with_literal_braces(pattern)).map_err(|_| e)).map_err(|e| match e {
        regex::Error::CompiledTooBig(limit) => {
            format!("regular expression {pattern:?} is too large: it compiles to more than {limit} bytes")
        }
        _ => format!("illegal regular expression {pattern:?}"),
    })
}

fn with_literal_braces(pattern: &str) -> String {
    let mut escaped = String::with_capacity(pattern.len() + 8);
    let mut after_backslash = false;
    for (i, c) in pattern.char_indices() {
        if c == '{' && !after_backslash && !starts_repetition(&pattern[i + 1..]) {
            escaped.push('\\');
        }
        after_backslash = c == '\\' && !after_backslash;
        escaped.push(c);
    }
    escaped
}

fn starts_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let (min, max) = inside.split_once(',').unwrap_or((inside, ""));
    !min.is_empty() && min.chars().chain(max.chars()).all(|c| c.is_ascii_digit())
}

/// The series of one selector with all samples that any step will need, sorted by name and labels.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) series: Vec<SelectedSeries>,
    /// How far back a step looks: the range, or the look-back.
    pub(crate) span: Duration,
    offset: i64,
}

/// One series and the samples that the present step sees.
#[derive(Debug)]
pub(crate) struct SelectedSeries {
    name: Arc<str>,
    labels: Labels,
    samples: Vec<Sample>,
    /// The samples before are too old for this and all later steps.
    from: usize,
    /// The samples from here on are too new for this step.
    until: usize,
}

impl Selection {
    /// Reads what steps from `first` to `last` will need. `budget` is lowered by the samples read.
    pub(crate) fn read(
        selector: &Selector,
        snapshot: &Snapshot,
        (first, last): (UnixNanos, UnixNanos),
        options: &Options,
        budget: &mut usize,
    ) -> Result<Self, QueryError> {
        let span = selector.range.unwrap_or(options.lookback);
        let mut this = Self { series: Vec::new(), span, offset: selector.offset };
        let bounds = (this.bounds(first).0, this.bounds(last).1);
        let newest_only = selector.range.is_none() && first == last;
        this.series = read_series(selector, snapshot, bounds, newest_only, options, budget)?;
        if newest_only && this.series.windows(2).any(|w| w[0].is_twin_of(&w[1])) {
            this.series = read_series(selector, snapshot, bounds, false, options, budget)?;
        }
        this.join_twins()?;
        Ok(this)
    }

    /// Telemetry can bring series (of two scopes, say) that look the same to PromQL. One after the
    /// other they are one series; at the same time their samples must not be mixed, and an answer
    /// with both could not be told apart.
    fn join_twins(&mut self) -> Result<(), QueryError> {
        let mut joined: Vec<SelectedSeries> = Vec::with_capacity(self.series.len());
        for next in self.series.drain(..) {
            match joined.last_mut() {
                Some(twin) if twin.is_twin_of(&next) => {
                    if twin.samples.last().map(|s| s.time) >= next.samples.first().map(|s| s.time) {
                        let labels = Metric(Some(&next.name), &next.labels).to_string();
                        return Err(QueryError::DuplicateLabels { labels });
                    }
                    twin.samples.extend(next.samples);
                }
                _ => joined.push(next),
            }
        }
        self.series = joined;
        Ok(())
    }

    /// The window of a step at `at`: open at its start, closed at its end.
    pub(crate) fn bounds(&self, at: UnixNanos) -> (UnixNanos, UnixNanos) {
        let until = UnixNanos(at.0.saturating_sub(self.offset));
        (until.minus(self.span), until)
    }
}

impl SelectedSeries {
    fn is_twin_of(&self, other: &Self) -> bool {
        self.name == other.name && self.labels == other.labels
    }

    /// Name, labels, and the samples with `after < time <= until`. Both bounds must not go back from call to call.
    pub(crate) fn slide(&mut self, after: UnixNanos, until: UnixNanos) -> (&Arc<str>, &Labels, &[Sample]) {
        while self.samples.get(self.until).is_some_and(|s| s.time <= until) {
            self.until += 1;
        }
        while self.from < self.until && self.samples[self.from].time <= after {
            self.from += 1;
        }
        (&self.name, &self.labels, &self.samples[self.from..self.until])
    }
}

/// The series with samples within `bounds`, by name, labels and time of the first sample.
fn read_series(
    selector: &Selector,
    snapshot: &Snapshot,
    (after, until): (UnixNanos, UnixNanos),
    newest_only: bool,
    options: &Options,
    budget: &mut usize,
) -> Result<Vec<SelectedSeries>, QueryError> {
    let mut out = Vec::new();
    for (id, series) in matching(snapshot, &selector.matchers) {
        let mut samples = Vec::new();
        if newest_only {
            samples.extend(snapshot.last_sample(id, after, until));
        } else {
            snapshot.samples_into(id, after, until, &mut samples);
        }
        if selector.range.is_some() {
            samples.retain(|s| !is_stale(s.value));
        }
        if samples.is_empty() {
            continue;
        }
        let too_many = QueryError::TooManySamples { limit: options.max_samples };
        *budget = budget.checked_sub(samples.len()).ok_or(too_many)?;
        let (name, labels) = (Arc::clone(&series.name), series.labels.clone());
        out.push(SelectedSeries { name, labels, samples, from: 0, until: 0 });
    }
    read_buckets(selector, snapshot, (after, until), options, budget, &mut out)?;
    let key = |s: &SelectedSeries| s.samples.first().map(|first| first.time);
    out.sort_by(|a, b| (&a.name, &a.labels, key(a)).cmp(&(&b.name, &b.labels, key(b))));
    Ok(out)
}

/// Appends the bucket series of the histograms whose `<name>_bucket` is selected.
fn read_buckets(
    selector: &Selector,
    snapshot: &Snapshot,
    bounds: (UnixNanos, UnixNanos),
    options: &Options,
    budget: &mut usize,
    out: &mut Vec<SelectedSeries>,
) -> Result<(), QueryError> {
    let wanted = |le: &str| selector.matchers.iter().all(|m| m.label != LE || m.test.holds(le));
    for (id, series) in matching_histograms(snapshot, &selector.matchers) {
        let name: Arc<str> = format!("{}{}", series.name, buckets::SUFFIX).into();
        let read = buckets::read(snapshot, id, bounds, |bound| wanted(&bound.text()), budget);
        for (bound, mut samples) in read.ok_or(QueryError::TooManySamples { limit: options.max_samples })? {
            if selector.range.is_some() {
                samples.retain(|s| !is_stale(s.value));
            }
            if !samples.is_empty() {
                let (name, labels) = (Arc::clone(&name), series.labels.with(LE, &bound.text()));
                out.push(SelectedSeries { name, labels, samples, from: 0, until: 0 });
            }
        }
    }
    Ok(())
}

/// The histograms whose bucket series `matchers` may mean; `le` is left to the reader.
fn matching_histograms<'a>(
    snapshot: &'a Snapshot,
    matchers: &'a [Matcher],
) -> impl Iterator<Item = (SeriesId, &'a Arc<Series>)> + 'a {
    let registry = &snapshot.registry;
    let exact = matchers.iter().find_map(|m| match &m.test {
        Test::Is(name) if m.label == METRIC_NAME => Some(name.strip_suffix(buckets::SUFFIX).unwrap_or_default()),
        Test::Is(_) | Test::IsNot(_) | Test::Matches(_) | Test::MatchesNot(_) => None,
    });
    // Without histograms there is nothing to look for among all the names.
    let names: Vec<&str> = match exact {
        Some(name) => vec![name],
        None if snapshot.histograms.is_empty() => Vec::new(),
        None => registry.names().collect(),
    };
    let holds = |m: &Matcher, series: &Series| match m.label.as_str() {
        LE => true,
        METRIC_NAME => m.test.holds(&format!("{}{}", series.name, buckets::SUFFIX)),
        label => m.test.holds(series.labels.get(label).unwrap_or_default()),
    };
    names
        .into_iter()
        .flat_map(|name| registry.named(name))
        .filter_map(|&id| Some((id, registry.get(id)?)))
        .filter(|(_, series)| matches!(series.kind, SeriesKind::Histogram { .. }))
        .filter(move |(_, series)| matchers.iter().all(|m| holds(m, series)))
}

fn matching<'a>(
    snapshot: &'a Snapshot,
    matchers: &'a [Matcher],
) -> impl Iterator<Item = (SeriesId, &'a Arc<Series>)> + 'a {
    let (on_name, on_labels): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.label == METRIC_NAME);
    let registry = &snapshot.registry;
    let exact = on_name.iter().find_map(|m| match &m.test {
        Test::Is(name) => Some(name.as_str()),
        Test::IsNot(_) | Test::Matches(_) | Test::MatchesNot(_) => None,
    });
    let names: Vec<&str> = match exact {
        Some(name) => vec![name],
        None => registry.names().collect(),
    };
    names
        .into_iter()
        .filter(move |name| on_name.iter().all(|m| m.test.holds(name)))
        .flat_map(|name| registry.named(name))
        .filter_map(|&id| Some((id, registry.get(id)?)))
        .filter(move |(_, s)| on_labels.iter().all(|m| m.test.holds(s.labels.get(&m.label).unwrap_or_default())))
}

#[cfg(test)]
#[path = "select/tests.rs"]
mod tests;
