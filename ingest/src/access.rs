//! Who is it, and for whom may they write: credentials and tenants, for the doors and for the API.

mod secret;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt, str,
    sync::{Arc, PoisonError, RwLock},
};

use http::{HeaderMap, header};
use proto::{base64, otlp::cut};
use ring::{hmac, rand::SystemRandom};

pub use self::secret::Secret;
use crate::{Tenant, TenantError};

/// The header that names a tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";
/// Longest part of a stranger's header that is repeated in an answer.
const MAX_ECHO: usize = 64;
/// Length of what stands for a secret.
const TAG_BYTES: usize = 32;

/// How somebody proves who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `Authorization: Bearer <token>`.
    Bearer(Secret),
    /// `Authorization: Basic <user:password in base64>`.
    Basic {
        /// The user's name, without a colon.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// One who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What it is called in the configuration and in the log.
    pub name: String,
    /// How it is recognised.
    pub proof: Proof,
    /// The tenants that it may write for; the first one when a request names none. Never empty.
    pub tenants: Vec<Tenant>,
}

/// Who may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// Those who may. When there is none, everybody may.
    pub credentials: Vec<Credential>,
    /// Whether everybody may name their tenant when there are no credentials: only behind a proxy that
    /// sets the header itself. Default false.
    pub trust_header: bool,
}

/// Why somebody was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No credential, or none that is known.
    #[error("{reason}")]
    Unauthenticated {
        /// What is missing or wrong, without the credential itself.
        reason: &'static str,
        /// For the header `WWW-Authenticate`.
        challenge: &'static str,
    },
    /// The credential is not for this tenant.
    #[error("credential {credential} may not write for tenant {tenant}")]
    Forbidden {
        /// The credential's name in the configuration.
        credential: String,
        /// Whom the request names.
        tenant: Tenant,
    },
    /// The tenant's header is no tenant's name, is given twice, or is not trusted.
    #[error("header X-Scope-OrgID: {0}")]
    Tenant(Cow<'static, str>),
}

/// Recognises credentials. Secrets are kept, and compared, as keyed hashes only: how long a comparison
/// takes says nothing about them.
pub struct Access(RwLock<Arc<Present>>);

/// Who may come in at present.
struct Present {
    key: hmac::Key,
    known: HashMap<[u8; TAG_BYTES], Known>,
    challenge: &'static str,
    trust_header: bool,
}

/// A credential without its secret.
#[derive(Debug)]
struct Known {
    name: String,
    tenants: Vec<Tenant>,
}

impl Default for Access {
    /// Everybody, for the default tenant.
    fn default() -> Self {
        Self::new(&AccessConfig::default())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("credentials", &self.present().known.len()).finish_non_exhaustive()
    }
}

impl Access {
    /// Recognises those of `config`. Of two with the same proof the later one counts.
    ///
    /// # Panics
    /// When the system has no random numbers to give.
    #[must_use]
    pub fn new(config: &AccessConfig) -> Self {
        Self(RwLock::new(Arc::new(Present::new(config))))
    }

    /// Recognises those of `config` from now on, and nobody else.
    ///
    /// # Panics
    /// When the system has no random numbers to give.
    pub fn reconfigure(&self, config: &AccessConfig) {
        let present = Arc::new(Present::new(config));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = present;
    }

    /// Whether a credential is needed.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        !self.present().known.is_empty()
    }

    fn present(&self) -> Arc<Present> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tenant for which a request with these headers writes.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn tenant(&self, headers: &HeaderMap) -> Result<Tenant, Denied> {
        self.present().tenant(headers)
    }
}

impl Present {
    fn new(config: &AccessConfig) -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .expect("the system gives random numbers from its start on");
        let mut known = HashMap::new();
        for credential in &config.credentials {
            let tag = match &credential.proof {
                Proof::Bearer(token) => tag(&key, Scheme::Bearer, token.expose().as_bytes()),
                Proof::Basic { user, password } => {
                    tag(&key, Scheme::Basic, format!("{user}:{}", password.expose()).as_bytes())
                }
            };
            known.insert(tag, Known { name: credential.name.clone(), tenants: credential.tenants.clone() });
        }
        let has = |wanted: fn(&Proof) -> bool| config.credentials.iter().any(|c| wanted(&c.proof));
        let challenge = match (has(|p| matches!(p, Proof::Bearer(_))), has(|p| matches!(p, Proof::Basic { .. }))) {
            (true, true) => r#"Bearer realm="bellwether", Basic realm="bellwether", charset="UTF-8""#,
            (false, true) => r#"Basic realm="bellwether", charset="UTF-8""#,
            (_, false) => r#"Bearer realm="bellwether""#,
        };
        Self { key, known, challenge, trust_header: config.trust_header }
    }

    fn tenant(&self, headers: &HeaderMap) -> Result<Tenant, Denied> {
        if self.known.is_empty() {
            let named = named_tenant(headers)?.unwrap_or_default();
            if self.trust_header || named == Tenant::default() {
                return Ok(named);
            }
            return Err(Denied::Tenant(format!("expected \"default\" or no header, got {named:?}").into()));
        }
        let credential = self.authenticate(headers)?;
        let tenant = match named_tenant(headers)? {
            None => credential.tenants.first().cloned().unwrap_or_default(),
            Some(named) => named,
        };
        if credential.tenants.contains(&tenant) {
            return Ok(tenant);
        }
        Err(Denied::Forbidden { credential: credential.name.clone(), tenant })
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<&Known, Denied> {
        let denied = |reason| Denied::Unauthenticated { reason, challenge: self.challenge };
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let value = given.next().ok_or_else(|| denied("header Authorization: expected a credential, got none"))?;
        if given.next().is_some() {
            return Err(denied("header Authorization: expected one, got several"));
        }
        let (scheme, proof) = read(value.as_bytes()).ok_or_else(|| {
            denied("header Authorization: expected `Bearer <token>` or `Basic <user:password in base64>`")
        })?;
        self.known
            .get(&tag(&self.key, scheme, &proof))
            .ok_or_else(|| denied("header Authorization: the credential is not known"))
    }
}

#[derive(Clone, Copy, Debug)]
enum Scheme {
    Bearer,
    Basic,
}

/// The scheme and the secret part of an `Authorization` header.
fn read(value: &[u8]) -> Option<(Scheme, Vec<u8>)> {
    let text = str::from_utf8(value).ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    if rest.is_empty() {
        None
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Some((Scheme::Bearer, rest.as_bytes().to_vec()))
    } else if scheme.eq_ignore_ascii_case("basic") {
        Some((Scheme::Basic, base64::decode(rest)?))
    } else {
        None
    }
}

/// What stands for a secret: without the key, which never leaves the process, nobody can choose it.
fn tag(key: &hmac::Key, scheme: Scheme, proof: &[u8]) -> [u8; TAG_BYTES] {
    let mut context = hmac::Context::with_key(key);
    context.update(&[scheme as u8]);
    context.update(proof);
    context.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The tenant that the headers name, if they do.
fn named_tenant(headers: &HeaderMap) -> Result<Option<Tenant>, Denied> {
    let mut given = headers.get_all(TENANT_HEADER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Denied::Tenant("expected one, got several".into()));
    }
    let text = String::from_utf8_lossy(value.as_bytes());
    let tenant = Tenant::new(&text)
        .map_err(|error: TenantError| Denied::Tenant(format!("{error}, got {:?}", cut(&text, MAX_ECHO)).into()))?;
    Ok(Some(tenant))
}

#[cfg(test)]
mod tests;
