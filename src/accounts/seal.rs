//! Encryption of credentials: XChaCha20-Poly1305 under the master key. A row's identity and origins are the associated
//! data: a blob decrypts only in its own row and with its own origins. Write access to the store is thus not enough to use
//! one user's key for another, or to send it elsewhere.
//!
//! A sealed blob is `version (1) | key id (8) | nonce (24) | ciphertext and tag`. Version 1 has no origins. During a
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

/// Without origins.
const UNBOUND: u8 = 1;
/// With origins.
const BOUND: u8 = 2;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const KEY_ID_CONTEXT: &[u8] = b"tollgate master key id";

/// The master key; both keys during a rotation. All clones share it and see a rotation at once.
#[derive(Clone)]
pub struct MasterKey(Arc<ArcSwap<Keys>>);

struct Keys {
    sealing: Key,
    /// The previous key, for decryption only.
    before: Option<Key>,
}

#[derive(Clone)]
struct Key {
    bytes: Locked,
    id: [u8; KEY_ID_BYTES],
}

/// The identity of the row that a blob belongs to.
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

impl AssociatedData<'_> {
    fn version(&self) -> u8 {
        if self.origins.is_some() { BOUND } else { UNBOUND }
    }
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
    /// Changed since, or moved here from another row.
    #[error("it was changed, or moved from another row: store the credential again")]
    Broken,
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

    fn of(sealing: Key, before: Option<Key>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Keys { sealing, before })))
    }

    /// Starts a rotation: `next` encrypts from now on; both decrypt.
    pub(super) fn replace_with(&self, next: &Self) {
        let (before, sealing) = (self.0.load().sealing.clone(), next.0.load().sealing.clone());
        if before.id != sealing.id {
            self.0.store(Arc::new(Keys { sealing, before: Some(before) }));
        }
    }

    /// Ends a rotation: the previous key is dropped.
    pub(super) fn drop_previous(&self) {
        let sealing = self.0.load().sealing.clone();
        self.0.store(Arc::new(Keys { sealing, before: None }));
    }

    /// A copy that does not see later rotations, for encrypting with the key whose id is stored beside.
    pub(super) fn snapshot(&self) -> Self {
        let now = self.0.load();
        Self::of(now.sealing.clone(), now.before.clone())
    }

    /// The current key as hex, as in its file.
    pub(super) fn to_hex(&self) -> Secret {
        Secret::new(hex::encode(self.0.load().sealing.bytes.expose()))
    }

    /// The id of the current key. It reveals nothing about the key.
    pub fn id(&self) -> String {
        hex::encode(&self.0.load().sealing.id)
    }

    /// The reason why the key may be written to swap; none if it never is.
    pub fn lock_error(&self) -> Option<String> {
        self.0.load().sealing.bytes.lock_error().map(str::to_owned)
    }

    /// True if the current key encrypted this blob.
    pub(super) fn sealed(&self, blob: &[u8]) -> bool {
        blob.get(1..=KEY_ID_BYTES) == Some(&self.0.load().sealing.id)
    }

    /// Encrypts a plaintext for its row.
    pub(super) fn seal(&self, place: AssociatedData<'_>, plaintext: &[u8]) -> Vec<u8> {
        self.0.load().sealing.seal(place, plaintext)
    }

    /// Decrypts the blob of this row.
    pub(super) fn open(
        &self,
        place: AssociatedData<'_>,
        blob: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let keys = self.0.load();
        match (keys.sealing.open(place, blob), &keys.before) {
            (Err(DecryptError::OtherKey), Some(before)) => before.open(place, blob),
            (opened, _) => opened,
        }
    }
}

impl Key {
    fn seal(&self, place: AssociatedData<'_>, plaintext: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_BYTES>();
        let payload = Payload { msg: plaintext, aad: &associated_data(place) };
        let ciphertext = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        let ciphertext = ciphertext.expect("a credential is shorter than the cipher's limit of 256 GiB");
        [&[place.version()], self.id.as_slice(), &nonce, &ciphertext].concat()
    }

