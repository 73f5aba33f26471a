//! The receivers: both sockets bound before any work, one shutdown for both.

mod accept;
mod connection;
mod pings;
mod pulse;
mod tls;

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use http::{Request, Response};
use tokio::{net::TcpListener, sync::watch};
use tonic::body::Body;
use tower_service::Service as _;

use self::{connection::Serves, tls::Tls};
pub use self::{
    pulse::Pulse,
    tls::{TlsConfig, TlsError},
};
use crate::{
    AccessConfig, AdmissionConfig, Counters, Limits, Queue,
    door::{Door, Doorkeeper, Transport},
    grpc::Grpc,
    http as http_door,
};

const MIB: usize = 1024 * 1024;
/// How long requests in flight have to end once the service is shutting down.
const DRAIN: Duration = Duration::from_secs(10);

/// Where the doors are and what fits through them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address of the gRPC door. Default 127.0.0.1:4317; port 0 takes a free one.
    pub grpc_listen: SocketAddr,
    /// Address of the HTTP door. Default 127.0.0.1:4318; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// Largest request in bytes, compressed and uncompressed. Default 64 MiB.
    pub max_request_bytes: usize,
    /// Bounds on the parts of a request.
    pub limits: Limits,
    /// Who may come in. Default: everybody, for the default tenant.
    pub access: AccessConfig,
    /// How much each may take.
    pub admission: AdmissionConfig,
    /// Certificates of both doors. Default: none, and no TLS.
    pub tls: Option<TlsConfig>,
    /// How many connections, and for how long.
    pub connections: ConnectionLimits,
}

/// Bounds on the connections of one door. Whoever takes more than 50 s to begin a request (or to ping) or to send one's
/// head, 30 s for a body or 10 s for a TLS handshake is let go in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// At the same time; more wait to be accepted. Default 1024.
    pub max: usize,
    /// How long one may be without a request, or a ping of HTTP/2, before it is closed. Default 5 min; over HTTP/1 at
    /// most 50 s, as for a head.
    pub idle: Duration,
    /// After which time one is asked to end, so that senders spread anew; a tenth more or less. Default
    /// 1 h.
    pub age: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { max: 1024, idle: Duration::from_mins(5), age: Duration::from_hours(1) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grpc_listen: (Ipv4Addr::LOCALHOST, 4317).into(),
            http_listen: (Ipv4Addr::LOCALHOST, 4318).into(),
            max_request_bytes: 64 * MIB,
            limits: Limits::default(),
            access: AccessConfig::default(),
            admission: AdmissionConfig::default(),
            tls: None,
            connections: ConnectionLimits::default(),
        }
    }
}

/// A door's address could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for OTLP/{}: {source}", transport.as_str())]
pub struct BindError {
    /// The configured address.
    pub address: SocketAddr,
    /// Whose door it is.
    pub transport: Transport,
    /// What the system said.
    pub source: std::io::Error,
}

/// The doors cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// An address could not be taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Both doors, bound and not yet open.
#[derive(Debug)]
pub struct Receivers {
    grpc: TcpListener,
    http: TcpListener,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    config: Config,
    tls: Option<Arc<Tls>>,
    keeper: Doorkeeper,
    counters: Arc<Counters>,
    pulse: Arc<Pulse>,
}

impl Receivers {
    /// Reads the certificates and takes both addresses.
    ///
    /// # Errors
    /// [`ReceiverError`] naming the file, or the address that is taken or not ours.
    pub async fn bind(config: &Config) -> Result<Self, ReceiverError> {
        let tls = config.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        let (grpc, grpc_address) = listen(config.grpc_listen, Transport::Grpc).await?;
        let (http, http_address) = listen(config.http_listen, Transport::Http).await?;
        let counters = Arc::default();
        let keeper = Doorkeeper::new(config, &counters);
        let (config, pulse) = (config.clone(), Arc::default());
        Ok(Self { grpc, http, grpc_address, http_address, keeper, config, tls, counters, pulse })
    }

    /// The gRPC door's address, with the port that was taken.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// The HTTP door's address, with the port that was taken.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Who decides whether somebody is let in.
    #[must_use]
    pub fn keeper(&self) -> Doorkeeper {
        self.keeper.clone()
    }

    /// What will have passed the doors.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Whether both doors still take connections.
    #[must_use]
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Serves both doors into `queue` until `shutdown`, then takes no new connections and gives the
    /// requests in flight 10 s to end. Those that have not ended then are left behind: they end
    /// with the runtime, unanswered, and their senders will send again.
    pub async fn run(self, queue: Queue, shutdown: impl Future<Output = ()>) {
        let door = Door::new(&self.config, self.keeper, Arc::clone(&self.counters), queue);
        let (stop, stopped) = watch::channel(false);
        let grpc = connection::Door {
            service: Grpc { door: door.of(Transport::Grpc) },
            transport: Transport::Grpc,
            tls: self.tls.clone(),
            limits: self.config.connections.clone(),
            counters: Arc::clone(&self.counters),
            pulse: Arc::clone(&self.pulse),
        };
        let http = connection::Door {
            service: http_door::router(door.of(Transport::Http)),
            transport: Transport::Http,
            tls: self.tls.clone(),
            limits: self.config.connections,
            counters: Arc::clone(&self.counters),
            pulse: self.pulse,
        };
        let certificates = async {
            match self.tls {
                Some(tls) => tls.follow().await,
                None => std::future::pending().await,
            }
        };
        let doors = async {
            tokio::select! {
                _ = async {
                    tokio::join!(
                        accept::serve(self.grpc, grpc, stopped.clone()),
                        accept::serve(self.http, http, stopped.clone()),
                    )
                } => {}
                () = certificates => {}
            }
        };
        tokio::pin!(doors);
        tokio::select! {
            () = &mut doors => return,
            () = shutdown => {}
        }
        stop.send_replace(true);
        if tokio::time::timeout(DRAIN, doors).await.is_err() {
            tracing::warn!(seconds = DRAIN.as_secs(), "requests were still in flight when the time to drain ended");
        }
    }
}

async fn listen(address: SocketAddr, transport: Transport) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError { address, transport, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Serves for Grpc {
    type ResponseBody = Body;

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        crate::grpc::answer(&self.door, request).await
    }
}

impl Serves for Router {
    type ResponseBody = axum::body::Body;

    async fn answer(mut self, request: Request<Body>) -> Response<axum::body::Body> {
        let Ok(answer) = self.call(request).await;
        answer
    }
}

#[cfg(test)]
mod tests;
