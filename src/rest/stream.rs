//! The level as server-sent events: what it is now, and then every change.
//!
//! Who comes back with `Last-Event-ID` hears what happened in the meantime, also when the service was started anew
//! since: an id holds the time of the change before it, and the ledger has what came after.

use std::sync::Arc;

use alerting::{LevelFilter, Order, Page};
use axum::{
    body::Bytes,
    http::{HeaderMap, Uri},
    response::Response,
};
use detect::UnixNanos;

use super::{
    Asked, Problem,
    degradation::{LevelJson, unknown_service},
    feed::{self, Said, level_event},
    params::Params,
};
use crate::view::View;

/// Changes that are told at most to one who comes back, the newest.
const MAX_MISSED: u32 = 100;

/// `GET /api/v1/degradation/stream[?service=]`.
pub(super) async fn stream(asked: Asked, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let service = params.text("service");
    params.finish()?;
    if LevelJson::of(&asked.view(), service.as_deref()).is_none() {
        return Err(unknown_service(service.as_deref()));
    }
    let place = asked.shared.stream_place()?;
    let service: Option<Arc<str>> = service.map(Into::into);
    let follower = feed::follow(&asked.shared, &asked.face, service.clone(), place);
    let view = asked.view();
    let status = view.level(service.as_deref());
    let (said, id) = (Said::from(status), Said::from(status).id());
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    if last == Some(id.as_str()) {
        return Ok(follower.levels(Vec::new(), id));
    }
    let now = LevelJson::of(&view, service.as_deref()).map(|level| level_event(&id, &level));
    let mut first = match last {
        None => Vec::new(),
        Some(last) => match (follower.between(last, &id), Said::since(last)) {
            (Some(missed), _) => missed,
            (None, Some(since)) => missed(&asked, &view, service, said, since).await?,
            (None, None) => Vec::new(),
        },
    };
    first.extend(now);
    Ok(follower.levels(first, id))
}

/// The changes after `since` but the one that led to what stands.
async fn missed(
    asked: &Asked,
    view: &View,
    service: Option<Arc<str>>,
    said: Said,
    since: UnixNanos,
) -> Result<Vec<Bytes>, Problem> {
    let scope = service.as_deref().map(str::to_owned);
    let from = Some(UnixNanos(since.0.saturating_add(1)));
    let filter = LevelFilter { service: Some(scope), from, to: None };
    let page = Page { order: Order::Descending, limit: MAX_MISSED, ..Page::default() };
    let listed = asked.ledger(move |ledger| ledger.level_history(&filter, page)).await?;
    let Some(level) = LevelJson::of(view, service.as_deref()) else { return Ok(Vec::new()) };
    let standing = said.id();
    let changes = listed.items.iter().rev().map(|change| (said.changed(change).id(), change));
    let passed = changes.filter(|(id, _)| *id != standing);
    Ok(passed.map(|(id, change)| level_event(&id, &level.clone().changed(change))).collect())
}
