//! One tenant's line: what comes in is admitted, judged and recorded here, apart from all others'.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use alerting::{Deliverer, Heartbeat, Ledger, Receiver, Routing};
use detect::{AnomalyEvent, Correction, Decision, Engine, EngineConfig, Memory, Output, Pin, UnixNanos};
use ingest::{Applied, Intake, Outdated, Pulse, Rejections, Tenant};
use tokio::sync::{broadcast, watch};
use window::{Labels, Point, Position, Series, SeriesKey, SeriesKind, Window};

use super::{
    keeper::Keeper,
    maker::memory,
    now,
    settings::Settings,
    vault::{Checkpoint, Standing},
};
use crate::{
    journal::TICK,
    tape::Tape,
    view::{Counts, View},
};

/// Rows in the head that cause a seal before the next tick.
const SEAL_ROWS: usize = 200_000;
/// Decisions kept while the ledger cannot write. More means that the disk has been full for long.
const MAX_UNRECORDED: usize = 100_000;

/// What a line is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// Whose it is.
    pub(super) tenant: Tenant,
    /// Takes batches in.
    pub(super) intake: Intake,
    /// The windows.
    pub(super) window: Window,
    /// Decides.
    pub(super) engine: Engine,
    /// Whether it is asked.
    pub(super) detect: bool,
    /// Remembers.
    pub(super) ledger: Ledger,
    /// Who is told about alerts.
    pub(super) receivers: Vec<Receiver>,
    /// Tells them.
    pub(super) deliverer: Deliverer,
    /// Who is told that this line is alive, if anybody is.
    pub(super) heartbeat: Option<(Heartbeat, Receiver)>,
    /// Whether the doors still take connections: a line that nothing can come to is not alive.
    pub(super) pulse: Arc<Pulse>,
    /// How long ended anomalies, resolved alerts and delivered notifications are kept.
    pub(super) keep: Duration,
    /// To readers.
    pub(super) view: watch::Sender<Arc<View>>,
    /// To those who want to hear every decision as it is made.
    pub(super) decisions: broadcast::Sender<Arc<Decision>>,
    /// Notes what is judged, where it is to be drawn.
    pub(super) tape: Option<Tape>,
}

/// A line's state.
#[derive(Debug)]
pub(super) struct Line {
    parts: Parts,
    /// The last step that it has done.
    position: Position,
    /// Wall time of that step.
    last_step: Option<UnixNanos>,
    last_arrival: Option<UnixNanos>,
    /// Whether rules and levels were evaluated in this step, or never will be: the moment to write down how
    /// things stand, since what the core has seen of the window is then all there is.
    is_settled: bool,
    counts: Counts,
    rule_failures: Vec<(String, String)>,
    unrecorded: Vec<Decision>,
    last_beat: Option<UnixNanos>,
    /// New routing that the ledger could not take up yet.
    unrouted: Option<Routing>,
}

impl Line {
    /// A line that has done all steps up to `position`, and stood as `standing` says.
    #[must_use]
    pub(super) fn new(parts: Parts, position: Position, standing: Standing) -> Self {
        Self {
            parts,
            position,
            last_step: standing.last_step,
            last_arrival: standing.last_arrival,
            is_settled: false,
            counts: Counts::default(),
            rule_failures: Vec::new(),
            unrecorded: Vec::new(),
            last_beat: None,
            unrouted: None,
        }
    }

    /// The last step that it has done.
    #[must_use]
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Notes that the step at `position` is done, and writes down how things stand if it is time.
    pub(super) fn done(&mut self, position: Position, keeper: Option<&mut Keeper>) {
        self.position = position;
        let is_settled = std::mem::take(&mut self.is_settled);
        if let Some(keeper) = keeper.filter(|keeper| is_settled && keeper.is_due(&self.parts.tenant)) {
            self.write_down(keeper);
        }
    }

    /// Wall time of the last step, if there was one.
    #[must_use]
    pub(super) fn last_step(&self) -> Option<UnixNanos> {
        self.last_step
    }

    fn write_down(&mut self, keeper: &mut Keeper) {
        let began = std::time::Instant::now();
        let tenant = self.parts.tenant.clone();
        match self.checkpoint() {
            Ok(checkpoint) => keeper.keep(&tenant, checkpoint, began.elapsed()),
            Err(error) => tracing::error!(tenant = tenant.as_str(), %error, "how things stand cannot be written down"),
        }
    }

