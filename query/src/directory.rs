//! Label sets by number, so that each is read once and not with every sample that has it.
//!
//! Vectors are made of numbers and values; grouping, matching and telling apart are look-ups in tables. A table that was
//! filled for one step serves all others of a range query, and the next evaluations of those who keep a
//! [`Recall`](crate::Recall).

use std::{collections::HashMap, sync::Arc};

use window::Labels;

use crate::{InstantSample, QueryError, buckets::LE, plan::Projection, select::METRIC_NAME, value::Metric};

/// Number of a label set, with a name or without one. Equal sets have equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Who(u32);

impl Who {
    /// Of nobody: no directory is that large.
    const NOBODY: Self = Self(u32::MAX);

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The value of one series, or of a group of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element {
    pub(crate) who: Who,
    pub(crate) value: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    name: Option<Arc<str>>,
    labels: Labels,
}

/// Number of a [`Projection`] in a [`Directory`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grouping(usize);

impl Grouping {
    /// All labels, and no name.
    pub(crate) const NAMELESS: Self = Self(0);
    /// All labels but `le`, and no name.
    pub(crate) const HISTOGRAM: Self = Self(1);
}

/// The groups of one projection.
#[derive(Debug)]
struct Groups {
    keeps: bool,
    names: Vec<Arc<str>>,
    /// By number; [`Who::NOBODY`] where it is not known yet.
    of: Vec<Who>,
}

impl Groups {
    fn new(keeps: bool, names: &[Arc<str>]) -> Self {
        Self { keeps, names: names.to_vec(), of: Vec::new() }
    }

    fn lists(&self, label: &str) -> bool {
        self.names.binary_search_by(|name| (**name).cmp(label)).is_ok()
    }
}

/// All label sets that were met, and their groups.
#[derive(Debug)]
pub(crate) struct Directory {
    all: Vec<Identity>,
    numbers: HashMap<Identity, Who, foldhash::fast::RandomState>,
    groups: Vec<Groups>,
    /// Who was found to come next after whom by name and labels.
    next: Vec<Who>,
    /// A place for each, valid if it was noted in the present round.
    places: Vec<(u32, u32)>,
    round: u32,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            numbers: HashMap::default(),
            groups: vec![Groups::new(false, &[]), Groups::new(false, &[LE.into()])],
            next: Vec::new(),
            places: Vec::new(),
            round: 0,
        }
    }
}

/// The entry of `who` in a table that grows as needed.
fn entry<T: Copy>(table: &mut Vec<T>, who: Who, unknown: T) -> &mut T {
    if table.len() <= who.index() {
        table.resize(who.index() + 1, unknown);
    }
    &mut table[who.index()]
}

impl Directory {
    /// How many label sets are known.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The number of a label set, a new one for one that was not met before.
    pub(crate) fn who(&mut self, name: Option<Arc<str>>, labels: Labels) -> Who {
        let identity = Identity { name, labels };
        if let Some(who) = self.numbers.get(&identity) {
            return *who;
        }
        let who = Who(u32::try_from(self.all.len()).expect("a query holds fewer than 2^32 label sets"));
        self.all.push(identity.clone());
        self.numbers.insert(identity, who);
        who
    }

    pub(crate) fn name(&self, who: Who) -> Option<&Arc<str>> {
        self.all[who.index()].name.as_ref()
    }

    pub(crate) fn labels(&self, who: Who) -> &Labels {
        &self.all[who.index()].labels
    }

    /// As PromQL writes it.
    pub(crate) fn text(&self, who: Who) -> String {
        Metric(self.name(who).map(|name| &**name), self.labels(who)).to_string()
    }

    /// As it is answered.
    pub(crate) fn sample(&self, element: Element) -> InstantSample {
        let Identity { name, labels } = self.all[element.who.index()].clone();
        InstantSample { name, labels, value: element.value }
    }

    /// Where the groups of `projection` are kept.
    pub(crate) fn grouping(&mut self, projection: &Projection) -> Grouping {
        let Projection { keeps, names, .. } = projection;
        let known = self.groups.iter().position(|groups| groups.keeps == *keeps && groups.names == *names);
        Grouping(known.unwrap_or_else(|| {
            self.groups.push(Groups::new(*keeps, names));
            self.groups.len() - 1
        }))
    }

    /// What `who` has in common with the others of its group. The name only where it is asked for.
    pub(crate) fn group(&mut self, by: Grouping, who: Who) -> Who {
        match self.groups[by.0].of.get(who.index()) {
            Some(group) if *group != Who::NOBODY => *group,
            _ => self.find_group(by, who),
        }
    }

