use std::{path::Path, time::Duration};

use ingest::{Decoder, KnownTenants, Limits, Queue, Refused};
use proto::otlp::{Encoding, Signal};
use tempfile::TempDir;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use super::*;
use crate::{config::Config, faces::Faces, journal::Inlets, view::View};

/// A pipeline for at most three tenants, and the queue in front of it.
struct Fixture {
    directory: TempDir,
    queue: Queue,
    faces: Arc<Faces>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<Vec<Deliverer>>,
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("is a name")
}

fn maker(data_dir: &Path, known: KnownTenants, faces: (Arc<Faces>, watch::Sender<Arc<View>>)) -> Maker {
    let config = Config { keep: Duration::from_hours(1), ..Config::default() };
    Maker {
        settings: Settings::of(&config, Vec::new(), "http://127.0.0.1:4320"),
        history: Some(window::HistoryConfig::default()),
        budget: window::Budget::new(1 << 30),
        data_dir: data_dir.to_owned(),
        external_url: "http://127.0.0.1:4320".into(),
        known,
        faces: faces.0,
        _nothing: faces.1,
        runtime: Handle::current(),
        pulse: Arc::default(),
        commands: None,
        tape: None,
    }
}

impl Fixture {
    fn start(directory: TempDir, expected: &[&str]) -> Result<Self, LineError> {
        let known = KnownTenants::new(3);
        let (queue, submissions) = Queue::new(1 << 20, known.clone());
        let (faces, nothing) = Faces::new().expect("there is memory");
        let faces = Arc::new(faces);
        let maker = maker(directory.path(), known, (Arc::clone(&faces), nothing));
        let mut pipeline = Pipeline::new(maker, expected.iter().map(|name| tenant(name)), None)?;
        let (_, commands) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let inlets = Inlets { submissions, commands, stop: stopped };
        let runtime = Handle::current();
        let running = tokio::task::spawn_blocking(move || {
            runtime.block_on(Journal::in_memory().run(inlets, async |step| pipeline.step(step)));
            pipeline.finish()
        });
        Ok(Self { directory, queue, faces, stop, running })
    }

    /// Sends two points of one series of a service that is called like the tenant, in two requests, as
    /// the doors do: the second one names the series by its number.
    async fn send(&self, name: &str) -> Result<(), Refused> {
        for seconds in [2, 1] {
            let known = self.queue.known(&tenant(name))?;
            let time = now().minus(Duration::from_secs(seconds)).0;
            let body = format!(
                r#"{{"resourceMetrics": [{{"resource": {{"attributes":
                    [{{"key": "service.name", "value": {{"stringValue": "{name}"}}}}]}},
                    "scopeMetrics": [{{"metrics": [{{"name": "load", "gauge": {{"dataPoints":
                    [{{"timeUnixNano": "{time}", "asDouble": 1}}]}}}}]}}]}}]}}"#
            );
            let decoder = Decoder::new(Limits::default());
            let measured = decoder.measure(Signal::Metrics, Encoding::Json, body.as_bytes()).expect("is a request");
            let decoded = decoder.decode(&measured, &known).expect("is a request");
            let rejected = self.queue.submit(tenant(name), decoded.batch, None).await?;
            assert_eq!(rejected.count, 0, "{rejected:?}");
        }
        Ok(())
    }

    fn known(&self) -> Vec<String> {
        self.faces.all().iter().map(|face| face.tenant.to_string()).collect()
    }

    /// Ends it; returns what each tenant saw at the end, by name.
    async fn stop(self) -> (TempDir, BTreeMap<String, Arc<View>>) {
        let faces = self.faces.all();
        self.stop.send(true).expect("it is running");
        for deliverer in self.running.await.expect("no panic") {
            assert!(deliverer.shutdown(Duration::from_secs(10)).await);
        }
        (self.directory, faces.iter().map(|face| (face.tenant.to_string(), face.view())).collect())
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("there is a temporary directory")
}

#[tokio::test]
async fn each_tenant_has_a_line_from_its_first_data_on_and_sees_its_own() {
    let fixture = Fixture::start(directory(), &["Shop"]).expect("starts");
    assert_eq!(fixture.known(), ["Shop", "default"]);
    fixture.queue.known(&tenant("acme")).expect("there is room");
    assert_eq!(fixture.known(), ["Shop", "default"], "asking makes no line");
    for name in ["acme", "Shop", "acme"] {
        fixture.send(name).await.expect("is taken");
    }
    let (_directory, views) = fixture.stop().await;
    let seen = |name: &str| {
        let services: Vec<&str> = views[name].services.iter().map(|(service, _)| &**service).collect();
        (services, views[name].snapshot.registry.named("load").len(), views[name].counts.window.rows[0])
    };
    assert_eq!(seen("acme").0, ["acme"]);
    assert_eq!((seen("acme").1, seen("Shop").1, seen("default").1), (1, 1, 0));
    assert_eq!(seen("Shop").0, ["Shop"]);
    assert!(seen("acme").2 >= 3 && seen("Shop").2 >= 2, "{} {}", seen("acme").2, seen("Shop").2);
    assert_eq!(seen("default"), (vec![], 0, 0));
}

#[tokio::test]
async fn a_tenant_too_many_is_refused_and_leaves_nothing() {
    let fixture = Fixture::start(directory(), &["shop"]).expect("starts");
    fixture.send("acme").await.expect("is taken");
    assert_eq!(fixture.send("bank").await, Err(Refused::Tenants { limit: 3 }));
    let decoded = ingest::Batch::default();
    assert_eq!(
        fixture.queue.submit(tenant("bank"), decoded, None).await,
        Err(Refused::Again),
        "a race for the last place"
    );
    fixture.send("shop").await.expect("the others go on");
    assert_eq!(fixture.known(), ["acme", "default", "shop"]);
    let (directory, _) = fixture.stop().await;
    assert!(!directory.path().join("tenants/bank").exists());

    let again = Fixture::start(directory, &[]).expect("starts");
    assert_eq!(again.known(), ["acme", "default", "shop"], "ledgers remember their tenants");
    let (directory, _) = again.stop().await;
    let error = Fixture::start(directory, &["bank"]).err().expect("there is no room").to_string();
    assert_eq!(error, "tenants.max: 3 tenants are known already");
}
