//! What a series is, and the registry that gives each one a dense number.

mod interned;
mod saved;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use self::interned::Interner;
pub(crate) use self::saved::SavedRegistry;
use crate::{Labels, UnixNanos};

/// Dense number of a series; detector state is held in arrays indexed by it.
///
/// A number is used again after its series has expired, see [`Registry::expire`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesId(pub u32);

impl SeriesId {
    /// As an index into arrays.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Identity of a series: a hash of everything that the OpenTelemetry data model counts as identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey(pub u128);

impl SeriesKey {
    /// The identity of a series derived from this one under a suffix such as `:rate`.
    #[must_use]
    pub fn derived(self, suffix: &str) -> Self {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&self.0.to_le_bytes());
        hash.update(suffix.as_bytes());
        Self(hash.digest128())
    }
}

/// Whether a sum's points carry the total since a start, or the change since the last point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Temporality {
    /// Total since the start time.
    Cumulative,
    /// Change since the previous point.
    Delta,
}

/// What the values of a series mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SeriesKind {
    /// A value sampled at an instant.
    Gauge,
    /// A sum, as the OpenTelemetry data model defines it.
    Sum {
        /// Whether the total only grows.
        monotonic: bool,
        /// How points add up.
        temporality: Temporality,
    },
    /// Histograms and exponential histograms: rows of the histogram tables. The name is the one
    /// without `_bucket`.
    Histogram {
        /// How points add up.
        temporality: Temporality,
    },
    /// Computed here from other telemetry (rates, ratios, quantiles); judged by detectors like a gauge.
    Derived,
    /// Published by a detector beside the series that it judges (`:expected`, `:score`); never judged itself.
    Published,
}

impl SeriesKind {
    /// The words for it in files and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        use Temporality::{Cumulative, Delta};
        match self {
            Self::Gauge => "gauge",
            Self::Sum { monotonic: true, temporality: Cumulative } => "counter",
            Self::Sum { monotonic: true, temporality: Delta } => "delta counter",
            Self::Sum { monotonic: false, temporality: Cumulative } => "sum",
            Self::Sum { monotonic: false, temporality: Delta } => "delta sum",
            Self::Histogram { temporality: Cumulative } => "histogram",
            Self::Histogram { temporality: Delta } => "delta histogram",
            Self::Derived => "derived",
            Self::Published => "published",
        }
    }

    /// Whether detectors judge the values as they are.
    ///
    /// Monotonic sums are not: their derived rates are.
    #[must_use]
    pub fn is_judged(self) -> bool {
        match self {
            Self::Gauge | Self::Derived => true,
            Self::Sum { monotonic, .. } => !monotonic,
            Self::Histogram { .. } | Self::Published => false,
        }
    }
}

/// Description of one series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Identity.
    pub key: SeriesKey,
    /// Name as PromQL knows it, with unit and type suffixes (`http_server_requests_total`).
    pub name: Arc<str>,
    /// Name as it was sent (`http.server.requests`); equal to `name` for derived series.
    pub source_name: Arc<str>,
    /// Unit in UCUM, as sent; may be empty.
    pub unit: Arc<str>,
    /// What the values mean.
    pub kind: SeriesKind,
    /// Labels as PromQL knows them.
    pub labels: Labels,
    /// `service.namespace/service.name`, or only the name: PromQL's `job`. Empty when unknown.
    pub service: Arc<str>,
}

/// The registry is full: the series was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("series limit reached: {limit} series are known")]
pub struct SeriesLimit {
    /// The configured number of series.
    pub limit: usize,
}

/// Label that tells series apart which differ only in what PromQL does not see.
pub const AMBIGUOUS_LABEL: &str = "otel_series";

fn shown_hash(series: &Series) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(series.name.as_bytes());
    hash.update(&series.labels.fingerprint().to_le_bytes());
    hash.digest()
}

const SEGMENT: usize = 1024;

