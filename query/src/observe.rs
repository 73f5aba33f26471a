//! For which label sets a condition could be judged at all.
//!
//! A rule's answer leaves out both what is fine and what has no data. An alert that resolves because
//! its input went silent is worse than none, so the two are told apart here.

use std::collections::BTreeSet;

use window::{Labels, UnixNanos};

use crate::{
    InstantSample, QueryError,
    eval::{Ask, Evaluator},
    plan::{Expr, Set, SetOperator},
};

impl<'a> Evaluator<'a> {
    /// The label sets for which `expr` is known to hold or not to hold; `None` when it has no
    /// condition, so that presence is all that it says.
    pub(crate) fn observed(&mut self, expr: &'a Expr, at: UnixNanos) -> Result<Option<BTreeSet<Labels>>, QueryError> {
        if !expr.has_condition() {
            return Ok(None);
        }
        if let Expr::Set(set) = expr {
            return self.observed_set(set, at).map(Some);
        }
        self.ask = Ask::Data;
        let answered = self.vector(expr, at);
        self.ask = Ask::Value;
        Ok(Some(labels_of(answered?)))
    }

    fn observed_set(&mut self, set: &'a Set, at: UnixNanos) -> Result<BTreeSet<Labels>, QueryError> {
        let left = self.observed_or_present(&set.left, at)?;
        match set.op {
            SetOperator::Unless => Ok(left),
            SetOperator::Or => Ok(&left | &self.observed_or_present(&set.right, at)?),
            SetOperator::And => match self.observed(&set.right, at)? {
                // Presence on the right is the condition itself, and it is known.
                None => Ok(left),
                Some(right) => self.judged(left, right, set, at),
            },
        }
    }

    /// "False and unknown" is false, "true and unknown" is unknown: where the left side holds, the
    /// right side must have had data as well.
    fn judged(
        &mut self,
        mut left: BTreeSet<Labels>,
        right: BTreeSet<Labels>,
        set: &'a Set,
        at: UnixNanos,
    ) -> Result<BTreeSet<Labels>, QueryError> {
        let holds = labels_of(self.vector(&set.left, at)?);
        let mut matching = self.projector(&set.matching);
        let mut group = |labels| matching.group(&InstantSample { name: None, labels, value: 1.0 }).labels;
        let known: BTreeSet<Labels> = right.into_iter().map(&mut group).collect();
        left.retain(|labels| !holds.contains(labels) || known.contains(&group(labels.clone())));
        Ok(left)
    }

    fn observed_or_present(&mut self, expr: &'a Expr, at: UnixNanos) -> Result<BTreeSet<Labels>, QueryError> {
        match self.observed(expr, at)? {
            Some(observed) => Ok(observed),
            None => Ok(labels_of(self.vector(expr, at)?)),
        }
    }
}

fn labels_of(vector: Vec<InstantSample>) -> BTreeSet<Labels> {
    vector.into_iter().map(|s| s.labels).collect()
}