    /// How things stand, right after a seal.
    pub(super) fn checkpoint(&mut self) -> Result<Checkpoint, postcard::Error> {
        self.parts.window.seal();
        let standing = Standing { last_step: self.last_step, last_arrival: self.last_arrival };
        let Parts { intake, window, engine, .. } = &self.parts;
        let checkpoint = Checkpoint::new(self.position, &standing, intake, window, engine)?;
        Ok(checkpoint.with_rows(self.parts.window.take_unsaved()))
    }

    /// Goes by `settings` from now on, as a line does that was written down and is made anew with them. Called within
    /// the runtime of deliveries.
    pub(super) fn reconfigure(&mut self, settings: &Settings) {
        let Parts { tenant, intake, window, engine, deliverer, .. } = &mut self.parts;
        window.limit(settings.window.max_bytes, settings.window.series_idle);
        intake.reconfigure(settings.intake.clone());
        let nobody = Engine::new(EngineConfig::default(), Memory::default());
        *engine = std::mem::replace(engine, nobody).resume(settings.engine.clone(), window.seal());
        if let Err(error) = deliverer.reconfigure(&settings.receivers, &settings.delivery_of(tenant)) {
            tracing::error!(tenant = tenant.as_str(), %error, "receivers are told as before: restart the service");
        }
        self.parts.heartbeat = settings.heartbeat_of(tenant);
        self.parts.ledger.follow_levels(settings.level_hooks.clone());
        self.parts.detect = settings.detect;
        self.parts.keep = settings.keep;
        self.parts.receivers.clone_from(&settings.receivers);
        self.unrouted = Some(settings.routing());
        self.route();
        self.show();
    }

    /// Places alerts by new routing, if there is any that is not in force yet.
    fn route(&mut self) {
        let Some(routing) = self.unrouted.take() else { return };
        if let Err(error) = self.parts.ledger.route(routing.clone(), &self.parts.receivers) {
            tracing::error!(%error, "alerts could not be placed in the new routes; will retry");
            self.unrouted = Some(routing);
        }
    }

    /// Says that what came before is neither in a checkpoint nor in the log, but perhaps in the history.
    pub(super) fn misses_past(&mut self) {
        self.parts.window.miss_past();
    }

    /// Notes that the process has started (again) at `now`. The time in which it was not there is no silence.
    pub(super) fn starts(&mut self, now: UnixNanos) {
        if let Some(last) = self.last_step {
            self.parts.engine.was_away(now.since(last));
        }
        self.last_arrival = self.last_arrival.map(|_| now);
        self.last_step = Some(now);
    }

    /// Notes that the wall clock was set by so many nanoseconds, and stands at `now`: what is measured by it
    /// moves along, so that nothing was silent for as long.
    pub(super) fn clock_was_set(&mut self, by: i64, now: UnixNanos) {
        // Senders whose clocks are set with ours are heard one after the other, the first much later than all.
        self.parts.engine.was_away(Duration::from_nanos(u64::try_from(by).unwrap_or(0)));
        self.parts.intake.clock_was_set(by);
        self.last_arrival = self.last_arrival.map(|at| UnixNanos(at.0.saturating_add(by)));
        self.last_step = Some(now);
    }

    /// Takes up what the ledger remembers and neither a checkpoint nor the log has said: all of it when there
    /// is neither, alerts of another configuration, and pins that were on disk but not yet in force.
    pub(super) fn reconcile(&mut self) {
        // The windows are whole again only now.
        self.parts.window.begin_history();
        let mut memory = match memory(&self.parts.ledger.reader()) {
            Ok(memory) => memory,
            Err(error) => return tracing::error!(%error, "the ledger cannot be read"),
        };
        let mut wanted: BTreeMap<Option<Arc<str>>, Pin> = std::mem::take(&mut memory.pins).into_iter().collect();
        self.parts.engine.remember(memory);
        let at = self.last_step.unwrap_or_else(now);
        for status in self.parts.engine.levels() {
            let pin = wanted.remove(&status.service);
            if pin != status.pin {
                self.pin(status.service, pin, at);
            }
        }
        for (service, pin) in wanted {
            self.pin(service, Some(pin), at);
        }
        self.reconcile_corrections();
    }

    /// Makes the changes that are on disk and not in force, and takes back those that are in force only.
    fn reconcile_corrections(&mut self) {
        let mut wanted = match self.parts.ledger.reader().corrections() {
            Ok(wanted) => wanted,
            Err(error) => return tracing::error!(%error, "the ledger cannot be read"),
        };
        let is_wanted = |id: &str| wanted.iter().any(|c| c.id == id);
        let stale: Vec<String> =
            self.parts.engine.corrections().map(|c| c.id.clone()).filter(|id| !is_wanted(id)).collect();
        stale.iter().for_each(|id| self.undo(id));
        wanted.retain(|c| self.parts.engine.corrections().all(|known| known.id != c.id));
        wanted.into_iter().for_each(|correction| self.correct(correction));
    }

