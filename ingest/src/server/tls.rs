//! TLS for both doors: TLS 1.2 and 1.3, client certificates where a CA for them is named, and new
//! certificates without a restart.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::rustls::{
    self, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use crate::Transport;

/// Largest file that is read, in bytes: a wrong path must not fill the memory.
const MAX_FILE: u64 = 1 << 20;

/// Where the certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The service's certificate and those between it and the CA, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// CAs of the senders, in PEM; when given, senders must show a certificate of one of them.
    pub client_ca: Option<PathBuf>,
    /// How often the files are looked at; SIGHUP makes it look at once. Default 30 s.
    pub reload_every: Duration,
}

impl TlsConfig {
    /// How often the files are looked at by default.
    pub const RELOAD_EVERY: Duration = Duration::from_secs(30);

    /// Reads the files and tries whether they go together.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn check(&self) -> Result<(), TlsError> {
        configure(&Files::read(self)?, self).map(drop)
    }
}

/// The certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("TLS: {}: {reason}", file.display())]
pub struct TlsError {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong with it, without its contents.
    pub reason: String,
}

/// What new connections are greeted with; it changes when the files do.
#[derive(Debug)]
pub(super) struct Tls {
    config: TlsConfig,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    files: Files,
    /// By transport.
    servers: [Arc<ServerConfig>; 2],
}

impl Tls {
    pub(super) fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let files = Files::read(config)?;
        let servers = configure(&files, config)?;
        Ok(Self { config: config.clone(), current: RwLock::new(Current { files, servers }) })
    }

    /// For the next connection of this door.
    pub(super) fn server(&self, transport: Transport) -> Arc<ServerConfig> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.servers[transport as usize])
    }

    /// Looks at the files now and then, and takes up what is new. What is wrong is logged, and what was
    /// there stays. Never ends.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            let asked = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(self.config.reload_every) => {}
                _ = asked => {}
            }
            let tls = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || tls.reload()).await {
                Ok(Ok(true)) => tracing::info!("TLS certificates were reloaded"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "new TLS certificates cannot be used; the old ones stay"),
                Err(error) => tracing::error!(%error, "TLS certificates could not be reloaded"),
            }
        }
    }

    /// Takes up new files; whether there were any.
    fn reload(&self) -> Result<bool, TlsError> {
        let files = Files::read(&self.config)?;
        if files == self.current.read().unwrap_or_else(PoisonError::into_inner).files {
            return Ok(false);
        }
        let servers = configure(&files, &self.config)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { files, servers };
        Ok(true)
    }
}

/// The contents of the files.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&config.certificate)?,
            key: read(&config.key)?,
            client_ca: config.client_ca.as_deref().map(read).transpose()?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > MAX_FILE => Err(fault(path, format!("is larger than {MAX_FILE} bytes"))),
        Ok(_) => Ok(bytes),
        Err(error) => Err(fault(path, format!("cannot be read: {error}"))),
    }
}

fn fault(path: &Path, reason: impl Into<String>) -> TlsError {
    TlsError { file: path.to_owned(), reason: reason.into() }
}

/// For each transport what it offers: HTTP/2, and HTTP/1.1 where that is spoken.
fn configure(files: &Files, config: &TlsConfig) -> Result<[Arc<ServerConfig>; 2], TlsError> {
    let chain = certificates(&files.certificate, &config.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|_| fault(&config.key, "expected a private key in PEM (PKCS#8, PKCS#1 or SEC1)"))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| fault(&config.certificate, error.to_string()))?;
    let builder = match (&files.client_ca, &config.client_ca) {
        (Some(bytes), Some(path)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(bytes, path)? {
                roots.add(certificate).map_err(|error| fault(path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| fault(path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let server = builder.with_single_cert(chain, key).map_err(|error| fault(&config.certificate, error.to_string()))?;
    Ok(Transport::ALL.map(|transport| {
        let mut server = server.clone();
        server.alpn_protocols = match transport {
            Transport::Grpc => vec![b"h2".to_vec()],
            Transport::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Arc::new(server)
    }))
}

fn certificates(bytes: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(fault(path, "expected certificates in PEM")),
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        Self::other(error)
    }
}
