use std::{path::PathBuf, sync::Arc};

use detect::{AlertState, Anomaly, AnomalyEvent, Decision, DetectorKind, Level, Pattern, Pin, Severity, UnixNanos};
use tempfile::TempDir;

use super::*;
use crate::testing::{Later, alert, anomaly, at, became_pending, ended, fired, level, opened, resolved, withdrawn};

pub(super) struct Fixture {
    directory: TempDir,
    pub(super) ledger: Ledger,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let ledger = Ledger::open(directory.path().join("ledger.db")).expect("opens");
        Self { directory, ledger }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("ledger.db")
    }

    pub(super) fn record(&mut self, decisions: &[Decision]) -> Recorded {
        self.ledger.record(decisions, &[receiver("ops")]).expect("records")
    }

    /// As after a crash: nothing is closed in order, but the process's lock is gone.
    pub(super) fn reopened(self) -> Self {
        let Self { directory, ledger } = self;
        let path = directory.path().join("ledger.db");
        drop(ledger);
        let ledger = Ledger::open(path).expect("opens again");
        Self { directory, ledger }
    }

    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        let page = Page { order: Order::Ascending, ..Page::default() };
        self.ledger.reader().deliveries(&DeliveryFilter::default(), page).expect("reads").items
    }

    fn seqs(&self, filter: &AnomalyFilter, page: Page) -> Vec<u64> {
        self.ledger.reader().anomalies(filter, page).expect("reads").items.iter().map(|a| a.seq).collect()
    }
}

pub(super) fn receiver(name: &str) -> Receiver {
    Receiver::webhook(name, "http://127.0.0.1:9/hook").expect("is valid")
}

fn open_error(path: impl AsRef<Path>) -> LedgerError {
    Ledger::open(path).expect_err("is refused")
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let file = directory.path().join("file");
    std::fs::write(&file, "text").expect("writes");
    let error = open_error(file.join("ledger.db"));
    assert!(matches!(&error, LedgerError::Unwritable { path, .. } if path.starts_with(&file)), "{error}");
    let error = open_error(directory.path());
    assert!(matches!(&error, LedgerError::Unwritable { .. }), "{error}");
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
}

#[test]
fn a_file_that_is_no_ledger_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let (text, foreign) = (directory.path().join("text.db"), directory.path().join("foreign.db"));
    std::fs::write(&text, "not a database, but long enough for a header. ".repeat(9)).expect("writes");
    rusqlite::Connection::open(&foreign).and_then(|c| c.execute_batch("CREATE TABLE t (x)")).expect("creates");
    for file in [text, foreign] {
        let before = std::fs::read(&file).expect("reads");
        assert!(matches!(open_error(&file), LedgerError::NotALedger { path, .. } if path == file));
        assert_eq!(std::fs::read(&file).expect("reads"), before);
    }
}

#[test]
fn a_second_process_is_refused_until_the_last_handle_is_gone() {
    let fixture = Fixture::new();
    let (reader, path) = (fixture.ledger.reader(), fixture.path());
    assert!(matches!(open_error(&path), LedgerError::InUse { .. }));
    drop(fixture.ledger);
    assert!(matches!(open_error(&path), LedgerError::InUse { .. }));
    drop(reader);
    Ledger::open(path).expect("is free now");
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let fixture = Fixture::new();
    let path = fixture.path();
    drop(fixture.ledger);
    let file = rusqlite::Connection::open(&path).expect("opens");
    file.pragma_update(None, "user_version", 99).expect("writes");
    let error = open_error(&path).to_string();
    assert!(error.contains("schema 99, this version knows schemas up to 9"), "{error}");
    let version: i64 = file.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("reads");
    assert_eq!(version, 99);
}

#[test]
fn every_commit_reaches_the_disk_through_a_write_ahead_log() {
    let fixture = Fixture::new();
    let pragma = |name: &str| {
        let read = |t: &Transaction<'_>| {
            Ok(t.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0))?)
        };
        fixture.ledger.store.write(read).expect("reads")
    };
    assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
    assert_eq!(pragma("synchronous"), 2.into());
    assert_eq!(pragma("foreign_keys"), 1.into());
}

