//! What is told to those who follow a level, made once for all who follow the same.
//!
//! Thousands may follow one level. A follower is a connection and a place in a short list that all share: what
//! is said is put together once, by one task for each scope that somebody follows, and nobody is woken by a view
//! that changes nothing. Who falls behind by more than the list holds goes on with the oldest that is left; the
//! newest is always there.
//!
//! The view tells where things stand. When several decisions led there at once, those before the last come from
//! the decisions themselves, so that none is missed.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use detect::{Decision, Level, LevelChange, LevelStatus, UnixNanos};
use futures_util::Stream;
use ingest::Tenant;
use proto::degradation::{self, DegradationLevel};
use tokio::sync::{
    broadcast::{self, error::TryRecvError},
    watch,
};

use super::{Shared, degradation::LevelJson, ofrep, places::Place};
use crate::{faces::Face, view::View};

/// How often a comment is sent, so that proxies and clients see that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Pieces of news that are kept for those who are behind, or come back.
const KEPT: usize = 64;

/// What was said last, as far as a change of it is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    level: Level,
    is_known: bool,
    is_frozen: bool,
    pinned_until: Option<UnixNanos>,
    since: Option<UnixNanos>,
}

impl From<Option<&LevelStatus>> for Said {
    fn from(status: Option<&LevelStatus>) -> Self {
        Self {
            level: status.map_or(Level::FullService, |s| s.level),
            is_known: status.is_some(),
            is_frozen: status.is_none_or(|s| s.frozen),
            pinned_until: status.and_then(|s| s.pin.as_ref()).map(|pin| pin.expires_at),
            since: status.and_then(|s| s.since),
        }
    }
}

impl Said {
    /// After `change`, with all else as it is.
    pub(super) fn changed(self, change: &LevelChange) -> Self {
        Self { level: change.to, is_known: true, since: Some(change.at), ..self }
    }

    /// The id of the event that says so: the time of the last change, and a digest of the rest. It means the same
    /// after a restart.
    pub(super) fn id(&self) -> String {
        let pin = self.pinned_until.map_or(0, |until| until.0);
        let state = [self.level.number(), u8::from(self.is_known), u8::from(self.is_frozen)];
        let digest = xxhash_rust::xxh3::xxh3_64(&[state.as_slice(), &pin.to_le_bytes()].concat());
        format!("{}-{:08x}", self.since.map_or(0, |at| at.0), digest >> 32)
    }

    /// The time of the last change before the event of this id; `None` when it is none of ours.
    pub(super) fn since(id: &str) -> Option<UnixNanos> {
        let (at, digest) = id.rsplit_once('-')?;
        (digest.len() == 8).then(|| at.parse().ok().map(UnixNanos))?
    }
}

/// An event of the stream of a level.
pub(super) fn level_event(id: &str, level: &LevelJson) -> Bytes {
    let data = serde_json::to_string(level).expect("plain data under fixed names always serialises");
    format!("event: level\nid: {id}\ndata: {data}\n\n").into()
}

/// The same as a message of gRPC.
fn level_frame(said: &Said, level: &LevelJson) -> Bytes {
    let message = DegradationLevel {
        service: level.service.as_deref().unwrap_or_default().to_owned(),
        level: u32::from(level.level.number()),
        name: level.name.to_owned(),
        health: level.health,
        since_unix_nano: said.since.map_or(0, |at| at.0),
        frozen: level.frozen,
        pinned: level.pin.is_some(),
        because: level.because.clone(),
        disabled_features: level.disabled_features.iter().map(ToString::to_string).collect(),
        id: said.id(),
    };
    degradation::frame(&message).into()
}

/// One thing that happened to a scope.
#[derive(Debug)]
struct News {
    /// Counts up, from 0 when the scope began to be followed.
    number: u64,
    id: String,
    level: Bytes,
    frame: Bytes,
    flags: ofrep::Refetch,
}

/// The newest pieces of news, the oldest first; never empty.
type Recent = VecDeque<Arc<News>>;
/// Whose level, and of which service.
type Key = (Tenant, Option<Arc<str>>);

/// The scopes that are followed. Each has at least one follower, or had until the last view.
#[derive(Clone, Debug, Default)]
pub(super) struct Feeds(Arc<Mutex<HashMap<Key, watch::Receiver<Recent>>>>);

