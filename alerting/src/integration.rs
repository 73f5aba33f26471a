//! The places that take notifications, each in its own form.
//!
//! What stands in the outbox is Alertmanager's message (`webhook.rs`), the same for all; each integration
//! makes its own body of it when it is sent, so that what was written down before a configuration changed is
//! sent as the new one says. Each form fits its vendor's limits, and has everything that came from telemetry
//! escaped, also where templates of one's own (`own.rs`) make its texts.

mod alertmanager;
mod cloudevents;
mod email;
mod file;
mod message;
mod own;
mod pagerduty;
mod slack;
mod teams;
mod text;
mod webhook;

use std::time::Duration;

use detect::UnixNanos;

use self::own::Renderer;
pub use self::{
    alertmanager::Alertmanager,
    cloudevents::WebhookFormat,
    email::{Email, MailAuth, Smarthost, TlsMode},
    file::FileSink,
    own::{OwnTexts, Templates},
    pagerduty::PagerDuty,
    slack::Slack,
    teams::Teams,
    webhook::{Handshake, SigningKey, Webhook},
};
pub(crate) use self::{
    email::Mail,
    message::{Message, test_message},
    webhook::ORIGIN,
};
use crate::{Redactor, WebhookUrl};

/// A rate that limits nothing, and has what is sent remembered.
const UNKNOWN: (usize, Duration) = (usize::MAX, Duration::from_mins(1));

/// One of a receiver's places.
#[derive(Clone, Debug, PartialEq)]
pub struct Integration {
    key: String,
    /// Whether it is told that an alert is over. Default as Alertmanager's: not Slack, not mail.
    pub send_resolved: bool,
    /// Longest time for one attempt, from connecting to the end of the answer; 10 ms to 5 min. What is
    /// waited in fact follows from how fast the place answers, and is never longer. Default 15 s.
    pub timeout: Duration,
    /// Texts in place of ours. Default none.
    pub own: OwnTexts,
    target: Target,
}

/// Where notifications go.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// An HTTP endpoint of one's own.
    Webhook(Webhook),
    /// A peer of an Alertmanager cluster.
    Alertmanager(Alertmanager),
    /// Slack.
    Slack(Slack),
    /// `PagerDuty`.
    PagerDuty(PagerDuty),
    /// Microsoft Teams.
    Teams(Teams),
    /// A mailbox.
    Email(Email),
    /// A file, or standard output.
    File(FileSink),
}

/// A notification in the form in which it is sent.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Http(HttpRequest),
    /// Parts of it, for a place that takes each by itself.
    Batches(Vec<HttpRequest>),
    Mail(Box<Mail>),
    Line(String),
    /// There is nothing to tell this place.
    Nothing,
}

/// A POST.
#[derive(Debug)]
pub(crate) struct HttpRequest {
    pub(crate) url: WebhookUrl,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// What is to be sent, and when it is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending<'a> {
    /// The notification's id.
    pub(crate) id: &'a str,
    /// What its messages have in common: they are about the same, and come in order.
    pub(crate) thread: &'a str,
    /// Alertmanager's message.
    pub(crate) payload: &'a str,
    /// Bytes of a body that the place may get. What is longer tells of fewer alerts, where it can.
    pub(crate) most: usize,
    /// Wall time in seconds since 1970.
    pub(crate) at: i64,
    /// Wall time at which it was recorded: the same in every attempt.
    pub(crate) created: UnixNanos,
}

/// What an answer means to those who know the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// What its status says.
    Plain,
    /// It did not take it, whatever the status says; it may later.
    Failed(String),
    /// It did not take it because too much was sent.
    TooFast(String),
    /// It will never take this notification, but may take others.
    Refused,
}

impl Integration {
    const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(5);

    /// An integration of a receiver, in which `key` tells it from the others: its kind and number, as in
    /// `webhook/0`.
    #[must_use]
    pub fn new(key: &str, target: Target) -> Self {
        let send_resolved = !matches!(target, Target::Slack(_) | Target::Email(_));
        Self { key: key.to_owned(), send_resolved, timeout: Duration::from_secs(15), own: OwnTexts::default(), target }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if Self::TIMEOUTS.contains(&self.timeout) {
            return Ok(());
        }
        Err(format!("timeout: expected 10 ms to 5 min, got {:?}", self.timeout))
    }

    /// What tells it from its receiver's others.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where notifications go.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether [`Sending::most`] bounds what it gets. Others bound it themselves.
    pub(crate) fn is_shortened(&self) -> bool {
        matches!(self.target, Target::Webhook(_)) && self.own.texts.is_empty()
    }

    /// The notification as this place takes it; `faults` gets what is wrong with templates, which are done without.
    pub(crate) fn render(&self, sending: &Sending<'_>, faults: &mut Vec<String>) -> Result<Outgoing, String> {
        self.target.render(&self.own, sending, faults)
    }
}

