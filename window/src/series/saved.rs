//! The registry as it is written down, and back.
//!
//! Texts and label sets repeat over series, so each is written once and named by number. Reading
//! makes one `Arc` of each, so that a restored registry shares at least what the original shared.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Interner, Registry, RegistryView, SEGMENT, Series, SeriesId, SeriesKey, SeriesKind, shown_hash};
use crate::{BadState, Labels, UnixNanos};

/// A registry as plain data: places by number, those that wait for another series among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedRegistry {
    texts: Vec<Arc<str>>,
    /// Pairs of texts, by name.
    labels: Vec<Vec<(u32, u32)>>,
    places: Vec<Place>,
    /// Places that are free, the one that is used next at the end.
    free: Vec<SeriesId>,
    /// Series of each name in order of appearance; by name.
    by_name: Vec<(u32, Vec<SeriesId>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    key: SeriesKey,
    name: u32,
    source_name: u32,
    unit: u32,
    service: u32,
    labels: u32,
    kind: SeriesKind,
    last_seen: UnixNanos,
}

type Numbers<K> = HashMap<K, u32, foldhash::fast::RandomState>;

/// Numbers texts and label sets in order of first appearance. The registry keeps each once, so that
/// they are told apart by address.
#[derive(Default)]
struct Numbering {
    texts: Vec<Arc<str>>,
    text_at: Numbers<*const u8>,
    labels: Vec<Vec<(u32, u32)>>,
    labels_at: Numbers<*const u8>,
}

fn number(len: usize) -> u32 {
    u32::try_from(len).expect("texts and label sets are fewer than 2^32")
}

impl Numbering {
    fn text(&mut self, text: &Arc<str>) -> u32 {
        let next = number(self.texts.len());
        let code = *self.text_at.entry(text.as_ptr()).or_insert(next);
        if code == next {
            self.texts.push(Arc::clone(text));
        }
        code
    }

    fn labels(&mut self, labels: &Labels) -> u32 {
        let address = labels.shared().as_ptr().cast::<u8>();
        if let Some(known) = self.labels_at.get(&address) {
            return *known;
        }
        let pairs = labels.shared().iter().map(|(n, v)| (self.text(n), self.text(v))).collect();
        let next = number(self.labels.len());
        self.labels.push(pairs);
        self.labels_at.insert(address, next);
        next
    }

    fn place(&mut self, series: &Series, last_seen: UnixNanos) -> Place {
        Place {
            key: series.key,
            name: self.text(&series.name),
            source_name: self.text(&series.source_name),
            unit: self.text(&series.unit),
            service: self.text(&series.service),
            labels: self.labels(&series.labels),
            kind: series.kind,
            last_seen,
        }
    }
}

/// What a number names; an error when it names nothing.
fn named<T: Clone>(what: &'static str, all: &[T], index: usize) -> Result<T, BadState> {
    all.get(index).cloned().ok_or(BadState { what, found: index, known: all.len() })
}

impl SavedRegistry {
    fn text(&self, code: u32) -> Result<Arc<str>, BadState> {
        named("registry's text", &self.texts, code as usize)
    }

    fn label_sets(&self) -> Result<Vec<Labels>, BadState> {
        let set = |pairs: &Vec<(u32, u32)>| -> Result<Labels, BadState> {
            let pairs = pairs.iter().map(|(n, v)| Ok((self.text(*n)?, self.text(*v)?)));
            Ok(Labels::from_sorted(pairs.collect::<Result<_, _>>()?))
        };
        self.labels.iter().map(set).collect()
    }

    fn series(&self, place: &Place, labels: &[Labels]) -> Result<Series, BadState> {
        Ok(Series {
            key: place.key,
            name: self.text(place.name)?,
            source_name: self.text(place.source_name)?,
            unit: self.text(place.unit)?,
            kind: place.kind,
            labels: named("registry's labels", labels, place.labels as usize)?,
            service: self.text(place.service)?,
        })
    }
}

impl Registry {
    pub(crate) fn saved(&self) -> SavedRegistry {
        let mut numbering = Numbering::default();
        let all = self.view.segments.iter().flat_map(|segment| segment.iter());
        let places: Vec<Place> = all.zip(&self.last_seen).map(|(s, seen)| numbering.place(s, *seen)).collect();
        let mut names: Vec<(&Arc<str>, &Arc<Vec<SeriesId>>)> = self.view.by_name.iter().collect();
        names.sort_unstable();
        let by_name = names.into_iter().map(|(name, ids)| (numbering.text(name), ids.to_vec())).collect();
        let Numbering { texts, labels, .. } = numbering;
        SavedRegistry { texts, labels, places, free: self.free.clone(), by_name }
    }

