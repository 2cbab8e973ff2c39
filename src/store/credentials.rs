//! The SQL statements on encrypted credentials, and on the ids of the master keys that encrypted them.

use super::{
    Act, ChangeOutcome, CredentialChange, KeyIds, PasteTokenIssue, Query, ReplaceKey, Result,
    SealedCredential, Store, StoredField, SwapReason, from_db, invalidation::Invalidates, to_db,
    writer::Transaction,
};
use crate::name::Owner;

pub(super) const MASTER_KEY_ID: &str = "master_key_id";
/// The next key, while a master-key rotation is in progress.
pub(super) const NEXT_KEY_ID: &str = "next_master_key_id";

macro_rules! credential {
    () => {
        "SELECT owner, section, field, sealed, origins, updated_at FROM credentials "
    };
}

// === impl Store: credentials ===

impl Store {
    /// An owner's credentials, by section and field. Without the tokens that were made from them.
    pub async fn credentials(&self, owner: &Owner) -> Result<Vec<SealedCredential>> {
        let query =
            concat!(credential!(), "WHERE owner = $1 AND instr(field, ':') = 0 ORDER BY section, field");
        let rows = self.read(sqlx::query(query).bind(owner.to_string())).await?;
        rows.iter().map(|row| self.credential(row)).collect()
    }

    /// The credentials of all owners after one, and the tokens that were made from them, in the order of owner, section and
    /// field; at most `limit`.
    pub async fn credentials_after(
        &self,
        after: Option<&SealedCredential>,
        limit: u64,
    ) -> Result<Vec<SealedCredential>> {
        let query = concat!(
            credential!(),
            "WHERE (owner, section, field) > ($1, $2, $3) ORDER BY owner, section, field LIMIT $4"
        );
        self.page(query, after, limit).await
    }

    /// The same, of credentials that are not bound to origins: they were stored before credentials were bound.
    pub async fn unbound_credentials_after(
        &self,
        after: Option<&SealedCredential>,
        limit: u64,
    ) -> Result<Vec<SealedCredential>> {
        let query = concat!(
            credential!(),
            "WHERE origins IS NULL AND (owner, section, field) > ($1, $2, $3)
             ORDER BY owner, section, field LIMIT $4"
        );
        self.page(query, after, limit).await
    }

    async fn page(
        &self,
        query: &'static str,
        after: Option<&SealedCredential>,
        limit: u64,
    ) -> Result<Vec<SealedCredential>> {
        let (owner, section, field) = after.map_or_else(Default::default, |one| {
            (one.owner.to_string(), one.section.clone(), one.field.clone())
        });
        let query = sqlx::query(query).bind(owner).bind(section).bind(field).bind(to_db(limit));
        self.read(query).await?.iter().map(|row| self.credential(row)).collect()
    }

    /// Every stored field with its bound origins, and the number of owners that have it so.
    pub async fn stored_fields(&self) -> Result<Vec<StoredField>> {
        let query = "SELECT section, field, origins, COUNT(*) AS owners FROM credentials
             WHERE instr(field, ':') = 0 GROUP BY section, field, origins ORDER BY section, field, origins";
        let rows = self.read(sqlx::query(query)).await?;
        let field = |row| {
            let (section, field) = (self.get(row, "section")?, self.get(row, "field")?);
            let origins = self.origins(row)?.unwrap_or_default();
            Ok(StoredField { section, field, origins, owners: from_db(self.get(row, "owners")?) })
        };
        rows.iter().map(field).collect()
    }

    /// The owners of shared credentials: groups and everybody, if they have any.
    pub async fn sharing_owners(&self) -> Result<Vec<Owner>> {
        let query = "SELECT DISTINCT owner FROM credentials WHERE owner NOT LIKE 'usr%' ORDER BY owner";
        self.read(sqlx::query(query)).await?.iter().map(|row| self.owner(row)).collect()
    }

    /// Applies `changes` to an owner's credentials in order: all or none. `key_id` is the id of the master key that
    /// encrypted them. The paste tokens and the kept answers of a removed login are deleted with it. A login that is set
    /// keeps its kept answers: it may be an old copy, whose refresh token has its only successor in one of them.
    pub async fn change_credentials(
        &self,
        owner: &Owner,
        key_id: &str,
        changes: &[CredentialChange],
        act: &Act,
    ) -> Result<ChangeOutcome> {
        self.change_logins(owner, key_id, changes, act, &[]).await
    }

