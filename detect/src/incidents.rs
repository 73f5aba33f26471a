//! Incidents: anomalies of one service that overlap, or follow each other closely, belong together.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use window::UnixNanos;

use crate::AnomalyEvent;

/// An anomaly that opens this soon after the last one ended belongs to the same incident.
const JOIN_WITHIN: Duration = Duration::from_mins(2);

/// The current incident of each service.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Incidents(BTreeMap<Arc<str>, Incident>);

#[derive(Debug, Serialize, Deserialize)]
struct Incident {
    id: String,
    open: usize,
    last: UnixNanos,
}

impl Incidents {
    /// Takes back the incident of an anomaly that was open when the process ended.
    pub fn restore(&mut self, service: &Arc<str>, id: &str, at: UnixNanos) {
        let incident = self.0.entry(Arc::clone(service)).or_insert(Incident { id: id.to_owned(), open: 0, last: at });
        incident.open += 1;
    }

    /// Gives the anomaly of `event` its incident, and notes that it opened or ended.
    pub fn note(&mut self, event: &mut AnomalyEvent) {
        match event {
            AnomalyEvent::Opened(a) => {
                let at = a.starts_at;
                let fresh = || Incident { id: format!("inc-{}", a.id), open: 0, last: at };
                let incident = self.0.entry(Arc::clone(&a.service)).or_insert_with(fresh);
                if incident.open == 0 && at.since(incident.last) > JOIN_WITHIN {
                    *incident = fresh();
                }
                incident.open += 1;
                incident.last = incident.last.max(at);
                a.incident_id = Some(incident.id.clone());
            }
            AnomalyEvent::Updated(_) => {}
            AnomalyEvent::Ended(a) => {
                if let Some(incident) = self.0.get_mut(&a.service) {
                    incident.open = incident.open.saturating_sub(1);
                    incident.last = incident.last.max(a.ends_at.unwrap_or(a.starts_at));
                }
            }
        }
    }

    /// Forgets services whose last anomaly ended before `horizon`.
    pub fn forget(&mut self, horizon: UnixNanos) {
        self.0.retain(|_, incident| incident.open > 0 || incident.last >= horizon);
    }
}

#[cfg(test)]
mod tests {
    use window::{Labels, Point, Series, SeriesId, SeriesKey, SeriesKind};

    use super::*;
    use crate::zscore::{ZScoreConfig, ZScoreDetector};

    /// An anomaly of `service` that opens at `second` and ends ten seconds later.
    fn opened(service: &str, second: i64) -> AnomalyEvent {
        let series = Arc::new(Series {
            key: SeriesKey(1),
            name: "m".into(),
            source_name: "m".into(),
            unit: "".into(),
            kind: SeriesKind::Gauge,
            labels: Labels::default(),
            service: service.into(),
        });
        let mut detector = ZScoreDetector::new(ZScoreConfig::default());
        let mut observe = |second: i64, value: f64| {
            let time = UnixNanos(second * 1_000_000_000);
            detector.observe(&Point { series: SeriesId(0), time, value }, &series).event
        };
        for t in 0..60 {
            observe(second - 600 + t * 10, if t % 2 == 0 { 10.0 } else { 11.0 });
        }
        observe(second, 1e6).expect("is far outside")
    }

    fn ended(event: &AnomalyEvent) -> AnomalyEvent {
        let mut anomaly = event.anomaly().clone();
        anomaly.ends_at = Some(anomaly.starts_at.plus(Duration::from_secs(10)));
        AnomalyEvent::Ended(anomaly)
    }

    #[test]
    fn anomalies_of_one_service_join_while_close_in_time() {
        let mut incidents = Incidents::default();
        let mut note = |service: &str, second: i64, end: bool| {
            let mut event = opened(service, second);
            incidents.note(&mut event);
            if end {
                incidents.note(&mut ended(&event));
            }
            event.anomaly().incident_id.clone().expect("has an incident")
        };
        let first = note("a", 1_000, true);
        assert_eq!(note("a", 1_100, false), first, "within two minutes");
        assert_ne!(note("b", 1_100, true), first, "another service");
        assert_eq!(note("a", 9_000, false), first, "one is still open");
        let other = note("b", 5_000, true);
        assert_ne!(note("b", 6_000, true), other, "long after");
    }
}
