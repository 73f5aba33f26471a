//! One attempt, and what its outcome means.

use std::{
    error::Error,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use detect::UnixNanos;
use reqwest::{Client, ClientBuilder, Response, StatusCode, header, redirect};

use super::{
    Counters,
    consent::Consent,
    destinations::{Destinations, Resolver},
    mail, retry_after,
};
use crate::{
    DeliveryError, FileSink, Integration, Redactor, Target, clock,
    integration::{HttpRequest, Meaning, Outgoing, Sending},
    ledger::Due,
};

/// Bytes of an answer that are read; the connection is dropped if there are more.
const MAX_ANSWER: usize = 64 << 10;
/// Characters of an answer that are kept with an error.
const MAX_QUOTE: usize = 200;
/// How long the rest of an answer is waited for once its status has said that all is well.
pub(super) const DRAIN: Duration = Duration::from_secs(1);
/// What is waited when a place says that it was told too much, but not for how long.
const TOO_FAST: Duration = Duration::from_mins(1);

/// How the place reacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// It took the notification.
    Taken { status: Option<u16> },
    /// It did not, but may later; `after` is what it asked for.
    Failed { status: Option<u16>, error: String, after: Option<Duration>, kind: Failure },
    /// It will not take this one, ever, but may take others.
    Refused { status: Option<u16>, error: String },
    /// It takes nothing any more: 410.
    Gone { status: u16, error: String },
}

/// What a failure says about the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something is wrong with it, or with the way there.
    Broken,
    /// It did not answer in time.
    Late,
    /// It is well, and was asked too much.
    TooMuch,
}

/// Sends to all kinds of places.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(super) client: Client,
    destinations: Arc<Destinations>,
    counters: Arc<Counters>,
}

impl Sender {
    /// One that sends nothing to where `destinations` does not let it. It follows no redirects, since a
    /// notification must not end up where nobody meant it to go, and takes no proxy from the environment.
    pub(crate) fn new(destinations: &Destinations, counters: Arc<Counters>) -> Result<Self, DeliveryError> {
        let destinations = Arc::new(destinations.clone());
        Ok(Self { client: client(&destinations)?, destinations, counters })
    }

    /// Sends the notification once, in at most `most` bytes and taking at most `timeout`; `consent` is that of the place,
    /// and is asked for before if that has to be.
    pub(crate) async fn send(
        &self,
        integration: &Integration,
        due: &Due,
        consent: &Consent,
        (most, timeout): (usize, Duration),
    ) -> Reaction {
        let at = clock::now().since(UnixNanos::default()).as_secs();
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        let sending =
            Sending { id: &due.id, thread: &due.episode, payload: &due.payload, most, at, created: due.created };
        let mut faults = Vec::new();
        let rendered = integration.render(&sending, &mut faults);
        for fault in faults {
            self.counters.template_faults.fetch_add(1, Relaxed);
            let key = integration.key();
            tracing::error!(
                id = due.id,
                integration = key,
                fault,
                "a template failed; sent with the text that there is without it"
            );
        }
        match rendered {
            Ok(outgoing) => self.deliver(integration.target(), outgoing, consent, timeout).await,
            Err(error) => Reaction::Refused { status: None, error },
        }
    }

    /// Sends what was made for `target`.
    pub(super) async fn deliver(
        &self,
        target: &Target,
        outgoing: Outgoing,
        consent: &Consent,
        timeout: Duration,
    ) -> Reaction {
        let attempt = async {
            match outgoing {
                Outgoing::Http(request) => self.post(target, request, consent).await,
                Outgoing::Batches(requests) => self.post_all(target, requests, consent).await,
                Outgoing::Mail(letter) => match target {
                    Target::Email(email) => mail::send(&self.destinations, email, *letter, timeout).await,
                    _ => Reaction::Refused { status: None, error: "a mail for no mailbox".to_owned() },
                },
                Outgoing::Line(line) => match target {
                    Target::File(sink) => append(sink, line).await,
                    _ => Reaction::Refused { status: None, error: "a line for no file".to_owned() },
                },
                Outgoing::Nothing => Reaction::Taken { status: None },
            }
        };
        tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| Reaction::Failed {
            status: None,
            error: format!("no answer within {timeout:.1?}"),
            after: None,
            kind: Failure::Late,
        })
    }

    /// One after the other. What is not taken is not the end of those before it, which come again with it.
    async fn post_all(&self, target: &Target, requests: Vec<HttpRequest>, consent: &Consent) -> Reaction {
        let mut last = Reaction::Taken { status: None };
        for request in requests {
            last = self.post(target, request, consent).await;
            if !matches!(last, Reaction::Taken { .. }) {
                break;
            }
        }
        last
    }

    async fn post(&self, target: &Target, request: HttpRequest, consent: &Consent) -> Reaction {
        let HttpRequest { url, headers, body } = request;
        let redactor = target.redactor();
        if let Err(error) = self.destinations.check(&url) {
            return broken(error);
        }
        if let Some(handshake) = target.handshake()
            && let Err(reaction) = self.agree((handshake, consent), &url, &redactor).await
        {
            return reaction;
        }
        let mut post = self.client.post(url.as_url().clone()).body(body);
        for (name, value) in headers {
            post = post.header(name, value);
        }
        match post.send().await {
            Ok(response) => react(target, &redactor, response).await,
            Err(error) => broken(redactor.redact(&chain(&error.without_url()))),
        }
    }
}

