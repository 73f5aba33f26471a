//! One connection from its handshake to its end: who is slow, idle or old is let go.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;

use super::{ConnectionLimits, Pulse, pings::Heard, tls::Tls};
use crate::{Counters, Transport, door::InFlight};

const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;
/// Large frames and windows more than halve the cost of taking large requests.
const MAX_FRAME: u32 = MIB;
const STREAM_WINDOW: u32 = 4 * MIB;
const CONNECTION_WINDOW: u32 = 16 * MIB;
const MAX_STREAMS: u32 = 128;
/// Calls that a peer may have given up before they were seen: after a pause of ours those are all that it has tried
/// meanwhile, and more are a flood.
const MAX_GIVEN_UP: usize = 2 * MAX_STREAMS as usize;
const MAX_HEADERS: u32 = 16 * KIB;
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the first request or ping may take to begin, and the head of an HTTP/1 request to arrive (counted
/// from the end of the one before it).
const HEAD: Duration = Duration::from_secs(50);
/// How long a connection that was told to end may go on without a request in flight: HTTP/2 waits for
/// the peer to say that it has heard.
const GRACE: Duration = Duration::from_secs(5);
/// How long it may go on at the most.
const BUSY_GRACE: Duration = Duration::from_secs(60);
/// A tenth earlier or later, so that connections that began together do not end together.
const AGE_JITTER: f64 = 0.1;

/// What a door's service is to a connection.
pub(super) trait Serves: Clone + Send + Sync + 'static {
    type ResponseBody: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + 'static;

    fn answer(self, request: Request<Body>) -> impl Future<Output = Response<Self::ResponseBody>> + Send;
}

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What all connections of a door share.
#[derive(Clone, Debug)]
pub(super) struct Door<S> {
    pub(super) service: S,
    pub(super) transport: Transport,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) limits: ConnectionLimits,
    pub(super) counters: Arc<Counters>,
    pub(super) pulse: Arc<Pulse>,
}

/// Serves `stream`, which comes from `peer`, until it ends, or a limit or `stopped` ends it.
pub(super) async fn serve<S: Serves>(stream: TcpStream, peer: IpAddr, door: Door<S>, stopped: watch::Receiver<bool>) {
    let served = match &door.tls {
        None => drive(stream, peer, &door, stopped).await,
        Some(tls) => {
            let acceptor = TlsAcceptor::from(tls.server(door.transport));
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drive(stream, peer, &door, stopped).await,
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(error, transport = door.transport.as_str(), "connection ended");
    }
}

async fn drive<S: Serves>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    door: &Door<S>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), BoxError> {
    let activity = Arc::new(Activity::new(&door.limits));
    let service = Tracked {
        service: door.service.clone(),
        activity: Arc::clone(&activity),
        peer,
        counters: Arc::clone(&door.counters),
    };
    let builder = builder(door.transport);
    let pinged = Arc::clone(&activity);
    let stream = Heard::new(stream, move || pinged.goes_on());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let jitter = 1.0 + AGE_JITTER * (2.0 * fastrand::f64() - 1.0);
    let old = Instant::now().checked_add(door.limits.age.mul_f64(jitter));
    loop {
        let idle = activity.idle_at();
        tokio::select! {
            served = connection.as_mut() => return served,
            // An error means that the one who could stop us is gone, which is a stop as well.
            _ = stopped.wait_for(|is_stopped| *is_stopped) => break,
            () = until(old) => break,
            () = until(idle) => {
                // Something may have begun or ended since the time was set.
                if activity.idle_at().is_some_and(|at| at <= Instant::now()) {
                    break;
                }
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    let last = Instant::now() + BUSY_GRACE;
    loop {
        match tokio::time::timeout(GRACE, connection.as_mut()).await {
            Ok(served) => return served,
            Err(_) if activity.is_busy() && Instant::now() < last => {}
            Err(_) => return Err("did not end when it was told to".into()),
        }
    }
}

/// Waits for a time, or for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn builder(transport: Transport) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    if transport == Transport::Grpc {
        builder = builder.http2_only();
    }
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_frame_size(MAX_FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_GIVEN_UP)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

/// What a connection is doing.
#[derive(Debug)]
struct Activity {
    idle: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    requests: usize,
    /// When it is idle for too long, if nothing begins before.
    idle_at: Option<Instant>,
}

impl Activity {
    fn new(limits: &ConnectionLimits) -> Self {
        let idle_at = Instant::now().checked_add(HEAD);
        Self { idle: limits.idle, state: Mutex::new(State { requests: 0, idle_at }) }
    }

    /// When it will have been idle for too long; a time that is set while requests are in flight is one
    /// to look again.
    fn idle_at(&self) -> Option<Instant> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.requests > 0 { Instant::now().checked_add(self.idle) } else { state.idle_at }
    }

    fn is_busy(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).requests > 0
    }

    /// Notes that the peer is still there.
    fn goes_on(&self) {
        self.change(|requests| requests);
    }

    /// Changes the number of requests in flight, and says what it is then.
    fn change(&self, change: impl FnOnce(usize) -> usize) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { requests: change(state.requests), idle_at: Instant::now().checked_add(self.idle) };
        state.requests
    }
}

/// A door's service that notes what it is doing.
#[derive(Debug)]
struct Tracked<S> {
    service: S,
    activity: Arc<Activity>,
    peer: IpAddr,
    counters: Arc<Counters>,
}

/// A request in flight.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|requests| requests.saturating_sub(1));
    }
}

impl<S: Serves> hyper::service::Service<Request<Incoming>> for Tracked<S> {
    type Response = Response<S::ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_flight = self.activity.change(|requests| requests + 1);
        request.extensions_mut().insert(InFlight(in_flight));
        request.extensions_mut().insert(self.counters.sources().note(self.peer));
        let busy = Busy(Arc::clone(&self.activity));
        let answer = self.service.clone().answer(request.map(Body::new));
        Box::pin(async move {
            let answer = answer.await;
            drop(busy);
            Ok(answer)
        })
    }
}
