//! Certificates for a simulated fleet, made when they are needed and never kept.

use super::{Authority, ClusterCertificate, SHARED_NAME, TlsError, outline};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Datelike};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use sha2::{Digest, Sha256};
use std::path::Path;
use tidemark_domain::time::{DAY, Timestamp};

/// A certificate and its key in PEM, to be written to files for a genuine Kong or used as they are.
#[derive(Clone, Debug)]
pub struct Throwaway {
    pub certificate: String,
    pub key: String,
}

/// An authority and what it issues.
pub struct ThrowawayAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    now: Timestamp,
}

/// As long as `kong hybrid gen_cert` gives.
const VALID_DAYS: i64 = 1_095;

impl Throwaway {
    /// A cluster certificate for `shared` mode, valid for three years from a day before `now`. As the recipe in Kong's
    /// documentation makes it: self-signed, version 3, `CA:TRUE`, and no name but the common one. The key is of P-256,
    /// where Kong's command takes P-384, because thousands of handshakes sign with it.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn cluster(now: Timestamp) -> Result<Self, TlsError> {
        let key = key_pair(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = parameters(SHARED_NAME, now);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).map_err(unmade)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A cluster certificate in the form in which `kong hybrid gen_cert` writes it: version 1, P-384, nothing but the
    /// common name.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn cluster_of_version_1(now: Timestamp) -> Result<Self, TlsError> {
        let key = key_pair(&rcgen::PKCS_ECDSA_P384_SHA384)?;
        let newer = parameters(SHARED_NAME, now).self_signed(&key).map_err(unmade)?;
        // The same fields without the version and the extensions, signed anew.
        let (body, algorithm) = outline::body_of_version_1(newer.der()).ok_or_else(|| unmade("unreadable"))?;
        let body = outline::wrapped(outline::SEQUENCE, &body);
        let signature = [&[0], key.sign(&body).map_err(unmade)?.as_slice()].concat();
        let signature = outline::wrapped(outline::BIT_STRING, &signature);
        let certificate = outline::wrapped(outline::SEQUENCE, &[body.as_slice(), algorithm, &signature].concat());
        let lines: Vec<String> = BASE64_STANDARD
            .encode(certificate)
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        let certificate = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        Ok(Self { certificate, key: key.serialize_pem() })
    }

    /// An authority for `pki` mode.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn authority(now: Timestamp) -> Result<ThrowawayAuthority, TlsError> {
        let mut parameters = parameters("throwaway authority", now);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let issuer =
            CertifiedIssuer::self_signed(parameters, key_pair(&rcgen::PKCS_ECDSA_P256_SHA256)?).map_err(unmade)?;
        Ok(ThrowawayAuthority { issuer, now })
    }

    /// For use in this process.
    ///
    /// # Errors
    /// Where the PEM is not what it was made as.
    pub fn loaded(&self) -> Result<ClusterCertificate, TlsError> {
        let path = Path::new("a throwaway certificate");
        ClusterCertificate::of_pem(self.certificate.as_bytes(), self.key.as_bytes(), path, path)
    }
}

impl ThrowawayAuthority {
    /// A certificate for this name, of a control plane or of a node. With `alternative_name` it says the name as today's
    /// clients want it; without, only as the common name.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn issue(&self, name: &str, alternative_name: bool) -> Result<Throwaway, TlsError> {
        let key = key_pair(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = parameters(name, self.now);
        parameters.serial_number = Some(serial(&key));
        if alternative_name {
            let name = name.to_owned().try_into().map_err(unmade)?;
            parameters.subject_alt_names.push(rcgen::SanType::DnsName(name));
        }
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(unmade)?;
        Ok(Throwaway { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A list of what the authority takes back, in PEM.
    ///
    /// # Errors
    /// Where a certificate has no key that can be read.
    pub fn take_back(&self, certificates: &[&Throwaway]) -> Result<String, TlsError> {
        let CertificateParams { not_before: now, not_after: next_update, .. } = parameters("", self.now);
        let revoked = |certificate: &&Throwaway| {
            let key = KeyPair::from_pem(&certificate.key).map_err(unmade)?;
            let serial_number = serial(&key);
            Ok(RevokedCertParams { serial_number, revocation_time: now, reason_code: None, invalidity_date: None })
        };
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update,
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: certificates.iter().map(revoked).collect::<Result<_, TlsError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(unmade)
    }

    /// The certificate of the authority itself, in PEM.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// For use in this process.
    ///
    /// # Errors
    /// Where the PEM is not what it was made as.
    pub fn loaded(&self) -> Result<Authority, TlsError> {
        Authority::of_pem(self.certificate().as_bytes(), Path::new("a throwaway authority"))
    }
}

fn key_pair(algorithm: &'static SignatureAlgorithm) -> Result<KeyPair, TlsError> {
    KeyPair::generate_for(algorithm).map_err(unmade)
}

/// A number that the key tells.
fn serial(key: &KeyPair) -> SerialNumber {
    let digest = Sha256::digest(key.public_key_raw());
    // Positive, and no longer than others can read.
    SerialNumber::from_slice(&[&[0x01], &digest[..15]].concat())
}

fn parameters(name: &str, now: Timestamp) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    let midnight = |moment: Timestamp| {
        let date = DateTime::from_timestamp_millis(moment.ms()).unwrap_or_default();
        let (month, day) = (date.month() as u8, date.day() as u8);
        rcgen::date_time_ymd(date.year(), month, day)
    };
    parameters.not_before = midnight(now.plus(-DAY));
    parameters.not_after = midnight(now.plus(VALID_DAYS * DAY));
    parameters
}

fn unmade(error: impl ToString) -> TlsError {
    TlsError::Setup(rustls::Error::General(error.to_string()))
}
