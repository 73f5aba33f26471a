//! Walks a plan at one moment after the other. Samples were read before; nothing here does I/O.

use std::{collections::HashSet, sync::Arc};

use window::{Labels, Snapshot, UnixNanos, is_stale};

use crate::{
    InstantSample, Options, QueryError, RangeSeries,
    aggregate::aggregate,
    binary::{self, Operation},
    functions,
    labels::{Memory, Projector},
    plan::{Binary, Expr, Kind, MapFunction, Plan, Projection, SelectorId, Set, SetOperator, Shape, WindowFunction},
    quantile::histogram_quantile,
    select::{Reach, Selection, Steps, Window},
    value::Metric,
};

/// What is asked of the expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Its value.
    Value,
    /// For which label sets it has the data to be judged: comparisons do not filter, `and` and
    /// `unless` are their left side, and series that look alike are not an error.
    Data,
}

/// A plan with its samples at hand. Moments must not go back from call to call.
#[derive(Debug)]
pub(crate) struct Evaluator<'a> {
    selections: Vec<Selection>,
    /// Of each projection; none for a query of one step.
    memories: Vec<Memory>,
    pub(crate) ask: Ask,
    options: &'a Options,
    /// Samples that may still be read or returned.
    samples_left: usize,
    visits_left: u64,
}

impl<'a> Evaluator<'a> {
    /// Reads all samples that the moments of `steps` will need.
    pub(crate) fn new(
        plan: &'a Plan,
        snapshot: &Snapshot,
        steps: Steps,
        options: &'a Options,
    ) -> Result<Self, QueryError> {
        let mut samples_left = options.max_samples;
        let read = |s| Selection::read(s, snapshot, steps, options, &mut samples_left);
        let selections = plan.selectors.iter().map(read).collect::<Result<_, _>>()?;
        let remembered = if steps.first == steps.last { 0 } else { plan.projections };
        let memories = (0..remembered).map(|_| Memory::default()).collect();
        Ok(Self { selections, memories, ask: Ask::Value, options, samples_left, visits_left: options.max_visits })
    }

    /// Takes `count` samples of an answer off what the query may hold.
    pub(crate) fn hold(&mut self, count: usize) -> Result<(), QueryError> {
        let too_many = QueryError::TooManySamples { limit: self.options.max_samples };
        self.samples_left = self.samples_left.checked_sub(count).ok_or(too_many)?;
        Ok(())
    }

    /// The value of a scalar expression; of a vector, its only element's or NaN.
    pub(crate) fn scalar(&mut self, expr: &'a Expr, at: UnixNanos) -> Result<f64, QueryError> {
        match expr {
            Expr::Number(n) => Ok(*n),
            Expr::Time => Ok(timestamp(at)),
            Expr::Negate(inner, Kind::Scalar) => Ok(-self.scalar(inner, at)?),
            Expr::Binary(b) if b.shape == Shape::Scalars => {
                let (left, right) = (self.scalar(&b.left, at)?, self.scalar(&b.right, at)?);
                Ok(self.operation(b).scalars(left, right))
            }
            Expr::ToScalar(inner) => self.scalar(inner, at),
            _ => match self.vector(expr, at)?.as_slice() {
                [only] => Ok(only.value),
                _ => Ok(f64::NAN),
            },
        }
    }

