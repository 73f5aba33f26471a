//! From text to a [`Plan`]: the grammar is promql-parser's; what is not built is refused here.
//!
//! The grammar's tree is not evaluated as it is: it can say more than is built, keeps no places,
//! and leaves questions (is this side a scalar?) that are better answered once.

use std::{sync::Arc, time::Duration};

use promql_parser::{
    label::{MatchOp, Matcher as ParsedMatcher},
    parser::{self as ast, LabelModifier, Offset, VectorMatchCardinality},
};
use window::Labels;

use crate::{
    QueryError,
    plan::{
        Aggregate, Aggregation, Binary, Expr, Kind, MapFunction, Operator, Plan, Projection, Selector, SelectorId, Set,
        SetOperator, Shape, WindowFunction,
    },
    select::{METRIC_NAME, Matcher, Test},
    text::Tokens,
};

const MAX_DURATION: Duration = Duration::from_hours(100 * 365 * 24);

/// Parses and checks `text`.
pub(crate) fn parse(text: &str) -> Result<Plan, QueryError> {
    let tokens = Tokens::new(text)?;
    check_calls(&tokens)?;
    let parsed = ast::parse(text).map_err(|message| QueryError::Syntax { message })?;
    let mut builder = Builder { tokens, selectors: Vec::new(), projections: 0 };
    let root = builder.expr(&parsed)?;
    let Builder { mut selectors, projections, .. } = builder;
    for selector in &mut selectors {
        selector.means = format!("{} {:?}", selector.keeps_name(), selector.matchers).into();
    }
    Ok(Plan { root, selectors, projections })
}

/// Functions are looked for in the text, so that one that the grammar does not know is said with
/// its place as well. Aggregations are left to the tree.
fn check_calls(tokens: &Tokens<'_>) -> Result<(), QueryError> {
    const AGGREGATIONS: [&str; 14] = [
        "sum",
        "avg",
        "count",
        "min",
        "max",
        "group",
        "stddev",
        "stdvar",
        "topk",
        "bottomk",
        "count_values",
        "quantile",
        "limitk",
        "limit_ratio",
    ];
    for (name, at) in tokens.calls() {
        let aggregation = AGGREGATIONS.iter().any(|a| name.eq_ignore_ascii_case(a));
        if !aggregation && window_function(name).is_none() && !is_other_function(name) {
            return Err(QueryError::Unsupported { what: format!("function `{name}`"), at });
        }
    }
    Ok(())
}

fn window_function(name: &str) -> Option<WindowFunction> {
    Some(match name {
        "rate" => WindowFunction::Rate,
        "increase" => WindowFunction::Increase,
        "delta" => WindowFunction::Delta,
        "idelta" => WindowFunction::Idelta,
        "irate" => WindowFunction::Irate,
        "avg_over_time" => WindowFunction::Avg,
        "min_over_time" => WindowFunction::Min,
        "max_over_time" => WindowFunction::Max,
        "sum_over_time" => WindowFunction::Sum,
        "count_over_time" => WindowFunction::Count,
        "last_over_time" => WindowFunction::Last,
        _ => return None,
    })
}

fn is_other_function(name: &str) -> bool {
    matches!(
        name,
        "abs" | "absent" | "clamp_min" | "clamp_max" | "histogram_quantile" | "round" | "scalar" | "time" | "vector"
    )
}

struct Builder<'a> {
    tokens: Tokens<'a>,
    selectors: Vec<Selector>,
    projections: usize,
}

