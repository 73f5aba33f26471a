//! PromQL over snapshots of the window.
//!
//! Rules and dashboards already speak PromQL, so its semantics are Prometheus 3's to the letter:
//! ranges and look-back are open at their start, staleness markers end a series, rates are
//! extrapolated and sums compensated with the same operations in the same order. (Only `^` and
//! `atan2` may differ in the last digits, because Go brings its own versions of them.) What is not
//! built is refused when the query is parsed, by name and place, and never answered approximately.
//!
//! The crate is pure: a snapshot and a time in, values out; no I/O, no clock, no globals. Limits
//! ([`Options`]) take the place of timeouts, so that the same query always ends the same way.

mod aggregate;
mod binary;
mod buckets;
mod directory;
mod error;
mod eval;
mod functions;
mod numbers;
mod observe;
mod parse;
mod past;
mod plan;
mod quantile;
mod rate;
mod recall;
mod select;
mod text;
mod value;

use std::{collections::HashMap, sync::Arc, time::Duration};

use window::{Labels, Sample, Snapshot, UnixNanos};

pub use error::{Position, QueryError};
pub use recall::Recall;
pub use select::SeriesSelector;
pub use value::{InstantSample, Options, RangeSeries, Value};

use directory::{Element, Who};
use eval::Evaluator;
use plan::{Expr, Kind, Plan};
use select::Steps;

/// A parsed and checked query. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Query {
    text: Arc<str>,
    plan: Arc<Plan>,
}

