//! `GET /ofrep/v1/events[?service=]`: tells a page that its flags have changed, so that it asks for them.
//!
//! The protocol's events carry no values. Their id is the entity tag, so that a client that comes back with
//! `Last-Event-ID` hears something only if it missed something; one that comes without hears at once, since
//! the level may have changed between its question and its stream.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::Request,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use detect::UnixNanos;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Scope, wanted};
use crate::{
    rest::{Asked, Link, Problem, Shared, stream::Said},
    view::View,
};

/// How often a comment is sent, so that proxies and clients see that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Listener {
    shared: Arc<Shared>,
    tenant: ingest::Tenant,
    /// Whether the tenant has a line; until then there is nothing to hear.
    is_known: bool,
    view: watch::Receiver<Arc<View>>,
    scope: Scope,
    link: Link,
    /// The state behind the last tag, so that a tag is made only when something has happened.
    said: Option<(Said, Option<UnixNanos>)>,
    etag: Option<String>,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn stream(asked: Asked, request: Request) -> Result<Response, Problem> {
    let (scope, etag) = wanted(&asked.view(), request.uri(), request.headers())?;
    let place = Arc::clone(&asked.shared.streams).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("too many streams are open"))?;
    let Asked { shared, face, link } = asked;
    let (tenant, is_known, mut view) = (face.tenant, face.operator.is_some(), face.view);
    view.mark_changed();
    let listener = Listener { shared, tenant, is_known, view, scope, link, said: None, etag, _place: place };
    let events = futures_util::stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

impl Listener {
    /// Waits for the next change; `None` when the service is shutting down.
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                changed = self.view.changed() => changed.ok()?,
                face = self.shared.api.faces.appears(&self.tenant), if !self.is_known => {
                    self.is_known = true;
                    self.view = face.view;
                }
            }
            let view = Arc::clone(&self.view.borrow_and_update());
            let status = self.scope.status(&view);
            let now = (Said::from(status), status.and_then(|status| status.since));
            if self.said.replace(now) == Some(now) {
                continue;
            }
            let (_, etag) = self.scope.bulk(&view, &self.link);
            let id = etag.trim_matches('"').to_owned();
            if self.etag.as_ref() != Some(&id) {
                let modified = status.and_then(|status| status.since).unwrap_or(view.at).0.div_euclid(1_000_000_000);
                let data = json!({"type": "refetchEvaluation", "etag": etag, "lastModified": modified});
                self.etag = Some(id.clone());
                return Some(Event::default().event("message").id(id).data(data.to_string()));
            }
        }
    }
}