impl Target {
    fn render(&self, own: &OwnTexts, sending: &Sending<'_>, faults: &mut Vec<String>) -> Result<Outgoing, String> {
        let message = || read(sending.payload);
        Ok(match self {
            Self::File(_) => Outgoing::Line(file::line(sending)),
            // What is sent as it stands need not be read.
            Self::Webhook(webhook) if own.texts.is_empty() => Outgoing::Http(webhook.render(sending, None)?),
            Self::Webhook(webhook) => {
                let message = message()?;
                Outgoing::Http(
                    webhook.render(sending, webhook::body(&message, &mut Renderer::new(own, &message, faults)))?,
                )
            }
            Self::Alertmanager(peer) => peer.render(&[message()?], sending.at),
            Self::Slack(slack) => {
                let message = message()?;
                Outgoing::Http(slack.render(&message, &mut Renderer::new(own, &message, faults)))
            }
            Self::PagerDuty(service) => {
                let message = message()?;
                Outgoing::Http(service.render(&message, sending.thread, &mut Renderer::new(own, &message, faults)))
            }
            Self::Teams(teams) => {
                let message = message()?;
                Outgoing::Http(teams.render(&message, &mut Renderer::new(own, &message, faults)))
            }
            Self::Email(email) => {
                let message = message()?;
                Outgoing::Mail(Box::new(email.render(&message, sending, &mut Renderer::new(own, &message, faults))?))
            }
        })
    }

    /// What the answer means, beyond its status.
    pub(crate) fn read_answer(&self, status: u16, body: &str) -> Meaning {
        match self {
            Self::Slack(slack) => slack.read_answer(status, body),
            Self::Teams(_) => teams::read_answer(status, body),
            Self::PagerDuty(_) if status == 400 => Meaning::Refused,
            _ => Meaning::Plain,
        }
    }

    /// How often it may be told something: so many times in so long, all of which hold.
    pub(crate) fn rates(&self) -> Vec<(usize, Duration)> {
        match self {
            Self::Slack(_) => slack::RATES.to_vec(),
            Self::Teams(_) => teams::RATES.to_vec(),
            // How much it takes is not known before it was asked, and then counts for what was sent before, too.
            _ => self.handshake().map(|asked| vec![asked.per_minute(None).unwrap_or(UNKNOWN)]).unwrap_or_default(),
        }
    }

    /// How it is asked for its consent, if it has to be.
    pub(crate) fn handshake(&self) -> Option<&Handshake> {
        match self {
            Self::Webhook(webhook) => webhook.handshake.as_ref(),
            _ => None,
        }
    }

    /// Notifications that may be on their way to it at the same time.
    pub(crate) fn most_in_flight(&self) -> usize {
        match self {
            Self::Webhook(_) | Self::Alertmanager(_) => 64,
            Self::PagerDuty(_) => 4,
            Self::Slack(_) | Self::Teams(_) | Self::Email(_) | Self::File(_) => 1,
        }
    }

    /// Blacks out its secrets.
    #[must_use]
    pub fn redactor(&self) -> Redactor {
        let none = Redactor::default();
        match self {
            Self::Webhook(w) => {
                none.url(&w.url).secrets(&w.authorization).secrets(w.signing_keys.iter().map(SigningKey::secret))
            }
            Self::Alertmanager(peer) => none.url(&peer.url).secrets(&peer.authorization),
            Self::Slack(slack) => none.url(&slack.url).secrets(&slack.token),
            Self::PagerDuty(service) => none.url(&service.url).secrets([&service.routing_key]),
            Self::Teams(teams) => none.url(&teams.url),
            Self::Email(email) => none.secrets(email.auth.as_ref().map(|auth| &auth.password)),
            Self::File(_) => none,
        }
    }

    /// Where an HTTP integration sends to.
    #[must_use]
    pub fn url(&self) -> Option<&WebhookUrl> {
        match self {
            Self::Webhook(w) => Some(&w.url),
            Self::Alertmanager(peer) => Some(&peer.url),
            Self::Slack(slack) => Some(&slack.url),
            Self::PagerDuty(service) => Some(&service.url),
            Self::Teams(teams) => Some(&teams.url),
            Self::Email(_) | Self::File(_) => None,
        }
    }

    /// Changes when the place does, and says nothing about it.
    pub(crate) fn digest(&self) -> String {
        let place = match self {
            Self::Email(email) => format!("{:?} {:?}", email.smarthost, email.to),
            Self::File(sink) => format!("{sink:?}"),
            _ => self.url().map(|url| url.as_url().to_string()).unwrap_or_default(),
        };
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(place.as_bytes()))
    }
}

fn read(payload: &str) -> Result<Message, String> {
    serde_json::from_str(payload).map_err(|error| format!("the message in the outbox cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
