//! Both sides meet over a pipe, with every kind of certificate.

use super::*;
use tidemark_domain::time::DAY;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn now() -> Timestamp {
    crate::clock::Clock::machine().now()
}

/// Whether the node comes through, and whom the control plane saw.
async fn meet(node: &NodeTls, control_plane: &ControlPlaneTls) -> (io::Result<()>, io::Result<Peer>) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let dial = async {
        let mut stream = node.connect(ours).await?;
        stream.write_all(b"?").await?;
        stream.flush().await?;
        stream.read_u8().await.map(|_| ())
    };
    let accept = async {
        let (mut stream, peer) = control_plane.accept(theirs, now()).await?;
        stream.read_u8().await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok(peer)
    };
    tokio::join!(dial, accept)
}

fn version(versions: TlsVersions) -> &'static str {
    if versions == TlsVersions::Only12 { "TLSv1.2" } else { "TLSv1.3" }
}

const ALL: [TlsVersions; 3] = [TlsVersions::Both, TlsVersions::Only12, TlsVersions::Only13];

#[tokio::test]
async fn the_cluster_certificate_opens_the_cluster_in_both_forms_and_versions() {
    for made in [Throwaway::cluster(now()), Throwaway::cluster_of_version_1(now())] {
        let certificate = made.unwrap().loaded().unwrap();
        for versions in ALL {
            let node = NodeTls::shared(&certificate, versions).unwrap();
            let control_plane = ControlPlaneTls::shared(&certificate, TlsVersions::Both).unwrap();
            let (dialled, peer) = meet(&node, &control_plane).await;
            dialled.unwrap();
            let peer = peer.unwrap();
            assert_eq!(peer.refused, None);
            assert_eq!(peer.tls_version, Some(version(versions)));
            assert_eq!(peer.server_name.as_deref(), Some("kong_clustering"));
            assert_eq!(peer.certificate.as_ref(), Some(certificate.outline()));
        }
    }
}

#[tokio::test]
async fn another_cluster_is_not_ours() {
    let (ours, others) = (Throwaway::cluster(now()).unwrap(), Throwaway::cluster(now()).unwrap());
    let (ours, others) = (ours.loaded().unwrap(), others.loaded().unwrap());
    let node = NodeTls::shared(&others, TlsVersions::Both).unwrap();
    let control_plane = ControlPlaneTls::shared(&ours, TlsVersions::Both).unwrap();
    let (dialled, _) = meet(&node, &control_plane).await;
    assert!(dialled.unwrap_err().to_string().contains("UnknownIssuer"), "the node refuses first");
    // One that takes whatever it gets, as a node behind a terminating proxy does.
    let mut careless = NodeTls::shared(&others, TlsVersions::Both).unwrap();
    careless.connector = NodeTls::shared(&ours, TlsVersions::Both).unwrap().connector;
    let mut config = (**careless.connector.config()).clone();
    config.client_auth_cert_resolver =
        std::sync::Arc::new(rustls::sign::SingleCertAndKey::from(std::sync::Arc::clone(&others.key)));
    careless.connector = std::sync::Arc::new(config).into();
    let (dialled, peer) = meet(&careless, &control_plane).await;
    dialled.unwrap();
    assert_eq!(peer.unwrap().refused, Some(Refused::NotTheClusterCertificate));
}

/// Whoever copies a certificate has not its key.
#[tokio::test]
async fn a_certificate_without_its_key_opens_nothing() {
    for make in [Throwaway::cluster, Throwaway::cluster_of_version_1] {
        let (ours, thief) = (make(now()).unwrap().loaded().unwrap(), make(now()).unwrap().loaded().unwrap());
        let stolen = rustls::sign::CertifiedKey::new(ours.key.cert.clone(), std::sync::Arc::clone(&thief.key.key));
        let stolen = ClusterCertificate { key: std::sync::Arc::new(stolen), outline: ours.outline.clone() };
        for versions in ALL {
            let node = NodeTls::shared(&stolen, versions).unwrap();
            let control_plane = ControlPlaneTls::shared(&ours, TlsVersions::Both).unwrap();
            let (dialled, peer) = meet(&node, &control_plane).await;
            assert!(dialled.is_err() && peer.unwrap_err().to_string().contains("BadSignature"));
            let node = NodeTls::shared(&ours, versions).unwrap();
            let control_plane = ControlPlaneTls::shared(&stolen, TlsVersions::Both).unwrap();
            let (dialled, _) = meet(&node, &control_plane).await;
            assert!(dialled.unwrap_err().to_string().contains("BadSignature"));
        }
    }
}

