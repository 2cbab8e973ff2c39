//! TLS of one provider's own: authorities and a client certificate, from PEM texts. `make_tls` checks them for the files.
//!
//! No error contains a part of a text. The texts of a private key are zeroized; what is kept of it is the TLS library's.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    ClientConfig, RootCertStore,
    client::ResolvesClientCert,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};
use zeroize::Zeroizing;

use super::{Shared, tls};
use crate::{
    bind::{TlsMade, TlsMaker, TlsPart, TlsProblem, TlsTexts},
    syntax::Roots,
};

/// A TLS identity. Connections of one are never used for another, also if both were made of the same texts.
pub struct Identity {
    id: IdentityId,
    authorities: Vec<CertificateDer<'static>>,
    roots: Roots,
    client: Option<Arc<dyn ResolvesClientCert>>,
    /// Made for the first connection.
    config: OnceLock<Arc<ClientConfig>>,
}

/// The number of an identity, which no other of the process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct IdentityId(u64);

/// The maker of identities for provider files.
pub fn make_tls() -> TlsMaker {
    TlsMaker(|texts| Ok(Arc::new(Identity::new(texts)?) as TlsMade))
}

impl Identity {
    /// Checks the texts: every certificate and the key are usable, and the key is that of the certificate.
    pub fn new(texts: &TlsTexts<'_>) -> Result<Self, TlsProblem> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let TlsTexts { ca, roots, client } = *texts;
        let client = client.map(|(certificate, key)| certified_key(certificate, key)).transpose()?;
        let client = client.map(|key| Arc::new(SingleCertAndKey::from(key)) as Arc<dyn ResolvesClientCert>);
        Ok(Self {
            id: IdentityId(NEXT.fetch_add(1, Ordering::Relaxed)),
            authorities: ca.map(authorities).transpose()?.unwrap_or_default(),
            roots,
            client,
            config: OnceLock::new(),
        })
    }

    pub(super) fn id(&self) -> IdentityId {
        self.id
    }

    /// The configuration of its connections. Only the first call is slow.
    pub(super) fn config(&self, shared: &Shared) -> &Arc<ClientConfig> {
        self.config.get_or_init(|| {
            let mut roots = match self.roots {
                Roots::System => (*shared.roots).clone(),
                Roots::Only => RootCertStore::empty(),
            };
            tls::add(&mut roots, &self.authorities).expect("each was added to a store before");
            tls::client_config(Arc::new(roots), self.client.clone())
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (authorities, has_certificate) = (self.authorities.len(), self.client.is_some());
        let mut shown = formatter.debug_struct("Identity");
        shown
            .field("id", &self.id)
            .field("authorities", &authorities)
            .field("has_certificate", &has_certificate);
        shown.finish_non_exhaustive()
    }
}

fn problem(part: TlsPart, what: impl Into<String>, help: &'static str) -> TlsProblem {
    TlsProblem { part, what: what.into(), help }
}

fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let certificates =
        tls::certificates(pem.as_bytes()).map_err(|what| no_certificate(TlsPart::Ca, &what))?;
    tls::add(&mut RootCertStore::empty(), &certificates).map_err(|error| {
        let what = format!("holds an authority that cannot be trusted: {error}");
        problem(TlsPart::Ca, what, "put the certificates of authorities there, in PEM, and no others")
    })?;
    Ok(certificates)
}

fn no_certificate(part: TlsPart, what: &str) -> TlsProblem {
    let help = "it must be PEM, with `-----BEGIN CERTIFICATE-----` on a line of its own";
    problem(part, format!("holds no certificate: {what}"), help)
}

/// The certificate with its chain, and its key, from PEM texts. One text may hold both.
pub fn certified_key(certificate: &str, key: &str) -> Result<CertifiedKey, TlsProblem> {
    let chain = certificates_beside_keys(certificate)?;
    let key = private_key(key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(problem(
            TlsPart::Key,
            "holds another key than that of the certificate",
            "the certificate of the key itself comes first, and its chain follows; if both were just replaced, replace both files",
        )),
        Err(error) => Err(problem(
            TlsPart::Certificate,
            format!("holds a certificate that cannot be used: {error}"),
            "the certificate of the key itself comes first, and its chain follows",
        )),
    }
}

/// The certificates of a text that may hold their private key, too. That part of the text is not parsed here.
fn certificates_beside_keys(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let mut kept = Zeroizing::new(String::with_capacity(pem.len()));
    let mut in_key = false;
    for line in pem.split_inclusive('\n') {
        in_key |= label(line, "BEGIN").is_some_and(|label| label.ends_with("PRIVATE KEY"));
        if !in_key {
            kept.push_str(line);
        }
        in_key &= label(line, "END").is_none();
    }
    if kept.trim().is_empty() && !pem.trim().is_empty() {
        return Err(no_certificate(TlsPart::Certificate, "it holds a private key alone"));
    }
    tls::certificates(kept.as_bytes()).map_err(|what| no_certificate(TlsPart::Certificate, &what))
}

/// The name of a section, from the line that begins or ends it.
fn label<'l>(line: &'l str, edge: &str) -> Option<&'l str> {
    line.trim().strip_prefix("-----")?.strip_prefix(edge)?.strip_prefix(' ')?.strip_suffix("-----")
}

