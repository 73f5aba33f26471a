//! A checked query: only what can be evaluated can be said here.

use std::{sync::Arc, time::Duration};

use window::Labels;

use crate::{
    buckets,
    select::{METRIC_NAME, Matcher, Reach, Test},
};

/// A checked expression with the selectors that it reads.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: Expr,
    pub(crate) selectors: Vec<Selector>,
    /// How many [`Projection`]s the expression holds.
    pub(crate) projections: usize,
}

/// Which series to read, and which of their samples.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    /// All must hold.
    pub(crate) matchers: Vec<Matcher>,
    /// What it says of series, as text: equal for selectors that mean the same series and tell of the same names.
    pub(crate) means: Arc<str>,
    /// What is made of its samples, unless they are asked for themselves.
    pub(crate) function: Option<WindowFunction>,
    /// How far behind the time of evaluation to look; negative looks ahead. Nanoseconds.
    pub(crate) offset: i64,
    /// `None`: the newest sample within the look-back.
    pub(crate) range: Option<Duration>,
}

/// What an expression asks of the samples of a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The samples themselves.
    Samples,
    /// Their count, sum, least or greatest value: rollups can answer that.
    Statistics,
}

impl Selector {
    /// What is asked of the samples.
    pub(crate) fn reads(&self) -> Reads {
        self.function.map_or(Reads::Samples, WindowFunction::reads)
    }

    /// Whether it is asked for the names of series, or for their other labels only.
    pub(crate) fn keeps_name(&self) -> bool {
        self.function.is_none_or(WindowFunction::keeps_name)
    }

    /// The metric that it reads, if it names one exactly.
    pub(crate) fn metric(&self) -> Option<&str> {
        self.matchers.iter().find_map(|matcher| match &matcher.test {
            Test::Is(name) if matcher.label == METRIC_NAME => Some(name.as_str()),
            _ => None,
        })
    }

    /// Names of all metrics that may have series for it, among them the histogram whose buckets it may read; `None` for
    /// every name.
    pub(crate) fn metrics_read(&self) -> [Option<&str>; 2] {
        let name = self.metric();
        [name, name.map(|name| name.strip_suffix(buckets::SUFFIX).unwrap_or_default())]
    }
}

/// Number of a selector in its [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SelectorId(pub(crate) usize);

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar,
    Vector,
    Matrix,
    Text,
}

#[derive(Debug)]
pub(crate) enum Expr {
    Number(f64),
    Text(String),
    Time,
    /// The newest value of each series.
    Select(SelectorId),
    /// Raw samples; only the root of a plan.
    Window(SelectorId),
    OverWindow(WindowFunction, SelectorId),
    Map(MapFunction, Box<Expr>),
    /// The labels are those of the answer when `inner` is empty.
    Absent(Box<Expr>, Labels),
    /// The quantile, and the buckets.
    HistogramQuantile(Box<Expr>, Box<Expr>),
    ToVector(Box<Expr>),
    ToScalar(Box<Expr>),
    Negate(Box<Expr>, Kind),
    Binary(Box<Binary>),
    Set(Box<Set>),
    Aggregate(Box<Aggregate>),
}

/// Arithmetic or comparison.
#[derive(Debug)]
pub(crate) struct Binary {
    pub(crate) op: Operator,
    pub(crate) left: Expr,
    pub(crate) right: Expr,
    pub(crate) shape: Shape,
    /// The comparison answers 0 or 1 instead of filtering.
    pub(crate) returns_bool: bool,
    /// What identifies partners, when both sides are vectors.
    pub(crate) matching: Projection,
}

/// Which sides of an operator are vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Scalars,
    VectorScalar,
    ScalarVector,
    Vectors,
}

#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) op: SetOperator,
    pub(crate) left: Expr,
    pub(crate) right: Expr,
    pub(crate) matching: Projection,
}

#[derive(Debug)]
pub(crate) struct Aggregate {
    pub(crate) op: Aggregation,
    pub(crate) inner: Expr,
    pub(crate) by: Projection,
}

/// The part of a label set that identifies a group: `by` and `on`, or `without` and `ignoring`.
#[derive(Clone, Debug)]
pub(crate) struct Projection {
    /// Number in the plan.
    pub(crate) id: usize,
    /// Whether `names` are kept (or else dropped, together with `__name__`).
    pub(crate) keeps: bool,
    /// Label names, sorted.
    pub(crate) names: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetOperator {
    And,
    Or,
    Unless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregation {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
}

/// Functions of a range of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowFunction {
    Rate,
    Increase,
    Delta,
    Idelta,
    Irate,
    Avg,
    Min,
    Max,
    Sum,
    Count,
    Last,
}

impl WindowFunction {
    pub(crate) fn reads(self) -> Reads {
        match self {
            Self::Avg | Self::Min | Self::Max | Self::Sum | Self::Count => Reads::Statistics,
            Self::Rate | Self::Increase | Self::Delta | Self::Idelta | Self::Irate | Self::Last => Reads::Samples,
        }
    }

    /// Whether what it says is still of the metric by that name.
    pub(crate) fn keeps_name(self) -> bool {
        self == Self::Last
    }

    pub(crate) fn reach(self) -> Reach {
        match self {
            Self::Avg | Self::Min | Self::Max | Self::Sum | Self::Count => Reach::Bounds,
            Self::Last => Reach::Newest,
            Self::Rate | Self::Increase | Self::Delta | Self::Idelta | Self::Irate => Reach::Before,
        }
    }
}

/// Functions of each value of a vector; their parameters are scalar expressions.
#[derive(Debug)]
pub(crate) enum MapFunction {
    Abs,
    ClampMin(Box<Expr>),
    ClampMax(Box<Expr>),
    Round(Box<Expr>),
}

impl Operator {
    pub(crate) fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }
}

impl Binary {
    /// Whether it drops elements of a vector for which the comparison does not hold.
    pub(crate) fn filters(&self) -> bool {
        self.op.is_comparison() && !self.returns_bool && self.shape != Shape::Scalars
    }
}

impl Kind {
    /// Prometheus's word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::Text => "string",
        }
    }
}

impl Expr {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Number(_) | Self::Time | Self::ToScalar(_) => Kind::Scalar,
            Self::Text(_) => Kind::Text,
            Self::Window(_) => Kind::Matrix,
            Self::Negate(_, kind) => *kind,
            Self::Binary(b) if b.shape == Shape::Scalars => Kind::Scalar,
            Self::Select(_)
            | Self::OverWindow(..)
            | Self::Map(..)
            | Self::Absent(..)
            | Self::HistogramQuantile(..)
            | Self::ToVector(_)
            | Self::Binary(_)
            | Self::Set(_)
            | Self::Aggregate(_) => Kind::Vector,
        }
    }

    /// Whether somewhere a comparison filters or `absent` asks: whether data and outcome differ.
    pub(crate) fn has_condition(&self) -> bool {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Time => false,
            Self::Select(_) | Self::Window(_) | Self::OverWindow(..) => false,
            Self::Absent(..) => true,
            Self::Map(_, inner) | Self::ToVector(inner) | Self::ToScalar(inner) | Self::Negate(inner, _) => {
                inner.has_condition()
            }
            Self::Binary(b) => b.filters() || b.left.has_condition() || b.right.has_condition(),
            Self::HistogramQuantile(_, buckets) => buckets.has_condition(),
            Self::Set(s) => s.left.has_condition() || s.right.has_condition(),
            Self::Aggregate(a) => a.inner.has_condition(),
        }
    }
}
