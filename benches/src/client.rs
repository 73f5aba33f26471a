//! The sending side: connections that keep one request in flight each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::{
    cpu,
    payload::{self, Payload, Place, Shape, Signal},
};

const WARM_UP: Duration = Duration::from_secs(1);
const SEND_BUFFER: usize = 4 << 20;
const WINDOW: u32 = 1 << 20;

/// What is sent, how, and for how long.
#[derive(Debug)]
pub(crate) struct Load {
    shape: Shape,
    time: Duration,
    /// What each connection sends. Each series belongs to one of them, so that it moves forward in order.
    cycles: Vec<Vec<Owned>>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Items in requests that were answered with success.
    items: u64,
    /// Bytes of those requests.
    bytes: u64,
    time: Duration,
    cpu: Option<Duration>,
    /// The receiver's greatest resident memory, in bytes.
    pub(crate) memory: Option<u64>,
}

impl Measured {
    /// Items per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.items as f64 / self.time.as_secs_f64()
    }

    /// Bytes of requests per second, in millions.
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64()
    }

    /// The receiver's CPU seconds for a million items; NaN where they could not be read.
    pub(crate) fn cpu_per_million(&self) -> f64 {
        self.cpu.map_or(f64::NAN, |cpu| cpu.as_secs_f64() / (self.items as f64 / 1e6))
    }
}

impl Load {
    /// Encodes the requests. `connections` is at most the shape's number of requests.
    pub(crate) fn new(shape: Shape, connections: usize, time: Duration) -> Self {
        let start = now_nanos();
        let own = |number: usize| {
            let Payload { bytes, items, places } = Payload::new(&shape, number, start);
            Owned { bytes: bytes.into(), items, places }
        };
        let of = |index: usize| (0..shape.requests).filter(|n| n % connections == index).map(own).collect();
        Self { shape, time, cycles: (0..connections).map(of).collect() }
    }

    /// Loads the receiver at `address`; with its process, its CPU time is read as well. Every request is
    /// sent once before the measurement, so that the receiver knows every series.
    ///
    /// # Errors
    /// Any request that is not taken whole: figures of a receiver that refuses are worth nothing.
    pub(crate) async fn run(&mut self, address: SocketAddr, pid: Option<u32>) -> Result<Measured> {
        let mut warming = Vec::new();
        for cycle in std::mem::take(&mut self.cycles) {
            let connection = Connection::open(address, self.shape.signal, cycle).await?;
            warming.push(tokio::spawn(connection.send_cycle(None)));
        }
        let mut connections = Vec::new();
        for task in warming {
            connections.push(task.await.context("a connection's task stopped")??);
        }
        let begin = Instant::now() + WARM_UP;
        let end = begin + self.time;
        let senders: Vec<_> = connections.into_iter().map(|c| tokio::spawn(c.send_until(begin, end))).collect();
        tokio::time::sleep_until(begin.into()).await;
        let cpu_before = pid.map(cpu::time_of).transpose()?;
        let mut measured = Measured::default();
        for sender in senders {
            let (sent, cycle) = sender.await.context("a connection's task stopped")??;
            measured.items += sent.items;
            measured.bytes += sent.bytes;
            self.cycles.push(cycle);
        }
        measured.time = begin.elapsed();
        let cpu_after = pid.map(cpu::time_of).transpose()?;
        measured.cpu = cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        measured.memory = pid.map(cpu::peak_memory_of).transpose()?;
        Ok(measured)
    }
}

impl Load {
    /// Sends every request once for each of `times`, in nanoseconds since the epoch, as fast as it is taken.
    /// Returns how many items that were.
    ///
    /// # Errors
    /// Any request that is not taken whole.
    pub(crate) async fn fill(&mut self, address: SocketAddr, times: &[u64]) -> Result<u64> {
        let mut senders = Vec::new();
        for cycle in std::mem::take(&mut self.cycles) {
            let mut connection = Connection::open(address, self.shape.signal, cycle).await?;
            let times = times.to_vec();
            senders.push(tokio::spawn(async move {
                for time in times {
                    connection = connection.send_cycle(Some(time)).await?;
                }
                Ok::<_, anyhow::Error>(connection.cycle)
            }));
        }
        let mut items = 0;
        for sender in senders {
            let cycle = sender.await.context("a connection's task stopped")??;
            items += cycle.iter().map(|owned| owned.items).sum::<u64>() * times.len() as u64;
            self.cycles.push(cycle);
        }
        Ok(items)
    }
}