#[test]
fn recording_again_changes_nothing_even_in_part_and_after_a_restart() {
    let mut fixture = Fixture::new();
    let decisions = [
        opened(anomaly(1)),
        became_pending("e1"),
        fired("e1"),
        level(None, Level::FullService, Level::CacheOnly, 5),
        ended(anomaly(1), at(9)),
        resolved("e1"),
    ];
    let first = fixture.record(&decisions);
    assert_eq!(first, Recorded { anomalies: 2, transitions: 3, levels: 1, notifications: 2 });
    let state = |f: &Fixture| {
        let reader = f.ledger.reader();
        let anomaly = reader.anomaly("a1").expect("reads");
        (anomaly, reader.alert("e1").expect("reads"), reader.levels().expect("reads"), f.deliveries())
    };
    let before = state(&fixture);
    let mut fixture = fixture.reopened();
    fixture.record(&decisions);
    for decision in &decisions {
        let again = fixture.record(std::slice::from_ref(decision));
        assert_eq!((again.transitions, again.levels, again.notifications), (0, 0, 0), "{decision:?}");
        assert_eq!(state(&fixture), before, "{decision:?}");
    }
}

#[test]
fn a_failed_transaction_leaves_nothing_behind() {
    let mut fixture = Fixture::new();
    let drop_outbox = |t: &Transaction<'_>| Ok(t.execute_batch("ALTER TABLE outbox RENAME TO away")?);
    fixture.ledger.store.write(drop_outbox).expect("renames");
    let result = fixture.ledger.record(&[opened(anomaly(1)), fired("e1")], &[receiver("ops")]);
    assert!(matches!(result, Err(LedgerError::Sqlite(_))), "{result:?}");
    let reader = fixture.ledger.reader();
    assert_eq!((reader.anomaly("a1").expect("reads"), reader.alert("e1").expect("reads")), (None, None));
}

#[test]
fn an_anomaly_comes_back_whole_with_its_first_seq() {
    let mut fixture = Fixture::new();
    let original = Anomaly { ends_at: Some(at(20)), points: 5, ..anomaly(7) };
    let renumbered = Anomaly { seq: 99, ..original.clone() };
    fixture.record(&[opened(anomaly(7)), Decision::Anomaly(AnomalyEvent::Ended(original.clone()))]);
    fixture.record(&[Decision::Anomaly(AnomalyEvent::Ended(renumbered))]);
    let fixture = fixture.reopened();
    let reader = fixture.ledger.reader();
    assert!(original.series_key.is_some());
    assert_eq!(reader.anomaly("a7").expect("reads"), Some(original));
    assert_eq!(reader.greatest_seq().expect("reads"), 7);
}

#[test]
fn numbers_that_json_does_not_have_do_not_break_a_page() {
    let mut fixture = Fixture::new();
    let odd = Anomaly { z: f64::INFINITY, score: f64::NAN, ..anomaly(2) };
    let mut odd_alert = alert("e1");
    odd_alert.value = f64::NEG_INFINITY;
    let pending = detect::AlertTransition { from: None, alert: odd_alert, at: at(40) };
    fixture.record(&[opened(anomaly(1)), opened(odd), opened(anomaly(3)), Decision::Alert(pending)]);
    assert_eq!(fixture.seqs(&AnomalyFilter::default(), Page::default()), [3, 2, 1]);
    let above = AnomalyFilter { min_score: Some(1.0), ..AnomalyFilter::default() };
    assert_eq!(fixture.seqs(&above, Page::default()), [3, 1]);
    let reader = fixture.ledger.reader();
    let read = reader.anomaly("a2").expect("reads").expect("is there");
    assert!(read.z.is_nan() && read.score.is_nan() && (read.observed - 9.0).abs() < 1e-12);
    assert!(reader.active_alerts().expect("reads")[0].value.is_nan());
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let mut fixture = Fixture::new();
    fixture.record(&[opened(anomaly(1))]);
    let damage = |t: &Transaction<'_>| Ok(t.execute("UPDATE anomaly_bodies SET body = '{\"id\": 3}'", [])?);
    fixture.ledger.store.write(damage).expect("writes");
    let error = fixture.ledger.reader().anomaly("a1").expect_err("cannot be read").to_string();
    assert!(error.starts_with("ledger: anomalies row \"a1\" cannot be read: "), "{error}");
}

