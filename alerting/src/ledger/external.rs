//! Alerts of others: Prometheus and `amtool` post them as to an Alertmanager. They are episodes like ours, which end
//! when their sender says so, or has not said anything for long enough.

use detect::{Alert, AlertState, AlertTransition, Labels, Level, UnixNanos};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    alerts,
    body::from_json,
    groups::{Desk, Muted},
};
use crate::LedgerError;

/// Alerts of others that fire at most.
const MOST_ACTIVE: usize = 100_000;
/// Labels of an alert, and annotations; bytes of all of either.
const MOST_LABELS: usize = 128;
const MOST_BYTES: usize = 64 << 10;

/// An alert as it was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedAlert {
    /// With `alertname`, as a rule. At least one, at most 128 and 64 KiB, as are the annotations.
    pub labels: Labels,
    /// `summary` and the like.
    pub annotations: Labels,
    /// Since when it fires; `None` for now.
    pub starts_at: Option<UnixNanos>,
    /// When it ends, perhaps in the future; `None` for when nobody has posted it again for a while.
    pub ends_at: Option<UnixNanos>,
    /// A link to what raised it; may be empty.
    pub generator_url: String,
}

impl PostedAlert {
    fn check(&self) -> Result<(), LedgerError> {
        let refused = |field, reason: String| Err(LedgerError::Silence { field, reason });
        if self.labels.is_empty() {
            return refused("labels", "expected at least one".into());
        }
        for (field, labels) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
            if labels.len() > MOST_LABELS || bytes > MOST_BYTES {
                let most = format!("expected at most {MOST_LABELS} and {MOST_BYTES} bytes");
                return refused(field, format!("{most}, got {} and {bytes} bytes", labels.len()));
            }
        }
        if self.starts_at.zip(self.ends_at).is_some_and(|(starts, ends)| ends < starts) {
            return refused("endsAt", "expected a time that is not before startsAt".into());
        }
        if self.generator_url.len() > 8192 {
            return refused("generatorURL", "expected at most 8192 bytes".into());
        }
        Ok(())
    }
}

/// When the next alert of others ends by itself.
pub(super) fn next_end(connection: &Connection) -> Result<Option<UnixNanos>, LedgerError> {
    let sql = "SELECT min(ends_at) FROM external_alerts";
    Ok(connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0))?.map(UnixNanos))
}

impl Desk<'_> {
    /// Takes up what was posted, each that is sound: of the others, what is wrong. An alert without an end lasts until
    /// `resolve_at`, if it is not posted again.
    pub(super) fn post(
        &self,
        transaction: &Transaction<'_>,
        posted: &[PostedAlert],
        resolve_at: UnixNanos,
    ) -> Result<Vec<LedgerError>, LedgerError> {
        let mut faults = Vec::new();
        let active: i64 = transaction.query_row("SELECT count(*) FROM external_alerts", [], |row| row.get(0))?;
        let mut active = usize::try_from(active).unwrap_or(usize::MAX);
        for alert in posted {
            if let Err(fault) = alert.check() {
                faults.push(fault);
                continue;
            }
            let known = self.known(transaction, &alert.labels)?;
            let ends_at = alert.ends_at.unwrap_or(resolve_at);
            let is_over = ends_at <= self.now;
            match known {
                None if is_over => {}
                None if active >= MOST_ACTIVE => {
                    let reason = format!("{MOST_ACTIVE} alerts of others fire already");
                    faults.push(LedgerError::Silence { field: "alerts", reason });
                }
                None => {
                    active += 1;
                    self.begin(transaction, alert, ends_at)?;
                }
                Some(known) if is_over => self.end(transaction, known, ends_at)?,
                Some(mut known) => {
                    known.annotations = alert.annotations.clone();
                    known.last_true_at = self.now;
                    alerts::refresh(transaction, &known)?;
                    let sql = "UPDATE external_alerts SET ends_at = ? WHERE episode = ?";
                    transaction.prepare_cached(sql)?.execute(params![ends_at.0, known.episode])?;
                }
            }
        }
        Ok(faults)
    }

    /// Ends those whose time has come.
    pub(super) fn end_what_is_over(&self, transaction: &Transaction<'_>) -> Result<(), LedgerError> {
        let sql = "SELECT a.episode, a.body, e.ends_at FROM external_alerts e JOIN alerts a ON a.episode = e.episode \
            WHERE e.ends_at <= ?";
        let over: Vec<(Alert, i64)> = transaction
            .prepare_cached(sql)?
            .query_and_then([self.now.0], |row| {
                let (episode, body): (String, String) = (row.get(0)?, row.get(1)?);
                Ok::<_, LedgerError>((from_json(&episode, &body)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        over.into_iter().try_for_each(|(alert, at)| self.end(transaction, alert, UnixNanos(at)))
    }

    fn known(&self, transaction: &Transaction<'_>, labels: &Labels) -> Result<Option<Alert>, LedgerError> {
        let sql = "SELECT a.episode, a.body FROM external_alerts e JOIN alerts a ON a.episode = e.episode \
            WHERE e.fingerprint = ?";
        let row = transaction
            .prepare_cached(sql)?
            .query_row([fingerprint(labels)], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .optional()?;
        row.map(|(episode, body)| from_json(&episode, &body)).transpose()
    }

    fn begin(
        &self,
        transaction: &Transaction<'_>,
        posted: &PostedAlert,
        ends_at: UnixNanos,
    ) -> Result<(), LedgerError> {
        let fingerprint = fingerprint(&posted.labels);
        let starts_at = posted.starts_at.unwrap_or(self.now);
        let link = &posted.generator_url;
        let is_link = link.starts_with("http://") || link.starts_with("https://");
        let alert = Alert {
            // An alert that comes back with the start that it had is another episode, since its end was told.
            episode: format!("external-{fingerprint}-{}", self.now.0),
            fingerprint: fingerprint.clone(),
            labels: posted.labels.clone(),
            annotations: posted.annotations.clone(),
            state: AlertState::Firing,
            active_at: starts_at,
            fired_at: Some(starts_at),
            last_true_at: self.now,
            resolved_at: None,
            value: f64::NAN,
            source: if is_link { link.clone() } else { "external".to_owned() },
            anomalies: Vec::new(),
            attributes: Vec::new(),
            dependents: Vec::new(),
            argued_level: Level::default(),
        };
        let transition = AlertTransition { from: None, alert, at: self.now };
        alerts::save(transaction, &transition)?;
        let sql = "INSERT INTO external_alerts (episode, fingerprint, ends_at) VALUES (?, ?, ?)";
        transaction.prepare_cached(sql)?.execute(params![transition.alert.episode, fingerprint, ends_at.0])?;
        self.place(transaction, &transition.alert)
    }

    fn end(&self, transaction: &Transaction<'_>, mut alert: Alert, at: UnixNanos) -> Result<(), LedgerError> {
        alert.state = AlertState::Resolved;
        alert.resolved_at = Some(at);
        let transition = AlertTransition { from: Some(AlertState::Firing), alert, at: self.now };
        alerts::save(transaction, &transition)?;
        let sql = "DELETE FROM external_alerts WHERE episode = ?";
        transaction.prepare_cached(sql)?.execute([&transition.alert.episode])?;
        self.place(transaction, &transition.alert)
    }
}

fn fingerprint(labels: &Labels) -> String {
    format!("{:016x}", labels.fingerprint())
}

impl Muted {
    /// Alertmanager's word for where an alert is.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.is_muted() { "suppressed" } else { "active" }
    }
}
