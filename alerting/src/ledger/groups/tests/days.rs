//! Days of groups in virtual time: ten thousand alerts in one of them, and alerts that come and go all day.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// What the receiver was told at once.
struct Telling {
    /// Since the beginning.
    at: Duration,
    messages: usize,
    /// Episodes and their states, as often as they are told of.
    alerts: Vec<(String, String)>,
}

/// A group's life by a clock of its own, which goes on to whatever is due next.
struct Day {
    fixture: Fixture,
    began: UnixNanos,
    seen: i64,
    tellings: Vec<Telling>,
}

impl Day {
    fn new(routing: Routing) -> Self {
        // Past midnight of a day like any other.
        let began = at(1_767_322_800);
        clock::set(began);
        Self { fixture: Fixture::new(routing), began, seen: 0, tellings: Vec::new() }
    }

    fn record(&mut self, after: Duration, alerts: &[Alert]) {
        clock::set(self.began.plus(after));
        self.fixture.record(&alerts.iter().collect::<Vec<_>>());
        self.read(after);
    }

    /// Flushes whenever it is due, and does what is to be done `until` then.
    fn go_on(&mut self, until: Duration) {
        let dispatcher = self.fixture.dispatcher();
        loop {
            let next = dispatcher.flush().expect("flushes");
            let now = clock::now();
            self.read(now.since(self.began));
            match next {
                // What may not be told yet is due all the time; the dispatcher looks again at the latest so much later.
                Some(next) if next < self.began.plus(until) => clock::set(next.max(now.plus(Duration::from_secs(1)))),
                _ => return clock::set(self.began.plus(until)),
            }
        }
    }

    /// Takes up what was told since.
    fn read(&mut self, at: Duration) {
        let reader = self.fixture.ledger.reader();
        let sql = "SELECT payload FROM outbox ORDER BY row LIMIT -1 OFFSET ?";
        let payloads: Vec<String> = reader
            .store
            .read(|connection| {
                let mut statement = connection.prepare_cached(sql)?;
                Ok(statement.query_map([self.seen], |row| row.get(0))?.collect::<Result<_, _>>()?)
            })
            .expect("reads");
        if payloads.is_empty() {
            return;
        }
        self.seen += i64::try_from(payloads.len()).expect("is small");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut alerts = Vec::new();
        for payload in &payloads {
            let message: Value = serde_json::from_str(payload).expect("is JSON");
            let told = message["alerts"].as_array().cloned().unwrap_or_default();
            alerts.extend(told.iter().map(|a| (text(&a["bellwether"]["episode"]), text(&a["status"]))));
        }
        self.tellings.push(Telling { at, messages: payloads.len(), alerts });
    }
}

/// As in a configuration that says nothing of it.
fn one_group() -> Route {
    Route {
        group_by: GroupBy::Labels(vec!["alertname".into()]),
        group_wait: Duration::from_secs(30),
        group_interval: 5 * MINUTE,
        repeat_interval: Some(4 * HOUR),
        ..Route::to(Some("ops".into()))
    }
}