impl Builder<'_> {
    fn expr(&mut self, parsed: &ast::Expr) -> Result<Expr, QueryError> {
        match parsed {
            ast::Expr::NumberLiteral(n) => Ok(Expr::Number(n.val)),
            ast::Expr::StringLiteral(s) => Ok(Expr::Text(s.val.clone())),
            ast::Expr::Paren(p) => self.expr(&p.expr),
            ast::Expr::VectorSelector(v) => Ok(Expr::Select(self.selector(v, None)?)),
            ast::Expr::MatrixSelector(m) => Ok(Expr::Window(self.selector(&m.vs, Some(m.range))?)),
            ast::Expr::Unary(u) => {
                let inner = self.expr(&u.expr)?;
                let kind = inner.kind();
                Ok(Expr::Negate(Box::new(inner), kind))
            }
            ast::Expr::Binary(b) => self.binary(b),
            ast::Expr::Aggregate(a) => self.aggregate(a),
            ast::Expr::Call(c) => self.call(c),
            ast::Expr::Subquery(_) => {
                Err(QueryError::Unsupported { what: "subquery".into(), at: self.tokens.find_subquery() })
            }
            ast::Expr::Extension(e) => Err(self.unsupported("extension", e.expr.name())),
        }
    }

    /// `name` names both what is refused and the word by which to find it.
    fn unsupported(&self, kind: &str, name: &str) -> QueryError {
        QueryError::Unsupported { what: format!("{kind} `{name}`"), at: self.tokens.find(name) }
    }

    fn selector(&mut self, parsed: &ast::VectorSelector, range: Option<Duration>) -> Result<SelectorId, QueryError> {
        if parsed.at.is_some() {
            return Err(self.unsupported("modifier", "@"));
        }
        if !parsed.matchers.or_matchers.is_empty() {
            return Err(QueryError::Unsupported { what: "`or` between matchers".into(), at: self.tokens.find("or") });
        }
        let name = parsed.name.as_ref().map(|n| Ok(Matcher { label: METRIC_NAME.into(), test: Test::Is(n.clone()) }));
        let matchers = name.into_iter().chain(parsed.matchers.matchers.iter().map(matcher));
        let matchers = matchers.collect::<Result<Vec<_>, _>>()?;
        if matchers.iter().all(|m| m.test.holds("")) {
            let message = "vector selector must contain at least one non-empty matcher".into();
            return Err(QueryError::Syntax { message });
        }
        let offset = match parsed.offset {
            None => 0,
            Some(Offset::Pos(d)) => self.nanos(d, "offset")?,
            Some(Offset::Neg(d)) => -self.nanos(d, "offset")?,
        };
        if let Some(range) = range {
            self.nanos(range, "[")?;
        }
        self.selectors.push(Selector { matchers, means: Arc::default(), function: None, offset, range });
        Ok(SelectorId(self.selectors.len() - 1))
    }

    /// `word` stands before the duration in the text.
    fn nanos(&self, d: Duration, word: &str) -> Result<i64, QueryError> {
        if d.is_zero() || d > MAX_DURATION {
            return Err(QueryError::Duration { text: format!("{d:?}"), at: self.tokens.find(word) });
        }
        Ok(i64::try_from(d.as_nanos()).expect("a hundred years of nanoseconds are less than i64::MAX"))
    }

    fn projection(&mut self, modifier: Option<&LabelModifier>, keeps_without: bool) -> Projection {
        let mut names: Vec<_> =
            modifier.map_or(&[][..], |m| &m.labels().labels).iter().map(|n| n.as_str().into()).collect();
        names.sort();
        names.dedup();
        let keeps = modifier.map_or(keeps_without, LabelModifier::is_include);
        self.projections += 1;
        Projection { id: self.projections - 1, keeps, names }
    }

    fn binary(&mut self, parsed: &ast::BinaryExpr) -> Result<Expr, QueryError> {
        let modifier = parsed.modifier.as_ref();
        match modifier.map(|m| &m.card) {
            Some(VectorMatchCardinality::ManyToOne(_)) => return Err(self.unsupported("modifier", "group_left")),
            Some(VectorMatchCardinality::OneToMany(_)) => return Err(self.unsupported("modifier", "group_right")),
            Some(VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany) | None => {}
        }
        if let Some(fill) = modifier.map(|m| &m.fill_values) {
            match (fill.lhs, fill.rhs) {
                (None, None) => {}
                (Some(_), None) => return Err(self.unsupported("modifier", "fill_left")),
                (None, Some(_)) => return Err(self.unsupported("modifier", "fill_right")),
                (Some(_), Some(_)) => return Err(self.unsupported("modifier", "fill")),
            }
        }
        let (left, right) = (self.expr(&parsed.lhs)?, self.expr(&parsed.rhs)?);
        let matching = self.projection(modifier.and_then(|m| m.matching.as_ref()), false);
        let word = parsed.op.to_string();
        if let Some(op) = set_operator(&word) {
            return Ok(Expr::Set(Box::new(Set { op, left, right, matching })));
        }
        let shape = match (left.kind(), right.kind()) {
            (Kind::Scalar, Kind::Scalar) => Shape::Scalars,
            (Kind::Vector, Kind::Scalar) => Shape::VectorScalar,
            (Kind::Scalar, Kind::Vector) => Shape::ScalarVector,
            (Kind::Vector, Kind::Vector) => Shape::Vectors,
            (l, r) => {
                let message =
                    format!("operator {word} needs scalars or instant vectors, got {} and {}", l.as_str(), r.as_str());
                return Err(QueryError::Syntax { message });
            }
        };
        let Some(op) = operator(&word) else { return Err(self.unsupported("operator", &word)) };
        let returns_bool = modifier.is_some_and(|m| m.return_bool);
        Ok(Expr::Binary(Box::new(Binary { op, left, right, shape, returns_bool, matching })))
    }

    fn aggregate(&mut self, parsed: &ast::AggregateExpr) -> Result<Expr, QueryError> {
        let word = parsed.op.to_string();
        let op = match word.as_str() {
            "sum" => Aggregation::Sum,
            "avg" => Aggregation::Avg,
            "min" => Aggregation::Min,
            "max" => Aggregation::Max,
            "count" => Aggregation::Count,
            "group" => Aggregation::Group,
            _ => {
                let at = self.tokens.find_aggregation(&word);
                return Err(QueryError::Unsupported { what: format!("aggregation `{word}`"), at });
            }
        };
        let inner = self.expr(&parsed.expr)?;
        let by = self.projection(parsed.modifier.as_ref(), true);
        Ok(Expr::Aggregate(Box::new(Aggregate { op, inner, by })))
    }

    fn call(&mut self, parsed: &ast::Call) -> Result<Expr, QueryError> {
        let name = parsed.func.name;
        let mut args = Vec::with_capacity(parsed.args.len());
        for arg in &parsed.args.args {
            args.push(self.expr(arg)?);
        }
        let mut args = args.into_iter();
        let (first, second, rest) = (args.next(), args.next().map(Box::new), args.next());
        let call = match (name, first, second, rest) {
            ("time", None, None, None) => Some(Expr::Time),
            ("vector", Some(e), None, None) => Some(Expr::ToVector(Box::new(e))),
            ("scalar", Some(e), None, None) => Some(Expr::ToScalar(Box::new(e))),
            ("abs", Some(e), None, None) => Some(Expr::Map(MapFunction::Abs, Box::new(e))),
            ("absent", Some(e), None, None) => {
                let labels = self.absent_labels(&e);
                Some(Expr::Absent(Box::new(e), labels))
            }
            ("clamp_min", Some(e), Some(min), None) => Some(Expr::Map(MapFunction::ClampMin(min), Box::new(e))),
            ("clamp_max", Some(e), Some(max), None) => Some(Expr::Map(MapFunction::ClampMax(max), Box::new(e))),
            ("histogram_quantile", Some(q), Some(buckets), None) => Some(Expr::HistogramQuantile(Box::new(q), buckets)),
            ("round", Some(e), nearest, None) => {
                let nearest = nearest.unwrap_or_else(|| Box::new(Expr::Number(1.0)));
                Some(Expr::Map(MapFunction::Round(nearest), Box::new(e)))
            }
            (_, Some(Expr::Window(id)), None, None) => window_function(name).map(|function| {
                self.selectors[id.0].function = Some(function);
                Expr::OverWindow(function, id)
            }),
            _ => None,
        };
        call.ok_or_else(|| self.unsupported("function", name))
    }

    /// What `absent` can say about the series that is not there: labels that exactly one matcher
    /// asks to be equal to something.
    fn absent_labels(&self, inner: &Expr) -> Labels {
        let Expr::Select(id) = inner else { return Labels::default() };
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for m in self.selectors[id.0].matchers.iter().filter(|m| m.label != METRIC_NAME) {
            match &m.test {
                Test::Is(value) if !seen.contains(&m.label.as_str()) => {
                    pairs.push((&m.label, value));
                    seen.push(&m.label);
                }
                _ => pairs.retain(|(label, _)| *label != m.label),
            }
        }
        Labels::from_pairs(pairs)
    }
}

