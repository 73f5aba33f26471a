//! Asks the other nodes of a cluster whether they have told a notification, before this one does.
//!
//! Whoever does not answer in time, or with anything but a plain yes, has not told it. One that did not answer is left
//! alone for a moment, so that a node that hangs does not hold up everything that the others have to tell.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use reqwest::{Client, RequestBuilder, StatusCode, header};
use serde::Deserialize;
use tokio::{task::JoinSet, time::Instant};

use super::{
    Counters, DeliveryConfig, Destinations,
    attempt::{body, chain, client},
};
use crate::{
    Cluster, DeliveryError, Outbox, Question, Said,
    cluster::Peer,
    ledger::{Asking, Due, Endpoint},
};

/// Says whose notification it is.
const TENANT_HEADER: &str = "x-scope-orgid";

/// The other nodes.
#[derive(Debug)]
pub(super) struct Peers {
    outbox: Outbox,
    client: Client,
    cluster: Cluster,
    tenant: String,
    /// Until when each is left alone.
    resting: Mutex<Vec<Option<Instant>>>,
    counters: Arc<Counters>,
}

/// What came of asking.
#[derive(Debug, Default)]
pub(super) struct Consulted {
    /// What the notification says.
    pub(super) said: Vec<Said>,
    /// Who has told it.
    pub(super) by: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    told: bool,
}

/// A client for other nodes, which are inside, as a rule, and are named one by one.
pub(super) fn client_of_peers() -> Result<Client, DeliveryError> {
    client(&Arc::new(Destinations { allow_private: true, ..Destinations::default() }))
}

/// The request with what a node shows to others, and whose data it is about.
pub(super) fn asked_by(cluster: &Cluster, tenant: &str, request: RequestBuilder) -> RequestBuilder {
    let request = request.header(TENANT_HEADER, tenant);
    match cluster.authorization() {
        Some(secret) => request.header(header::AUTHORIZATION, secret.reveal()),
        None => request,
    }
}

impl Peers {
    /// Those of `config`, if there are any.
    pub(super) fn of(
        outbox: &Outbox,
        config: &DeliveryConfig,
        counters: &Arc<Counters>,
    ) -> Result<Option<Arc<Self>>, DeliveryError> {
        let Some(cluster) = config.cluster.clone() else { return Ok(None) };
        let peers = Self {
            outbox: outbox.clone(),
            client: client_of_peers()?,
            resting: Mutex::new(vec![None; cluster.others().len()]),
            cluster,
            tenant: config.tenant.clone(),
            counters: Arc::clone(counters),
        };
        Ok(Some(Arc::new(peers)))
    }

    /// Asks about `due`, which gets the id under which a peer was about to tell it. What cannot be asked about is told
    /// as without peers.
    pub(super) async fn consult(&self, endpoint: &Arc<Endpoint>, due: &mut Due) -> Consulted {
        let (endpoint, mut asked) = (Arc::clone(endpoint), due.clone());
        let asking = move |outbox: &Outbox| Ok((outbox.asking(&endpoint, &mut asked)?, asked));
        match self.outbox.blocking(asking).await {
            Ok((Some(Asking { mut question, said }), asked)) => {
                question.position = self.cluster.position();
                *due = asked;
                Consulted { said, by: self.ask(&question).await }
            }
            Ok((None, _)) => Consulted::default(),
            Err(error) => {
                tracing::error!(id = due.id, %error, "peers cannot be asked about a notification");
                Consulted::default()
            }
        }
    }

    /// Asks all at once; who has told it: all of it, where it is of more alerts than one question may be.
    async fn ask(&self, question: &Question) -> Option<String> {
        let part = |alerts: &[Said]| {
            let part = Question { alerts: alerts.to_vec(), ..question.without_alerts() };
            serde_json::to_string(&part).expect("texts and numbers always serialise")
        };
        let bodies: Vec<String> = question.alerts.chunks(Question::MOST).map(part).collect();
        let mut asked = JoinSet::new();
        for (index, peer) in self.cluster.others().iter().enumerate().filter(|(index, _)| !self.is_resting(*index)) {
            let requests = bodies.iter().map(|body| self.request(peer, body)).collect();
            asked.spawn(answer(requests, index, self.cluster.question_timeout()));
        }
        while let Some(answered) = asked.join_next().await {
            let Ok((index, answered)) = answered else { continue };
            let name = &self.cluster.others()[index].name;
            self.note(index, name, answered.as_ref().err().map(String::as_str));
            if answered == Ok(true) {
                return Some(name.clone());
            }
        }
        None
    }

    fn request(&self, peer: &Peer, body: &str) -> RequestBuilder {
        let request = self.client.post(peer.told.as_url().clone()).body(body.to_owned());
        asked_by(&self.cluster, &self.tenant, request.header(header::CONTENT_TYPE, "application/json"))
    }

    fn is_resting(&self, index: usize) -> bool {
        self.resting()[index].is_some_and(|until| until > Instant::now())
    }

    /// Notes whether a peer has answered, and says so where that is news.
    fn note(&self, index: usize, peer: &str, failure: Option<&str>) {
        let until = failure.map(|_| Instant::now() + self.cluster.question_timeout());
        let before = std::mem::replace(&mut self.resting()[index], until);
        match failure {
            Some(error) => {
                self.counters.failed_questions.fetch_add(1, Relaxed);
                if before.is_none() {
                    tracing::warn!(peer, error, "a peer does not answer: what it has told may be told again");
                }
            }
            None if before.is_some() => tracing::info!(peer, "a peer answers again"),
            None => {}
        }
    }

    fn resting(&self) -> std::sync::MutexGuard<'_, Vec<Option<Instant>>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the peer `index` says to all of the `requests` that it has told it, each within `longest`; why it says nothing.
async fn answer(requests: Vec<RequestBuilder>, index: usize, longest: Duration) -> (usize, Result<bool, String>) {
    for request in requests {
        let asking = async {
            let mut response = request.send().await.map_err(|error| chain(&error.without_url()))?;
            let (status, bytes) = (response.status(), body(&mut response).await);
            if status != StatusCode::OK {
                return Err(format!("answered {status}"));
            }
            let Answer { told } = serde_json::from_slice(&bytes).map_err(|_| "answered something else".to_owned())?;
            Ok(told)
        };
        let answered = tokio::time::timeout(longest, asking).await;
        match answered.unwrap_or_else(|_| Err(format!("no answer within {longest:.1?}"))) {
            Ok(true) => {}
            other => return (index, other),
        }
    }
    (index, Ok(true))
}
