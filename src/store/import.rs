//! Import of a user from another system, with tokens, paste tokens and credentials: all in one transaction.

use super::{
    Act, CredentialChange, NewPasteToken, NewToken, Result, Store, TokenHash, User,
    credentials::change_query,
    invalidation::Invalidates,
    tokens::{insert_paste_token, insert_token},
    users::insert_user,
    writer::Transaction,
};
use crate::name::Owner;

/// A user to import.
#[derive(Debug)]
pub struct Import<'a> {
    /// The user.
    pub user: &'a User,
    /// The user's tokens.
    pub tokens: &'a [NewToken],
    /// The user's paste tokens.
    pub pastes: &'a [NewPasteToken],
    /// The user's credentials.
    pub credentials: &'a [CredentialChange],
    /// The id of the master key that encrypted the credentials.
    pub key_id: &'a str,
}

/// The outcome of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// Everything is stored.
    Done,
    /// A user with this id exists, and was not changed.
    Exists,
    /// One of the tokens exists already.
    TokenTaken,
    /// As for [`ChangeOutcome::OtherKey`](super::ChangeOutcome::OtherKey).
    OtherKey,
}

impl Store {
    /// Imports a user.
    pub async fn import_user(&self, import: Import<'_>, act: &Act) -> Result<Imported> {
        let Import { user, tokens, pastes, credentials, key_id } = import;
        let mut transaction = self.begin().await?;
        if self.exists(&mut transaction, &user.id).await? {
            return Ok(Imported::Exists);
        }
        if !credentials.is_empty() && !self.is_sealing_key(&mut transaction, key_id).await? {
            return Ok(Imported::OtherKey);
        }
        let own = tokens.iter().map(|token| token.hash);
        for hash in own.chain(pastes.iter().map(|paste| paste.hash)) {
            if self.is_taken(&mut transaction, hash).await? {
                return Ok(Imported::TokenTaken);
            }
        }
        self.step(&mut transaction, insert_user(user)).await?;
        for token in tokens {
            self.step(&mut transaction, insert_token(&user.id, token, None)).await?;
        }
        let owner = Owner::User(user.id.clone());
        for change in credentials {
            self.step(&mut transaction, change_query(&owner, change)).await?;
        }
        for paste in pastes {
            self.step(&mut transaction, insert_paste_token(paste, None)).await?;
        }
        self.commit_act(transaction, Invalidates::User(&user.id), act).await?;
        Ok(Imported::Done)
    }

    async fn is_taken(&self, transaction: &mut Transaction, hash: TokenHash) -> Result<bool> {
        let query = "SELECT 1 FROM tokens WHERE hash = $1 UNION SELECT 1 FROM paste_tokens WHERE hash = $1";
        Ok(transaction.fetch_optional(sqlx::query(query).bind(hash.hex())).await?.is_some())
    }
}
