//! Who is told of which alerts, together with which others, and how soon: the tree of routes, and what inhibits what.

use std::{sync::Arc, time::Duration};

use detect::Labels;

use crate::{
    Damping, Receiver,
    interval::TimeInterval,
    matcher::{Matcher, all_match},
};

/// What a group of the alerts of one incident has in place of labels.
const INCIDENT: &str = "incident";

/// The routing of one configuration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Routing {
    nodes: Arc<[Node]>,
    inhibit: Arc<[InhibitRule]>,
    intervals: Arc<[(String, Vec<TimeInterval>)]>,
    damping: Option<Damping>,
    turn: Duration,
}

/// Which labels tell one group from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// These.
    Labels(Vec<String>),
    /// All of them (`...`).
    Everything,
    /// Each alert is a group of its own, of which these labels are told.
    Each(Vec<String>),
}

/// One node of the tree, as it is configured.
#[derive(Clone, Debug)]
pub struct Route {
    /// Who is told; `None` at a node that only has others below it.
    pub receiver: Option<String>,
    /// Which alerts come here, of those that come to the node above.
    pub matchers: Vec<Matcher>,
    /// Which labels tell one group from another.
    pub group_by: GroupBy,
    /// Whether alerts of one incident are one group, whatever `group_by` says. Those of none are grouped by that.
    /// Default false.
    pub group_by_incident: bool,
    /// How long a new group waits for company before its first notification.
    pub group_wait: Duration,
    /// Least time between two notifications of a group that has changed; zero: at each change.
    pub group_interval: Duration,
    /// Time after which a group that has not changed is told again; `None` for never.
    pub repeat_interval: Option<Duration>,
    /// Whether the nodes beside this one are tried as well when it matches.
    pub continues: bool,
    /// Names of time intervals in which nobody is told.
    pub mute_time_intervals: Vec<String>,
    /// Names of time intervals outside of which nobody is told; empty for always.
    pub active_time_intervals: Vec<String>,
    /// The nodes below.
    pub routes: Vec<Route>,
}

/// Alerts that are not told while others fire.
#[derive(Clone, Debug)]
pub struct InhibitRule {
    /// Which alerts inhibit.
    pub source: Vec<Matcher>,
    /// Which alerts are inhibited.
    pub target: Vec<Matcher>,
    /// Labels that both have to have alike; a label that is missing is an empty one.
    pub equal: Vec<String>,
    /// Whether the one inhibited has to be of a service that depends on the other's: one of [`detect::Alert::dependents`].
    pub dependents: bool,
}

/// A node, flattened.
#[derive(Debug)]
struct Node {
    route: Route,
    /// The path of matchers from the root, as Alertmanager's group keys have it.
    key: String,
    /// Indexes of the nodes below.
    below: Vec<usize>,
}

/// A node that an alert has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matched<'a> {
    pub(crate) route: &'a Route,
    pub(crate) key: &'a str,
    pub(crate) receiver: &'a str,
}

