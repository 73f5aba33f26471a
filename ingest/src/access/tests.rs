//! The matrix of credentials and tenants.

use super::*;

const OPS: &str = "a-long-random-token";

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("is a name")
}

fn config() -> AccessConfig {
    let bearer = Credential {
        name: "ops".into(),
        proof: Proof::Bearer(Secret::new(OPS)),
        tenants: vec![tenant("a"), tenant("b")],
    };
    let basic = Credential {
        name: "shop".into(),
        proof: Proof::Basic { user: "shop".into(), password: Secret::new("pa:ss") },
        tenants: vec![tenant("default")],
    };
    AccessConfig { credentials: vec![bearer, basic], trust_header: false }
}

fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        headers.append(*name, value.parse().expect("is a header's value"));
    }
    headers
}

fn ask(config: &AccessConfig, given: &[(&'static str, &str)]) -> Result<String, Denied> {
    Access::new(config).tenant(&headers(given)).map(|t| t.to_string())
}

#[test]
fn a_credential_writes_for_its_tenants_only() {
    let bearer = ("authorization", "Bearer a-long-random-token");
    let ok = |given: &[_]| ask(&config(), given).expect("is let in");
    assert_eq!(ok(&[bearer]), "a");
    assert_eq!(ok(&[bearer, ("x-scope-orgid", "b")]), "b");
    assert_eq!(ok(&[("authorization", "bEaReR  a-long-random-token ")]), "a");
    assert_eq!(ok(&[("authorization", "Basic c2hvcDpwYTpzcw==")]), "default");
    let forbidden = ask(&config(), &[bearer, ("x-scope-orgid", "c")]);
    assert_eq!(forbidden, Err(Denied::Forbidden { credential: "ops".into(), tenant: tenant("c") }));
    let other = ask(&config(), &[("authorization", "Basic c2hvcDpwYTpzcw=="), ("x-scope-orgid", "a")]);
    assert!(matches!(other, Err(Denied::Forbidden { .. })), "{other:?}");
}

#[test]
fn whoever_is_not_known_stays_out() {
    let wrong = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a-long-random-toke",
        "Bearer a-long-random-token2",
        "a-long-random-token",
        "Basic a-long-random-token",
        "Basic YS1sb25nLXJhbmRvbS10b2tlbg==",
        "Bearer shop:pa:ss",
        "Basic c2hvcDpwYTpz",
        "Digest a-long-random-token",
    ];
    for value in wrong {
        let denied = ask(&config(), &[("authorization", value), ("x-scope-orgid", "a")]);
        assert!(matches!(denied, Err(Denied::Unauthenticated { .. })), "{value:?}: {denied:?}");
    }
    let Err(Denied::Unauthenticated { reason, challenge }) = ask(&config(), &[]) else {
        unreachable!("nobody is let in without a credential");
    };
    assert!(reason.contains("Authorization") && challenge.contains("Bearer") && challenge.contains("Basic"));
    let twice = ("authorization", "Bearer a-long-random-token");
    assert!(matches!(ask(&config(), &[twice, twice]), Err(Denied::Unauthenticated { .. })));
}

#[test]
fn without_credentials_the_header_counts_only_where_it_is_trusted() {
    let open = AccessConfig::default();
    let trusting = AccessConfig { trust_header: true, ..AccessConfig::default() };
    for config in [&open, &trusting] {
        assert_eq!(ask(config, &[]).as_deref(), Ok("default"));
        assert_eq!(ask(config, &[("x-scope-orgid", "default")]).as_deref(), Ok("default"));
        for bad in [&[("x-scope-orgid", "..")][..], &[("x-scope-orgid", "default"), ("x-scope-orgid", "default")]] {
            assert!(matches!(ask(config, bad), Err(Denied::Tenant(_))), "{bad:?}");
        }
    }
    assert!(matches!(ask(&open, &[("x-scope-orgid", "a")]), Err(Denied::Tenant(_))));
    assert_eq!(ask(&trusting, &[("x-scope-orgid", "a")]).as_deref(), Ok("a"));
    assert_eq!(Access::new(&open).tenant(&HeaderMap::new()), Ok(Tenant::default()));
}

#[test]
fn no_secret_is_ever_printed() {
    let config = config();
    let access = Access::new(&config);
    let denied = access.tenant(&headers(&[("authorization", "Bearer guessed-token")]));
    let printed = format!("{config:?} {access:?} {denied:?}");
    for secret in [OPS, "pa:ss", "guessed-token"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    assert!(printed.contains("[REDACTED]"));
}
