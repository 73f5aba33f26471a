//! Whether an endpoint wants what it is sent: asked with OPTIONS before the first notification, as CloudEvents'
//! "HTTP 1.1 Web Hooks for Event Delivery" has it, so that nobody is told who did not agree to it.
//!
//! Its status says nothing, since many answer OPTIONS who have never heard of this: only the headers count. Consent
//! is kept in memory, and asked for again when it is old or the process was started anew.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{Method, Response, StatusCode, header::HeaderMap};
use tokio::time::Instant;

use super::attempt::{DRAIN, Failure, Reaction, Sender, asked_wait, body, broken, chain, quote};
use crate::{Handshake, Redactor, WebhookUrl, integration::ORIGIN};

/// How long consent counts.
const LASTS: Duration = Duration::from_hours(1);
const ASKED_RATE: &str = "webhook-request-rate";
const ALLOWED_ORIGIN: &str = "webhook-allowed-origin";
const ALLOWED_RATE: &str = "webhook-allowed-rate";

/// What an endpoint has agreed to, as far as it was asked.
#[derive(Debug, Default)]
pub(crate) struct Consent {
    answer: Mutex<Option<(Instant, Answer)>>,
    /// One asks at a time, and those that waited for it take its answer.
    asking: tokio::sync::Mutex<()>,
}

/// Consent, with the notifications in a minute that are allowed if that is limited; or how it was not given.
type Answer = Result<Option<u32>, Reaction>;

impl Consent {
    /// What it has agreed to, if that still counts.
    pub(super) fn held(&self, now: Instant) -> Option<Option<u32>> {
        match &*self.answer() {
            Some((at, Ok(rate))) if now.saturating_duration_since(*at) < LASTS => Some(*rate),
            _ => None,
        }
    }

    /// The answer to somebody who has waited for it since `arrived`.
    fn known(&self, arrived: Instant, now: Instant) -> Option<Answer> {
        let refused = match &*self.answer() {
            Some((at, Err(refusal))) if *at >= arrived => Some(Err(refusal.clone())),
            _ => None,
        };
        refused.or_else(|| self.held(now).map(Ok))
    }

    fn learn(&self, answer: Answer, now: Instant) {
        *self.answer() = Some((now, answer));
    }

    fn answer(&self) -> MutexGuard<'_, Option<(Instant, Answer)>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    /// Asks the endpoint unless it has agreed already.
    ///
    /// # Errors
    /// What becomes of the notification when it does not agree.
    pub(super) async fn agree(
        &self,
        (handshake, consent): (&Handshake, &Consent),
        url: &WebhookUrl,
        redactor: &Redactor,
    ) -> Result<(), Reaction> {
        let arrived = Instant::now();
        let _turn = consent.asking.lock().await;
        if let Some(answer) = consent.known(arrived, Instant::now()) {
            return answer.map(|_| ());
        }
        let mut options = self.client.request(Method::OPTIONS, url.as_url().clone()).header(ORIGIN, handshake.origin());
        if let Some(rate) = handshake.rate() {
            options = options.header(ASKED_RATE, rate);
        }
        let answer = match options.send().await {
            Ok(response) => read(handshake, redactor, response).await,
            Err(error) => Err(broken(redactor.redact(&chain(&error.without_url())))),
        };
        consent.learn(answer.clone(), Instant::now());
        answer.map(|_| ())
    }
}

async fn read(handshake: &Handshake, redactor: &Redactor, mut response: Response) -> Answer {
    let code = response.status();
    let refusal = match allowed(handshake, response.headers()) {
        Ok(rate) => {
            // To its end, so that the connection can be used again.
            let _ = tokio::time::timeout(DRAIN, body(&mut response)).await;
            return Ok(rate);
        }
        Err(refusal) => redactor.redact(&refusal),
    };
    let kind = if code == StatusCode::TOO_MANY_REQUESTS { Failure::TooMuch } else { Failure::Broken };
    let error = format!("has not consented: its answer to OPTIONS, {code}, {refusal}");
    Err(Reaction::Failed { status: Some(code.as_u16()), error, after: asked_wait(&response), kind })
}

/// What the headers of an answer allow.
fn allowed(handshake: &Handshake, headers: &HeaderMap) -> Result<Option<u32>, String> {
    let header = |name: &str| headers.get(name).map(|value| quote(&String::from_utf8_lossy(value.as_bytes())));
    let origin = header(ALLOWED_ORIGIN).ok_or("has no WebHook-Allowed-Origin")?;
    if origin != "*" && !origin.eq_ignore_ascii_case(handshake.origin()) {
        return Err(format!("allows {origin:?}, not {:?}", handshake.origin()));
    }
    match header(ALLOWED_RATE).as_deref() {
        // Without a rate of its own, what was asked for is what it has agreed to.
        None | Some("*") => Ok(None),
        Some(rate) => match rate.parse() {
            Ok(rate @ 1..) => Ok(Some(rate)),
            _ => Err(format!("has WebHook-Allowed-Rate {rate:?}, which is no rate")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Result<Option<u32>, String> {
        let handshake = Handshake::new("bw.example.com", Some(60)).expect("is valid");
        let headers =
            headers.iter().map(|(name, value)| (name.parse().expect("is a name"), value.parse().expect("is a value")));
        allowed(&handshake, &headers.collect())
    }

    #[test]
    fn consent_is_our_name_or_all_names_and_nothing_else() {
        assert_eq!(of(&[(ALLOWED_ORIGIN, "*"), (ALLOWED_RATE, "*")]), Ok(None));
        assert_eq!(of(&[(ALLOWED_ORIGIN, "BW.example.com"), (ALLOWED_RATE, "120")]), Ok(Some(120)));
        assert_eq!(of(&[(ALLOWED_ORIGIN, "bw.example.com")]), Ok(None));
        for refused in [
            &[][..],
            &[("allow", "POST, OPTIONS"), ("access-control-allow-origin", "*")],
            &[(ALLOWED_RATE, "120")],
            &[(ALLOWED_ORIGIN, "")],
            &[(ALLOWED_ORIGIN, "example.com")],
            &[(ALLOWED_ORIGIN, "a.example, bw.example.com")],
            &[(ALLOWED_ORIGIN, "*"), (ALLOWED_RATE, "0")],
            &[(ALLOWED_ORIGIN, "*"), (ALLOWED_RATE, "-1")],
            &[(ALLOWED_ORIGIN, "*"), (ALLOWED_RATE, "many")],
        ] {
            assert!(of(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn consent_grows_old_and_a_refusal_answers_only_those_who_waited_for_it() {
        let (consent, start) = (Consent::default(), Instant::now());
        assert_eq!((consent.held(start), consent.known(start, start)), (None, None));
        consent.learn(Ok(Some(5)), start);
        let late = start + LASTS - Duration::from_secs(1);
        assert_eq!((consent.held(late), consent.known(late, late)), (Some(Some(5)), Some(Ok(Some(5)))));
        assert_eq!(consent.held(start + LASTS), None);
        let at = start + LASTS + Duration::from_secs(1);
        consent.learn(Err(broken("no".into())), at);
        assert_eq!(consent.known(start + LASTS, at), Some(Err(broken("no".into()))));
        assert_eq!(consent.known(at + Duration::from_secs(1), at + Duration::from_secs(1)), None, "it is asked again");
    }
}
