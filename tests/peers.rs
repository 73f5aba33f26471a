//! Several nodes that are fed the same: whatever happens to one or two of them, every notification comes, and comes once
//! more at most for each that fails, under the id that it had. What people say to one of them holds on all.
//!
//! `BELLWETHER_CONFORMANCE=full` asks for a hundred failures instead of a few.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use serde_json::json;
use tokio::sync::Mutex;

use crate::kit::{Cluster, NODES, Told, Trap};

#[path = "support/binary.rs"]
#[expect(dead_code, reason = "these tests use a part of it")]
mod binary;
#[path = "peers/kit.rs"]
mod kit;

/// Three binaries are enough for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longer than what is told takes from one node to the receiver, also where tests are slow, and shorter than by default.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for many failures on a machine that is known.
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);

/// What happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// These are sent a signal, before anything is known of what is told then.
    Before(&'static str, &'static [usize], &'static str),
    /// The first node is, when the receiver has just been told this.
    When(&'static str, &'static str),
    /// This one and the others cannot reach each other, before anything is known of it.
    Cut(&'static str, usize),
}

const FAULTS: [Fault; 13] = [
    Fault::When("firing", "KILL"),
    Fault::When("resolved", "STOP"),
    Fault::Cut("firing", 0),
    Fault::Before("firing", &[0, 1], "STOP"),
    Fault::When("resolved", "KILL"),
    Fault::When("firing", "STOP"),
    Fault::Before("resolved", &[0], "KILL"),
    Fault::Before("firing", &[0], "STOP"),
    Fault::Cut("resolved", 1),
    Fault::Before("firing", &[1], "KILL"),
    Fault::Before("resolved", &[0, 1], "STOP"),
    Fault::Before("firing", &[0], "KILL"),
    Fault::Before("resolved", &[0, 1], "KILL"),
];

impl Fault {
    /// How many nodes fail.
    fn failures(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Before(_, nodes, _) => nodes.len(),
            Self::When(..) | Self::Cut(..) => 1,
        }
    }

    /// How many nodes fail when the receiver is to be told this.
    fn failures_at(self, when: &str) -> usize {
        let at = match self {
            Self::Nothing => return 0,
            Self::Before(at, ..) | Self::When(at, _) | Self::Cut(at, _) => at,
        };
        if at == when { self.failures() } else { 0 }
    }
}

/// Waits until `is_so`.
async fn until(cluster: &Cluster, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "not in time: {what}\n{}", logs(cluster));
}

fn logs(cluster: &Cluster) -> String {
    (0..NODES).map(|i| format!("--- node {i}\n{}", cluster.log(i))).collect()
}

async fn told(cluster: &Cluster, round: &str, status: &str) {
    let is_told = async || cluster.sink.told(round).iter().any(|told| told.status == status);
    until(cluster, &format!("the receiver is told that {round} is {status}"), is_told).await;
}

/// Until those that are alive know that the alert of the round fires, or does not, and have nothing left to tell.
async fn settled(cluster: &Cluster, round: &str, fires: bool) {
    let is_settled = async || {
        for position in cluster.alive() {
            let knows = cluster.fires(position, round).await == Some(fires);
            if !knows || !cluster.deliveries(position, "pending").await.is_some_and(|pending| pending.is_empty()) {
                return false;
            }
        }
        true
    };
    until(cluster, &format!("all have told {round} (fires: {fires})"), is_settled).await;
}

/// An alert that fires and is over, while `fault` happens to the one or the other. Each time all is made whole again, and
/// all nodes come to know of it.
async fn round(cluster: &mut Cluster, round: &str, fault: Fault) {
    for (status, depth) in [("firing", 5), ("resolved", 0)] {
        match fault {
            Fault::Before(at, nodes, "KILL") if at == status => nodes.iter().for_each(|node| cluster.kill(*node)),
            Fault::Before(at, nodes, _) if at == status => nodes.iter().for_each(|node| cluster.stop(*node)),
            Fault::When(at, signal) if at == status => {
                let pid = cluster.pid(0);
                cluster.sink.set(Trap { round: round.to_owned(), status, pid, signal });
            }
            Fault::Cut(at, node) if at == status => cluster.cut(node),
            _ => {}
        }
        cluster.set(round, depth);
        told(cluster, round, status).await;
        if let Fault::When(at, signal) = fault
            && at == status
        {
            assert!(cluster.sink.is_sprung());
            cluster.was_sent(0, signal);
        }
        settled(cluster, round, status == "firing").await;
        cluster.heal();
        settled(cluster, round, status == "firing").await;
    }
    let told = cluster.sink.told(round);
    assert!(is_as_it_may_be(&told, fault), "{fault:?}: {told:?}\n{}", logs(cluster));
}

