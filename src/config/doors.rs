//! The parts of `bellwether.yaml` about who may come in: certificates, credentials, tenants, connections.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use detect::yaml::{Faults, Mapping, Value};
use ingest::{AccessConfig, AdmissionConfig, Credential, Proof, Rate, Secret, Tenant, TenantLimits, TlsConfig};

use super::{
    Config,
    file::{bytes, count, number, positive, section, set, whole},
    secrets,
};

/// The burst that goes with a rate when none is given, in seconds of that rate.
const BURST_SECONDS: u64 = 10;

/// `tls`: all of its files are named relative to `directory`.
pub(super) fn tls(m: &mut Mapping<'_, '_>, config: &mut Config, directory: &Path, faults: &mut Faults) {
    let Some(mut m) = m.get("tls").and_then(|v| v.mapping(faults)) else { return };
    let path = |value: Value<'_, '_>, faults: &mut Faults| Some(directory.join(value.text(faults)?));
    let certificate = m.required("certificate", faults).and_then(|v| path(v, faults));
    let key = m.required("key", faults).and_then(|v| path(v, faults));
    let client_ca: Option<PathBuf> = m.get("client_ca").and_then(|v| path(v, faults));
    let mut reload_every = TlsConfig::RELOAD_EVERY;
    set(&mut m, "reload_every", faults, positive, &mut reload_every);
    m.finish(faults);
    if let (Some(certificate), Some(key)) = (certificate, key) {
        config.ingest.tls = Some(TlsConfig { certificate, key, client_ca, reload_every });
    }
}

/// `credentials`.
pub(super) fn credentials(m: &mut Mapping<'_, '_>, access: &mut AccessConfig, directory: &Path, faults: &mut Faults) {
    let Some(value) = m.get("credentials") else { return };
    for value in value.list(faults) {
        let Some(credential) = credential(&value, directory, faults) else { continue };
        let twice = |what: &str| format!("credentials: the {what} of `{}` is given twice", credential.name);
        if access.credentials.iter().any(|c| c.name == credential.name) {
            faults.add(value.line(), twice("name"));
        }
        if access.credentials.iter().any(|c| c.proof == credential.proof) {
            faults.add(value.line(), twice("secret"));
        }
        access.credentials.push(credential);
    }
}

fn credential(value: &Value<'_, '_>, directory: &Path, faults: &mut Faults) -> Option<Credential> {
    let mut entry = value.mapping(faults)?;
    let name = entry.required("name", faults).and_then(|v| v.text(faults));
    let bearer = entry.get("bearer_token");
    let basic = entry.get("basic_auth");
    let proof = match (bearer, basic) {
        (Some(token), None) => secret(&token, "bearer_token", directory, faults).map(Proof::Bearer),
        (None, Some(basic)) => basic_auth(&basic, directory, faults),
        _ => {
            faults.add(value.line(), "credentials: expected either `bearer_token` or `basic_auth`");
            None
        }
    };
    let listed = entry.required("tenants", faults);
    let tenants: Vec<Tenant> = listed
        .iter()
        .flat_map(|v| v.list(faults))
        .collect::<Vec<_>>()
        .iter()
        .filter_map(|v| tenant(v, faults))
        .collect();
    if let Some(listed) = listed.filter(|_| tenants.is_empty()) {
        faults.add(listed.line(), "credentials: `tenants` expects at least one tenant; the first is the default");
    }
    entry.finish(faults);
    Some(Credential { name: name?, proof: proof?, tenants })
}

fn basic_auth(value: &Value<'_, '_>, directory: &Path, faults: &mut Faults) -> Option<Proof> {
    let mut m = value.mapping(faults)?;
    let user = m.required("username", faults).and_then(|v| {
        let user = v.text(faults)?;
        let is_user = !user.is_empty() && !user.contains(':');
        if !is_user {
            v.expected("a name without a colon", faults);
        }
        is_user.then_some(user)
    });
    let password = m.required("password", faults).and_then(|v| secret(&v, "password", directory, faults));
    m.finish(faults);
    Some(Proof::Basic { user: user?, password: password? })
}

