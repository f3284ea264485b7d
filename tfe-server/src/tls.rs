//! Certificates: a given one, or one from a certificate authority made on the spot for trials.

use std::{fs, io, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::embedded::private_directory;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file holds no certificate or key.
    #[error("{path} holds no usable PEM certificate or key: {reason}")]
    Content {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not fit, or could not be made.
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

/// Serves with the certificate chain and key in these PEM files.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let content = |path: &Path, error: rustls::pki_types::pem::Error| TlsError::Content {
        path: path.display().to_string(),
        reason: error.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| content(certificate, error))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| content(certificate, error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| content(key, error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| TlsError::Unusable(error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Makes, once, an authority and a certificate for these names in the directory: `ca.pem`, `certificate.pem`,
/// `key.pem`. The authority's own key is not kept, so that nobody can sign with it later.
pub fn self_made(directory: &Path, names: &[String]) -> Result<TlsAcceptor, TlsError> {
    private_directory(directory).map_err(|error| TlsError::Unusable(error.to_string()))?;
    let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
    if !certificate.exists() || !key.exists() {
        make(directory, names)?;
    }
    acceptor(&certificate, &key)
}

fn make(directory: &Path, names: &[String]) -> Result<(), TlsError> {
    let unusable = |error: rcgen::Error| TlsError::Unusable(error.to_string());
    let mut authority = CertificateParams::new(Vec::new()).map_err(unusable)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority.distinguished_name.push(rcgen::DnType::CommonName, "trial authority of tfe-server");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().map_err(unusable)?).map_err(unusable)?;
    let key = KeyPair::generate().map_err(unusable)?;
    let certificate = CertificateParams::new(names.to_vec()).map_err(unusable)?.signed_by(&key, &authority).map_err(unusable)?;
    write(directory, "ca.pem", &authority.pem())?;
    write(directory, "key.pem", &key.serialize_pem())?;
    // Last, since its presence says that all three are there.
    write(directory, "certificate.pem", &certificate.pem())
}

fn write(directory: &Path, name: &str, content: &str) -> Result<(), TlsError> {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    let failed = |source| TlsError::File { path: path.display().to_string(), source };
    fs::write(&path, content).map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)
}