    /// Ends it: seals, shows all and writes what was not written. What is left are deliveries.
    pub(super) fn finish(mut self, keeper: Option<&mut Keeper>) -> Deliverer {
        self.seal_and_show();
        self.record();
        if let Some(keeper) = keeper {
            self.write_down(keeper);
        }
        if !self.unrecorded.is_empty() {
            let (tenant, decisions) = (self.parts.tenant.as_str(), self.unrecorded.len());
            tracing::error!(tenant, decisions, "stopping with decisions that could not be written");
        }
        self.parts.deliverer
    }

    /// Puts one batch through the whole line.
    ///
    /// # Errors
    /// [`Outdated`], with nothing done.
    pub(super) fn take(&mut self, batch: ingest::Batch, now: UnixNanos) -> Result<Rejections, Outdated> {
        self.last_step = Some(now);
        let empty = batch.is_empty();
        let evicted = self.parts.window.evicted();
        let applied = self.parts.intake.apply(batch, &mut self.parts.window, Some(now))?;
        if !empty {
            self.last_arrival = Some(now);
        }
        let rejected = self.judge(applied);
        self.go_on(now);
        if self.parts.window.head_len() >= SEAL_ROWS {
            self.seal_and_show();
        } else if self.parts.window.evicted() != evicted {
            self.let_go();
        }
        Ok(rejected)
    }

    fn judge(&mut self, applied: Applied) -> Rejections {
        if !self.parts.detect {
            return applied.rejected;
        }
        self.counts.judged += applied.judged.len() as u64;
        if let Some(tape) = &self.parts.tape {
            tape.judged(&applied.judged, self.parts.window.registry());
        }
        let heard = applied.feeds.iter().map(|(feed, at)| (&feed.service, *at));
        let out = self.parts.engine.observe(&applied.judged, self.parts.window.registry(), heard);
        self.absorb(out);
        applied.rejected
    }

    /// Judges what has waited long enough, step by step, and evaluates what is due.
    fn go_on(&mut self, now: UnixNanos) {
        let evaluations = self.counts.evaluations;
        loop {
            let due = self.parts.engine.next_due().filter(|_| self.parts.detect);
            let Some(applied) = self.parts.intake.release(&mut self.parts.window, Some(now), due) else { break };
            self.judge(applied);
            self.advance(now);
        }
        self.advance(now);
        if self.counts.evaluations != evaluations {
            self.show();
        }
    }

    /// Closes what is idle, seals, shows and writes. `cleans` says that it is time to search for series
    /// that have expired and for decisions that are too old.
    pub(super) fn tick(&mut self, now: UnixNanos, cleans: bool) {
        self.last_step = Some(now);
        let applied = self.parts.intake.tick(&mut self.parts.window, now);
        self.judge(applied);
        self.go_on(now);
        self.beat(now);
        self.route();
        if cleans {
            let expired = self.parts.window.expire_series();
            let out = self.parts.engine.forget(&expired);
            self.parts.intake.forget(&expired);
            if let Some(tape) = &self.parts.tape {
                tape.forget(&expired);
            }
            self.absorb(out);
            // A clock that stands years ahead deletes nothing.
            self.prune(self.event_time(now).unwrap_or(now));
        }
        self.seal_and_show();
        self.record();
    }

    fn prune(&mut self, now: UnixNanos) {
        if let Err(error) = self.parts.ledger.prune(now.minus(self.parts.keep)) {
            tracing::warn!(%error, "old decisions could not be deleted; will retry");
        }
    }

    /// How far event time has come: as far as the data says, plus the time for which none came. The
    /// wall clock bounds it, so that one sender with a fast clock does not make all others late.
    fn event_time(&self, now: UnixNanos) -> Option<UnixNanos> {
        if let Some(until) = self.parts.intake.judged_until() {
            return (until > UnixNanos::MIN).then(|| until.min(now));
        }
        let watermark = self.parts.window.watermark()?;
        let idle = self.last_arrival.map_or(Duration::ZERO, |at| now.since(at));
        let idle = if idle < TICK { Duration::ZERO } else { idle };
        Some(watermark.min(now).plus(idle).min(now))
    }