    /// The same, with paste tokens of logins that `changes` set.
    pub async fn change_logins(
        &self,
        owner: &Owner,
        key_id: &str,
        changes: &[CredentialChange],
        act: &Act,
        issued: &[PasteTokenIssue],
    ) -> Result<ChangeOutcome> {
        let mut transaction = self.begin_for(act).await?;
        if let Owner::User(user) = owner
            && !self.exists(&mut transaction, user).await?
        {
            return Ok(ChangeOutcome::UnknownUser);
        }
        let puts = changes
            .iter()
            .any(|change| matches!(change, CredentialChange::Put(_) | CredentialChange::Bind { .. }));
        if puts && !self.is_sealing_key(&mut transaction, key_id).await? {
            return Ok(ChangeOutcome::OtherKey);
        }
        let mut rows = 0;
        for (index, change) in changes.iter().enumerate() {
            let query = match change {
                // A row that is set again is never deleted: its kept answers would end with it.
                CredentialChange::RemoveAll => remove_others_query(owner, &changes[index..]),
                CredentialChange::Put(_)
                | CredentialChange::Bind { .. }
                | CredentialChange::Remove { .. } => change_query(owner, change),
            };
            rows += self.step(&mut transaction, query).await?.rows_affected();
        }
        if rows == 0 {
            return Ok(ChangeOutcome::Done { rows });
        }
        self.drop_orphans(&mut transaction, owner, changes).await?;
        let sections = changes.iter().filter_map(section_of).map(str::to_owned).collect();
        self.drop_made_tokens(&mut transaction, owner, sections).await?;
        let mut entries = vec![self.append(&mut transaction, act).await?];
        for PasteTokenIssue { token, old_expires_at_ms, act } in issued {
            self.put_paste_token(&mut transaction, token, *old_expires_at_ms, act).await?;
            entries.push(self.append(&mut transaction, act).await?);
        }
        self.end(transaction, Invalidates::from(owner), entries).await?;
        Ok(ChangeOutcome::Done { rows })
    }

    /// Deletes the paste tokens of logins that are gone.
    async fn drop_orphans(
        &self,
        transaction: &mut Transaction,
        owner: &Owner,
        changes: &[CredentialChange],
    ) -> Result<()> {
        if let Owner::User(user) = owner {
            if changes.iter().any(|change| matches!(change, CredentialChange::RemoveAll)) {
                // A login that was set after that is another one.
                let all = sqlx::query("DELETE FROM paste_tokens WHERE user_id = $1").bind(user.to_string());
                self.step(transaction, all).await?;
            }
            let orphans = "DELETE FROM paste_tokens WHERE user_id = $1 AND NOT EXISTS
                 (SELECT 1 FROM credentials c WHERE c.owner = paste_tokens.user_id
                  AND c.section = paste_tokens.section AND c.field = paste_tokens.field)";
            self.step(transaction, sqlx::query(orphans).bind(user.to_string())).await?;
        }
        Ok(())
    }

    /// Compare-and-swap: replaces the blob `old` by a new one, which the key with this id encrypted. Returns false, and
    /// changes nothing, if another blob is stored by now, or another key encrypts new values.
    pub async fn swap_credential(
        &self,
        new: &SealedCredential,
        old: &[u8],
        key_id: &str,
        reason: SwapReason,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        if !self.is_sealing_key(&mut transaction, key_id).await? {
            return Ok(false);
        }
        if self.step(&mut transaction, swap_query(new, old)).await?.rows_affected() == 0 {
            return Ok(false);
        }
        match reason {
            SwapReason::Rekey => self.commit(transaction, Invalidates::Nothing).await?,
            SwapReason::Refresh => {
                self.drop_answers(&mut transaction, &new.owner, &new.section, &new.field).await?;
                self.commit(transaction, Invalidates::from(&new.owner)).await?;
            }
            SwapReason::RefreshInPart => self.commit(transaction, Invalidates::from(&new.owner)).await?,
        }
        Ok(true)
    }

