//! Answers of token endpoints that were not understood. They are kept, encrypted, beside their login: the refresh token
//! that the request spent may have its only successor in there. An operator reads them with `tollgate credential recover`.
//!
//! The plaintext is a line of JSON with everything but the body, and then the body as it was received.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    MasterKey,
    encryption::{AnswerData, DecryptError},
    oauth::ReceivedAnswer,
};
use crate::{
    name::Owner,
    store::{SealedAnswer, Store, StoreError},
};

/// An answer that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadAnswer {
    /// When it was received, in milliseconds since 1970.
    pub received_at_ms: u64,
    /// The problem. It completes the sentence "The token endpoint's response".
    pub problem: String,
    /// The answer.
    pub answer: ReceivedAnswer,
}

#[derive(Serialize, Deserialize)]
struct Head {
    problem: String,
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
            status: *status,
            content_type: content_type.clone(),
            content_encoding: content_encoding.clone(),
        };
        let head = serde_json::to_vec(&head).expect("texts and numbers are valid JSON");
        Zeroizing::new([&head, &b"\n"[..], body].concat())
    }

    fn from_plaintext(plaintext: &[u8], received_at_ms: u64) -> Option<Self> {
        let end = plaintext.iter().position(|byte| *byte == b'\n')?;
        let Head { problem, status, content_type, content_encoding } =
            serde_json::from_slice(&plaintext[..end]).ok()?;
        let body = Zeroizing::new(plaintext[end + 1..].to_vec());
        let answer = ReceivedAnswer { status, content_type, content_encoding, body, incomplete: None };
        Some(Self { received_at_ms, problem, answer })
    }
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
        let unread = UnreadAnswer { received_at_ms: 7, problem: "is \"x\"\n".into(), answer };
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
}