/// What connects to nothing but `destinations`.
pub(super) fn client(destinations: &Arc<Destinations>) -> Result<Client, DeliveryError> {
    // An error means that the binary has chosen a provider already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder(destinations).build().or_else(|error| {
        tracing::warn!(error = %chain(&error), "no usable system certificates: https receivers will be refused");
        client_without_certificates(destinations)
    })
}

/// For minimal containers, which have no certificates: plain HTTP must work there all the same, and
/// HTTPS fail for a stated reason.
fn client_without_certificates(destinations: &Arc<Destinations>) -> Result<Client, DeliveryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| DeliveryError::Client(e.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    builder(destinations).tls_backend_preconfigured(tls).build().map_err(|e| DeliveryError::Client(chain(&e)))
}

fn builder(destinations: &Arc<Destinations>) -> ClientBuilder {
    let agent = concat!("bellwether/", env!("CARGO_PKG_VERSION"));
    let resolver = Resolver(Arc::clone(destinations));
    Client::builder().no_proxy().redirect(redirect::Policy::none()).user_agent(agent).dns_resolver(Arc::new(resolver))
}

pub(super) fn broken(error: String) -> Reaction {
    Reaction::Failed { status: None, error, after: None, kind: Failure::Broken }
}

async fn react(target: &Target, redactor: &Redactor, mut response: Response) -> Reaction {
    let code = response.status();
    let status = code.as_u16();
    let after = asked_wait(&response);
    let answer = if code.is_success() {
        // Its status has said that all is well. What it says inside is read where that is not the whole
        // truth, and to its end, so that the connection can be used again.
        tokio::time::timeout(DRAIN, body(&mut response)).await.unwrap_or_default()
    } else {
        body(&mut response).await
    };
    let answer = String::from_utf8_lossy(&answer);
    // Blacked out before it is shortened: half a secret would not be recognised.
    let said = quote(&redactor.redact(&answer));
    let with_quote = |error: String| if said.is_empty() { error } else { format!("{error}: {said}") };
    let failed = |error, after, kind| Reaction::Failed { status: Some(status), error: with_quote(error), after, kind };
    match target.read_answer(status, &answer) {
        Meaning::Failed(error) => return failed(error, after, Failure::Broken),
        Meaning::TooFast(error) => return failed(error, after.or(Some(TOO_FAST)), Failure::TooMuch),
        Meaning::Refused => {
            return Reaction::Refused { status: Some(status), error: with_quote(format!("refused with {code}")) };
        }
        Meaning::Plain => {}
    }
    if code.is_success() {
        return Reaction::Taken { status: Some(status) };
    }
    let mut error = format!("answered {code}");
    if code.is_redirection() {
        error.push_str(" (redirects are not followed)");
    }
    match code {
        StatusCode::GONE => Reaction::Gone { status, error: with_quote(error) },
        StatusCode::TOO_MANY_REQUESTS => failed(error, after, Failure::TooMuch),
        _ => failed(error, after, Failure::Broken),
    }
}

/// What `Retry-After` asks for.
pub(super) fn asked_wait(response: &Response) -> Option<Duration> {
    let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    asked.and_then(|value| retry_after::parse(value, clock::now()))
}

/// The beginning of the answer's body. A body that breaks off ends there: its status was received.
pub(super) async fn body(response: &mut Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend(chunk.iter().take(MAX_ANSWER - bytes.len()));
        if bytes.len() == MAX_ANSWER {
            break;
        }
    }
    bytes
}

/// Writes the line, and does not say so before it is on disk.
async fn append(sink: &FileSink, line: String) -> Reaction {
    use std::io::Write as _;
    let sink = sink.clone();
    let write = move || match sink {
        FileSink::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(line.as_bytes())?;
            out.flush()
        }
        FileSink::File(path) => {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(line.as_bytes())?;
            file.sync_data()
        }
    };
    let written = tokio::task::spawn_blocking(write).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    match written {
        Ok(()) => Reaction::Taken { status: None },
        Err(error) => broken(format!("cannot be written: {error}")),
    }
}

/// One readable line, not too long.
pub(super) fn quote(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(MAX_QUOTE).collect()
}

/// The error and its causes: an HTTP client says only "error sending request" by itself.
pub(super) fn chain(error: &dyn Error) -> String {
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
        Sender::new(&Destinations::default(), Arc::default()).expect("with whatever this system has");
        client_without_certificates(&Arc::new(Destinations::default())).expect("without any");
    }

    #[test]
    fn an_answer_is_quoted_as_one_short_readable_line() {
        assert_eq!(quote(" <b>\n\tbusy\u{1b}[31m </b>\r\n"), "<b> busy [31m </b>");
        assert_eq!(quote(&"ä".repeat(1000)).chars().count(), MAX_QUOTE);
    }
}
