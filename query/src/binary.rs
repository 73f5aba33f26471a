//! Operators between scalars, between a vector and a scalar, and between vectors.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use crate::{
    InstantSample, QueryError,
    labels::{Group, Projector},
    plan::{Operator, SetOperator},
    select::METRIC_NAME,
    value::Metric,
};

type ByGroup<V> = HashMap<Group, V, foldhash::fast::RandomState>;

/// How one operator is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) op: Operator,
    /// A comparison answers 0 or 1 instead of filtering.
    pub(crate) returns_bool: bool,
    /// Several partners on the left side are not an error: only who has data is asked.
    pub(crate) lenient: bool,
}

impl Operation {
    /// For scalars a comparison always answers 0 or 1.
    pub(crate) fn scalars(self, left: f64, right: f64) -> f64 {
        arithmetic(self.op, left, right).unwrap_or_else(|| truth(compare(self.op, left, right)))
    }

    /// `scalar` stands on the left side when `swapped`. A filter passes the vector's value on.
    pub(crate) fn vector_scalar(self, vector: Vec<InstantSample>, scalar: f64, swapped: bool) -> Vec<InstantSample> {
        let apply = |s: InstantSample| {
            let (left, right) = if swapped { (scalar, s.value) } else { (s.value, scalar) };
            if let Some(result) = arithmetic(self.op, left, right) {
                return Some(s.nameless(result));
            }
            let holds = compare(self.op, left, right);
            if self.returns_bool { Some(s.nameless(truth(holds))) } else { holds.then_some(s) }
        };
        vector.into_iter().filter_map(apply).collect()
    }

    /// Each element of the left side with its one partner on the right; those without are left out.
    pub(crate) fn vectors(
        self,
        left: Vec<InstantSample>,
        right: &[InstantSample],
        matching: &mut Projector<'_>,
    ) -> Result<Vec<InstantSample>, QueryError> {
        if left.is_empty() || right.is_empty() {
            return Ok(Vec::new());
        }
        let mut partners: ByGroup<(&InstantSample, bool)> = ByGroup::default();
        for r in right {
            match partners.entry(matching.group(r)) {
                Entry::Vacant(free) => {
                    free.insert((r, false));
                }
                Entry::Occupied(taken) => {
                    let text = |s: &InstantSample| Metric(s.name.as_deref(), &s.labels).to_string();
                    let (first, second) = (text(taken.get().0), text(r));
                    return Err(QueryError::ManyToMany { group: taken.key().labels.clone(), first, second });
                }
            }
        }
        let mut out = Vec::with_capacity(left.len().min(right.len()));
        for l in left {
            let group = matching.group(&l);
            let Some((partner, used)) = partners.get_mut(&group) else { continue };
            let Some((value, keeps_name)) = self.elements(l.value, partner.value) else { continue };
            if std::mem::replace(used, true) && !self.lenient {
                return Err(QueryError::ManyToOne { group: group.labels });
            }
            let named = keeps_name && matching.keeps(METRIC_NAME, l.name.is_some());
            out.push(InstantSample { name: l.name.filter(|_| named), labels: group.labels, value });
        }
        Ok(out)
    }

    /// The value for one pair and whether the left side's name survives; `None` when filtered out.
    fn elements(self, left: f64, right: f64) -> Option<(f64, bool)> {
        if let Some(result) = arithmetic(self.op, left, right) {
            return Some((result, false));
        }
        let holds = compare(self.op, left, right);
        if self.returns_bool { Some((truth(holds), false)) } else { holds.then_some((left, true)) }
    }
}

/// Elements of both sides by their groups: with partners (`and`), without (`unless`), or all of
/// the left side and what only the right side has (`or`).
pub(crate) fn set(
    op: SetOperator,
    mut left: Vec<InstantSample>,
    right: Vec<InstantSample>,
    matching: &mut Projector<'_>,
) -> Vec<InstantSample> {
    let mut groups = |v: &[InstantSample]| -> HashSet<Group, foldhash::fast::RandomState> {
        v.iter().map(|s| matching.group(s)).collect()
    };
    match op {
        SetOperator::And | SetOperator::Unless => {
            let partners = groups(&right);
            left.retain(|s| partners.contains(&matching.group(s)) == (op == SetOperator::And));
        }
        SetOperator::Or => {
            let taken = groups(&left);
            left.extend(right.into_iter().filter(|s| !taken.contains(&matching.group(s))));
        }
    }
    left
}

/// `None` for comparisons.
fn arithmetic(op: Operator, left: f64, right: f64) -> Option<f64> {
    match op {
        Operator::Add => Some(left + right),
        Operator::Sub => Some(left - right),
        Operator::Mul => Some(left * right),
        Operator::Div => Some(left / right),
        Operator::Mod => Some(left % right),
        Operator::Pow => Some(left.powf(right)),
        Operator::Atan2 => Some(left.atan2(right)),
        Operator::Equal
        | Operator::NotEqual
        | Operator::Less
        | Operator::LessOrEqual
        | Operator::Greater
        | Operator::GreaterOrEqual => None,
    }
}

/// False for arithmetic. As IEEE 754 has it: NaN is unequal to everything and neither side of it.
#[expect(clippy::float_cmp, reason = "PromQL compares exactly")]
fn compare(op: Operator, left: f64, right: f64) -> bool {
    match op {
        Operator::Equal => left == right,
        Operator::NotEqual => left != right,
        Operator::Less => left < right,
        Operator::LessOrEqual => left <= right,
        Operator::Greater => left > right,
        Operator::GreaterOrEqual => left >= right,
        Operator::Add
        | Operator::Sub
        | Operator::Mul
        | Operator::Div
        | Operator::Mod
        | Operator::Pow
        | Operator::Atan2 => false,
    }
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
