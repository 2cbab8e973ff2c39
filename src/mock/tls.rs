//! TLS for a mock: a certificate authority that issues a certificate for every requested server name (SNI). The
//! authority exists in memory only; clients trust its PEM.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SigningKey},
};

/// Maximum number of cached certificates. When it is reached, the cache is cleared.
const LEAVES_MAX: usize = 1024;

/// A certificate authority that issues a leaf certificate for every requested name.
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// Shared by all leaves, since key generation is slow.
    leaf_pair: KeyPair,
    leaf_key: Arc<dyn SigningKey>,
    default: Vec<String>,
    leaves: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

impl Authority {
    /// Creates an authority. Clients without SNI get a leaf for `localhost`, the loopback addresses and `names`.
    pub fn new(names: &[String]) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity_and_name(&mut params, "mock authority");
        let pair = KeyPair::generate()?;
        let certificate = params.self_signed(&pair)?;
        let leaf_pair = KeyPair::generate()?;
        let private = PrivateKeyDer::Pkcs8(leaf_pair.serialize_der().into());
        let leaf_key =
            ring::sign::any_supported_type(&private).map_err(|_| rcgen::Error::KeyGenerationUnavailable)?;
        let default = ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned);
        Ok(Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, pair),
            leaf_pair,
            leaf_key,
            default: default.chain(names.iter().cloned()).collect(),
            leaves: Mutex::default(),
        })
    }

    /// The authority's certificate, for a client to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn leaf(&self, server_name: Option<&str>) -> Result<Arc<CertifiedKey>, rcgen::Error> {
        let name = server_name.unwrap_or_default().to_ascii_lowercase();
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.get(&name) {
            return Ok(Arc::clone(leaf));
        }
        let leaf = Arc::new(self.issue(&name)?);
        if leaves.len() >= LEAVES_MAX {
            leaves.clear();
        }
        leaves.insert(name, Arc::clone(&leaf));
        Ok(leaf)
    }

    fn issue(&self, name: &str) -> Result<CertifiedKey, rcgen::Error> {
        let names = if name.is_empty() { self.default.clone() } else { vec![name.to_owned()] };
        let mut params = CertificateParams::new(names)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity_and_name(&mut params, "mock");
        let leaf = params.signed_by(&self.leaf_pair, &self.issuer)?;
        let chain = vec![leaf.der().clone(), self.certificate.clone()];
        Ok(CertifiedKey::new(chain, Arc::clone(&self.leaf_key)))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("default", &self.default).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.leaf(hello.server_name()).ok()
    }
}

/// Returns a server configuration for HTTP/1.1 with certificates of `authority`. The default leaf is created here, so
/// that an invalid name fails at the start.
pub(super) fn server_config(authority: Arc<Authority>) -> Result<Arc<ServerConfig>, rcgen::Error> {
    authority.leaf(None)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports every protocol version that rustls knows")
        .with_no_client_auth()
        .with_cert_resolver(authority);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Sets a fixed validity, since this module reads no clock, and the common name.
fn set_validity_and_name(params: &mut CertificateParams, common_name: &str) {
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_cached_by_lowercase_name() {
        let authority = Authority::new(&["gateway.test".to_owned()]).unwrap();
        let check = |name: Option<&str>, kept: usize| {
            let leaf = authority.leaf(name).unwrap();
            assert!(Arc::ptr_eq(&leaf, &authority.leaf(name).unwrap()));
            assert_eq!(authority.leaves.lock().unwrap().len(), kept, "{name:?}");
        };
        check(None, 1);
        check(Some("a.example"), 2);
        check(Some("A.Example"), 2);
    }

    #[test]
    fn the_leaf_cache_is_bounded() {
        let authority = Authority::new(&[]).unwrap();
        for number in 0..=LEAVES_MAX {
            authority.leaf(Some(&format!("h{number}.example"))).unwrap();
        }
        assert_eq!(authority.leaves.lock().unwrap().len(), 1);
    }
}