    /// Binds credentials of an owner to other origins: all or none, each with an audit entry of its own. Each is a new blob,
    /// the one that it replaces, and the act. Returns false, and changes nothing, as [`Store::swap_credential`] does.
    pub async fn confirm_credentials(
        &self,
        owner: &Owner,
        confirmed: &[(SealedCredential, Vec<u8>, Act)],
        key_id: &str,
    ) -> Result<bool> {
        let Some((.., first)) = confirmed.first() else { return Ok(true) };
        let mut transaction = self.begin_for(first).await?;
        if !self.is_sealing_key(&mut transaction, key_id).await? {
            return Ok(false);
        }
        let mut entries = Vec::new();
        for (new, old, act) in confirmed {
            if self.step(&mut transaction, swap_query(new, old)).await?.rows_affected() == 0 {
                return Ok(false);
            }
            entries.push(self.append(&mut transaction, act).await?);
        }
        let sections = confirmed.iter().map(|(new, ..)| new.section.clone()).collect();
        self.drop_made_tokens(&mut transaction, owner, sections).await?;
        self.end(transaction, Invalidates::from(owner), entries).await?;
        Ok(true)
    }
}

impl Store {
    /// Compare-and-swap for many credentials whose plaintext stays the same. Returns the number of replaced blobs, or
    /// `None` if another key encrypts new values. Without `act`, caches stay valid; with it, the bound origins change.
    pub async fn swap_credentials(
        &self,
        swaps: &[(SealedCredential, Vec<u8>)],
        key_id: &str,
        act: Option<&Act>,
    ) -> Result<Option<u64>> {
        let mut transaction = self.begin().await?;
        if !self.is_sealing_key(&mut transaction, key_id).await? {
            return Ok(None);
        }
        let mut done = 0;
        for (new, old) in swaps {
            done += self.step(&mut transaction, swap_query(new, old)).await?.rows_affected();
        }
        match act {
            Some(act) if done > 0 => self.commit_act(transaction, Invalidates::Everybody, act).await?,
            Some(_) | None => self.commit(transaction, Invalidates::Nothing).await?,
        }
        Ok(Some(done))
    }
}

// === impl Store: master-key ids ===

impl Store {
    /// The ids of the master keys that the store knows.
    pub async fn key_ids(&self) -> Result<KeyIds> {
        let rows = self.read(sqlx::query("SELECT name, value FROM meta")).await?;
        let mut ids = KeyIds::default();
        for row in &rows {
            match self.get::<&str>(row, "name")? {
                MASTER_KEY_ID => ids.current = Some(self.get(row, "value")?),
                NEXT_KEY_ID => ids.next = Some(self.get(row, "value")?),
                _ => {}
            }
        }
        Ok(ids)
    }

    /// The id of the recorded master key, if there is one.
    pub async fn master_key_id(&self) -> Result<Option<String>> {
        Ok(self.key_ids().await?.current)
    }

    /// Records the id of the master key. Returns false if another one is recorded and stays.
    pub async fn adopt_master_key(&self, key_id: &str, replace: ReplaceKey) -> Result<bool> {
        if self.master_key_id().await?.as_deref() == Some(key_id) {
            return Ok(true);
        }
        let mut transaction = self.begin().await?;
        let recorded = self.recorded(&mut transaction, MASTER_KEY_ID).await?;
        if recorded.as_deref() == Some(key_id) {
            return Ok(true);
        }
        if recorded.is_some() && replace == ReplaceKey::Never {
            return Ok(false);
        }
        let sealed = sqlx::query("SELECT 1 FROM credentials LIMIT 1");
        if transaction.fetch_optional(sealed).await?.is_some() {
            return Ok(false);
        }
        self.record(&mut transaction, MASTER_KEY_ID, key_id).await?;
        self.commit(transaction, Invalidates::Nothing).await?;
        Ok(true)
    }

    /// Begins a master-key rotation: the key `next` encrypts new values from now on. Returns false if `current` is not the
    /// recorded key, or a rotation to a third key is in progress.
    pub async fn begin_rekey(&self, current: &str, next: &str, act: &Act) -> Result<bool> {
        let mut transaction = self.begin_for(act).await?;
        let recorded = self.recorded(&mut transaction, MASTER_KEY_ID).await?;
        let begun = self.recorded(&mut transaction, NEXT_KEY_ID).await?;
        if recorded.as_deref() != Some(current) || begun.as_deref().is_some_and(|begun| begun != next) {
            return Ok(false);
        }
        if begun.is_none() {
            self.record(&mut transaction, NEXT_KEY_ID, next).await?;
            self.commit_act(transaction, Invalidates::Nothing, act).await?;
        }
        Ok(true)
    }

