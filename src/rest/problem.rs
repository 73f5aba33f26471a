//! Errors as RFC 9457 has them: `application/problem+json`, with the parameter that is to blame.

use alerting::LedgerError;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::json::json;

/// Seconds after which a refused client may come again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
/// Characters of a client's own text that are repeated to it.
const QUOTED: usize = 100;

/// One parameter that is wrong, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) parameter: String,
    pub(crate) detail: String,
}

impl Fault {
    /// That `parameter` should have been as `expected`, and was `actual`.
    pub(crate) fn new(parameter: &str, expected: &str, actual: &str) -> Self {
        let detail = format!("expected {expected}, got {}", quoted(actual));
        Self { parameter: quoted_plain(parameter), detail }
    }
}

/// A client's text in quotes, cut if it is long.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", quoted_plain(text))
}

fn quoted_plain(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    /// The parameters to blame; empty when none is.
    pub(crate) faults: Vec<Fault>,
    /// The lines of files to blame; empty when none is.
    pub(crate) places: Vec<Place>,
}

/// A line of a file that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    pub(crate) file: String,
    /// From 1; 0 is the file as a whole.
    pub(crate) line: usize,
    pub(crate) detail: String,
}

/// On the wire. `errors` lists all faults where `parameter` and `detail` name the first, and `faults` those of files.
#[derive(Serialize)]
struct Wire<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
    #[serde(skip_serializing_if = "<[Place]>::is_empty")]
    faults: &'a [Place],
}

impl Problem {
    /// A problem that no parameter is to blame for.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), faults: Vec::new(), places: Vec::new() }
    }

    /// That something named in the path or by a parameter does not exist.
    pub(crate) fn not_found(what: &str, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what} {}", quoted(name)))
    }

    /// That there is no room now; the client is told to come again.
    pub(crate) fn busy(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Bad parameters, all of them.
    pub(crate) fn bad_parameters(faults: Vec<Fault>) -> Self {
        let all: Vec<String> = faults.iter().map(|f| format!("{}: {}", f.parameter, f.detail)).collect();
        Self { faults, ..Self::new(StatusCode::BAD_REQUEST, all.join("; ")) }
    }

    /// A configuration that is not taken up, with every fault.
    pub(crate) fn bad_configuration(faults: Vec<detect::yaml::Fault>) -> Self {
        let count = faults.len();
        let s = if count == 1 { "" } else { "s" };
        let detail = format!("the configuration was not reloaded, and the old one stays in force: {count} fault{s}");
        let place = |detect::yaml::Fault { file, line, message }| Place { file, line, detail: message };
        let places = faults.into_iter().map(place).collect();
        Self { places, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Pin { field, expected, actual } => {
                Self::bad_parameters(vec![Fault::new(field, expected, &actual)])
            }
            LedgerError::PageLimit { actual } => {
                Self::bad_parameters(vec![Fault::new("limit", "1 to 1000", &actual.to_string())])
            }
            LedgerError::Silence { .. } => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
            LedgerError::Interrupted => Self::busy("the service is shutting down"),
            error => {
                tracing::error!(%error, "the ledger could not answer");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the ledger could not answer; the log says why")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let parameter = self.faults.first().map(|f| f.parameter.as_str());
        let errors = if self.faults.len() > 1 { self.faults.as_slice() } else { &[] };
        let wire = Wire {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            parameter,
            errors,
            faults: &self.places,
        };
        let mut response = json(self.status, &wire);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
