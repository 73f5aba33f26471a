//! The level as server-sent events: what it is now, and then every change.
//!
//! Changes come from the decisions themselves, so that none is missed when several are made at once;
//! what is no decision (a pin, a freeze) and what was missed by a slow reader comes from the view.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::Uri,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use detect::{Decision, LevelChange, UnixNanos};
use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::{self, error::RecvError},
    watch,
};

use super::{
    Problem, Shared,
    degradation::{LevelJson, unknown_service},
    json::rfc3339,
    params::Params,
};
use crate::view::View;

/// How often a comment is sent, so that proxies and clients see that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One listener.
struct Listener {
    service: Option<String>,
    view: watch::Receiver<Arc<View>>,
    decisions: broadcast::Receiver<Arc<Decision>>,
    /// What was said last: level, whether it was frozen, the end of its pin.
    said: Option<(u8, bool, Option<String>)>,
    /// Event time of the newest change that was said: what is older is no news.
    newest: UnixNanos,
    next_id: u64,
    _place: OwnedSemaphorePermit,
}

/// `GET /api/v1/degradation/stream[?service=]`.
pub(super) async fn stream(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let service = params.text("service");
    params.finish()?;
    if LevelJson::of(&shared.view(), service.as_deref()).is_none() {
        return Err(unknown_service(service.as_deref()));
    }
    let place = Arc::clone(&shared.streams).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("too many streams are open"))?;
    let mut view = shared.api.view.clone();
    // The current picture is the first piece of news.
    view.mark_changed();
    let listener = Listener {
        service,
        view,
        decisions: shared.api.decisions.subscribe(),
        said: None,
        newest: UnixNanos::MIN,
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
            let level = tokio::select! {
                biased;
                decision = self.decisions.recv(), if self.said.is_some() => match decision {
                    Ok(decision) => self.of_decision(&decision),
                    // The view that follows tells where things stand.
                    Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => return None,
                },
                changed = self.view.changed() => {
                    changed.ok()?;
                    self.of_view()
                }
            };
            let Some(level) = level else { continue };
            let now = (level.level.number(), level.frozen, level.pin.as_ref().map(|pin| pin.expires_at().to_owned()));
            if self.said.as_ref() == Some(&now) {
                continue;
            }
            self.said = Some(now);
            let data = serde_json::to_string(&level).expect("plain data under fixed names always serialises");
            let id = self.next_id;
            self.next_id += 1;
            return Some(Event::default().event("level").id(id.to_string()).data(data));
        }
    }

    fn of_decision(&mut self, decision: &Decision) -> Option<LevelJson> {
        let Decision::Level(LevelChange { service, to, health, at, because, .. }) = decision else { return None };
        // What happened before the view that was shown last is no news.
        if service.as_deref() != self.service.as_deref() || *at < self.newest {
            return None;
        }
        self.newest = *at;
        let level = LevelJson::of(&self.view.borrow(), self.service.as_deref())?.at(*to);
        Some(LevelJson { health: Some(*health), since: Some(rfc3339(*at)), because: because.clone(), ..level })
    }

    fn of_view(&mut self) -> Option<LevelJson> {
        let view = Arc::clone(&self.view.borrow_and_update());
        let status = view.levels.iter().find(|l| l.service.as_deref() == self.service.as_deref());
        let since = status.and_then(|s| s.since).unwrap_or(UnixNanos::MIN);
        if since < self.newest {
            return None;
        }
        self.newest = since;
        LevelJson::of(&view, self.service.as_deref())
    }
}