    /// Ends a master-key rotation, after the last value of the old key was re-encrypted.
    pub async fn finish_rekey(&self, next: &str, act: &Act) -> Result<bool> {
        let mut transaction = self.begin_for(act).await?;
        if self.recorded(&mut transaction, NEXT_KEY_ID).await?.as_deref() != Some(next) {
            return Ok(false);
        }
        self.record(&mut transaction, MASTER_KEY_ID, next).await?;
        let forget = sqlx::query("DELETE FROM meta WHERE name = $1").bind(NEXT_KEY_ID);
        self.step(&mut transaction, forget).await?;
        self.commit_act(transaction, Invalidates::Nothing, act).await?;
        Ok(true)
    }

    /// True if the key with this id encrypts new values.
    pub(super) async fn is_sealing_key(&self, transaction: &mut Transaction, key_id: &str) -> Result<bool> {
        let next = self.recorded(transaction, NEXT_KEY_ID).await?;
        let current = self.recorded(transaction, MASTER_KEY_ID).await?;
        Ok(KeyIds { current, next }.sealing() == Some(key_id))
    }

    async fn recorded(&self, transaction: &mut Transaction, name: &'static str) -> Result<Option<String>> {
        let query = sqlx::query("SELECT value FROM meta WHERE name = $1").bind(name);
        let row = transaction.fetch_optional(query).await?;
        row.map(|row| self.get(&row, "value")).transpose()
    }

    async fn record(&self, transaction: &mut Transaction, name: &'static str, value: &str) -> Result<()> {
        let record = "INSERT INTO meta (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.step(transaction, sqlx::query(record).bind(name).bind(value.to_owned())).await?;
        Ok(())
    }
}

/// The section of a change; none if it concerns all, and its tokens with them.
fn section_of(change: &CredentialChange) -> Option<&str> {
    match change {
        CredentialChange::Put(put) => Some(&put.section),
        CredentialChange::Bind { new, .. } => Some(&new.section),
        CredentialChange::Remove { section, .. } => Some(section),
        CredentialChange::RemoveAll => None,
    }
}

fn swap_query(new: &SealedCredential, old: &[u8]) -> Query {
    let update = "UPDATE credentials SET sealed = $1, origins = $2, updated_at = $3
         WHERE owner = $4 AND section = $5 AND field = $6 AND sealed = $7";
    sqlx::query(update)
        .bind(new.sealed.clone())
        .bind(origins(new))
        .bind(to_db(new.updated_at_ms))
        .bind(new.owner.to_string())
        .bind(new.section.clone())
        .bind(new.field.clone())
        .bind(old.to_owned())
}

/// The database form of bound origins.
fn origins(credential: &SealedCredential) -> Option<String> {
    credential.origins.as_ref().map(|origins| serde_json::Value::from(origins.clone()).to_string())
}

/// Deletes an owner's credentials, except those that `changes` set.
fn remove_others_query(owner: &Owner, changes: &[CredentialChange]) -> Query {
    let places = changes.iter().filter_map(|change| match change {
        CredentialChange::Put(put) => Some(serde_json::json!([put.section, put.field])),
        CredentialChange::Bind { .. } | CredentialChange::Remove { .. } | CredentialChange::RemoveAll => None,
    });
    let delete = "DELETE FROM credentials WHERE owner = $1 AND NOT EXISTS
         (SELECT 1 FROM json_each($2) place
          WHERE place.value ->> 0 = credentials.section AND place.value ->> 1 = credentials.field)";
    sqlx::query(delete).bind(owner.to_string()).bind(places.collect::<serde_json::Value>().to_string())
}

pub(super) fn change_query(owner: &Owner, change: &CredentialChange) -> Query {
    match change {
        CredentialChange::Put(put) => {
            let query = "INSERT INTO credentials (owner, section, field, sealed, origins, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (owner, section, field) DO UPDATE
                 SET sealed = excluded.sealed, origins = excluded.origins, updated_at = excluded.updated_at";
            sqlx::query(query)
                .bind(owner.to_string())
                .bind(put.section.clone())
                .bind(put.field.clone())
                .bind(put.sealed.clone())
                .bind(origins(put))
                .bind(to_db(put.updated_at_ms))
        }
        CredentialChange::Bind { new, old } => swap_query(new, old),
        CredentialChange::Remove { section, field } => {
            sqlx::query("DELETE FROM credentials WHERE owner = $1 AND section = $2 AND field = $3")
                .bind(owner.to_string())
                .bind(section.clone())
                .bind(field.clone())
        }
        CredentialChange::RemoveAll => {
            sqlx::query("DELETE FROM credentials WHERE owner = $1").bind(owner.to_string())
        }
    }
}