impl Feeds {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Recent>>> {
        // Whole between any two statements, so a task that died has left no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to follow the level of `service`, which is known, or of everything.
pub(super) fn follow(shared: &Arc<Shared>, face: &Face, service: Option<Arc<str>>, place: Place) -> Follower {
    let key = (face.tenant.clone(), service);
    let mut feeds = shared.feeds.lock();
    let recent = feeds.get(&key).cloned().unwrap_or_else(|| {
        let (maker, recent) = Maker::new(Arc::clone(shared), face, key.clone());
        feeds.insert(key, recent.clone());
        tokio::spawn(maker.run());
        recent
    });
    drop(feeds);
    let seen = recent.borrow().back().map_or(0, |news| news.number);
    Follower { recent, seen, told: Told::Nothing, ahead: VecDeque::new(), _place: place }
}

/// Makes the news of one scope.
struct Maker {
    shared: Arc<Shared>,
    key: Key,
    /// Whether the tenant has a line; until then there is nothing to hear.
    is_known: bool,
    view: watch::Receiver<Arc<View>>,
    decisions: broadcast::Receiver<Arc<Decision>>,
    /// Changes of the scope that no view has shown yet; no more than the channel holds.
    ahead: VecDeque<LevelChange>,
    said: Said,
    recent: watch::Sender<Recent>,
    number: u64,
}

impl Maker {
    fn new(shared: Arc<Shared>, face: &Face, key: Key) -> (Self, watch::Receiver<Recent>) {
        // Before the view, so that nothing falls between them.
        let decisions = face.decisions.subscribe();
        let mut view = face.view.clone();
        let shown = Arc::clone(&view.borrow_and_update());
        let said = Said::from(shown.level(key.1.as_deref()));
        let (sender, recent) = watch::channel(VecDeque::new());
        let is_known = face.operator.is_some();
        let ahead = VecDeque::new();
        let mut maker = Self { shared, key, is_known, view, decisions, ahead, said, recent: sender, number: 0 };
        maker.tell(&shown, Vec::new());
        (maker, recent)
    }

    /// Makes news until nobody follows, or the service shuts down: then the followers see that it ends.
    async fn run(mut self) {
        loop {
            tokio::select! {
                changed = self.view.changed() => if changed.is_err() {
                    self.shared.feeds.lock().remove(&self.key);
                    return;
                },
                face = self.shared.api.faces.appears(&self.key.0), if !self.is_known => {
                    self.is_known = true;
                    self.decisions = face.decisions.subscribe();
                    self.view = face.view;
                }
            }
            // One is the list's own. Nobody can begin to follow while the list is held.
            let mut feeds = self.shared.feeds.lock();
            if self.recent.receiver_count() <= 1 {
                feeds.remove(&self.key);
                return;
            }
            drop(feeds);
            self.look();
        }
    }

    /// Finds out what is new. The pipeline announces its decisions before it shows what they led to, so
    /// that with each view all decisions before it are at hand.
    fn look(&mut self) {
        let view = Arc::clone(&self.view.borrow_and_update());
        self.listen();
        let shown = Said::from(view.level(self.key.1.as_deref()));
        let since = shown.since.unwrap_or(UnixNanos::MIN);
        let mut passed = Vec::new();
        while let Some(change) = self.ahead.pop_front_if(|change| change.at <= since) {
            // The last change is what the view shows.
            let is_last = self.ahead.front().is_none_or(|next| next.at > since);
            let is_shown = is_last && change.to == shown.level;
            let is_old = self.said.since.is_some_and(|said| change.at <= said);
            if !is_old && !is_shown {
                passed.push(change);
            }
        }
        // Asked before anything is put together: views come every second, news seldom.
        if !passed.is_empty() || self.said != shown {
            self.said = shown;
            self.tell(&view, passed);
        }
    }

    /// Tells of the changes that have passed and of what `view` shows.
    fn tell(&mut self, view: &View, passed: Vec<LevelChange>) {
        let Some(level) = LevelJson::of(view, self.key.1.as_deref()) else { return };
        let flags = ofrep::refetch(view, self.key.1.as_ref());
        let mut add = |said: Said, level: &LevelJson| {
            self.number += 1;
            let (id, frame) = (said.id(), level_frame(&said, level));
            let level = level_event(&id, level);
            Arc::new(News { number: self.number, id, level, frame, flags: flags.clone() })
        };
        let mut news = Vec::new();
        for change in passed {
            news.push(add(self.said.changed(&change), &level.clone().changed(&change)));
        }
        news.push(add(self.said, &level));
        self.recent.send_modify(|recent| {
            recent.extend(news);
            let surplus = recent.len().saturating_sub(KEPT);
            recent.drain(..surplus);
        });
    }

