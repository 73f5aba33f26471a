//! What holds from one evaluation to the next: which series selectors mean, and how label sets group.
//!
//! Rules and objectives ask the same every few seconds, while series come and go seldom. With a memory of
//! this, an evaluation reads values and nothing else. Answers are the same with it and without it.

use std::{collections::HashMap, sync::Arc};

use window::{Membership, Snapshot};

use crate::{directory::Directory, plan::Selector, select::Meant};

/// Label sets, and series of all selectors, that are kept at most: some tens of megabytes.
const MOST_LABEL_SETS: usize = 1 << 18;
const MOST_SERIES: usize = 1 << 20;

/// A memory for [`Query::instant_recalling`](crate::Query::instant_recalling): one for all queries over the snapshots
/// of a window.
///
/// It is bounded: one that has grown too large, or of which much concerns series that are gone, begins anew. What it
/// knows of a metric's series is found out again once a series of that metric has come or gone.
#[derive(Debug, Default)]
pub struct Recall {
    pub(crate) directory: Directory,
    meanings: HashMap<Arc<str>, Meaning, foldhash::fast::RandomState>,
    /// Series of all meanings.
    series: usize,
    /// Label sets that came with series since it began: as many may be of series that are gone.
    came: usize,
}

#[derive(Debug)]
struct Meaning {
    /// The series that there were: those of the metric, and of the histogram of that name without `_bucket`.
    basis: [Membership; 2],
    /// `None` for a selector that has to be read in another way.
    meant: Option<Arc<Meant>>,
}

impl Recall {
    /// The series that `selector` means, by their numbers; `None` when histograms are among them.
    pub(crate) fn meant(&mut self, selector: &Selector, snapshot: &Snapshot) -> Option<Arc<Meant>> {
        let names = selector.metrics_read();
        let basis = names.map(|name| snapshot.registry.membership(name));
        let known = self.meanings.get(&selector.means);
        if let Some(meaning) = known.filter(|meaning| meaning.basis == basis) {
            return meaning.meant.clone();
        }
        let is_known = known.is_some();
        let before = self.directory.len();
        let meant = Meant::by(selector, snapshot, &mut self.directory).map(Arc::new);
        if is_known {
            self.came += self.directory.len() - before;
        }
        let count = |meant: &Option<Arc<Meant>>| meant.as_ref().map_or(0, |meant| meant.len());
        self.series += count(&meant);
        let replaced = self.meanings.insert(Arc::clone(&selector.means), Meaning { basis, meant: meant.clone() });
        self.series -= replaced.map_or(0, |meaning| count(&meaning.meant));
        meant
    }

    /// Begins anew if it is too large, or holds too much of what is gone. To be called before an evaluation.
    pub(crate) fn tidy(&mut self) {
        let known = self.directory.len();
        if known > MOST_LABEL_SETS || self.series > MOST_SERIES || self.came > known / 2 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use window::{Config, Labels, Point, Series, SeriesKey, SeriesKind, UnixNanos, Window};

    use super::*;
    use crate::{Options, Query};

    fn add(window: &mut Window, key: u128, time: UnixNanos) {
        let key = SeriesKey(key);
        let describe = || Series {
            key,
            name: "m".into(),
            source_name: "m".into(),
            unit: "".into(),
            kind: SeriesKind::Gauge,
            labels: Labels::from_pairs([("pod", key.0.to_string())]),
            service: "".into(),
        };
        let series = window.registry_mut().find_or_add(key, describe).expect("far below the limit");
        window.push_point(Point { series, time, value: 1.0 });
    }

    #[test]
    fn what_is_gone_is_let_go_of() {
        let span = Duration::from_secs(10);
        let mut window = Window::new(Config { span, series_idle: span, ..Config::default() });
        let query = Query::parse("sum by (pod) (rate(m[10s]))").expect("is valid");
        let mut recall = Recall::default();
        let mut greatest = 0;
        for step in 0..2_000_u32 {
            let time = UnixNanos(i64::from(step) * 1_000_000_000);
            (0..5).for_each(|other| add(&mut window, u128::from(step / 10 * 10 + other), time));
            window.expire_series();
            query.instant_recalling(&window.seal(), time, &Options::default(), &mut recall).expect("has an answer");
            greatest = greatest.max(recall.directory.len());
        }
        assert!(window.registry().len() < 50, "series are gone");
        assert!((5..200).contains(&greatest), "{greatest} label sets of 1,000 series");
    }

    #[test]
    fn a_memory_that_has_grown_too_large_begins_anew() {
        let mut recall = Recall { series: MOST_SERIES + 1, ..Recall::default() };
        recall.directory.who(None, Labels::default());
        recall.tidy();
        assert_eq!((recall.series, recall.directory.len()), (0, 0));
    }
}
