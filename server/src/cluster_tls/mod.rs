//! TLS between nodes and their control plane, as Kong has it (`kong-hybrid.md` 1.3): mutual, in two modes.
//!
//! - `shared`: both sides present the one cluster certificate, and trust nothing but it. The name that a node asks for is
//!   always `kong_clustering`.
//! - `pki`: both sides trust an authority, and each has a certificate of its own.
//!
//! TLS 1.2 and 1.3, as both of Kong's sides speak. Kong writes cluster certificates of X.509 version 1, which rustls refuses
//! to read: [`outline`] reads what is needed of them, and [`verify`] compares bytes where the mode is `shared`.
//! Simulated fleets use this, and so can whatever stands between a real node and its control plane.

mod outline;
mod throwaway;
pub mod trust;
mod verify;

#[cfg(test)]
mod tests;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tidemark_domain::time::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use verify::{Anybody, CertificateOfAuthority, PinnedServer};

pub use throwaway::{Throwaway, ThrowawayAuthority};

/// The name that a node asks for in `shared` mode, whatever it dials.
pub const SHARED_NAME: &str = "kong_clustering";

/// Certificates of one file, or of one chain: Kong verifies four levels deep (`kong-hybrid.md` 1.3).
const CERTIFICATES_MAX: usize = 64;
/// A file with certificates or a key that is longer than this is something else.
const FILE_MAX: u64 = 1024 * 1024;

/// Why no TLS can be set up. Each names the file that is at fault.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} has more than {FILE_MAX} bytes, and is no certificate or key", path.display())]
    TooLong { path: PathBuf },
    #[error("{} holds no certificate in PEM", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds a certificate that cannot be read", path.display())]
    UnreadableCertificate { path: PathBuf },
    #[error("{} holds no private key in PEM without a passphrase", path.display())]
    NoKey { path: PathBuf },
    #[error("the key in {} is of no kind that TLS can use here", path.display())]
    UnusableKey { path: PathBuf, source: rustls::Error },
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    KeyOfAnother { key: PathBuf, certificate: PathBuf },
    #[error("{} holds no list of revoked certificates in PEM", path.display())]
    UnreadableRevocations { path: PathBuf },
    #[error("{} holds no certificate of an authority", path.display())]
    NoAuthority { path: PathBuf, source: rustls::Error },
    #[error("pki mode needs the certificate of an authority (--cluster-ca-cert)")]
    WithoutAuthority,
    #[error("{name:?} is no server name")]
    ServerName { name: String },
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// A certificate with its key: `cluster_cert` and `cluster_cert_key` of Kong.
#[derive(Clone, Debug)]
pub struct ClusterCertificate {
    key: Arc<CertifiedKey>,
    outline: PeerCertificate,
}

/// The authority of `pki` mode: `cluster_ca_cert` of Kong.
#[derive(Clone, Debug)]
pub struct Authority(Arc<RootCertStore>);

/// What a certificate of the authority must be beside that: as in Kong's `pki_check_cn` mode, and by lists of what was
/// revoked.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Names that nodes may have; none of them: any name.
    pub common_names: Vec<String>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

/// Which versions of TLS are spoken. Kong's sides speak both by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersions {
    #[default]
    Both,
    Only12,
    Only13,
}

/// How a node dials.
#[derive(Clone)]
pub struct NodeTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// How a control plane accepts.
#[derive(Clone)]
pub struct ControlPlaneTls {
    acceptor: TlsAcceptor,
    trust: Trust,
}

#[derive(Clone)]
enum Trust {
    Pinned(CertificateDer<'static>),
    Authority { verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>, common_names: Arc<[String]> },
}

/// Who is at the other end, after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub tls_version: Option<&'static str>,
    /// The name that the node asked for.
    pub server_name: Option<String>,
    pub certificate: Option<PeerCertificate>,
    /// Kong ends the handshake well with anybody, and looks at the certificate when the request comes.
    pub refused: Option<Refused>,
}

/// What is said of a certificate. Nothing of it was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// 64 hexadecimal digits.
    pub sha256: String,
    pub common_name: Option<String>,
    pub not_after: Timestamp,
}

/// Why a control plane will not serve a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It presented no certificate.
    NoCertificate,
    /// `shared`: it is not the cluster certificate.
    NotTheClusterCertificate,
    /// Before or after its time.
    OutOfTime,
    /// `pki`: the authority did not issue it.
    NotOfTheAuthority,
    /// `pki`: the authority took it back.
    Revoked,
    /// `pki`: its common name is none of those that are let in.
    CommonName,
}

