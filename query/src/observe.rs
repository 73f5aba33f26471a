//! For which label sets a condition could be judged at all.
//!
//! A rule's answer leaves out both what is fine and what has no data. An alert that resolves because
//! its input went silent is worse than none, so the two are told apart here.

use std::collections::BTreeSet;

use window::UnixNanos;

use crate::{
    QueryError,
    directory::{Element, Who},
    eval::{Ask, Evaluator},
    plan::{Expr, Set, SetOperator},
};

impl<'a> Evaluator<'a> {
    /// The label sets for which `expr` is known to hold or not to hold; `None` when it has no
    /// condition, so that presence is all that it says.
    pub(crate) fn observed(&mut self, expr: &'a Expr, at: UnixNanos) -> Result<Option<BTreeSet<Who>>, QueryError> {
        if !expr.has_condition() {
            return Ok(None);
        }
        if let Expr::Set(set) = expr {
            return self.observed_set(set, at).map(Some);
        }
        self.ask = Ask::Data;
        let answered = self.vector(expr, at);
        self.ask = Ask::Value;
        Ok(Some(self.nameless(&answered?)))
    }

    fn observed_set(&mut self, set: &'a Set, at: UnixNanos) -> Result<BTreeSet<Who>, QueryError> {
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
        mut left: BTreeSet<Who>,
        right: BTreeSet<Who>,
        set: &'a Set,
        at: UnixNanos,
    ) -> Result<BTreeSet<Who>, QueryError> {
        let holds = self.vector(&set.left, at)?;
        let holds = self.nameless(&holds);
        let matching = self.grouping(&set.matching);
        let known: BTreeSet<Who> = right.into_iter().map(|who| self.directory.group(matching, who)).collect();
        left.retain(|who| !holds.contains(who) || known.contains(&self.directory.group(matching, *who)));
        Ok(left)
    }

    fn observed_or_present(&mut self, expr: &'a Expr, at: UnixNanos) -> Result<BTreeSet<Who>, QueryError> {
        match self.observed(expr, at)? {
            Some(observed) => Ok(observed),
            None => {
                let present = self.vector(expr, at)?;
                Ok(self.nameless(&present))
            }
        }
    }

    fn nameless(&mut self, vector: &[Element]) -> BTreeSet<Who> {
        vector.iter().map(|element| self.directory.nameless(element.who)).collect()
    }
}
