use std::collections::BTreeMap;

use super::*;
use crate::{
    Ledger, Receiver,
    testing::{at, room},
};

fn due(attempts: u32) -> Due {
    Due { id: "m".into(), episode: "e".into(), payload: "{}".into(), attempts, since: at(0), created: at(0) }
}

fn judged(attempts: u32, reaction: Reaction) -> Verdict {
    verdict(&DeliveryConfig::default(), &due(attempts), reaction, at(1000), 0.5)
}

fn failed(after: Option<Duration>) -> Reaction {
    Reaction::Failed { status: Some(503), error: "busy".into(), after, kind: Failure::Broken }
}

fn retried(seconds: i64, extra_nanos: i64) -> Verdict {
    let at = UnixNanos(at(seconds).0 + extra_nanos);
    Verdict::Retry { status: Some(503), error: "busy".into(), at }
}

#[test]
fn a_failure_waits_a_share_of_the_ceiling_of_its_attempt() {
    assert_eq!(judged(0, failed(None)), retried(1000, 500_000_000));
    assert_eq!(judged(4, failed(None)), retried(1008, 0));
}

/// Attempts of one notification in virtual time, the receiver being down for `outage`; when it was taken, or
/// `None` when it was given up.
fn taken_after(outage: Duration, fractions: &mut impl FnMut() -> f64) -> Option<(Duration, u32)> {
    let (config, mut now, mut attempts) = (DeliveryConfig::default(), at(0), 0);
    loop {
        let is_up = now.since(at(0)) >= outage;
        let reaction = if is_up { Reaction::Taken { status: Some(200) } } else { failed(None) };
        match verdict(&config, &due(attempts), reaction, now, fractions()) {
            Verdict::Delivered { .. } | Verdict::Told { .. } => return Some((now.since(at(0)), attempts)),
            Verdict::GiveUp { .. } => return None,
            Verdict::Retry { at, .. } => (now, attempts) = (at, attempts + 1),
        }
    }
}

#[test]
fn an_outage_of_days_is_outlasted_and_the_first_attempt_after_it_delivers() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut fractions = || random.f64();
    for hours in [0.02, 1.0, 24.0, 74.5] {
        let outage = Duration::from_secs_f64(hours * 3600.0);
        let (taken, _) = taken_after(outage, &mut fractions).expect("is not given up");
        assert!(taken >= outage && taken <= outage + Duration::from_mins(5), "{hours} h: {taken:?}");
    }
    assert_eq!(taken_after(Duration::from_hours(76), &mut fractions), None);
    let (_, attempts) = taken_after(Duration::from_hours(24), &mut || 1.0).expect("is not given up");
    assert!(attempts < 300, "{attempts}");
}

#[test]
fn retry_after_is_obeyed_between_the_first_wait_and_the_longest() {
    assert_eq!(judged(0, failed(Some(Duration::from_secs(120)))), retried(1120, 0));
    assert_eq!(judged(9, failed(Some(Duration::ZERO))), retried(1001, 0));
    assert_eq!(judged(0, failed(Some(Duration::from_secs(u64::MAX)))), retried(4600, 0));
}

#[test]
fn a_notification_is_given_up_at_its_age_or_when_the_receiver_is_gone() {
    let config = DeliveryConfig { give_up_after: Duration::from_secs(1000), ..DeliveryConfig::default() };
    let verdict = verdict(&config, &due(6), failed(None), at(1000), 0.5);
    let error = "given up after 7 attempts: busy".to_owned();
    assert_eq!(verdict, Verdict::GiveUp { status: Some(503), error });
    let gone = Reaction::Gone { status: 410, error: "gone".into() };
    assert_eq!(judged(0, gone), Verdict::GiveUp { status: Some(410), error: "gone".into() });
}

/// How an endpoint that is down fails, in turn: with the reaction, after so long.
fn failures() -> Vec<(Reaction, Duration)> {
    let of = |status: Option<u16>, after: Option<u64>, kind| Reaction::Failed {
        status,
        error: "down".into(),
        after: after.map(Duration::from_secs),
        kind,
    };
    let quick = |reaction| (reaction, Duration::from_millis(20));
    vec![
        quick(of(Some(408), None, Failure::Broken)),
        quick(of(Some(429), Some(90), Failure::TooMuch)),
        quick(of(Some(500), None, Failure::Broken)),
        (of(None, None, Failure::Late), Duration::from_secs(15)),
        quick(of(None, None, Failure::Broken)),
        quick(of(Some(429), None, Failure::TooMuch)),
        quick(of(Some(503), Some(7_200), Failure::Broken)),
        quick(of(Some(307), None, Failure::Broken)),
    ]
}

/// An endpoint in virtual time, behind the real outbox: one attempt after the other, as the worker makes them.
struct Simulation {
    _directory: tempfile::TempDir,
    outbox: Outbox,
    endpoint: Arc<Endpoint>,
    config: DeliveryConfig,
    gate: Gate,
    start: (UnixNanos, Instant),
    now: Duration,
    attempts: Vec<(Duration, String, Reaction)>,
}

