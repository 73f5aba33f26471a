//! HTTP/2 without TLS, and gRPC on it, message by message.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::task::JoinHandle;

use super::{
    http1::{HttpAnswer, PATIENCE, open},
    text::{unbase64, unpercent},
};

/// A client's connection. Its streams may be used at the same time.
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    pings: Option<h2::PingPong>,
}

/// What a gRPC call came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct GrpcAnswer {
    /// The code, 0 to 16; -1 when none was said.
    pub(crate) code: i32,
    pub(crate) message: String,
    /// The bytes of the `google.rpc.Status`; empty when there is none.
    pub(crate) details: Vec<u8>,
    /// The response message; empty when there is none.
    pub(crate) body: Vec<u8>,
    /// Headers of the head and of the trailers.
    pub(crate) headers: Vec<(String, String)>,
}

impl GrpcAnswer {
    /// The first header of this name; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

/// The bytes of one gRPC message.
pub(crate) fn frame(message: &[u8], compressed: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(u8::from(compressed));
    out.put_u32(u32::try_from(message.len()).expect("test messages are below 4 GiB"));
    out.put_slice(message);
    out.freeze()
}

impl Connection {
    /// Connects to `base` (`http://host:port`).
    pub(crate) async fn open(base: &str) -> Self {
        Self::handshake(open(base).await).await.expect("the service speaks HTTP/2")
    }

    /// The same on a connection that is there.
    pub(crate) async fn handshake(stream: tokio::net::TcpStream) -> Result<Self, h2::Error> {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
        let (sender, mut connection) = builder.handshake(stream).await?;
        let pings = connection.ping_pong();
        // It ends when the service closes, or with us.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, driver, pings })
    }

    /// One request and its answer; the trailers are appended to the headers.
    ///
    /// # Errors
    /// When the stream or the connection was ended instead of answered.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<HttpAnswer, h2::Error> {
        let talk = talk(self.sender.clone(), method, path, headers, body);
        let answer = tokio::time::timeout(PATIENCE, talk).await;
        assert!(answer.is_ok(), "{method} {path}: no answer within {PATIENCE:?}");
        answer.expect("was checked above")
    }

    /// What pings are sent with; there is one of it.
    pub(crate) fn pings(&mut self) -> h2::PingPong {
        self.pings.take().expect("is asked for once")
    }

    /// Begins a gRPC call and sends no byte of its message. The stream is reset when dropped.
    pub(crate) async fn open_stream(&self, path: &str) -> h2::SendStream<Bytes> {
        let request = Request::post(format!("http://conformance{path}")).header("content-type", "application/grpc");
        let request = request.body(()).expect("the test's own headers are valid");
        let mut sender = self.sender.clone().ready().await.expect("the connection is there");
        sender.send_request(request, false).expect("the connection takes streams").1
    }

    /// One gRPC call with these bytes as the request's whole body.
    ///
    /// # Errors
    /// When the stream or the connection was ended instead of answered.
    pub(crate) async fn call(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<GrpcAnswer, h2::Error> {
        let mut all = vec![("content-type", "application/grpc"), ("te", "trailers")];
        all.extend(headers);
        let answer = self.request("POST", path, &all, body).await?;
        Ok(GrpcAnswer {
            code: answer.header("grpc-status").parse().unwrap_or(-1),
            message: unpercent(answer.header("grpc-message")),
            details: unbase64(answer.header("grpc-status-details-bin")),
            body: answer.body.get(5..).unwrap_or_default().to_vec(),
            headers: answer.headers,
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn talk(
    sender: SendRequest<Bytes>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<HttpAnswer, h2::Error> {
    let mut request = Request::builder().method(method).uri(format!("http://conformance{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("the test's own headers are valid");
    let is_empty = body.is_empty();
    let (response, mut stream) = sender.ready().await?.send_request(request, is_empty)?;
    if !is_empty {
        // The service may have answered and closed the stream already; then the answer counts.
        let _ = stream.send_data(body, true);
    }
    let (head, mut incoming) = response.await?.into_parts();
    let mut answer = HttpAnswer { status: head.status.as_u16(), ..HttpAnswer::default() };
    note(&head.headers, &mut answer.headers);
    while let Some(data) = incoming.data().await {
        let data = data?;
        answer.body.extend(&data);
        incoming.flow_control().release_capacity(data.len())?;
    }
    if let Some(trailers) = incoming.trailers().await? {
        note(&trailers, &mut answer.headers);
    }
    Ok(answer)
}

fn note(from: &HeaderMap, to: &mut Vec<(String, String)>) {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    to.extend(from.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))));
}