/// A read-only picture of the registry; cloning it copies one pointer for 1,024 series.
#[derive(Clone, Debug, Default)]
pub struct RegistryView {
    segments: Vec<Arc<Vec<Arc<Series>>>>,
    by_name: Arc<HashMap<Arc<str>, Arc<Vec<SeriesId>>>>,
}

/// Which series there are, or which of one name. Two are equal only when no such series was added or forgotten between
/// them, so that what was found out about those series still holds.
///
/// As long as one is kept, the registry copies the list that it stands for before it changes it.
#[derive(Clone, Debug)]
pub struct Membership(Members);

#[derive(Clone, Debug)]
enum Members {
    All(Arc<HashMap<Arc<str>, Arc<Vec<SeriesId>>>>),
    /// `None` while there is none.
    Named(Option<Arc<Vec<SeriesId>>>),
}

impl PartialEq for Membership {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Members::All(a), Members::All(b)) => Arc::ptr_eq(a, b),
            (Members::Named(Some(a)), Members::Named(Some(b))) => Arc::ptr_eq(a, b),
            (Members::Named(None), Members::Named(None)) => true,
            (Members::All(_) | Members::Named(_), _) => false,
        }
    }
}

impl Eq for Membership {}

impl RegistryView {
    /// Which series there are: of this PromQL name, or of all names.
    #[must_use]
    pub fn membership(&self, name: Option<&str>) -> Membership {
        Membership(match name {
            Some(name) => Members::Named(self.by_name.get(name).cloned()),
            None => Members::All(Arc::clone(&self.by_name)),
        })
    }

    /// The series with this number; `None` if this picture does not know it.
    #[must_use]
    pub fn get(&self, id: SeriesId) -> Option<&Arc<Series>> {
        self.segments.get(id.index() / SEGMENT)?.get(id.index() % SEGMENT)
    }

    /// Numbers of the series with exactly this PromQL name, in order of appearance.
    #[must_use]
    pub fn named(&self, name: &str) -> &[SeriesId] {
        self.by_name.get(name).map_or(&[], |ids| ids)
    }

    /// All PromQL names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|n| &**n)
    }

    /// Every live series with its number, grouped by name in no order.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, &Arc<Series>)> {
        self.by_name.values().flat_map(|ids| ids.iter()).filter_map(|&id| Some((id, self.get(id)?)))
    }
}

/// Known series. One owner writes; readers hold a [`RegistryView`].
#[derive(Debug)]
pub struct Registry {
    view: RegistryView,
    by_key: HashMap<SeriesKey, SeriesId, foldhash::fast::RandomState>,
    /// Hashes of the names and labels in use: what PromQL tells series apart by.
    shown: HashSet<u64, foldhash::fast::RandomState>,
    last_seen: Vec<UnixNanos>,
    free: Vec<SeriesId>,
    interner: Interner,
    limit: usize,
}

