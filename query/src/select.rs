//! Which series a selector means, and their samples: read once, then walked along by the steps.

use std::{sync::Arc, time::Duration};

use regex::{Regex, RegexBuilder};
use window::{Labels, Rollup, Sample, Series, SeriesId, SeriesKind, Snapshot, UnixNanos, is_stale};

use crate::{
    Options, QueryError,
    buckets::{self, LE},
    past::{PastSelection, Seam},
    plan::Selector,
    value::Metric,
};

/// The label under which PromQL knows the name of a series.
pub(crate) const METRIC_NAME: &str = "__name__";

/// Greatest size of a compiled regular expression in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// One condition on one label.
#[derive(Clone, Debug, PartialEq)]
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

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Is(a), Self::Is(b)) | (Self::IsNot(a), Self::IsNot(b)) => a == b,
            (Self::Matches(a), Self::Matches(b)) | (Self::MatchesNot(a), Self::MatchesNot(b)) => {
                a.as_str() == b.as_str()
            }
            (Self::Is(_) | Self::IsNot(_) | Self::Matches(_) | Self::MatchesNot(_), _) => false,
        }
    }
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

/// Which series are meant, without samples: a selector such as `queue_depth{service_name="shop"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSelector(Arc<[Matcher]>);

impl SeriesSelector {
    /// `None` for a selector that looks at another time than now.
    pub(crate) fn of(selector: &Selector) -> Option<Self> {
        let is_plain = selector.offset == 0 && selector.range.is_none();
        is_plain.then(|| Self(selector.matchers.as_slice().into()))
    }

    /// Whether all conditions hold for the name and the labels of `series`.
    #[must_use]
    pub fn matches(&self, series: &Series) -> bool {
        let value = |label: &str| match label {
            METRIC_NAME => Some(&*series.name),
            _ => series.labels.get(label),
        };
        self.0.iter().all(|m| m.test.holds(value(&m.label).unwrap_or_default()))
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

/// The moments at which a query is evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) first: UnixNanos,
    pub(crate) last: UnixNanos,
    /// Zero for a single one.
    pub(crate) step: Duration,
}

impl Steps {
    pub(crate) fn only(at: UnixNanos) -> Self {
        Self { first: at, last: at, step: Duration::ZERO }
    }
}

/// The series of one selector with all samples that any step will need, sorted by name and labels.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) series: Vec<SelectedSeries>,
    /// How far back a step looks: the range, or the look-back.
    pub(crate) span: Duration,
    offset: i64,
    /// Where the past ends, if it is asked for.
    seam: Option<Seam>,
}

/// One series and the samples that the present step sees.
#[derive(Debug)]
pub(crate) struct SelectedSeries {
    name: Arc<str>,
    labels: Labels,
    samples: Slide<Sample>,
    /// What there was before the samples, for those who ask for statistics.
    rollups: Slide<Rollup>,
}

/// How far back samples are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those within the bounds.
    Bounds,
    /// The newest one.
    Newest,
    /// One before the bounds, to compare with.
    Before,
}

/// One series as a step sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'s> {
    pub(crate) name: &'s Arc<str>,
    pub(crate) labels: &'s Labels,
    pub(crate) samples: &'s [Sample],
    pub(crate) rollups: &'s [Rollup],
}

/// Things in the order of time, and those of them that the present step sees.
#[derive(Debug)]
struct Slide<T> {
    all: Vec<T>,
    /// Those before are too old for this and all later steps.
    from: usize,
    /// Those from here on are too new for this step.
    until: usize,
}

impl<T> Slide<T> {
    fn new(all: Vec<T>) -> Self {
        Self { all, from: 0, until: 0 }
    }

    /// Those with `after < time <= until`. Both bounds must not go back from call to call.
    fn slide(&mut self, after: UnixNanos, until: UnixNanos, time: impl Fn(&T) -> UnixNanos) -> &[T] {
        while self.all.get(self.until).is_some_and(|t| time(t) <= until) {
            self.until += 1;
        }
        while self.from < self.until && time(&self.all[self.from]) <= after {
            self.from += 1;
        }
        &self.all[self.from..self.until]
    }
}

impl Selection {
    /// Reads what `steps` will need. `budget` is lowered by the samples read.
    pub(crate) fn read(
        selector: &Selector,
        snapshot: &Snapshot,
        steps: Steps,
        options: &Options,
        budget: &mut usize,
    ) -> Result<Self, QueryError> {
        let span = selector.range.unwrap_or(options.lookback);
        let mut this = Self { series: Vec::new(), span, offset: selector.offset, seam: None };
        let bounds = (this.bounds(steps.first).0, this.bounds(steps.last).1);
        this.seam = Seam::of(selector, snapshot.past.as_ref(), steps, bounds);
        let newest_only = selector.range.is_none() && steps.first == steps.last;
        let mut read = Read { selector, snapshot, bounds, seam: this.seam, newest_only, options, budget };
        this.series = read.series()?;
        if newest_only && this.series.windows(2).any(|w| w[0].is_twin_of(&w[1])) {
            read.newest_only = false;
            this.series = read.series()?;
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
                    if twin.newest() >= next.oldest() {
                        let labels = Metric(Some(&next.name), &next.labels).to_string();
                        return Err(QueryError::DuplicateLabels { labels });
                    }
                    twin.samples.all.extend(next.samples.all);
                    twin.rollups.all.extend(next.rollups.all);
                }
                _ => joined.push(next),
            }
        }
        self.series = joined;
        Ok(())
    }

    /// What a step at `at` sees of each series.
    pub(crate) fn windows(&mut self, at: UnixNanos, reach: Reach) -> impl Iterator<Item = Window<'_>> {
        let (after, until) = self.bounds(at);
        // Where the past is known in buckets only, samples are needed from one bucket further back: they
        // take the place of newer ones whose time is not known, or are what a first one is compared with.
        let seam = self.seam.filter(|_| reach != Reach::Bounds);
        let samples_after = seam.map_or(after, |seam| seam.reach(after));
        let is_known = reach == Reach::Newest && seam.is_some_and(|seam| seam.is_bucket_end(until));
        self.series.iter_mut().map(move |series| {
            let mut window = series.slide(samples_after, (after, until));
            if is_known {
                window.samples = &window.samples[window.samples.partition_point(|s| s.time <= after)..];
            }
            window
        })
    }

    /// The window of a step at `at`: open at its start, closed at its end.
    pub(crate) fn bounds(&self, at: UnixNanos) -> (UnixNanos, UnixNanos) {
        let until = UnixNanos(at.0.saturating_sub(self.offset));
        (until.minus(self.span), until)
    }
}