    /// The elements of a vector expression; a scalar is one element without labels.
    pub(crate) fn vector(&mut self, expr: &'a Expr, at: UnixNanos) -> Result<Vec<InstantSample>, QueryError> {
        match expr {
            Expr::Select(id) => self.newest(*id, at),
            Expr::OverWindow(function, id) => self.over_window(*function, *id, at),
            Expr::Map(function, inner) => self.map(function, inner, at),
            Expr::Absent(inner, labels) => {
                let there = !self.vector(inner, at)?.is_empty();
                let says = self.ask == Ask::Data || !there;
                Ok(if says { vec![InstantSample { name: None, labels: labels.clone(), value: 1.0 }] } else { vec![] })
            }
            Expr::HistogramQuantile(q, buckets) => {
                let (q, buckets) = (self.scalar(q, at)?, self.vector(buckets, at)?);
                Ok(histogram_quantile(q, buckets))
            }
            Expr::Negate(inner, Kind::Vector) => {
                let negated = |s: InstantSample| {
                    let value = -s.value;
                    s.nameless(value)
                };
                let vector = self.vector(inner, at)?;
                self.unique(vector.into_iter().map(negated).collect())
            }
            Expr::Binary(b) if b.shape != Shape::Scalars => self.binary(b, at),
            Expr::Set(s) => self.set(s, at),
            Expr::Aggregate(a) => {
                let vector = self.vector(&a.inner, at)?;
                Ok(aggregate(a.op, &vector, &mut self.projector(&a.by)))
            }
            Expr::ToVector(inner) => {
                let value = self.scalar(inner, at)?;
                Ok(vec![InstantSample { name: None, labels: Labels::default(), value }])
            }
            Expr::Number(_) | Expr::Time | Expr::ToScalar(_) | Expr::Negate(..) | Expr::Binary(_) => {
                let value = self.scalar(expr, at)?;
                Ok(vec![InstantSample { name: None, labels: Labels::default(), value }])
            }
            Expr::Text(_) | Expr::Window(_) => Ok(Vec::new()),
        }
    }

    /// The raw samples of each series of a range selector.
    pub(crate) fn matrix(&mut self, id: SelectorId, at: UnixNanos) -> Result<Vec<RangeSeries>, QueryError> {
        let mut out = Vec::new();
        self.each_window(id, at, Reach::Bounds, |series| {
            let Window { name, labels, samples, .. } = series;
            out.push(RangeSeries { name: Some(Arc::clone(name)), labels: labels.clone(), samples: samples.to_vec() });
        })?;
        Ok(out)
    }

    /// Calls `visit` with each series that has samples at `at`.
    fn each_window(
        &mut self,
        id: SelectorId,
        at: UnixNanos,
        reach: Reach,
        mut visit: impl FnMut(Window<'_>),
    ) -> Result<(), QueryError> {
        let selection = &mut self.selections[id.0];
        for window in selection.windows(at, reach) {
            let visits = (window.samples.len() + window.rollups.len()) as u64 + 1;
            let too_many = QueryError::TooMuchWork { limit: self.options.max_visits };
            self.visits_left = self.visits_left.checked_sub(visits).ok_or(too_many)?;
            if visits > 1 {
                visit(window);
            }
        }
        Ok(())
    }

    fn newest(&mut self, id: SelectorId, at: UnixNanos) -> Result<Vec<InstantSample>, QueryError> {
        let selection = &mut self.selections[id.0];
        let visits = selection.series.len() as u64;
        let too_many = QueryError::TooMuchWork { limit: self.options.max_visits };
        self.visits_left = self.visits_left.checked_sub(visits).ok_or(too_many)?;
        let newest = |Window { name, labels, samples, .. }: Window<'_>| {
            let value = samples.last().map(|s| s.value).filter(|v| !is_stale(*v))?;
            Some(InstantSample { name: Some(Arc::clone(name)), labels: labels.clone(), value })
        };
        Ok(selection.windows(at, Reach::Newest).filter_map(newest).collect())
    }

    fn over_window(
        &mut self,
        function: WindowFunction,
        id: SelectorId,
        at: UnixNanos,
    ) -> Result<Vec<InstantSample>, QueryError> {
        let range = self.selections[id.0].span;
        let bounds = self.selections[id.0].bounds(at);
        let mut out = Vec::new();
        self.each_window(id, at, function.reach(), |series| {
            let Window { name, labels, samples, rollups } = series;
            let value = match rollups {
                [] => functions::over_window(function, samples, bounds, range),
                rollups => functions::over_past(function, rollups, samples),
            };
            if let Some(value) = value {
                let name = (function == WindowFunction::Last).then(|| Arc::clone(name));
                out.push(InstantSample { name, labels: labels.clone(), value });
            }
        })?;
        self.unique(out)
    }

