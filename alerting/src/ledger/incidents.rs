//! Incidents: what the anomalies of each say together.
//!
//! Nothing is kept for them. An incident is called after its first anomaly, so the rows of such anomalies are the
//! list of incidents.

use detect::{Anomaly, Origin, Severity, UnixNanos};
use rusqlite::{Connection, Row};

use super::{AnomalyState, Listed, Page, Reader, anomalies::SELECT, body::read_anomaly, rows::Conditions};
use crate::LedgerError;

/// What begins the id of an incident; the id of its first anomaly follows.
const PREFIX: &str = "inc-";
/// Services and metrics that are named at most.
const NAMED: usize = 50;
/// Under [`IncidentFilter::conditions`]: the first anomaly of each incident.
const HEADS: &str = "SELECT a.seq AS cursor, a.incident FROM anomalies a";

/// Anomalies with a common cause, as far as can be seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// `inc-` and the id of the first anomaly.
    pub id: String,
    /// The number of the first anomaly: its cursor.
    pub seq: u64,
    /// When the first anomaly began.
    pub starts_at: UnixNanos,
    /// When the last one ended; `None` while one lasts.
    pub ends_at: Option<UnixNanos>,
    /// The greatest of the anomalies.
    pub severity: Severity,
    /// The greatest score.
    pub score: f64,
    /// Anomalies.
    pub anomalies: u64,
    /// Services, those that were first come first; at most 50.
    pub services: Vec<String>,
    /// Metrics, the same.
    pub metrics: Vec<String>,
    /// Where it probably began, as of the newest anomaly.
    pub origin: Option<Origin>,
}

/// Which incidents are wanted; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// With an anomaly of this service.
    pub service: Option<String>,
    /// Lasting or over.
    pub state: Option<AnomalyState>,
    /// Not over before this event time.
    pub from: Option<UnixNanos>,
    /// Begun at this event time at the latest.
    pub to: Option<UnixNanos>,
}

impl IncidentFilter {
    fn conditions(&self) -> Conditions {
        const OTHERS: &str = "SELECT 1 FROM anomalies o WHERE o.incident = a.incident AND";
        let mut conditions = Conditions::default();
        conditions.must(&format!("a.incident = '{PREFIX}' || a.id"));
        conditions.when(self.service.clone(), &format!("EXISTS ({OTHERS} o.service = ?)"));
        match self.state {
            Some(AnomalyState::Active) => conditions.must(&format!("EXISTS ({OTHERS} o.ends_at IS NULL)")),
            Some(AnomalyState::Ended) => conditions.must(&format!("NOT EXISTS ({OTHERS} o.ends_at IS NULL)")),
            None => {}
        }
        let until = format!("EXISTS ({OTHERS} (o.ends_at IS NULL OR o.ends_at >= ?))");
        conditions.when(self.from.map(|at| at.0), &until);
        conditions.when(self.to.map(|at| at.0), "a.starts_at <= ?");
        conditions
    }
}

impl Reader {
    /// The incidents that `filter` lets through, by the number of their first anomaly, which is also the cursor.
    ///
    /// # Errors
    /// [`LedgerError::PageLimit`], [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn incidents(&self, filter: &IncidentFilter, page: Page) -> Result<Listed<Incident>, LedgerError> {
        self.store.read(|connection| {
            let id = |row: &Row<'_>| Ok(row.get::<_, String>("incident")?);
            let Listed { items, next } = filter.conditions().page(connection, HEADS, "a.seq", page, id)?;
            let found = items.iter().map(|id| read(connection, id)).collect::<Result<Vec<_>, _>>()?;
            Ok(Listed { items: found.into_iter().flatten().collect(), next })
        })
    }

    /// The incident with this id.
    ///
    /// # Errors
    /// [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn incident(&self, id: &str) -> Result<Option<Incident>, LedgerError> {
        self.store.read(|connection| read(connection, id))
    }

    /// The anomalies of an incident, in their order.
    ///
    /// # Errors
    /// [`LedgerError::PageLimit`], [`LedgerError::Row`] or [`LedgerError::Sqlite`].
    pub fn anomalies_of(&self, incident: &str, page: Page) -> Result<Listed<Anomaly>, LedgerError> {
        self.store.read(|connection| {
            let mut conditions = Conditions::default();
            conditions.when(Some(incident.to_owned()), "a.incident = ?");
            // By its rows first, and not by their order: they are few.
            conditions.page(connection, SELECT, "+a.seq", page, read_anomaly)
        })
    }
}

