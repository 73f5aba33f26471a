//! The HTTP interface: our own REST, Prometheus's query API, `/metrics`, and the page.
//!
//! Every question is a tenant's ([`Asked`]), and sees of the service what is this tenant's.
//!
//! Handlers only read: the [`View`](crate::view::View) that the pipeline shows, and the ledger. The one thing that
//! people can change here, a pinned level, is written to the ledger and then told to the pipeline.
//! Whatever a request can make expensive runs on a thread that may block, a few at a time.

mod alertmanager;
mod anomalies;
mod asked;
mod body;
mod cors;
mod degradation;
mod deliveries;
mod feed;
mod feedback;
mod fields;
mod incidents;
mod json;
mod ofrep;
mod openapi;
mod params;
mod peers;
mod pin;
mod places;
mod problem;
mod prometheus;
mod red;
mod reload;
mod series;
mod services;
mod sql;
mod starting;
mod status;
mod stream;
#[cfg(test)]
mod testing;
mod watch;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
};
use detect::{UnixNanos, rules::RuleGroup};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    config::Config,
    faces::Faces,
    journal::LogStatus,
    metrics,
    pipeline::Command,
    reload::{ReloadStatus, Reloader},
    runbooks::Runbooks,
    ui,
};

pub(crate) use self::{
    anomalies::find as anomaly,
    asked::{Asked, Link},
    cors::Origins,
    json::{AnomalyJson, LevelChangeJson, rfc3339},
    params::encoded,
    problem::Problem,
    red::Red,
    series::{Chart, ChartPoint, chart},
    services::{ServiceRow, service_rows},
    starting::Gate,
};

#[cfg(feature = "analysis")]
pub(crate) use self::params::{TIME, time};

/// Questions that are worked on at the same time; further ones wait.
const COMPUTATIONS: usize = 4;
/// How long a question waits for its turn before it is refused.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the interface reads and whom it tells.
#[derive(Debug)]
pub(crate) struct Api {
    /// What each tenant sees.
    pub faces: Arc<Faces>,
    /// To the pipeline.
    pub commands: mpsc::Sender<Command>,
    /// What is settled.
    pub info: Present,
    /// Who may ask, and who may not.
    pub access: Arc<ingest::Access>,
    /// Counts of the doors.
    pub ingest: Arc<ingest::Counters>,
    /// Counts of the log; all zero without one.
    pub log: Arc<LogStatus>,
    /// How the configuration was taken up last.
    pub reloads: Arc<ReloadStatus>,
    /// Takes it up; `None` where nobody can.
    pub reloader: Option<Arc<Reloader>>,
}

impl Api {
    /// What is settled.
    pub(crate) fn info(&self) -> Arc<Info> {
        self.info.get()
    }
}

/// What is settled, until the configuration is reloaded. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Present(Arc<RwLock<Arc<Info>>>);

impl Present {
    /// At first `info`.
    pub(crate) fn new(info: Info) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(info))))
    }

    /// As it is now.
    pub(crate) fn get(&self) -> Arc<Info> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on `info`.
    pub(crate) fn replace(&self, info: Arc<Info>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = info;
    }
}

/// What was settled when the service started.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// Version of this binary.
    pub version: &'static str,
    /// Wall time of the start.
    pub started_at: UnixNanos,
    /// Where OTLP/gRPC listens.
    pub grpc_address: SocketAddr,
    /// Where OTLP/HTTP listens.
    pub http_address: SocketAddr,
    /// Where this interface listens.
    pub api_address: SocketAddr,
    /// Whether the OTLP doors speak TLS.
    pub is_encrypted: bool,
    /// Whether the OTLP doors want a client's certificate.
    pub wants_certificates: bool,
    /// Where the ledger is.
    pub data_dir: PathBuf,
    /// How this service is reached from where its links are read.
    pub external_url: String,
}

