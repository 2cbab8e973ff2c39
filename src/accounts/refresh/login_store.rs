//! Stored logins and made tokens, decrypted, and the leases on them.

use std::future::Future;

use super::{CredentialId, TokenSource};
use crate::{
    accounts::{
        MadeCredential, MasterKey, StoredCredential,
        credentials::{decrypt_credential, encrypt_credential},
        encryption,
        random::random,
        unread_answer::{self, UnreadAnswer},
    },
    clock, hex,
    json_parts::{json_part, token_claim},
    secret::Secret,
    store::{KeepOutcome, SealedCredential, Store, StoreError, SwapReason},
    token::STORED_PREFIX,
};

/// Prefix of the names of leases on logins.
const LEASES: &str = "refresh ";

/// A login, and its encrypted row.
#[derive(Debug, Clone)]
pub struct Login {
    /// The access token.
    pub access_token: Secret,
    /// The refresh token.
    pub refresh_token: Option<Secret>,
    /// Expiry of the access token, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// The row.
    pub row: SealedCredential,
}

impl Login {
    /// The same login with another refresh token.
    pub(super) fn with(&self, refresh_token: Secret) -> StoredCredential {
        let Self { access_token, expires_at_ms, .. } = self;
        StoredCredential::OAuth {
            access_token: access_token.clone(),
            refresh_token: Some(refresh_token),
            expires_at_ms: *expires_at_ms,
        }
    }

    /// True if another row holds the same tokens: re-encrypted, but not replaced.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.access_token == other.access_token && self.refresh_token == other.refresh_token
    }
}

/// What is stored of a made token and its section.
#[derive(Debug, Clone)]
pub struct SectionState {
    /// The token.
    pub made: Option<MadeCredential>,
    /// True if the values that the token is made from are the stored ones.
    pub is_source: bool,
    /// The credentials of the section.
    pub rows: Vec<SealedCredential>,
}

