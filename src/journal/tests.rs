use detect::{Level, Pin};
use ingest::{Batch, KnownSeries, KnownTenants, Limits, Queue, Request, Tenant};
use proto::otlp::{Encoding, Signal};
use tempfile::TempDir;
use tokio::sync::oneshot;
use window::LogConfig;

use super::*;

fn decoder() -> Decoder {
    Decoder::new(Limits::default())
}

/// What the doors make of a request in JSON.
fn read(signal: Signal, json: &str) -> (Batch, Option<Request>) {
    let decoder = decoder();
    let body = json.to_owned().into();
    let measured = decoder.measure(signal, Encoding::Json, json.as_bytes()).expect("is a request");
    let batch = decoder.decode(&measured, &KnownSeries::new(0)).expect("is a request").batch;
    let request = (signal != Signal::Metrics).then(|| Request::new(signal, measured.into_body(&body)));
    (batch, request)
}

fn metrics(value: f64) -> (Batch, Option<Request>) {
    let json = format!(
        r#"{{"resourceMetrics": [{{"resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "shop"}}}}]}},
        "scopeMetrics": [{{"metrics": [{{"name": "load", "gauge": {{"dataPoints": [{{"timeUnixNano": "5", "asDouble": {value}}}]}}}}]}}]}}]}}"#
    );
    read(Signal::Metrics, &json)
}

fn spans(name: &str) -> (Batch, Option<Request>) {
    let json = format!(
        r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{{"traceId": "{:032x}", "spanId": "{:016x}", "name": "{name}",
        "startTimeUnixNano": "1", "endTimeUnixNano": "7"}}]}}]}}]}}"#,
        1, 1
    );
    read(Signal::Traces, &json)
}

fn pin(level: Level) -> Pin {
    Pin { level, author: "ann".into(), reason: "drill".into(), expires_at: UnixNanos(9) }
}

/// A log in a directory, what goes in, and what came out.
struct Fixture {
    directory: TempDir,
    status: Arc<LogStatus>,
}

impl Fixture {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("there is a temporary directory"), status: Arc::default() }
    }

    fn journal(&self) -> Journal {
        let (log, _) = Log::open(&self.directory.path().join("log"), LogConfig::default()).expect("opens");
        Journal::durable(log, self.directory.path(), Durability::Acknowledged, Arc::clone(&self.status))
    }

    /// Sends `batches` through a journal; the steps that came out, as text.
    async fn send(&self, batches: Vec<(Batch, Option<Request>)>) -> Vec<String> {
        let (queue, submissions) = Queue::new(1 << 20, KnownTenants::new(2));
        let (command_sender, commands) = mpsc::channel(4);
        let (stop, stopped) = watch::channel(false);
        let mut out = Vec::new();
        let mut journal = self.journal();
        journal.replay(Position(0), &decoder(), |_| {});
        journal.start(None);
        let inlets = Inlets { submissions, commands, stop: stopped };
        let backlog = journal.backlog();
        let sink = async |step: Step| {
            out.push(shown(&step));
            if let Work::Rows(submission) = step.work {
                submission.answer(Ok(Rejections::default()));
                backlog.done(Duration::from_millis(1));
            }
        };
        let feed = async {
            for (batch, request) in batches {
                queue.submit(Tenant::default(), batch, request).await.expect("is taken");
            }
            let (done, _) = oneshot::channel();
            let tenant = Tenant::default();
            let command = Command::Pin { tenant, service: Some("a".into()), pin: Some(pin(Level::ReadOnly)), done };
            command_sender.send(command).await.expect("is running");
            tokio::time::sleep(Duration::from_millis(1)).await;
            stop.send(true).expect("is running");
        };
        tokio::join!(journal.run(inlets, sink), feed);
        out.retain(|step| !step.contains("Tick"));
        out
    }

    /// The steps that the log holds, as text.
    fn replayed(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.journal().replay(Position(0), &decoder(), |step| out.push(shown(&step)));
        out.retain(|step| !step.contains("Tick"));
        out
    }
}

/// A step without what is only of this process.
fn shown(step: &Step) -> String {
    let work = match &step.work {
        Work::Rows(s) => {
            let (numbers, spans) = (&s.batch.numbers, s.batch.spans.len());
            let strangers: Vec<&str> = numbers.strangers.iter().map(|s| &*s.series.name).collect();
            format!("{} {:?} {strangers:?} {spans} spans {:?}", s.tenant, numbers.rows, s.batch.feeds)
        }
        Work::Command(Command::Pin { tenant, service, pin, .. }) => format!("{tenant} {service:?} {pin:?}"),
        other => format!("{other:?}"),
    };
    format!("{} {work}", step.position.0)
}

#[tokio::test]
async fn the_log_holds_what_went_to_the_pipeline_in_its_order() {
    let fixture = Fixture::new();
    let first = fixture.send(vec![metrics(1.5), spans("a"), metrics(f64::MAX)]).await;
    assert_eq!(first.len(), 4, "{first:#?}");
    let replayed = fixture.replayed();
    assert_eq!(replayed[0], "1 Start");
    assert_eq!(replayed[1..], first);
    let second = fixture.send(vec![spans("b")]).await;
    assert_eq!(fixture.replayed()[6..], second);
}