impl Route {
    /// A node with Alertmanager's defaults: groups wait 30 s, change after 5 min and are repeated after 4 h, and
    /// all alerts are one group.
    #[must_use]
    pub fn to(receiver: Option<String>) -> Self {
        Self {
            receiver,
            matchers: Vec::new(),
            group_by: GroupBy::Labels(Vec::new()),
            group_by_incident: false,
            group_wait: Duration::from_secs(30),
            group_interval: Duration::from_mins(5),
            repeat_interval: Some(Duration::from_hours(4)),
            continues: false,
            mute_time_intervals: Vec::new(),
            active_time_intervals: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// The labels by which an alert of this incident is grouped here.
    pub(crate) fn group_labels(&self, labels: &Labels, incident: Option<&str>) -> Labels {
        if let Some(incident) = incident.filter(|_| self.group_by_incident) {
            return Labels::from_pairs([(INCIDENT, incident)]);
        }
        match &self.group_by {
            GroupBy::Everything => labels.clone(),
            GroupBy::Labels(names) | GroupBy::Each(names) => {
                labels.filtered(|name| names.iter().any(|known| known == name))
            }
        }
    }
}

impl Routing {
    /// The routing of a tree.
    #[must_use]
    pub fn new(root: Route, inhibit: Vec<InhibitRule>, intervals: Vec<(String, Vec<TimeInterval>)>) -> Self {
        let mut nodes = Vec::new();
        flatten(root, "", &mut nodes);
        Self {
            nodes: nodes.into(),
            inhibit: inhibit.into(),
            intervals: intervals.into(),
            damping: None,
            turn: Duration::ZERO,
        }
    }

    /// The same, where alerts that flap by `damping` are told only once. Without it none does.
    #[must_use]
    pub fn damped(self, damping: Option<Damping>) -> Self {
        Self { damping, ..self }
    }

    /// The same, where this node tells what no peer has told within `turn`. Without it, at once.
    #[must_use]
    pub fn in_turn(self, turn: Duration) -> Self {
        Self { turn, ..self }
    }

    /// What holds without a configured tree: every receiver is told of every alert by itself, at once, and once.
    #[must_use]
    pub fn to_all(receivers: &[Receiver]) -> Self {
        let group_by = ["alertname", "service", "tenant"].map(str::to_owned).to_vec();
        let at_once = |receiver| Route {
            group_by: GroupBy::Each(group_by.clone()),
            group_wait: Duration::ZERO,
            group_interval: Duration::ZERO,
            repeat_interval: None,
            continues: true,
            ..Route::to(receiver)
        };
        let routes = receivers.iter().map(|receiver| at_once(Some(receiver.name().to_owned()))).collect();
        Self::new(Route { routes, ..at_once(None) }, vec![InhibitRule::of_breakers()], Vec::new())
    }

    /// Where an alert with these labels comes: the deepest nodes that match, as Alertmanager finds them.
    pub(crate) fn matching(&self, labels: &Labels) -> Vec<Matched<'_>> {
        let mut found = Vec::new();
        if !self.nodes.is_empty() {
            self.descend(0, labels, &mut found);
        }
        found
    }

    /// The node with this key that tells `receiver`.
    pub(crate) fn node(&self, key: &str, receiver: &str) -> Option<&Route> {
        let is_it = |node: &&Node| node.key == key && node.route.receiver.as_deref() == Some(receiver);
        self.nodes.iter().find(is_it).map(|node| &node.route)
    }

    /// Whether every alert is told by itself and at once.
    pub(crate) fn is_at_once(&self) -> bool {
        self.nodes.iter().all(|node| matches!(node.route.group_by, GroupBy::Each(_)) && node.route.group_wait.is_zero())
    }

    /// When an alert flaps.
    pub(crate) fn damping(&self) -> Option<Damping> {
        self.damping
    }

    /// How long peers have to tell something before this node does.
    pub(crate) fn turn(&self) -> Duration {
        self.turn
    }

    /// What inhibits what.
    pub(crate) fn inhibit(&self) -> &[InhibitRule] {
        &self.inhibit
    }

    /// Whether `route` may tell anybody at this wall time.
    pub(crate) fn is_open(&self, route: &Route, now: detect::UnixNanos) -> bool {
        let holds = |name: &String| {
            let interval = self.intervals.iter().find(|(known, _)| known == name);
            interval.is_some_and(|(_, parts)| parts.iter().any(|part| part.contains(now)))
        };
        let active = &route.active_time_intervals;
        !route.mute_time_intervals.iter().any(holds) && (active.is_empty() || active.iter().any(holds))
    }

    fn descend<'a>(&'a self, index: usize, labels: &Labels, found: &mut Vec<Matched<'a>>) -> bool {
        let node = &self.nodes[index];
        if !all_match(&node.route.matchers, labels) {
            return false;
        }
        let before = found.len();
        for below in &node.below {
            if self.descend(*below, labels, found) && !self.nodes[*below].route.continues {
                break;
            }
        }
        if found.len() == before
            && let Some(receiver) = &node.route.receiver
        {
            found.push(Matched { route: &node.route, key: &node.key, receiver });
        }
        true
    }
}

fn flatten(mut route: Route, above: &str, nodes: &mut Vec<Node>) -> usize {
    let matchers: Vec<String> = route.matchers.iter().map(ToString::to_string).collect();
    let own = format!("{{{}}}", matchers.join(","));
    let key = if above.is_empty() { own } else { format!("{above}/{own}") };
    let (index, below) = (nodes.len(), std::mem::take(&mut route.routes));
    nodes.push(Node { route, key: key.clone(), below: Vec::new() });
    let below = below.into_iter().map(|route| flatten(route, &key, nodes)).collect();
    nodes[index].below = below;
    index
}

