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
    client::ResolvesClientCert,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};
use rustls_native_certs::{CertificateResult, ErrorKind};

use crate::{numbers::counted, suggest::backticked, written::not_utf8};

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
    /// The certificates that the environment names in place of the system's.
    #[error("the certificates of {variables} cannot be used: {what}; correct or unset it")]
    Environment {
        /// The variables, for messages.
        variables: String,
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

/// Reads the certificates of a PEM file: at least one, and each usable. None is left out silently.
pub fn load_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let pem = std::fs::read(path).map_err(|error| CaError::Read { path: path.into(), error })?;
    let certificates = certificates(&pem).map_err(|what| CaError::NotPem { path: path.into(), what })?;
    add(&mut RootCertStore::empty(), &certificates)?;
    Ok(certificates)
}

/// The certificates of a PEM text: at least one. The error is a fragment.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem);
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| pem_problem(&error).to_owned())?;
    let begun = count(pem, b"-----BEGIN CERTIFICATE-----");
    if certificates.is_empty() || certificates.len() != begun {
        return Err(reason(pem, begun));
    }
    Ok(certificates)
}

/// A parse error in words. The library's own text repeats the bytes of the file.
fn pem_problem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "the line that begins a section has more on it",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "a section cannot be read",
    }
}

/// The reason why a file has not all the certificates that it seems to have.
fn reason(pem: &[u8], begun: usize) -> String {
    let has = |part: &[u8]| count(pem, part) > 0;
    match pem {
        [] => "it is empty".into(),
        [0x30, 0x80..=0x84, ..] => {
            "it is DER: `openssl x509 -inform der -in FILE -out FILE.pem` converts it".into()
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => not_utf8(pem).into(),
        _ if begun > 0 => format!(
            "of {} in it, some do not begin and end on lines of their own",
            counted(begun, "certificate")
        ),
        _ if has(b"PRIVATE KEY-----") => "it holds a private key".into(),
        _ if has(b"-----BEGIN ") => "its sections are of another kind".into(),
        _ => "no such section in it".into(),
    }
}

/// Number of places of `part`, which do not overlap.
pub(super) fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}

/// The authorities that all upstream connections trust, but for those with a TLS identity of their own.
pub(super) fn roots(extra_ca: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, CaError> {
    let mut roots = system_roots()?;
    add(&mut roots, extra_ca)?;
    Ok(Arc::new(roots))
}

/// A TLS configuration with these authorities and this client certificate.
pub(super) fn client_config(
    roots: Arc<RootCertStore>,
    client: Option<Arc<dyn ResolvesClientCert>>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("ring has cipher suites for both versions")
        .with_root_certificates(roots);
    let mut config = match client {
        Some(client) => builder.with_client_cert_resolver(client),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The readable certificate authorities of the system. If there are none, as in a bare container, Mozilla's. Never both:
/// an authority that was removed from the system stays removed. Those that `SSL_CERT_FILE` or `SSL_CERT_DIR` name have no
/// substitute: their operator trusts no others.
fn system_roots() -> Result<RootCertStore, CaError> {
    let mut roots = RootCertStore::empty();
    let CertificateResult { certs, errors, .. } = rustls_native_certs::load_native_certs();
    let (usable, _) = roots.add_parsable_certificates(certs);
    let named = named_by_environment();
    if named.is_empty() {
        if usable == 0 {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        return Ok(roots);
    }
    // A directory may hold other files, too, and a list of directories names those of several distributions.
    let file = std::env::var_os("SSL_CERT_FILE").filter(|_| named.contains(&"SSL_CERT_FILE"));
    let is_of_file = |error: &&rustls_native_certs::Error| match (&error.kind, &file) {
        (ErrorKind::Io { path, .. }, Some(file)) => path == Path::new(file),
        (_, Some(_)) => named.len() == 1,
        (_, None) => false,
    };
    let problem = match errors.iter().find(|error| usable == 0 || is_of_file(error)) {
        Some(error) => error.to_string(),
        None if usable == 0 => "there is no certificate".to_owned(),
        None => return Ok(roots),
    };
    Err(CaError::Environment { variables: backticked(&named), what: problem })
}

/// The variables that name certificates in place of the system's.
fn named_by_environment() -> Vec<&'static str> {
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter(is_set).collect()
}

/// Adds authorities. Each has to be usable.
pub(super) fn add(
    roots: &mut RootCertStore,
    certificates: &[CertificateDer<'static>],
) -> Result<(), CaError> {
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
        check(&good.replace('\n', "\r\n"), Ok(1));
        check(&format!("\u{feff}{good}{good}"), Ok(2));
        check(&format!("{good}  {good}"), Err("of 2 certificates in it, some do not begin"));
        check(&format!("\"{good}\""), Err("of 1 certificate in it, some do not begin"));
        check(&good.replace('\n', "\\n"), Err("the line that begins a section has more on it"));
        check(&good.replace("CERTIFICATE", "CERTIFICATE REQUEST"), Err("its sections are of another kind"));
        check(&good.replace("CERTIFICATE", "ENCRYPTED PRIVATE KEY"), Err("it holds a private key"));
        check(&good.replace("CERTIFICATE", "PKCS7"), Err("its sections are of another kind"));
        check("", Err("holds no certificate: it is empty"));
        check("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", Err("it must be PEM"));
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            Err("certificate 1 is not usable"),
        );
        std::fs::write(&path, b"\x30\x82\x01\x00").unwrap();
        let der = load_ca_file(&path).unwrap_err().to_string();
        assert!(der.contains("it is DER: `openssl x509"), "{der}");
        let directory = load_ca_file(folder.path()).unwrap_err().to_string();
        assert!(directory.contains("Is a directory"), "{directory}");
        let missing = load_ca_file(&folder.path().join("missing")).unwrap_err().to_string();
        assert!(missing.contains("cannot read the CA file"), "{missing}");
    }
}
