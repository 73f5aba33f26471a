//! `bellwether demo`: serves, and beside it runs a shop that gets into trouble.
//!
//! Nothing is staged between the two: the shop sends OTLP/gRPC to the doors, alerts arrive at a real
//! HTTP receiver, and the report is made of decisions and deliveries.

mod diary;
mod drill;
mod fast;
mod report;
mod script;
mod shop;
mod simulation;
mod sink;
mod telemetry;

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use detect::{AnomalyEvent, Decision};
use tokio::sync::{broadcast, watch};

use self::{
    diary::Diary,
    drill::Drill,
    report::Report,
    script::Script,
    shop::{Heard, Shop},
};
use crate::{app::App, cli::DemoArgs, serve::announce, telemetry::Telemetry};

/// How long after the script's end open alerts may take to resolve and be delivered.
const SETTLE: Duration = Duration::from_secs(30);

/// Runs the demonstration; exit code 1 if anything was missed or false.
///
/// # Errors
/// What kept it from starting.
pub(crate) async fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let script = Script::scaled(Duration::from_secs(args.duration), args.seed)?;
    let telemetry = Telemetry::start("warn");
    let directory = Directory::of(args);
    let diary = Diary::open(directory.path(), args.seed, args.duration)?;
    let sink = sink::Sink::open(&diary).await.context("cannot open the webhook receiver")?;
    let config = fast::config(&script, args.port, &sink.url(), directory.path())?;
    let same = config.clone();
    let app = App::build(config, Arc::new(move || Ok(same.clone()))).await?;
    telemetry.observe(&app.faces());
    introduce(&app, &script, args);
    let begin = diary.before.map_or_else(SystemTime::now, |before| before.begin());
    if diary.before.is_none() {
        diary.begins(args.seed, args.duration, begin)?;
    }
    let (stop, stopped) = watch::channel(false);
    let grpc = format!("http://{}", app.info().start.grpc_address);
    let base = format!("http://{}", app.info().start.api_address);
    let (decisions, view) = (app.decisions(), app.view());
    let mut report = Report::new(script.clone(), begin);
    if diary.before.is_some() {
        goes_on(&app, &mut report, begin).await?;
    }
    let heard = Heard::of(&view.borrow().services);
    let service = tokio::spawn(app.run(wait(stopped.clone())));
    let shop = Shop::start(&grpc, script.clone(), args.seed, begin)?.after(heard);
    let sent = shop.ledger();
    let mut shop = tokio::spawn(shop.run(wait(stopped.clone())));
    let mut follow = Follow { decisions, report: &mut report, sent, begin, total: script.total };
    let interrupted = tokio::select! {
        _ = follow.until_done(&mut shop) => false,
        _ = tokio::signal::ctrl_c() => true,
    };
    if !interrupted {
        follow.settle(&view, &sink).await;
        diary.ends();
    }
    let sent = follow.sent.sent();
    report.take_deliveries(&sink.received());
    print(&report.table(&sent));
    let drilled = !interrupted && drill(&base).await;
    let passed = drilled && report.passed() && sent.failures == 0;
    if args.stay && !interrupted {
        print("The page stays up until Ctrl-C.\n");
        let _ = tokio::signal::ctrl_c().await;
    }
    let _ = stop.send(true);
    let _ = service.await;
    telemetry.stop().await;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lets an application follow the level, and says how it did; whether it did as it should.
async fn drill(base: &str) -> bool {
    match Drill::run(base).await {
        Ok(drill) => {
            print(&drill.table());
            drill.passed()
        }
        Err(error) => {
            print(&format!("\nThe drill with an application that follows the level failed: {error:#}\n"));
            false
        }
    }
}

