//! Operators between scalars, between a vector and a scalar, and between vectors.

use crate::{
    QueryError,
    directory::{Directory, Element, Grouping},
    plan::{Operator, SetOperator},
};

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
    pub(crate) fn vector_scalar(
        self,
        mut vector: Vec<Element>,
        scalar: f64,
        swapped: bool,
        directory: &mut Directory,
    ) -> Vec<Element> {
        vector.retain_mut(|element| {
            let (left, right) = if swapped { (scalar, element.value) } else { (element.value, scalar) };
            let result = arithmetic(self.op, left, right);
            let holds = result.is_none() && compare(self.op, left, right);
            if let Some(result) = result.or_else(|| self.returns_bool.then(|| truth(holds))) {
                *element = Element { who: directory.nameless(element.who), value: result };
                return true;
            }
            holds
        });
        vector
    }

    /// Each element of the left side with its one partner on the right; those without are left out.
    pub(crate) fn vectors(
        self,
        left: Vec<Element>,
        right: &[Element],
        matching: Grouping,
        directory: &mut Directory,
    ) -> Result<Vec<Element>, QueryError> {
        if left.is_empty() || right.is_empty() {
            return Ok(Vec::new());
        }
        directory.clear_places();
        for (place, r) in right.iter().enumerate() {
            let group = directory.group(matching, r.who);
            if let Some(other) = directory.place(group) {
                let (first, second) = (directory.text(right[other].who), directory.text(r.who));
                return Err(QueryError::ManyToMany { group: directory.labels(group).clone(), first, second });
            }
            directory.set_place(group, place);
        }
        let mut used = vec![false; right.len()];
        let mut out = Vec::with_capacity(left.len().min(right.len()));
        for l in left {
            let group = directory.group(matching, l.who);
            let Some(place) = directory.place(group) else { continue };
            let Some((value, keeps_name)) = self.elements(l.value, right[place].value) else { continue };
            if std::mem::replace(&mut used[place], true) && !self.lenient {
                return Err(QueryError::ManyToOne { group: directory.labels(group).clone() });
            }
            let who = if keeps_name { directory.filtered(matching, l.who, group) } else { directory.nameless(group) };
            out.push(Element { who, value });
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
    mut left: Vec<Element>,
    mut right: Vec<Element>,
    matching: Grouping,
    directory: &mut Directory,
) -> Vec<Element> {
    let is_or = op == SetOperator::Or;
    directory.clear_places();
    for element in if is_or { &left } else { &right } {
        let group = directory.group(matching, element.who);
        directory.set_place(group, 0);
    }
    let mut has_partner = |element: &Element| {
        let group = directory.group(matching, element.who);
        directory.place(group).is_some()
    };
    if is_or {
        right.retain(|element| !has_partner(element));
        left.append(&mut right);
    } else {
        left.retain(|element| has_partner(element) == (op == SetOperator::And));
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
