//! The receivers: both sockets bound before any work, one shutdown for both.

mod accept;

use std::{
    convert::Infallible,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::{Request, Response};
use tokio::{net::TcpListener, sync::watch};
use tonic::{body::Body, transport::Server};

use crate::{
    Access, AccessConfig, AdmissionConfig, Counters, Limits, Queue,
    door::{Door, Transport},
    grpc::Grpc,
    http as http_door,
};

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;
/// Large frames and windows more than halve the cost of taking large requests.
const MAX_FRAME: u32 = MIB;
const STREAM_WINDOW: u32 = 4 * MIB;
const CONNECTION_WINDOW: u32 = 16 * MIB;
const MAX_STREAMS: u32 = 128;
/// Connections of one door; more wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
const MAX_HEADERS: u32 = 16 * KIB;
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grpc_listen: (Ipv4Addr::LOCALHOST, 4317).into(),
            http_listen: (Ipv4Addr::LOCALHOST, 4318).into(),
            max_request_bytes: 64 * MIB as usize,
            limits: Limits::default(),
            access: AccessConfig::default(),
            admission: AdmissionConfig::default(),
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

/// Both doors, bound and not yet open.
#[derive(Debug)]
pub struct Receivers {
    grpc: TcpListener,
    http: TcpListener,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    config: Config,
    access: Arc<Access>,
    counters: Arc<Counters>,
}

impl Receivers {
    /// Takes both addresses.
    ///
    /// # Errors
    /// [`BindError`] naming the address that is taken or not ours.
    pub async fn bind(config: &Config) -> Result<Self, BindError> {
        let (grpc, grpc_address) = listen(config.grpc_listen, Transport::Grpc).await?;
        let (http, http_address) = listen(config.http_listen, Transport::Http).await?;
        Ok(Self {
            grpc,
            http,
            grpc_address,
            http_address,
            access: Arc::new(Access::new(&config.access)),
            config: config.clone(),
            counters: Arc::default(),
        })
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

    /// Who is let in, for other doors of the same house.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access)
    }

    /// What will have passed the doors.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Serves both doors into `queue` until `shutdown`, then takes no new connections and gives the
    /// requests in flight 10 s to end. Those that have not ended then are left behind: they end
    /// with the runtime, unanswered, and their senders will send again.
    pub async fn run(self, queue: Queue, shutdown: impl Future<Output = ()>) {
        let door = Door::new(&self.config, self.access, self.counters, queue);
        let (stop, stopped) = watch::channel(false);
        let grpc = Grpc { door: door.of(Transport::Grpc) };
        let http = http_door::router(door.of(Transport::Http));
        let doors = async {
            tokio::join!(
                serve(self.grpc, grpc, Transport::Grpc, stopped.clone()),
                serve(self.http, http, Transport::Http, stopped.clone()),
            )
        };
        tokio::pin!(doors);
        tokio::select! {
            _ = &mut doors => return,
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

/// Serves one door; tonic's server is a plain HTTP server with the settings and the graceful end
/// that both doors need.
async fn serve<S, B>(listener: TcpListener, service: S, transport: Transport, stopped: watch::Receiver<bool>)
where
    S: tower_service::Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let server = Server::builder()
        .accept_http1(transport == Transport::Http)
        .max_frame_size(MAX_FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
    let (incoming, accepting) = accept::connections(listener, MAX_CONNECTIONS, until(stopped.clone()));
    let serving = server.serve_with_incoming_shutdown(service, incoming, until(stopped));
    if let (Err(error), ()) = tokio::join!(serving, accepting) {
        tracing::error!(%error, transport = transport.as_str(), "receiver stopped");
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the one who could stop us is gone, which is a stop as well.
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}

#[cfg(test)]
mod tests;
