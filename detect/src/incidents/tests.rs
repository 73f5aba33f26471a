use window::SeriesKey;

use super::*;
use crate::{
    DetectorKind,
    testing::{Feed, series},
};

/// An anomaly of `service`, on `host` if that is no empty text, that opens at `second`.
fn opened(service: &str, host: &str, second: i64) -> AnomalyEvent {
    let series = series("m", "", &[("job", service), ("host_name", host)]);
    let at = UnixNanos(second * 1_000_000_000);
    let mut anomaly = Anomaly::of(DetectorKind::ZScore, SeriesKey(1), &series, at);
    anomaly.id = format!("{service}-{second}");
    AnomalyEvent::Opened(anomaly)
}

/// The same, ten seconds later.
fn ended(event: &AnomalyEvent) -> AnomalyEvent {
    let mut anomaly = event.anomaly().clone();
    anomaly.ends_at = Some(anomaly.starts_at.plus(Duration::from_secs(10)));
    AnomalyEvent::Ended(anomaly)
}

/// What was noted.
#[derive(Default)]
struct Noted {
    incidents: Incidents,
    graph: CallGraph,
}

impl Noted {
    fn calls(calls: &[(&str, &str)]) -> Self {
        let mut feed = Feed::default();
        calls.iter().for_each(|(caller, callee)| feed.call(caller, callee, 1));
        let mut graph = CallGraph::default();
        graph.look(&feed.snapshot(), UnixNanos(10_000_000_000));
        Self { incidents: Incidents::default(), graph }
    }

    fn open(&mut self, service: &str, host: &str, second: i64) -> Anomaly {
        let mut event = opened(service, host, second);
        self.incidents.note(&mut event, &self.graph);
        event.anomaly().clone()
    }

    fn pass(&mut self, service: &str, second: i64) -> String {
        let anomaly = self.open(service, "", second);
        self.incidents.note(&mut ended(&AnomalyEvent::Opened(anomaly.clone())), &self.graph);
        anomaly.incident_id.expect("has an incident")
    }
}

#[test]
fn anomalies_of_one_service_join_while_close_in_time() {
    let mut noted = Noted::default();
    let first = noted.pass("a", 1_000);
    assert_eq!(noted.open("a", "", 1_100).incident_id.as_ref(), Some(&first), "within two minutes");
    assert_ne!(noted.pass("b", 1_100), first, "another service");
    assert_eq!(noted.pass("a", 4_000), first, "one is still open");
    assert_ne!(noted.pass("a", 9_000), first, "it is, but all the others were long ago");
    let other = noted.pass("b", 5_000);
    assert_ne!(noted.pass("b", 6_000), other, "long after");
}

#[test]
fn callers_join_the_incident_of_what_they_call_and_the_origin_is_the_deepest() {
    let mut noted = Noted::calls(&[("shop", "quotes"), ("quotes", "db"), ("elsewhere", "mail")]);
    let id = |a: &Anomaly| a.incident_id.clone().expect("has an incident");
    let quotes = noted.open("quotes", "", 1_000);
    assert_eq!(quotes.origin.as_ref().map(|o| &*o.service), Some("quotes"));
    let shop = noted.open("shop", "", 1_010);
    let mail = noted.open("mail", "", 1_015);
    let db = noted.open("db", "", 1_020);
    assert_eq!((id(&shop), id(&db)), (id(&quotes), id(&quotes)));
    assert_ne!(id(&mail), id(&quotes), "nobody in trouble calls it");
    let origin = db.origin.expect("is known");
    assert_eq!(
        (&*origin.service, origin.anomaly_id.as_str()),
        ("db", "db-1020"),
        "said last, but called by the others"
    );
    assert_eq!(origin.because, "it calls no other service in trouble, and is called by quotes");
    assert_eq!(shop.origin.map(|o| o.service), Some("quotes".into()), "as far as was known then");
}

#[test]
fn services_on_one_host_belong_together() {
    let mut noted = Noted::default();
    let first = noted.open("a", "host-1", 1_000);
    let second = noted.open("b", "host-1", 1_030);
    let third = noted.open("c", "host-2", 1_030);
    assert_eq!(first.incident_id, second.incident_id);
    assert_ne!(first.incident_id, third.incident_id);
    let origin = second.origin.expect("is known");
    assert_eq!(
        (&*origin.service, origin.because.as_str()),
        ("a", "it was the first in trouble, and calls no other that is")
    );
}

#[test]
fn a_circle_of_calls_begins_with_the_first() {
    let mut noted = Noted::calls(&[("a", "b"), ("b", "a")]);
    noted.open("b", "", 1_000);
    assert_eq!(noted.open("a", "", 1_001).origin.map(|o| o.service), Some("b".into()));
}

#[test]
fn what_was_open_at_the_end_of_the_process_goes_on() {
    let mut before = Noted::default();
    let anomaly = before.open("a", "", 1_000);
    let mut after = Noted::default();
    after.incidents.restore(&anomaly);
    assert_eq!(after.open("a", "", 1_500).incident_id, anomaly.incident_id);
    after.incidents.forget(UnixNanos(9_000_000_000_000));
    assert_eq!(after.incidents.0.len(), 1, "two are open");
}
