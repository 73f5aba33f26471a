//! The signs of life of an HTTP/2 peer that asks for nothing: its pings, noticed in what it sends.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's header: length (3), type, flags, stream (4). RFC 9113, section 4.1.
const HEADER: usize = 9;
/// The type of a ping, and the flag of an answer to one.
const PING: u8 = 6;
const ACK: u8 = 1;

/// A stream that calls `pinged` when its peer has begun a ping.
#[derive(Debug)]
pub(super) struct Heard<S, F> {
    stream: S,
    frames: Frames,
    pinged: F,
}

impl<S, F: FnMut()> Heard<S, F> {
    pub(super) fn new(stream: S, pinged: F) -> Self {
        Self { stream, frames: Frames::Preface(0), pinged }
    }
}

/// Where a peer is in what it sends.
#[derive(Debug)]
enum Frames {
    /// Before this byte of the preface.
    Preface(usize),
    /// Before this byte of a frame's header; the bytes of it that have come.
    Header(usize, [u8; HEADER]),
    /// In a frame, of which so many bytes are to come.
    Payload(usize),
    /// It does not speak HTTP/2.
    Other,
}

impl Frames {
    /// Goes on by `bytes`; whether a ping has begun in them.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut pinged = false;
        while !bytes.is_empty() {
            let taken = match self {
                Self::Preface(at) => {
                    let expected = &PREFACE[*at..];
                    let taken = expected.len().min(bytes.len());
                    *self = if bytes[..taken] != expected[..taken] {
                        Self::Other
                    } else if taken == expected.len() {
                        Self::Header(0, [0; HEADER])
                    } else {
                        Self::Preface(*at + taken)
                    };
                    taken
                }
                Self::Header(at, header) => {
                    let taken = (HEADER - *at).min(bytes.len());
                    header[*at..*at + taken].copy_from_slice(&bytes[..taken]);
                    *at += taken;
                    if *at == HEADER {
                        let [a, b, c, kind, flags, ..] = *header;
                        pinged |= kind == PING && flags & ACK == 0;
                        *self = Self::payload(u32::from_be_bytes([0, a, b, c]) as usize);
                    }
                    taken
                }
                Self::Payload(left) => {
                    let taken = (*left).min(bytes.len());
                    *self = Self::payload(*left - taken);
                    taken
                }
                Self::Other => return pinged,
            };
            bytes = &bytes[taken..];
        }
        pinged
    }

    fn payload(left: usize) -> Self {
        if left == 0 { Self::Header(0, [0; HEADER]) } else { Self::Payload(left) }
    }
}

impl<S: AsyncRead + Unpin, F: FnMut() + Unpin> AsyncRead for Heard<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if self.frames.pass(&buf.filled()[before..]) {
            (self.pinged)();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, F: Unpin> AsyncWrite for Heard<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("is short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 0], payload].concat()
    }

    /// How many pings are noticed in `bytes`, of which `step` are read at a time.
    async fn pings(bytes: &[u8], step: usize) -> usize {
        let mut count = 0;
        let mut heard = Heard::new(bytes, || count += 1);
        let (mut all, mut some) = (Vec::new(), vec![0_u8; step]);
        loop {
            let read = heard.read(&mut some).await.expect("bytes can be read");
            all.extend_from_slice(&some[..read]);
            if read == 0 {
                break;
            }
        }
        assert_eq!(all.as_slice(), bytes);
        count
    }

    #[tokio::test]
    async fn pings_are_noticed_however_the_bytes_come() {
        let ping = frame(PING, 0, &[7; 8]);
        let frames = [frame(4, 0, &[]), ping.clone(), frame(0, 1, &ping.repeat(300)), ping, frame(PING, ACK, &[7; 8])];
        let bytes = [PREFACE, &frames.concat()].concat();
        for step in 1..200 {
            assert_eq!(pings(&bytes, step).await, 2, "{step}");
        }
        assert_eq!(pings(&bytes, bytes.len()).await, 1, "two of one reading count once");
    }

    #[tokio::test]
    async fn who_does_not_begin_with_the_preface_sends_none() {
        let ping = frame(PING, 0, &[7; 8]);
        for begin in [&b"PUT / HTTP/1.1\r\n\r\n"[..], &PREFACE[1..], &PREFACE[..23], b""] {
            let bytes = [begin, &ping].concat();
            for step in [1, 5, 24, 100] {
                assert_eq!(pings(&bytes, step).await, 0, "{begin:?}");
            }
        }
    }
}