    /// Evaluates rules and levels if event time has come far enough.
    fn advance(&mut self, now: UnixNanos) {
        let Some(event_time) = self.event_time(now).filter(|_| self.parts.detect) else {
            self.is_settled = true;
            return;
        };
        if self.parts.engine.next_due().is_some_and(|due| event_time < due) {
            return;
        }
        let span = tracing::info_span!("evaluate", event_time = event_time.as_secs_f64()).entered();
        let began = std::time::Instant::now();
        let snapshot = self.parts.window.seal();
        let out = self.parts.engine.evaluate(snapshot, event_time);
        self.counts.evaluations += 1;
        self.counts.evaluation_nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if out.failures != self.rule_failures {
            for (rule, error) in &out.failures {
                tracing::warn!(rule, error, "rule could not be evaluated");
            }
            self.rule_failures.clone_from(&out.failures);
        }
        self.absorb(out);
        self.is_settled = true;
        drop(span);
    }

    /// Writes what the core wants written, and announces what it decided.
    fn absorb(&mut self, out: Output) {
        for published in out.published {
            let registry = self.parts.window.registry();
            let Some(of) = registry.get(published.of).map(Arc::clone) else { continue };
            if let Some(tape) = &self.parts.tape {
                for (suffix, value) in published.values() {
                    tape.published(published.of, registry, suffix, published.time, value);
                }
            }
            for (suffix, value) in published.values() {
                let name = || format!("{}{suffix}", of.name);
                let key = of.key.derived(suffix);
                if !self.may_publish(key) {
                    self.counts.unpublished += 1;
                    continue;
                }
                self.publish(key, name, &of.labels, &of.unit, &of.service, published.time, value);
            }
        }
        for recorded in out.recorded {
            let key = SeriesKey(u128::from(recorded.labels.fingerprint())).derived(&recorded.name);
            let service: Arc<str> = recorded.labels.get("job").unwrap_or_default().into();
            let name = || recorded.name.to_string();
            self.publish(key, name, &recorded.labels, &"".into(), &service, recorded.time, recorded.value);
        }
        if out.decisions.is_empty() {
            return;
        }
        for decision in &out.decisions {
            log(self.parts.tenant.as_str(), decision);
            let kind = match decision {
                Decision::Anomaly(AnomalyEvent::Opened(_)) => Some(0),
                Decision::Anomaly(_) => None,
                Decision::Alert(_) => Some(1),
                Decision::Level(_) => Some(2),
            };
            if let Some(kind) = kind {
                self.counts.decisions[kind] += 1;
            }
        }
        self.unrecorded.extend(out.decisions.iter().cloned());
        self.record();
        for decision in out.decisions {
            // Nobody may be listening.
            let _ = self.parts.decisions.send(Arc::new(decision));
        }
    }

