//! Tokens that were made from an owner's fields. Each is a row beside the credentials of its section, under a name with a colon,
//! which no declared field can have: so it is encrypted again and deleted as they are, and in no list of them.
//!
//! It guarantees: a token is stored only beside the rows that it was made from, and ends with any change to its section.

use std::collections::BTreeSet;

use super::{
    CredentialChange, Query, Result, SealedCredential, Store, credentials::change_query,
    invalidation::Invalidates, writer::Transaction,
};
use crate::{hex, name::Owner};

impl Store {
    /// An owner's credentials of a section, and the tokens that were made from them, by field.
    pub async fn section_with_tokens(&self, owner: &Owner, section: &str) -> Result<Vec<SealedCredential>> {
        let query = "SELECT owner, section, field, sealed, origins, updated_at FROM credentials
             WHERE owner = $1 AND section = $2 ORDER BY field";
        let query = sqlx::query(query).bind(owner.to_string()).bind(section.to_owned());
        self.read(query).await?.iter().map(|row| self.credential(row)).collect()
    }

    /// Stores a made token, in the place of an earlier one. `beside`: the credentials of its section. Returns false, and changes
    /// nothing, if those are others by now, or if another key encrypts new values.
    pub async fn put_made_token(
        &self,
        made: &SealedCredential,
        beside: &[SealedCredential],
        key_id: &str,
    ) -> Result<bool> {
        let mut transaction = self.begin().await?;
        if !self.is_sealing_key(&mut transaction, key_id).await? {
            return Ok(false);
        }
        if transaction.fetch_optional(unchanged_query(made, beside)).await?.is_none() {
            return Ok(false);
        }
        let put = change_query(&made.owner, &CredentialChange::Put(made.clone()));
        self.step(&mut transaction, put).await?;
        self.commit(transaction, Invalidates::from(&made.owner)).await?;
        Ok(true)
    }

    /// Deletes the tokens that were made from an owner's fields of these sections.
    pub(super) async fn drop_made_tokens(
        &self,
        transaction: &mut Transaction,
        owner: &Owner,
        sections: BTreeSet<String>,
    ) -> Result<()> {
        for section in sections {
            let delete =
                "DELETE FROM credentials WHERE owner = $1 AND section = $2 AND instr(field, ':') > 0";
            let delete = sqlx::query(delete).bind(owner.to_string()).bind(section);
            self.step(transaction, delete).await?;
        }
        Ok(())
    }
}

/// Finds a row if the credentials beside a token are these.
fn unchanged_query(made: &SealedCredential, beside: &[SealedCredential]) -> Query {
    let query = "SELECT 1 WHERE json_array_length($3) =
             (SELECT COUNT(*) FROM credentials WHERE owner = $1 AND section = $2 AND instr(field, ':') = 0)
         AND NOT EXISTS (SELECT 1 FROM json_each($3) seen WHERE NOT EXISTS
             (SELECT 1 FROM credentials c WHERE c.owner = $1 AND c.section = $2
              AND c.field = seen.value ->> 0 AND lower(hex(c.sealed)) = seen.value ->> 1))";
    let rows = beside.iter().map(|row| serde_json::json!([row.field, hex::encode(&row.sealed)]));
    sqlx::query(query)
        .bind(made.owner.to_string())
        .bind(made.section.clone())
        .bind(rows.collect::<serde_json::Value>().to_string())
}
