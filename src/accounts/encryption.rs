//! Encryption of credentials: XChaCha20-Poly1305 under the master key. A row's identity and origins are the associated
//! data. So a blob decrypts only in its own row and with its own origins. With write access to the store alone, nobody can
//! use a credential for another user, or send it elsewhere.
//!
//! A sealed blob is `version (1) | key id (8) | nonce (24) | ciphertext and tag`. Version 1 has no origins, and version 3 is
//! an answer of a token endpoint, whose associated data is its own row. During a
//! master-key rotation, blobs of both keys decrypt. This module reads no file and no environment: `key` does.

use std::sync::Arc;

use arc_swap::ArcSwap;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{locked::Locked, random::random};
use crate::{hex, name::Owner, secret::Secret};

/// Blobs without origins.
const UNBOUND: u8 = 1;
/// Blobs with origins.
const BOUND: u8 = 2;
/// Answers of token endpoints.
const ANSWER: u8 = 3;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const KEY_ID_CONTEXT: &[u8] = b"tollgate master key id";

/// The master key; during a rotation, the current and the previous one. All clones share it and see a rotation at once.
#[derive(Clone)]
pub struct MasterKey(Arc<ArcSwap<Keys>>);

struct Keys {
    current: Key,
    /// The previous key, for decryption only.
    previous: Option<Key>,
}

#[derive(Clone)]
struct Key {
    bytes: Locked,
    id: [u8; KEY_ID_BYTES],
}

/// The associated data of a blob: the row that it belongs to, and its origins.
#[derive(Debug, Clone, Copy)]
pub(super) struct AssociatedData<'a> {
    /// The owner.
    pub(super) owner: &'a Owner,
    /// The section of the credentials document.
    pub(super) section: &'a str,
    /// The field in the section.
    pub(super) field: &'a str,
    /// The origins that it is bound to; none for a blob of version 1.
    pub(super) origins: Option<&'a [String]>,
}

/// The associated data of a kept answer of a token endpoint: the row that it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerData<'a> {
    /// The owner of the login.
    pub(super) owner: &'a Owner,
    /// The section of the login.
    pub(super) section: &'a str,
    /// The field of the login.
    pub(super) field: &'a str,
    /// When it was received.
    pub(super) received_at_ms: u64,
}

/// The row of a blob.
pub(super) trait SealedRow: Copy {
    /// The version of its blobs.
    fn version(self) -> u8;
    /// The bytes to authenticate.
    fn encode(self) -> Vec<u8>;
}

impl SealedRow for AssociatedData<'_> {
    fn version(self) -> u8 {
        if self.origins.is_some() { BOUND } else { UNBOUND }
    }

    fn encode(self) -> Vec<u8> {
        let origins = self.origins.unwrap_or_default().iter().map(String::as_str);
        encoded([&*self.owner.to_string(), self.section, self.field].into_iter().chain(origins))
    }
}

impl SealedRow for AnswerData<'_> {
    fn version(self) -> u8 {
        ANSWER
    }

    fn encode(self) -> Vec<u8> {
        let (owner, at) = (self.owner.to_string(), self.received_at_ms.to_string());
        encoded(["token endpoint answer", &owner, self.section, self.field, &at].into_iter())
    }
}

/// Each part follows its length, so that no two rows have the same bytes.
fn encoded<'a>(parts: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}

/// Why a blob cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecryptError {
    /// Too short, or of an unknown version.
    #[error("it is damaged, or was encrypted by a newer tollgate")]
    Unknown,
    /// It was encrypted with another key.
    #[error(
        "it was encrypted with another master key: start tollgate with that key, or store the credential again"
    )]
    OtherKey,
    /// It was altered, or moved here from another row.
    #[error("it was changed, or moved from another row: store the credential again")]
    Altered,
}

impl MasterKey {
    /// A new random key.
    pub fn generate() -> Self {
        Self::from_bytes(&Zeroizing::new(random()))
    }

