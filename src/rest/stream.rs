//! The level as server-sent events: what it is now, and then every change.
//!
//! The view tells where things stand. When several decisions led there at once, those before the last
//! come from the decisions themselves, so that none is missed.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::Uri,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use detect::{Decision, Level, LevelChange, LevelStatus, UnixNanos};
use ingest::Tenant;
use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{self, error::TryRecvError},
    watch,
};

use super::{
    Asked, Problem, Shared,
    degradation::{LevelJson, unknown_service},
    params::Params,
};
use crate::view::View;

/// How often a comment is sent, so that proxies and clients see that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What was said last, as far as a change of it is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    level: Level,
    is_known: bool,
    is_frozen: bool,
    pinned_until: Option<UnixNanos>,
}

impl From<Option<&LevelStatus>> for Said {
    fn from(status: Option<&LevelStatus>) -> Self {
        Self {
            level: status.map_or(Level::FullService, |s| s.level),
            is_known: status.is_some(),
            is_frozen: status.is_none_or(|s| s.frozen),
            pinned_until: status.and_then(|s| s.pin.as_ref()).map(|pin| pin.expires_at),
        }
    }
}

/// One listener.
struct Listener {
    service: Option<String>,
    shared: Arc<Shared>,
    tenant: Tenant,
    /// Whether the tenant has a line; until then there is nothing to hear.
    is_known: bool,
    view: watch::Receiver<Arc<View>>,
    decisions: broadcast::Receiver<Arc<Decision>>,
    /// Changes of the scope that no view has shown yet; no more than the channel holds.
    ahead: VecDeque<LevelChange>,
    /// What is to be said, the oldest first.
    news: VecDeque<LevelJson>,
    /// `None` before the first event.
    said: Option<Said>,
    next_id: u64,
    _place: OwnedSemaphorePermit,
}

/// `GET /api/v1/degradation/stream[?service=]`.
pub(super) async fn stream(asked: Asked, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let service = params.text("service");
    params.finish()?;
    if LevelJson::of(&asked.view(), service.as_deref()).is_none() {
        return Err(unknown_service(service.as_deref()));
    }
    let place = Arc::clone(&asked.shared.streams).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("too many streams are open"))?;
    let Asked { shared, face, .. } = asked;
    let mut view = face.view;
    // The current picture is the first piece of news.
    view.mark_changed();
    let listener = Listener {
        service,
        shared,
        tenant: face.tenant,
        is_known: face.operator.is_some(),
        view,
        decisions: face.decisions.subscribe(),
        ahead: VecDeque::new(),
        news: VecDeque::new(),
        said: None,
        next_id: 1,
        _place: place,
    };
    let events = futures_util::stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

impl Listener {
    /// Waits for the next piece of news; `None` when the service is shutting down.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(level) = self.news.pop_front() {
                let data = serde_json::to_string(&level).expect("plain data under fixed names always serialises");
                let id = self.next_id;
                self.next_id += 1;
                return Some(Event::default().event("level").id(id.to_string()).data(data));
            }
            tokio::select! {
                changed = self.view.changed() => changed.ok()?,
                face = self.shared.api.faces.appears(&self.tenant), if !self.is_known => {
                    self.is_known = true;
                    self.view = face.view;
                    self.decisions = face.decisions.subscribe();
                }
            }
            self.look();
        }
    }

    /// Finds out what is new. The pipeline announces its decisions before it shows what they led to, so
    /// that with each view all decisions before it are at hand.
    fn look(&mut self) {
        let view = Arc::clone(&self.view.borrow_and_update());
        self.listen();
        let status = view.levels.iter().find(|status| status.service.as_deref() == self.service.as_deref());
        let shown = Said::from(status);
        let since = status.and_then(|s| s.since).unwrap_or(UnixNanos::MIN);
        let is_first = self.said.is_none();
        while let Some(change) = self.ahead.pop_front_if(|change| change.at <= since) {
            // The last change is what the view shows, and the first view begins the story.
            if is_first || (self.ahead.front().is_none_or(|next| next.at > since) && change.to == shown.level) {
                continue;
            }
            if let Some(level) = LevelJson::of(&view, self.service.as_deref()) {
                self.news.push_back(level.changed(&change));
            }
        }
        // Asked before anything is put together: views come every second, news seldom.
        if !self.news.is_empty() || self.said != Some(shown) {
            self.news.extend(LevelJson::of(&view, self.service.as_deref()));
            self.said = Some(shown);
        }
    }

    /// Takes what was announced about the scope.
    fn listen(&mut self) {
        loop {
            match self.decisions.try_recv() {
                Ok(decision) => {
                    if let Decision::Level(change) = &*decision
                        && change.service.as_deref() == self.service.as_deref()
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
