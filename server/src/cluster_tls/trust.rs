//! How a process is told on its command line whom to trust.

use super::{Admission, Authority, ClusterCertificate, ControlPlaneTls, NodeTls, TlsError, TlsVersions};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How nodes and control planes trust each other: settings of the names that Kong gives them.
#[derive(Args, Clone, Debug)]
pub struct Trust {
    /// The certificate: the cluster's in shared mode, one's own in pki mode (PEM).
    #[arg(long, value_name = "FILE")]
    pub cluster_cert: PathBuf,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE")]
    pub cluster_cert_key: PathBuf,
    /// Kong's `cluster_mtls`.
    #[arg(long, value_enum, default_value_t = Mtls::Shared)]
    pub cluster_mtls: Mtls,
    /// The authority of pki mode (PEM).
    #[arg(long, value_name = "FILE", required_if_eq("cluster_mtls", "pki"))]
    pub cluster_ca_cert: Option<PathBuf>,
    /// In pki mode, a common name that nodes may have; may be repeated. Without it any certificate of the authority will do.
    #[arg(long = "cluster-allowed-common-name", value_name = "NAME")]
    pub cluster_allowed_common_names: Vec<String>,
    /// In pki mode, lists of certificates that the authority took back (PEM).
    #[arg(long, value_name = "FILE")]
    pub cluster_crl: Option<PathBuf>,
}

/// Kong's `cluster_mtls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mtls {
    /// One certificate for all.
    Shared,
    /// A certificate each, of one authority.
    Pki,
}

impl Trust {
    /// As a control plane accepts.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn control_plane(&self) -> Result<ControlPlaneTls, TlsError> {
        let certificate = self.certificate()?;
        match self.authority()? {
            None => ControlPlaneTls::shared(&certificate, TlsVersions::Both),
            Some(authority) => {
                let common_names = self.cluster_allowed_common_names.clone();
                let mut admission = Admission { common_names, ..Admission::default() };
                if let Some(path) = &self.cluster_crl {
                    admission = admission.without_those_of(path)?;
                }
                ControlPlaneTls::pki_admitting(&certificate, &authority, admission, TlsVersions::Both)
            }
        }
    }

    /// As a node dials. The name in the control plane's certificate is, in pki mode, `server_name`, else the host of
    /// `connect`.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn node(&self, server_name: Option<&str>, connect: &str) -> Result<NodeTls, TlsError> {
        let certificate = self.certificate()?;
        let host = connect.rsplit_once(':').map_or(connect, |(host, _)| host);
        match self.authority()? {
            None => NodeTls::shared(&certificate, TlsVersions::Both),
            Some(authority) => NodeTls::pki(&certificate, &authority, server_name.unwrap_or(host), TlsVersions::Both),
        }
    }

    /// The files that this reads.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cluster_cert, &self.cluster_cert_key].into_iter().chain(&self.cluster_ca_cert).chain(&self.cluster_crl)
    }

    fn certificate(&self) -> Result<ClusterCertificate, TlsError> {
        ClusterCertificate::read(&self.cluster_cert, &self.cluster_cert_key)
    }

    fn authority(&self) -> Result<Option<Authority>, TlsError> {
        match (self.cluster_mtls, &self.cluster_ca_cert) {
            (Mtls::Shared, _) => Ok(None),
            (Mtls::Pki, Some(path)) => Authority::read(path).map(Some),
            (Mtls::Pki, None) => Err(TlsError::WithoutAuthority),
        }
    }
}