impl Registry {
    /// An empty registry that takes at most `limit` live series.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            view: RegistryView::default(),
            by_key: HashMap::default(),
            shown: HashSet::default(),
            last_seen: Vec::new(),
            free: Vec::new(),
            interner: Interner::default(),
            limit: limit.min(u32::MAX as usize),
        }
    }

    /// How many more series it takes.
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.by_key.len())
    }

    /// The number of the series with this identity, if it is known.
    #[must_use]
    pub fn find(&self, key: SeriesKey) -> Option<SeriesId> {
        self.by_key.get(&key).copied()
    }

    /// The number of `describe()`'s series, added when `key` is new. `describe` runs only then.
    ///
    /// Identity is finer than labels (scope, unit and temporality are part of it). A series whose name
    /// and labels another live one already has gets the label [`AMBIGUOUS_LABEL`] with a part of its
    /// identity, since PromQL refuses to read two series of the same name and labels.
    ///
    /// # Errors
    /// [`SeriesLimit`] when the series is new and the registry is full.
    pub fn find_or_add(&mut self, key: SeriesKey, describe: impl FnOnce() -> Series) -> Result<SeriesId, SeriesLimit> {
        if let Some(id) = self.find(key) {
            return Ok(id);
        }
        if self.by_key.len() >= self.limit {
            return Err(SeriesLimit { limit: self.limit });
        }
        let mut series = describe();
        if !self.shown.insert(shown_hash(&series)) {
            series.labels = series.labels.with(AMBIGUOUS_LABEL, &format!("{:08x}", key.0 & 0xffff_ffff));
            self.shown.insert(shown_hash(&series));
        }
        let series = Arc::new(self.interner.series(&series));
        let id = self.place(Arc::clone(&series));
        self.by_key.insert(key, id);
        let names = Arc::make_mut(&mut self.view.by_name);
        Arc::make_mut(names.entry(Arc::clone(&series.name)).or_default()).push(id);
        Ok(id)
    }

    fn place(&mut self, series: Arc<Series>) -> SeriesId {
        if let Some(id) = self.free.pop() {
            Arc::make_mut(&mut self.view.segments[id.index() / SEGMENT])[id.index() % SEGMENT] = series;
            self.last_seen[id.index()] = UnixNanos::MIN;
            return id;
        }
        let next = self.last_seen.len();
        if next.is_multiple_of(SEGMENT) {
            self.view.segments.push(Arc::new(Vec::with_capacity(SEGMENT)));
        }
        let last = self.view.segments.len() - 1;
        Arc::make_mut(&mut self.view.segments[last]).push(series);
        self.last_seen.push(UnixNanos::MIN);
        SeriesId(u32::try_from(next).expect("the limit is at most u32::MAX"))
    }

    /// Notes that a point of event time `at` came for `id`.
    pub fn touch(&mut self, id: SeriesId, at: UnixNanos) {
        if let Some(seen) = self.last_seen.get_mut(id.index()) {
            *seen = (*seen).max(at);
        }
    }

    /// Event time of the newest point of `id`; [`UnixNanos::MIN`] before the first.
    #[must_use]
    pub fn last_seen(&self, id: SeriesId) -> UnixNanos {
        self.last_seen.get(id.index()).copied().unwrap_or(UnixNanos::MIN)
    }

    /// Forgets every series whose newest point is older than `horizon` and returns their numbers,
    /// which later series will use again. The caller makes sure that no kept chunk names them.
    pub fn expire(&mut self, horizon: UnixNanos) -> Vec<SeriesId> {
        let last_seen = &self.last_seen;
        let mut gone: Vec<SeriesId> = Vec::new();
        self.by_key.retain(|_, id| {
            let keep = last_seen[id.index()] >= horizon;
            if !keep {
                gone.push(*id);
            }
            keep
        });
        if gone.is_empty() {
            return gone;
        }
        gone.sort_unstable();
        for id in &gone {
            if let Some(series) = self.view.get(*id) {
                self.shown.remove(&shown_hash(series));
            }
        }
        let names = Arc::make_mut(&mut self.view.by_name);
        names.retain(|_, ids| {
            if ids.iter().any(|id| gone.binary_search(id).is_ok()) {
                Arc::make_mut(ids).retain(|id| gone.binary_search(id).is_err());
            }
            !ids.is_empty()
        });
        self.free.extend(gone.iter().rev());
        self.interner.sweep();
        gone
    }

    /// Numbers of the series with exactly this PromQL name, in order of appearance.
    #[must_use]
    pub fn named(&self, name: &str) -> &[SeriesId] {
        self.view.named(name)
    }

    /// A picture for readers.
    #[must_use]
    pub fn view(&self) -> RegistryView {
        self.view.clone()
    }

    /// The series with this number.
    #[must_use]
    pub fn get(&self, id: SeriesId) -> Option<&Arc<Series>> {
        self.view.get(id)
    }

    /// How many series are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no series is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// One more than the greatest number ever given: the length for arrays indexed by [`SeriesId`].
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.last_seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(key: u128, name: &str) -> Series {
        Series {
            key: SeriesKey(key),
            name: name.into(),
            source_name: name.into(),
            unit: "".into(),
            kind: SeriesKind::Gauge,
            labels: Labels::default(),
            service: "".into(),
        }
    }

    #[test]
    fn a_known_series_keeps_its_number_and_the_limit_refuses_new_ones() {
        let mut r = Registry::new(2);
        let a = r.find_or_add(SeriesKey(1), || series(1, "a")).expect("below the limit");
        let b = r.find_or_add(SeriesKey(2), || series(2, "b")).expect("below the limit");
        assert_ne!(a, b);
        assert_eq!(r.find_or_add(SeriesKey(1), || series(1, "a")), Ok(a));
        assert_eq!(r.find_or_add(SeriesKey(3), || series(3, "c")), Err(SeriesLimit { limit: 2 }));
    }

    #[test]
    fn an_expired_number_is_used_again_and_old_views_do_not_change() {
        let mut r = Registry::new(2);
        let a = r.find_or_add(SeriesKey(1), || series(1, "a")).expect("below the limit");
        let b = r.find_or_add(SeriesKey(2), || series(2, "b")).expect("below the limit");
        r.touch(a, UnixNanos(10));
        r.touch(b, UnixNanos(99));
        let before = r.view();
        assert_eq!(r.expire(UnixNanos(50)), vec![a]);
        assert!(r.view().named("a").is_empty());
        let c = r.find_or_add(SeriesKey(3), || series(3, "c")).expect("a place is free again");
        assert_eq!(c, a);
        assert_eq!(&*before.get(a).expect("in the old view").name, "a");
        assert_eq!(&*r.get(c).expect("known").name, "c");
        assert_eq!(r.last_seen(c), UnixNanos::MIN);
    }

    #[test]
    fn two_series_never_show_the_same_name_and_labels() {
        let mut r = Registry::new(9);
        let a = r.find_or_add(SeriesKey(1), || series(1, "a")).expect("below the limit");
        let b = r.find_or_add(SeriesKey(2), || series(2, "a")).expect("below the limit");
        assert!(r.get(a).expect("known").labels.is_empty());
        assert_eq!(r.get(b).expect("known").labels.get(AMBIGUOUS_LABEL), Some("00000002"));
        r.touch(b, UnixNanos(9));
        r.expire(UnixNanos(5));
        let c = r.find_or_add(SeriesKey(3), || series(3, "a")).expect("below the limit");
        assert!(r.get(c).expect("known").labels.is_empty(), "the name is free again");
    }

    #[test]
    fn membership_changes_with_the_series_of_its_name_only() {
        let mut r = Registry::new(9);
        let a = r.find_or_add(SeriesKey(1), || series(1, "a")).expect("below the limit");
        r.touch(a, UnixNanos(1));
        let memberships = |r: &Registry| [Some("a"), Some("b"), None].map(|name| r.view().membership(name));
        let begun = memberships(&r);
        assert_eq!(begun, memberships(&r));
        let b = r.find_or_add(SeriesKey(2), || series(2, "b")).expect("below the limit");
        r.touch(b, UnixNanos(9));
        let added = memberships(&r);
        assert!(added[0] == begun[0] && added[1] != begun[1] && added[2] != begun[2]);
        r.expire(UnixNanos(5));
        let expired = memberships(&r);
        assert!(expired[0] != added[0] && expired[1] == added[1] && expired[2] != added[2]);
        // The number is used again, for a series of the same name.
        assert_eq!(r.find_or_add(SeriesKey(3), || series(3, "a")), Ok(a));
        let again = memberships(&r);
        assert!(again[0] != begun[0] && again[0] != expired[0]);
    }

    #[test]
    fn views_cross_segment_borders() {
        let mut r = Registry::new(5_000);
        for k in 0..3_000 {
            let describe = || Series { labels: Labels::from_pairs([("k", k.to_string())]), ..series(k, "m") };
            r.find_or_add(SeriesKey(k), describe).expect("below the limit");
        }
        let view = r.view();
        assert_eq!(view.named("m").len(), 3_000);
        assert_eq!(view.get(SeriesId(2_500)).expect("known").key, SeriesKey(2_500));
        assert_eq!(view.iter().count(), 3_000);
    }
}
