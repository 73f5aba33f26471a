//! Who is told: `receivers` in Alertmanager's words, `delivery` and `heartbeat`.
//!
//! A key of Alertmanager that we do not have is a fault that names it, as any unknown key is. Secrets come from the
//! environment or from files; addresses that hold one (`url`, `api_url`, `webhook_url`) may also stand in the file.

mod webhook;

use std::{path::Path, time::Duration};

use alerting::{
    Alertmanager, Email, Fallback, FileSink, Heartbeat, Integration, MailAuth, OwnTexts, PagerDuty, Receiver, Secret,
    Slack, Smarthost, Target, Teams, Templates, TlsMode, WebhookUrl,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use detect::yaml::{Faults, Mapping, Value};

use super::{
    Config,
    file::{positive, section, set},
    secrets, templates,
    templates::OwnReader,
};

/// Where `chat.postMessage` of Slack is.
const POST_MESSAGE: &str = "https://slack.com/api/chat.postMessage";
/// The greatest number of integrations of a receiver, and of peers of an Alertmanager: each has a worker.
const MOST: usize = 32;

/// `delivery`.
pub(super) fn delivery(top: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    let delivery = &mut config.delivery;
    section(top, "delivery", faults, |m, f| {
        set(m, "give_up_after", f, positive, &mut delivery.give_up_after);
        set(m, "max_backoff", f, positive, &mut delivery.backoff.cap);
        if delivery.backoff.cap < delivery.backoff.start || delivery.backoff.cap > delivery.longest_retry_after {
            f.add(m.line(), "delivery.max_backoff: expected 1s to 1h");
        }
        set(m, "allow_private", f, |v, f| v.boolean(f), &mut delivery.destinations.allow_private);
        set(m, "allow_loopback", f, |v, f| v.boolean(f), &mut delivery.destinations.allow_loopback);
        let Some(networks) = m.get("allow") else { return };
        for value in networks.list(f) {
            match value.text(f).map(|text| text.parse()) {
                Some(Ok(network)) => delivery.destinations.allow.push(network),
                Some(Err(_)) => value.expected("a network such as 10.0.0.0/8 or fd00::/8", f),
                None => {}
            }
        }
    });
}

/// `heartbeat`, which comes after `receivers`.
pub(super) fn heartbeat(top: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    let Some(value) = top.get("heartbeat") else { return };
    let Some(mut m) = value.mapping(faults) else { return };
    let receiver = m.required("receiver", faults).and_then(|v| v.text(faults));
    let mut interval = Duration::from_mins(1);
    set(&mut m, "interval", faults, positive, &mut interval);
    m.finish(faults);
    let Some(receiver) = receiver else { return };
    if !config.receivers.iter().any(|known| known.name() == receiver) {
        faults.add(value.line(), format!("heartbeat.receiver: there is no receiver `{receiver}`"));
    }
    if interval < Duration::from_secs(1) {
        faults.add(value.line(), "heartbeat.interval: expected at least 1s");
    }
    config.heartbeat = Some(Heartbeat { receiver, interval });
}

/// `receivers`.
pub(super) fn receivers(top: &mut Mapping<'_, '_>, config: &mut Config, directory: &Path, faults: &mut Faults) {
    let mut global = Global::read(top, directory, faults);
    global.host = config.external_url.as_deref().and_then(webhook::host);
    config.resolve_timeout = global.resolve_timeout.unwrap_or(config.resolve_timeout);
    let templates = templates::templates(top, directory, faults);
    let Some(value) = top.get("receivers") else { return };
    let entries = value.list(faults);
    let mut lines = Vec::new();
    for entry in entries {
        let Some(receiver) = receiver(&entry, &global, &templates, directory, faults) else { continue };
        if config.receivers.iter().any(|known| known.name() == receiver.name()) {
            faults.add(entry.line(), format!("receivers: `{}` is given twice", receiver.name()));
        }
        for integration in receiver.integrations() {
            if let Some(Err(reason)) = integration.target().url().map(|url| config.delivery.destinations.check(url)) {
                let (name, key) = (receiver.name(), integration.key());
                faults.add(entry.line(), format!("{key} of receiver {name:?}: {reason}"));
            }
        }
        lines.push(entry.line());
        config.receivers.push(receiver);
    }
    for (receiver, line) in config.receivers.iter().zip(lines) {
        let Some(fallback) = receiver.fallback() else { continue };
        let is_other = fallback.receiver != receiver.name();
        if !is_other || !config.receivers.iter().any(|known| known.name() == fallback.receiver) {
            faults.add(line, format!("fallback of receiver {:?}: expected another receiver's name", receiver.name()));
        }
    }
}

/// What Alertmanager's section `global` gives to all receivers.
#[derive(Debug, Default)]
struct Global {
    slack_api_url: Option<WebhookUrl>,
    pagerduty_url: Option<WebhookUrl>,
    smarthost: Option<Smarthost>,
    from: Option<Vec<alerting::Mailbox>>,
    hello: Option<String>,
    auth_username: Option<String>,
    auth_password: Option<Secret>,
    require_tls: Option<bool>,
    resolve_timeout: Option<Duration>,
    /// Of `external_url`, which stands beside it: the name by which we are known.
    host: Option<String>,
}

impl Global {
    fn read(top: &mut Mapping<'_, '_>, directory: &Path, faults: &mut Faults) -> Self {
        let mut global = Self::default();
        section(top, "global", faults, |m, faults| {
            let own = OwnReader { templates: &Templates::default(), own: OwnTexts::default() };
            let mut reader = Reader { directory, global: &Self::default(), own, faults, integrations: Vec::new() };
            let has_slack = m.get("slack_api_url").is_some() || m.get("slack_api_url_file").is_some();
            global.slack_api_url =
                has_slack.then(|| reader.url(m, "slack_api_url", "slack_api_url_file", None)).flatten();
            global.pagerduty_url = m.get("pagerduty_url").and_then(|v| reader.address(&v, "pagerduty_url"));
            global.smarthost = reader.optional(m, "smtp_smarthost", Smarthost::parse);
            global.from = reader.optional(m, "smtp_from", Email::mailboxes);
            global.hello = m.get("smtp_hello").and_then(|v| v.text(reader.faults));
            global.auth_username = m.get("smtp_auth_username").and_then(|v| v.text(reader.faults));
            global.auth_password = reader.secret(m, "smtp_auth_password", "smtp_auth_password_file");
            global.require_tls = m.get("smtp_require_tls").and_then(|v| v.boolean(reader.faults));
            global.resolve_timeout = m.get("resolve_timeout").and_then(|v| positive(&v, reader.faults));
        });
        global
    }
}

/// `http_config` of `m`, as the value of the header `authorization`.
pub(super) fn authorization(m: &mut Mapping<'_, '_>, directory: &Path, faults: &mut Faults) -> Option<Secret> {
    let own = OwnReader { templates: &Templates::default(), own: OwnTexts::default() };
    Reader { directory, global: &Global::default(), own, faults, integrations: Vec::new() }.http_config(m)
}

fn receiver(
    value: &Value<'_, '_>,
    global: &Global,
    templates: &Templates,
    directory: &Path,
    faults: &mut Faults,
) -> Option<Receiver> {
    let mut entry = value.mapping(faults)?;
    let name = entry.required("name", faults).and_then(|v| v.text(faults));
    let own = OwnReader { templates, own: OwnTexts::default() };
    let mut reader = Reader { directory, global, own, faults, integrations: Vec::new() };
    reader.all(&mut entry, "webhook_configs", "webhook", Reader::webhook);
    reader.all(&mut entry, "slack_configs", "slack", Reader::slack);
    reader.all(&mut entry, "pagerduty_configs", "pagerduty", Reader::pagerduty);
    reader.all(&mut entry, "msteamsv2_configs", "msteamsv2", Reader::teams);
    reader.all(&mut entry, "email_configs", "email", Reader::email);
    reader.all(&mut entry, "file_configs", "file", Reader::file);
    reader.peers(&mut entry);
    let integrations = reader.integrations;
    let fallback = entry.get("fallback").and_then(|v| v.text(faults));
    let after = entry.get("fallback_after");
    if let Some(after) = after.as_ref().filter(|_| fallback.is_none()) {
        faults.add(after.line(), "`fallback_after` expects `fallback` beside it");
    }
    let after = after.and_then(|v| positive(&v, faults)).unwrap_or(Receiver::FALLBACK_AFTER);
    entry.finish(faults);
    if integrations.len() > MOST {
        faults
            .add(value.line(), format!("receivers: expected at most {MOST} integrations, got {}", integrations.len()));
    }
    let receiver =
        Receiver::new(&name?, integrations).map_err(|error| faults.add(value.line(), error.to_string())).ok()?;
    Some(receiver.with_fallback(fallback.map(|receiver| Fallback { receiver, after })))
}

/// Reads the integrations of one receiver.
struct Reader<'r> {
    directory: &'r Path,
    global: &'r Global,
    /// Of the integration that is being read.
    own: OwnReader<'r>,
    faults: &'r mut Faults,
    integrations: Vec<Integration>,
}

