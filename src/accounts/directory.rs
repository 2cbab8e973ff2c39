//! The part of the store that authentication reads.

use std::future::Future;

use crate::{
    name::UserId,
    store::{Invalidated, InvalidationCounter, Store, StoreError, StoredAdminToken, TokenHash, TokenLookup},
};

/// The reads of the store that authentication needs. A trait only for tests, which count and fail calls.
pub trait Directory: Send + Sync + 'static {
    /// See [`Store::lookup_token`].
    fn lookup_token(
        &self,
        hash: &TokenHash,
    ) -> impl Future<Output = Result<Option<TokenLookup>, StoreError>> + Send;
    /// See [`Store::lookup_paste_token`].
    fn lookup_paste_token(
        &self,
        hash: &TokenHash,
    ) -> impl Future<Output = Result<Option<TokenLookup>, StoreError>> + Send;
    /// See [`Store::lookup_session`].
    fn lookup_session(
        &self,
        hash: &TokenHash,
    ) -> impl Future<Output = Result<Option<TokenLookup>, StoreError>> + Send;
    /// See [`Store::find_admin_session`].
    fn find_admin_session(
        &self,
        hash: &TokenHash,
    ) -> impl Future<Output = Result<Option<StoredAdminToken>, StoreError>> + Send;
    /// See [`Store::find_admin_token`].
    fn find_admin_token(
        &self,
        hash: &TokenHash,
    ) -> impl Future<Output = Result<Option<StoredAdminToken>, StoreError>> + Send;
    /// See [`Store::data_version`].
    fn data_version(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;
    /// See [`Store::log_others_acts`]. Without a store, there is nothing to log.
    fn log_others_acts(&self, _changed: bool) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }
    /// See [`Store::last_invalidation`].
    fn last_invalidation(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// See [`Store::invalidated_since`].
    fn invalidated_since(&self, seq: u64) -> impl Future<Output = Result<Invalidated, StoreError>> + Send;
    /// See [`Store::count_tokens`].
    fn count_tokens(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// See [`Store::token_hashes_after`].
    fn token_hashes_after(
        &self,
        after: Option<&TokenHash>,
        limit: u64,
    ) -> impl Future<Output = Result<Vec<TokenHash>, StoreError>> + Send;
    /// See [`Store::token_hashes_of`].
    fn token_hashes_of(
        &self,
        user: Option<&UserId>,
    ) -> impl Future<Output = Result<Vec<TokenHash>, StoreError>> + Send;
    /// See [`Store::record_last_use`].
    fn record_last_use(
        &self,
        used: &[(TokenHash, u64)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// See [`Store::invalidations`].
    fn invalidations(&self) -> InvalidationCounter;
}

impl Directory for Store {
    async fn lookup_token(&self, hash: &TokenHash) -> Result<Option<TokenLookup>, StoreError> {
        self.lookup_token(hash).await
    }

    async fn lookup_paste_token(&self, hash: &TokenHash) -> Result<Option<TokenLookup>, StoreError> {
        self.lookup_paste_token(hash).await
    }

    async fn lookup_session(&self, hash: &TokenHash) -> Result<Option<TokenLookup>, StoreError> {
        self.lookup_session(hash).await
    }

    async fn find_admin_session(&self, hash: &TokenHash) -> Result<Option<StoredAdminToken>, StoreError> {
        self.find_admin_session(hash).await
    }

    async fn find_admin_token(&self, hash: &TokenHash) -> Result<Option<StoredAdminToken>, StoreError> {
        self.find_admin_token(hash).await
    }

    async fn data_version(&self) -> Result<i64, StoreError> {
        self.data_version().await
    }

    async fn log_others_acts(&self, changed: bool) -> Result<(), StoreError> {
        self.log_others_acts(changed).await
    }

    async fn last_invalidation(&self) -> Result<u64, StoreError> {
        self.last_invalidation().await
    }

    async fn invalidated_since(&self, seq: u64) -> Result<Invalidated, StoreError> {
        self.invalidated_since(seq).await
    }

    async fn count_tokens(&self) -> Result<u64, StoreError> {
        self.count_tokens().await
    }

    async fn token_hashes_after(
        &self,
        after: Option<&TokenHash>,
        limit: u64,
    ) -> Result<Vec<TokenHash>, StoreError> {
        self.token_hashes_after(after, limit).await
    }

    async fn token_hashes_of(&self, user: Option<&UserId>) -> Result<Vec<TokenHash>, StoreError> {
        self.token_hashes_of(user).await
    }

    async fn record_last_use(&self, used: &[(TokenHash, u64)]) -> Result<(), StoreError> {
        self.record_last_use(used).await
    }

    fn invalidations(&self) -> InvalidationCounter {
        self.invalidations()
    }
}