    fn open(&self, place: AssociatedData<'_>, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let (&version, rest) = blob.split_first().ok_or(DecryptError::Unknown)?;
        if version != UNBOUND && version != BOUND {
            return Err(DecryptError::Unknown);
        }
        if version != place.version() {
            return Err(DecryptError::Broken);
        }
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>().ok_or(DecryptError::Unknown)?;
        if *id != self.id {
            return Err(DecryptError::OtherKey);
        }
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(DecryptError::Unknown)?;
        let payload = Payload { msg: ciphertext, aad: &associated_data(place) };
        let plaintext = self.cipher().decrypt(XNonce::from_slice(nonce), payload);
        plaintext.map(Zeroizing::new).map_err(|_| DecryptError::Broken)
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

/// The associated data of a row. Each part is preceded by its length, so that it is unique.
fn associated_data(place: AssociatedData<'_>) -> Vec<u8> {
    let owner = place.owner.to_string();
    let origins = place.origins.unwrap_or_default().iter().map(String::as_str);
    let mut data = Vec::new();
    for part in [owner.as_str(), place.section, place.field].into_iter().chain(origins) {
        data.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        data.extend(part.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn owner(number: u8) -> Owner {
        Owner::parse(&format!("usr_{number:016x}")).unwrap()
    }

    #[test]
    fn opens_only_where_it_was_sealed() {
        let (key, one, two) = (MasterKey::generate(), owner(1), owner(2));
        let [origins, others] = ["https://a.example", "https://b.example"].map(|one| vec![one.to_owned()]);
        let unbound =
            AssociatedData { owner: &one, section: "providers.demo", field: "apiKey", origins: None };
        for place in [unbound, AssociatedData { origins: Some(&origins), ..unbound }] {
            let blob = key.seal(place, b"canary");
            assert_eq!(key.open(place, &blob).unwrap().as_slice(), b"canary");
            let check =
                |place| assert_eq!(key.open(place, &blob).unwrap_err(), DecryptError::Broken, "{place:?}");
            check(AssociatedData { owner: &two, ..place });
            check(AssociatedData { section: "providers.demo2", ..place });
            check(AssociatedData { field: "apiKe", ..place });
            check(AssociatedData { section: "providers.demoa", field: "piKey", ..place });
            check(AssociatedData { origins: Some(&others), ..place });
            check(AssociatedData { origins: Some(&[]), ..place });
            if place.origins.is_some() {
                check(AssociatedData { origins: None, ..place });
            }
        }
    }

    #[test]
    fn a_blob_is_as_documented_and_never_the_same() {
        let (key, owner) = (MasterKey::from_hex(HEX).unwrap(), owner(1));
        let place = AssociatedData { owner: &owner, section: "demo", field: "apiKey", origins: Some(&[]) };
        let (one, two) = (key.seal(place, b"canary"), key.seal(place, b"canary"));
        assert_eq!(one.len(), 1 + 8 + 24 + 6 + 16);
        assert_eq!(one[..9], two[..9]);
        assert_eq!((one[0], hex::encode(&one[1..9])), (2, key.id()));
        assert_ne!(one[9..33], two[9..33]);
        assert_eq!(key.seal(AssociatedData { origins: None, ..place }, b"canary")[0], 1);
    }

    #[test]
    fn what_is_no_blob_of_ours_stays_closed() {
        let (key, owner) = (MasterKey::from_hex(HEX).unwrap(), owner(1));
        let place = AssociatedData { owner: &owner, section: "demo", field: "apiKey", origins: Some(&[]) };
        let good = key.seal(place, b"canary");
        let check = |blob: &[u8], expected| assert_eq!(key.open(place, blob).unwrap_err(), expected);
        check(b"", DecryptError::Unknown);
        check(&good[..20], DecryptError::Unknown);
        check(&good[..40], DecryptError::Broken);
        check(&[&[1], &good[1..]].concat(), DecryptError::Broken);
        check(&[&[3], &good[1..]].concat(), DecryptError::Unknown);
        check(&MasterKey::generate().seal(place, b"canary"), DecryptError::OtherKey);
        for index in 9..good.len() {
            let mut changed = good.clone();
            changed[index] ^= 1;
            check(&changed, DecryptError::Broken);
        }
    }

    #[test]
    fn while_one_gives_way_both_open_and_the_next_seals() {
        let (old, next, owner) = (MasterKey::generate(), MasterKey::generate(), owner(1));
        let place = AssociatedData { owner: &owner, section: "demo", field: "apiKey", origins: None };
        let (shared, before) = (old.clone(), old.snapshot());
        let one = old.seal(place, b"one");
        old.replace_with(&next);
        let two = shared.seal(place, b"two");
        assert_eq!((shared.id(), before.id() == shared.id()), (next.id(), false));
        assert!(shared.sealed(&two) && !shared.sealed(&one) && before.sealed(&one));
        let opens = |key: &MasterKey| [&one, &two].map(|blob| key.open(place, blob).is_ok());
        assert_eq!((opens(&shared), opens(&before), opens(&next)), ([true; 2], [true, false], [false, true]));
        shared.replace_with(&next);
        assert_eq!(opens(&old), [true; 2], "told twice, the one before is still known");
        old.drop_previous();
        assert_eq!(opens(&shared), [false, true]);
    }

    #[test]
    fn keys_are_64_hex_digits_and_not_shown() {
        let key = MasterKey::from_hex(HEX).unwrap();
        assert_eq!(key.to_hex().expose(), HEX);
        assert_eq!(key.id(), "d4f11d8d4090832b");
        assert_eq!(format!("{key:?}"), "MasterKey(d4f11d8d4090832b)");
        for bad in ["", &HEX[1..], &format!("{HEX}0"), &HEX.replace('0', "g")] {
            assert!(MasterKey::from_hex(bad).is_none(), "{bad}");
        }
    }
}
