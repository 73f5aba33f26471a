//! Which series a selector means, and their samples: read once, then walked along by the steps.

use std::{ops::Range, sync::Arc, time::Duration};

use regex::{Regex, RegexBuilder};
use window::{Between, Labels, Rollup, Sample, Series, SeriesId, SeriesKind, Snapshot, UnixNanos, is_stale};

use crate::{
    Options, QueryError, Recall,
    buckets::{self, LE},
    directory::{Directory, Element, Who},
    functions,
    past::{PastSelection, Seam},
    plan::{Selector, WindowFunction},
    rate::{self, Change},
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
    /// What the selector's function made of the samples while they were read, where that is enough.
    pub(crate) answer: Option<Answer>,
    pub(crate) series: Vec<SelectedSeries>,
    /// Of one series after the other.
    samples: Vec<Sample>,
    rollups: Vec<Rollup>,
    /// How far back a step looks: the range, or the look-back.
    pub(crate) span: Duration,
    offset: i64,
    /// Where the past ends, if it is asked for.
    seam: Option<Seam>,
}

/// The values of a function of samples at one moment, sorted as the series are.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) values: Vec<Element>,
    /// Visits to samples that it took.
    pub(crate) visits: u64,
}

/// One series and which of the samples are its own.
#[derive(Debug)]
pub(crate) struct SelectedSeries {
    who: Who,
    samples: Slide,
    /// What there was before the samples, for those who ask for statistics.
    rollups: Slide,
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
    pub(crate) who: Who,
    pub(crate) samples: &'s [Sample],
    pub(crate) rollups: &'s [Rollup],
}

/// A part of things in the order of time, and those of it that the present step sees.
#[derive(Debug)]
struct Slide {
    /// Those before are too old for this and all later steps.
    from: usize,
    /// Those from here on are too new for this step.
    until: usize,
    /// Those from here on are of others.
    end: usize,
}

impl Slide {
    fn over(part: Range<usize>) -> Self {
        Self { from: part.start, until: part.start, end: part.end }
    }

    /// Those with `after < time <= until`. Both bounds must not go back from call to call.
    fn slide<'t, T>(
        &mut self,
        all: &'t [T],
        (after, until): (UnixNanos, UnixNanos),
        time: impl Fn(&T) -> UnixNanos,
    ) -> &'t [T] {
        while self.until < self.end && time(&all[self.until]) <= until {
            self.until += 1;
        }
        while self.from < self.until && time(&all[self.from]) <= after {
            self.from += 1;
        }
        &all[self.from..self.until]
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
        recall: &mut Recall,
    ) -> Result<Self, QueryError> {
        let span = selector.range.unwrap_or(options.lookback);
        let (series, samples, rollups) = (Vec::new(), Vec::new(), Vec::new());
        let mut this = Self { answer: None, series, samples, rollups, span, offset: selector.offset, seam: None };
        let bounds = (this.bounds(steps.first).0, this.bounds(steps.last).1);
        this.seam = Seam::of(selector, snapshot.past.as_ref(), steps, bounds);
        let is_only = steps.first == steps.last;
        let newest_only = selector.range.is_none() && is_only;
        let mut read = Read { selector, snapshot, bounds, seam: this.seam, newest_only, options, budget };
        let meant = this.seam.is_none().then(|| recall.meant(selector, snapshot)).flatten();
        match (meant, selector.function.filter(|_| is_only)) {
            (Some(meant), Some(function)) => this.answer = Some(meant.answer(function, &mut read)?),
            (Some(meant), None) => this.take_meant(&meant, &mut read)?,
            (None, _) => this.take_found(read.found()?, &mut recall.directory, selector.keeps_name()),
        }
        Ok(this)
    }

    /// Reads series whose order is known.
    fn take_meant(&mut self, meant: &Meant, read: &mut Read<'_>) -> Result<(), QueryError> {
        let mut between = read.snapshot.between(read.bounds.0, read.bounds.1);
        let mut parts = vec![0..0; meant.len()];
        let about = if read.newest_only { meant.len() } else { between.about(meant.len()) };
        self.samples.reserve(about.min(*read.budget));
        for (id, place) in &meant.by_number {
            let begin = self.samples.len();
            read.samples(&mut between, *id, &mut self.samples)?;
            parts[*place as usize] = begin..self.samples.len();
        }
        let all = meant.by_name.iter().zip(parts).filter(|(_, part)| !part.is_empty());
        self.series.extend(all.map(|(who, part)| SelectedSeries {
            who: *who,
            samples: Slide::over(part),
            rollups: Slide::over(0..0),
        }));
        Ok(())
    }

    fn take_found(&mut self, found: Vec<Found>, directory: &mut Directory, keeps_name: bool) {
        for Found { name, labels, mut samples, mut rollups } in found {
            let who = directory.who(keeps_name.then_some(name), labels);
            let begin = (self.samples.len(), self.rollups.len());
            self.samples.append(&mut samples);
            self.rollups.append(&mut rollups);
            let samples = Slide::over(begin.0..self.samples.len());
            self.series.push(SelectedSeries { who, samples, rollups: Slide::over(begin.1..self.rollups.len()) });
        }
    }

    /// What a step at `at` sees of each series.
    pub(crate) fn windows(&mut self, at: UnixNanos, reach: Reach) -> impl Iterator<Item = Window<'_>> {
        let (after, until) = self.bounds(at);
        // Where the past is known in buckets only, samples are needed from one bucket further back: they
        // take the place of newer ones whose time is not known, or are what a first one is compared with.
        let seam = self.seam.filter(|_| reach != Reach::Bounds);
        let samples_after = seam.map_or(after, |seam| seam.reach(after));
        let is_known = reach == Reach::Newest && seam.is_some_and(|seam| seam.is_bucket_end(until));
        let Self { series, samples, rollups, .. } = self;
        let (samples, rollups) = (&**samples, &**rollups);
        series.iter_mut().map(move |series| {
            let mut samples = series.samples.slide(samples, (samples_after, until), |s| s.time);
            if is_known {
                samples = &samples[samples.partition_point(|s| s.time <= after)..];
            }
            let rollups = series.rollups.slide(rollups, (after, until), |r| r.last_time);
            Window { who: series.who, samples, rollups }
        })
    }

    /// The window of a step at `at`: open at its start, closed at its end.
    pub(crate) fn bounds(&self, at: UnixNanos) -> (UnixNanos, UnixNanos) {
        let until = UnixNanos(at.0.saturating_sub(self.offset));
        (until.minus(self.span), until)
    }
}