/// 3,000 anomalies; each kind of property has its own rhythm, so that every filter selects differently.
fn many() -> Fixture {
    let mut fixture = Fixture::new();
    let decisions: Vec<Decision> = (1..=3000)
        .map(|seq| {
            let mut a = anomaly(seq);
            a.service = Arc::from(if seq % 3 == 0 { "pricing" } else { "shop" });
            a.metric = Arc::from(if seq % 5 == 0 { "errors" } else { "latency" });
            a.severity = if seq % 7 == 0 { Severity::Critical } else { Severity::Warning };
            a.detector = if seq % 11 == 0 { DetectorKind::Gap } else { DetectorKind::ZScore };
            a.pattern = if seq % 11 == 0 { Pattern::Gap } else { Pattern::Spike };
            a.score = f64::from(seq % 13);
            a.ends_at = (seq % 17 != 0).then(|| at(i64::from(seq) + 10));
            opened(a)
        })
        .collect();
    fixture.record(&decisions);
    fixture
}

fn check(fixture: &Fixture, filter: &AnomalyFilter, expected: impl Fn(u64) -> bool) {
    let expected: Vec<u64> = (1..=3000).filter(|seq| expected(*seq)).collect();
    for order in [Order::Ascending, Order::Descending] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = Page { after, order, limit: 97 };
            let listed = fixture.ledger.reader().anomalies(filter, page).expect("reads");
            assert!(listed.items.len() == 97 || listed.next.is_none());
            seen.extend(listed.items.iter().map(|a| a.seq));
            after = listed.next;
            if after.is_none() {
                break;
            }
        }
        if order == Order::Descending {
            seen.reverse();
        }
        assert_eq!(seen, expected, "{filter:?} {order:?}");
    }
}

#[test]
fn pages_in_both_orders_hold_each_anomaly_that_fits_once() {
    let fixture = many();
    let all = AnomalyFilter::default;
    check(&fixture, &all(), |_| true);
    check(&fixture, &AnomalyFilter { service: Some("pricing".into()), ..all() }, |s| s % 3 == 0);
    check(&fixture, &AnomalyFilter { metric: Some("errors".into()), ..all() }, |s| s % 5 == 0);
    check(&fixture, &AnomalyFilter { severity: Some(Severity::Critical), ..all() }, |s| s % 7 == 0);
    check(&fixture, &AnomalyFilter { detector: Some(DetectorKind::Gap), ..all() }, |s| s % 11 == 0);
    check(&fixture, &AnomalyFilter { pattern: Some(Pattern::Spike), ..all() }, |s| s % 11 != 0);
    check(&fixture, &AnomalyFilter { state: Some(AnomalyState::Active), ..all() }, |s| s % 17 == 0);
    check(&fixture, &AnomalyFilter { state: Some(AnomalyState::Ended), ..all() }, |s| s % 17 != 0);
    check(&fixture, &AnomalyFilter { min_score: Some(12.0), ..all() }, |s| s % 13 == 12);
    let span = AnomalyFilter { from: Some(at(1000)), to: Some(at(1200)), ..all() };
    check(&fixture, &span, |s| s <= 1200 && (s >= 990 || s % 17 == 0));
    let together = AnomalyFilter { service: Some("shop".into()), metric: Some("errors".into()), ..span };
    check(&fixture, &together, |s| s <= 1200 && (s >= 990 || s % 17 == 0) && s % 3 != 0 && s % 5 == 0);
    check(&fixture, &AnomalyFilter { service: Some("' OR 1=1 --".into()), ..all() }, |_| false);
    check(&fixture, &AnomalyFilter { min_score: Some(f64::NAN), ..all() }, |_| false);
}

#[test]
fn a_limit_out_of_range_is_refused() {
    let fixture = Fixture::new();
    for limit in [0, 1001, u32::MAX] {
        let page = Page { limit, ..Page::default() };
        let error = fixture.ledger.reader().anomalies(&AnomalyFilter::default(), page).expect_err("is refused");
        assert_eq!(error.to_string(), format!("limit: expected 1 to 1000, got {limit}"));
    }
}

