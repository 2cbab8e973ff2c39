//! Signatures of JSON Web Tokens with stored keys (RFC 7518, section 3). A key is in PEM, or is the base64 inside it: fields
//! that are no documents hold no line breaks.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{
    digest, hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use rustls::{
    pki_types::{AlgorithmIdentifier, alg_id},
    sign::public_key_to_spki,
};
use zeroize::Zeroizing;

use crate::token::{BadKey, Signer, syntax::Algorithm};

/// Signs with ring.
#[derive(Debug, Clone, Copy)]
pub struct RingSigner;

impl Signer for RingSigner {
    fn sign(&self, alg: Algorithm, key: &str, text: &[u8]) -> Result<Vec<u8>, BadKey> {
        let failed = |_| BadKey("does not sign");
        match alg {
            Algorithm::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
                Ok(hmac::sign(&key, text).as_ref().to_vec())
            }
            Algorithm::Rs256 => {
                let key = rsa(&der(key)?)?;
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Algorithm::Es256 => {
                let signature = ecdsa(&der(key)?)?.sign(&SystemRandom::new(), text).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Algorithm::EdDsa => Ok(ed25519(&der(key)?)?.sign(text).as_ref().to_vec()),
        }
    }

    fn fingerprint(&self, alg: Algorithm, key: &str) -> Result<[u8; 32], BadKey> {
        let spki = |alg: AlgorithmIdentifier, public: &[u8]| public_key_to_spki(&alg, public);
        let spki = match alg {
            Algorithm::Hs256 => return Err(BadKey("is a shared secret, which has no public half")),
            Algorithm::Rs256 => spki(alg_id::RSA_ENCRYPTION, rsa(&der(key)?)?.public().as_ref()),
            Algorithm::Es256 => spki(alg_id::ECDSA_P256, ecdsa(&der(key)?)?.public_key().as_ref()),
            Algorithm::EdDsa => spki(alg_id::ED25519, ed25519(&der(key)?)?.public_key().as_ref()),
        };
        let digest = digest::digest(&digest::SHA256, &spki);
        Ok(digest.as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }
}

/// The bytes of a key.
fn der(key: &str) -> Result<Zeroizing<Vec<u8>>, BadKey> {
    let (_, body) = key
        .split_once("-----BEGIN ")
        .map_or(("", key), |(front, rest)| (front, rest.split_once("-----").map_or("", |(_, body)| body)));
    let body = body.split_once("-----END ").map_or(body, |(body, _)| body);
    // The buffer must not grow, or else a copy of the key stays behind.
    let mut text = Zeroizing::new(String::with_capacity(body.len()));
    text.extend(body.chars().filter(|character| !character.is_whitespace()));
    match BASE64_STANDARD.decode(text.as_bytes()) {
        Ok(der) if !der.is_empty() => Ok(Zeroizing::new(der)),
        Ok(_) | Err(_) => Err(BadKey("is no private key in PEM")),
    }
}

fn rsa(der: &[u8]) -> Result<RsaKeyPair, BadKey> {
    RsaKeyPair::from_pkcs8(der)
        .or_else(|_| RsaKeyPair::from_der(der))
        .map_err(|_| BadKey("is no RSA key of 2048 bits or more, in PKCS#8 or PKCS#1"))
}

fn ecdsa(der: &[u8]) -> Result<EcdsaKeyPair, BadKey> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new())
        .map_err(|_| BadKey("is no key of the curve P-256 in PKCS#8"))
}

fn ed25519(der: &[u8]) -> Result<Ed25519KeyPair, BadKey> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| BadKey("is no Ed25519 key in PKCS#8"))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};

    use super::*;

    fn pem(der: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    #[test]
    fn signatures_are_verified_by_the_public_half() {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let public = ed25519(ed.as_ref()).unwrap();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ec_public = ecdsa(ec.as_ref()).unwrap();
        // As PEM, and as the base64 alone.
        for key in [pem(ed.as_ref()), BASE64_STANDARD.encode(ed.as_ref())] {
            let signature = RingSigner.sign(Algorithm::EdDsa, &key, b"text").unwrap();
            let public = UnparsedPublicKey::new(&ED25519, public.public_key());
            assert!(
                public.verify(b"text", &signature).is_ok() && public.verify(b"other", &signature).is_err()
            );
        }
        let signature = RingSigner.sign(Algorithm::Es256, &pem(ec.as_ref()), b"text").unwrap();
        assert_eq!(signature.len(), 64, "both numbers have their full length (RFC 7518, section 3.4)");
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ec_public.public_key());
        assert!(public.verify(b"text", &signature).is_ok());
        // The key alone decides about the fingerprint.
        let fingerprint = RingSigner.fingerprint(Algorithm::EdDsa, &pem(ed.as_ref())).unwrap();
        let spki =
            [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0], public_of(&ed).as_slice()].concat();
        assert_eq!(digest::digest(&digest::SHA256, &spki).as_ref(), fingerprint);
    }

    fn public_of(pkcs8: &impl AsRef<[u8]>) -> Vec<u8> {
        ed25519(pkcs8.as_ref()).unwrap().public_key().as_ref().to_vec()
    }

    #[test]
    fn a_shared_secret_signs_as_it_is() {
        // RFC 4231, test case 2.
        let signature = RingSigner.sign(Algorithm::Hs256, "Jefe", b"what do ya want for nothing?").unwrap();
        assert_eq!(
            crate::hex::encode(&signature),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn bad_keys_are_named_by_their_problem() {
        let check = |alg, key: &str, expected: &str| {
            assert_eq!(RingSigner.sign(alg, key, b"text"), Err(BadKey(expected_of(expected))), "{key}");
        };
        check(Algorithm::Rs256, "sk-abc", "is no private key in PEM");
        check(Algorithm::Rs256, "", "is no private key in PEM");
        check(Algorithm::Rs256, "AAAA", "is no RSA key of 2048 bits or more, in PKCS#8 or PKCS#1");
        check(Algorithm::Es256, "AAAA", "is no key of the curve P-256 in PKCS#8");
        check(Algorithm::EdDsa, "AAAA", "is no Ed25519 key in PKCS#8");
    }

    fn expected_of(text: &str) -> &'static str {
        text.to_owned().leak()
    }
}
