//! Answers of token endpoints that were not understood. They are kept, encrypted, beside their login: the refresh token
//! that the request spent may have its only successor in there. An operator reads them with `tollgate credential recover`.
//!
//! They stay when a login is stored, since that may be an old copy of the same one; a refresh that succeeds deletes them.
//!
//! The plaintext is a line of JSON with everything but the body, and then the body as it was received.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    MasterKey,
    encryption::{AnswerData, DecryptError},
    oauth::ReceivedAnswer,
};
use crate::{
    hex,
    name::Owner,
    secret::Secret,
    store::{SealedAnswer, Store, StoreError},
};

/// Maximum number of answers for one refresh token. The first ones stay: the successor of the token is in one of them.
const MAX_PER_TOKEN: usize = 4;
/// Maximum number of answers for each login.
const MAX_ANSWERS: usize = 8;
/// Maximum size of the encrypted answers of a login. The largest answer fits.
const MAX_BYTES: usize = (1 << 20) + (64 << 10);

/// An answer that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadAnswer {
    /// When it was received, in milliseconds since 1970.
    pub received_at_ms: u64,
    /// The problem. It completes the sentence "The token endpoint's response".
    pub problem: String,
    /// The digest of the refresh token that was sent.
    pub spent: String,
    /// The answer.
    pub answer: ReceivedAnswer,
}

#[derive(Serialize, Deserialize)]
struct Head {
    problem: String,
    #[serde(default)]
    spent: String,
    status: u16,
    content_type: String,
    content_encoding: String,
}

impl UnreadAnswer {
    /// The encrypted row.
    pub(super) fn encrypted(
        &self,
        key: &MasterKey,
        owner: &Owner,
        section: &str,
        field: &str,
    ) -> SealedAnswer {
        let received_at_ms = self.received_at_ms;
        let data = AnswerData { owner, section, field, received_at_ms };
        SealedAnswer {
            owner: owner.clone(),
            section: section.to_owned(),
            field: field.to_owned(),
            received_at_ms,
            sealed: key.encrypt(data, &self.to_plaintext()),
        }
    }

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let ReceivedAnswer { status, content_type, content_encoding, body, .. } = &self.answer;
        let head = Head {
            problem: self.problem.clone(),
            spent: self.spent.clone(),
            status: *status,
            content_type: content_type.clone(),
            content_encoding: content_encoding.clone(),
        };
        let head = serde_json::to_vec(&head).expect("texts and numbers are valid JSON");
        Zeroizing::new([&head, &b"\n"[..], body].concat())
    }

    fn from_plaintext(plaintext: &[u8], received_at_ms: u64) -> Option<Self> {
        let end = plaintext.iter().position(|byte| *byte == b'\n')?;
        let Head { problem, spent, status, content_type, content_encoding } =
            serde_json::from_slice(&plaintext[..end]).ok()?;
        let body = Zeroizing::new(plaintext[end + 1..].to_vec());
        let answer = ReceivedAnswer { status, content_type, content_encoding, body, incomplete: None };
        Some(Self { received_at_ms, problem, spent, answer })
    }
}

/// The digest that identifies a refresh token.
pub(super) fn digest(refresh_token: &Secret) -> String {
    hex::encode(&Sha256::digest(refresh_token.expose()))
}

/// A kept answer, as far as its place is concerned.
struct Kept {
    received_at_ms: u64,
    bytes: usize,
    /// True if it answers the same refresh token as the new one.
    is_same: bool,
}

/// The times of the kept answers, oldest first, that have to be deleted for a new one. None if it has no place: those to
/// the same refresh token go first.
pub(super) fn evicted(
    key: &MasterKey,
    kept: &[SealedAnswer],
    new: &SealedAnswer,
    spent: &str,
) -> Option<Vec<u64>> {
    // An earlier attempt to keep the same answer may have succeeded.
    let others = kept.iter().filter(|one| one.received_at_ms != new.received_at_ms);
    let others = others.map(|one| Kept {
        received_at_ms: one.received_at_ms,
        bytes: one.sealed.len(),
        is_same: decrypted(key, one).is_ok_and(|answer| answer.spent == spent),
    });
    room(&others.collect::<Vec<_>>(), new.sealed.len())
}

fn room(kept: &[Kept], new_bytes: usize) -> Option<Vec<u64>> {
    if kept.iter().filter(|one| one.is_same).count() >= MAX_PER_TOKEN {
        return None;
    }
    let mut bytes = new_bytes + kept.iter().map(|one| one.bytes).sum::<usize>();
    let mut evicted = Vec::new();
    let mut earlier = kept.iter().filter(|one| !one.is_same);
    while kept.len() - evicted.len() >= MAX_ANSWERS || bytes > MAX_BYTES {
        let oldest = earlier.next()?;
        bytes -= oldest.bytes;
        evicted.push(oldest.received_at_ms);
    }
    Some(evicted)
}