impl Query {
    /// Parses `text` and checks everything that can be known without data.
    ///
    /// # Errors
    /// [`QueryError`] for text that is not PromQL, that needs something not built (named, with its
    /// position), or that is larger than the limits.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        Ok(Self { text: text.into(), plan: Arc::new(parse::parse(text)?) })
    }

    /// The text as it was parsed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The metric that each selector reads, in no order; `None` for a selector that does not name one
    /// exactly.
    pub fn metrics(&self) -> impl Iterator<Item = Option<&str>> {
        self.plan.selectors.iter().map(plan::Selector::metric)
    }

    /// The series that it means, if it is a selector and nothing else.
    #[must_use]
    pub fn selector(&self) -> Option<SeriesSelector> {
        match &self.plan.root {
            Expr::Select(id) => SeriesSelector::of(self.plan.selectors.get(id.0)?),
            _ => None,
        }
    }

    /// How far behind the time of evaluation samples are read: ranges or look-back plus offsets,
    /// the greatest of the query; zero for a query that reads none.
    #[must_use]
    pub fn look_back(&self, options: &Options) -> Duration {
        let reach = |s: &plan::Selector| {
            let span = s.range.unwrap_or(options.lookback);
            let offset = Duration::from_nanos(s.offset.unsigned_abs());
            if s.offset < 0 { span.saturating_sub(offset) } else { span.saturating_add(offset) }
        };
        self.plan.selectors.iter().map(reach).max().unwrap_or_default()
    }

    /// The value at `at`.
    ///
    /// # Errors
    /// [`QueryError`] when vectors do not match as the operators need, when an answer would hold
    /// the same label set twice, or when a limit of `options` is exceeded.
    pub fn instant(&self, snapshot: &Snapshot, at: UnixNanos, options: &Options) -> Result<Value, QueryError> {
        self.instant_recalling(snapshot, at, options, &mut Recall::default())
    }

    /// The same as [`Query::instant`], for those who ask again and again.
    ///
    /// # Errors
    /// As [`Query::instant`].
    pub fn instant_recalling(
        &self,
        snapshot: &Snapshot,
        at: UnixNanos,
        options: &Options,
        recall: &mut Recall,
    ) -> Result<Value, QueryError> {
        let mut evaluator = Evaluator::new(&self.plan, snapshot, Steps::only(at), options, recall)?;
        let root = &self.plan.root;
        match (root.kind(), root) {
            (_, Expr::Text(text)) => Ok(Value::String(text.clone())),
            (_, Expr::Window(id)) => Ok(Value::Matrix(evaluator.matrix(*id, at)?)),
            (Kind::Scalar, _) => Ok(Value::Scalar(evaluator.scalar(root, at)?)),
            (Kind::Vector | Kind::Matrix | Kind::Text, _) => {
                let mut vector = evaluator.vector(root, at)?;
                evaluator.directory.check_unique(&vector)?;
                evaluator.hold(vector.len())?;
                evaluator.directory.sort(&mut vector);
                Ok(Value::Vector(vector.into_iter().map(|element| evaluator.directory.sample(element)).collect()))
            }
        }
    }

    /// The value at `start` and at every `step` after it up to and including `end`, by series,
    /// sorted by name and labels. A scalar is one series without labels. Each step answers exactly
    /// what [`Query::instant`] does, except that the past beyond the windows may be read in larger buckets
    /// for large steps.
    ///
    /// # Errors
    /// As [`Query::instant`], and for a range that ends before it starts, a step of zero, more than
    /// `options.max_steps` steps, and an expression that is a string or a range vector.
    pub fn range(
        &self,
        snapshot: &Snapshot,
        start: UnixNanos,
        end: UnixNanos,
        step: Duration,
        options: &Options,
    ) -> Result<Vec<RangeSeries>, QueryError> {
        let root = &self.plan.root;
        if matches!(root.kind(), Kind::Matrix | Kind::Text) {
            return Err(QueryError::NotRangeable { actual: root.kind().as_str() });
        }
        let times = steps(start, end, step, options)?;
        let all = Steps { first: start, last: end, step };
        let mut recall = Recall::default();
        let mut evaluator = Evaluator::new(&self.plan, snapshot, all, options, &mut recall)?;
        let mut series: Vec<(Who, Vec<Sample>)> = Vec::new();
        let mut places: HashMap<Who, usize, foldhash::fast::RandomState> = HashMap::default();
        for time in times {
            let vector = evaluator.vector(root, time)?;
            evaluator.directory.check_unique(&vector)?;
            evaluator.hold(vector.len())?;
            for Element { who, value } in vector {
                let place = *places.entry(who).or_insert(series.len());
                if place == series.len() {
                    series.push((who, Vec::new()));
                }
                series[place].1.push(Sample { time, value });
            }
        }
        let directory = &*evaluator.directory;
        let named = |(who, samples)| RangeSeries {
            name: directory.name(who).cloned(),
            labels: directory.labels(who).clone(),
            samples,
        };
        let mut series: Vec<RangeSeries> = series.into_iter().map(named).collect();
        series.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
        Ok(series)
    }

    /// The label sets (without `__name__`, sorted) for which the condition had data at `at`,
    /// whether it held or not; so that missing data never resolves an alert.
    ///
    /// A comparison had data where both of its sides did. `and` needs its right side's data only
    /// where its left side holds; `unless` asks its left side; `or` takes both. `absent` always
    /// has data. `None` when the expression filters nothing (a bare selector), so that its shape
    /// cannot tell.
    ///
    /// # Errors
    /// As [`Query::instant`], except that label sets may repeat.
    pub fn observed(
        &self,
        snapshot: &Snapshot,
        at: UnixNanos,
        options: &Options,
    ) -> Result<Option<Vec<Labels>>, QueryError> {
        self.observed_recalling(snapshot, at, options, &mut Recall::default())
    }

    /// The same as [`Query::observed`], for those who ask again and again.
    ///
    /// # Errors
    /// As [`Query::observed`].
    pub fn observed_recalling(
        &self,
        snapshot: &Snapshot,
        at: UnixNanos,
        options: &Options,
        recall: &mut Recall,
    ) -> Result<Option<Vec<Labels>>, QueryError> {
        let mut evaluator = Evaluator::new(&self.plan, snapshot, Steps::only(at), options, recall)?;
        let Some(observed) = evaluator.observed(&self.plan.root, at)? else { return Ok(None) };
        let mut labels: Vec<Labels> = observed.into_iter().map(|who| evaluator.directory.labels(who).clone()).collect();
        labels.sort();
        Ok(Some(labels))
    }
}

/// The moments of a range query.
fn steps(
    start: UnixNanos,
    end: UnixNanos,
    step: Duration,
    options: &Options,
) -> Result<impl Iterator<Item = UnixNanos>, QueryError> {
    let width = i64::try_from(step.as_nanos()).ok().filter(|w| *w > 0).ok_or(QueryError::Step(step))?;
    if end < start {
        return Err(QueryError::EndBeforeStart { start: start.as_secs_f64(), end: end.as_secs_f64() });
    }
    let more = end.0.abs_diff(start.0) / width.unsigned_abs();
    let count = usize::try_from(more).ok().filter(|more| *more < options.max_steps);
    let count = count.ok_or(QueryError::TooManySteps { limit: options.max_steps, actual: more.saturating_add(1) })?;
    Ok((0..=count).scan(start, move |next, _| {
        let time = *next;
        *next = UnixNanos(time.0.saturating_add(width));
        Some(time)
    }))
}
