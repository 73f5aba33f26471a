//! Hears from the other nodes of a cluster what people have said there: silences, acknowledgements and pins.
//!
//! Each node asks each other one, every second, for what has changed since it asked last, and takes what is newer. What
//! it has taken counts as changed there too, so that word also comes by way of a third node.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use reqwest::{Client, StatusCode};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    Counters, DeliveryConfig,
    attempt::chain,
    peers::{asked_by, client_of_peers},
};
use crate::{Cluster, DeliveryError, Outbox, SharedPage, SharedPin, cluster::Peer, ledger::Merged};

/// Time between two questions.
const EVERY: Duration = Duration::from_secs(1);

/// Asks the others, for as long as it is there.
#[derive(Debug)]
pub(super) struct Sharing {
    /// Who was asked once, and answered or did not.
    tried: watch::Receiver<usize>,
    others: usize,
    /// How long the first answers are waited for.
    patience: Duration,
    _tasks: JoinSet<()>,
}

impl Sharing {
    /// Begins, if there are other nodes in `config`. Pins that are heard are written down and given to `pins`.
    pub(super) fn begin(
        outbox: &Outbox,
        config: &DeliveryConfig,
        counters: &Arc<Counters>,
        pins: &mpsc::UnboundedSender<SharedPin>,
    ) -> Result<Option<Self>, DeliveryError> {
        let Some(cluster) = &config.cluster else { return Ok(None) };
        let client = client_of_peers()?;
        let (tried, heard) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for peer in cluster.others() {
            let asking = Asking {
                outbox: outbox.clone(),
                client: client.clone(),
                cluster: cluster.clone(),
                peer: peer.clone(),
                tenant: config.tenant.clone(),
                counters: Arc::clone(counters),
                pins: pins.clone(),
            };
            tasks.spawn(asking.run(tried.clone()));
        }
        let patience = cluster.question_timeout() + EVERY;
        Ok(Some(Self { tried: heard, others: cluster.others().len(), patience, _tasks: tasks }))
    }

    /// Until all others were asked once: a node that was away does not know what was said meanwhile.
    pub(super) fn asked_once(&self) -> impl Future<Output = ()> + use<> {
        let (mut tried, others, patience) = (self.tried.clone(), self.others, self.patience);
        async move {
            let _ = tokio::time::timeout(patience, tried.wait_for(|tried| *tried >= others)).await;
        }
    }
}

/// The questions to one other node.
struct Asking {
    outbox: Outbox,
    client: Client,
    cluster: Cluster,
    peer: Peer,
    tenant: String,
    counters: Arc<Counters>,
    pins: mpsc::UnboundedSender<SharedPin>,
}

/// How far a peer was heard.
struct Heard {
    instance: String,
    next: u64,
    has_more: bool,
}

impl Asking {
    async fn run(self, tried: watch::Sender<usize>) {
        let (mut instance, mut after) = (String::new(), 0);
        let mut is_first = true;
        let mut fails = false;
        loop {
            let heard = self.hear(&instance, after).await;
            if std::mem::take(&mut is_first) {
                tried.send_modify(|tried| *tried += 1);
            }
            let mut wait = EVERY;
            match heard {
                Ok(heard) => {
                    if std::mem::take(&mut fails) {
                        tracing::info!(peer = self.peer.name, "silences of a peer are heard again");
                    }
                    // One that says the same again is asked no faster.
                    if heard.has_more && (heard.instance != instance || heard.next > after) {
                        wait = Duration::ZERO;
                    }
                    (instance, after) = (heard.instance, heard.next);
                }
                Err(error) => {
                    self.counters.failed_questions.fetch_add(1, Relaxed);
                    if !std::mem::replace(&mut fails, true) {
                        let peer = &self.peer.name;
                        tracing::warn!(peer, error, "a peer does not say what is silenced there");
                    }
                    wait = wait.max(self.cluster.question_timeout());
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks once, and takes what is newer.
    async fn hear(&self, instance: &str, after: u64) -> Result<Heard, String> {
        let longest = self.cluster.question_timeout();
        let asked = tokio::time::timeout(longest, self.ask(instance, after)).await;
        let page = asked.unwrap_or_else(|_| Err(format!("no answer within {longest:.1?}")))?;
        let heard = Heard { instance: page.instance.clone(), next: page.next, has_more: page.has_more };
        let merge = move |outbox: &Outbox| outbox.operator().merge(page);
        let Merged { silences, acknowledgements, pins } =
            self.outbox.blocking(merge).await.map_err(|error| error.to_string())?;
        if silences + acknowledgements + pins.len() > 0 {
            let (peer, pins) = (&self.peer.name, pins.len());
            tracing::info!(peer, silences, acknowledgements, pins, "what was said to a peer holds here too");
        }
        for pin in pins {
            // Nobody listens where no level is made.
            let _ = self.pins.send(pin);
        }
        Ok(heard)
    }

    async fn ask(&self, instance: &str, after: u64) -> Result<SharedPage, String> {
        let mut url = self.peer.said.as_url().clone();
        url.query_pairs_mut().append_pair("instance", instance).append_pair("after", &after.to_string());
        let request = asked_by(&self.cluster, &self.tenant, self.client.get(url));
        let mut response = request.send().await.map_err(|error| chain(&error.without_url()))?;
        if response.status() != StatusCode::OK {
            return Err(format!("answered {}", response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error.without_url()))? {
            if bytes.len() + chunk.len() > SharedPage::MOST_BYTES {
                return Err(format!("answered more than {} bytes", SharedPage::MOST_BYTES));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|error| format!("answered something else: {error}"))
    }
}