/// Whether the receiver was told of the beginning and then of the end, as often as it may be, each under one id.
fn is_as_it_may_be(told: &[Told], fault: Fault) -> bool {
    let is_right = |status: &str| {
        let of: Vec<&Told> = told.iter().filter(|told| told.status == status).collect();
        let ids: BTreeSet<&str> = of.iter().map(|told| told.id.as_str()).collect();
        (1..=1 + fault.failures_at(status)).contains(&of.len()) && ids.len() == 1
    };
    let is_in_order = told.is_sorted_by_key(|told| told.status == "resolved");
    is_right("firing") && is_right("resolved") && is_in_order
}

/// All nodes but the one that told it know which one that was.
async fn one_has_told_everything(cluster: &Cluster) {
    let mut by_themselves = 0;
    for position in 0..NODES {
        let delivered = cluster.deliveries(position, "delivered").await.expect("it answers");
        assert_eq!(delivered.len(), 2, "{delivered:?}");
        by_themselves += delivered.iter().filter(|delivery| delivery["toldBy"].is_null()).count();
    }
    assert_eq!(by_themselves, 2, "the beginning and the end");
}

// B10
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "figures of a full run")]
async fn whatever_happens_to_nodes_nothing_is_missed_and_little_is_told_twice() {
    let is_full = std::env::var("BELLWETHER_CONFORMANCE").is_ok_and(|value| value == "full");
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut cluster = Cluster::start(if is_full { SHORT_TIMEOUT } else { PEER_TIMEOUT }).await;
    round(&mut cluster, "first", Fault::Nothing).await;
    one_has_told_everything(&cluster).await;
    let (mut failures, mut twice) = (0, 0);
    let most = if is_full { 100 } else { 5 };
    for (number, fault) in (1..).zip(FAULTS.into_iter().cycle()) {
        let name = format!("round-{number}");
        round(&mut cluster, &name, fault).await;
        failures += fault.failures();
        twice += cluster.sink.told(&name).len() - 2;
        if is_full {
            eprintln!("{name} {fault:?}: {failures} failures, {twice} notifications twice");
        }
        if failures >= most {
            break;
        }
    }
}

/// An hour from now.
fn in_an_hour() -> String {
    let time = SystemTime::now() + Duration::from_secs(3_600);
    chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_say_to_one_node_holds_on_all() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut cluster = Cluster::start(PEER_TIMEOUT).await;
    let matcher = |round: &str| json!([{"name": "round", "value": round, "isRegex": false, "isEqual": true}]);
    let silence = |round: &str| {
        let (starts, ends) = (chrono::Utc::now().to_rfc3339(), in_an_hour());
        json!({"matchers": matcher(round), "startsAt": starts, "endsAt": ends, "createdBy": "ann", "comment": "drill"})
    };
    // The first one is away when it is said, and comes back when there is something to be told.
    cluster.kill(0);
    let made = cluster.send(2, "POST", "/api/v2/silences", Some(&silence("quiet"))).await;
    let id = made["silenceID"].as_str().expect("it has an id").to_owned();
    let expires = in_an_hour();
    let pin = json!({"level": 3, "author": "ann", "reason": "drill", "expiresAt": expires});
    cluster.send(1, "PUT", "/api/v1/degradation/pin", Some(&pin)).await;
    cluster.set("quiet", 5);
    cluster.heal();
    let is_known = async || {
        for position in 0..NODES {
            let holds = cluster.is_silenced(position, &id).await == Some(true);
            if !holds || cluster.level(position).await != Some(3) {
                return false;
            }
        }
        true
    };
    until(&cluster, "the silence and the pin hold everywhere", is_known).await;
    settled(&cluster, "quiet", true).await;
    cluster.set("loud", 5);
    told(&cluster, "loud", "firing").await;
    settled(&cluster, "loud", true).await;
    assert!(cluster.sink.told("quiet").is_empty(), "{}", logs(&cluster));
    // Whoever ends it, ends it for all.
    cluster.set("quiet", 5);
    cluster.send(0, "DELETE", &format!("/api/v2/silence/{id}"), None).await;
    cluster.send(0, "DELETE", "/api/v1/degradation/pin", None).await;
    let is_over = async || {
        for position in 0..NODES {
            let holds = cluster.is_silenced(position, &id).await != Some(false);
            if holds || cluster.level(position).await == Some(3) {
                return false;
            }
        }
        true
    };
    until(&cluster, "neither does any more", is_over).await;
    told(&cluster, "quiet", "firing").await;
    settled(&cluster, "quiet", true).await;
    assert_eq!(cluster.sink.told("quiet").len(), 1, "{}", logs(&cluster));
}