impl ClusterCertificate {
    /// Reads a certificate (with the chain after it, if there is one) and its key from files in PEM.
    ///
    /// # Errors
    /// Names the file that cannot be used, and why.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Self::of_pem(&file(certificate)?, &file(key)?, certificate, key)
    }

    /// The same from PEM in memory; the paths are for the errors.
    fn of_pem(certificate: &[u8], key: &[u8], certificate_path: &Path, key_path: &Path) -> Result<Self, TlsError> {
        let chain = certificates(certificate, certificate_path)?;
        let unreadable = || TlsError::UnreadableCertificate { path: certificate_path.into() };
        let end_entity = chain.first().ok_or_else(unreadable)?;
        let read = outline::Certificate::read(end_entity).ok_or_else(unreadable)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey { path: key_path.into() })?;
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|source| TlsError::UnusableKey { path: key_path.into(), source })?;
        if key.public_key().is_some_and(|public| public.as_ref() != read.public_key) {
            return Err(TlsError::KeyOfAnother { key: key_path.into(), certificate: certificate_path.into() });
        }
        let outline = PeerCertificate::of(end_entity).ok_or_else(unreadable)?;
        Ok(Self { key: Arc::new(CertifiedKey::new(chain, key)), outline })
    }

    /// What the certificate says of itself.
    #[must_use]
    pub const fn outline(&self) -> &PeerCertificate {
        &self.outline
    }

    fn der(&self) -> CertificateDer<'static> {
        self.key.cert.first().cloned().unwrap_or_else(|| CertificateDer::from(Vec::new()))
    }
}

impl Authority {
    /// Reads the certificates of an authority from a file in PEM.
    ///
    /// # Errors
    /// Names the file that cannot be used, and why.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        Self::of_pem(&file(path)?, path)
    }

    fn of_pem(pem: &[u8], path: &Path) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem, path)? {
            let refused = |source| TlsError::NoAuthority { path: path.into(), source };
            roots.add(certificate).map_err(refused)?;
        }
        Ok(Self(Arc::new(roots)))
    }
}

impl Admission {
    /// Takes what the authority took back, from a file of revocation lists (PEM). Lists are read again with their file, and
    /// an old one is not refused for its age.
    ///
    /// # Errors
    /// Names the file that cannot be used, and why.
    pub fn without_those_of(mut self, path: &Path) -> Result<Self, TlsError> {
        let unreadable = || TlsError::UnreadableRevocations { path: path.into() };
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&file(path)?).collect();
        self.revoked.extend(lists.map_err(|_| unreadable())?);
        if self.revoked.is_empty() { Err(unreadable()) } else { Ok(self) }
    }
}

impl NodeTls {
    /// `shared` mode: presents the cluster certificate, and accepts it alone.
    ///
    /// # Errors
    /// Where rustls cannot be set up with it.
    pub fn shared(certificate: &ClusterCertificate, versions: TlsVersions) -> Result<Self, TlsError> {
        let verifier = Arc::new(PinnedServer::new(certificate.der(), provider().signature_verification_algorithms));
        Self::new(certificate, verifier, SHARED_NAME, versions)
    }

    /// `pki` mode: accepts certificates of the authority for this name (`cluster_server_name`, else the host that is
    /// dialled). A certificate without alternative names counts for its common name, as OpenSSL has it.
    ///
    /// # Errors
    /// Where the name is none, or rustls cannot be set up.
    pub fn pki(
        certificate: &ClusterCertificate,
        authority: &Authority,
        server_name: &str,
        versions: TlsVersions,
    ) -> Result<Self, TlsError> {
        let verifier = Arc::new(CertificateOfAuthority::new(Arc::clone(&authority.0), provider())?);
        Self::new(certificate, verifier, server_name, versions)
    }

    fn new(
        certificate: &ClusterCertificate,
        verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
        server_name: &str,
        versions: TlsVersions,
    ) -> Result<Self, TlsError> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| TlsError::ServerName { name: server_name.to_owned() })?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions.supported())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&certificate.key))));
        // Every connection shows its certificate; thousands of them keep no tickets.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// The handshake, as the side that dials.
    ///
    /// # Errors
    /// What the transport or rustls says.
    pub async fn connect<S>(&self, transport: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector.connect(self.name.clone(), transport).await
    }
}

impl ControlPlaneTls {
    /// `shared` mode: presents the cluster certificate, and serves who has it too.
    ///
    /// # Errors
    /// Where rustls cannot be set up with it.
    pub fn shared(certificate: &ClusterCertificate, versions: TlsVersions) -> Result<Self, TlsError> {
        Self::new(certificate, Trust::Pinned(certificate.der()), versions)
    }