impl Simulation {
    /// With so many notifications, of a minute each.
    fn new(notifications: u32) -> Self {
        let start = at(1_767_322_800);
        clock::set(start);
        let directory = tempfile::tempdir().expect("a directory for the test");
        let receivers = [Receiver::webhook("ops", "http://h/").expect("is one")];
        let mut ledger = Ledger::open(directory.path().join("ledger.db")).expect("opens");
        for i in 0..notifications {
            clock::set(start.plus(Duration::from_mins(u64::from(i))));
            ledger.record(&[crate::testing::fired(&format!("e{i}"))], &receivers).expect("records");
        }
        let config = DeliveryConfig::default();
        let gate = Gate::new(config.backoff, Duration::from_secs(15), Vec::new());
        let endpoint = Arc::new(Endpoint { receiver: "ops".into(), integration: "webhook/0".into() });
        let (outbox, start) = (ledger.outbox(), (start, Instant::now()));
        outbox.begin(&endpoint, "place", start.0, start.0).expect("writes");
        let (now, attempts) = (Duration::ZERO, Vec::new());
        Self { _directory: directory, outbox, endpoint, config, gate, start, now, attempts }
    }

    /// Until nothing is pending; `answer` is how the endpoint reacts to an attempt at a time, and how long it takes.
    fn run(&mut self, mut answer: impl FnMut(Duration) -> (Reaction, Duration)) {
        loop {
            let (wall, instant) = (self.start.0.plus(self.now), self.start.1 + self.now);
            if let Err(wait) = self.gate.room(instant, 1, 0) {
                self.now += wait;
                continue;
            }
            let longest = self.config.longest_retry_after;
            let taken = self.outbox.take(&self.endpoint, &[], room(1), wall, longest).expect("reads");
            let Some(due) = taken.due.into_iter().next() else {
                let Some(wait) = taken.wait else { return };
                self.now += wait.max(Duration::from_millis(1));
                continue;
            };
            let (reaction, took) = answer(self.now);
            self.attempts.push((self.now, due.id.clone(), reaction.clone()));
            self.now += took;
            let (wall, after) = (self.start.0.plus(self.now), self.start.1 + self.now);
            let learned = learn(&mut self.gate, &self.config, &reaction, (instant, after), due.attempts);
            let (disables, is_failure) =
                (matches!(reaction, Reaction::Gone { .. }), matches!(reaction, Reaction::Failed { .. }));
            let verdict = verdict(&self.config, &due, reaction, wall, fastrand::f64());
            let gives_up = is_failure && matches!(verdict, Verdict::GiveUp { .. });
            let settlement = Settlement {
                id: due.id,
                endpoint: Arc::clone(&self.endpoint),
                stand_in: None,
                verdict,
                at: wall,
                disables,
                releases: learned == Learned::Recovered,
                gives_up: gives_up.then(|| wall.minus(self.config.give_up_after)),
                said: Vec::new(),
            };
            self.outbox.settle(&[settlement]).expect("writes");
        }
    }

    /// When each notification was taken.
    fn taken(&self) -> BTreeMap<&str, Duration> {
        let is_taken = |(at, id, reaction): &'_ (Duration, String, Reaction)| {
            matches!(reaction, Reaction::Taken { .. }).then_some((*at, id.clone()))
        };
        self.attempts
            .iter()
            .filter(|attempt| is_taken(attempt).is_some())
            .map(|(at, id, _)| (id.as_str(), *at))
            .collect()
    }
}

// B4
#[test]
fn nothing_is_lost_in_an_outage_and_what_the_endpoint_asks_for_is_obeyed() {
    const NOTIFICATIONS: u32 = 20;
    fastrand::seed(11);
    for outage in [Duration::from_mins(1), Duration::from_hours(1), Duration::from_hours(24), Duration::from_hours(74)]
    {
        let mut simulation = Simulation::new(NOTIFICATIONS);
        let mut failures = failures().into_iter().cycle();
        simulation.run(|now| {
            if now >= outage {
                return (Reaction::Taken { status: Some(200) }, Duration::from_millis(20));
            }
            failures.next().expect("it never ends")
        });
        let taken = simulation.taken();
        assert_eq!(taken.len(), NOTIFICATIONS as usize, "{outage:?}: some were lost");
        // At the first attempt after the recovery, which the last failure has set: at most an hour, which was asked for.
        let recovered =
            simulation.attempts.iter().find(|(at, ..)| *at >= outage).map(|(at, ..)| *at).expect("is tried");
        assert!(recovered - outage <= Duration::from_hours(1) + Duration::from_secs(15), "{outage:?}: {recovered:?}");
        let last = taken.values().max().expect("there are some");
        let settled = recovered.max(Duration::from_mins(u64::from(NOTIFICATIONS))) + Duration::from_mins(1);
        assert!(*last <= settled, "{outage:?}: what waited was released at once: {last:?}");
        for pair in simulation.attempts.windows(2) {
            let Reaction::Failed { after: Some(asked), .. } = pair[0].2 else { continue };
            let waited = pair[1].0 - pair[0].0;
            let expected = asked.min(simulation.config.longest_retry_after);
            assert!(waited >= expected, "{outage:?}: asked for {asked:?}, waited {waited:?}");
        }
        assert!(simulation.attempts.len() < 2_000, "{outage:?}: {} attempts", simulation.attempts.len());
    }
}

// B4
#[test]
fn a_410_ends_everything_for_the_endpoint() {
    let mut simulation = Simulation::new(5);
    simulation.run(|_| (Reaction::Gone { status: 410, error: "gone".into() }, Duration::from_millis(20)));
    assert_eq!(simulation.attempts.len(), 1, "it is asked nothing more");
}