#[tokio::test]
async fn a_request_that_was_in_the_log_is_answered_and_not_taken_twice() {
    let fixture = Fixture::new();
    let first = fixture.send(vec![spans("a"), spans("a")]).await;
    assert_eq!(first.len(), 3, "within one process nothing is a retry: {first:#?}");
    let second = fixture.send(vec![spans("a"), spans("b"), metrics(1.0)]).await;
    assert_eq!(second.len(), 3, "{second:#?}");
    assert_eq!(fixture.status.retries.load(Relaxed), 1);
}

#[tokio::test]
async fn records_that_are_none_are_counted_and_the_rest_is_read() {
    let fixture = Fixture::new();
    {
        let (mut log, _) =
            Log::open(&fixture.directory.path().join("log"), LogConfig::default()).expect("can be opened");
        let tick = Written::tick(UnixNanos(1), true).expect("can be written");
        for record in [&b"no record"[..], &[]] {
            log.append(&[record]).expect("can be appended");
            log.append(&tick.parts()).expect("can be appended");
        }
        let (batch, request) = spans("a");
        let rows = Written::rows(UnixNanos(2), &Tenant::default(), &batch, request.as_ref());
        let rows = rows.expect("can be written");
        let [head, body] = rows.parts();
        log.append(&[head, &body[..body.len() / 2]]).expect("can be appended");
        log.sync().expect("can be synced");
    }
    let mut steps = Vec::new();
    fixture.journal().replay(Position(0), &decoder(), |step| steps.push(shown(&step)));
    assert_eq!(steps, ["2 Tick { cleans: true }", "4 Tick { cleans: true }"]);
    assert_eq!(fixture.status.lost.load(Relaxed), 3);
}

#[test]
fn large_requests_are_packed_and_come_back_as_they_were() {
    for length in [5_000, 200_000, 1_100] {
        let (batch, request) = spans(&"n".repeat(length));
        let rows = Written::rows(UnixNanos(2), &Tenant::default(), &batch, request.as_ref());
        let rows = rows.expect("can be written");
        let [head, body] = rows.parts();
        assert!(body.len() < length / 4, "{} bytes of {length}", body.len());
        let record = [head, body].concat();
        let read = Entry::read(&record, &decoder()).expect("is a record");
        assert_eq!((read.request, read.now), (request.map(|r| r.body.to_vec()), UnixNanos(2)));
        let cut = Entry::read(&record[..record.len() - 1], &decoder()).expect_err("its end is missing");
        assert!(matches!(cut, EntryError::Request(_)), "{cut}");
    }
}

#[test]
fn requests_that_are_not_worth_packing_are_written_as_they_are() {
    let (batch, request) = spans("a");
    let rows = Written::rows(UnixNanos(2), &Tenant::default(), &batch, request.as_ref());
    let rows = rows.expect("can be written");
    let request = request.expect("spans are kept as they came");
    assert_eq!(rows.parts()[1], &request.body[..]);
    // Nothing in them comes twice.
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(5_000).collect();
    let noise = Request::new(Signal::Traces, noise.into());
    let rows = Written::rows(UnixNanos(2), &Tenant::default(), &batch, Some(&noise));
    assert_eq!(rows.expect("can be written").parts()[1], &noise.body[..]);
}

/// The heads are byte for byte those of the first version: what comes later may not change how they are read.
#[test]
fn records_of_earlier_versions_are_read() {
    let (_, request) = spans(&"n".repeat(5_000));
    let body = request.expect("spans are kept as they came").body;
    let packed = zstd::bulk::compress(&body, -5).expect("can be compressed");
    let (low, high) = (body.len() % 128 + 128, body.len() / 128);
    let length = [low, high].map(|part| u8::try_from(part).expect("two digits of seven bits"));
    // Time, kind, tenant, signal, and of how many bytes it was made, if it is compressed.
    let head = [b"\x04\x02\x07default\x01".as_slice(), b"\x01", &length].concat();
    for record in [[&head, &packed[..]].concat(), [b"\x04\x02\x07default\x01\x00".as_slice(), &body].concat()] {
        let read = Entry::read(&record, &decoder()).expect("is a record");
        assert_eq!((read.now, read.request.as_deref()), (UnixNanos(2), Some(&body[..])));
        let Work::Rows(rows) = read.work else { unreachable!("it brings rows") };
        assert_eq!((rows.tenant, rows.batch.spans.len()), (Tenant::default(), 1));
    }
    for (record, wanted) in [
        (&b"\x04\x00\x01"[..], "Tick { cleans: true }"),
        (b"\x04\x04", "Start"),
        (b"\x04\x05\x05", "ClockSet { by: -3 }"),
    ] {
        let read = Entry::read(record, &decoder()).expect("is a record");
        assert_eq!(format!("{:?}", read.work), wanted);
    }
}

#[test]
fn a_clock_that_was_set_is_read_as_it_was_written() {
    let written = Written::clock_set(UnixNanos(2), -3).expect("can be written");
    let entry = Entry::read(&written.parts().concat(), &decoder()).expect("is a record");
    assert!(entry.now == UnixNanos(2) && matches!(entry.work, Work::ClockSet { by: -3 }));
}