/// The kept answers of a login, oldest first.
pub async fn read_answers(
    store: &Store,
    key: &MasterKey,
    owner: &Owner,
    section: &str,
    field: &str,
) -> Result<Vec<Result<UnreadAnswer, DecryptError>>, StoreError> {
    let kept = store.kept_answers(owner).await?;
    let kept = kept.iter().filter(|one| one.section == section && one.field == field);
    Ok(kept.map(|one| decrypted(key, one)).collect())
}

fn decrypted(key: &MasterKey, sealed: &SealedAnswer) -> Result<UnreadAnswer, DecryptError> {
    let plaintext = key.decrypt(data(sealed), &sealed.sealed)?;
    UnreadAnswer::from_plaintext(&plaintext, sealed.received_at_ms).ok_or(DecryptError::Unknown)
}

/// The row re-encrypted with the current key. None if it cannot be decrypted.
pub(super) fn reencrypted(key: &MasterKey, old: &SealedAnswer) -> Option<SealedAnswer> {
    let plaintext = key.decrypt(data(old), &old.sealed).ok()?;
    Some(SealedAnswer { sealed: key.encrypt(data(old), &plaintext), ..old.clone() })
}

fn data(sealed: &SealedAnswer) -> AnswerData<'_> {
    let SealedAnswer { owner, section, field, received_at_ms, .. } = sealed;
    AnswerData { owner, section, field, received_at_ms: *received_at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_answer_decrypts_in_its_own_row_only() {
        let (key, owner) = (MasterKey::generate(), Owner::Everybody);
        let answer = ReceivedAnswer {
            status: 200,
            content_type: "text/\u{fc}\n".into(),
            content_encoding: "br".into(),
            body: Zeroizing::new(b"\n\0canary\n".to_vec()),
            incomplete: None,
        };
        let unread = UnreadAnswer {
            received_at_ms: 7,
            problem: "is \"x\"\n".into(),
            spent: digest(&Secret::new("r")),
            answer,
        };
        let sealed = unread.encrypted(&key, &owner, "demo", "login");
        assert!(!sealed.sealed.windows(6).any(|bytes| bytes == b"canary"));
        assert_eq!(decrypted(&key, &sealed), Ok(unread.clone()));
        for other in [
            SealedAnswer { owner: Owner::parse("usr_0123456789abcdef").unwrap(), ..sealed.clone() },
            SealedAnswer { section: "other".into(), ..sealed.clone() },
            SealedAnswer { field: "other".into(), ..sealed.clone() },
            SealedAnswer { received_at_ms: 8, ..sealed.clone() },
        ] {
            assert_eq!(decrypted(&key, &other), Err(DecryptError::Altered));
        }
        let next = MasterKey::generate();
        assert_eq!(decrypted(&next, &sealed), Err(DecryptError::OtherKey));
        key.replace_with(&next);
        let moved = reencrypted(&key, &sealed).unwrap();
        assert_eq!(decrypted(&next, &moved), Ok(unread));
    }

    #[test]
    fn the_first_answers_to_a_refresh_token_stay() {
        let kept = |list: &[(u64, bool)], bytes: usize| -> Vec<Kept> {
            list.iter().map(|&(received_at_ms, is_same)| Kept { received_at_ms, bytes, is_same }).collect()
        };
        let same: Vec<(u64, bool)> = (1..=4).map(|at| (at, true)).collect();
        let earlier: Vec<(u64, bool)> = (1..=8).map(|at| (at, false)).collect();
        assert_eq!(room(&[], MAX_BYTES), Some(vec![]));
        assert_eq!(room(&kept(&same[..3], 9), 9), Some(vec![]));
        assert_eq!(room(&kept(&same, 9), 9), None);
        // Answers to earlier refresh tokens make room.
        assert_eq!(room(&kept(&earlier[..7], 9), 9), Some(vec![]));
        assert_eq!(room(&kept(&earlier, 9), 9), Some(vec![1]));
        assert_eq!(
            room(&kept(&[(1, true), (2, false), (3, false)], MAX_BYTES / 4), MAX_BYTES / 2),
            Some(vec![2])
        );
        assert_eq!(room(&kept(&earlier[..4], MAX_BYTES / 4), MAX_BYTES), Some(vec![1, 2, 3, 4]));
        assert_eq!(room(&kept(&same[..1], MAX_BYTES / 2), MAX_BYTES), None, "the first one stays");
    }
}