/// The series that a selector means while no histograms are among them.
#[derive(Debug)]
pub(crate) struct Meant {
    /// Sorted by name and labels.
    by_name: Vec<Who>,
    /// The place of each in that order, by the number of the series.
    by_number: Vec<(SeriesId, u32)>,
}

impl Meant {
    /// `None` when histograms are among them, whose bounds are known only when they are read, and when two look alike.
    pub(crate) fn by(selector: &Selector, snapshot: &Snapshot, directory: &mut Directory) -> Option<Self> {
        let matchers = &selector.matchers;
        if matching_histograms(snapshot, matchers).next().is_some() {
            return None;
        }
        let mut series: Vec<(SeriesId, &Arc<Series>)> = matching(snapshot, matchers).collect();
        series.sort_by(|(_, a), (_, b)| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
        if series.windows(2).any(|w| (&w[0].1.name, &w[0].1.labels) == (&w[1].1.name, &w[1].1.labels)) {
            return None;
        }
        let name = |series: &Series| selector.keeps_name().then(|| Arc::clone(&series.name));
        let by_name = series.iter().map(|(_, series)| directory.who(name(series), series.labels.clone())).collect();
        let mut by_number: Vec<(SeriesId, u32)> = series.into_iter().map(|(id, _)| id).zip(0..).collect();
        by_number.sort_unstable();
        Some(Self { by_name, by_number })
    }

    /// How many series.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// What `function` makes of the samples of each series within the bounds, one series after the other: many samples
    /// of many series would be written down only to be read once.
    fn answer(&self, function: WindowFunction, read: &mut Read<'_>) -> Result<Answer, QueryError> {
        let (bounds, range) = (read.bounds, read.selector.range.unwrap_or_default());
        let mut between = read.snapshot.between(bounds.0, bounds.1);
        let (mut values, mut samples, mut visits) = (vec![None; self.len()], Vec::new(), 0);
        let change = match function {
            WindowFunction::Rate => Some(Change::Rate),
            WindowFunction::Increase => Some(Change::Increase),
            _ => None,
        };
        let climbs = match change {
            Some(_) => between.climbs(&self.by_number.iter().map(|(id, _)| *id)),
            None => Vec::new(),
        };
        for (i, (id, place)) in self.by_number.iter().enumerate() {
            let value = &mut values[*place as usize];
            // Of a counter that was not reset only the ends count.
            if let (Some(change), Some(Some(ends))) = (change, climbs.get(i)) {
                read.spend(ends.count)?;
                visits += ends.count as u64 + 1;
                *value = rate::of_climb(change, *ends, bounds, range);
                continue;
            }
            samples.clear();
            read.samples(&mut between, *id, &mut samples)?;
            visits += samples.len() as u64 + u64::from(!samples.is_empty());
            *value = functions::over_window(function, &samples, bounds, range);
        }
        let named = self.by_name.iter().zip(values);
        let values = named.filter_map(|(who, value)| Some(Element { who: *who, value: value? })).collect();
        Ok(Answer { values, visits })
    }
}

/// One series whose samples were read before it was known where it stands among the others.
#[derive(Debug)]
struct Found {
    name: Arc<str>,
    labels: Labels,
    samples: Vec<Sample>,
    rollups: Vec<Rollup>,
}

impl Found {
    fn is_twin_of(&self, other: &Self) -> bool {
        self.name == other.name && self.labels == other.labels
    }