    /// Whether there may be a series that says what we think of another. There are four to each, and services that come
    /// later matter more than these.
    fn may_publish(&self, key: SeriesKey) -> bool {
        let registry = self.parts.window.registry();
        registry.room() > self.parts.intake.room_wanted() || registry.find(key).is_some()
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one series that is our own")]
    fn publish(
        &mut self,
        key: SeriesKey,
        name: impl FnOnce() -> String,
        labels: &Labels,
        unit: &Arc<str>,
        service: &Arc<str>,
        time: UnixNanos,
        value: f64,
    ) {
        let describe = || {
            let name: Arc<str> = name().into();
            Series {
                key,
                source_name: Arc::clone(&name),
                name,
                unit: Arc::clone(unit),
                kind: SeriesKind::Published,
                labels: labels.clone(),
                service: Arc::clone(service),
            }
        };
        if let Ok(series) = self.parts.window.registry_mut().find_or_add(key, describe) {
            self.parts.window.push_point(Point { series, time, value });
        }
    }

    /// Writes decisions and their notifications in one transaction. What cannot be written is kept
    /// and tried again, while detection goes on.
    fn record(&mut self) {
        if self.unrecorded.is_empty() {
            return;
        }
        match self.parts.ledger.record(&self.unrecorded, &self.parts.receivers) {
            Ok(_) => self.unrecorded.clear(),
            Err(error) => {
                tracing::error!(%error, waiting = self.unrecorded.len(), "decisions could not be written; will retry");
                let excess = self.unrecorded.len().saturating_sub(MAX_UNRECORDED);
                self.unrecorded.drain(..excess);
            }
        }
        self.counts.unrecorded = self.unrecorded.len();
    }

    /// Says that it is alive if it is time. A step that is done again after a restart says nothing of now.
    fn beat(&mut self, at: UnixNanos) {
        let Some((heartbeat, receiver)) = &self.parts.heartbeat else { return };
        let is_due = self.last_beat.is_none_or(|last| at.since(last) >= heartbeat.interval);
        if !is_due || now().since(at) >= heartbeat.interval {
            return;
        }
        let silence = self.parts.pulse.silence();
        if silence >= heartbeat.interval {
            let seconds = silence.as_secs();
            tracing::error!(seconds, "no sign of life is sent: a door takes no connections");
            return;
        }
        match self.parts.ledger.beat(heartbeat, receiver, at) {
            Ok(_) => self.last_beat = Some(at),
            Err(error) => tracing::error!(%error, "a sign of life could not be written; will retry"),
        }
    }

    /// Sets or clears the pin of a scope.
    pub(super) fn pin(&mut self, service: Option<Arc<str>>, pin: Option<Pin>, now: UnixNanos) {
        let at = self.event_time(now).unwrap_or(now);
        let change = self.parts.engine.pin(service, pin, at);
        self.absorb(Output { decisions: change.into_iter().map(Decision::Level).collect(), ..Output::default() });
        self.show();
    }

    /// Makes a change to what is expected of a series.
    pub(super) fn correct(&mut self, correction: Correction) {
        let id = self.parts.window.registry().find(correction.series);
        let output = self.parts.engine.correct(correction, id);
        self.absorb(output);
        self.show();
    }

    /// Takes such a change back.
    pub(super) fn undo(&mut self, correction: &str) {
        self.parts.engine.undo_correction(correction, self.parts.window.registry());
    }

    fn seal_and_show(&mut self) {
        if self.parts.window.head_len() > 0 {
            self.parts.window.seal();
        }
        self.show();
    }

    /// Lets the core and readers' picture go of chunks that the window has let go of, so that their memory can be
    /// used again and not only when the next picture is made. Nobody is told: the rest is as it was.
    fn let_go(&mut self) {
        let snapshot = self.parts.window.snapshot();
        self.parts.engine.let_go(&snapshot);
        self.parts.view.send_if_modified(|view| {
            // Whoever reads just now goes on with what he has.
            if let Some(view) = Arc::get_mut(view) {
                view.snapshot = snapshot;
            }
            false
        });
    }

    /// Shows readers how things stand.
    pub(super) fn show(&mut self) {
        let engine = &self.parts.engine;
        let (warm_series, warming_series) = engine.warm_and_warming();
        self.counts.window = self.parts.window.stats();
        self.counts.passed = self.parts.intake.passed();
        (self.counts.warm_series, self.counts.warming_series) = (warm_series, warming_series);
        let at = self.last_step.unwrap_or_else(now);
        self.parts.view.send_replace(Arc::new(View {
            at,
            event_time: self.event_time(at),
            last_arrival: self.last_arrival,
            snapshot: self.parts.window.snapshot(),
            alerts: engine.alerts().cloned().collect(),
            open_anomalies: engine.open_anomalies().cloned().collect(),
            levels: engine.levels(),
            services: engine.services().map(|(s, at)| (Arc::clone(s), at)).collect(),
            call_graph: engine.call_graph().clone(),
            rule_failures: self.rule_failures.clone(),
            counts: self.counts,
        }));
    }
}

fn log(tenant: &str, decision: &Decision) {
    match decision {
        Decision::Anomaly(AnomalyEvent::Opened(a)) => {
            tracing::info!(
                tenant,
                id = a.id,
                service = &*a.service,
                metric = &*a.metric,
                score = a.score,
                "anomaly opened"
            );
        }
        Decision::Anomaly(AnomalyEvent::Updated(a)) => {
            tracing::debug!(tenant, id = a.id, score = a.score, pattern = a.pattern.as_str(), "anomaly updated");
        }
        Decision::Anomaly(AnomalyEvent::Ended(a)) => {
            tracing::info!(tenant, id = a.id, service = &*a.service, metric = &*a.metric, "anomaly ended");
        }
        Decision::Alert(t) => {
            let state = t.alert.state.as_str();
            let service = t.alert.service().unwrap_or_default();
            tracing::info!(
                tenant,
                alert = t.alert.name(),
                service,
                state,
                announced = t.is_announced(),
                "alert changed"
            );
        }
        Decision::Level(change) => {
            let service = change.service.as_deref().unwrap_or("all");
            let (from, to) = (change.from.number(), change.to.number());
            tracing::info!(tenant, service, from, to, health = change.health, "degradation level changed");
        }
    }
}
