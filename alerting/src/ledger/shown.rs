//! Alerts and groups as Alertmanager shows them: with who is told, and why nobody is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use detect::{Alert, Labels, UnixNanos};

use super::{
    Reader, alerts,
    flapping::{flapping, marked},
    groups::{Muted, muted, sources},
};
use crate::{
    LedgerError, clock,
    route::Routing,
    webhook::{Origin, generator_url},
};

/// An alert that fires.
#[derive(Clone, Debug)]
pub struct ShownAlert {
    /// The alert.
    pub alert: Alert,
    /// Its labels as receivers are told of them.
    pub labels: Labels,
    /// What tells it from all others.
    pub fingerprint: String,
    /// A link that shows what raised it.
    pub generator_url: String,
    /// Who is told, by name.
    pub receivers: Vec<String>,
    /// Why nobody is, if so.
    pub muted: Muted,
    /// When its state changed last.
    pub updated_at: UnixNanos,
}

/// Alerts that are told together.
#[derive(Clone, Debug)]
pub struct ShownGroup {
    /// Who is told.
    pub receiver: String,
    /// What the alerts have in common.
    pub labels: Labels,
    /// The alerts, oldest first.
    pub alerts: Vec<ShownAlert>,
}

impl Reader {
    /// Fingerprints of the alerts that flap, in the engine's form: without a tenant.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn flapping(&self) -> Result<BTreeSet<String>, LedgerError> {
        self.store.read(|connection| Ok(flapping(connection)?.into_keys().collect()))
    }

    /// All alerts that fire, oldest first, as `routing` sends them; `origin` is what [`super::Ledger::origin`] says.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub(crate) fn shown_alerts(&self, routing: &Routing, origin: &Origin) -> Result<Vec<ShownAlert>, LedgerError> {
        let (firing, flapping) =
            self.store.read(|connection| Ok((alerts::firing(connection)?, flapping(connection)?)))?;
        let now = clock::now();
        let sources = sources(routing, origin, &firing);
        let shown = firing.into_iter().map(|mut alert| {
            let (fingerprint, labels) = origin.identity(&alert);
            let mut receivers: Vec<String> =
                routing.matching(&labels).iter().map(|matched| matched.receiver.to_owned()).collect();
            receivers.sort();
            receivers.dedup();
            let mut muted = muted(&self.store, routing, &labels, &sources, now);
            if let Some(changes) = flapping.get(&alert.fingerprint) {
                alert.annotations = marked(&alert, *changes);
                muted.is_flapping = true;
            }
            let generator_url = generator_url(&alert, origin);
            let updated_at = alert.fired_at.unwrap_or(alert.active_at).max(alert.last_true_at);
            ShownAlert { alert, labels, fingerprint, generator_url, receivers, muted, updated_at }
        });
        Ok(shown.collect())
    }

    /// The same by the groups in which they are told, ordered by their labels and receivers.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub(crate) fn shown_groups(&self, routing: &Routing, origin: &Origin) -> Result<Vec<ShownGroup>, LedgerError> {
        const PLACES: &str = "
            SELECT m.episode, g.labels, g.receiver, g.node FROM group_alerts m JOIN groups g ON g.row = m.group_row";
        let all = self.shown_alerts(routing, origin)?;
        let mut places: HashMap<String, Vec<[String; 3]>> = HashMap::new();
        self.store.read(|connection| {
            let mut statement = connection.prepare_cached(PLACES)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                places.entry(row.get(0)?).or_default().push([row.get(1)?, row.get(2)?, row.get(3)?]);
            }
            Ok(())
        })?;
        let mut groups: BTreeMap<(String, String, String), ShownGroup> = BTreeMap::new();
        for shown in all {
            for [labels, receiver, node] in places.remove(&shown.alert.episode).unwrap_or_default() {
                let labels: Labels = serde_json::from_str(&labels).unwrap_or_default();
                let key = (labels.to_string(), receiver.clone(), node);
                let empty = || ShownGroup { receiver, labels, alerts: Vec::new() };
                groups.entry(key).or_insert_with(empty).alerts.push(shown.clone());
            }
        }
        Ok(groups.into_values().collect())
    }
}
