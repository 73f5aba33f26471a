//! What receiving costs before anything is done with what was received: two servers to compare with.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    process::Stdio,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _, Bytes};
use http::{Request, Response};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};
use tonic::{
    Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
    transport::{Server, server::TcpIncoming},
};

/// The frame, stream and connection windows that the receiver under test has as well.
const MAX_FRAME: u32 = 1 << 20;
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
const MAX_MESSAGE: usize = 64 << 20;

/// What a floor server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Floor {
    /// Takes the bytes and drops them.
    Drop,
    /// Decodes the bytes with prost and drops the structs.
    Decode,
}

impl Floor {
    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Drop => "floor: tonic, bytes dropped",
            Self::Decode => "floor: tonic and prost, structs dropped",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Decode => "decode",
        }
    }
}

/// A floor server in a process of its own, killed with this value.
#[derive(Debug)]
pub(crate) struct FloorServer {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    _process: Child,
}

impl FloorServer {
    /// Starts this program again as a server, pinned to `core` if one is given.
    pub(crate) async fn start(floor: Floor, core: Option<u16>) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = match core {
            None => Command::new(program),
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
        };
        command.args(["serve-floor", floor.argument()]).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("cannot start the floor server (is taskset installed?)")?;
        // taskset becomes the program that it starts, so the process is the server's own.
        let pid = process.id().context("the floor server has ended")?;
        let output = process.stdout.take().context("the floor server has no output")?;
        let line = BufReader::new(output).lines().next_line().await?.context("the floor server said nothing")?;
        Ok(Self { address: line.trim().parse()?, pid, _process: process })
    }
}

/// Serves on a free port, whose address is printed, until the process is killed.
pub(crate) async fn serve(floor: Floor) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(listener.local_addr()?);
    Server::builder()
        .max_frame_size(MAX_FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_with_incoming(FloorService(floor), TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent process reads the address from there")]
fn announce(address: SocketAddr) {
    println!("{address}");
}

#[derive(Clone, Copy, Debug)]
struct FloorService(Floor);

impl tower_service::Service<Request<Body>> for FloorService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_metrics = request.uri().path().contains("MetricsService");
        let export = Export { floor: self.0, is_metrics };
        Box::pin(async move {
            let mut grpc = Grpc::new(BytesCodec).max_decoding_message_size(MAX_MESSAGE);
            Ok(grpc.unary(export, request).await)
        })
    }
}

struct Export {
    floor: Floor,
    is_metrics: bool,
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let bytes = request.into_inner();
        let decoded = match (self.floor, self.is_metrics) {
            (Floor::Drop, _) => Ok(bytes.len()),
            (Floor::Decode, true) => ExportMetricsServiceRequest::decode(bytes).map(|r| r.resource_metrics.len()),
            (Floor::Decode, false) => ExportTraceServiceRequest::decode(bytes).map(|r| r.resource_spans.len()),
        };
        ready(match decoded {
            Ok(size) => {
                std::hint::black_box(size);
                Ok(tonic::Response::new(Bytes::new()))
            }
            Err(error) => Err(Status::invalid_argument(error.to_string())),
        })
    }
}

/// Hands the message over as it came.
#[derive(Clone, Copy, Debug)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
