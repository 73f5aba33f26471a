//! The window itself: a head that grows, chunks that are sealed, and the bounds that evict them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    Exemplar, HistogramRow, LogChunk, LogRow, NumberChunk, Point, Registry, SeriesId, Snapshot, SpanChunk, SpanRow,
    UnixNanos, histograms::HistogramTables,
};

/// How much the window keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Event time kept behind the watermark. Default 2 h.
    pub span: Duration,
    /// Bytes of sealed chunks kept, all tables together; the oldest go first. Default 1 GiB.
    pub max_bytes: usize,
    /// Live series that are sent. Default 1,000,000. As many again may be derived from them, or
    /// published beside them.
    pub max_series: usize,
    /// Event time without a point after which a series is forgotten. At least `span`. Default 24 h.
    pub series_idle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            span: Duration::from_hours(2),
            max_bytes: 1 << 30,
            max_series: 1_000_000,
            series_idle: Duration::from_hours(24),
        }
    }
}

/// What the window holds and what it has let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Live series.
    pub series: usize,
    /// Bytes of sealed chunks.
    pub bytes: usize,
    /// Rows in sealed chunks and in the head: numbers, spans, logs, histograms.
    pub rows: [usize; 4],
    /// Chunks let go because of their age.
    pub evicted_by_time: u64,
    /// Chunks let go because of the byte bound: the window is shorter than configured.
    pub evicted_by_bytes: u64,
}

/// Series that there is room for even where few may be sent.
const ROOM_FOR_OUR_OWN: usize = 10_000;
/// Exemplars kept, 64 bytes each; the oldest go first.
const MAX_EXEMPLARS: usize = 1 << 18;
/// How many neighbouring chunks of like size become one.
const FAN_IN: usize = 8;
/// Chunks with more rows than this are not merged further, so that eviction stays fine-grained.
const MERGE_ROWS: usize = 1 << 19;