    #[cold]
    fn find_group(&mut self, by: Grouping, who: Who) -> Who {
        let groups = &self.groups[by.0];
        let Identity { name, labels } = &self.all[who.index()];
        let name = name.clone().filter(|_| groups.keeps && groups.lists(METRIC_NAME));
        let labels = labels.filtered(|label| groups.lists(label) == groups.keeps);
        let group = self.who(name, labels);
        *entry(&mut self.groups[by.0].of, who, Who::NOBODY) = group;
        group
    }

    pub(crate) fn nameless(&mut self, who: Who) -> Who {
        self.group(Grouping::NAMELESS, who)
    }

    /// What a filter leaves of `who` when it has found its partner by `group`: the name too, unless only
    /// labels were compared that do not include it.
    pub(crate) fn filtered(&mut self, by: Grouping, who: Who, group: Who) -> Who {
        let groups = &self.groups[by.0];
        let Identity { name, labels } = &self.all[who.index()];
        if groups.keeps || name.is_none() || groups.lists(METRIC_NAME) {
            return group;
        }
        let left = &self.all[group.index()].labels;
        if left == labels { who } else { self.who(name.clone(), left.clone()) }
    }

    /// Forgets all places.
    pub(crate) fn clear_places(&mut self) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.places.clear();
            self.round = 1;
        }
    }

    /// The place that was noted for `who`.
    pub(crate) fn place(&self, who: Who) -> Option<usize> {
        let (round, place) = self.places.get(who.index())?;
        (*round == self.round).then_some(*place as usize)
    }

    /// Notes a place for `who`.
    pub(crate) fn set_place(&mut self, who: Who, place: usize) {
        let place = u32::try_from(place).expect("a vector has fewer than 2^32 elements");
        *entry(&mut self.places, who, (0, 0)) = (self.round, place);
    }

    /// # Errors
    /// [`QueryError::DuplicateLabels`] when two elements have the same name and labels.
    pub(crate) fn check_unique(&mut self, vector: &[Element]) -> Result<(), QueryError> {
        self.clear_places();
        for element in vector {
            if self.place(element.who).is_some() {
                return Err(QueryError::DuplicateLabels { labels: self.text(element.who) });
            }
            self.set_place(element.who, 0);
        }
        Ok(())
    }

    /// Sorts by name and labels. Vectors mostly come sorted, each as it came before.
    pub(crate) fn sort(&mut self, vector: &mut [Element]) {
        let all = &self.all;
        let key = |who: Who| {
            let Identity { name, labels } = &all[who.index()];
            (name, labels)
        };
        for pair in vector.windows(2) {
            let (who, follower) = (pair[0].who, pair[1].who);
            let known = entry(&mut self.next, who, Who::NOBODY);
            if *known == follower {
                continue;
            }
            if key(who) > key(follower) {
                vector.sort_by(|a, b| key(a.who).cmp(&key(b.who)));
                return;
            }
            *known = follower;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(directory: &mut Directory, name: &str, instance: &str) -> Who {
        directory.who(Some(name.into()), Labels::from_pairs([("job", "x"), ("instance", instance)]))
    }

    #[test]
    fn equal_label_sets_have_equal_numbers() {
        let mut directory = Directory::default();
        let [a, b, again] = [("a", "1"), ("b", "1"), ("a", "1")].map(|(n, i)| named(&mut directory, n, i));
        assert!(a == again && a != b && directory.len() == 2);
        assert_eq!(directory.nameless(a), directory.nameless(b));
        let by = Projection { id: 0, keeps: true, names: vec!["job".into()] };
        let by = directory.grouping(&by);
        let group = directory.group(by, a);
        assert_eq!(directory.text(group), "{job=\"x\"}");
        let other = named(&mut directory, "c", "2");
        assert_eq!(directory.group(by, other), group);
    }

    #[test]
    fn places_are_forgotten() {
        let mut directory = Directory::default();
        let who = named(&mut directory, "a", "1");
        assert_eq!(directory.place(who), None);
        directory.clear_places();
        directory.set_place(who, 7);
        assert_eq!(directory.place(who), Some(7));
        directory.clear_places();
        assert_eq!(directory.place(who), None);
        directory.round = u32::MAX;
        directory.set_place(who, 7);
        directory.clear_places();
        assert_eq!(directory.place(who), None);
    }

    #[test]
    fn a_vector_is_sorted_whatever_came_next_before() {
        let mut directory = Directory::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| named(&mut directory, name, "1"));
        for order in [[a, b, c], [c, b, a], [a, c, b], [b, a, c], [a, b, c]] {
            let mut vector = order.map(|who| Element { who, value: 0.0 });
            directory.sort(&mut vector);
            assert_eq!(vector.map(|element| element.who), [a, b, c]);
        }
    }
}