/// The operations of the store that a refresh needs. A trait only for tests, which count and fail calls.
pub trait LoginStore: Send + Sync + 'static {
    /// The stored login at `place`; none if there is none, or it cannot be decrypted.
    fn read(&self, place: &CredentialId) -> impl Future<Output = Result<Option<Login>, StoreError>> + Send;
    /// Compare-and-swap: replaces the tokens of `old`, bound to the same origins. False if `old` is not stored any more.
    fn replace(
        &self,
        old: &Login,
        new: &StoredCredential,
        reason: SwapReason,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Keeps an answer of the token endpoint that was not understood, beside the login.
    fn keep(
        &self,
        place: &CredentialId,
        answer: &UnreadAnswer,
    ) -> impl Future<Output = Result<KeepOutcome, StoreError>> + Send;
    /// The made token at `place`, and the fields that it is made from.
    fn read_section(
        &self,
        place: &CredentialId,
        sources: &[TokenSource],
    ) -> impl Future<Output = Result<SectionState, StoreError>> + Send;
    /// Stores a made token beside the fields that it was made from. False if those are others by now.
    fn put_made(
        &self,
        place: &CredentialId,
        made: &MadeCredential,
        origins: &[String],
        section: &SectionState,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Takes the lease on a login; false if another process holds it.
    fn lease(&self, place: &CredentialId, ms: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Releases all leases that an earlier process on the same store may have left.
    fn drop_leases(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Releases the lease.
    fn release(&self, place: &CredentialId) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The real store, with the master key.
#[derive(Debug)]
pub struct StoredLogins {
    store: Store,
    key: MasterKey,
    /// This process's id as a holder of leases.
    holder: String,
}

impl StoredLogins {
    /// The logins in this store.
    pub fn new(store: Store, key: MasterKey) -> Self {
        Self { store, key, holder: hex::encode(&random::<8>()) }
    }
}

impl LoginStore for StoredLogins {
    async fn read(&self, place: &CredentialId) -> Result<Option<Login>, StoreError> {
        let rows = self.store.credentials(&place.owner).await?;
        let row = rows.into_iter().find(|row| row.section == place.section && row.field == place.field);
        Ok(row.and_then(|row| self.decrypted(row)))
    }

    async fn replace(
        &self,
        old: &Login,
        new: &StoredCredential,
        reason: SwapReason,
    ) -> Result<bool, StoreError> {
        let key = self.key.snapshot();
        let sealed = key.encrypt(associated_data(&old.row), &new.to_plaintext());
        let row = SealedCredential { sealed, updated_at_ms: clock::now_ms(), ..old.row.clone() };
        self.store.swap_credential(&row, &old.row.sealed, &key.id(), reason).await
    }

    async fn keep(&self, place: &CredentialId, answer: &UnreadAnswer) -> Result<KeepOutcome, StoreError> {
        let CredentialId { owner, section, field } = place;
        let key = self.key.snapshot();
        let sealed = answer.encrypted(&key, owner, section, field);
        let mut kept = self.store.kept_answers(owner).await?;
        kept.retain(|one| one.section == *section && one.field == *field);
        match unread_answer::evicted(&key, &kept, &sealed, &answer.spent) {
            Some(evicted) => self.store.keep_answer(&sealed, &evicted, &key.id()).await,
            None => Ok(KeepOutcome::NoRoom),
        }
    }

    async fn read_section(
        &self,
        place: &CredentialId,
        sources: &[TokenSource],
    ) -> Result<SectionState, StoreError> {
        let rows = self.store.section_with_tokens(&place.owner, &place.section).await?;
        let stored = |field: &str| {
            let row = rows.iter().find(|row| row.field == field)?;
            decrypt_credential(&self.key, row).ok()
        };
        let made = match stored(&place.field) {
            Some(StoredCredential::Made(made)) => Some(made),
            Some(_) | None => None,
        };
        let is_stored = |source: &TokenSource| source.is_of(stored(&source.field).as_ref());
        let is_source = !sources.is_empty() && sources.iter().all(is_stored);
        let is_field = |row: &SealedCredential| !row.field.starts_with(STORED_PREFIX);
        Ok(SectionState { made, is_source, rows: rows.into_iter().filter(is_field).collect() })
    }

    async fn put_made(
        &self,
        place: &CredentialId,
        made: &MadeCredential,
        origins: &[String],
        section: &SectionState,
    ) -> Result<bool, StoreError> {
        let CredentialId { owner, section: name, field } = place;
        let key = self.key.snapshot();
        let data = encryption::AssociatedData { owner, section: name, field, origins: Some(origins) };
        let stored = StoredCredential::Made(made.clone());
        let row = encrypt_credential(&key, data, &stored, clock::now_ms());
        self.store.put_made_token(&row, &section.rows, &key.id()).await
    }

    async fn lease(&self, place: &CredentialId, ms: u64) -> Result<bool, StoreError> {
        let now_ms = clock::now_ms();
        self.store.try_lease(&lease_name(place), &self.holder, now_ms, now_ms.saturating_add(ms)).await
    }

    async fn drop_leases(&self) -> Result<(), StoreError> {
        self.store.drop_leases(LEASES).await
    }

    async fn release(&self, place: &CredentialId) -> Result<(), StoreError> {
        self.store.release_lease(&lease_name(place), &self.holder).await
    }
}

impl StoredLogins {
    fn decrypted(&self, row: SealedCredential) -> Option<Login> {
        // A login that cannot be decrypted was logged when its caller was looked up.
        let plaintext = self.key.decrypt(associated_data(&row), &row.sealed).ok()?;
        match StoredCredential::from_plaintext(&plaintext)? {
            StoredCredential::OAuth { access_token, refresh_token, expires_at_ms } => {
                Some(Login { access_token, refresh_token, expires_at_ms, row })
            }
            StoredCredential::Plain(_)
            | StoredCredential::Value(_)
            | StoredCredential::Document(_)
            | StoredCredential::Made(_) => None,
        }
    }
}

impl TokenSource {
    /// True if the value comes from what is stored now.
    fn is_of(&self, stored: Option<&StoredCredential>) -> bool {
        let text = match (stored, &self.pointer) {
            (Some(StoredCredential::Plain(text) | StoredCredential::Value(text)), None) => Some(text.clone()),
            (Some(StoredCredential::Document(text)), Some(pointer)) => json_part(text.expose(), pointer),
            (Some(StoredCredential::OAuth { access_token, .. }), Some(pointer)) => {
                token_claim(access_token.expose(), pointer)
            }
            (Some(_) | None, _) => None,
        };
        let text = text.or_else(|| self.default.as_deref().map(Secret::new));
        text == self.text
    }
}

fn associated_data(row: &SealedCredential) -> encryption::AssociatedData<'_> {
    let SealedCredential { owner, section, field, origins, .. } = row;
    encryption::AssociatedData { owner, section, field, origins: origins.as_deref() }
}

fn lease_name(place: &CredentialId) -> String {
    let CredentialId { owner, section, field } = place;
    format!("{LEASES}{owner} {section} {field}")
}
