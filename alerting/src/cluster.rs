//! Several nodes that are fed the same, each of which tells by itself what no other has told.
//!
//! There is no membership: every node knows all of them from its configuration, and where it stands among them. The
//! first one tells at once, each further one so much later, and only what none of the others says to have told. Who
//! does not answer has told nothing, so that what happens to nodes and to the ways between them can make a notification
//! come twice, and never not at all. See `docs/peers.md`.

use std::{ops::RangeInclusive, time::Duration};

use crate::{Secret, WebhookUrl};

/// Where a node says what it has told: asked before sending.
const TOLD: &str = "api/v1/peers/told";
/// Where it says what people have said to it.
const SAID: &str = "api/v1/peers/said";
/// Longest time that an answer is waited for.
const LONGEST_QUESTION: Duration = Duration::from_secs(5);

/// The nodes, and which of them this one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    peers: Vec<Peer>,
    position: usize,
    timeout: Duration,
    authorization: Option<Secret>,
}

/// One of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// What it is called.
    pub(crate) name: String,
    /// Where it is asked what it has told.
    pub(crate) told: WebhookUrl,
    /// Where it is asked what people have said to it.
    pub(crate) said: WebhookUrl,
}

impl Cluster {
    /// Nodes of one cluster: everyone asks everyone.
    pub const MOST: usize = 16;
    /// How long the next waits for the one before, when nothing else is said.
    pub const TIMEOUT: Duration = Duration::from_secs(15);
    /// What may be said.
    pub const TIMEOUTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(2);

    /// The nodes whose interfaces are at `all`, of which this is the one at `position`, from 0. Others are shown
    /// `authorization`, the whole of the header.
    ///
    /// # Errors
    /// What is wrong: there have to be 2 to [`Self::MOST`] nodes, with this one among them, and a `timeout` within
    /// [`Self::TIMEOUTS`].
    pub fn new(
        all: &[WebhookUrl],
        position: usize,
        timeout: Duration,
        authorization: Option<Secret>,
    ) -> Result<Self, String> {
        if !(2..=Self::MOST).contains(&all.len()) {
            return Err(format!("peers: expected 2 to {} nodes, this one among them, got {}", Self::MOST, all.len()));
        }
        if position >= all.len() {
            return Err(format!("position: expected 0 to {}, got {position}", all.len() - 1));
        }
        if !Self::TIMEOUTS.contains(&timeout) {
            return Err(format!("peer_timeout: expected 1s to 2m, got {timeout:?}"));
        }
        if all.iter().enumerate().any(|(i, url)| all[..i].contains(url)) {
            return Err("peers: expected every node once".to_owned());
        }
        let others = all.iter().enumerate().filter(|(i, _)| *i != position);
        let peer = |url: &WebhookUrl| Peer { name: url.to_string(), told: url.join(TOLD), said: url.join(SAID) };
        let peers = others.map(|(_, url)| peer(url)).collect();
        Ok(Self { peers, position, timeout, authorization })
    }

    /// Which of the nodes this one is.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// How long the nodes before this one have to tell a notification.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.timeout.saturating_mul(u32::try_from(self.position).unwrap_or(u32::MAX))
    }

    /// How long an answer is waited for: so much less than the next node waits that what is sent then has come
    /// before it asks.
    pub(crate) fn question_timeout(&self) -> Duration {
        (self.timeout / 3).min(LONGEST_QUESTION)
    }

    pub(crate) fn others(&self) -> &[Peer] {
        &self.peers
    }

    pub(crate) fn authorization(&self) -> Option<&Secret> {
        self.authorization.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(count: usize) -> Vec<WebhookUrl> {
        (0..count).map(|i| WebhookUrl::parse(&format!("http://bw-{i}:4320/x")).expect("is valid")).collect()
    }

    #[test]
    fn each_node_waits_for_those_before_it_and_asks_all_others() {
        let of = |position| Cluster::new(&urls(3), position, Cluster::TIMEOUT, None).expect("is one");
        assert_eq!([0, 1, 2].map(|position| of(position).wait().as_secs()), [0, 15, 30]);
        let names = |position| of(position).others().iter().map(|peer| peer.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(1), ["http://bw-0:4320", "http://bw-2:4320"]);
        assert_eq!(of(0).others()[0].told.as_url().as_str(), "http://bw-1:4320/x/api/v1/peers/told");
        assert_eq!(of(0).question_timeout(), Duration::from_secs(5));
    }

    #[test]
    fn a_question_has_ended_long_before_the_next_node_asks() {
        for seconds in [1, 2, 15, 120] {
            let timeout = Duration::from_secs(seconds);
            let cluster = Cluster::new(&urls(2), 1, timeout, None).expect("is one");
            assert!(cluster.question_timeout() * 3 <= timeout);
        }
    }

    #[test]
    fn what_is_no_cluster_is_refused_with_what_is_expected() {
        let second = Duration::from_secs(1);
        for (count, position, timeout, said) in [
            (1, 0, second, "peers: expected 2 to 16"),
            (17, 0, second, "peers: expected 2 to 16"),
            (3, 3, second, "position: expected 0 to 2, got 3"),
            (3, 0, Duration::ZERO, "peer_timeout: expected 1s to 2m"),
            (3, 0, Duration::from_mins(3), "peer_timeout: expected 1s to 2m"),
        ] {
            let error = Cluster::new(&urls(count), position, timeout, None).expect_err("is refused");
            assert!(error.starts_with(said), "{error}");
        }
        let twice = [urls(1), urls(1)].concat();
        assert_eq!(Cluster::new(&twice, 0, second, None), Err("peers: expected every node once".to_owned()));
    }
}