/// The only private key of a text.
fn private_key(pem: &str) -> Result<Arc<dyn rustls::sign::SigningKey>, TlsProblem> {
    let bad = |what: &str, help| problem(TlsPart::Key, what, help);
    let written = "it must be PEM, with `-----BEGIN PRIVATE KEY-----` on a line of its own";
    let (mut found, mut open) = (None, None);
    for line in pem.lines() {
        if let Some(label) = label(line, "BEGIN").filter(|label| label.ends_with("PRIVATE KEY")) {
            if found.is_some() || open.is_some() {
                return Err(bad("holds more than one private key", "keep the key of the certificate alone"));
            }
            open = Some((label, Zeroizing::new(String::with_capacity(pem.len()))));
        } else if label(line, "END").is_some() {
            found = open.take().or(found);
        } else if let Some((_, text)) = &mut open {
            text.push_str(line.trim());
        }
    }
    let Some((kind, text)) = found else {
        let what = if open.is_some() { "holds a private key without an end" } else { "holds no private key" };
        return Err(bad(what, written));
    };
    if kind == "ENCRYPTED PRIVATE KEY" || text.contains("ENCRYPTED") {
        let help = "decrypt it: `openssl pkey -in FILE -out FILE.plain`; the rights of the file protect it";
        return Err(bad("holds an encrypted private key", help));
    }
    let mut der = Zeroizing::new(vec![0; text.len()]);
    let length = STANDARD.decode_slice(text.as_bytes(), &mut der);
    let length = length.map_err(|_| bad("holds a private key that is not base64", written))?;
    let der = &der[..length];
    let key = match kind {
        "PRIVATE KEY" => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
        "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
        "EC PRIVATE KEY" => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
        _ => {
            let help = "convert it: `openssl pkey -in FILE -out FILE.pem` writes PKCS#8";
            return Err(bad("holds a private key of another kind than PKCS#8, PKCS#1 and SEC1", help));
        }
    };
    any_supported_type(&key).map_err(|_| {
        let help = "RSA keys of 2048 to 8192 bits, ECDSA keys on P-256 and P-384, and Ed25519 keys are";
        bad("holds a private key that is not supported", help)
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["demo".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn authority() -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn check(ca: Option<&str>, client: Option<(&str, &str)>, expected: Result<(), (TlsPart, &str)>) {
        let made = Identity::new(&TlsTexts { ca, roots: Roots::Only, client });
        match (made, expected) {
            (Ok(identity), Ok(())) => assert!(!format!("{identity:?}").contains("BEGIN")),
            (Err(problem), Err((part, what))) => {
                assert_eq!(problem.part, part, "{problem:?}");
                assert!(problem.what.contains(what) && !problem.help.is_empty(), "{problem:?}");
            }
            (made, expected) => panic!("{made:?}, not {expected:?}"),
        }
    }

    #[test]
    fn authorities_are_usable_or_refused() {
        let ca = authority();
        check(Some(&ca), None, Ok(()));
        check(Some(&format!("# a comment\n{ca}\n{ca}")), None, Ok(()));
        check(Some(&ca.replace('\n', "\r\n")), None, Ok(()));
        for (text, expected) in [
            ("", "holds no certificate: it is empty"),
            ("nonsense", "holds no certificate: no such section"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be trusted"),
            (pair().1.as_str(), "holds no certificate: it holds a private key"),
        ] {
            check(Some(text), None, Err((TlsPart::Ca, expected)));
        }
    }

    #[test]
    fn a_certificate_and_its_key() {
        let (certificate, key) = pair();
        check(None, Some((&certificate, &key)), Ok(()));
        let both = format!("{key}{certificate}");
        check(None, Some((&both, &both)), Ok(()));
        check(None, Some((&format!("{certificate}{}", authority()), &key.replace('\n', "\r\n"))), Ok(()));
        let (_, other) = pair();
        check(None, Some((&certificate, &other)), Err((TlsPart::Key, "holds another key")));
        let swapped = format!("{}{certificate}", authority());
        check(None, Some((&swapped, &key)), Err((TlsPart::Key, "holds another key")));
        for (text, expected) in [
            ("", "holds no certificate: it is empty"),
            (key.as_str(), "holds no certificate: it holds a private key alone"),
        ] {
            check(None, Some((text, &key)), Err((TlsPart::Certificate, expected)));
        }
    }

    #[test]
    fn keys_that_cannot_be_used() {
        let (certificate, key) = pair();
        let check_key = |text: &str, expected: &str| {
            check(None, Some((&certificate, text)), Err((TlsPart::Key, expected)));
        };
        check_key("", "holds no private key");
        check_key(&certificate, "holds no private key");
        check_key(&format!("{key}{key}"), "more than one");
        check_key(&key.replace("-----END", "----END"), "without an end");
        check_key(&key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "encrypted");
        check_key(&key.replace("PRIVATE KEY", "DSA PRIVATE KEY"), "of another kind");
        check_key("-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----", "is not base64");
        check_key("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "is not supported");
        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        check_key(legacy, "encrypted");
    }
}