    fn map(
        &mut self,
        function: &'a MapFunction,
        inner: &'a Expr,
        at: UnixNanos,
    ) -> Result<Vec<InstantSample>, QueryError> {
        let vector = self.vector(inner, at)?;
        let limit = match function {
            MapFunction::Abs => 0.0,
            MapFunction::ClampMin(e) | MapFunction::ClampMax(e) | MapFunction::Round(e) => self.scalar(e, at)?,
        };
        let apply = |s: InstantSample| {
            let value = match function {
                MapFunction::Abs => s.value.abs(),
                MapFunction::ClampMin(_) => functions::clamp_min(s.value, limit),
                MapFunction::ClampMax(_) => functions::clamp_max(s.value, limit),
                MapFunction::Round(_) => functions::round(s.value, limit),
            };
            s.nameless(value)
        };
        self.unique(vector.into_iter().map(apply).collect())
    }

    fn operation(&self, b: &Binary) -> Operation {
        let asks_data = self.ask == Ask::Data;
        let returns_bool = b.returns_bool || (asks_data && b.filters());
        Operation { op: b.op, returns_bool, lenient: asks_data }
    }

    fn binary(&mut self, b: &'a Binary, at: UnixNanos) -> Result<Vec<InstantSample>, QueryError> {
        let operation = self.operation(b);
        let vector = match b.shape {
            Shape::Vectors => {
                let (left, right) = (self.vector(&b.left, at)?, self.vector(&b.right, at)?);
                return operation.vectors(left, &right, &mut self.projector(&b.matching));
            }
            Shape::ScalarVector => {
                let (scalar, vector) = (self.scalar(&b.left, at)?, self.vector(&b.right, at)?);
                operation.vector_scalar(vector, scalar, true)
            }
            Shape::VectorScalar | Shape::Scalars => {
                let (vector, scalar) = (self.vector(&b.left, at)?, self.scalar(&b.right, at)?);
                operation.vector_scalar(vector, scalar, false)
            }
        };
        self.unique(vector)
    }

    fn set(&mut self, s: &'a Set, at: UnixNanos) -> Result<Vec<InstantSample>, QueryError> {
        let left = self.vector(&s.left, at)?;
        if self.ask == Ask::Data && s.op != SetOperator::Or {
            return Ok(left);
        }
        let right = self.vector(&s.right, at)?;
        Ok(binary::set(s.op, left, right, &mut self.projector(&s.matching)))
    }

    pub(crate) fn projector(&mut self, projection: &'a Projection) -> Projector<'_> {
        Projector::new(projection, self.memories.get_mut(projection.id))
    }

    /// Names are gone: what was told apart by them only is not told apart any more.
    fn unique(&self, vector: Vec<InstantSample>) -> Result<Vec<InstantSample>, QueryError> {
        if self.ask == Ask::Data {
            return Ok(vector);
        }
        check_unique(&vector)?;
        Ok(vector)
    }
}

/// # Errors
/// [`QueryError::DuplicateLabels`] when two elements have the same name and labels.
pub(crate) fn check_unique(vector: &[InstantSample]) -> Result<(), QueryError> {
    // Elements mostly come sorted, and then neighbours tell without a table.
    if vector.is_sorted_by(|a, b| (&a.name, &a.labels) < (&b.name, &b.labels)) {
        return Ok(());
    }
    let mut seen: HashSet<(&Option<Arc<str>>, &Labels), foldhash::fast::RandomState> = HashSet::default();
    match vector.iter().find(|s| !seen.insert((&s.name, &s.labels))) {
        None => Ok(()),
        Some(s) => Err(QueryError::DuplicateLabels { labels: Metric(s.name.as_deref(), &s.labels).to_string() }),
    }
}

/// Seconds since the epoch, from whole milliseconds where possible so that no digit is lost.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch are below 2^53 for 285,000 years")]
fn timestamp(at: UnixNanos) -> f64 {
    const NANOS_PER_MILLI: i64 = 1_000_000;
    if at.0 % NANOS_PER_MILLI == 0 { (at.0 / NANOS_PER_MILLI) as f64 / 1e3 } else { at.as_secs_f64() }
}