fn matcher(parsed: &ParsedMatcher) -> Result<Matcher, QueryError> {
    let value = &parsed.value;
    let compiled = || crate::select::compile(value).map_err(|message| QueryError::Syntax { message });
    let test = match parsed.op {
        MatchOp::Equal => Test::Is(value.clone()),
        MatchOp::NotEqual => Test::IsNot(value.clone()),
        MatchOp::Re(_) => Test::Matches(compiled()?),
        MatchOp::NotRe(_) => Test::MatchesNot(compiled()?),
    };
    Ok(Matcher { label: parsed.name.clone(), test })
}

fn set_operator(word: &str) -> Option<SetOperator> {
    match word {
        "and" => Some(SetOperator::And),
        "or" => Some(SetOperator::Or),
        "unless" => Some(SetOperator::Unless),
        _ => None,
    }
}

fn operator(word: &str) -> Option<Operator> {
    Some(match word {
        "+" => Operator::Add,
        "-" => Operator::Sub,
        "*" => Operator::Mul,
        "/" => Operator::Div,
        "%" => Operator::Mod,
        "^" => Operator::Pow,
        "atan2" => Operator::Atan2,
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<" => Operator::Less,
        "<=" => Operator::LessOrEqual,
        ">" => Operator::Greater,
        ">=" => Operator::GreaterOrEqual,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "parse/tests.rs"]
mod tests;
