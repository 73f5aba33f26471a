//! Addresses of receivers, which are secrets for the most part.

use std::fmt;

use reqwest::Url;

use super::Secret;

/// An absolute `http` or `https` URL with a host. Shown without its path, query and credentials,
/// because webhook URLs carry secrets in all three.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    url: Url,
    is_host_as_typed: bool,
}

/// In place of a secret.
const HIDDEN: &str = "***";
/// Path segments at least this long are taken for secrets; shorter ones are words like `hook`.
const SECRET_SEGMENT: usize = 8;
const MAX_URL: usize = 4096;

impl WebhookUrl {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_URL {
            return Err(format!("expected at most {MAX_URL} bytes, got {}", text.len()));
        }
        let url = Url::parse(text).map_err(|e| format!("expected an absolute http or https URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("expected scheme http or https, got {:?}", url.scheme()));
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err("expected a host".to_owned());
        };
        let is_host_as_typed = typed_host(text).eq_ignore_ascii_case(host);
        Ok(Self { url, is_host_as_typed })
    }

    /// The address below this one.
    ///
    /// # Panics
    /// Never: a URL with a host has path segments.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        let mut joined = self.clone();
        joined.url.path_segments_mut().expect("http has a path").pop_if_empty().extend(path.split('/'));
        joined
    }

    pub(crate) fn as_url(&self) -> &Url {
        &self.url
    }

    /// Whether the host stands in the URL as it was typed: `127.0.0.1`, not `2130706433` or `0x7f.1`, which
    /// mean the same and are written by those who want to hide it.
    pub(crate) fn is_host_as_typed(&self) -> bool {
        self.is_host_as_typed
    }
}

/// The host between credentials and port, as it was typed.
fn typed_host(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => host,
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url.origin().ascii_serialization())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/{HIDDEN}")
    }
}

/// Blacks out what an integration must not show.
#[derive(Clone, Default)]
pub struct Redactor(Vec<String>);

impl Redactor {
    /// Of everything in `url` that is secret.
    #[must_use]
    pub fn url(mut self, url: &WebhookUrl) -> Self {
        let url = &url.url;
        let secrets = &mut self.0;
        // Without a path it is shown as its origin, which is no secret.
        if url.path().len() > 1 || url.query().is_some() || !url.username().is_empty() {
            secrets.push(url.to_string());
        }
        secrets.extend(url.password().map(str::to_owned));
        secrets.push(url.username().to_owned());
        secrets.extend(url.query().map(str::to_owned));
        secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        let pairs = url.query().unwrap_or_default().split('&');
        secrets.extend(pairs.filter_map(|pair| pair.split_once('=').map(|(_, value)| value.to_owned())));
        secrets.extend(url.path().split('/').filter(|s| s.len() >= SECRET_SEGMENT).map(str::to_owned));
        self
    }

    /// Of these secrets, too.
    #[must_use]
    pub fn secrets<'s>(mut self, secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        self.0.extend(secrets.into_iter().map(|secret| secret.reveal().to_owned()));
        self
    }

    /// `text` with all of them blacked out.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut secrets: Vec<&str> = self.0.iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
        // The longest first: a secret that contains another must go as a whole.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, HIDDEN))
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_hides_an_address_is_told_from_one_that_says_it() {
        let typed = |text: &str| WebhookUrl::parse(text).expect("is valid").is_host_as_typed();
        for plain in
            ["http://127.0.0.1/x", "http://u:p@127.0.0.1:80/", "http://[::1]:9/", "https://LOCALHOST?q=http://a"]
        {
            assert!(typed(plain), "{plain}");
        }
        for hidden in ["http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1:80/", "http://[::ffff:127.0.0.1]/"] {
            assert!(!typed(hidden), "{hidden}");
        }
    }

    #[test]
    fn an_address_below_another_keeps_its_prefix() {
        let at = |text: &str| WebhookUrl::parse(text).expect("is valid").join("api/v2/alerts").as_url().to_string();
        assert_eq!(at("http://am:9093"), "http://am:9093/api/v2/alerts");
        assert_eq!(at("http://am:9093/prefix/"), "http://am:9093/prefix/api/v2/alerts");
    }
}
