//! What receiving costs before anything is done with what was received: two servers to compare with.
//!
//! HTTP/2's settings are those that tonic has by default: what anybody gets who writes such a server.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::Result;
use bytes::{Buf as _, BufMut as _, Bytes};
use http::{Request, Response};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::{
    Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
    transport::{Server, server::TcpIncoming},
};

use crate::{payload::Signal, receiver::ANNOUNCEMENT};

/// Far more than is sent.
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
            Self::Drop => "floor: tonic, bytes dropped (drop)",
            Self::Decode => "floor: tonic and prost, structs dropped (prost)",
        }
    }

    /// Its name on the command line.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Decode => "decode",
        }
    }
}

/// Serves on a free port, whose address is printed, until the process is killed.
pub(crate) async fn serve(floor: Floor) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce(listener.local_addr()?);
    Server::builder()
        .serve_with_incoming(FloorService(floor), TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent process reads the address from there")]
fn announce(address: SocketAddr) {
    println!("{ANNOUNCEMENT} {address}");
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
        let signals = [Signal::Metrics, Signal::Spans, Signal::Logs];
        let signal = signals.into_iter().find(|signal| signal.path() == request.uri().path());
        let export = Export { floor: self.0, signal };
        Box::pin(async move {
            let mut grpc = Grpc::new(BytesCodec).max_decoding_message_size(MAX_MESSAGE);
            Ok(grpc.unary(export, request).await)
        })
    }
}

struct Export {
    floor: Floor,
    signal: Option<Signal>,
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = Ready<Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let bytes = request.into_inner();
        let decoded = match (self.floor, self.signal) {
            (_, None) => return ready(Err(Status::unimplemented("no such method"))),
            (Floor::Drop, _) => Ok(bytes.len()),
            (Floor::Decode, Some(Signal::Metrics)) => {
                ExportMetricsServiceRequest::decode(bytes).map(|r| black_box(r).resource_metrics.len())
            }
            (Floor::Decode, Some(Signal::Spans)) => {
                ExportTraceServiceRequest::decode(bytes).map(|r| black_box(r).resource_spans.len())
            }
            (Floor::Decode, Some(Signal::Logs)) => {
                ExportLogsServiceRequest::decode(bytes).map(|r| black_box(r).resource_logs.len())
            }
        };
        ready(match decoded {
            Ok(size) => {
                black_box(size);
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
