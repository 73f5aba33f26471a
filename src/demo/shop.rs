//! The simulated quoting shop: plays a script in real time and tells the story in telemetry.
//!
//! The [`Simulation`] says what happens; this file turns it into spans, metrics and log records of
//! five services. Spans are ended when their time has come, not when they are invented, so that
//! they arrive in the order in which a real shop would send them.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use detect::UnixNanos;
use opentelemetry::{
    Context, KeyValue,
    logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity},
    metrics::{Counter, Gauge, Histogram, MeterProvider as _},
    trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::{
    logs::SdkLogger,
    trace::{SdkTracer, Span},
};
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    script::Script,
    simulation::{Gauges, Priced, Quote, Service, Simulation, TICK},
    telemetry::{Ledger, Providers, Sent},
};

const SCOPE: &str = "shop";
/// Bounds of `http.server.request.duration`, as OpenTelemetry's semantic conventions advise.
const HTTP_BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// The customer accepts a quote this long after it was sent.
const TIME_TO_ACCEPT: Duration = Duration::from_millis(300);
/// Every so many quotes, quote-api writes a line about them.
const QUOTES_PER_LINE: u64 = 10;

/// Why a shop cannot open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShopError {
    /// The address to send to is unusable.
    #[error("OTLP endpoint `{endpoint}`: {source}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        source: ExporterBuildError,
    },
}

/// A shop that is ready to open.
#[derive(Debug)]
pub(crate) struct Shop {
    simulation: Simulation,
    desks: [Desk; Service::ALL.len()],
    instruments: Instruments,
    begin: SystemTime,
    /// Spans under way by their end; the number keeps those that end together apart.
    under_way: BTreeMap<(SystemTime, u64), Ending>,
    spans_begun: u64,
    quotes_served: u64,
    ledger: Arc<Ledger>,
    /// What the service has heard before, of a shop that goes on.
    heard: Heard,
    /// When this shop's process took over; until then things happened without it.
    took_over: SystemTime,
}

/// Up to when each service was heard by an earlier process. What ended before is not told again, and what
/// ended since is: the shop did not stop because its watcher was killed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard([Option<SystemTime>; Service::ALL.len()]);

