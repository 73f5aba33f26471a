//! Listening to `GET /api/v1/degradation/stream`, again and again.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use reqwest::{Client, Response, Url};
use serde::Deserialize;

use crate::Followed;

/// Time without a byte after which a connection is taken for dead: the feed says that it is alive every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Shortest and longest time between two attempts.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// Bytes of one line, and of the data of one event; whoever says more is not the feed.
const MAX_BYTES: usize = 1 << 20;

/// Follows the stream at `url` (with `?service=` for a service's level) and keeps the level in `followed`, until the
/// future is dropped. The client is the application's, with its TLS and credentials; it should have a timeout for
/// connecting, but none for whole requests, since the stream does not end.
///
/// A connection that breaks or is silent for 45 s is made anew, after a time that doubles from half a second to
/// 30 s and is drawn anew each time, so that not all followers come back at once.
pub async fn follow(client: Client, url: Url, followed: Followed) {
    let mut events = Events::default();
    let mut wait = WAITS[0];
    loop {
        let request = client.get(url.clone()).header("accept", "text/event-stream");
        let request = match &events.last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        };
        let opened = tokio::time::timeout(SILENCE, request.send()).await;
        if let Ok(Ok(response)) = opened
            && response.status().is_success()
            && listen(response, &mut events, &followed).await
        {
            wait = WAITS[0];
        }
        events.begin();
        tokio::time::sleep(wait.mul_f64(0.5 + share())).await;
        wait = (wait * 2).min(WAITS[1]);
    }
}

/// Between 0 and 1, another each time.
fn share() -> f64 {
    let drawn = RandomState::new().hash_one(0_u8) >> 40;
    f64::from(u32::try_from(drawn).unwrap_or_default()) / f64::from(1_u32 << 24)
}

/// Takes what one connection says; whether it said anything.
async fn listen(mut response: Response, events: &mut Events, followed: &Followed) -> bool {
    let mut has_spoken = false;
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout(SILENCE, response.chunk()).await {
        has_spoken = true;
        let Ok(level) = events.take(&chunk) else { break };
        match level {
            Some(level) => followed.set_at(level, Instant::now()),
            None => followed.confirm_at(Instant::now()),
        }
    }
    has_spoken
}

/// More than the feed ever says.
#[derive(Debug, PartialEq)]
struct TooLong;

#[derive(Deserialize)]
struct Data {
    level: u8,
}

/// A reader of the format `text/event-stream`, by bytes as they come.
#[derive(Debug, Default)]
struct Events {
    last_id: Option<String>,
    line: Vec<u8>,
    data: String,
    id: Option<String>,
}

impl Events {
    /// Begins a new connection: what was half said is forgotten.
    fn begin(&mut self) {
        *self = Self { last_id: self.last_id.take(), ..Self::default() };
    }

    /// The last level that `bytes` complete, if they complete one.
    fn take(&mut self, bytes: &[u8]) -> Result<Option<u8>, TooLong> {
        let mut level = None;
        for byte in bytes {
            if *byte != b'\n' {
                if self.line.len() >= MAX_BYTES {
                    return Err(TooLong);
                }
                self.line.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line).trim_end_matches('\r').to_owned();
            self.line.clear();
            level = self.line(&line)?.or(level);
        }
        Ok(level)
    }

    fn line(&mut self, line: &str) -> Result<Option<u8>, TooLong> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let id = self.id.take();
            // What cannot be read is no event of ours, and changes nothing.
            let level = serde_json::from_str::<Data>(&data).ok().map(|data| data.level);
            if level.is_some() && id.is_some() {
                self.last_id = id;
            }
            return Ok(level);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" if self.data.len() + value.len() > MAX_BYTES => return Err(TooLong),
            "data" => self.data.push_str(value),
            // An id goes into a header; ours are of such characters.
            "id" if value.bytes().all(|b| b.is_ascii_graphic()) => self.id = Some(value.to_owned()),
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = ":\n\nevent: level\nid: 7-ab\ndata: {\"level\":3,\n\
                    data: \"name\":\"read-only\"}\n\n:\n\nevent: level\r\nid: 8-ab\r\ndata:{\"level\":1}\r\n\r\nid: 9\ndata: x\n\n";
        for size in 1..text.len() {
            let mut events = Events::default();
            let levels = text.as_bytes().chunks(size).filter_map(|chunk| events.take(chunk).expect("is short"));
            assert_eq!(levels.last(), Some(1), "in pieces of {size}");
            assert_eq!(events.last_id.as_deref(), Some("8-ab"));
        }
        let mut events = Events::default();
        assert_eq!(events.take(b"id: 1\ndata: {\"lev"), Ok(None));
        events.begin();
        assert_eq!(events.take(b"el\":4}\n\ndata: {\"level\":2}\n\n"), Ok(Some(2)), "halves of two do not make one");
    }

    #[test]
    fn endless_lines_end() {
        let mut events = Events::default();
        let much = vec![b'x'; MAX_BYTES];
        assert_eq!(events.take(&much), Ok(None));
        assert_eq!(events.take(b"x"), Err(TooLong));
    }
}
