//! `GET /ofrep/v1/events[?service=]`: tells a page that its flags have changed, so that it asks for them.
//!
//! The protocol's events carry no values. Their id is the entity tag, so that a client that comes back with
//! `Last-Event-ID` hears something only if it missed something; one that comes without hears at once, since
//! the level may have changed between its question and its stream.

use std::sync::Arc;

use axum::{body::Bytes, extract::Request, response::Response};
use serde_json::json;

use super::{Scope, wanted};
use crate::{
    rest::{Asked, Problem, feed},
    view::View,
};

/// That flags have changed.
#[derive(Clone, Debug)]
pub(in crate::rest) struct Refetch {
    /// Their entity tag, without quotes.
    pub(in crate::rest) etag: String,
    /// The event that says so.
    pub(in crate::rest) event: Bytes,
}

/// The event for the flags of `service`, or of everything, as `view` shows them.
pub(in crate::rest) fn refetch(view: &View, service: Option<&Arc<str>>) -> Refetch {
    let scope = Scope(service.cloned());
    let (_, quoted) = scope.flags_and_tag(view);
    let since = scope.status(view).and_then(|status| status.since);
    let modified = since.unwrap_or(view.at).0.div_euclid(1_000_000_000);
    let data = json!({"type": "refetchEvaluation", "etag": quoted, "lastModified": modified});
    let etag = quoted.trim_matches('"').to_owned();
    let event = format!("event: message\nid: {etag}\ndata: {data}\n\n").into();
    Refetch { etag, event }
}

pub(super) async fn stream(asked: Asked, request: Request) -> Result<Response, Problem> {
    let (scope, etag) = wanted(&asked.view(), request.uri(), request.headers())?;
    let place = asked.shared.stream_place()?;
    Ok(feed::follow(&asked.shared, &asked.face, scope.0, place).flags(etag))
}