impl Heard {
    /// From the names of services as `job` says them, and the event time up to which each was heard.
    #[must_use]
    pub(crate) fn of(services: &[(Arc<str>, UnixNanos)]) -> Self {
        Self(Service::ALL.map(|service| {
            let is_it = |job: &str| job.rsplit('/').next() == Some(service.name());
            let (_, at) = services.iter().find(|(job, _)| is_it(job))?;
            Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(at.0).ok()?))
        }))
    }

    /// Whether a span of `service` that ended at `end` was heard.
    fn knows(&self, service: Service, end: SystemTime) -> bool {
        self.0[service as usize].is_some_and(|heard| end <= heard)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// One service's tools.
#[derive(Debug)]
struct Desk {
    providers: Providers,
    tracer: SdkTracer,
    logger: SdkLogger,
}

/// A span that will end, and what is recorded then.
#[derive(Debug)]
struct Ending {
    span: Span,
    effect: Effect,
}

#[derive(Debug)]
enum Effect {
    None,
    Served { seconds: f64, status: i64 },
    Analyzed { file_type: &'static str, failed: bool },
    Ordered { tenant: &'static str },
}

impl Shop {
    /// A shop that sends to `endpoint` (`http://host:port`, OTLP/gRPC) and begins at `begin`.
    /// Needs a Tokio runtime with several threads around it. Nothing is sent before [`Shop::run`].
    ///
    /// # Errors
    /// [`ShopError::Endpoint`] when the endpoint is no URL.
    pub(crate) fn start(endpoint: &str, script: Script, seed: u64, begin: SystemTime) -> Result<Self, ShopError> {
        let ledger = Arc::new(Ledger::default());
        let open = |service: Service| {
            let providers = Providers::open(endpoint, service.name(), &ledger);
            providers.map_err(|source| ShopError::Endpoint { endpoint: endpoint.into(), source })
        };
        let [api, pricing, dfm, checkout, notification] = Service::ALL.map(open);
        let desks = [api?, pricing?, dfm?, checkout?, notification?].map(Desk::new);
        Ok(Self {
            instruments: Instruments::new(&desks),
            simulation: Simulation::new(script, seed),
            desks,
            begin,
            under_way: BTreeMap::new(),
            spans_begun: 0,
            quotes_served: 0,
            ledger,
            heard: Heard::default(),
            took_over: begin,
        })
    }

    /// The same shop, of which `heard` was told before.
    #[must_use]
    pub(crate) fn after(self, heard: Heard) -> Self {
        let took_over = if heard.is_empty() { self.begin } else { SystemTime::now() };
        Self { heard, took_over, ..self }
    }

    /// Whether counters and gauges of this process have anything to do with what happens now.
    fn is_live(&self) -> bool {
        self.begin + self.simulation.now() >= self.took_over
    }

    /// The account of what is sent, readable while the shop runs and after it.
    #[must_use]
    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Plays the script to its end or until `shutdown`, sends what is left, and gives the account.
    ///
    /// A tick that comes late is caught up with, so the numbers do not depend on the machine.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Sent {
        let mut shutdown = pin!(shutdown);
        let mut ticks = tokio::time::interval_at(first_tick(self.begin), TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while !self.simulation.is_over() {
            tokio::select! {
                () = &mut shutdown => break,
                _ = ticks.tick() => self.tick(),
            }
        }
        self.close().await
    }

    /// Plays one tick and records what happened in it.
    fn tick(&mut self) {
        let tick = self.simulation.step();
        self.desks[Service::Notification as usize].providers.set_silent(tick.notification_silent);
        for quote in &tick.quotes {
            self.begin_quote(quote);
        }
        if self.is_live() {
            self.instruments.set(&tick.gauges);
        }
        self.end_spans(self.begin + self.simulation.now());
    }

    /// Starts the spans of a quote: `POST /quotes` with pricing and analysis inside, then the
    /// message to the customer and, for some, the order.
    fn begin_quote(&mut self, quote: &Quote) {
        if self.is_live() {
            self.instruments.requests.add(1, &[KeyValue::new("tenant", quote.tenant)]);
        }
        let start = self.begin + quote.start;
        let priced_at = start + quote.overhead + quote.price;
        let end = quote.priced.as_ref().map_or(priced_at, |priced| priced_at + priced.analyze);
        let status = if quote.priced.is_some() { 201 } else { 500 };
        let attributes = [
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", "/quotes"),
            KeyValue::new("http.response.status_code", status),
            KeyValue::new("tenant", quote.tenant),
        ];
        let seconds = end.duration_since(start).unwrap_or_default().as_secs_f64();
        let stage = Stage { service: Service::QuoteApi, name: "POST /quotes", kind: SpanKind::Server, start, end };
        let failure = quote.priced.is_none().then_some("pricing failed");
        let root = self.begin_span(&stage, None, &attributes, failure, Effect::Served { seconds, status });

        let stage = Stage {
            service: Service::Pricing,
            name: "price",
            kind: SpanKind::Server,
            start: start + quote.overhead,
            end: priced_at,
        };
        let failure = failure.map(|_| "no price for this material");
        self.begin_span(&stage, Some(&root), &[KeyValue::new("tenant", quote.tenant)], failure, Effect::None);
        if let Some(priced) = &quote.priced {
            self.begin_later_stages(quote, priced, &root, (priced_at, end));
        }
    }

    fn begin_later_stages(
        &mut self,
        quote: &Quote,
        priced: &Priced,
        root: &SpanContext,
        (start, end): (SystemTime, SystemTime),
    ) {
        let stage = Stage { service: Service::Dfm, name: "analyze", kind: SpanKind::Server, start, end };
        let failure = priced.analysis_failed.then_some("geometry kernel gave up");
        let file_type = quote.file_type;
        let effect = Effect::Analyzed { file_type, failed: priced.analysis_failed };
        self.begin_span(&stage, Some(root), &[KeyValue::new("file.type", file_type)], failure, effect);

        let tenant = [KeyValue::new("tenant", quote.tenant)];
        let sent = end + priced.send;
        let stage =
            Stage { service: Service::Notification, name: "send", kind: SpanKind::Consumer, start: end, end: sent };
        self.begin_span(&stage, Some(root), &tenant, None, Effect::None);

        if let Some(checkout) = priced.checkout {
            let accepted = sent + TIME_TO_ACCEPT;
            let stage = Stage {
                service: Service::Checkout,
                name: "POST /checkout",
                kind: SpanKind::Server,
                start: accepted,
                end: accepted + checkout,
            };
            self.begin_span(&stage, Some(root), &tenant, None, Effect::Ordered { tenant: quote.tenant });
        }
    }

    /// Starts a span that [`Shop::end_spans`] will end, and gives what its children need.
    fn begin_span(
        &mut self,
        stage: &Stage,
        parent: Option<&SpanContext>,
        attributes: &[KeyValue],
        failure: Option<&'static str>,
        effect: Effect,
    ) -> SpanContext {
        if self.heard.knows(stage.service, stage.end) {
            // Its children may be news: they get a trace of their own.
            return parent.cloned().unwrap_or(SpanContext::NONE);
        }
        let tracer = &self.desks[stage.service as usize].tracer;
        let builder = tracer.span_builder(stage.name).with_kind(stage.kind.clone()).with_start_time(stage.start);
        let context = Context::new();
        let context = match parent {
            Some(parent) => context.with_remote_span_context(parent.clone()),
            None => context,
        };
        let mut span = tracer.build_with_context(builder.with_attributes(attributes.to_vec()), &context);
        if let Some(why) = failure {
            span.set_status(Status::error(why));
        }
        let span_context = span.span_context().clone();
        self.spans_begun += 1;
        self.under_way.insert((stage.end, self.spans_begun), Ending { span, effect });
        span_context
    }

    /// Ends the spans whose end is not after `until`.
    fn end_spans(&mut self, until: SystemTime) {
        let later = self.under_way.split_off(&(until, u64::MAX));
        for ((at, _), ending) in std::mem::replace(&mut self.under_way, later) {
            self.end_span(at, ending);
        }
    }

    fn end_span(&mut self, at: SystemTime, Ending { mut span, effect }: Ending) {
        let context = span.span_context().clone();
        let effect = if at >= self.took_over { effect } else { Effect::None };
        match effect {
            Effect::None => {}
            Effect::Served { seconds, status } => {
                self.instruments.served(seconds, status);
                self.quotes_served += 1;
                if self.quotes_served.is_multiple_of(QUOTES_PER_LINE) {
                    let body = format!("{QUOTES_PER_LINE} quotes served");
                    self.log(Service::QuoteApi, at, Severity::Info, body, &context);
                }
            }
            Effect::Analyzed { file_type, failed } => {
                self.instruments.analyzed(file_type, failed);
                if failed {
                    let body = format!("analysis of a {file_type} file failed, an engineer will look at it");
                    self.log(Service::Dfm, at, Severity::Warn, body, &context);
                }
            }
            Effect::Ordered { tenant } => {
                self.instruments.completed.add(1, &[KeyValue::new("tenant", tenant)]);
                self.log(Service::Checkout, at, Severity::Info, format!("order of {tenant} placed"), &context);
            }
        }
        span.end_with_timestamp(at);
    }

    fn log(&self, service: Service, at: SystemTime, severity: Severity, body: String, of: &SpanContext) {
        let logger = &self.desks[service as usize].logger;
        let mut record = logger.create_log_record();
        record.set_timestamp(at);
        record.set_observed_timestamp(at);
        record.set_severity_number(severity);
        record.set_severity_text(severity.name());
        record.set_body(body.into());
        record.set_trace_context(of.trace_id(), of.span_id(), Some(of.trace_flags()));
        logger.emit(record);
    }

    /// Ends every span, sends what is left and gives the account.
    async fn close(mut self) -> Sent {
        if let Some((last, _)) = self.under_way.last_key_value() {
            self.end_spans(last.0);
        }
        // Closing waits for the network on the calling thread.
        let closing = self.desks.map(|desk| tokio::task::spawn_blocking(move || desk.providers.close()));
        for task in closing {
            // A task fails only by a panic in the SDK, which the account of the others survives.
            if task.await.is_err() {
                tracing::warn!("closing an exporter of the demo failed");
            }
        }
        self.ledger.sent()
    }
}

/// When the first tick is over: everything that it holds is then in the past.
fn first_tick(begin: SystemTime) -> Instant {
    let now = Instant::now();
    let opening = match begin.elapsed() {
        Ok(passed) => now.checked_sub(passed).unwrap_or(now),
        Err(ahead) => now + ahead.duration(),
    };
    opening + TICK
}

/// A span to begin.
struct Stage {
    service: Service,
    name: &'static str,
    kind: SpanKind,
    start: SystemTime,
    end: SystemTime,
}

impl Desk {
    fn new(providers: Providers) -> Self {
        let (tracer, logger) = (providers.tracer.tracer(SCOPE), providers.logger.logger(SCOPE));
        Self { providers, tracer, logger }
    }
}

/// The instruments of all services.
#[derive(Debug)]
struct Instruments {
    requests: Counter<u64>,
    http_duration: Histogram<f64>,
    conversion: Gauge<f64>,
    margin: Gauge<f64>,
    analyses: Counter<u64>,
    completed: Counter<u64>,
    breaker: Gauge<i64>,
    memory: [Gauge<f64>; Service::ALL.len()],
}

impl Instruments {
    fn new(desks: &[Desk; Service::ALL.len()]) -> Self {
        let meters = desks.each_ref().map(|desk| desk.providers.meter.meter(SCOPE));
        let [api, pricing, dfm, checkout, _] = &meters;
        let memory = |meter: &opentelemetry::metrics::Meter| {
            meter.f64_gauge("process.memory.usage").with_unit("By").with_description("Resident memory.").build()
        };
        Self {
            requests: api.u64_counter("quotes.requests").with_description("Quotes asked for.").build(),
            http_duration: (api.f64_histogram("http.server.request.duration").with_unit("s"))
                .with_description("Duration of HTTP server requests.")
                .with_boundaries(HTTP_BOUNDS.to_vec())
                .build(),
            conversion: (api.f64_gauge("quote.conversion").with_unit("1"))
                .with_description("Share of the quotes of the last 10 s that became orders.")
                .build(),
            margin: (pricing.f64_gauge("quote.margin").with_unit("1"))
                .with_description("Margin of the quotes relative to its target.")
                .build(),
            analyses: dfm.u64_counter("dfm.analyses").with_description("Parts analysed.").build(),
            completed: checkout.u64_counter("quotes.completed").with_description("Quotes that became orders.").build(),
            breaker: (checkout.i64_gauge("circuit_breaker_state"))
                .with_description("0 closed, 1 open, 2 half-open.")
                .build(),
            memory: meters.each_ref().map(memory),
        }
    }

    fn set(&self, gauges: &Gauges) {
        if let Some(conversion) = gauges.conversion {
            self.conversion.record(conversion, &[]);
        }
        self.margin.record(gauges.margin, &[]);
        self.breaker.record(gauges.breaker, &[KeyValue::new("breaker", "tax-service")]);
        for (gauge, bytes) in self.memory.iter().zip(gauges.memory) {
            gauge.record(bytes, &[]);
        }
    }

    fn served(&self, seconds: f64, status: i64) {
        let attributes = [
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", "/quotes"),
            KeyValue::new("http.response.status_code", status),
        ];
        self.http_duration.record(seconds, &attributes);
    }

    fn analyzed(&self, file_type: &'static str, failed: bool) {
        let outcome = if failed { "failed" } else { "ok" };
        self.analyses.add(1, &[KeyValue::new("file.type", file_type), KeyValue::new("outcome", outcome)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(endpoint: &str) -> Result<Shop, ShopError> {
        let script = Script::scaled(Script::SHORTEST, 1).expect("long enough");
        Shop::start(endpoint, script, 1, SystemTime::now())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_endpoint_that_is_no_url_is_named() {
        let error = shop("not a url").expect_err("no URL");
        assert!(error.to_string().starts_with("OTLP endpoint `not a url`: "), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_end_in_their_time_and_none_is_forgotten() {
        // Nothing leaves a silent exporter, so that the test needs no receiver.
        let mut shop = shop("http://127.0.0.1:1").expect("a URL");
        for _ in 0..300 {
            shop.tick();
            shop.desks.iter().for_each(|desk| desk.providers.set_silent(true));
            let now = shop.begin + shop.simulation.now();
            assert!(shop.under_way.keys().all(|(end, _)| *end > now));
            // A quote and what follows it lasts about half a second, so some twenty are under way.
            assert!(shop.under_way.len() < 200, "{} spans under way", shop.under_way.len());
        }
        let begun = shop.spans_begun;
        assert!(begun > 300 * 4 * 4, "{begun} spans in 30 s");
        let sent = shop.close().await;
        assert_eq!(sent.spans, 0);
        assert!(sent.withheld >= begun, "{begun} spans begun, {sent:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_shutdown_ends_the_run_and_failed_exports_are_in_the_account() {
        let shop = shop("http://127.0.0.1:1").expect("a URL");
        let sent = shop.run(tokio::time::sleep(Duration::from_millis(350))).await;
        assert!(sent.spans == 0 && sent.failures > 0, "{sent:?}");
    }
}
