//! Where notifications may go: not into the private network, unless the operator says so.
//!
//! An address is checked when a connection to it is made, and what was checked is what is connected to: a
//! name that resolves to something else a moment later gains nothing.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use crate::WebhookUrl;

/// Which addresses notifications may go to. By default: all public ones, and loopback where it is written
/// as `localhost`, `127.0.0.1` or `[::1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations {
    /// Whether all addresses are allowed. Default false.
    pub allow_private: bool,
    /// Whether loopback is allowed to a URL that says so in plain words. Default true.
    pub allow_loopback: bool,
    /// Networks that are allowed besides. Default none.
    pub allow: Vec<IpNet>,
}

impl Default for Destinations {
    fn default() -> Self {
        Self { allow_private: false, allow_loopback: true, allow: Vec::new() }
    }
}

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(a, b, c, 0), prefix)
}

const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(std::net::Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// IANA's special-purpose registry, IPv4: nothing in it is a place on the internet.
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];
/// The part of IPv6 that is given out, and what in it is special: protocols, examples, and 6to4, which hides an
/// IPv4 address.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);
const SPECIAL_V6: [Ipv6Net; 4] = [v6(0x2001, 0, 23), v6(0x2001, 0x0db8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => !SPECIAL_V4.iter().any(|net| net.contains(&a)),
        IpAddr::V6(a) => GLOBAL_V6.contains(&a) && !SPECIAL_V6.iter().any(|net| net.contains(&a)),
    }
}

impl Destinations {
    /// Whether a connection to `address` may be made; `is_plain_loopback` says that the URL names loopback.
    fn permit(&self, address: IpAddr, is_plain_loopback: bool) -> bool {
        // An IPv4 address in IPv6's clothes is what it is.
        let address = address.to_canonical();
        let is_loopback = is_plain_loopback && self.allow_loopback && address.is_loopback();
        self.allow_private || is_public(address) || is_loopback || self.allow.iter().any(|net| net.contains(&address))
    }

    /// Whether `url` may be used as far as can be told without asking for its name: this is where addresses
    /// in URLs are checked, which nobody resolves.
    ///
    /// # Errors
    /// Why not, without the URL's secrets.
    pub fn check(&self, url: &WebhookUrl) -> Result<(), String> {
        let Some(address) = literal(url.as_url()) else { return Ok(()) };
        if self.permit(address, url.is_host_as_typed() && address.is_loopback()) {
            return Ok(());
        }
        Err(refused(address))
    }

    /// The addresses behind `host` that may be connected to.
    ///
    /// # Errors
    /// None can be found, or none is allowed.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let is_localhost = host.trim_end_matches('.').eq_ignore_ascii_case("localhost");
        let is_plain = is_localhost || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let found = tokio::net::lookup_host((host, port)).await.map_err(|error| format!("no address: {error}"))?;
        let found: Vec<SocketAddr> = found.collect();
        let allowed: Vec<SocketAddr> =
            found.iter().copied().filter(|address| self.permit(address.ip(), is_plain)).collect();
        match (allowed.is_empty(), found.first()) {
            (false, _) => Ok(allowed),
            (true, Some(address)) => Err(refused(address.ip())),
            (true, None) => Err("no address".to_owned()),
        }
    }
}

fn refused(address: IpAddr) -> String {
    format!("{address} is not a public address: allow it with delivery.allow, or all with delivery.allow_private")
}

fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Resolves names for the HTTP client, to allowed addresses only.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Arc<Destinations>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let destinations = Arc::clone(&self.0);
        Box::pin(async move {
            // The client puts its own port in the place of 0.
            let found = destinations.resolve(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(destinations: &Destinations, url: &str) -> bool {
        destinations.check(&WebhookUrl::parse(url).expect("is a URL")).is_ok()
    }

    /// Ways to write an address inside; none may be connected to.
    const INSIDE: [&str; 36] = [
        "http://10.0.0.1/",
        "http://10.255.255.255/",
        "http://172.16.0.1/",
        "http://172.31.255.254/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://100.64.0.1/",
        "http://100.100.100.200/",
        "http://0.0.0.0/",
        "http://0.1.2.3/",
        "http://198.18.0.1/",
        "http://192.0.0.192/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "http://240.0.0.1/",
        "http://2130706433/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://2852039166/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a00:1]/",
        "http://[::]/",
        "http://[fd00:ec2::254]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[ff02::1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[2001:db8::1]/",
        "http://user:pass@10.0.0.1:80/",
        "http://1.1.1.1@192.168.0.1/",
    ];

    #[test]
    fn no_way_of_writing_an_address_inside_is_let_through() {
        for url in INSIDE {
            assert!(!check(&Destinations::default(), url), "{url}");
            assert!(check(&Destinations { allow_private: true, ..Destinations::default() }, url), "{url}");
        }
    }

    #[test]
    fn loopback_is_for_those_who_write_it_plainly() {
        let strict = Destinations { allow_loopback: false, ..Destinations::default() };
        for url in ["http://127.0.0.1:8080/", "http://127.8.9.1/", "http://[::1]/", "http://u:p@127.0.0.1/"] {
            assert!(check(&Destinations::default(), url), "{url}");
            assert!(!check(&strict, url), "{url}");
        }
    }

    #[test]
    fn public_addresses_and_allowed_networks_are_let_through() {
        for url in
            ["http://1.1.1.1/", "https://8.8.8.8:8443/", "http://[2606:4700:4700::1111]/", "http://[::ffff:1.1.1.1]/"]
        {
            assert!(check(&Destinations::default(), url), "{url}");
        }
        let allow = vec!["10.1.0.0/16".parse().expect("is a network"), "fd00::/8".parse().expect("is a network")];
        let some = Destinations { allow, ..Destinations::default() };
        for (url, expected) in [
            ("http://10.1.2.3/", true),
            ("http://[::ffff:10.1.2.3]/", true),
            ("http://[fd00::1]/", true),
            ("http://10.2.0.1/", false),
            ("http://169.254.169.254/", false),
        ] {
            assert_eq!(check(&some, url), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let (open, strict) =
            (Destinations::default(), Destinations { allow_loopback: false, ..Destinations::default() });
        assert!(open.resolve("localhost", 80).await.is_ok_and(|found| found.iter().all(|a| a.ip().is_loopback())));
        for host in ["localhost", "127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1"] {
            let error = strict.resolve(host, 80).await.expect_err("is inside");
            assert!(error.contains("is not a public address"), "{host}: {error}");
        }
        // Not the word `localhost`, though many resolvers take it for the same place.
        let error = open.resolve("rebinding.localhost", 80).await.expect_err("is not plain");
        assert!(error.contains("is not a public address") || error.contains("no address"), "{error}");
    }
}