// B5
#[test]
fn ten_thousand_alerts_of_a_group_are_told_once_an_interval_and_again_after_four_hours() {
    const ALERTS: usize = 10_000;
    let mut day = Day::new(tree(one_group()));
    let alerts = |from: usize, count: usize| -> Vec<Alert> {
        (from..from + count).map(|i| firing(&format!("e{i}"), &[("instance", &format!("i{i}"))])).collect()
    };
    // In a second, in ten parts, as evaluations bring them.
    for part in 0..10 {
        day.record(Duration::from_millis(100 * part), &alerts(usize::try_from(part).expect("is small") * 1_000, 1_000));
    }
    day.go_on(HOUR);
    // Another five thousand, from one minute to the next.
    day.record(HOUR, &alerts(ALERTS, 2_500));
    day.record(HOUR + MINUTE, &alerts(ALERTS + 2_500, 2_500));
    day.go_on(13 * HOUR);
    let seconds: Vec<u64> = day.tellings.iter().map(|telling| telling.at.as_secs()).collect();
    assert!((30..=31).contains(&seconds[0]), "{seconds:?}");
    let episodes =
        |telling: &Telling| telling.alerts.iter().map(|(episode, _)| episode.clone()).collect::<BTreeSet<_>>();
    for (i, telling) in day.tellings.iter().enumerate() {
        let all = episodes(telling);
        assert_eq!(all.len(), telling.alerts.len(), "no alert is told twice at once");
        assert_eq!(telling.messages, 1, "of all {} alerts", all.len());
        assert!(i == 0 || telling.at - day.tellings[i - 1].at >= 5 * MINUTE, "{seconds:?}");
    }
    // What came with it, what came an hour later in one or two intervals, and from then on the whole group each 4 h.
    let changes = day.tellings.iter().position(|telling| telling.alerts.len() == ALERTS + 5_000).expect("all are told");
    assert!((2..=3).contains(&changes) || changes == 1, "{seconds:?}");
    assert_eq!(day.tellings[0].alerts.len(), ALERTS);
    let repeats = &day.tellings[changes..];
    assert_eq!(repeats.len(), 1 + 2, "in twelve hours after {} s: {seconds:?}", seconds[changes]);
    for pair in repeats.windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart.abs_diff(4 * HOUR) <= 5 * MINUTE, "{apart:?}");
        assert_eq!(episodes(&pair[1]), episodes(&pair[0]));
    }
}

// B12
#[test]
fn an_alert_that_comes_and_goes_all_day_is_told_no_more_often_than_was_configured() {
    let damping = Damping::default();
    let window = damping.window;
    let is_full = std::env::var("BELLWETHER_CONFORMANCE").is_ok_and(|size| size == "full");
    // Half a wave as long as a part of the window in which changes are counted, and up to ten times that.
    for half in [window / 40, window / 20, window / 10, window / 5, window / 2, window, 3 * window, 10 * window] {
        // A shorter wait than any wave: what is over while its group waits is not told at all.
        let root = Route { group_wait: Duration::from_secs(5), repeat_interval: None, ..one_group() };
        let mut day = Day::new(tree(root).damped(Some(damping)));
        // Of a day of short waves an hour or two are enough to see what comes of them.
        let whole = if is_full || half >= window / 2 { 24 * HOUR } else { 2 * HOUR };
        let (mut after, mut waves) = (Duration::ZERO, 0);
        while after + 2 * half <= whole {
            let mut alert = firing(&format!("e{waves}"), &[]).firing(day.began.plus(after));
            alert.fingerprint = "00000000000000ff".into();
            day.record(after, &[alert.clone()]);
            day.go_on(after + half);
            day.record(after + half, &[alert.resolved(day.began.plus(after + half))]);
            after += 2 * half;
            waves += 1;
            day.go_on(after);
        }
        day.go_on(whole + 2 * HOUR);
        let told = day.tellings.len();
        let flaps =
            usize::try_from(window.as_millis() / half.as_millis()).expect("is small") > damping.changes as usize;
        // Of one that flaps what was told before it was found out, that it does, and how it ended.
        let ceiling = if flaps { damping.changes as usize + 3 } else { 2 * waves };
        assert!(told <= ceiling && told >= 2, "{half:?}: {waves} waves were told in {told} messages");
        // No more than one an interval, unless all was over: what begins then is a group of its own.
        for pair in day.tellings.windows(2) {
            let is_over = pair[0].alerts.iter().all(|(_, status)| status == "resolved");
            let apart = pair[1].at - pair[0].at;
            assert!(is_over || apart >= 5 * MINUTE, "{half:?}: {apart:?}");
        }
        let mut letters: Vec<&str> =
            day.tellings.iter().flat_map(|t| t.alerts.iter().map(|(_, s)| s.as_str())).collect();
        letters.dedup();
        let expected = ["firing", "resolved"].into_iter().cycle().take(letters.len()).collect::<Vec<_>>();
        assert_eq!(letters, expected, "{half:?}");
        assert_eq!(letters.last(), Some(&"resolved"), "{half:?}");
        // Never the end of something that was not begun.
        let mut begun = BTreeMap::<&str, bool>::new();
        for (episode, status) in day.tellings.iter().flat_map(|telling| &telling.alerts) {
            if status == "firing" {
                begun.insert(episode, true);
            } else {
                assert!(begun.contains_key(episode.as_str()), "{half:?}: {episode} ended");
            }
        }
    }
}