#[tokio::test]
async fn an_authority_opens_its_own() {
    let authority = Throwaway::authority(now()).unwrap();
    let trusted = authority.loaded().unwrap();
    for alternative_name in [true, false] {
        let control_plane = authority.issue("cp.lab.test", alternative_name).unwrap().loaded().unwrap();
        let control_plane = ControlPlaneTls::pki(&control_plane, &trusted, TlsVersions::Both).unwrap();
        let node = authority.issue("dp1.lab.test", false).unwrap().loaded().unwrap();
        for versions in ALL {
            let dialler = NodeTls::pki(&node, &trusted, "cp.lab.test", versions).unwrap();
            let (dialled, peer) = meet(&dialler, &control_plane).await;
            dialled.unwrap();
            let peer = peer.unwrap();
            assert_eq!(peer.refused, None);
            assert_eq!(peer.certificate.unwrap().common_name.as_deref(), Some("dp1.lab.test"));
        }
        let lost = NodeTls::pki(&node, &trusted, "other.lab.test", TlsVersions::Both).unwrap();
        assert!(meet(&lost, &control_plane).await.0.unwrap_err().to_string().contains("not valid for name"));
        let stranger = Throwaway::cluster(now()).unwrap().loaded().unwrap();
        let stranger = NodeTls::pki(&stranger, &trusted, "cp.lab.test", TlsVersions::Both).unwrap();
        assert_eq!(meet(&stranger, &control_plane).await.1.unwrap().refused, Some(Refused::NotOfTheAuthority));
    }
}

#[tokio::test]
async fn a_certificate_has_its_time() {
    let old = Throwaway::cluster(now().plus(-1_100 * DAY)).unwrap().loaded().unwrap();
    let control_plane = ControlPlaneTls::shared(&old, TlsVersions::Both).unwrap();
    let node = NodeTls::shared(&old, TlsVersions::Both).unwrap();
    assert!(meet(&node, &control_plane).await.0.unwrap_err().to_string().contains("Expired"));
    assert_eq!(control_plane.trust.refuses(&[old.der()], now()), Some(Refused::OutOfTime));
    assert_eq!(control_plane.trust.refuses(&[old.der()], now().plus(-1_000 * DAY)), None);
    assert_eq!(control_plane.trust.refuses(&[], now()), Some(Refused::NoCertificate));
}

#[test]
fn an_error_names_the_file_that_is_at_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| {
        std::fs::write(path(name), text).unwrap();
        path(name)
    };
    let (one, other) = (Throwaway::cluster(now()).unwrap(), Throwaway::cluster(now()).unwrap());
    let (certificate, key) = (write("one.crt", &one.certificate), write("one.key", &one.key));
    ClusterCertificate::read(&certificate, &key).unwrap();
    let says = |certificate: &Path, key: &Path| ClusterCertificate::read(certificate, key).unwrap_err().to_string();
    let message = says(&certificate, &write("other.key", &other.key));
    assert!(message.contains("other.key does not belong") && message.contains("one.crt"), "{message}");
    assert!(says(&path("none"), &key).ends_with("none cannot be read"));
    assert!(says(&key, &key).ends_with("one.key holds no certificate in PEM"));
    assert!(says(&certificate, &certificate).contains("one.crt holds no private key"));
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(says(&write("damaged", damaged), &key).contains("damaged holds a certificate that cannot be read"));
    assert!(Authority::read(&write("empty", "")).unwrap_err().to_string().contains("empty holds no certificate"));
}

#[tokio::test]
async fn an_authority_may_take_back_what_it_issued_and_a_name_may_be_asked_for() {
    let authority = Throwaway::authority(now()).unwrap();
    let issued = |name| authority.issue(name, true).unwrap();
    let (server, good, bad) = (issued("cp.example"), issued("dp-1.example"), issued("dp-2.example"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crl.pem");
    let trusted = authority.loaded().unwrap();
    let refused = async |node: &Throwaway, admission: Admission| {
        let server = server.loaded().unwrap();
        let control_plane = ControlPlaneTls::pki_admitting(&server, &trusted, admission, TlsVersions::Both).unwrap();
        let node = NodeTls::pki(&node.loaded().unwrap(), &trusted, "cp.example", TlsVersions::Both).unwrap();
        let (_, peer) = meet(&node, &control_plane).await;
        peer.unwrap().refused
    };
    let without = |certificates: &[&Throwaway]| {
        std::fs::write(&path, authority.take_back(certificates).unwrap()).unwrap();
        Admission::default().without_those_of(&path).unwrap()
    };
    assert_eq!(refused(&bad, Admission::default()).await, None);
    assert_eq!(refused(&bad, without(&[&bad])).await, Some(Refused::Revoked));
    assert_eq!(refused(&good, without(&[&bad])).await, None);
    assert_eq!(refused(&good, without(&[])).await, None);
    let named = |names: &[&str]| Admission {
        common_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Admission::default()
    };
    assert_eq!(refused(&good, named(&["dp-1.example", "x"])).await, None);
    assert_eq!(refused(&bad, named(&["dp-1.example", "x"])).await, Some(Refused::CommonName));

    std::fs::write(&path, "no list").unwrap();
    let error = Admission::default().without_those_of(&path).unwrap_err();
    assert!(error.to_string().contains("crl.pem holds no list"), "{error}");
}
