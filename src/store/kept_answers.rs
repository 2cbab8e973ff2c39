//! The SQL statements on answers of token endpoints that were not understood. Each is kept beside its login, encrypted; it
//! is deleted with the login, when a later refresh succeeds, and to make room for others.

use sqlx::sqlite::SqliteRow;

use super::{Query, Result, Store, from_db, invalidation::Invalidates, to_db, writer::Transaction};
use crate::name::Owner;

/// An encrypted answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedAnswer {
    /// The owner of the login.
    pub owner: Owner,
    /// The section of the login.
    pub section: String,
    /// The field of the login.
    pub field: String,
    /// When it was received, in milliseconds since 1970.
    pub received_at_ms: u64,
    /// The encrypted answer.
    pub sealed: Vec<u8>,
}

/// The outcome of [`Store::keep_answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepOutcome {
    /// It is stored.
    Kept,
    /// The login has the maximum number or size of answers.
    NoRoom,
    /// The login is gone.
    NoLogin,
    /// Another key encrypts new values.
    OtherKey,
}

macro_rules! answer {
    () => {
        "SELECT owner, section, field, received_at, sealed FROM kept_answers "
    };
}

impl Store {
    /// Keeps an answer, which the key with this id encrypted, in place of those received at the times `evicted`. Keeping it
    /// a second time changes nothing.
    pub async fn keep_answer(
        &self,
        answer: &SealedAnswer,
        evicted: &[u64],
        key_id: &str,
    ) -> Result<KeepOutcome> {
        let SealedAnswer { owner, section, field, received_at_ms, sealed } = answer;
        let mut transaction = self.begin().await?;
        if !self.is_sealing_key(&mut transaction, key_id).await? {
            return Ok(KeepOutcome::OtherKey);
        }
        for at in evicted {
            let delete = "DELETE FROM kept_answers
                 WHERE owner = $1 AND section = $2 AND field = $3 AND received_at = $4";
            let delete = of_login(delete, owner, section, field).bind(to_db(*at));
            self.step(&mut transaction, delete).await?;
        }
        let insert = "INSERT INTO kept_answers (owner, section, field, received_at, sealed)
             SELECT owner, section, field, $4, $5 FROM credentials
             WHERE owner = $1 AND section = $2 AND field = $3
             ON CONFLICT (owner, section, field, received_at) DO UPDATE SET sealed = excluded.sealed";
        let insert =
            of_login(insert, owner, section, field).bind(to_db(*received_at_ms)).bind(sealed.clone());
        if self.step(&mut transaction, insert).await?.rows_affected() == 0 {
            return Ok(KeepOutcome::NoLogin);
        }
        self.commit(transaction, Invalidates::Nothing).await?;
        Ok(KeepOutcome::Kept)
    }

    /// The kept answers of an owner's logins, by section, field and time.
    pub async fn kept_answers(&self, owner: &Owner) -> Result<Vec<SealedAnswer>> {
        let query = concat!(answer!(), "WHERE owner = $1 ORDER BY section, field, received_at");
        let rows = self.read(sqlx::query(query).bind(owner.to_string())).await?;
        rows.iter().map(|row| self.answer_row(row)).collect()
    }

    /// The kept answers of all owners after one, in the order of owner, section, field and time; at most `limit`.
    pub async fn kept_answers_after(
        &self,
        after: Option<&SealedAnswer>,
        limit: u64,
    ) -> Result<Vec<SealedAnswer>> {
        let query = concat!(
            answer!(),
            "WHERE (owner, section, field, received_at) > ($1, $2, $3, $4)
             ORDER BY owner, section, field, received_at LIMIT $5"
        );
        let (owner, section, field, at) = after.map_or_else(Default::default, |one| {
            (one.owner.to_string(), one.section.clone(), one.field.clone(), one.received_at_ms)
        });
        let query = sqlx::query(query).bind(owner).bind(section).bind(field).bind(to_db(at));
        let rows = self.read(query.bind(to_db(limit))).await?;
        rows.iter().map(|row| self.answer_row(row)).collect()
    }

    /// Compare-and-swap for answers whose plaintext stays the same. Returns `None` if another key encrypts new values.
    pub async fn swap_answers(&self, swaps: &[(SealedAnswer, Vec<u8>)], key_id: &str) -> Result<Option<u64>> {
        let mut transaction = self.begin().await?;
        if !self.is_sealing_key(&mut transaction, key_id).await? {
            return Ok(None);
        }
        let mut done = 0;
        for (new, old) in swaps {
            let update = "UPDATE kept_answers SET sealed = $5
                 WHERE owner = $1 AND section = $2 AND field = $3 AND received_at = $4 AND sealed = $6";
            let update = of_login(update, &new.owner, &new.section, &new.field)
                .bind(to_db(new.received_at_ms))
                .bind(new.sealed.clone())
                .bind(old.clone());
            done += self.step(&mut transaction, update).await?.rows_affected();
        }
        self.commit(transaction, Invalidates::Nothing).await?;
        Ok(Some(done))
    }

    /// Deletes the kept answers of a login, which has new tokens.
    pub(super) async fn drop_answers(
        &self,
        transaction: &mut Transaction,
        owner: &Owner,
        section: &str,
        field: &str,
    ) -> Result<()> {
        let delete = "DELETE FROM kept_answers WHERE owner = $1 AND section = $2 AND field = $3";
        self.step(transaction, of_login(delete, owner, section, field)).await?;
        Ok(())
    }

    fn answer_row(&self, row: &SqliteRow) -> Result<SealedAnswer> {
        Ok(SealedAnswer {
            owner: self.owner(row)?,
            section: self.get(row, "section")?,
            field: self.get(row, "field")?,
            received_at_ms: from_db(self.get(row, "received_at")?),
            sealed: self.get(row, "sealed")?,
        })
    }
}

fn of_login(query: &'static str, owner: &Owner, section: &str, field: &str) -> Query {
    sqlx::query(query).bind(owner.to_string()).bind(section.to_owned()).bind(field.to_owned())
}
