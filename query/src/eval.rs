//! Walks a plan at one moment after the other. Samples were read before; nothing here does I/O.

use window::{Labels, Snapshot, UnixNanos, is_stale};

use crate::{
    Options, QueryError, RangeSeries, Recall,
    aggregate::aggregate,
    binary::{self, Operation},
    directory::{Directory, Element, Grouping},
    functions,
    plan::{Binary, Expr, Kind, MapFunction, Plan, Projection, SelectorId, Set, SetOperator, Shape, WindowFunction},
    quantile::histogram_quantile,
    select::{Answer, Reach, Selection, Steps, Window},
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
    pub(crate) directory: &'a mut Directory,
    /// Of each projection, once it was asked for.
    groupings: Vec<Option<Grouping>>,
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
        recall: &'a mut Recall,
    ) -> Result<Self, QueryError> {
        recall.tidy();
        let mut samples_left = options.max_samples;
        let read = |s| Selection::read(s, snapshot, steps, options, &mut samples_left, recall);
        let selections = plan.selectors.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self {
            selections,
            directory: &mut recall.directory,
            groupings: vec![None; plan.projections],
            ask: Ask::Value,
            options,
            samples_left,
            visits_left: options.max_visits,
        })
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
    pub(crate) fn vector(&mut self, expr: &'a Expr, at: UnixNanos) -> Result<Vec<Element>, QueryError> {
        match expr {
            Expr::Select(id) => self.newest(*id, at),
            Expr::OverWindow(function, id) => self.over_window(*function, *id, at),
            Expr::Map(function, inner) => self.map(function, inner, at),
            Expr::Absent(inner, labels) => {
                let there = !self.vector(inner, at)?.is_empty();
                let says = self.ask == Ask::Data || !there;
                Ok(if says { vec![self.only(labels.clone(), 1.0)] } else { vec![] })
            }
            Expr::HistogramQuantile(q, buckets) => {
                let (q, buckets) = (self.scalar(q, at)?, self.vector(buckets, at)?);
                Ok(histogram_quantile(q, &buckets, self.directory))
            }
            Expr::Negate(inner, Kind::Vector) => {
                let vector = self.vector(inner, at)?;
                self.each(vector, |value| -value)
            }
            Expr::Binary(b) if b.shape != Shape::Scalars => self.binary(b, at),
            Expr::Set(s) => self.set(s, at),
            Expr::Aggregate(a) => {
                let vector = self.vector(&a.inner, at)?;
                let by = self.grouping(&a.by);
                Ok(aggregate(a.op, &vector, by, self.directory))
            }
            Expr::ToVector(inner) => {
                let value = self.scalar(inner, at)?;
                Ok(vec![self.only(Labels::default(), value)])
            }
            Expr::Number(_) | Expr::Time | Expr::ToScalar(_) | Expr::Negate(..) | Expr::Binary(_) => {
                let value = self.scalar(expr, at)?;
                Ok(vec![self.only(Labels::default(), value)])
            }
            Expr::Text(_) | Expr::Window(_) => Ok(Vec::new()),
        }
    }

    /// One element with these labels.
    fn only(&mut self, labels: Labels, value: f64) -> Element {
        Element { who: self.directory.who(None, labels), value }
    }

    /// The vector with its values changed, and without names.
    fn each(&mut self, mut vector: Vec<Element>, value: impl Fn(f64) -> f64) -> Result<Vec<Element>, QueryError> {
        for element in &mut vector {
            *element = Element { who: self.directory.nameless(element.who), value: value(element.value) };
        }
        self.unique(vector)
    }

    /// The raw samples of each series of a range selector.
    pub(crate) fn matrix(&mut self, id: SelectorId, at: UnixNanos) -> Result<Vec<RangeSeries>, QueryError> {
        let mut out = Vec::new();
        self.each_window(id, at, Reach::Bounds, |window| out.push((window.who, window.samples.to_vec())))?;
        let series = |(who, samples)| RangeSeries {
            name: self.directory.name(who).cloned(),
            labels: self.directory.labels(who).clone(),
            samples,
        };
        Ok(out.into_iter().map(series).collect())
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

    /// Takes `visits` to samples off what the query may do.
    fn visit(&mut self, visits: u64) -> Result<(), QueryError> {
        let too_many = QueryError::TooMuchWork { limit: self.options.max_visits };
        self.visits_left = self.visits_left.checked_sub(visits).ok_or(too_many)?;
        Ok(())
    }

    fn newest(&mut self, id: SelectorId, at: UnixNanos) -> Result<Vec<Element>, QueryError> {
        self.visit(self.selections[id.0].series.len() as u64)?;
        let selection = &mut self.selections[id.0];
        let newest = |Window { who, samples, .. }: Window<'_>| {
            let value = samples.last().map(|s| s.value).filter(|v| !is_stale(*v))?;
            Some(Element { who, value })
        };
        Ok(selection.windows(at, Reach::Newest).filter_map(newest).collect())
    }

    fn over_window(
        &mut self,
        function: WindowFunction,
        id: SelectorId,
        at: UnixNanos,
    ) -> Result<Vec<Element>, QueryError> {
        if let Some(Answer { values, visits }) = self.selections[id.0].answer.clone() {
            self.visit(visits)?;
            return self.unique(values);
        }
        let range = self.selections[id.0].span;
        let bounds = self.selections[id.0].bounds(at);
        let mut out = Vec::new();
        self.each_window(id, at, function.reach(), |window| {
            let Window { who, samples, rollups } = window;
            let value = match rollups {
                [] => functions::over_window(function, samples, bounds, range),
                rollups => functions::over_past(function, rollups, samples),
            };
            out.extend(value.map(|value| Element { who, value }));
        })?;
        self.unique(out)
    }

    fn map(&mut self, function: &'a MapFunction, inner: &'a Expr, at: UnixNanos) -> Result<Vec<Element>, QueryError> {
        let vector = self.vector(inner, at)?;
        let limit = match function {
            MapFunction::Abs => 0.0,
            MapFunction::ClampMin(e) | MapFunction::ClampMax(e) | MapFunction::Round(e) => self.scalar(e, at)?,
        };
        self.each(vector, |value| match function {
            MapFunction::Abs => value.abs(),
            MapFunction::ClampMin(_) => functions::clamp_min(value, limit),
            MapFunction::ClampMax(_) => functions::clamp_max(value, limit),
            MapFunction::Round(_) => functions::round(value, limit),
        })
    }

    fn operation(&self, b: &Binary) -> Operation {
        let asks_data = self.ask == Ask::Data;
        let returns_bool = b.returns_bool || (asks_data && b.filters());
        Operation { op: b.op, returns_bool, lenient: asks_data }
    }

    fn binary(&mut self, b: &'a Binary, at: UnixNanos) -> Result<Vec<Element>, QueryError> {
        let operation = self.operation(b);
        let vector = match b.shape {
            Shape::Vectors => {
                let (left, right) = (self.vector(&b.left, at)?, self.vector(&b.right, at)?);
                let matching = self.grouping(&b.matching);
                return operation.vectors(left, &right, matching, self.directory);
            }
            Shape::ScalarVector => {
                let (scalar, vector) = (self.scalar(&b.left, at)?, self.vector(&b.right, at)?);
                operation.vector_scalar(vector, scalar, true, self.directory)
            }
            Shape::VectorScalar | Shape::Scalars => {
                let (vector, scalar) = (self.vector(&b.left, at)?, self.scalar(&b.right, at)?);
                operation.vector_scalar(vector, scalar, false, self.directory)
            }
        };
        self.unique(vector)
    }

    fn set(&mut self, s: &'a Set, at: UnixNanos) -> Result<Vec<Element>, QueryError> {
        let left = self.vector(&s.left, at)?;
        if self.ask == Ask::Data && s.op != SetOperator::Or {
            return Ok(left);
        }
        let right = self.vector(&s.right, at)?;
        let matching = self.grouping(&s.matching);
        Ok(binary::set(s.op, left, right, matching, self.directory))
    }

    pub(crate) fn grouping(&mut self, projection: &Projection) -> Grouping {
        *self.groupings[projection.id].get_or_insert_with(|| self.directory.grouping(projection))
    }

    /// Names are gone: what was told apart by them only is not told apart any more.
    fn unique(&mut self, vector: Vec<Element>) -> Result<Vec<Element>, QueryError> {
        if self.ask == Ask::Value {
            self.directory.check_unique(&vector)?;
        }
        Ok(vector)
    }
}

/// Seconds since the epoch, from whole milliseconds where possible so that no digit is lost.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch are below 2^53 for 285,000 years")]
fn timestamp(at: UnixNanos) -> f64 {
    const NANOS_PER_MILLI: i64 = 1_000_000;
    if at.0 % NANOS_PER_MILLI == 0 { (at.0 / NANOS_PER_MILLI) as f64 / 1e3 } else { at.as_secs_f64() }
}