fn secret(value: &Value<'_, '_>, key: &str, directory: &Path, faults: &mut Faults) -> Option<Secret> {
    secrets::secret(value, key, directory, faults).map(Secret::new)
}

/// `tenants`.
pub(super) fn tenants(m: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    let AdmissionConfig { max_tenants, default, tenants, used: _ } = &mut config.ingest.admission;
    set(m, "trust_header", faults, |v, f| v.boolean(f), &mut config.ingest.access.trust_header);
    set(m, "max", faults, count, max_tenants);
    section(m, "default", faults, |m, f| limits(m, default, f));
    let Some(value) = m.get("limits") else { return };
    let mut seen = BTreeMap::new();
    for value in value.list(faults) {
        let Some(mut entry) = value.mapping(faults) else { continue };
        let name = entry.required("tenant", faults).and_then(|v| tenant(&v, faults));
        let mut of_it = default.clone();
        limits(&mut entry, &mut of_it, faults);
        entry.finish(faults);
        let Some(name) = name else { continue };
        if seen.insert(name.clone(), of_it).is_some() {
            faults.add(value.line(), format!("tenants.limits: `{name}` is given twice"));
        }
    }
    *tenants = seen;
}

fn limits(m: &mut Mapping<'_, '_>, limits: &mut TenantLimits, faults: &mut Faults) {
    set(m, "weight", faults, |v, f| number(v, f, 1.0, 1000.0).map(whole), &mut limits.weight);
    let items = |v: &Value<'_, '_>, f: &mut Faults| count(v, f).map(|n| n as u64);
    let size = |v: &Value<'_, '_>, f: &mut Faults| bytes(v, f).map(|n| n as u64);
    rate(m, ["items_per_second", "items_burst"], items, &mut limits.items, faults);
    rate(m, ["bytes_per_second", "bytes_burst"], size, &mut limits.bytes, faults);
}

fn rate(
    m: &mut Mapping<'_, '_>,
    keys: [&'static str; 2],
    read: impl Fn(&Value<'_, '_>, &mut Faults) -> Option<u64>,
    limit: &mut Option<Rate>,
    faults: &mut Faults,
) {
    let [per_second, burst] = keys.map(|key| m.get(key));
    let given = per_second.and_then(|v| read(&v, faults));
    let per_second = given.or(limit.map(|rate| rate.per_second));
    let inherited = limit.filter(|_| given.is_none()).map(|rate| rate.burst);
    match (per_second, burst) {
        (Some(per_second), None) => {
            let burst = inherited.unwrap_or(per_second.saturating_mul(BURST_SECONDS));
            *limit = Some(Rate { per_second, burst });
        }
        (Some(per_second), Some(value)) => {
            *limit = read(&value, faults).map(|burst| Rate { per_second, burst });
        }
        (None, Some(value)) => faults.add(value.line(), format!("`{}` expects `{}` beside it", keys[1], keys[0])),
        (None, None) => {}
    }
}

fn tenant(value: &Value<'_, '_>, faults: &mut Faults) -> Option<Tenant> {
    let text = value.text(faults)?;
    Tenant::new(&text).map_err(|_| value.expected("1 to 150 letters, digits or !-_.*'()", faults)).ok()
}

/// `ingest.connections`.
pub(super) fn connections(m: &mut Mapping<'_, '_>, config: &mut Config, faults: &mut Faults) {
    let limits = &mut config.ingest.connections;
    set(m, "max", faults, |v, f| number(v, f, 1.0, 1e6).map(|n| whole(n) as usize), &mut limits.max);
    set(m, "idle", faults, positive, &mut limits.idle);
    set(m, "age", faults, positive, &mut limits.age);
}