    fn oldest(&self) -> Option<UnixNanos> {
        let rollup = self.rollups.first().map(|r| r.last_time);
        rollup.or_else(|| self.samples.first().map(|s| s.time))
    }

    fn newest(&self) -> Option<UnixNanos> {
        let sample = self.samples.last().map(|s| s.time);
        sample.or_else(|| self.rollups.last().map(|r| r.last_time))
    }
}

/// Telemetry can bring series (of two scopes, say) that look the same to PromQL. One after the
/// other they are one series; at the same time their samples must not be mixed, and an answer
/// with both could not be told apart.
fn join_twins(found: Vec<Found>) -> Result<Vec<Found>, QueryError> {
    let mut joined: Vec<Found> = Vec::with_capacity(found.len());
    for next in found {
        match joined.last_mut() {
            Some(twin) if twin.is_twin_of(&next) => {
                if twin.newest() >= next.oldest() {
                    let labels = Metric(Some(&next.name), &next.labels).to_string();
                    return Err(QueryError::DuplicateLabels { labels });
                }
                twin.samples.extend(next.samples);
                twin.rollups.extend(next.rollups);
            }
            _ => joined.push(next),
        }
    }
    Ok(joined)
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

    /// The series, those that look alike as one.
    fn found(&mut self) -> Result<Vec<Found>, QueryError> {
        let mut found = self.series()?;
        if self.newest_only && found.windows(2).any(|w| w[0].is_twin_of(&w[1])) {
            self.newest_only = false;
            found = self.series()?;
        }
        join_twins(found)
    }

    /// The series with samples within the bounds, by name, labels and time of the first sample.
    fn series(&mut self) -> Result<Vec<Found>, QueryError> {
        let mut past = self.past()?;
        let mut out = Vec::new();
        let after = self.seam.map_or(self.bounds.0, |seam| self.bounds.0.max(seam.at));
        let mut between = self.snapshot.between(after, self.bounds.1);
        for (id, series) in matching(self.snapshot, &self.selector.matchers) {
            let (mut samples, rollups) = past.take(series.key).unwrap_or_default();
            self.samples(&mut between, id, &mut samples)?;
            if !samples.is_empty() || !rollups.is_empty() {
                out.push(Found { name: Arc::clone(&series.name), labels: series.labels.clone(), samples, rollups });
            }
        }
        out.extend(past.rest().map(|(name, labels, samples, rollups)| Found { name, labels, samples, rollups }));
        self.buckets(&mut out)?;
        out.sort_by(|a, b| (&a.name, &a.labels, a.oldest()).cmp(&(&b.name, &b.labels, b.oldest())));
        Ok(out)
    }

    /// Appends what the windows hold of one series.
    fn samples(&mut self, between: &mut Between<'_>, id: SeriesId, out: &mut Vec<Sample>) -> Result<(), QueryError> {
        let begin = out.len();
        if self.newest_only {
            out.extend(between.last_sample(id));
        } else {
            between.samples_onto(id, out);
        }
        if self.selector.range.is_some() && out[begin..].iter().any(|s| is_stale(s.value)) {
            let mut read = out.split_off(begin);
            read.retain(|s| !is_stale(s.value));
            out.append(&mut read);
        }
        self.spend(out.len() - begin)
    }

    /// Takes samples that were read off those that may be.
    fn spend(&mut self, samples: usize) -> Result<(), QueryError> {
        *self.budget = self.budget.checked_sub(samples).ok_or_else(|| self.too_many())?;
        Ok(())
    }

    /// What the history holds of all series.
    fn past(&mut self) -> Result<PastSelection, QueryError> {
        let (Some(seam), Some(past)) = (self.seam, &self.snapshot.past) else { return Ok(PastSelection::default()) };
        let read = PastSelection::read(seam, self.selector, past, self.bounds, self.newest_only, self.budget)?;
        read.ok_or_else(|| self.too_many())
    }

    /// Appends the bucket series of the histograms whose `<name>_bucket` is selected.
    fn buckets(&mut self, out: &mut Vec<Found>) -> Result<(), QueryError> {
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
                    out.push(Found { name: Arc::clone(&name), labels, samples, rollups: Vec::new() });
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
    let names: Vec<&str> = match exact {
        Some(name) => vec![name],
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