#[test]
fn what_was_open_and_active_is_there_after_a_restart() {
    let mut fixture = Fixture::new();
    let stale = {
        let mut alert = alert("e3").firing(at(100));
        alert.state = AlertState::Stale;
        Decision::Alert(detect::AlertTransition { from: Some(AlertState::Firing), alert, at: at(150) })
    };
    fixture.record(&[opened(anomaly(1)), opened(anomaly(2)), ended(anomaly(1), at(5))]);
    fixture.record(&[
        became_pending("e1"),
        fired("e2"),
        fired("e3"),
        stale,
        fired("e4"),
        resolved("e4"),
        withdrawn("e5"),
    ]);
    let fixture = fixture.reopened();
    let reader = fixture.ledger.reader();
    let active = reader.active_alerts().expect("reads");
    let states: Vec<_> = active.iter().map(|a| (a.episode.as_str(), a.state)).collect();
    assert_eq!(states, [("e1", AlertState::Pending), ("e2", AlertState::Firing), ("e3", AlertState::Stale)]);
    assert_eq!(active[1], alert("e2").firing(at(100)));
    assert_eq!(reader.open_anomalies().expect("reads"), [anomaly(2)]);
    assert_eq!(reader.greatest_seq().expect("reads"), 2);
}

#[test]
fn alerts_are_listed_by_state_and_labels_without_those_that_never_fired() {
    let mut fixture = Fixture::new();
    fixture.record(&[became_pending("e1"), fired("e2"), fired("e3"), resolved("e3"), withdrawn("e4")]);
    let reader = fixture.ledger.reader();
    let list = |filter: AlertFilter| {
        let page = Page { order: Order::Ascending, ..Page::default() };
        let listed = reader.alerts(&filter, page).expect("reads");
        listed.items.into_iter().map(|a| a.episode).collect::<Vec<_>>()
    };
    let all = AlertFilter::default;
    assert_eq!(list(all()), ["e1", "e2", "e3"]);
    assert_eq!(list(AlertFilter { active: Some(true), ..all() }), ["e1", "e2"]);
    assert_eq!(list(AlertFilter { active: Some(false), ..all() }), ["e3"]);
    assert_eq!(list(AlertFilter { state: Some(AlertState::Firing), ..all() }), ["e2"]);
    assert_eq!(list(AlertFilter { service: Some("shop".into()), ..all() }).len(), 3);
    assert_eq!(list(AlertFilter { name: Some("Other".into()), ..all() }).len(), 0);
    assert_eq!(list(AlertFilter { severity: Some(Severity::Critical), ..all() }).len(), 3);
    assert_eq!(list(AlertFilter { fingerprint: Some("00000000000000e2".into()), ..all() }), ["e2"]);
    let steps = reader.transitions("e3").expect("reads");
    let said: Vec<_> = steps.iter().map(|s| (s.from, s.to, s.at)).collect();
    let (pending, firing) = (Some(AlertState::Pending), Some(AlertState::Firing));
    assert_eq!(said, [(pending, AlertState::Firing, at(100)), (firing, AlertState::Resolved, at(200))]);
}

#[test]
fn only_announced_transitions_are_sent_and_resolved_only_to_those_who_ask() {
    let mut fixture = Fixture::new();
    let receivers = [receiver("ops"), receiver("pager").with_send_resolved(false)];
    let decisions = [became_pending("e1"), fired("e1"), resolved("e1"), became_pending("e2"), withdrawn("e2")];
    let recorded = fixture.ledger.record(&decisions, &receivers).expect("records");
    assert_eq!(recorded.notifications, 3);
    let deliveries = fixture.deliveries();
    let told: Vec<_> = deliveries.iter().map(|d| (d.receiver.as_str(), d.announced.as_str())).collect();
    assert_eq!(told, [("ops", "firing"), ("pager", "firing"), ("ops", "resolved")]);
    assert!(deliveries.iter().all(|d| d.state == DeliveryState::Pending && d.attempts == 0));
}