/// A request of a connection's cycle.
#[derive(Debug)]
struct Owned {
    bytes: Bytes,
    items: u64,
    places: Vec<Place>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    uri: String,
    cycle: Vec<Owned>,
    last: u64,
}

impl Connection {
    async fn open(address: SocketAddr, signal: Signal, cycle: Vec<Owned>) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .max_send_buf_size(SEND_BUFFER)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, uri: format!("http://{address}{}", signal.path()), cycle, last: 0 })
    }

    /// Sends each request of its cycle once, with this time or that of now.
    async fn send_cycle(mut self, time: Option<u64>) -> Result<Self> {
        for index in 0..self.cycle.len() {
            self.send(index, time).await?;
        }
        Ok(self)
    }

    /// Sends its cycle again and again; counts what is answered between the two times.
    async fn send_until(mut self, begin: Instant, end: Instant) -> Result<(Measured, Vec<Owned>)> {
        let mut measured = Measured::default();
        for index in (0..self.cycle.len()).cycle() {
            self.send(index, None).await?;
            let answered = Instant::now();
            if answered >= end {
                break;
            }
            if answered >= begin {
                measured.items += self.cycle[index].items;
                measured.bytes += self.cycle[index].bytes.len() as u64;
            }
        }
        Ok((measured, self.cycle))
    }

    /// Sends a request with this time, or that of now, and waits until all of it was taken.
    async fn send(&mut self, index: usize, time: Option<u64>) -> Result<()> {
        let owned = &mut self.cycle[index];
        self.last = time.unwrap_or_else(|| now_nanos().max(self.last + 1));
        // The last request's bytes have been sent, so nobody else holds them and nothing is copied.
        let mut bytes = match std::mem::take(&mut owned.bytes).try_into_mut() {
            Ok(bytes) => bytes,
            Err(shared) => BytesMut::from(&shared[..]),
        };
        payload::stamp(&owned.places, &mut bytes, self.last);
        owned.bytes = bytes.freeze();
        let request = Request::post(&self.uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(owned.bytes.clone()))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?;
        is_ok(body.trailers().filter(|t| t.contains_key("grpc-status")).unwrap_or(&head.headers))?;
        is_whole(&body.to_bytes())
    }
}

/// An error unless the call succeeded.
fn is_ok(trailers: &HeaderMap) -> Result<()> {
    let text = |name: &str| trailers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("none");
    match text("grpc-status") {
        "0" => Ok(()),
        status => bail!("the receiver refused a request: grpc-status {status}, {}", text("grpc-message")),
    }
}

/// An error if a framed response names partial success; the three signals' responses are alike.
fn is_whole(framed: &[u8]) -> Result<()> {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
    use prost::Message as _;
    let message = framed.get(5..).context("answer without a message")?;
    match ExportMetricsServiceResponse::decode(message)?.partial_success {
        None => Ok(()),
        Some(partial) => {
            bail!("the receiver rejected {} items: {}", partial.rejected_data_points, partial.error_message)
        }
    }
}

/// The wall clock, in nanoseconds since the epoch.
pub(crate) fn now_nanos() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_success_counts() {
        let headers = |status: &str| {
            HeaderMap::from_iter(
                [("grpc-status".parse().ok(), status.parse())]
                    .into_iter()
                    .filter_map(|(name, value)| Some((name?, value.ok()?))),
            )
        };
        assert!(is_ok(&headers("0")).is_ok());
        assert!(is_ok(&headers("8")).is_err());
        assert!(is_ok(&HeaderMap::new()).is_err(), "a call without a status did not succeed");
        assert!(is_whole(&[0, 0, 0, 0, 0]).is_ok());
        // Field 1, partial success; in it field 1, one rejected item.
        assert!(is_whole(&[0, 0, 0, 0, 4, 0x0a, 2, 8, 1]).is_err());
        assert!(is_whole(&[]).is_err());
    }
}
