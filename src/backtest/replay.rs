//! Requests through the very pipeline that serves, on a clock that follows the data.
//!
//! The clock of a replay is the newest time in what was replayed: as if each request had come when it was
//! made. Where nothing is recorded for a while, seconds pass as they do in a service that hears nothing, so
//! that silence is found as it would have been. Decisions are those of a service that is sent the same.

use std::{sync::Arc, time::Duration};

use detect::UnixNanos;
use ingest::{Batch, Decoder, KnownSeries, KnownTenants, Refused, Rejections, Submission, Tenant};
use tokio::{runtime::Handle, sync::oneshot};
use window::{Budget, Position};

use super::input::Recorded;
use crate::{
    app::StartError,
    config::Config,
    faces::{Face, Faces},
    journal::{Journal, Step, Work},
    pipeline::{self, Maker, Pipeline, Settings},
    tape::Tape,
};

/// Exporters send at least as often: a pause that is longer is silence, in which time passes.
const PAUSE: Duration = Duration::from_secs(10);
/// How much time passes at once in silence.
const PASSES: Duration = Duration::from_secs(5);
/// How often it passes at most in one pause: what an engine catches up with at most.
const MOST: u32 = 120;
/// Time between searches for series that have expired.
const CLEANS: Duration = Duration::from_mins(1);
/// How long ledgers keep what is over: longer than any recording.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 100);

/// A service without doors.
#[derive(Debug)]
pub(super) struct Replay {
    pipeline: Pipeline,
    decoder: Decoder,
    known: Arc<KnownSeries>,
    faces: Arc<Faces>,
    /// The clock; `None` before the first request.
    now: Option<UnixNanos>,
    /// The wall clock, which no recording is ahead of.
    today: UnixNanos,
    cleaned: UnixNanos,
    settle: Duration,
    counts: Counts,
}

/// What was replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) items: u64,
    pub(super) from: Option<UnixNanos>,
    pub(super) to: Option<UnixNanos>,
    /// Points, spans and log records that were refused.
    pub(super) refused: u64,
    /// Why the first of them was.
    pub(super) reason: Option<String>,
}

