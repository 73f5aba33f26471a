use super::*;

fn secs(s: i64) -> UnixNanos {
    UnixNanos(s * 1_000_000_000)
}

fn condition(job: &str) -> Condition {
    Condition {
        labels: Labels::from_pairs([("alertname", "A"), ("job", job)]),
        annotations: Labels::default(),
        value: 1.0,
        since: None,
        anomalies: Vec::new(),
        argued_level: Level::NonCriticalOff,
    }
}

/// One letter a step of 10 s: `+` holds, `-` has data and does not hold, `?` has no data.
/// The answer: transitions as (second, state), announced ones in capitals.
fn check(hold: u64, keep: u64, steps: &str, expected: &[(i64, &str)]) {
    let owner = Owner {
        name: "r".into(),
        source: "expr".into(),
        hold: Duration::from_secs(hold),
        keep_firing: Duration::from_secs(keep),
    };
    let mut book = Book::default();
    let mut got = Vec::new();
    for (i, step) in steps.chars().enumerate() {
        let at = i64::try_from(i).expect("short") * 10;
        let conditions = if step == '+' { vec![condition("a")] } else { Vec::new() };
        let absence = if step == '?' { Absence::NoData } else { Absence::NotMet };
        for t in book.evaluate(&owner, secs(at), conditions, |_| absence, &mut |_| {}) {
            let word = t.alert.state.as_str();
            got.push((at, if t.is_announced() { word.to_uppercase() } else { word.to_owned() }));
        }
    }
    let got: Vec<(i64, &str)> = got.iter().map(|(t, w)| (*t, w.as_str())).collect();
    assert_eq!(got, expected, "{steps}");
}

#[test]
fn without_for_an_alert_fires_at_once() {
    check(0, 0, "-++-", &[(10, "FIRING"), (30, "RESOLVED")]);
}

#[test]
fn for_holds_back_what_does_not_last() {
    check(20, 0, "+-+++-", &[(0, "pending"), (10, "resolved"), (20, "pending"), (40, "FIRING"), (50, "RESOLVED")]);
}

#[test]
fn keep_firing_for_bridges_gaps() {
    check(0, 20, "+-+--", &[(0, "FIRING"), (40, "RESOLVED")]);
}

#[test]
fn silence_makes_stale_and_never_resolves() {
    check(0, 0, "+????", &[(0, "FIRING"), (10, "stale")]);
    check(0, 0, "+??+-", &[(0, "FIRING"), (10, "stale"), (30, "firing"), (40, "RESOLVED")]);
    check(0, 0, "+?-", &[(0, "FIRING"), (10, "stale"), (20, "RESOLVED")]);
}

#[test]
fn silence_while_pending_is_no_evidence() {
    check(30, 0, "+?+", &[(0, "pending"), (10, "resolved"), (20, "pending")]);
}

#[test]
fn stale_goes_back_to_firing_while_it_is_kept() {
    check(0, 40, "+?---", &[(0, "FIRING"), (10, "stale"), (20, "firing"), (40, "RESOLVED")]);
}

#[test]
fn owners_do_not_meet_and_a_removed_rule_resolves() {
    let owner = |name: &str| Owner {
        name: name.into(),
        source: String::new(),
        hold: Duration::ZERO,
        keep_firing: Duration::ZERO,
    };
    let mut book = Book::default();
    book.evaluate(&owner("a"), secs(0), vec![condition("x")], |_| Absence::NotMet, &mut |_| {});
    assert!(book.evaluate(&owner("b"), secs(1), Vec::new(), |_| Absence::NotMet, &mut |_| {}).is_empty());
    assert!(book.has("a") && !book.has("b"));
    let ended = book.retain_owners(secs(2), |name| name != "a");
    assert!(ended[0].is_announced());
    assert_eq!(book.active().count(), 0);
}

#[test]
fn an_alert_that_was_restored_goes_on_where_it_was() {
    let owner = Owner { name: "r".into(), source: String::new(), hold: Duration::ZERO, keep_firing: Duration::ZERO };
    let mut first = Book::default();
    let fired = first.evaluate(&owner, secs(0), vec![condition("x")], |_| Absence::NotMet, &mut |_| {});
    let mut second = Book::default();
    second.restore("r", fired[0].alert.clone());
    assert!(second.evaluate(&owner, secs(9), vec![condition("x")], |_| Absence::NotMet, &mut |_| {}).is_empty());
    let ended = second.evaluate(&owner, secs(10), Vec::new(), |_| Absence::NotMet, &mut |_| {});
    assert_eq!(ended[0].alert.episode, fired[0].alert.episode);
}