impl SelectedSeries {
    fn new(name: Arc<str>, labels: Labels, samples: Vec<Sample>, rollups: Vec<Rollup>) -> Self {
        Self { name, labels, samples: Slide::new(samples), rollups: Slide::new(rollups) }
    }

    fn is_twin_of(&self, other: &Self) -> bool {
        self.name == other.name && self.labels == other.labels
    }

    fn oldest(&self) -> Option<UnixNanos> {
        let rollup = self.rollups.all.first().map(|r| r.last_time);
        rollup.or_else(|| self.samples.all.first().map(|s| s.time))
    }

    fn newest(&self) -> Option<UnixNanos> {
        let sample = self.samples.all.last().map(|s| s.time);
        sample.or_else(|| self.rollups.all.last().map(|r| r.last_time))
    }

    /// What there is with `after < time <= until`; samples from `samples_after` on. No bound must go back
    /// from call to call.
    fn slide(&mut self, samples_after: UnixNanos, (after, until): (UnixNanos, UnixNanos)) -> Window<'_> {
        let samples = self.samples.slide(samples_after, until, |s| s.time);
        let rollups = self.rollups.slide(after, until, |r| r.last_time);
        Window { name: &self.name, labels: &self.labels, samples, rollups }
    }
}

/// The reading of one selector.
struct Read<'r> {
    selector: &'r Selector,
    snapshot: &'r Snapshot,
    bounds: (UnixNanos, UnixNanos),
    seam: Option<Seam>,
    /// Only the newest sample of each series is needed.
    newest_only: bool,
    options: &'r Options,
    /// Samples that may still be read.
    budget: &'r mut usize,
}

impl Read<'_> {
    fn too_many(&self) -> QueryError {
        QueryError::TooManySamples { limit: self.options.max_samples }
    }

    /// The series with samples within the bounds, by name, labels and time of the first sample.
    fn series(&mut self) -> Result<Vec<SelectedSeries>, QueryError> {
        let mut past = self.past()?;
        let mut out = Vec::new();
        for (id, series) in matching(self.snapshot, &self.selector.matchers) {
            let recent = self.recent(id);
            *self.budget = self.budget.checked_sub(recent.len()).ok_or_else(|| self.too_many())?;
            let (mut samples, rollups) = past.take(series.key).unwrap_or_default();
            samples.extend(recent);
            if !samples.is_empty() || !rollups.is_empty() {
                out.push(SelectedSeries::new(Arc::clone(&series.name), series.labels.clone(), samples, rollups));
            }
        }
        out.extend(
            past.rest().map(|(name, labels, samples, rollups)| SelectedSeries::new(name, labels, samples, rollups)),
        );
        self.buckets(&mut out)?;
        out.sort_by(|a, b| (&a.name, &a.labels, a.oldest()).cmp(&(&b.name, &b.labels, b.oldest())));
        Ok(out)
    }

    /// What the windows hold of one series.
    fn recent(&self, id: SeriesId) -> Vec<Sample> {
        let (after, until) = self.bounds;
        let after = self.seam.map_or(after, |seam| after.max(seam.at));
        let mut samples = Vec::new();
        if self.newest_only {
            samples.extend(self.snapshot.last_sample(id, after, until));
        } else {
            self.snapshot.samples_into(id, after, until, &mut samples);
        }
        if self.selector.range.is_some() {
            samples.retain(|s| !is_stale(s.value));
        }
        samples
    }

    /// What the history holds of all series.
    fn past(&mut self) -> Result<PastSelection, QueryError> {
        let (Some(seam), Some(past)) = (self.seam, &self.snapshot.past) else { return Ok(PastSelection::default()) };
        let read = PastSelection::read(seam, self.selector, past, self.bounds, self.newest_only, self.budget)?;
        read.ok_or_else(|| self.too_many())
    }

    /// Appends the bucket series of the histograms whose `<name>_bucket` is selected.
    fn buckets(&mut self, out: &mut Vec<SelectedSeries>) -> Result<(), QueryError> {
        let matchers = &self.selector.matchers;
        let wanted = |le: &str| matchers.iter().all(|m| m.label != LE || m.test.holds(le));
        for (id, series) in matching_histograms(self.snapshot, matchers) {
            let name: Arc<str> = format!("{}{}", series.name, buckets::SUFFIX).into();
            let read = buckets::read(self.snapshot, id, self.bounds, |bound| wanted(&bound.text()), self.budget);
            for (bound, mut samples) in read.ok_or_else(|| self.too_many())? {
                if self.selector.range.is_some() {
                    samples.retain(|s| !is_stale(s.value));
                }
                if !samples.is_empty() {
                    let labels = series.labels.with(LE, &bound.text());
                    out.push(SelectedSeries::new(Arc::clone(&name), labels, samples, Vec::new()));
                }
            }
        }
        Ok(())
    }
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