    /// Takes what was announced about the scope.
    fn listen(&mut self) {
        loop {
            match self.decisions.try_recv() {
                Ok(decision) => {
                    if let Decision::Level(change) = &*decision
                        && change.service == self.key.1
                    {
                        self.ahead.push_back(change.clone());
                    }
                }
                // What was missed is made up for by the view.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

/// What a follower has been told, and which of the two streams it reads.
#[derive(Debug)]
enum Told {
    /// Not yet begun.
    Nothing,
    /// The level: the id of an event that was made for this follower, until the shared list is past it.
    Level(Option<String>),
    /// That flags have changed: their entity tag.
    Flags(String),
    /// The level, as messages of gRPC.
    Frames,
}

/// One who follows.
#[derive(Debug)]
pub(super) struct Follower {
    recent: watch::Receiver<Recent>,
    seen: u64,
    told: Told,
    ahead: VecDeque<Bytes>,
    _place: Place,
}

impl Follower {
    /// The levels that followed on the event `id` before that of `standing`; `None` when the first is too long ago,
    /// or the last not told yet.
    pub(super) fn between(&self, id: &str, standing: &str) -> Option<Vec<Bytes>> {
        let recent = self.recent.borrow();
        let known = recent.iter().rposition(|news| news.id == id)?;
        recent.back().filter(|news| news.id == standing)?;
        let missed = recent.iter().skip(known + 1).filter(|news| news.id != standing);
        Some(missed.map(|news| news.level.clone()).collect())
    }

    /// The stream of levels, after `first`, of which the last (or the one before the first) has the id `id`.
    pub(super) fn levels(mut self, first: Vec<Bytes>, id: String) -> Response {
        self.told = Told::Level(Some(id));
        self.ahead.extend(first);
        self.response()
    }

    /// The stream that tells of changed flags to one who knows those of the tag `etag`, without quotes.
    pub(super) fn flags(mut self, etag: Option<String>) -> Response {
        self.told = Told::Flags(etag.unwrap_or_default());
        // What stands is the first piece of news, unless it is known.
        self.recent.mark_changed();
        self.response()
    }

    /// What stands, and then each change, as messages of gRPC.
    pub(super) fn frames(mut self) -> impl Stream<Item = Bytes> {
        self.told = Told::Frames;
        self.ahead.extend(self.recent.borrow().back().map(|news| news.frame.clone()));
        futures_util::stream::unfold(self, |mut follower| async move { Some((follower.next().await?, follower)) })
    }

    fn response(self) -> Response {
        let events = futures_util::stream::unfold(self, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok::<_, Infallible>(event), follower))
        });
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            // Some proxies gather an answer before they pass it on, unless told otherwise.
            (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        (headers, Body::from_stream(events)).into_response()
    }

    /// Waits for the next event; `None` when the service is shutting down.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ahead.pop_front() {
                return Some(event);
            }
            match tokio::time::timeout(KEEP_ALIVE, self.recent.changed()).await {
                Ok(changed) => changed.ok()?,
                // A connection of HTTP/2 is kept alive by itself.
                Err(_) if matches!(self.told, Told::Frames) => continue,
                Err(_) => return Some(Bytes::from_static(b":\n\n")),
            }
            let recent = self.recent.borrow_and_update();
            match &mut self.told {
                Told::Nothing => {}
                Told::Frames => {
                    let news = recent.iter().filter(|news| news.number > self.seen);
                    self.ahead.extend(news.map(|news| news.frame.clone()));
                }
                Told::Level(first) => {
                    let mut news: Vec<&Arc<News>> = recent.iter().filter(|news| news.number > self.seen).collect();
                    let first = first.take();
                    if let Some(known) = news.iter().rposition(|news| first.as_ref() == Some(&news.id)) {
                        news.drain(..=known);
                    }
                    self.ahead.extend(news.into_iter().map(|news| news.level.clone()));
                }
                Told::Flags(etag) => {
                    if let Some(news) = recent.back().filter(|news| news.flags.etag != *etag) {
                        etag.clone_from(&news.flags.etag);
                        self.ahead.push_back(news.flags.event.clone());
                    }
                }
            }
            self.seen = recent.back().map_or(self.seen, |news| news.number);
        }
    }
}
