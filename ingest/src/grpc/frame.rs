//! gRPC's framing of a message: a flag, a length in four bytes, the message.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::door::{Received, Refusal};

const HEADER: usize = 5;

/// The one message of a unary call.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) received: Received,
    pub(super) is_compressed: bool,
}

/// Reads the one message of `body` into `received`.
///
/// # Errors
/// When there is none, more than one, or one that is longer than `limit`, which the header tells;
/// when there is no room for it now.
pub(super) async fn read<B>(mut body: B, mut received: Received, limit: usize) -> Result<Message, Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut header = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Refusal::malformed(format!("body could not be read: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if header.is_none()
            && received.bytes.is_empty()
            && body.is_end_stream()
            && let Some((is_compressed, message)) = whole(&data).filter(|(_, message)| message.len() <= limit)
        {
            received.hold(message)?;
            return Ok(Message { received, is_compressed });
        }
        received.push(&data)?;
        if header.is_none() && received.bytes.len() >= HEADER {
            let (is_compressed, length) = parse(&mut received.bytes)?;
            if length > limit {
                return Err(Refusal::too_large(limit));
            }
            header = Some((is_compressed, length));
        }
        if header.is_some_and(|(_, length)| received.bytes.len() > length) {
            return Err(Refusal::malformed("more than one message in a unary call"));
        }
    }
    match header {
        Some((is_compressed, length)) if received.bytes.len() == length => Ok(Message { received, is_compressed }),
        Some((_, length)) => {
            Err(Refusal::malformed(format!("message ends after {} of {length} bytes", received.bytes.len())))
        }
        None => Err(Refusal::malformed("call without a message")),
    }
}

/// The message that `data` is, if it is exactly one in its frame.
fn whole(data: &Bytes) -> Option<(bool, Bytes)> {
    let ([flag @ 0..=1, length @ ..], message) = data.split_first_chunk::<HEADER>()? else { return None };
    let is_whole = u32::from_be_bytes(*length) as usize == message.len();
    is_whole.then(|| (*flag == 1, data.slice(HEADER..)))
}

fn parse(received: &mut BytesMut) -> Result<(bool, usize), Refusal> {
    let flag = received.get_u8();
    let length = received.get_u32() as usize;
    match flag {
        0 => Ok((false, length)),
        1 => Ok((true, length)),
        _ => Err(Refusal::malformed(format!("compressed flag: expected 0 or 1, got {flag}"))),
    }
}

/// `message` in its frame.
pub(super) fn write(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEADER + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("answers are a few kilobytes"));
    framed.put_slice(message);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };

    use http_body::Frame;
    use http_body_util::Full;

    use super::*;
    use crate::{Tenant, door::Room};

    struct ByteByByte(VecDeque<u8>);

    impl http_body::Body for ByteByByte {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|byte| Ok(Frame::data(vec![byte].into()))))
        }
    }

    /// In one piece, whose end is known with it, and byte by byte.
    async fn check(bytes: &[u8], expected: Result<(&[u8], bool), &str>) {
        let body = Full::new(Bytes::copy_from_slice(bytes));
        check_body(bytes, body, expected).await;
        check_body(bytes, ByteByByte(bytes.to_vec().into()), expected).await;
    }

    async fn check_body<B>(bytes: &[u8], body: B, expected: Result<(&[u8], bool), &str>)
    where
        B: http_body::Body<Data = Bytes, Error = Infallible> + Unpin,
    {
        match (read(body, Room::new(1024).body(&Tenant::default()), 10).await, expected) {
            (Ok(message), Ok((text, is_compressed))) => {
                assert_eq!((&*message.received.finish().0, message.is_compressed), (text, is_compressed));
            }
            (Err(refusal), Err(reason)) => assert!(refusal.message.contains(reason), "{}", refusal.message),
            (got, expected) => unreachable!("{bytes:?}: expected {expected:?}, got {got:?}"),
        }
    }

    #[tokio::test]
    async fn frames_are_read_or_refused() {
        check(&write(b"abc"), Ok((b"abc", false))).await;
        check(&write(b""), Ok((b"", false))).await;
        check(&[1, 0, 0, 0, 1, 7], Ok((&[7], true))).await;
        check(b"", Err("without a message")).await;
        check(&[0, 0, 0], Err("without a message")).await;
        check(&[0, 0, 0, 0, 5, 1], Err("ends after 1 of 5")).await;
        check(&[2, 0, 0, 0, 0], Err("expected 0 or 1, got 2")).await;
        check(&[0, 0xff, 0xff, 0xff, 0xff], Err("larger than 10 bytes")).await;
        check(&[write(b"a"), write(b"b")].concat(), Err("more than one message")).await;
    }
}
