//! The window itself: a head that grows, chunks that are sealed, and the bounds that evict them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    BYTES_PER_POINT, BadState, Budget, Exemplar, HistogramRow, Historian, LogChunk, LogColumns, NumberChunk, Point,
    Registry, SeriesId, Snapshot, SpanChunk, SpanColumns, Tables, UnixNanos, WindowState,
    events::{BLOCK_BYTES, Blocks, HEAD_BYTES},
    histograms::HistogramTables,
    ledger::Ledger,
};

/// How much the window keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Event time kept behind the watermark. Default 2 h.
    pub span: Duration,
    /// Bytes of sealed chunks kept, all tables together; the oldest rows go first, so that seven
    /// eighths are rows and the rest is for what chunks take beside them. Default 1 GiB.
    pub max_bytes: usize,
    /// Bytes of rows of all windows together, for those who make several: see [`Budget`]. Default 4 GiB.
    pub max_bytes_total: usize,
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
            max_bytes_total: 4 << 30,
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
/// One part in so many of the byte bound is for what chunks take beside their rows.
const CHUNK_ROOM: usize = 8;
/// What a point counts in the byte bound: its columns, and its part of a series' offset in a chunk.
const POINT_BYTES: usize = BYTES_PER_POINT + 4;
/// What a span and a log record count beside their texts and attributes.
const SPAN_BYTES: usize = 78;
const LOG_BYTES: usize = 77;
/// Exemplars kept, 64 bytes each; the oldest go first.
pub(crate) const MAX_EXEMPLARS: usize = 1 << 18;
/// How many neighbouring chunks of like size become one.
const FAN_IN: usize = 8;
/// Chunks with more rows than this together are not merged, so that a merge takes some tens of
/// milliseconds. It is enough for 100,000 series to have ten points each in a chunk.
const MERGE_ROWS: usize = 1 << 20;