fn read(connection: &Connection, id: &str) -> Result<Option<Incident>, LedgerError> {
    const TOTALS: &str = "
        SELECT count(*), min(seq), min(starts_at), max(ends_at), count(*) - count(ends_at), max(score),
            max(CASE severity WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END)
        FROM anomalies WHERE incident = ?";
    let number = |n: i64| u64::try_from(n).unwrap_or_default();
    let mut incident = connection.prepare_cached(TOTALS)?.query_row([id], |row| {
        let (last, open): (Option<i64>, i64) = (row.get(3)?, row.get(4)?);
        Ok(Incident {
            id: id.to_owned(),
            anomalies: number(row.get(0)?),
            seq: number(row.get::<_, Option<i64>>(1)?.unwrap_or_default()),
            starts_at: UnixNanos(row.get::<_, Option<i64>>(2)?.unwrap_or_default()),
            ends_at: last.filter(|_| open == 0).map(UnixNanos),
            score: row.get::<_, Option<f64>>(5)?.unwrap_or(f64::NAN),
            severity: match row.get::<_, Option<i64>>(6)? {
                Some(2) => Severity::Critical,
                Some(1) => Severity::Warning,
                _ => Severity::Info,
            },
            services: Vec::new(),
            metrics: Vec::new(),
            origin: None,
        })
    })?;
    if incident.anomalies == 0 {
        return Ok(None);
    }
    incident.services = names(connection, id, "service")?;
    incident.metrics = names(connection, id, "metric")?;
    const NEWEST: &str = "
        SELECT b.body ->> '$.origin' FROM anomalies a CROSS JOIN anomaly_bodies b ON b.row = a.row
        WHERE a.incident = ? ORDER BY +a.seq DESC LIMIT 1";
    let origin: Option<String> = connection.prepare_cached(NEWEST)?.query_row([id], |row| row.get(0))?;
    incident.origin = origin.and_then(|text| serde_json::from_str(&text).ok());
    Ok(Some(incident))
}

/// The values of `column` in an incident, those that were first come first.
fn names(connection: &Connection, id: &str, column: &str) -> Result<Vec<String>, LedgerError> {
    let sql = format!("SELECT {column} FROM anomalies WHERE incident = ? GROUP BY 1 ORDER BY min(seq) LIMIT {NAMED}");
    let mut statement = connection.prepare_cached(&sql)?;
    let names = statement.query_map([id], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use detect::Decision;

    use super::*;
    use crate::{
        Order,
        ledger::tests::Fixture,
        testing::{anomaly, at, ended, opened},
    };

    /// Anomaly `seq` of `service` in the incident that anomaly `first` began.
    fn of(first: u32, seq: u32, service: &str) -> Anomaly {
        let mut a = anomaly(seq);
        (a.incident_id, a.service) = (Some(format!("inc-a{first}")), service.into());
        let (service, metric) = (service.into(), "latency".into());
        a.origin = Some(Box::new(Origin { service, metric, anomaly_id: format!("a{seq}"), because: "it was".into() }));
        a
    }

    fn ids(fixture: &Fixture, filter: &IncidentFilter, page: Page) -> Vec<String> {
        let listed = fixture.ledger.reader().incidents(filter, page).expect("reads");
        listed.items.into_iter().map(|incident| incident.id).collect()
    }

    #[test]
    fn an_incident_is_what_its_anomalies_say_together() {
        let mut fixture = Fixture::new();
        let mut worst = of(1, 3, "quotes");
        (worst.severity, worst.score) = (Severity::Critical, 7.0);
        let decisions: Vec<Decision> = vec![
            opened(of(1, 1, "shop")),
            opened(of(2, 2, "mail")),
            opened(worst.clone()),
            ended(of(1, 1, "shop"), at(50)),
            ended(of(2, 2, "mail"), at(60)),
        ];
        fixture.record(&decisions);
        let reader = fixture.ledger.reader();
        let first = reader.incident("inc-a1").expect("reads").expect("is there");
        assert_eq!((first.anomalies, first.seq, first.starts_at, first.ends_at), (2, 1, at(1), None));
        assert_eq!((first.severity, first.score), (Severity::Critical, 7.0));
        assert_eq!((first.services, first.metrics), (vec!["shop".into(), "quotes".into()], vec!["latency".into()]));
        assert_eq!(first.origin.map(|o| o.anomaly_id), Some("a3".into()), "as of the newest anomaly");
        let all = IncidentFilter::default;
        let every = Page { order: Order::Ascending, ..Page::default() };
        assert_eq!(ids(&fixture, &all(), every), ["inc-a1", "inc-a2"]);
        assert_eq!(ids(&fixture, &all(), Page { after: Some(1), ..every }), ["inc-a2"]);
        let with = |filter: IncidentFilter| ids(&fixture, &filter, every);
        assert_eq!(with(IncidentFilter { service: Some("quotes".into()), ..all() }), ["inc-a1"]);
        assert_eq!(with(IncidentFilter { state: Some(AnomalyState::Active), ..all() }), ["inc-a1"]);
        assert_eq!(with(IncidentFilter { state: Some(AnomalyState::Ended), ..all() }), ["inc-a2"]);
        assert_eq!(with(IncidentFilter { from: Some(at(61)), ..all() }), ["inc-a1"]);
        assert_eq!(with(IncidentFilter { to: Some(at(1)), ..all() }), ["inc-a1"]);
        let members = reader.anomalies_of("inc-a1", every).expect("reads").items;
        assert_eq!(members.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["a1", "a3"]);
        assert_eq!(reader.incident("inc-a3").expect("reads"), None);
    }
}