    /// The key from 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(|bytes| Self::from_bytes(&Zeroizing::new(bytes)))
    }

    fn from_bytes(bytes: &Zeroizing<[u8; 32]>) -> Self {
        let digest = Sha256::new().chain_update(KEY_ID_CONTEXT).chain_update(bytes.as_slice()).finalize();
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        Self::of(Key { bytes: Locked::new(bytes), id }, None)
    }

    fn of(current: Key, previous: Option<Key>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Keys { current, previous })))
    }

    /// Starts a rotation: `next` encrypts from now on; both decrypt.
    pub(super) fn replace_with(&self, next: &Self) {
        let (previous, current) = (self.0.load().current.clone(), next.0.load().current.clone());
        if previous.id != current.id {
            self.0.store(Arc::new(Keys { current, previous: Some(previous) }));
        }
    }

    /// Ends a rotation: the previous key is dropped.
    pub(super) fn drop_previous(&self) {
        let current = self.0.load().current.clone();
        self.0.store(Arc::new(Keys { current, previous: None }));
    }

    /// A copy that does not see later rotations. Needed where the key's id is stored together with what it encrypts.
    pub(super) fn snapshot(&self) -> Self {
        let now = self.0.load();
        Self::of(now.current.clone(), now.previous.clone())
    }

    /// The current key as hex, as in its file.
    pub(super) fn to_hex(&self) -> Secret {
        Secret::new(hex::encode(self.0.load().current.bytes.expose()))
    }

    /// The id of the current key. It reveals nothing about the key.
    pub fn id(&self) -> String {
        hex::encode(&self.0.load().current.id)
    }

    /// The error that kept the key from being locked in memory; none if it is never written to swap.
    pub fn lock_error(&self) -> Option<String> {
        self.0.load().current.bytes.lock_error().map(str::to_owned)
    }

    /// True if the current key encrypted this blob.
    pub(super) fn encrypted(&self, blob: &[u8]) -> bool {
        blob.get(1..=KEY_ID_BYTES) == Some(&self.0.load().current.id)
    }

    /// Encrypts a plaintext for its row.
    pub(super) fn encrypt(&self, data: impl SealedRow, plaintext: &[u8]) -> Vec<u8> {
        self.0.load().current.encrypt(data, plaintext)
    }

    /// Decrypts the blob of this row.
    pub(super) fn decrypt(
        &self,
        data: impl SealedRow,
        blob: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let keys = self.0.load();
        match (keys.current.decrypt(data, blob), &keys.previous) {
            (Err(DecryptError::OtherKey), Some(previous)) => previous.decrypt(data, blob),
            (decrypted, _) => decrypted,
        }
    }
}

impl Key {
    fn encrypt(&self, data: impl SealedRow, plaintext: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_BYTES>();
        let payload = Payload { msg: plaintext, aad: &data.encode() };
        let ciphertext = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        let ciphertext = ciphertext.expect("a credential is shorter than the cipher's limit of 256 GiB");
        [&[data.version()], self.id.as_slice(), &nonce, &ciphertext].concat()
    }