/// The rolling windows. One owner writes; everyone else reads [`Snapshot`]s.
#[derive(Debug)]
pub struct Window {
    config: Config,
    registry: Registry,
    points: Vec<Point>,
    span_head: SpanColumns,
    blocks: Blocks,
    log_head: LogColumns,
    numbers: VecDeque<Arc<NumberChunk>>,
    histograms: HistogramTables,
    spans: VecDeque<Arc<SpanChunk>>,
    logs: VecDeque<Arc<LogChunk>>,
    exemplars: VecDeque<Arc<[Exemplar]>>,
    exemplar_rows: Vec<Exemplar>,
    watermark: Option<UnixNanos>,
    /// Rows at or before this time are gone, whatever chunk they are in. Never goes back.
    floor: UnixNanos,
    ledger: Ledger,
    /// What was sealed since it was last taken; `None` when nobody takes it.
    unsaved: Option<Tables>,
    stats: Stats,
    historian: Option<Historian>,
    /// Numbers up to here may be missing: let go because of the byte bound, or of an earlier run.
    past_until: UnixNanos,
    /// Whether the window began without what the history holds.
    misses_past: bool,
    /// Whether the historian is handed what comes in.
    hands_over: bool,
    /// Points that are already too old to be seen, on their way to the historian.
    too_late: Vec<Point>,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            // Room for what is derived from the series that are sent, and published beside them.
            registry: Registry::new(config.max_series.saturating_mul(2).saturating_add(ROOM_FOR_OUR_OWN)),
            ledger: Ledger::new(config.span),
            config,
            points: Vec::new(),
            span_head: SpanColumns::default(),
            blocks: Blocks::default(),
            log_head: LogColumns::default(),
            numbers: VecDeque::new(),
            histograms: HistogramTables::default(),
            spans: VecDeque::new(),
            logs: VecDeque::new(),
            exemplars: VecDeque::new(),
            exemplar_rows: Vec::new(),
            watermark: None,
            floor: UnixNanos::MIN,
            unsaved: None,
            stats: Stats::default(),
            historian: None,
            past_until: UnixNanos::MIN,
            misses_past: false,
            hands_over: false,
            too_late: Vec::new(),
        }
    }

    /// The window that [`Self::state`] described, with the chunks that were sealed up to then. What
    /// readers see, which number a series gets and what is let go from now on are those of the
    /// window that was never interrupted.
    ///
    /// # Errors
    /// [`BadState`] when the state contradicts itself.
    pub fn restore(config: Config, state: WindowState, mut tables: Tables) -> Result<Self, BadState> {
        let mut window = Self::new(config);
        window.registry.restore(state.registry)?;
        window.floor = state.floor;
        if let Some(watermark) = state.watermark {
            window.advance(watermark);
        }
        for (start, bytes) in state.bytes_by_time {
            window.ledger.note(UnixNanos(start), usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        tables.forget_until(window.floor);
        window.numbers = tables.numbers.into();
        window.histograms = HistogramTables::restored(tables.histograms);
        window.spans = tables.spans.into();
        window.logs = tables.logs.into();
        window.exemplars = tables.exemplars.into();
        window.evict();
        Ok(window)
    }

    /// From now on at most so many bytes, and series are forgotten after so long.
    pub fn limit(&mut self, max_bytes: usize, series_idle: Duration) {
        (self.config.max_bytes, self.config.series_idle) = (max_bytes, series_idle);
    }

    /// What a window needs to go on after a restart, beside its sealed chunks. Rows of the head are in
    /// neither, so it is asked for right after a seal. Equal windows give equal bytes.
    #[must_use]
    pub fn state(&self) -> WindowState {
        WindowState {
            registry: self.registry.saved(),
            watermark: self.watermark,
            floor: self.floor,
            bytes_by_time: self.ledger.steps(),
        }
    }

    /// Takes part in a budget of bytes beside other windows.
    pub fn join_budget(&mut self, budget: Arc<Budget>) {
        self.ledger.join(budget);
    }

    /// From now on, remembers sealed chunks until [`Self::take_unsaved`].
    pub fn keep_unsaved(&mut self) {
        self.unsaved.get_or_insert_default();
    }

    /// The chunks sealed since the last call, as they were sealed, without those that have been let go
    /// since. Merged chunks hold the same rows again, so until they are taken these rows take their
    /// memory twice.
    pub fn take_unsaved(&mut self) -> Tables {
        self.unsaved.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Bytes of the chunks that [`Self::take_unsaved`] would return: a checkpoint is due when they are
    /// a good part of the bound.
    #[must_use]
    pub fn unsaved_bytes(&self) -> usize {
        self.unsaved.as_ref().map_or(0, Tables::bytes)
    }

    /// [`Self::lend`] and [`Self::begin_history`]: for a window that was restored, or that nothing comes before.
    pub fn attach(&mut self, historian: Historian) {
        self.lend(historian);
        if self.watermark.is_none() {
            self.miss_past();
        }
        self.begin_history();
    }

    /// Shows readers what `historian` has kept. Nothing is handed to it before [`Self::begin_history`].
    pub fn lend(&mut self, historian: Historian) {
        self.historian = Some(historian);
    }

    /// Says that what the historian has kept will not come into the window again: it was neither restored
    /// nor is all of it in the log. Without this, readers get from the window what the window has had, as
    /// in the run that wrote the log.
    pub fn miss_past(&mut self) {
        self.misses_past = true;
        self.past_until = self.historian.as_ref().map_or(self.past_until, Historian::newest);
    }

    /// Hands numbers to the historian from now on, which builds anew what an earlier run had not written.
    /// To be called once, when the window has been restored and the log replayed: what is pushed before
    /// may have been in the history of the earlier run.
    pub fn begin_history(&mut self) {
        let mut snapshot = self.seal();
        if let Some(historian) = self.historian.as_ref().filter(|_| !self.hands_over) {
            let oldest = self.numbers.iter().map(|chunk| chunk.span.0).min();
            if let Some(oldest) = oldest.filter(|_| self.misses_past) {
                // Not even the log may reach back as far as the window does.
                self.past_until = UnixNanos(oldest.0.saturating_sub(1));
            }
            snapshot.past = None;
            historian.rebuild(snapshot, self.raw_after());
            self.hands_over = true;
        }
    }

    fn hand_over(&mut self, numbers: Option<&Arc<NumberChunk>>) {
        let too_late = NumberChunk::seal(&std::mem::take(&mut self.too_late)).map(Arc::new);
        let historian = self.historian.as_ref().filter(|_| self.hands_over);
        let (Some(historian), Some(watermark)) = (historian, self.watermark) else { return };
        for chunk in numbers.into_iter().chain(&too_late) {
            historian.offer(Arc::clone(chunk), self.registry.view(), watermark);
        }
    }

    #[cfg(test)]
    pub(crate) fn detach(&mut self) -> Option<Historian> {
        self.historian.take()
    }

    /// The window holds all numbers later than this that were received.
    fn raw_after(&self) -> UnixNanos {
        self.floor.max(self.past_until)
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

    /// Appends one point to the head and moves the watermark. A point that is already too old to be
    /// seen is kept in the history only.
    pub fn push_point(&mut self, point: Point) {
        self.registry.touch(point.series, point.time);
        self.advance(point.time);
        if point.time > self.floor {
            self.ledger.note(point.time, POINT_BYTES);
            self.points.push(point);
        } else if self.hands_over {
            self.too_late.push(point);
        }
    }

    /// Appends one histogram to the head and moves the watermark. A row that is already too old to be
    /// seen is not kept.
    pub fn push_histogram(&mut self, row: HistogramRow) {
        self.registry.touch(row.series, row.time);
        self.advance(row.time);
        if row.time > self.floor {
            self.ledger.note(row.time, row.view().bytes());
            self.histograms.push(row);
        }
    }

    /// Appends spans to the head and moves the watermark. A head that has become large is sealed.
    pub fn push_spans(&mut self, spans: &SpanColumns) {
        let Some(newest) = spans.newest() else { return };
        self.advance(newest);
        if newest <= self.floor {
            return;
        }
        self.ledger.note(newest, spans.content() + SPAN_BYTES * spans.len());
        // A block is not outgrown, so that it can be used again.
        if !self.span_head.is_empty() && self.span_head.content() + spans.content() > BLOCK_BYTES {
            self.seal_spans();
        }
        self.span_head.append(spans);
        if self.span_head.content() > HEAD_BYTES {
            self.seal_spans();
            self.evict();
        }
    }

    /// How many chunks have been let go, for whatever reason: readers' pictures may still hold them.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.stats.evicted_by_time + self.stats.evicted_by_bytes
    }

    /// Appends log records to the head and moves the watermark. A head that has become large is sealed.
    pub fn push_logs(&mut self, logs: &LogColumns) {
        let Some(newest) = logs.newest() else { return };
        self.advance(newest);
        if newest <= self.floor {
            return;
        }
        self.ledger.note(newest, logs.content() + LOG_BYTES * logs.len());
        self.log_head.append(logs);
        if self.log_head.content() > HEAD_BYTES {
            self.seal_logs();
            self.evict();
        }
    }

    fn seal_spans(&mut self) {
        let next = self.span_head.like(&self.blocks);
        let head = std::mem::replace(&mut self.span_head, next);
        let chunk = SpanChunk::seal_in(head, &self.blocks).map(Arc::new);
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.spans.extend(chunk.clone());
        }
        self.spans.extend(chunk);
    }

    fn seal_logs(&mut self) {
        let next = self.log_head.like();
        let chunk = LogChunk::seal(std::mem::replace(&mut self.log_head, next)).map(Arc::new);
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.logs.extend(chunk.clone());
        }
        self.logs.extend(chunk);
    }

    fn seal_exemplars(&mut self) {
        if self.exemplar_rows.is_empty() {
            return;
        }
        let rows: Arc<[Exemplar]> = std::mem::take(&mut self.exemplar_rows).into();
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.exemplars.push(Arc::clone(&rows));
        }
        self.exemplars.push_back(rows);
    }

    /// Appends one exemplar to the head.
    pub fn push_exemplar(&mut self, row: Exemplar) {
        if self.exemplar_rows.len() < MAX_EXEMPLARS {
            self.exemplar_rows.push(row);
        }
    }

    fn advance(&mut self, time: UnixNanos) {
        if self.watermark.is_none_or(|w| time > w) {
            self.watermark = Some(time);
            self.floor = self.floor.max(time.minus(self.config.span));
        }
    }

    /// Rows in the head: how much the next seal will take in. A histogram with many buckets counts
    /// for several rows.
    #[must_use]
    pub fn head_len(&self) -> usize {
        self.points.len()
            + self.too_late.len()
            + self.histograms.head_weight()
            + self.span_head.len()
            + self.log_head.len()
    }

    /// Turns the head into chunks, merges small neighbours, and lets go of what is too old or too
    /// much. Returns what readers may see from now on.
    pub fn seal(&mut self) -> Snapshot {
        let numbers = NumberChunk::seal(&self.points).map(Arc::new);
        // The next head will be about like this one.
        self.points.shrink_to(2 * self.points.len());
        self.points.clear();
        let histograms = self.histograms.seal();
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.numbers.extend(numbers.clone());
            unsaved.histograms.extend(histograms);
        }
        self.hand_over(numbers.as_ref());
        self.numbers.extend(numbers);
        self.seal_spans();
        self.seal_logs();
        self.seal_exemplars();
        self.merge_numbers();
        self.evict();
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
            floor: self.floor,
            past: self.historian.as_ref().map(|historian| historian.past(self.raw_after())),
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
            let Some(merged) = NumberChunk::merge(&run).map(Arc::new) else { return };
            if let Some(unsaved) = &mut self.unsaved {
                unsaved.replace_numbers(&run, &merged);
            }
            self.numbers.truncate(first);
            self.numbers.push_back(merged);
        }
    }

    /// Lets go of what is too old or too much.
    fn evict(&mut self) {
        let by_age = self.floor;
        self.stats.evicted_by_time += self.forget_until(by_age);
        let rows = self.config.max_bytes - self.config.max_bytes / CHUNK_ROOM;
        self.floor = self.ledger.limit(by_age, rows);
        if self.floor > by_age {
            self.stats.evicted_by_bytes += self.forget_until(self.floor);
            self.cut();
        }
        let held = self.evict_by_bytes();
        self.blocks.allow(self.ledger.allowed(self.config.max_bytes).saturating_sub(held), self.spans.len());
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.forget_until(self.floor);
        }
    }

    /// Lets go of chunks without a row after `floor`, and returns how many.
    fn forget_until(&mut self, floor: UnixNanos) -> u64 {
        let before = self.numbers.len() + self.spans.len() + self.logs.len();
        self.numbers.retain(|c| c.span.1 > floor);
        self.spans.retain(|c| c.span.1 > floor);
        self.logs.retain(|c| c.span.1 > floor);
        // Exemplars are counted from the newest on, so they leave from the oldest on.
        let mut exemplars: usize = self.exemplars.iter().map(|rows| rows.len()).sum();
        while let Some(rows) = self.exemplars.front()
            && (exemplars - rows.len() >= MAX_EXEMPLARS || rows.iter().all(|row| row.time <= floor))
        {
            exemplars -= rows.len();
            self.exemplars.pop_front();
        }
        let after = self.numbers.len() + self.spans.len() + self.logs.len();
        (before - after + self.histograms.evict_until(floor)) as u64
    }

    /// Cuts rows that are gone off the chunks that others of theirs keep. Spans and logs are sealed
    /// in order of arrival and not merged, so theirs are few.
    fn cut(&mut self) {
        for chunk in self.numbers.iter_mut().filter(|c| c.span.0 <= self.floor) {
            if let Some(left) = chunk.after(self.floor).map(Arc::new) {
                if let Some(unsaved) = &mut self.unsaved {
                    unsaved.replace_numbers(std::slice::from_ref(chunk), &left);
                }
                *chunk = left;
            }
        }
        self.histograms.cut(self.floor);
    }

    /// The last resort, for chunks that take much more than their rows count: whole chunks are let go,
    /// so that what is left depends on where they end. Returns how many bytes that is.
    fn evict_by_bytes(&mut self) -> usize {
        let mut bytes = self.bytes();
        while bytes > self.config.max_bytes {
            let oldest = [
                self.numbers.front().map(|c| (c.span.1, 0)),
                self.spans.front().map(|c| (c.span.1, 1)),
                self.logs.front().map(|c| (c.span.1, 2)),
                self.histograms.oldest().map(|until| (until, 3)),
            ];
            let freed = match oldest.into_iter().flatten().min() {
                Some((_, 0)) => self.numbers.pop_front().map(|c| {
                    self.past_until = self.past_until.max(c.span.1);
                    c.bytes()
                }),
                Some((_, 1)) => self.spans.pop_front().map(|c| c.bytes()),
                Some((_, 3)) => self.histograms.pop_oldest(),
                _ => self.logs.pop_front().map(|c| c.bytes()),
            };
            let Some(freed) = freed else { return bytes };
            bytes -= freed;
            self.stats.evicted_by_bytes += 1;
        }
        bytes
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
                sealed_spans + self.span_head.len(),
                sealed_logs + self.log_head.len(),
                self.histograms.rows(),
            ],
            ..self.stats
        }
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "store/restart.rs"]
mod restart;
