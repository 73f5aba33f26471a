//! Parts of label sets, as `by`, `without`, `on` and `ignoring` choose them.

use std::{collections::HashMap, sync::Arc};

use window::Labels;

use crate::{InstantSample, plan::Projection, select::METRIC_NAME};

/// What the members of a group have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Group {
    /// Only when `__name__` is asked for.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) labels: Labels,
}

/// Label sets seen and what became of them: a range query asks for the same ones at each step.
pub(crate) type Memory = HashMap<Labels, Labels, foldhash::fast::RandomState>;

/// A [`Projection`] with the memory of its results.
#[derive(Debug)]
pub(crate) struct Projector<'a> {
    projection: &'a Projection,
    /// `None` for a query of one step, which asks for each label set about once.
    memory: Option<&'a mut Memory>,
}

impl<'a> Projector<'a> {
    pub(crate) fn new(projection: &'a Projection, memory: Option<&'a mut Memory>) -> Self {
        Self { projection, memory }
    }

    pub(crate) fn group(&mut self, sample: &InstantSample) -> Group {
        let Projection { keeps, names, .. } = self.projection;
        let name = sample.name.as_ref().filter(|_| *keeps && lists(names, METRIC_NAME)).cloned();
        if let Some(labels) = self.memory.as_ref().and_then(|memory| memory.get(&sample.labels)) {
            return Group { name, labels: labels.clone() };
        }
        let labels = sample.labels.filtered(|label| lists(names, label) == *keeps);
        if let Some(memory) = &mut self.memory {
            memory.insert(sample.labels.clone(), labels.clone());
        }
        Group { name, labels }
    }

    /// Whether both are of one group, without making it.
    pub(crate) fn are_together(&self, a: &InstantSample, b: &InstantSample) -> bool {
        let Projection { keeps, names, .. } = self.projection;
        if *keeps {
            let same = |name: &Arc<str>| match &**name {
                METRIC_NAME => a.name == b.name,
                name => a.labels.get(name) == b.labels.get(name),
            };
            return names.iter().all(same);
        }
        let kept = |sample: &'_ InstantSample| sample.labels.filtered(|label| !lists(names, label));
        kept(a) == kept(b)
    }

    /// Whether `label` survives a one-to-one match.
    pub(crate) fn keeps(&self, label: &str, is_set: bool) -> bool {
        is_set && lists(&self.projection.names, label) == self.projection.keeps
    }
}

fn lists(names: &[Arc<str>], label: &str) -> bool {
    names.binary_search_by(|n| (**n).cmp(label)).is_ok()
}