    fn decrypt(&self, data: impl SealedRow, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let (&version, rest) = blob.split_first().ok_or(DecryptError::Unknown)?;
        if ![UNBOUND, BOUND, ANSWER].contains(&version) {
            return Err(DecryptError::Unknown);
        }
        if version != data.version() {
            return Err(DecryptError::Altered);
        }
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or(DecryptError::Unknown)?;
        if *id != self.id {
            return Err(DecryptError::OtherKey);
        }
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(DecryptError::Unknown)?;
        let payload = Payload { msg: ciphertext, aad: &data.encode() };
        let plaintext = self.cipher().decrypt(XNonce::from_slice(nonce), payload);
        plaintext.map(Zeroizing::new).map_err(|_| DecryptError::Altered)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.bytes.expose().into())
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "MasterKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn owner(number: u8) -> Owner {
        Owner::parse(&format!("usr_{number:016x}")).unwrap()
    }

    #[test]
    fn a_blob_decrypts_only_in_its_own_row_and_for_its_own_origins() {
        let (key, one, two) = (MasterKey::generate(), owner(1), owner(2));
        let [origins, others] = ["https://a.example", "https://b.example"].map(|one| vec![one.to_owned()]);
        let unbound =
            AssociatedData { owner: &one, section: "providers.demo", field: "apiKey", origins: None };
        for data in [unbound, AssociatedData { origins: Some(&origins), ..unbound }] {
            let blob = key.encrypt(data, b"canary");
            assert_eq!(key.decrypt(data, &blob).unwrap().as_slice(), b"canary");
            let check =
                |data| assert_eq!(key.decrypt(data, &blob).unwrap_err(), DecryptError::Altered, "{data:?}");
            check(AssociatedData { owner: &two, ..data });
            check(AssociatedData { section: "providers.demo2", ..data });
            check(AssociatedData { field: "apiKe", ..data });
            check(AssociatedData { section: "providers.demoa", field: "piKey", ..data });
            check(AssociatedData { origins: Some(&others), ..data });
            check(AssociatedData { origins: Some(&[]), ..data });
            if data.origins.is_some() {
                check(AssociatedData { origins: None, ..data });
            }
        }
    }

    #[test]
    fn a_blob_has_the_documented_layout_and_a_fresh_nonce() {
        let (key, owner) = (MasterKey::from_hex(HEX).unwrap(), owner(1));
        let data = AssociatedData { owner: &owner, section: "demo", field: "apiKey", origins: Some(&[]) };
        let (one, two) = (key.encrypt(data, b"canary"), key.encrypt(data, b"canary"));
        assert_eq!(one.len(), 1 + 8 + 24 + 6 + 16);
        assert_eq!(one[..9], two[..9]);
        assert_eq!((one[0], hex::encode(&one[1..9])), (2, key.id()));
        assert_ne!(one[9..33], two[9..33]);
        assert_eq!(key.encrypt(AssociatedData { origins: None, ..data }, b"canary")[0], 1);
    }

    #[test]
    fn invalid_and_altered_blobs_are_refused() {
        let (key, owner) = (MasterKey::from_hex(HEX).unwrap(), owner(1));
        let data = AssociatedData { owner: &owner, section: "demo", field: "apiKey", origins: Some(&[]) };
        let good = key.encrypt(data, b"canary");
        let check = |blob: &[u8], expected| assert_eq!(key.decrypt(data, blob).unwrap_err(), expected);
        check(b"", DecryptError::Unknown);
        check(&good[..20], DecryptError::Unknown);
        check(&good[..40], DecryptError::Altered);
        check(&[&[1], &good[1..]].concat(), DecryptError::Altered);
        check(&[&[3], &good[1..]].concat(), DecryptError::Altered);
        check(&[&[4], &good[1..]].concat(), DecryptError::Unknown);
        check(&MasterKey::generate().encrypt(data, b"canary"), DecryptError::OtherKey);
        for index in 9..good.len() {
            let mut changed = good.clone();
            changed[index] ^= 1;
            check(&changed, DecryptError::Altered);
        }
    }

    #[test]
    fn during_a_rotation_both_keys_decrypt_and_the_next_one_encrypts() {
        let (old, next, owner) = (MasterKey::generate(), MasterKey::generate(), owner(1));
        let data = AssociatedData { owner: &owner, section: "demo", field: "apiKey", origins: None };
        let (shared, earlier) = (old.clone(), old.snapshot());
        let one = old.encrypt(data, b"one");
        old.replace_with(&next);
        let two = shared.encrypt(data, b"two");
        assert_eq!((shared.id(), earlier.id() == shared.id()), (next.id(), false));
        assert!(shared.encrypted(&two) && !shared.encrypted(&one) && earlier.encrypted(&one));
        let decrypts = |key: &MasterKey| [&one, &two].map(|blob| key.decrypt(data, blob).is_ok());
        assert_eq!(
            (decrypts(&shared), decrypts(&earlier), decrypts(&next)),
            ([true; 2], [true, false], [false, true])
        );
        shared.replace_with(&next);
        assert_eq!(decrypts(&old), [true; 2], "starting the rotation twice keeps the previous key");
        old.drop_previous();
        assert_eq!(decrypts(&shared), [false, true]);
    }

    #[test]
    fn keys_are_64_hex_digits_and_are_not_printed() {
        let key = MasterKey::from_hex(HEX).unwrap();
        assert_eq!(key.to_hex().expose(), HEX);
        assert_eq!(key.id(), "d4f11d8d4090832b");
        assert_eq!(format!("{key:?}"), "MasterKey(d4f11d8d4090832b)");
        for bad in ["", &HEX[1..], &format!("{HEX}0"), &HEX.replace('0', "g")] {
            assert!(MasterKey::from_hex(bad).is_none(), "{bad}");
        }
    }
}
