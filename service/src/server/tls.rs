//! Mutual TLS: who has no certificate of our authority is not let in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::verify_server_name;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::ServeError;
use kiln_engine::oci::Digest;

/// The PEM files of mutual TLS, as dockerd's options name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority of the clients' certificates.
    pub ca: PathBuf,
    /// Our certificate, with what leads to its authority.
    pub cert: PathBuf,
    /// Our key.
    pub key: PathBuf,
}

/// TLS as it is offered, and the names that we may be called by.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
}

/// What is offered at the moment; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Offered(Arc<RwLock<Tls>>);

impl Offered {
    pub(super) fn new(tls: Tls) -> Offered {
        Offered(Arc::new(RwLock::new(tls)))
    }

    pub(super) fn get(&self) -> Tls {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Offers this to whoever comes from now on.
    pub(super) fn set(&self, tls: Tls) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(files: &TlsFiles) -> Result<Tls, ServeError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.ca)? {
            roots.add(authority).map_err(|error| unusable(&files.ca, error))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(&files.ca, error))?;
        let chain = certificates(&files.cert)?;
        let certificate = chain[0].clone();
        let key =
            PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| unusable(&files.key, error))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key))
            .map_err(|error| unusable(&files.cert, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls { config: Arc::new(config), certificate })
    }

    /// Whether our certificate is for this name or address. A page that a browser shows under a name of its own, which
    /// it has made lead to us, does not know one.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else { return false };
        ParsedCertificate::try_from(&self.certificate)
            .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }
}

/// Who a certificate is for: of a digest of its issuer and subject, which stay when it is renewed; of one that names nobody,
/// of all of it.
pub(super) fn holder(certificate: &CertificateDer<'_>) -> u128 {
    let digest = Digest::of(&names(certificate).unwrap_or_else(|| certificate.to_vec()));
    digest.hex().get(..32).and_then(|hex| u128::from_str_radix(hex, 16).ok()).unwrap_or_default()
}

/// The bytes from the issuer to the subject of a certificate (RFC 5280, section 4.1), without its time of validity.
fn names(certificate: &[u8]) -> Option<Vec<u8>> {
    const VERSION: u8 = 0xa0;
    let (body, _) = element(certificate)?;
    let (mut rest, _) = element(body)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.1;
    }
    let (_serial, rest) = element(rest)?;
    let (_algorithm, rest) = element(rest)?;
    let (issuer, rest) = element(rest)?;
    let (_validity, rest) = element(rest)?;
    let (subject, _) = element(rest)?;
    (!subject.is_empty()).then(|| [issuer, subject].concat())
}

/// The content of the first element of DER, and what comes after it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let pem = read(path)?;
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| unusable(path, e))?;
    if all.is_empty() { Err(unusable(path, "it holds no certificate")) } else { Ok(all) }
}

fn read(path: &Path) -> Result<Vec<u8>, ServeError> {
    fs::read(path).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, cause: impl std::fmt::Display) -> ServeError {
    ServeError::Tls { path: path.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &length[..], &content].concat()
    }

    fn certificate(serial: u8, issuer: &[u8], subject: &[u8]) -> CertificateDer<'static> {
        let parts = [der(0xa0, &[b"v"]), der(2, &[&[serial]]), der(0x30, &[b"algorithm"])];
        let names = [der(0x30, &[issuer]), der(0x30, &[b"until then"]), der(0x30, &[subject])];
        let parts: Vec<&[u8]> = parts.iter().chain(&names).map(Vec::as_slice).collect();
        CertificateDer::from(der(0x30, &[&der(0x30, &parts), b"signature"]))
    }

    #[test]
    fn a_renewed_certificate_is_of_the_same_holder_and_no_others() {
        let first = holder(&certificate(1, b"ca", b"me"));
        assert_eq!(holder(&certificate(2, b"ca", b"me")), first);
        assert_ne!(holder(&certificate(1, b"ca", b"you")), first);
        assert_ne!(holder(&certificate(1, b"other", b"me")), first);
        let nobody = |serial| holder(&certificate(serial, b"ca", b""));
        assert_ne!(nobody(1), nobody(2), "who has no name is known by all that is said");
        for length in 0..60 {
            let whole = certificate(1, b"ca", b"me");
            holder(&CertificateDer::from(whole[..length].to_vec()));
        }
    }
}