type M<'m, 'd, 'a> = &'m mut Mapping<'d, 'a>;

impl Reader<'_> {
    /// Every entry of the list `key`.
    fn all(
        &mut self,
        entry: M<'_, '_, '_>,
        key: &'static str,
        kind: &str,
        read: impl Fn(&mut Self, M<'_, '_, '_>) -> Option<Target>,
    ) {
        let Some(list) = entry.get(key) else { return };
        for (i, value) in list.list(self.faults).iter().enumerate() {
            let Some(mut m) = value.mapping(self.faults) else { continue };
            self.own.own = OwnTexts::default();
            let target = read(self, &mut m);
            self.add(&format!("{kind}/{i}"), target.into_iter().collect(), m);
        }
    }

    /// Every peer of every `alertmanager_configs`: an integration each.
    fn peers(&mut self, entry: M<'_, '_, '_>) {
        let Some(list) = entry.get("alertmanager_configs") else { return };
        for (i, value) in list.list(self.faults).iter().enumerate() {
            let Some(mut m) = value.mapping(self.faults) else { continue };
            let listed = m.required("urls", self.faults).map(|v| v.list(self.faults)).unwrap_or_default();
            let authorization = self.http_config(&mut m);
            let mut resend = Duration::from_mins(1);
            set(&mut m, "resend", self.faults, positive, &mut resend);
            let urls: Vec<WebhookUrl> = listed.iter().filter_map(|v| self.address(v, "urls")).collect();
            let peer = |base| Alertmanager { authorization: authorization.clone(), resend, ..Alertmanager::peer(base) };
            let targets = urls.iter().map(|url| Target::Alertmanager(peer(url))).collect();
            self.add(&format!("alertmanager/{i}"), targets, m);
        }
    }

    /// What all kinds have; several targets are numbered below `key`.
    fn add(&mut self, key: &str, targets: Vec<Target>, mut m: Mapping<'_, '_>) {
        let send_resolved = m.get("send_resolved").and_then(|v| v.boolean(self.faults));
        let timeout = m.get("timeout").and_then(|v| v.duration(self.faults));
        m.finish(self.faults);
        let is_one = !matches!(targets.first(), Some(Target::Alertmanager(_)));
        for (i, target) in targets.into_iter().enumerate() {
            let key = if is_one { key.to_owned() } else { format!("{key}/{i}") };
            let mut integration = Integration::new(&key, target);
            integration.send_resolved = send_resolved.unwrap_or(integration.send_resolved);
            integration.timeout = timeout.unwrap_or(integration.timeout);
            integration.own = self.own.own.clone();
            self.integrations.push(integration);
        }
    }

    fn slack(&mut self, m: M<'_, '_, '_>) -> Option<Target> {
        let has_token = m.get("app_token").is_some() || m.get("app_token_file").is_some();
        let token = self.secret(m, "app_token", "app_token_file");
        let default = has_token.then_some(POST_MESSAGE);
        // With a token the address is that of the method, which Alertmanager calls `app_url`.
        let keys = if has_token { ["app_url", "app_url_file"] } else { ["api_url", "api_url_file"] };
        let is_given = has_token || keys.into_iter().any(|key| m.get(key).is_some());
        let url = match &self.global.slack_api_url {
            Some(url) if !is_given => Some(url.clone()),
            _ => self.url(m, keys[0], keys[1], default),
        };
        let mut plain = |key| self.own.plain(m, key, self.faults);
        let (channel, username, icon_emoji) = (plain("channel"), plain("username"), plain("icon_emoji"));
        let parts = ["title", "title_link", "text", "pretext", "fallback", "footer", "color"];
        self.own.texts(m, &parts, self.faults);
        self.own.fields(m, self.faults);
        if has_token && channel.is_none() && !self.own.own.texts.contains_key("channel") {
            self.faults.add(m.line(), "slack_configs: `app_token` expects `channel` beside it");
        }
        if has_token && token.is_none() {
            return None;
        }
        Some(Target::Slack(Slack { url: url?, token, channel, username, icon_emoji }))
    }

    fn pagerduty(&mut self, m: M<'_, '_, '_>) -> Option<Target> {
        let key = self.secret(m, "routing_key", "routing_key_file");
        if key.is_none() {
            self.faults.add(m.line(), "pagerduty_configs: `routing_key` or `routing_key_file` is missing");
        }
        let parts = ["description", "severity", "source", "class", "component", "group", "client", "client_url"];
        self.own.texts(m, &parts, self.faults);
        self.own.details(m, self.faults);
        let given = m.get("url").map(|value| self.address(&value, "url"));
        let mut service = PagerDuty::of(key?);
        if let Some(url) = given.unwrap_or_else(|| self.global.pagerduty_url.clone()) {
            service.url = url;
        }
        Some(Target::PagerDuty(service))
    }

    fn teams(&mut self, m: M<'_, '_, '_>) -> Option<Target> {
        self.own.texts(m, &["title", "text", "summary"], self.faults);
        Some(Target::Teams(Teams { url: self.url(m, "webhook_url", "webhook_url_file", None)? }))
    }

    fn email(&mut self, m: M<'_, '_, '_>) -> Option<Target> {
        let global = self.global;
        self.own.headers(m, self.faults);
        self.own.texts(m, &["html", "text"], self.faults);
        let to = self.parsed(m, "to", Email::mailboxes);
        let from = match &global.from {
            Some(from) if m.get("from").is_none() => Some(from.clone()),
            _ => self.parsed(m, "from", Email::mailboxes),
        };
        let smarthost = match &global.smarthost {
            Some(host) if m.get("smarthost").is_none() => Some(host.clone()),
            _ => self.parsed(m, "smarthost", Smarthost::parse),
        };
        let mut requires_tls = global.require_tls.unwrap_or(true);
        set(m, "require_tls", self.faults, |v, f| v.boolean(f), &mut requires_tls);
        let mut text =
            |key, default: &Option<String>| m.get(key).and_then(|v| v.text(self.faults)).or_else(|| default.clone());
        let hello = text("hello", &global.hello).unwrap_or_else(|| "localhost".to_owned());
        let username = text("auth_username", &global.auth_username);
        let password = self.secret(m, "auth_password", "auth_password_file").or_else(|| global.auth_password.clone());
        let auth = match (username, password) {
            (Some(username), Some(password)) => Some(MailAuth { username, password }),
            (None, None) => None,
            _ => {
                self.faults
                    .add(m.line(), "email_configs: expected both `auth_username` and `auth_password`, or neither");
                return None;
            }
        };
        let smarthost = smarthost?;
        let tls = match (smarthost.port, requires_tls) {
            (465, _) => TlsMode::Implicit,
            (_, true) => TlsMode::Required,
            (_, false) => TlsMode::Off,
        };
        if auth.is_some() && tls == TlsMode::Off {
            self.faults.add(m.line(), "email_configs: a password is not sent without TLS");
        }
        let from = from?.into_iter().next()?;
        Some(Target::Email(Email { smarthost, tls, from, to: to?, auth, hello }))
    }

    fn file(&mut self, m: M<'_, '_, '_>) -> Option<Target> {
        let path = m.required("path", self.faults)?.text(self.faults)?;
        Some(Target::File(match path.as_str() {
            "stdout" => FileSink::Stdout,
            path => FileSink::File(self.directory.join(path)),
        }))
    }

    /// The text under `key`, if it is there, as `parse` understands it.
    fn optional<T>(
        &mut self,
        m: M<'_, '_, '_>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        m.get(key)?;
        self.parsed(m, key, parse)
    }

    /// The required text under `key`, as `parse` understands it.
    fn parsed<T>(
        &mut self,
        m: M<'_, '_, '_>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = m.required(key, self.faults)?;
        let text = value.text(self.faults)?;
        parse(&text).map_err(|reason| self.faults.add(value.line(), format!("{key}: {reason}"))).ok()
    }

    /// `http_config` with `authorization` or `basic_auth`, as the header's value.
    fn http_config(&mut self, m: M<'_, '_, '_>) -> Option<Secret> {
        let mut http = m.get("http_config")?.mapping(self.faults)?;
        let mut found = None;
        if let Some(mut inner) = http.get("authorization").and_then(|v| v.mapping(self.faults)) {
            let scheme = inner.get("type").and_then(|v| v.text(self.faults)).unwrap_or_else(|| "Bearer".to_owned());
            let credentials = self.secret(&mut inner, "credentials", "credentials_file");
            inner.finish(self.faults);
            found = credentials.map(|secret| Secret::new(&format!("{scheme} {}", secret.reveal())));
        }
        if let Some(mut inner) = http.get("basic_auth").and_then(|v| v.mapping(self.faults)) {
            let username = inner.required("username", self.faults).and_then(|v| v.text(self.faults));
            let password = self.secret(&mut inner, "password", "password_file");
            inner.finish(self.faults);
            let pair = format!("{}:{}", username.unwrap_or_default(), password.as_ref().map_or("", Secret::reveal));
            found = Some(Secret::new(&format!("Basic {}", STANDARD.encode(pair))));
        }
        http.finish(self.faults);
        found
    }

    /// A secret by reference under `key`, or the path of a file with it under `file_key`.
    fn secret(&mut self, m: M<'_, '_, '_>, key: &'static str, file_key: &'static str) -> Option<Secret> {
        let (given, file) = (m.get(key), m.get(file_key));
        let found = match (given, file) {
            (Some(value), None) => secrets::secret(&value, key, self.directory, self.faults),
            (None, Some(value)) => secrets::secret_file(&value, file_key, self.directory, self.faults),
            (None, None) => None,
            (Some(value), Some(_)) => {
                self.faults.add(value.line(), format!("expected either `{key}` or `{file_key}`"));
                None
            }
        };
        found.map(|text| Secret::new(&text))
    }

    /// An address under `key`, or in a file under `file_key`.
    fn url(
        &mut self,
        m: M<'_, '_, '_>,
        key: &'static str,
        file_key: &'static str,
        default: Option<&str>,
    ) -> Option<WebhookUrl> {
        if let Some(value) = m.get(file_key) {
            let text = secrets::secret_file(&value, file_key, self.directory, self.faults)?;
            return self.parse_url(&text, file_key, value.line());
        }
        match (m.get(key), default) {
            (Some(value), _) => self.address(&value, key),
            (None, Some(default)) => WebhookUrl::parse(default).ok(),
            (None, None) => {
                m.required(key, self.faults);
                None
            }
        }
    }

    /// An address in the file, or a reference to one.
    fn address(&mut self, value: &Value<'_, '_>, key: &str) -> Option<WebhookUrl> {
        let text = value.text(self.faults)?;
        match secrets::reference(&text, self.directory) {
            None => self.parse_url(&text, key, value.line()),
            Some(Ok(text)) => self.parse_url(&text, key, value.line()),
            Some(Err(reason)) => {
                self.faults.add(value.line(), format!("{key}: {reason}"));
                None
            }
        }
    }

    fn parse_url(&mut self, text: &str, key: &str, line: usize) -> Option<WebhookUrl> {
        WebhookUrl::parse(text).map_err(|reason| self.faults.add(line, format!("{key}: {reason}"))).ok()
    }
}
