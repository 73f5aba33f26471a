//! Mail, by SMTP.

use lettre::{
    Message as Letter,
    message::{Mailbox, MultiPart, SinglePart, header::ContentType},
};

use super::{Message, Sending, message::Told, own, own::Renderer, text};
use crate::Secret;

/// Mailboxes, and who takes mail for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Email {
    /// Who takes the mail.
    pub smarthost: Smarthost,
    /// How it is encrypted on its way there. Default [`TlsMode::Required`].
    pub tls: TlsMode,
    /// Who says it.
    pub from: Mailbox,
    /// To whom; never empty.
    pub to: Vec<Mailbox>,
    /// How we say who we are; not at all without it.
    pub auth: Option<MailAuth>,
    /// The name that we greet with. Default `localhost`.
    pub hello: String,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smarthost {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What a mail server is told before the mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAuth {
    /// Who.
    pub username: String,
    /// The proof.
    pub password: Secret,
}

/// Encryption on the way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// From the first byte (port 465).
    Implicit,
    /// By STARTTLS, or not at all.
    Required,
    /// None.
    Off,
}

/// What a server is given.
#[derive(Debug)]
pub(crate) struct Mail {
    pub(crate) letter: Letter,
}

const SUBJECT: usize = 200;
const LINE: usize = 1_000;
const ALERTS: usize = 100;

impl Smarthost {
    /// From `host:port`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected host:port".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@');
        let port = port.parse().ok().filter(|port| *port > 0 && is_host).ok_or_else(expected)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl Email {
    /// Mailboxes as `To` has them: separated by commas.
    ///
    /// # Errors
    /// Which one is none.
    pub fn mailboxes(text: &str) -> Result<Vec<Mailbox>, String> {
        let boxes: Result<lettre::message::Mailboxes, _> = text.parse();
        let boxes: Vec<Mailbox> =
            boxes.map_err(|error| format!("expected mail addresses: {error}"))?.into_iter().collect();
        if boxes.is_empty() { Err("expected a mail address".to_owned()) } else { Ok(boxes) }
    }

    pub(super) fn render(
        &self,
        message: &Message,
        sending: &Sending<'_>,
        texts: &mut Renderer<'_>,
    ) -> Result<Mail, String> {
        let subject = texts.text("subject", detect::template::plain).unwrap_or_else(|| message.title());
        let subject = text::cut(text::one_line(&subject).trim(), SUBJECT);
        let domain = self.from.email.domain();
        // The same in every attempt, so that mail systems recognise a repetition.
        let id = format!("<{}@{domain}>", sending.id);
        let mut letter = Letter::builder().from(self.from.clone()).subject(subject).message_id(Some(id));
        // All messages of one thread lie together.
        letter =
            letter.references(format!("<{:016x}@{domain}>", xxhash_rust::xxh3::xxh3_64(sending.thread.as_bytes())));
        for mailbox in &self.to {
            letter = letter.to(mailbox.clone());
        }
        let (our_plain, our_html) = bodies(message);
        let plain = texts.text("text", detect::template::plain).unwrap_or(our_plain);
        let html = texts.text("html", own::html).unwrap_or(our_html);
        let part = |kind, body| SinglePart::builder().header(kind).body(body);
        // An empty text leaves its part out, as in Alertmanager.
        let parts = match (plain.trim().is_empty(), html.trim().is_empty()) {
            (_, true) => MultiPart::alternative().singlepart(part(ContentType::TEXT_PLAIN, plain)),
            (true, false) => MultiPart::alternative().singlepart(part(ContentType::TEXT_HTML, html)),
            (false, false) => MultiPart::alternative()
                .singlepart(part(ContentType::TEXT_PLAIN, plain))
                .singlepart(part(ContentType::TEXT_HTML, html)),
        };
        let letter = letter.multipart(parts).map_err(|error| format!("the mail cannot be written: {error}"))?;
        Ok(Mail { letter })
    }
}

fn bodies(message: &Message) -> (String, String) {
    use std::fmt::Write as _;
    let title = text::one_line(&message.title());
    let (mut plain, mut html) = (format!("{title}\n"), format!("<h2>{}</h2>\n", text::html(&title)));
    for alert in message.alerts.iter().take(ALERTS) {
        let lines = lines(alert);
        let escaped: Vec<String> = lines.iter().map(|line| text::html(line)).collect();
        let _ = write!(plain, "\n{}\n", lines.join("\n"));
        let _ = writeln!(html, "<p>{}</p>", escaped.join("<br>"));
    }
    let more = (message.alerts.len().saturating_sub(ALERTS)) as u64 + message.truncated_alerts;
    if more > 0 {
        let _ = write!(plain, "\n… and {more} more\n");
        let _ = writeln!(html, "<p>… and {more} more</p>");
    }
    if super::message::is_web(&message.external_url) {
        let _ = write!(plain, "\n{}\n", message.external_url);
        let link = text::html(&message.external_url);
        let _ = writeln!(html, "<p><a href=\"{link}\">{link}</a></p>");
    }
    (plain, html)
}

fn lines(alert: &Told) -> Vec<String> {
    let mark = if alert.is_firing() { "Firing" } else { "Resolved" };
    let mut lines = vec![format!("{mark}: {}", alert.summary())];
    lines.extend(alert.details().take(5).map(str::to_owned));
    lines.push(alert.labels());
    lines.push(format!("Since {}", alert.starts_at));
    lines.extend(alert.annotations.get("runbook_url").map(|url| format!("Runbook: {url}")));
    lines.extend(alert.link().map(|url| format!("Source: {url}")));
    lines.iter().map(|line| text::cut(&text::one_line(line), LINE)).collect()
}