    /// Replaces what is known by what was saved.
    pub(crate) fn restore(&mut self, saved: SavedRegistry) -> Result<(), BadState> {
        let labels = saved.label_sets()?;
        let mut view = RegistryView::default();
        for places in saved.places.chunks(SEGMENT) {
            let mut segment = Vec::with_capacity(SEGMENT);
            for place in places {
                segment.push(Arc::new(saved.series(place, &labels)?));
            }
            view.segments.push(Arc::new(segment));
        }
        let known = saved.places.len();
        let mut live = vec![true; known];
        for id in &saved.free {
            let place = live.get_mut(id.index()).filter(|live| **live);
            *place.ok_or(BadState { what: "free series", found: id.index(), known })? = false;
        }
        let mut names = HashMap::with_capacity(saved.by_name.len());
        for (name, ids) in &saved.by_name {
            if let Some(id) = ids.iter().find(|id| live.get(id.index()) != Some(&true)) {
                return Err(BadState { what: "series of a name", found: id.index(), known });
            }
            names.insert(saved.text(*name)?, Arc::new(ids.clone()));
        }
        view.by_name = Arc::new(names);
        self.by_key.clear();
        self.shown.clear();
        let alive = |id: &u32| live.get(*id as usize) == Some(&true);
        for id in (0..number(known)).filter(alive).map(SeriesId) {
            if let Some(series) = view.get(id) {
                self.by_key.insert(series.key, id);
                self.shown.insert(shown_hash(series));
            }
        }
        self.last_seen = saved.places.iter().map(|place| place.last_seen).collect();
        self.free = saved.free;
        self.interner = Interner::of(&saved.texts, &labels);
        self.view = view;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(key: u128, name: &str, labels: &Labels) -> Series {
        Series {
            key: SeriesKey(key),
            name: name.into(),
            source_name: name.into(),
            unit: "s".into(),
            kind: SeriesKind::Gauge,
            labels: labels.clone(),
            service: "shop".into(),
        }
    }

    /// Series of few names, some with the labels of another, some expired.
    fn registry() -> Registry {
        let mut registry = Registry::new(10_000);
        for key in 0..3_000_u32 {
            let labels = Labels::from_pairs([("k", (key / 2).to_string())]);
            let name = format!("m{}", key % 7);
            let id = registry.find_or_add(SeriesKey(key.into()), || series(key.into(), &name, &labels));
            registry.touch(id.expect("below the limit"), UnixNanos((key % 10).into()));
        }
        registry.expire(UnixNanos(3));
        registry
    }

    fn again(registry: &Registry) -> Registry {
        let bytes = postcard::to_stdvec(&registry.saved()).expect("is plain data");
        let mut restored = Registry::new(10_000);
        restored.restore(postcard::from_bytes(&bytes).expect("was written so")).expect("is whole");
        restored
    }

    #[test]
    fn a_restored_registry_knows_the_same_and_gives_the_same_numbers() {
        let mut original = registry();
        let mut restored = again(&original);
        assert_eq!(original.saved(), restored.saved());
        for key in 0..6_000 {
            let describe = || series(key, "new", &Labels::default());
            let id = original.find_or_add(SeriesKey(key), describe).expect("below the limit");
            assert_eq!(restored.find_or_add(SeriesKey(key), describe), Ok(id));
            assert_eq!(original.get(id), restored.get(id));
        }
        assert_eq!(original.named("new"), restored.named("new"));
        assert_eq!(original.expire(UnixNanos(6)), restored.expire(UnixNanos(6)));
        assert_eq!(original.saved(), restored.saved());
    }

    #[test]
    fn texts_and_label_sets_are_shared_after_a_restart() {
        let restored = again(&registry());
        let get = |id| restored.get(SeriesId(id)).expect("is known");
        // 4 and 5 have equal labels; 7 and 14 have one name.
        assert_eq!(get(4).labels.shared().as_ptr(), get(5).labels.shared().as_ptr());
        assert!(Arc::ptr_eq(&get(7).name, &get(14).name) && Arc::ptr_eq(&get(7).name, &get(7).source_name));
        assert!(Arc::ptr_eq(&get(4).service, &get(2_999).service));
    }

    #[test]
    fn a_state_that_contradicts_itself_is_refused() {
        let saved = registry().saved();
        let refused = |change: fn(&mut SavedRegistry)| {
            let mut saved = saved.clone();
            change(&mut saved);
            Registry::new(10).restore(saved).expect_err("contradicts itself").what
        };
        assert_eq!(refused(|s| s.places[5].name = 1 << 20), "registry's text");
        assert_eq!(refused(|s| s.places[5].labels = 1 << 20), "registry's labels");
        assert_eq!(refused(|s| s.free.push(SeriesId(3_000))), "free series");
        assert_eq!(refused(|s| s.free.push(s.free[0])), "free series");
        assert_eq!(refused(|s| s.by_name[0].1.push(SeriesId(9_999))), "series of a name");
    }
}