/// What was settled when the service started, or the configuration was reloaded.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    /// What no reload changes.
    pub start: Start,
    /// Whether the doors and this interface want a credential.
    pub is_guarded: bool,
    /// How a change that somebody asks for is tried.
    pub trial: detect::TrialConfig,
    /// The rules in force.
    pub rules: Vec<RuleGroup>,
    /// Names of those who are told about alerts.
    pub receivers: Vec<String>,
    /// How long an alert of others lasts that nobody posts again.
    pub resolve_timeout: Duration,
    /// What to do about alerts.
    pub runbooks: Arc<Runbooks>,
    /// Whose pages may read the level.
    pub origins: Origins,
    /// How often the applications of a tenant may ask for flags.
    pub evaluations: ingest::Rate,
    /// Streams of the level, of all tenants together, that may be open at the same time. One costs its connection; what
    /// is said is shared.
    pub max_streams: usize,
    /// Which of the nodes of its cluster this one is, if there are others.
    pub position: Option<usize>,
}

impl Info {
    /// With `config` in force, and the rules and runbooks that were read by it.
    pub(crate) fn new(start: Start, config: &Config, rules: Vec<RuleGroup>, runbooks: Runbooks) -> Self {
        Self {
            start,
            is_guarded: !config.ingest.access.credentials.is_empty(),
            trial: detect::TrialConfig { zscore: config.engine.zscore.clone(), entity: config.engine.entity.clone() },
            rules,
            receivers: config.receivers.iter().map(|r| r.name().to_owned()).collect(),
            resolve_timeout: config.resolve_timeout,
            runbooks: Arc::new(runbooks),
            origins: config.origins.clone(),
            evaluations: config.evaluations,
            max_streams: config.max_streams,
            position: config.delivery.cluster.as_ref().map(alerting::Cluster::position),
        }
    }
}

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) api: Api,
    computations: Arc<Semaphore>,
    streams: places::Places,
    quota: ofrep::Quota,
    feeds: feed::Feeds,
    #[cfg(feature = "analysis")]
    workers: crate::analysis::Workers,
}

/// No turn came within [`LONGEST_WAIT`], or the service is shutting down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy;

impl From<Busy> for Problem {
    fn from(_: Busy) -> Self {
        Self::busy("too many questions are being worked on")
    }
}

impl Shared {
    fn new(api: Api) -> Self {
        Self {
            api,
            computations: Arc::new(Semaphore::new(COMPUTATIONS)),
            streams: places::Places::default(),
            quota: ofrep::Quota::default(),
            feeds: feed::Feeds::default(),
            #[cfg(feature = "analysis")]
            workers: crate::analysis::Workers::default(),
        }
    }

    /// Room for one more stream.
    fn stream_place(&self) -> Result<places::Place, places::Full> {
        self.streams.take(self.api.info().max_streams)
    }

    /// Does `work` on a thread that may block, when its turn has come.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let turn = Arc::clone(&self.computations).acquire_owned();
        let turn = tokio::time::timeout(LONGEST_WAIT, turn).await.map_err(|_| Busy)?.map_err(|_| Busy)?;
        // The turn goes along: work goes on when the asker has gone away, and counts until it ends.
        let done = tokio::task::spawn_blocking(move || {
            let answer = work();
            drop(turn);
            answer
        });
        done.await.map_err(|_| Busy)
    }
}

/// The whole interface.
pub(crate) fn router(api: Api) -> Router {
    let shared = Arc::new(Shared::new(api));
    Router::new()
        .merge(prometheus::routes())
        .merge(alertmanager::routes())
        .merge(anomalies::routes())
        .merge(feedback::routes())
        .merge(incidents::routes())
        .merge(services::routes())
        .merge(degradation::routes())
        .merge(ofrep::routes())
        .merge(watch::routes())
        .merge(openapi::routes())
        .merge(sql::routes())
        .merge(reload::routes())
        .merge(status::routes())
        .merge(deliveries::routes())
        .merge(peers::routes())
        .merge(metrics::routes())
        .merge(ui::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), asked::guard))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), cors::cors))
        .layer(middleware::map_response(with_safe_headers))
        .with_state(shared)
}

async fn unknown_path(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") || uri.path().starts_with("/ofrep/") {
        return Problem::new(StatusCode::NOT_FOUND, "there is nothing under this path").into_response();
    }
    ui::not_found()
}

/// The router adds the `Allow` header.
async fn wrong_method(request: Request) -> Problem {
    let detail = format!("{} is not served under this path", request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Nothing that we answer may be taken for something else, framed, or kept; and no page of ours may
/// load or run anything but our own style sheet and images.
async fn with_safe_headers(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
#[path = "rest/tests.rs"]
mod tests;