/// Tells what an earlier process found, and that this one goes on.
async fn goes_on(app: &App, report: &mut Report, begin: SystemTime) -> anyhow::Result<()> {
    let ledger = app.faces().of(&ingest::Tenant::default()).ledger;
    let decided = ledger.ask(diary::decided).await?;
    for decision in &decided {
        // It was told when it was found.
        report.note(decision);
    }
    let _ = report.begun(begin.elapsed().unwrap_or_default());
    print(&format!(
        "The shop goes on where it was {:.0} s after it opened; {} decisions were made before.\n\n",
        begin.elapsed().unwrap_or_default().as_secs_f64(),
        decided.len(),
    ));
    Ok(())
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which means the same.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Tells the story. Nothing is lost if standard output is closed: the exit code says the rest.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn introduce(app: &App, script: &Script, args: &DemoArgs) {
    announce(&app.info());
    print(&format!(
        "\nA quoting shop of five services opens for {} s (seed {}). Everything is {:.0} times as fast as the defaults.\n\
         Warm-up until {} s; then six incidents, each with a recovery. Open {} to watch.\n\n",
        script.total.as_secs(),
        args.seed,
        fast::speed(script),
        script.incidents.first().map_or(0, |i| i.from.as_secs()),
        app.info().start.external_url,
    ));
}

/// Prints what is found while the shop is open.
struct Follow<'r> {
    decisions: broadcast::Receiver<Arc<Decision>>,
    report: &'r mut Report,
    sent: Arc<telemetry::Ledger>,
    begin: SystemTime,
    total: Duration,
}

impl Follow<'_> {
    async fn until_done(&mut self, shop: &mut tokio::task::JoinHandle<telemetry::Sent>) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = &mut *shop => return,
                decision = self.decisions.recv() => self.heard(decision),
                _ = second.tick() => self.progress(),
            }
        }
    }

    /// Waits until no alert is active and every notification has arrived.
    async fn settle(&mut self, view: &watch::Receiver<Arc<crate::view::View>>, sink: &sink::Sink) {
        let deadline = tokio::time::Instant::now() + SETTLE;
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        while tokio::time::Instant::now() < deadline {
            tokio::select! {
                decision = self.decisions.recv() => self.heard(decision),
                _ = tick.tick() => {
                    let quiet = view.borrow().alerts.is_empty();
                    if quiet && sink.received().len() >= self.report.announced() {
                        return;
                    }
                }
            }
        }
    }

    fn heard(&mut self, decision: Result<Arc<Decision>, broadcast::error::RecvError>) {
        let Ok(decision) = decision else { return };
        for incident in self.report.begun(self.elapsed()) {
            self.line(&format!("--- {}: {}", incident.name, incident.what));
        }
        if let Some(text) = self.report.note(&decision) {
            self.line(&text);
        }
    }

    fn progress(&mut self) {
        for incident in self.report.begun(self.elapsed()) {
            self.line(&format!("--- {}: {}", incident.name, incident.what));
        }
        if std::io::stdout().is_terminal() {
            let sent = self.sent.sent();
            let elapsed = self.elapsed().min(self.total).as_secs();
            let now = self.report.now(self.elapsed());
            print(&format!(
                "\r\x1b[K{elapsed:>4} of {} s  {} spans, {} points, {} logs sent  {now}",
                self.total.as_secs(),
                sent.spans,
                sent.points,
                sent.logs,
            ));
        }
    }

    fn elapsed(&self) -> Duration {
        self.begin.elapsed().unwrap_or_default()
    }

    fn line(&self, text: &str) {
        let erase = if std::io::stdout().is_terminal() { "\r\x1b[K" } else { "" };
        print(&format!("{erase}{:>6.1} s  {text}\n", self.elapsed().as_secs_f64()));
    }
}

/// Where a demonstration keeps its data.
enum Directory {
    /// Goes away with the demonstration.
    Scratch(PathBuf),
    /// Was asked for, and stays.
    Given(PathBuf),
}

impl Directory {
    fn of(args: &DemoArgs) -> Self {
        let scratch = || Self::Scratch(std::env::temp_dir().join(format!("bellwether-demo-{}", std::process::id())));
        args.data_dir.clone().map_or_else(scratch, Self::Given)
    }

    fn path(&self) -> &Path {
        let (Self::Scratch(path) | Self::Given(path)) = self;
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Self::Scratch(path) = self {
            // What cannot be removed is left to the system's own cleaning of temporary files.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// Whether this event is the beginning of an anomaly, which is what people want to read about.
fn opened(decision: &Decision) -> Option<&detect::Anomaly> {
    match decision {
        Decision::Anomaly(AnomalyEvent::Opened(anomaly)) => Some(anomaly),
        _ => None,
    }
}
