//! HTTP/1.1 by hand: what is sent is exactly what the test says.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// No answer of the service may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How the end of a request's body is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By `content-length`.
    Length,
    /// In chunks of this many bytes.
    Chunked(usize),
}

/// An HTTP answer, whatever the version.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl HttpAnswer {
    /// The first header of this (lower-case) name; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection to `base` (`http://host:port`).
pub(crate) async fn open(base: &str) -> TcpStream {
    let address = base.trim_start_matches("http://");
    TcpStream::connect(address).await.expect("the door is open")
}

/// Sends one request on a connection of its own and reads the answer to its end.
pub(crate) async fn request(
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    framing: Framing,
) -> HttpAnswer {
    let head = head(method, path, headers, body, framing);
    let (mut reading, mut writing) = open(base).await.into_split();
    let write = async {
        // The service may answer and close before it has read everything; then the answer counts.
        let _ = writing.write_all(head.as_bytes()).await;
        let _ = match framing {
            Framing::Length => writing.write_all(body).await,
            Framing::Chunked(size) => write_chunks(&mut writing, body, size).await,
        };
    };
    let mut bytes = Vec::new();
    let talk = async { tokio::join!(write, reading.read_to_end(&mut bytes)).1 };
    let ended = tokio::time::timeout(PATIENCE, talk).await;
    assert!(ended.is_ok(), "{method} {path}: no answer within {PATIENCE:?}");
    parse(&bytes)
}

fn head(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8], framing: Framing) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: conformance\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match framing {
        Framing::Length => head.push_str(&format!("content-length: {}\r\n\r\n", body.len())),
        Framing::Chunked(_) => head.push_str("transfer-encoding: chunked\r\n\r\n"),
    }
    head
}

async fn write_chunks(to: &mut (impl AsyncWriteExt + Unpin), body: &[u8], size: usize) -> std::io::Result<()> {
    for chunk in body.chunks(size) {
        to.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
        to.write_all(chunk).await?;
        to.write_all(b"\r\n").await?;
    }
    to.write_all(b"0\r\n\r\n").await
}

fn parse(bytes: &[u8]) -> HttpAnswer {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return HttpAnswer::default() };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let mut answer = HttpAnswer { status, headers, body: bytes[end + 4..].to_vec() };
    if answer.header("transfer-encoding") == "chunked" {
        answer.body = joined(&answer.body);
    }
    answer
}

fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|t| usize::from_str_radix(t, 16).ok());
        let Some(chunk) = size.filter(|s| *s > 0).and_then(|size| rest.get(end + 2..end + 2 + size)) else { break };
        body.extend(chunk);
        rest = rest.get(end + 4 + chunk.len()..).unwrap_or_default();
    }
    body
}
