//! Who asks: every question to this interface is a tenant's, as every request at the doors is.
//!
//! The tenant comes from the credential and `X-Scope-OrgID`. Links in notifications carry the tenant as
//! the parameter `tenant`, since a browser that follows one sends no such header: then it stands for
//! the header where a credential says who may. Without credentials it must agree with the header, or
//! whoever comes past the proxy that sets the header could choose for himself.

use std::sync::Arc;

use alerting::{Dispatcher, LedgerError, Operator};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ingest::{Denied, TENANT_HEADER, Tenant};

use super::{
    Busy, Problem, Shared,
    params::{Params, encoded},
};
use crate::{faces::Face, view::View};

/// The parameter that does.
pub(super) const TENANT: &str = "tenant";

/// A question: whose it is, and what there is to answer it from.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// What all handlers share.
    pub(crate) shared: Arc<Shared>,
    /// What the tenant sees.
    pub(crate) face: Face,
    /// How pages link to each other.
    pub(crate) link: Link,
}

impl Asked {
    /// The newest picture.
    pub(crate) fn view(&self) -> Arc<View> {
        self.face.view()
    }

    /// Puts `question` to the tenant's ledger on a thread that may block.
    pub(crate) async fn ledger<T: Send + 'static>(
        &self,
        question: impl FnOnce(&alerting::Reader) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.face.ledger.ask(question).await
    }

    /// Who writes what people decide of the tenant: nobody before it has sent anything.
    pub(super) fn operator(&self) -> Result<Operator, Problem> {
        self.face.operator.clone().ok_or_else(|| self.unknown_tenant())
    }

    /// Who knows what is told of the tenant's alerts: likewise.
    pub(super) fn dispatcher(&self) -> Result<Arc<Dispatcher>, Problem> {
        self.face.dispatcher.clone().ok_or_else(|| self.unknown_tenant())
    }

    fn unknown_tenant(&self) -> Problem {
        Problem::not_found("data of tenant", self.face.tenant.as_str())
    }

    /// Does `work` on a thread that may block, when its turn has come.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        self.shared.compute(work).await
    }
}

/// Does `work` at once, on a thread that may block on the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| Problem::busy("the service is shutting down"))??)
}

/// Makes links that lead to the same tenant as the question that they answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link(Option<Tenant>);

impl Link {
    /// `path`, which may have a query, for the same tenant.
    pub(crate) fn to(&self, path: &str) -> String {
        match &self.0 {
            None => path.to_owned(),
            Some(tenant) => {
                let mark = if path.contains('?') { '&' } else { '?' };
                format!("{path}{mark}{TENANT}={}", encoded(tenant.as_str()))
            }
        }
    }
}

/// Whose a request is, settled by [`guard`].
#[derive(Clone, Debug)]
struct Whose {
    tenant: Tenant,
    link: Link,
}

impl FromRequestParts<Arc<Shared>> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let missing = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody knows who asks");
        let Whose { tenant, link } = parts.extensions.get::<Whose>().cloned().ok_or_else(missing)?;
        Ok(Self { shared: Arc::clone(shared), face: shared.api.faces.of(&tenant), link })
    }
}

/// Lets those in who have a credential, where there are any, for their tenants only; whether the service
/// is alive and ready is everybody's business.
pub(super) async fn guard(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/healthz" | "/readyz" | "/-/healthy" | "/-/ready") {
        return next.run(request).await;
    }
    match whose(&shared, request.headers(), request.uri()) {
        Ok(whose) => {
            request.extensions_mut().insert(whose);
            next.run(request).await
        }
        Err(refused) => *refused,
    }
}

fn whose(shared: &Shared, headers: &HeaderMap, uri: &Uri) -> Result<Whose, Box<Response>> {
    let access = &shared.api.access;
    let refuse = |denied| Box::new(refusal(&denied));
    let mut named = Params::of(uri).all(TENANT);
    let Some(name) = named.pop() else {
        let tenant = access.tenant(headers).map_err(refuse)?;
        return Ok(Whose { tenant, link: Link::default() });
    };
    let tenant = if access.is_guarded() && !headers.contains_key(TENANT_HEADER) {
        let mut headers = headers.clone();
        let value = HeaderValue::from_str(&name).map_err(|_| Box::new(disagreement().into_response()))?;
        headers.insert(TENANT_HEADER, value);
        access.tenant(&headers)
    } else {
        access.tenant(headers)
    };
    let tenant = tenant.map_err(refuse)?;
    if tenant.as_str() != name || !named.is_empty() {
        return Err(Box::new(disagreement().into_response()));
    }
    Ok(Whose { link: Link(Some(tenant.clone())), tenant })
}

fn disagreement() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "parameter tenant: expected the tenant that the request is for, once")
}

fn refusal(denied: &Denied) -> Response {
    let status = match denied {
        Denied::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
        Denied::Forbidden { .. } => StatusCode::FORBIDDEN,
        Denied::Tenant(_) => StatusCode::BAD_REQUEST,
    };
    let mut response = Problem::new(status, denied.to_string()).into_response();
    if let Denied::Unauthenticated { challenge, .. } = denied {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}
