//! What the parts of taking a request cost, in this process and without a network.
//!
//! The whole line is measured by `load table`. This one tells which part of it has become faster, within
//! a few seconds and with less noise: of many requests the middle one is shown, and the fastest.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use ingest::{Decoder, Intake, IntakeConfig, KnownSeries, Limits};
use proto::otlp::{self, Encoding};
use window::{UnixNanos, Window};

use crate::{
    client::now_nanos,
    payload::{self, Payload, Shape, Signal},
    report,
};

/// gRPC's flag and length before the message.
const FRAME_HEADER: usize = 5;
/// Rows in the head that cause a seal, as in the pipeline.
const SEAL_ROWS: usize = 200_000;
/// Series for which there is room.
const SERIES: usize = 4_000_000;

/// A part of the line, with the nanoseconds per item that each request took in it.
#[derive(Debug)]
pub(crate) struct Part {
    /// What is done.
    pub(crate) name: &'static str,
    /// One figure a request.
    pub(crate) nanos: Vec<f64>,
}

/// Takes requests of `shape` for as long as `time`, and prints what each part of it cost.
///
/// # Errors
/// When a request is not taken whole.
pub(crate) fn run(shape: &Shape, time: Duration) -> Result<()> {
    let start = now_nanos();
    let mut payloads: Vec<Payload> = (0..shape.requests).map(|number| Payload::new(shape, number, start)).collect();
    let mut line = Line::new();
    // Once for the series to be known.
    for payload in &mut payloads {
        line.take(shape.signal, payload)?;
    }
    line.parts.iter_mut().for_each(|part| part.nanos.clear());
    let end = Instant::now() + time;
    while Instant::now() < end {
        for payload in &mut payloads {
            line.take(shape.signal, payload)?;
        }
    }
    report::parts(shape, &line.parts);
    Ok(())
}

struct Line {
    decoder: Decoder,
    known: Arc<KnownSeries>,
    intake: Intake,
    window: Window,
    last: u64,
    parts: [Part; 4],
}

impl Line {
    fn new() -> Self {
        let known = Arc::new(KnownSeries::new(SERIES));
        let config = IntakeConfig { max_series: SERIES, max_series_per_metric: SERIES, ..IntakeConfig::default() };
        let part = |name| Part { name, nanos: Vec::new() };
        Self {
            decoder: Decoder::new(Limits::default()),
            intake: Intake::new(config, Arc::clone(&known)),
            known,
            window: Window::new(window::Config { max_series: SERIES, ..window::Config::default() }),
            last: 0,
            parts: [part("cost estimate"), part("decoding"), part("window and derived series"), part("sealing")],
        }
    }

    fn take(&mut self, signal: Signal, payload: &mut Payload) -> Result<()> {
        self.last = now_nanos().max(self.last + 1);
        payload::stamp(&payload.places, &mut payload.bytes, self.last);
        // As fresh in the cache as what has just been received.
        let body = payload.bytes[FRAME_HEADER..].to_vec();
        let mut watch = Watch::start(payload.items);
        let signal = match signal {
            Signal::Metrics => otlp::Signal::Metrics,
            Signal::Spans => otlp::Signal::Traces,
            Signal::Logs => otlp::Signal::Logs,
        };
        let measured = self.decoder.measure(signal, Encoding::Protobuf, &body)?;
        self.parts[0].nanos.push(watch.lap());
        let decoded = self.decoder.decode(&measured, &self.known)?;
        self.parts[1].nanos.push(watch.lap());
        let now = UnixNanos(i64::try_from(self.last)?);
        let applied = self.intake.apply(decoded.batch, &mut self.window, Some(now))?;
        self.parts[2].nanos.push(watch.lap());
        anyhow::ensure!(applied.rejected.count == 0, "refused: {}", applied.rejected.message());
        if self.window.head_len() >= SEAL_ROWS {
            self.window.seal();
        }
        self.parts[3].nanos.push(watch.lap());
        Ok(())
    }
}

/// Tells the time of each part, per item.
struct Watch {
    items: f64,
    since: Instant,
}

impl Watch {
    fn start(items: u64) -> Self {
        Self { items: items as f64, since: Instant::now() }
    }

    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.since, now);
        took.as_secs_f64() * 1e9 / self.items
    }
}
