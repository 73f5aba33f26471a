//! `webhook_configs`.

use alerting::{Handshake, SigningKey, Target, Webhook, WebhookFormat};

use super::{M, Reader};
use crate::config::{
    file::{number, set, whole},
    secrets,
};

/// The most that can be asked for, in a minute.
const MOST_A_MINUTE: f64 = 1e8;

/// The host of an address.
pub(super) fn host(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    Some(port.map_or(host, |(host, _)| host).to_owned()).filter(|host| !host.is_empty())
}

impl Reader<'_> {
    pub(super) fn webhook(&mut self, m: M<'_, '_, '_>) -> Option<Target> {
        let url = self.url(m, "url", "url_file", None);
        let authorization = self.http_config(m);
        self.own.texts(m, &["payload"], self.faults);
        let mut max_alerts = 0;
        set(m, "max_alerts", self.faults, |v, f| number(v, f, 0.0, 1e6).map(|n| whole(n) as usize), &mut max_alerts);
        let signing_keys = self.signing_keys(m);
        let format = self.format(m);
        let handshake = self.handshake(m);
        Some(Target::Webhook(Webhook { url: url?, authorization, signing_keys, max_alerts, format, handshake }))
    }

    fn signing_keys(&mut self, m: M<'_, '_, '_>) -> Vec<SigningKey> {
        let mut keys = Vec::new();
        for value in m.get("signing_secrets").map(|v| v.list(self.faults)).unwrap_or_default() {
            let Some(text) = secrets::secret(&value, "signing_secrets", self.directory, self.faults) else { continue };
            match SigningKey::parse(&text) {
                Ok(key) => keys.push(key),
                Err(reason) => self.faults.add(value.line(), format!("signing_secrets: {reason}")),
            }
        }
        keys
    }

    fn format(&mut self, m: M<'_, '_, '_>) -> WebhookFormat {
        let Some(value) = m.get("format") else { return WebhookFormat::default() };
        match value.text(self.faults).as_deref() {
            Some("cloudevents") => return WebhookFormat::CloudEvents,
            Some("alertmanager") | None => {}
            Some(_) => value.expected("alertmanager or cloudevents", self.faults),
        }
        WebhookFormat::Alertmanager
    }

    /// `handshake`, with `request_origin` and `request_rate`, which are called as the headers are.
    fn handshake(&mut self, m: M<'_, '_, '_>) -> Option<Handshake> {
        let mut is_wanted = false;
        set(m, "handshake", self.faults, |v, f| v.boolean(f), &mut is_wanted);
        let origin = m.get("request_origin").and_then(|v| Some((v.text(self.faults)?, v.line())));
        let asked = m.get("request_rate");
        let rate = asked.as_ref().and_then(|v| number(v, self.faults, 1.0, MOST_A_MINUTE)).map(whole);
        if !is_wanted {
            for line in [origin.map(|(_, line)| line), asked.map(|v| v.line())].into_iter().flatten() {
                self.faults.add(line, "`request_origin` and `request_rate` expect `handshake: true` beside them");
            }
            return None;
        }
        let known = self.global.host.clone().map(|host| (host, m.line()));
        let Some((origin, line)) = origin.or(known) else {
            self.faults.add(m.line(), "`handshake` expects `request_origin` beside it, or `external_url`");
            return None;
        };
        Handshake::new(&origin, rate).map_err(|reason| self.faults.add(line, format!("request_origin: {reason}"))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    /// The only webhook of a configuration with these keys, and `top` beside its receivers.
    fn webhook(top: &str, keys: &str) -> Result<Webhook, Vec<String>> {
        let config =
            parse(&format!("{top}\nreceivers: [{{name: a, webhook_configs: [{{url: 'https://h/', {keys}}}]}}]"))?;
        match config.receivers[0].integrations()[0].target() {
            Target::Webhook(webhook) => Ok(webhook.clone()),
            other => Err(vec![format!("{other:?}")]),
        }
    }

    #[test]
    fn a_webhook_may_want_cloudevents_and_be_asked_first() {
        let plain = webhook("", "").expect("is valid");
        assert_eq!((plain.format, plain.handshake), (WebhookFormat::Alertmanager, None));
        assert_eq!(webhook("", "format: cloudevents").map(|w| w.format), Ok(WebhookFormat::CloudEvents));
        let asked = |top: &str, keys: &str| webhook(top, &format!("handshake: true, {keys}")).map(|w| w.handshake);
        let of = |origin: &str, rate| Ok(Some(Handshake::new(origin, rate).expect("is valid")));
        assert_eq!(asked("", "request_origin: bw.example.com, request_rate: 120"), of("bw.example.com", Some(120)));
        assert_eq!(asked("external_url: 'https://bw.example.org:8443/x'", ""), of("bw.example.org", None));
        assert_eq!(asked("external_url: 'http://[::1]:4320'", ""), of("[::1]", None));
        assert_eq!(asked("external_url: 'https://a.example'", "request_origin: b.example"), of("b.example", None));
    }

    #[test]
    fn keys_of_a_handshake_that_cannot_be_are_faults() {
        for (keys, fault) in [
            ("format: xml", "webhook_configs[0].format: expected alertmanager or cloudevents"),
            ("handshake: true", "`handshake` expects `request_origin` beside it, or `external_url`"),
            ("request_rate: 5", "expect `handshake: true` beside them"),
            ("handshake: false, request_origin: a.example", "expect `handshake: true` beside them"),
            ("handshake: true, request_origin: 'https://a.example'", "request_origin: expected a name such as"),
            ("handshake: true, request_origin: a.example, request_rate: 0", "request_rate: expected a number from 1"),
        ] {
            let faults = webhook("", keys).expect_err("is refused");
            assert!(faults.len() == 1 && faults[0].contains(fault), "{keys}: {faults:?}");
        }
    }
}
