//! What is not told because of what fires, found without comparing everything with everything.
//!
//! Of each rule the alerts that inhibit are kept by the values of its `equal` labels. An alert that could be inhibited
//! is then compared with two of them at most, however many fire: the first that is on one side of the rule only, and
//! the first that is on both, which inhibits no other that is.

use std::collections::HashMap;

use detect::Labels;

use crate::{matcher::all_match, route::InhibitRule};

/// The alerts that inhibit others, at one time.
#[derive(Debug, Default)]
pub(crate) struct Inhibitors {
    /// By rule, and by the values of its `equal` labels.
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
    /// Those of `firing`, which are fingerprints and labels as receivers are told of them.
    pub(crate) fn new(rules: &[InhibitRule], firing: &[(String, Labels)]) -> Self {
        let index = |rule: &InhibitRule| {
            let mut places: HashMap<Vec<String>, Place> = HashMap::new();
            for (at, (fingerprint, labels)) in firing.iter().enumerate() {
                if !all_match(&rule.source, labels) {
                    continue;
                }
                let place = places.entry(values(rule, labels)).or_default();
                let is_on_both = all_match(&rule.target, labels);
                let kind = if is_on_both { &mut place.on_both } else { &mut place.on_one_side };
                kind.get_or_insert_with(|| (at, fingerprint.clone()));
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
            let place = places.get(&values(rule, labels))?;
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
                })
                .collect();
            let mut labels = || {
                let pairs: Vec<(&str, String)> = ["a", "b", "c", "d"]
                    .into_iter()
                    .filter_map(|name| Some((name, random.u8(0..4).to_string())).filter(|(_, value)| value != "0"))
                    .collect();
                Labels::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())))
            };
            let firing: Vec<(String, Labels)> = (0..12).map(|i| (i.to_string(), labels())).collect();
            let index = Inhibitors::new(&rules, &firing);
            for (_, target) in &firing {
                let naive: Vec<String> = rules
                    .iter()
                    .filter_map(|rule| firing.iter().find(|(_, source)| rule.inhibits(source, target)))
                    .map(|(fingerprint, _)| fingerprint.clone())
                    .collect();
                assert_eq!(index.of(&rules, target), naive, "{rules:?} {target:?}");
            }
        }
    }
}
