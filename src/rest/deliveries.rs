//! Notifications: how their delivery goes, and those that were given up, sent again.

use std::sync::Arc;

use alerting::{DeliveryFilter, DeliveryState, Order, Replay};
use axum::{
    Router,
    extract::{Path, Request},
    http::{StatusCode, Uri},
    response::Response,
    routing::{get, post},
};

use super::{
    Asked, Problem, Shared,
    asked::blocking,
    json::{DeliveryJson, List, json},
    params::Params,
    pin,
};
use crate::pipeline::now;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/deliveries", get(deliveries))
        .route("/api/v1/deliveries/{id}", get(delivery))
        .route("/api/v1/deliveries/{id}/replay", post(replay))
}

async fn deliveries(asked: Asked, uri: Uri) -> Result<Response, Problem> {
    let mut params = Params::of(&uri);
    let states = [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed];
    let filter = DeliveryFilter {
        state: params.choice("state", &states, DeliveryState::as_str),
        receiver: params.text("receiver"),
    };
    let page = params.page(Order::Descending);
    params.finish()?;
    let listed = asked.ledger(move |ledger| ledger.deliveries(&filter, page)).await?;
    Ok(json(StatusCode::OK, &List::of(&listed, |item| DeliveryJson::from(item))))
}

async fn delivery(asked: Asked, Path(id): Path<String>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri).finish()?;
    answer(&asked, id, StatusCode::OK).await
}

async fn answer(asked: &Asked, id: String, status: StatusCode) -> Result<Response, Problem> {
    let wanted = id.clone();
    let found = asked.ledger(move |ledger| ledger.delivery(&wanted)).await?;
    let found = found.ok_or_else(|| Problem::not_found("delivery", &id))?;
    Ok(json(status, &DeliveryJson::from(&found)))
}

/// `POST /api/v1/deliveries/{id}/replay`: on disk before it is answered with 202. It has no body, which a page of
/// another site could send, too: what the browser says about where it comes from is heeded.
async fn replay(asked: Asked, Path(id): Path<String>, request: Request) -> Result<Response, Problem> {
    pin::refuse_cross_site(request.headers(), "send a notification again")?;
    Params::of(request.uri()).finish()?;
    let (operator, wanted) = (asked.operator()?, id.clone());
    match blocking(move || operator.replay(&wanted, now())).await? {
        Replay::Pending => answer(&asked, id, StatusCode::ACCEPTED).await,
        Replay::Unknown => Err(Problem::not_found("delivery", &id)),
        Replay::NotFailed(state) => {
            let detail = format!("only a failed delivery can be sent again; this one is {}", state.as_str());
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
    }
}
