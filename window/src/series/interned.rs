//! Texts and label sets that series have in common, each kept once.
//!
//! Decoders make the texts of each new series anew. Most of them repeat: label names, services, pods,
//! routes; and the series derived from one have its labels. Sharing them halves a registry entry.

use std::{collections::HashSet, sync::Arc};

use super::Series;
use crate::Labels;

/// Everything that is shared. Grows with what is known and is swept when series expire.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: HashSet<Arc<str>, foldhash::fast::RandomState>,
    labels: HashSet<Labels, foldhash::fast::RandomState>,
}

impl Interner {
    pub(super) fn text(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.texts.get(&**text) {
            return Arc::clone(known);
        }
        self.texts.insert(Arc::clone(text));
        Arc::clone(text)
    }

    pub(super) fn labels(&mut self, labels: &Labels) -> Labels {
        if let Some(known) = self.labels.get(labels) {
            return known.clone();
        }
        let pairs = labels.shared().iter().map(|(name, value)| (self.text(name), self.text(value)));
        let shared = Labels::from_sorted(pairs.collect());
        self.labels.insert(shared.clone());
        shared
    }

    /// With these texts, and label sets made of them, each different.
    pub(super) fn of(texts: &[Arc<str>], labels: &[Labels]) -> Self {
        Self { texts: texts.iter().cloned().collect(), labels: labels.iter().cloned().collect() }
    }

    /// The series with its texts and labels shared.
    pub(super) fn series(&mut self, series: &Series) -> Series {
        Series {
            key: series.key,
            name: self.text(&series.name),
            source_name: self.text(&series.source_name),
            unit: self.text(&series.unit),
            kind: series.kind,
            labels: self.labels(&series.labels),
            service: self.text(&series.service),
        }
    }

    /// Lets go of what nobody else has.
    pub(super) fn sweep(&mut self) {
        self.labels.retain(Labels::is_shared);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_are_kept_once_until_nobody_has_them() {
        let mut interner = Interner::default();
        let a = interner.labels(&Labels::from_pairs([("pod", "p-1"), ("zone", "pod")]));
        let b = interner.labels(&Labels::from_pairs([("pod", "p-1"), ("zone", "pod")]));
        assert_eq!(a.shared().as_ptr(), b.shared().as_ptr());
        assert!(Arc::ptr_eq(&a.shared()[0].0, &a.shared()[1].1), "a name and a value");
        let name = interner.text(&"zone".into());
        drop((a, b));
        interner.sweep();
        assert_eq!((interner.labels.len(), interner.texts.len()), (0, 1));
        drop(name);
        interner.sweep();
        assert!(interner.texts.is_empty());
    }
}