#[test]
fn the_bell_rings_for_notifications_and_for_nothing_else() {
    let mut fixture = Fixture::new();
    let bell = fixture.ledger.outbox().bell();
    fixture.record(&[opened(anomaly(1)), became_pending("e1")]);
    assert!(!bell.has_changed().expect("the ledger is open"));
    fixture.record(&[fired("e1")]);
    assert!(bell.has_changed().expect("the ledger is open"));
}

#[test]
fn a_notification_quotes_anomalies_recorded_before_or_with_it() {
    let mut fixture = Fixture::new();
    fixture.record(&[opened(anomaly(1))]);
    let mut firing = alert("e1").firing(at(100));
    firing.anomalies = vec!["a1".into(), "a2".into(), "unknown".into()];
    let fired =
        Decision::Alert(detect::AlertTransition { from: Some(AlertState::Pending), alert: firing, at: at(100) });
    fixture.record(&[fired, opened(anomaly(2))]);
    let id = &fixture.deliveries()[0].id;
    let payload = fixture.ledger.reader().payload(id).expect("reads").expect("is there");
    let payload: serde_json::Value = serde_json::from_str(&payload).expect("is JSON");
    let expected = serde_json::json!([
        {"id": "a1", "explanation": "latency left its band (1)"},
        {"id": "a2", "explanation": "latency left its band (2)"},
        {"id": "unknown"},
    ]);
    assert_eq!(payload["alerts"][0]["bellwether"]["anomalies"], expected);
}

#[test]
fn two_tenants_never_share_a_notification() {
    let ids = [None, Some("acme"), Some("shop")].map(|tenant| {
        let mut fixture = Fixture::new();
        if let Some(tenant) = tenant {
            fixture.ledger = fixture.ledger.with_tenant(tenant);
        }
        fixture.record(&[fired("e1")]);
        fixture.deliveries()[0].id.clone()
    });
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[2] != ids[0], "{ids:?}");
}

#[test]
fn nothing_is_known_of_nobody() {
    let nothing = Reader::of_nothing().expect("there is memory");
    assert!(nothing.active_alerts().expect("reads").is_empty());
    assert_eq!(nothing.delivery_count(DeliveryState::Pending).expect("reads"), 0);
    assert_eq!(nothing.alert("e1").expect("reads"), None);
}

#[test]
fn levels_have_a_present_and_a_past_by_scope() {
    let mut fixture = Fixture::new();
    fixture.record(&[
        level(None, Level::FullService, Level::NonCriticalOff, 10),
        level(Some("all"), Level::FullService, Level::ReadOnly, 20),
        level(None, Level::NonCriticalOff, Level::CacheOnly, 30),
    ]);
    let reader = fixture.ledger.reader();
    let now: Vec<_> = reader.levels().expect("reads").into_iter().map(|c| (c.service, c.to)).collect();
    assert_eq!(now, [(None, Level::CacheOnly), (Some(Arc::from("all")), Level::ReadOnly)]);
    let times = |filter: LevelFilter| {
        let changes = reader.level_history(&filter, Page::default()).expect("reads").items;
        changes.iter().map(|c| c.at).collect::<Vec<_>>()
    };
    assert_eq!(times(LevelFilter::default()), [at(30), at(20), at(10)]);
    assert_eq!(times(LevelFilter { service: Some(None), ..LevelFilter::default() }), [at(30), at(10)]);
    let window = LevelFilter { from: Some(at(15)), to: Some(at(25)), ..LevelFilter::default() };
    assert_eq!(times(window), [at(20)]);
}

fn pin(service: Option<&str>, level: Level) -> ServicePin {
    let pin = Pin { level, author: "ann".into(), reason: "drill".into(), expires_at: at(500) };
    ServicePin { service: service.map(str::to_owned), created_at: at(100), pin }
}

