//! The signature of a canonical request: its scope, the string to sign, the signing key, and the `Authorization` header.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. The key that is derived
//! signs for one day, region and service; it is zeroed after use.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::canonical::CanonicalRequest;
use crate::base::{day::Day, hex};

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The time, region and service that a signature is valid for.
#[derive(Debug)]
pub(super) struct Scope<'s> {
    /// In the form `20150830T123600Z`.
    pub(super) time: String,
    /// The region.
    pub(super) region: &'s str,
    /// The service's name in signatures.
    pub(super) service: &'s str,
}

impl<'s> Scope<'s> {
    /// The scope at a time in milliseconds since 1970.
    pub(super) fn new(now_ms: u64, region: &'s str, service: &'s str) -> Self {
        let seconds = now_ms / 1000;
        let day = Day::of_seconds(seconds).to_string().replace('-', "");
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        Self { time: format!("{day}T{hour:02}{minute:02}{second:02}Z"), region, service }
    }

    /// The scope as signatures name it.
    pub(super) fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.day(), self.region, self.service)
    }

    fn day(&self) -> &str {
        self.time.split_once('T').map_or("", |(day, _)| day)
    }

    /// The string to sign.
    pub(super) fn string_to_sign(&self, request: &CanonicalRequest) -> String {
        let hash = hex::encode(&Sha256::digest(&request.text));
        format!("{ALGORITHM}\n{}\n{}\n{hash}", self.time, self.text())
    }

    /// The signature in hex.
    pub(super) fn signature(&self, key: &str, string_to_sign: &str) -> String {
        let mut first = Zeroizing::new(Vec::with_capacity(key.len() + 4));
        first.extend_from_slice(b"AWS4");
        first.extend_from_slice(key.as_bytes());
        let parts = [self.day(), self.region, self.service, "aws4_request"];
        let signing =
            parts.iter().fold(first, |key, part| Zeroizing::new(hmac(&key, part.as_bytes()).to_vec()));
        hex::encode(&*hmac(&signing, string_to_sign.as_bytes()))
    }

    /// The value of `Authorization`.
    pub(super) fn authorization(&self, key_id: &str, signed_headers: &str, signature: &str) -> String {
        let scope = self.text();
        format!(
            "{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={signed_headers}, Signature={signature}"
        )
    }
}

fn hmac(key: &[u8], text: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    Zeroizing::new(mac.finalize().into_bytes().into())
}