    /// `pki` mode: serves who has a certificate of the authority.
    ///
    /// # Errors
    /// Where rustls cannot be set up.
    pub fn pki(
        certificate: &ClusterCertificate,
        authority: &Authority,
        versions: TlsVersions,
    ) -> Result<Self, TlsError> {
        Self::pki_admitting(certificate, authority, Admission::default(), versions)
    }

    /// The same, for some of them.
    ///
    /// # Errors
    /// Where rustls cannot be set up.
    pub fn pki_admitting(
        certificate: &ClusterCertificate,
        authority: &Authority,
        admission: Admission,
        versions: TlsVersions,
    ) -> Result<Self, TlsError> {
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::clone(&authority.0), provider())
                .with_crls(admission.revoked)
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status()
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        let common_names = admission.common_names.into();
        Self::new(certificate, Trust::Authority { verifier, common_names }, versions)
    }

    fn new(certificate: &ClusterCertificate, trust: Trust, versions: TlsVersions) -> Result<Self, TlsError> {
        let anybody = Arc::new(Anybody::new(provider().signature_verification_algorithms));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions.supported())?
            .with_client_cert_verifier(anybody)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&certificate.key))));
        config.session_storage = ServerSessionMemoryCache::new(0);
        config.send_tls13_tickets = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), trust })
    }

    /// The handshake, as the side that is dialled. It ends well with anybody, as Kong's does: [`Peer::refused`] says
    /// whether the certificate will do.
    ///
    /// # Errors
    /// What the transport or rustls says.
    pub async fn accept<S>(&self, transport: S, now: Timestamp) -> io::Result<(server::TlsStream<S>, Peer)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.acceptor.accept(transport).await?;
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        let peer = Peer {
            tls_version: connection.protocol_version().and_then(version_word),
            server_name: connection.server_name().map(str::to_owned),
            certificate: chain.first().and_then(PeerCertificate::of),
            refused: self.trust.refuses(chain, now),
        };
        Ok((stream, peer))
    }
}

impl Trust {
    fn refuses(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Option<Refused> {
        let Some((certificate, intermediates)) = chain.split_first() else {
            return Some(Refused::NoCertificate);
        };
        match self {
            Self::Pinned(pinned) if pinned != certificate => Some(Refused::NotTheClusterCertificate),
            Self::Pinned(_) => {
                let read = outline::Certificate::read(certificate);
                read.is_none_or(|read| !read.is_valid_at(now)).then_some(Refused::OutOfTime)
            }
            Self::Authority { verifier, common_names } => {
                match verifier.verify_client_cert(certificate, intermediates, unix_time(now)) {
                    Ok(_) => {
                        let name = outline::Certificate::read(certificate).and_then(|read| read.common_name);
                        let is_let_in = |name: &str| common_names.iter().any(|allowed| allowed == name);
                        (!common_names.is_empty() && !name.is_some_and(is_let_in)).then_some(Refused::CommonName)
                    }
                    Err(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => Some(Refused::Revoked),
                    Err(rustls::Error::InvalidCertificate(why)) if verify::is_about_time(&why) => {
                        Some(Refused::OutOfTime)
                    }
                    Err(_) => Some(Refused::NotOfTheAuthority),
                }
            }
        }
    }
}

impl PeerCertificate {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let read = outline::Certificate::read(certificate)?;
        let sha256 = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self { sha256, common_name: read.common_name.map(str::to_owned), not_after: read.not_after })
    }
}

impl TlsVersions {
    fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        use rustls::version::{TLS12, TLS13};
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Both => &BOTH,
            Self::Only13 => &BOTH[..1],
            Self::Only12 => &BOTH[1..],
        }
    }
}

fn version_word(version: ProtocolVersion) -> Option<&'static str> {
    match version {
        ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
        ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
        _ => None,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn unix_time(now: Timestamp) -> rustls::pki_types::UnixTime {
    let since_epoch = std::time::Duration::from_millis(u64::try_from(now.ms()).unwrap_or(0));
    rustls::pki_types::UnixTime::since_unix_epoch(since_epoch)
}

fn file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.into(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_MAX {
        return Err(TlsError::TooLong { path: path.into() });
    }
    std::fs::read(path).map_err(failed)
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |_| TlsError::UnreadableCertificate { path: path.into() };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(CERTIFICATES_MAX).collect();
    let found = found.map_err(unreadable)?;
    if found.is_empty() { Err(TlsError::NoCertificate { path: path.into() }) } else { Ok(found) }
}