#[test]
fn a_pin_is_set_replaced_listed_and_cleared_per_scope() {
    let fixture = Fixture::new();
    let operator = fixture.ledger.operator();
    for wanted in [pin(None, Level::CacheOnly), pin(Some("shop"), Level::ReadOnly), pin(None, Level::ReadOnly)] {
        operator.set_pin(&wanted).expect("is allowed");
    }
    drop(operator);
    let fixture = fixture.reopened();
    let (reader, operator) = (fixture.ledger.reader(), fixture.ledger.operator());
    // What replaces another is later, whatever its clock said.
    let second = ServicePin { created_at: UnixNanos(at(100).0 + 1), ..pin(None, Level::ReadOnly) };
    assert_eq!(reader.pins().expect("reads"), [second, pin(Some("shop"), Level::ReadOnly)]);
    assert!(operator.clear_pin(None).expect("writes"));
    assert!(!operator.clear_pin(None).expect("writes"));
    assert_eq!(reader.pins().expect("reads"), [pin(Some("shop"), Level::ReadOnly)]);
}

#[test]
fn a_pin_out_of_bounds_is_refused_by_field() {
    let operator = Fixture::new().ledger.operator();
    let refusal = |change: fn(&mut ServicePin)| {
        let mut wanted = pin(None, Level::CacheOnly);
        change(&mut wanted);
        operator.set_pin(&wanted).expect_err("is refused").to_string()
    };
    assert_eq!(refusal(|p| p.pin.author.clear()), "author: expected 1 to 200 bytes, got 0 bytes");
    assert_eq!(refusal(|p| p.pin.reason = "x".repeat(2001)), "reason: expected at most 2000 bytes, got 2001 bytes");
    assert_eq!(refusal(|p| p.service = Some(String::new())), "service: expected 1 to 1000 bytes, got 0 bytes");
    assert!(refusal(|p| p.pin.expires_at = p.created_at).starts_with("expiresAt: expected a time after createdAt"));
}

#[test]
fn pruning_deletes_what_is_over_and_nothing_else() {
    let mut fixture = Fixture::new();
    fixture.record(&[opened(anomaly(1)), ended(anomaly(1), at(5)), opened(anomaly(2)), opened(anomaly(3))]);
    fixture.record(&[ended(anomaly(3), at(5000))]);
    fixture.record(&[fired("e1"), resolved("e1"), fired("e2"), level(None, Level::FullService, Level::CacheOnly, 5)]);
    let outbox = fixture.ledger.outbox();
    let first = fixture.deliveries()[0].id.clone();
    let verdict = Verdict::Delivered { status: Some(200) };
    outbox.settle(&[endpoints::tests::settlement(&first, verdict, at(150))]).expect("writes");
    let pruned = fixture.ledger.prune(at(1000)).expect("prunes");
    assert_eq!(pruned, Pruned { anomalies: 1, alerts: 1, deliveries: 1, levels: 1, more: false });
    assert_eq!(fixture.seqs(&AnomalyFilter::default(), Page::default()), [3, 2]);
    let reader = fixture.ledger.reader();
    assert_eq!(reader.active_alerts().expect("reads").len(), 1);
    assert_eq!(reader.alert("e1").expect("reads"), None);
    assert_eq!(reader.transitions("e1").expect("reads"), []);
    assert_eq!(reader.levels().expect("reads").len(), 1);
    assert_eq!(fixture.deliveries().len(), 2);
    let bodies =
        |t: &Transaction<'_>| Ok(t.query_row("SELECT count(*) FROM anomaly_bodies", [], |r| r.get::<_, i64>(0))?);
    assert_eq!(fixture.ledger.store.write(bodies).expect("reads"), 2);
}

#[test]
fn pruning_works_in_bounded_steps() {
    let mut fixture = many();
    let mut deleted = Vec::new();
    loop {
        let pruned = fixture.ledger.prune(UnixNanos(i64::MAX)).expect("prunes");
        deleted.push(pruned.anomalies);
        if !pruned.more {
            break;
        }
    }
    assert_eq!(deleted, [1000, 1000, 824]);
}

#[tokio::test]
async fn readers_answer_beside_the_writer() {
    let mut fixture = Fixture::new();
    fixture.record(&[opened(anomaly(1))]);
    let reader = fixture.ledger.reader();
    let inside = fixture.ledger.store.write(|transaction| {
        anomalies::save(transaction, &anomaly(2))?;
        reader.greatest_seq()
    });
    assert_eq!(inside.expect("reads"), 1);
    assert_eq!(fixture.ledger.reader().ask(Reader::greatest_seq).await.expect("reads"), 2);
}