impl Replay {
    /// A pipeline as `config` says, that tells nobody, with its files in `config.data_dir`.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) fn start(config: &Config, external_url: &str, tape: Option<Tape>) -> Result<Self, StartError> {
        let rules = config.rules(external_url).map_err(StartError::Faults)?;
        let known = KnownTenants::new(config.ingest.admission.max_tenants);
        let (faces, nothing) = Faces::new()?;
        let faces = Arc::new(faces);
        let maker = Maker {
            settings: Settings {
                receivers: Vec::new(),
                routing: None,
                delivery: alerting::DeliveryConfig::default(),
                level_hooks: Vec::new(),
                heartbeat: None,
                keep: FOREVER,
                ..Settings::of(config, rules, external_url)
            },
            history: config.history.clone(),
            budget: Budget::new(config.window.max_bytes_total),
            data_dir: config.data_dir.clone(),
            external_url: external_url.to_owned(),
            known: known.clone(),
            faces: Arc::clone(&faces),
            _nothing: nothing,
            runtime: Handle::current(),
            pulse: Arc::default(),
            commands: None,
            tape,
        };
        let mut pipeline = Pipeline::new(maker, [], None)?;
        let decoder = Decoder::new(config.ingest.limits.clone());
        pipeline.recover(&mut Journal::in_memory(), &decoder);
        let known = known.of(&Tenant::default()).map_err(pipeline::LineError::from)?;
        let settle = config.intake.red.bucket + config.intake.red.grace + config.intake.lateness.lateness;
        Ok(Self {
            pipeline,
            decoder,
            known,
            faces,
            now: None,
            today: pipeline::now(),
            cleaned: UnixNanos::MIN,
            settle,
            counts: Counts::default(),
        })
    }

    /// What readers see.
    pub(super) fn face(&self) -> Face {
        self.faces.of(&Tenant::default())
    }

    /// What was replayed so far.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The newest time in a request; `None` when there is none, or when it is no request.
    pub(super) fn newest(&self, recorded: &Recorded) -> Option<UnixNanos> {
        // Nobody is told what these series are: they are met when their turn comes.
        let decoded = self.decode(recorded, &KnownSeries::new(0)).ok()?;
        newest(&decoded.batch)
    }

    /// Takes a request.
    ///
    /// # Errors
    /// Why it is none.
    pub(super) fn take(&mut self, recorded: &Recorded) -> Result<(), String> {
        let mut answer = None;
        // Series may have expired between two attempts, but not within one.
        for _ in 0..2 {
            let decoded = self.decode(recorded, &self.known)?;
            let newest = newest(&decoded.batch);
            if let Some(newest) = newest {
                self.counts.from = self.counts.from.or(Some(newest)).min(Some(newest));
                self.counts.to = self.counts.to.max(Some(newest.min(self.today)));
                self.goes_on(newest.min(self.today));
            }
            let rejected = self.submit(decoded.batch);
            if let Some(rejected) = rejected {
                answer = Some((decoded.items, rejected));
                break;
            }
        }
        let (items, rejected) = answer.ok_or("could not be taken")?;
        self.counts.requests += 1;
        self.counts.items += items;
        self.counts.refused += rejected.count;
        if rejected.count > 0 && self.counts.reason.is_none() {
            self.counts.reason = Some(rejected.message());
        }
        Ok(())
    }

    /// Ends the recording: lets the time pass in which stragglers could have come, and closes.
    pub(super) async fn finish(mut self) -> Counts {
        let step = Duration::from_secs(1);
        let mut passed = Duration::ZERO;
        while passed < self.settle + 2 * step {
            passed += step;
            let Some(now) = self.now else { break };
            self.passes(now.plus(step), false);
        }
        for deliverer in self.pipeline.finish() {
            // Nobody is told, so nothing is in flight.
            deliverer.shutdown(step).await;
        }
        self.counts
    }

    fn decode(&self, recorded: &Recorded, known: &KnownSeries) -> Result<ingest::Decoded, String> {
        let Recorded { signal, encoding, body, .. } = recorded;
        let measured = self.decoder.measure(*signal, *encoding, body).map_err(|e| e.to_string())?;
        self.decoder.decode(&measured, known).map_err(|e| e.to_string())
    }

    /// `None` when it has to be decoded again.
    fn submit(&mut self, batch: Batch) -> Option<Rejections> {
        let (reply, mut answer) = oneshot::channel();
        let mut submission = Submission::of(Tenant::default(), batch);
        submission.reply = reply;
        let now = self.now.unwrap_or(self.today);
        self.pipeline.step(Step { position: Position(0), now, work: Work::Rows(Box::new(submission)) });
        match answer.try_recv() {
            Ok(Ok(rejected)) => Some(rejected),
            Ok(Err(Refused::Again)) | Err(_) => None,
            Ok(Err(refused)) => {
                let mut rejected = Rejections::default();
                rejected.add(1, || refused.to_string());
                Some(rejected)
            }
        }
    }

    /// Lets time go on until `time`, at which something comes.
    fn goes_on(&mut self, time: UnixNanos) {
        let Some(mut now) = self.now else {
            (self.now, self.cleaned) = (Some(time), time);
            return;
        };
        if time.since(now) > PAUSE {
            for _ in 0..MOST {
                now = now.plus(PASSES);
                if now >= time {
                    break;
                }
                self.passes(now, false);
            }
        }
        let now = self.now.unwrap_or(time);
        if now.since(self.cleaned) >= CLEANS {
            self.cleaned = now;
            self.passes(now, true);
        }
        self.now = Some(now.max(time));
    }

    fn passes(&mut self, now: UnixNanos, cleans: bool) {
        self.now = Some(now);
        self.pipeline.step(Step { position: Position(0), now, work: Work::Tick { cleans } });
    }
}

fn newest(batch: &Batch) -> Option<UnixNanos> {
    let numbers = batch.numbers.rows.iter().map(|row| row.time).max();
    let histograms = batch.numbers.histograms.iter().map(|(_, row)| row.time).max();
    numbers.max(histograms).max(batch.spans.newest()).max(batch.logs.newest())
}
