//! TLS configurations, made when the first host that needs one is contacted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{HostConfig, Keypair};
use crate::error::{Error, ErrorKind, Result};

/// For clients that speak plain HTTP only: trusts nobody and loads nothing.
pub(crate) fn none() -> Result<ClientConfig> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// For a host: the system's authorities and what its configuration adds.
pub(crate) fn of(host: &HostConfig) -> Result<ClientConfig> {
    let builder = builder()?;
    let builder = if host.insecure == Some(true) {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
    } else {
        let own = own_authorities(host)?;
        let roots = Arc::new(roots(host, &own)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| local("no certificate authority is trusted").with_source(error))?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(OrPinned { verifier, own }))
    };
    match host.keypair.first() {
        None => Ok(builder.with_no_client_auth()),
        Some(Keypair { key, cert }) => {
            let chain = certificates(cert)?;
            let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(cert, error))
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| local("cannot set up TLS").with_source(error))
}

/// The certificates that the host's configuration names.
fn own_authorities(host: &HostConfig) -> Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = host.ca.iter().map(|path| certificates(path)).collect::<Result<_>>()?;
    Ok(all.concat())
}

/// System certificates that cannot be parsed are left out; a host that needs one fails by name later.
fn roots(host: &HostConfig, own: &[CertificateDer<'static>]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in own {
        let of = || host.ca.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
        roots.add(certificate.clone()).map_err(|error| unusable(of(), error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| unusable(path, e))?;
    if all.is_empty() { Err(local(format!("`{}` holds no certificate", path.display()))) } else { Ok(all) }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| local(format!("cannot read `{}`", path.display())).with_source(error))
}

fn unusable(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    local(format!("cannot use `{}` for TLS", path.display())).with_source(error)
}

fn local(message: impl Into<String>) -> Error {
    Error::without_request(ErrorKind::Local, message)
}

/// Verifies as usual, and accepts a self-signed certificate that the configuration names itself.
///
/// `openssl req -x509` makes such certificates and Docker's manual tells people to use them for registries; the
/// usual rules refuse them, for they are authorities and servers at once. The name must still be right.
#[derive(Debug)]
struct OrPinned {
    verifier: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for OrPinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.verifier.verify_server_cert(certificate, chain, name, ocsp, now);
        if verified.is_err() && self.own.iter().any(|own| own == certificate) {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Accepts whoever answers, for hosts configured as `insecure`; signatures must still be right.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let (absent, empty) = (directory.path().join("absent.pem"), directory.path().join("empty.pem"));
        fs::write(&empty, "no certificate").unwrap();
        for path in [absent, empty] {
            let host = HostConfig { ca: vec![path.clone()], ..HostConfig::default() };
            let error = of(&host).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Local);
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn plain_clients_trust_nobody_and_others_can_be_made() {
        assert!(none().is_ok());
        assert!(of(&HostConfig { insecure: Some(true), ..HostConfig::default() }).is_ok());
    }
}
