//! The sending side: connections that keep one request in flight each.

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::{
    cpu,
    payload::{Payload, REQUESTS, Signal},
};

const WARM_UP: Duration = Duration::from_secs(1);
/// Wait before the next request after one that was refused.
const BACK_OFF: Duration = Duration::from_millis(20);
const SEND_BUFFER: usize = 4 << 20;
const WINDOW: u32 = 1 << 20;

/// What is sent, how, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// What.
    pub(crate) signal: Signal,
    /// Connections, at most [`REQUESTS`].
    pub(crate) connections: usize,
    /// How long it is measured.
    pub(crate) time: Duration,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, unit) = (self.time.as_secs(), self.signal.unit());
        write!(f, "{unit}: {} connections, {seconds} s, requests encoded beforehand", self.connections)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Items in requests that were answered with success, less the rejected ones.
    pub(crate) accepted: u64,
    /// Items that partial success names.
    pub(crate) rejected: u64,
    /// Requests that were answered with an error.
    pub(crate) refused: u64,
    bytes: u64,
    time: Duration,
    cpu: Option<Duration>,
}

impl Measured {
    /// Accepted items per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.accepted as f64 / self.time.as_secs_f64()
    }

    /// Bytes of accepted requests per second, in millions.
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64()
    }

    /// The receiver's CPU seconds for a million accepted items, where it could be read.
    pub(crate) fn cpu_per_million(&self) -> Option<f64> {
        let cpu = self.cpu.filter(|_| self.accepted > 0)?;
        Some(cpu.as_secs_f64() / (self.accepted as f64 / 1e6))
    }

    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.refused += other.refused;
        self.bytes += other.bytes;
    }
}

impl Load {
    /// Loads the receiver at `address`; with its process, its CPU time is read as well.
    pub(crate) async fn run(&self, address: SocketAddr, pid: Option<u32>) -> Result<Measured> {
        let begin = Instant::now() + WARM_UP;
        let mut senders = Vec::new();
        for index in 0..self.connections {
            let connection = Connection::open(address, self.signal, index, self.connections).await?;
            senders.push(tokio::spawn(connection.send_until(begin, begin + self.time)));
        }
        tokio::time::sleep_until(begin.into()).await;
        let cpu_before = pid.map(cpu::time_of).transpose()?;
        let mut measured = Measured::default();
        for sender in senders {
            measured.add(sender.await.context("a connection's task stopped")??);
        }
        measured.time = begin.elapsed();
        let cpu_after = pid.map(cpu::time_of).transpose()?;
        measured.cpu = cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        Ok(measured)
    }
}

/// A request of the cycle that this connection owns, so that its series move forward in order.
struct Owned {
    bytes: Bytes,
    times: Vec<(usize, u64)>,
    items: u64,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    uri: String,
    cycle: Vec<Owned>,
}

impl Connection {
    async fn open(address: SocketAddr, signal: Signal, index: usize, connections: usize) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .max_send_buf_size(SEND_BUFFER)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let own = |number: usize| {
            let payload = Payload::new(signal, number);
            Owned { times: payload.times().to_vec(), items: payload.items, bytes: payload.bytes.into() }
        };
        let cycle = (0..REQUESTS).filter(|n| n % connections == index).map(own).collect();
        Ok(Self { sender, uri: format!("http://{address}{}", signal.path()), cycle })
    }

    /// Sends its part of the cycle again and again; counts what is answered between the two times.
    async fn send_until(mut self, begin: Instant, end: Instant) -> Result<Measured> {
        let mut measured = Measured::default();
        let mut last = 0;
        for turn in 0.. {
            let index = turn % self.cycle.len();
            last = now_nanos().max(last + 1);
            let answer = self.send(index, last).await?;
            if Instant::now() >= end {
                break;
            }
            let owned = &self.cycle[index];
            match answer {
                Some(rejected) if Instant::now() >= begin => measured.add(Measured {
                    accepted: owned.items.saturating_sub(rejected),
                    rejected,
                    bytes: owned.bytes.len() as u64,
                    ..Measured::default()
                }),
                Some(_) => {}
                None => {
                    measured.refused += 1;
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
        Ok(measured)
    }

    /// How many items were rejected; `None` when the request was refused.
    async fn send(&mut self, index: usize, now: u64) -> Result<Option<u64>> {
        let owned = &mut self.cycle[index];
        // The last request's bytes have been sent, so nobody else holds them and nothing is copied.
        let mut bytes = match std::mem::take(&mut owned.bytes).try_into_mut() {
            Ok(bytes) => bytes,
            Err(shared) => BytesMut::from(&shared[..]),
        };
        Payload::stamp(&owned.times, &mut bytes, now);
        owned.bytes = bytes.freeze();
        let request = Request::post(&self.uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(owned.bytes.clone()))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        let status = body.trailers().and_then(|t| t.get("grpc-status")).or_else(|| head.headers.get("grpc-status"));
        if status.is_none_or(|s| s != "0") {
            return Ok(None);
        }
        rejected_of(&body.to_bytes()).map(Some)
    }
}

/// The count in a framed response's partial success; the three signals' responses are alike.
fn rejected_of(framed: &[u8]) -> Result<u64> {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
    use prost::Message as _;
    let message = framed.get(5..).context("answer without a message")?;
    let partial = ExportMetricsServiceResponse::decode(message)?.partial_success;
    Ok(partial.and_then(|p| u64::try_from(p.rejected_data_points).ok()).unwrap_or(0))
}

fn now_nanos() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
