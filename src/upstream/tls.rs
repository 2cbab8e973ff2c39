//! TLS configuration: versions 1.2 and 1.3 with ring, ALPN `http/1.1`, the system's certificate authorities (Mozilla's
//! if the system has none) and those of the operator.
//!
//! Certificates are always verified; no setting turns that off.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Why the operator's certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The file cannot be read.
    #[error("cannot read the CA file `{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file is not PEM, or holds no certificate.
    #[error("the CA file `{}` holds no certificate: {what}; it must be PEM, with `-----BEGIN CERTIFICATE-----`", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// The reason, a fragment.
        what: String,
    },
    /// A certificate that cannot serve as a trust anchor.
    #[error("CA certificate {number} is not usable: {error}")]
    Unusable {
        /// Its number in the file, from 1.
        number: usize,
        /// The error of the TLS library.
        error: rustls::Error,
    },
}

/// Reads the certificates of a PEM file: at least one, and each usable.
pub fn load_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let pem = std::fs::read(path).map_err(|error| CaError::Read { path: path.into(), error })?;
    let not_pem = |what: String| CaError::NotPem { path: path.into(), what };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| not_pem(error.to_string()))?;
    if certificates.is_empty() {
        return Err(not_pem("no such section in it".into()));
    }
    add(&mut RootCertStore::empty(), &certificates)?;
    Ok(certificates)
}

/// The TLS configuration of all upstream connections.
pub(super) fn client_config(extra_ca: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, CaError> {
    let mut roots = system_roots();
    add(&mut roots, extra_ca)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("ring has cipher suites for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The readable certificate authorities of the system. If there are none, as in a bare container, Mozilla's. Never both:
/// an authority that was removed from the system stays removed.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if usable == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn add(roots: &mut RootCertStore, certificates: &[CertificateDer<'static>]) -> Result<(), CaError> {
    for (index, certificate) in certificates.iter().enumerate() {
        let unusable = |error| CaError::Unusable { number: index + 1, error };
        roots.add(certificate.clone()).map_err(unusable)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let check = |content: &str, expected: Result<usize, &str>| {
            std::fs::write(&path, content).unwrap();
            match (load_ca_file(&path), expected) {
                (Ok(found), expected) => assert_eq!(Ok(found.len()), expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (Err(error), Ok(_)) => panic!("{error}"),
            }
        };
        let good = rcgen::generate_simple_self_signed(["demo.example.test".to_owned()]).unwrap().cert.pem();
        check(&good, Ok(1));
        check(&format!("a comment\n{good}{good}"), Ok(2));
        check("", Err("holds no certificate"));
        check("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", Err("it must be PEM"));
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            Err("certificate 1 is not usable"),
        );
        let missing = load_ca_file(&folder.path().join("missing")).unwrap_err().to_string();
        assert!(missing.contains("cannot read the CA file"), "{missing}");
    }
}
