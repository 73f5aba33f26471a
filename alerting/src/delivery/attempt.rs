//! One POST, and what its outcome means.

use std::{error::Error, sync::Arc, time::Duration};

use detect::UnixNanos;
use reqwest::{Client, ClientBuilder, Response, StatusCode, header, redirect};

use super::retry_after;
use crate::{DeliveryError, Receiver, clock, ledger::Due};

/// Bytes of an answer that are read; the connection is dropped if there are more.
const MAX_ANSWER: usize = 64 << 10;
/// Characters of an answer that are kept with an error.
const MAX_QUOTE: usize = 200;
/// How long the rest of an answer is waited for once its status has said that all is well.
const DRAIN: Duration = Duration::from_secs(1);

/// How the receiver reacted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// It took the notification.
    Taken { status: u16 },
    /// It did not, but may later; `after` is what it asked for.
    Failed { status: Option<u16>, error: String, after: Option<Duration> },
    /// It never will: 410.
    Gone { status: u16, error: String },
}

/// A client that follows no redirects, since a notification must not end up where nobody meant it to
/// go, and that takes no proxy from the environment.
pub(super) fn client() -> Result<Client, DeliveryError> {
    // An error means that the binary has chosen a provider already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder().build().or_else(|error| {
        tracing::warn!(error = %chain(&error), "no usable system certificates: https receivers will be refused");
        client_without_certificates()
    })
}

/// For minimal containers, which have no certificates: plain HTTP must work there all the same, and
/// HTTPS fail for a stated reason.
fn client_without_certificates() -> Result<Client, DeliveryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| DeliveryError::Client(e.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    builder().tls_backend_preconfigured(tls).build().map_err(|e| DeliveryError::Client(chain(&e)))
}

fn builder() -> ClientBuilder {
    let agent = concat!("bellwether/", env!("CARGO_PKG_VERSION"));
    Client::builder().no_proxy().redirect(redirect::Policy::none()).user_agent(agent)
}

/// Sends the notification once.
pub(super) async fn post(client: &Client, receiver: &Receiver, due: &Due) -> Reaction {
    let config = receiver.config();
    let request = client
        .post(config.url.as_url().clone())
        .timeout(config.timeout)
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", &due.id)
        .header("webhook-timestamp", clock::now().since(UnixNanos::default()).as_secs())
        .body(due.payload.clone());
    match request.send().await {
        Ok(response) => react(receiver, response).await,
        Err(error) => {
            let error = config.url.redact(&chain(&error.without_url()));
            Reaction::Failed { status: None, error, after: None }
        }
    }
}

async fn react(receiver: &Receiver, mut response: Response) -> Reaction {
    let code = response.status();
    let status = code.as_u16();
    if code.is_success() {
        // Read to the end so that the connection can be used again; what it says does not matter.
        let _ = tokio::time::timeout(DRAIN, body(&mut response)).await;
        return Reaction::Taken { status };
    }
    let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = asked.and_then(|value| retry_after::parse(value, clock::now()));
    let mut error = format!("answered {code}");
    if code.is_redirection() {
        error.push_str(" (redirects are not followed)");
    }
    let answer = body(&mut response).await;
    // Blacked out before it is shortened: half a secret would not be recognised.
    let said = quote(&receiver.config().url.redact(&String::from_utf8_lossy(&answer)));
    if !said.is_empty() {
        error = format!("{error}: {said}");
    }
    match code {
        StatusCode::GONE => Reaction::Gone { status, error },
        _ => Reaction::Failed { status: Some(status), error, after },
    }
}

/// The beginning of the answer's body. A body that breaks off ends there: its status was received.
async fn body(response: &mut Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend(chunk.iter().take(MAX_ANSWER - bytes.len()));
        if bytes.len() == MAX_ANSWER {
            break;
        }
    }
    bytes
}

/// One readable line, not too long.
fn quote(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(MAX_QUOTE).collect()
}

/// The error and its causes: reqwest says only "error sending request" by itself.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_exists_also_without_system_certificates() {
        client().expect("with whatever this system has");
        client_without_certificates().expect("without any");
    }

    #[test]
    fn an_answer_is_quoted_as_one_short_readable_line() {
        assert_eq!(quote(" <b>\n\tbusy\u{1b}[31m </b>\r\n"), "<b> busy [31m </b>");
        assert_eq!(quote(&"ä".repeat(1000)).chars().count(), MAX_QUOTE);
    }
}