/// The rolling windows. One owner writes; everyone else reads [`Snapshot`]s.
#[derive(Debug)]
pub struct Window {
    config: Config,
    registry: Registry,
    points: Vec<Point>,
    span_rows: Vec<SpanRow>,
    log_rows: Vec<LogRow>,
    numbers: VecDeque<Arc<NumberChunk>>,
    histograms: HistogramTables,
    spans: VecDeque<Arc<SpanChunk>>,
    logs: VecDeque<Arc<LogChunk>>,
    exemplars: VecDeque<Arc<[Exemplar]>>,
    exemplar_rows: Vec<Exemplar>,
    watermark: Option<UnixNanos>,
    stats: Stats,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            // Room for what is derived from the series that are sent, and published beside them.
            registry: Registry::new(config.max_series.saturating_mul(2).saturating_add(ROOM_FOR_OUR_OWN)),
            config,
            points: Vec::new(),
            span_rows: Vec::new(),
            log_rows: Vec::new(),
            numbers: VecDeque::new(),
            histograms: HistogramTables::default(),
            spans: VecDeque::new(),
            logs: VecDeque::new(),
            exemplars: VecDeque::new(),
            exemplar_rows: Vec::new(),
            watermark: None,
            stats: Stats::default(),
        }
    }

    /// The registry, to look series up.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The registry, to add series.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Greatest event time appended so far.
    #[must_use]
    pub fn watermark(&self) -> Option<UnixNanos> {
        self.watermark
    }

    /// Appends one point to the head and moves the watermark.
    pub fn push_point(&mut self, point: Point) {
        self.registry.touch(point.series, point.time);
        self.advance(point.time);
        self.points.push(point);
    }

    /// Appends one histogram to the head and moves the watermark.
    pub fn push_histogram(&mut self, row: HistogramRow) {
        self.registry.touch(row.series, row.time);
        self.advance(row.time);
        self.histograms.push(row);
    }

    /// Appends one span to the head and moves the watermark.
    pub fn push_span(&mut self, row: SpanRow) {
        self.advance(row.end);
        self.span_rows.push(row);
    }

    /// Appends one log record to the head and moves the watermark.
    pub fn push_log(&mut self, row: LogRow) {
        self.advance(row.time);
        self.log_rows.push(row);
    }

    /// Appends one exemplar to the head.
    pub fn push_exemplar(&mut self, row: Exemplar) {
        if self.exemplar_rows.len() < MAX_EXEMPLARS {
            self.exemplar_rows.push(row);
        }
    }

    fn advance(&mut self, time: UnixNanos) {
        self.watermark = Some(self.watermark.map_or(time, |w| w.max(time)));
    }

    /// Rows in the head: how much the next seal will take in. A histogram with many buckets counts
    /// for several rows.
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.points.len() + self.histograms.head_weight() + self.span_rows.len() + self.log_rows.len()
    }

    /// Turns the head into chunks, merges small neighbours, and lets go of what is too old or too
    /// much. Returns what readers may see from now on.
    pub fn seal(&mut self) -> Snapshot {
        let points = std::mem::take(&mut self.points);
        self.numbers.extend(NumberChunk::seal(points).map(Arc::new));
        self.histograms.seal();
        self.spans.extend(SpanChunk::seal(&std::mem::take(&mut self.span_rows)).map(Arc::new));
        self.logs.extend(LogChunk::seal(&std::mem::take(&mut self.log_rows)).map(Arc::new));
        if !self.exemplar_rows.is_empty() {
            self.exemplars.push_back(std::mem::take(&mut self.exemplar_rows).into());
        }
        self.merge_numbers();
        self.evict_by_time();
        self.evict_by_bytes();
        self.snapshot()
    }

    /// What readers saw after the last seal; rows in the head are not in it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            registry: self.registry.view(),
            numbers: self.numbers.iter().cloned().collect(),
            histograms: self.histograms.chunks().cloned().collect(),
            spans: self.spans.iter().cloned().collect(),
            logs: self.logs.iter().cloned().collect(),
            exemplars: self.exemplars.iter().cloned().collect(),
            watermark: self.watermark,
        }
    }

    /// Forgets series without a point for longer than the configured idle time, and returns their
    /// numbers so that state kept by number can be dropped before a number is used again.
    pub fn expire_series(&mut self) -> Vec<SeriesId> {
        let idle = self.config.series_idle.max(self.config.span);
        let Some(watermark) = self.watermark else { return Vec::new() };
        // A chunk may keep rows up to one chunk length beyond the span; twice the span is safe.
        self.registry.expire(watermark.minus(idle.max(self.config.span * 2)))
    }

    /// Merges runs of [`FAN_IN`] newest chunks of the same size class, so that a reader visits a
    /// number of chunks that grows with the logarithm of the window.
    fn merge_numbers(&mut self) {
        let class = |c: &NumberChunk| c.len().max(1).ilog(FAN_IN);
        loop {
            let Some(first) = self.numbers.len().checked_sub(FAN_IN) else { return };
            let run: Vec<Arc<NumberChunk>> = self.numbers.range(first..).cloned().collect();
            let rows: usize = run.iter().map(|c| c.len()).sum();
            let newest = class(&run[FAN_IN - 1]);
            if rows > MERGE_ROWS || run.iter().any(|c| class(c) > newest) {
                return;
            }
            self.numbers.truncate(first);
            self.numbers.extend(NumberChunk::merge(&run).map(Arc::new));
        }
    }

    fn evict_by_time(&mut self) {
        let Some(watermark) = self.watermark else { return };
        let horizon = watermark.minus(self.config.span);
        let before = self.numbers.len() + self.spans.len() + self.logs.len();
        self.numbers.retain(|c| c.span.1 >= horizon);
        self.spans.retain(|c| c.span.1 >= horizon);
        self.logs.retain(|c| c.span.1 >= horizon);
        self.exemplars.retain(|rows| rows.iter().any(|row| row.time >= horizon));
        let mut exemplars: usize = self.exemplars.iter().map(|rows| rows.len()).sum();
        while exemplars > MAX_EXEMPLARS {
            exemplars -= self.exemplars.pop_front().map_or(exemplars, |rows| rows.len());
        }
        let after = self.numbers.len() + self.spans.len() + self.logs.len();
        let histograms = self.histograms.evict_before(horizon);
        self.stats.evicted_by_time += (before - after + histograms) as u64;
    }

    fn evict_by_bytes(&mut self) {
        let mut bytes = self.bytes();
        while bytes > self.config.max_bytes {
            let oldest = [
                self.numbers.front().map(|c| (c.span.1, 0)),
                self.spans.front().map(|c| (c.span.1, 1)),
                self.logs.front().map(|c| (c.span.1, 2)),
                self.histograms.oldest().map(|until| (until, 3)),
            ];
            let freed = match oldest.into_iter().flatten().min() {
                Some((_, 0)) => self.numbers.pop_front().map(|c| c.bytes()),
                Some((_, 1)) => self.spans.pop_front().map(|c| c.bytes()),
                Some((_, 3)) => self.histograms.pop_oldest(),
                _ => self.logs.pop_front().map(|c| c.bytes()),
            };
            let Some(freed) = freed else { return };
            bytes -= freed;
            self.stats.evicted_by_bytes += 1;
        }
    }

    fn bytes(&self) -> usize {
        self.numbers.iter().map(|c| c.bytes()).sum::<usize>()
            + self.histograms.bytes()
            + self.spans.iter().map(|c| c.bytes()).sum::<usize>()
            + self.logs.iter().map(|c| c.bytes()).sum::<usize>()
    }

    /// What is held and what was let go.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let sealed_spans: usize = self.spans.iter().map(|c| c.batch().num_rows()).sum();
        let sealed_logs: usize = self.logs.iter().map(|c| c.batch().num_rows()).sum();
        Stats {
            series: self.registry.len(),
            bytes: self.bytes(),
            rows: [
                self.numbers.iter().map(|c| c.len()).sum::<usize>() + self.points.len(),
                sealed_spans + self.span_rows.len(),
                sealed_logs + self.log_rows.len(),
                self.histograms.rows(),
            ],
            ..self.stats
        }
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
