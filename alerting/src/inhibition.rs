//! What is not told because of what fires, found without comparing everything with everything.
//!
//! Of each rule the alerts that inhibit are kept by the values of its `equal` labels, and where it goes by who depends on
//! whom by each of their dependents too. An alert that could be inhibited is then compared with two of them at most,
//! however many fire: the first that is on one side of the rule only, and the first that is on both, which inhibits no
//! other that is.

use std::{collections::HashMap, sync::Arc};

use detect::Labels;

use crate::{matcher::all_match, route::InhibitRule};

/// An alert that fires, as receivers are told of it.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) fingerprint: String,
    pub(crate) labels: Labels,
    /// As [`detect::Alert::dependents`].
    pub(crate) dependents: Vec<Arc<str>>,
}

/// The alerts that inhibit others, at one time.
#[derive(Debug, Default)]
pub(crate) struct Inhibitors {
    /// By rule, and by the values of its `equal` labels, the service that depends behind them.
    by_rule: Vec<HashMap<Vec<String>, Place>>,
}

/// The first of each kind, with its place among all that fire and its fingerprint.
#[derive(Debug, Default)]
struct Place {
    on_one_side: Option<(usize, String)>,
    on_both: Option<(usize, String)>,
}

/// The labels that have to be alike; one that is missing is an empty one.
fn values(rule: &InhibitRule, labels: &Labels) -> Vec<String> {
    rule.equal.iter().map(|name| labels.get(name).unwrap_or_default().to_owned()).collect()
}

impl Inhibitors {
    /// Those of `firing`.
    pub(crate) fn new(rules: &[InhibitRule], firing: &[Source]) -> Self {
        let index = |rule: &InhibitRule| {
            let mut places: HashMap<Vec<String>, Place> = HashMap::new();
            for (at, Source { fingerprint, labels, dependents }) in firing.iter().enumerate() {
                if !all_match(&rule.source, labels) {
                    continue;
                }
                let is_on_both = all_match(&rule.target, labels);
                let mut note = |key: Vec<String>| {
                    let place = places.entry(key).or_default();
                    let kind = if is_on_both { &mut place.on_both } else { &mut place.on_one_side };
                    kind.get_or_insert_with(|| (at, fingerprint.clone()));
                };
                let alike = values(rule, labels);
                if rule.dependents {
                    for service in dependents {
                        note([&alike[..], &[service.to_string()]].concat());
                    }
                } else {
                    note(alike);
                }
            }
            places
        };
        Self { by_rule: rules.iter().map(index).collect() }
    }

    /// The fingerprints of those that inhibit an alert with these labels: the first of each rule.
    pub(crate) fn of(&self, rules: &[InhibitRule], labels: &Labels) -> Vec<String> {
        let by = |(rule, places): (&InhibitRule, &HashMap<Vec<String>, Place>)| {
            if !all_match(&rule.target, labels) {
                return None;
            }
            let mut key = values(rule, labels);
            if rule.dependents {
                key.push(detect::service_of(labels)?.to_owned());
            }
            let place = places.get(&key)?;
            let on_both = place.on_both.as_ref().filter(|_| !all_match(&rule.source, labels));
            place.on_one_side.iter().chain(on_both).min().map(|(_, fingerprint)| fingerprint.clone())
        };
        rules.iter().zip(&self.by_rule).filter_map(by).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matcher;

    #[test]
    fn the_index_finds_what_a_comparison_of_all_with_all_finds() {
        let mut random = fastrand::Rng::with_seed(5);
        let parse = |text: &str| Matcher::parse_list(text).expect("are matchers");
        let sides = ["a=\"1\"", "a=~\"1|2\"", "b=\"1\"", "a!=\"3\", b=\"2\"", "c=\"\""];
        for _ in 0..500 {
            let rules: Vec<InhibitRule> = (0..random.usize(0..4))
                .map(|_| InhibitRule {
                    source: parse(sides[random.usize(0..sides.len())]),
                    target: parse(sides[random.usize(0..sides.len())]),
                    equal: ["c", "d"][..random.usize(0..3)].iter().map(ToString::to_string).collect(),
                    dependents: random.bool(),
                })
                .collect();
            let mut labels = || {
                let pairs: Vec<(&str, String)> = ["a", "b", "c", "d", "job"]
                    .into_iter()
                    .filter_map(|name| Some((name, random.u8(0..4).to_string())).filter(|(_, value)| value != "0"))
                    .collect();
                Labels::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())))
            };
            let labels: Vec<Labels> = (0..12).map(|_| labels()).collect();
            let mut source = |(i, labels): (usize, &Labels)| {
                let dependents =
                    (1..4).filter(|_| random.u8(0..4) == 0).map(|job: u8| job.to_string().into()).collect();
                Source { fingerprint: i.to_string(), labels: labels.clone(), dependents }
            };
            let firing: Vec<Source> = labels.iter().enumerate().map(&mut source).collect();
            let index = Inhibitors::new(&rules, &firing);
            for target in &labels {
                let inhibits = |rule: &InhibitRule, s: &&Source| rule.inhibits(&s.labels, &s.dependents, target);
                let naive: Vec<String> = rules
                    .iter()
                    .filter_map(|rule| firing.iter().find(|source| inhibits(rule, source)))
                    .map(|source| source.fingerprint.clone())
                    .collect();
                assert_eq!(index.of(&rules, target), naive, "{rules:?} {target:?}");
            }
        }
    }
}
