//! A user from elsewhere, with everything at once: tokens, paste tokens and credentials, or nothing.

use super::{
    Act, CredentialChange, NewPasteToken, NewToken, Result, Store, TokenHash, User,
    credentials::change_query,
    invalidation::Invalidates,
    tokens::{insert_paste_token, insert_token},
    users::insert_user,
};
use crate::name::Owner;

/// A user, and what comes along.
#[derive(Debug)]
pub struct Import<'a> {
    /// The user.
    pub user: &'a User,
    /// Tokens.
    pub tokens: &'a [NewToken],
    /// Paste tokens.
    pub pastes: &'a [NewPasteToken],
    /// Credentials.
    pub credentials: &'a [CredentialChange],
    /// The id of the master key that sealed them.
    pub key_id: &'a str,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// All of it is there.
    Done,
    /// A user of this id is there already, and stays as it is.
    Exists,
    /// One of the tokens is somebody's already.
    TokenTaken,
    /// Another master key seals by now.
    OtherKey,
}

impl Store {
    /// Takes a user in.
    pub async fn import_user(&self, import: Import<'_>, act: &Act) -> Result<Imported> {
        let Import { user, tokens, pastes, credentials, key_id } = import;
        let mut transaction = self.begin().await?;
        if self.exists(&mut transaction, &user.id).await? {
            return Ok(Imported::Exists);
        }
        if !credentials.is_empty() && !self.seals(&mut transaction, key_id).await? {
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
            self.step(&mut transaction, insert_token(&user.id, token)).await?;
        }
        let owner = Owner::User(user.id.clone());
        for change in credentials {
            self.step(&mut transaction, change_query(&owner, change)).await?;
        }
        for paste in pastes {
            self.step(&mut transaction, insert_paste_token(paste)).await?;
        }
        self.commit_act(transaction, Invalidates::User(&user.id), act).await?;
        Ok(Imported::Done)
    }

    async fn is_taken(
        &self,
        transaction: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
        hash: TokenHash,
    ) -> Result<bool> {
        let query = "SELECT 1 FROM tokens WHERE hash = $1 UNION SELECT 1 FROM paste_tokens WHERE hash = $1";
        let row = sqlx::query(query).bind(hash.hex()).fetch_optional(&mut **transaction).await;
        Ok(row.map_err(|error| self.failed(error))?.is_some())
    }
}