impl InhibitRule {
    /// What holds where the configuration has no rules: an alert on a circuit breaker, which has the label `breaker`,
    /// inhibits what is not critical of the services behind it.
    ///
    /// # Panics
    /// Never: its matchers are tested.
    #[must_use]
    pub fn of_breakers() -> Self {
        let parse = |text| Matcher::parse_list(text).expect("are matchers");
        Self {
            source: parse("breaker!=\"\""),
            target: parse("breaker=\"\", severity!=\"critical\""),
            equal: Vec::new(),
            dependents: true,
        }
    }

    /// Whether an alert with the labels `source` keeps one with the labels `target` from being told. An alert that is
    /// on both sides does not inhibit another that is, nor itself. What is told goes by an index of this: see
    /// [`crate::inhibition`].
    #[cfg(test)]
    pub(crate) fn inhibits(&self, source: &Labels, dependents: &[Arc<str>], target: &Labels) -> bool {
        let depends = || dependents.iter().any(|service| detect::service_of(target) == Some(&**service));
        all_match(&self.target, target)
            && all_match(&self.source, source)
            && (!self.dependents || depends())
            && self
                .equal
                .iter()
                .all(|name| source.get(name).unwrap_or_default() == target.get(name).unwrap_or_default())
            && !(all_match(&self.source, target) && all_match(&self.target, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(receiver: Option<&str>, matchers: &str, routes: Vec<Route>) -> Route {
        let matchers = Matcher::parse_list(matchers).expect("are matchers");
        Route { matchers, routes, ..Route::to(receiver.map(str::to_owned)) }
    }

    fn told(routing: &Routing, pairs: &[(&str, &str)]) -> Vec<String> {
        let labels = Labels::from_pairs(pairs.iter().copied());
        routing.matching(&labels).iter().map(|m| format!("{} {}", m.receiver, m.key)).collect()
    }

    #[test]
    fn the_deepest_node_that_matches_tells_and_continue_tries_the_next() {
        let db = route(Some("db"), "service=\"db\"", vec![route(Some("dba"), "severity=\"critical\"", Vec::new())]);
        let mut all = route(Some("log"), "service=~\".+\"", Vec::new());
        all.continues = true;
        let routing = Routing::new(route(Some("ops"), "", vec![all, db]), Vec::new(), Vec::new());
        assert_eq!(told(&routing, &[("alertname", "A")]), ["ops {}"]);
        let critical = [("service", "db"), ("severity", "critical")];
        let nodes = ["log {}/{service=~\".+\"}", "dba {}/{service=\"db\"}/{severity=\"critical\"}"];
        assert_eq!(told(&routing, &critical), nodes);
        assert_eq!(told(&routing, &[("service", "db")])[1], "db {}/{service=\"db\"}");
        assert_eq!(told(&routing, &[("service", "web")]), ["log {}/{service=~\".+\"}"]);
    }

    #[test]
    fn without_a_tree_every_receiver_is_told_at_once() {
        let receivers = ["a", "b"].map(|name| Receiver::webhook(name, "http://h/").expect("is one"));
        let routing = Routing::to_all(&receivers);
        assert_eq!(told(&routing, &[("alertname", "A")]), ["a {}/{}", "b {}/{}"]);
        let route = routing.node("{}/{}", "b").expect("is there");
        assert_eq!((route.group_wait, route.repeat_interval), (Duration::ZERO, None));
        assert!(routing.node("{}/{}", "c").is_none());
    }

    #[test]
    fn a_rule_inhibits_what_is_alike_but_not_itself() {
        let parse = |text| Matcher::parse_list(text).expect("are matchers");
        let rule = InhibitRule {
            source: parse("severity=\"critical\""),
            target: parse("severity=~\"warning|critical\""),
            equal: vec!["service".into()],
            dependents: false,
        };
        let of = |severity, service| Labels::from_pairs([("severity", severity), ("service", service)]);
        assert!(rule.inhibits(&of("critical", "a"), &[], &of("warning", "a")));
        assert!(!rule.inhibits(&of("critical", "a"), &[], &of("warning", "b")), "of another service");
        assert!(!rule.inhibits(&of("warning", "a"), &[], &of("warning", "a")), "is no source");
        assert!(!rule.inhibits(&of("critical", "a"), &[], &of("critical", "a")), "both sides");
        let none = Labels::from_pairs([("severity", "critical")]);
        assert!(rule.inhibits(&none, &[], &Labels::from_pairs([("severity", "warning")])), "both without a service");
    }
}
