//! Revocation and rotation of tokens, with everything that came from them.
//!
//! A token's maker is the token or admin token that created it. Paste tokens and sessions always end with their maker. Tokens that a
//! token created end with it only on request ([`RevokeExtent::WithMade`]): they are in other hands. A revoked maker that
//! leaves such tokens behind is remembered, so that no revocation in between hides them. Each change is one transaction.
//! Read next: `revoked_makers`, `sessions`.

use std::collections::BTreeSet;

use super::{
    Act, AdminTokenRevocation, NewToken, Query, Result, RevokeExtent, Revoked, Right, Rotated, Store,
    TokenHash, TokenRotation, from_db,
    invalidation::Invalidates,
    to_db,
    tokens::{insert_token, scopes_within},
    writer::Transaction,
};
use crate::name::{AdminTokenId, TokenId, UserId};

/// The token `$1`, and all that came from it: the tokens that it created, those that it replaced or that replaced it,
/// and all that came from these. Paste tokens create nothing, and are not in it.
/// Sessions are, but nothing has one as its maker: what a session creates counts as created by the session's maker.
macro_rules! family {
    () => {
        "WITH RECURSIVE family (id) AS (
             SELECT $1
             UNION SELECT t.id FROM family f JOIN tokens t ON t.maker = f.id
             UNION SELECT t.id FROM family f JOIN tokens t ON t.replaced_by = f.id
             UNION SELECT t.replaced_by FROM family f JOIN tokens t ON t.id = f.id AND t.replaced_by IS NOT NULL
             UNION SELECT a.id FROM family f JOIN admin_tokens a ON a.maker = f.id
             UNION SELECT r.id FROM family f JOIN revoked_makers r ON r.maker = f.id
             UNION SELECT r.id FROM family f JOIN revoked_makers r ON r.replaced_by = f.id
             UNION SELECT r.replaced_by FROM family f JOIN revoked_makers r ON r.id = f.id
                 WHERE r.replaced_by IS NOT NULL
         ) "
    };
}
pub(super) use family;

/// Paste tokens with a maker in the list `$1` of ids. The maker of one without a record may be any token of its user that
/// may create it, so it ends with the first of them. A token creates none that reaches further than itself.
macro_rules! pastes_made_by {
    () => {
        concat!(
            "maker IN (SELECT value FROM json_each($1)) OR (+maker IS NULL
                 AND user_id IN (SELECT user_id FROM tokens WHERE id IN (SELECT value FROM json_each($1)))
                 AND EXISTS (SELECT 1 FROM tokens t WHERE t.user_id = paste_tokens.user_id
                     AND t.id IN (SELECT value FROM json_each($1)) AND t.kind IN ('manage', 'both')
                     AND (t.scopes IS NULL OR ",
            scopes_within!("paste_tokens.scopes", "t.scopes"),
            ")))"
        )
    };
}

/// The family of `$1` without itself and without sessions, as far as it is valid at `$2`.
macro_rules! valid_others {
    () => {
        "FROM family f WHERE f.id <> $1 AND
             (EXISTS (SELECT 1 FROM tokens t WHERE t.id = f.id AND t.kind <> 'session'
                  AND (t.expires_at IS NULL OR t.expires_at > $2))
              OR EXISTS (SELECT 1 FROM admin_tokens a WHERE a.id = f.id AND a.kind = 'admin'
                  AND (a.expires_at IS NULL OR a.expires_at > $2)))"
    };
}

/// The token by whose right a change is made: the maker of a token that it creates.
#[derive(Debug, Default)]
pub(super) struct MakerRow {
    /// Its id. Absent if the operator makes the change on the machine.
    pub(super) id: Option<String>,
    expires_at_ms: Option<u64>,
}

impl MakerRow {
    /// The expiry of a token that it creates: no later than its own.
    pub(super) fn limit(&self, expires_at_ms: Option<u64>) -> Option<u64> {
        expires_at_ms.into_iter().chain(self.expires_at_ms).min()
    }
}

/// A revocation, as far as it was read.
#[derive(Debug)]
struct Revocation<'a> {
    id: &'a str,
    /// The user of the token; absent for an admin token.
    user: Option<&'a UserId>,
    /// The ids of the tokens that end, as a JSON list.
    ending: String,
    extent: RevokeExtent,
    /// The number of valid tokens that stay.
    remaining: u64,
    at_ms: u64,
}

/// The token of the hash `$1`; for a session, its maker.
const MAKER: &str = "SELECT m.id, m.expires_at FROM tokens t
     JOIN tokens m ON m.id = CASE t.kind WHEN 'session' THEN t.maker ELSE t.id END WHERE t.hash = $1";

/// The admin token `$1`; for a session, its maker. An admin token limits no expiry.
const ADMIN_MAKER: &str = "SELECT CASE kind WHEN 'session' THEN maker ELSE id END AS id, NULL AS expires_at
     FROM admin_tokens WHERE id = $1";

const DELETE_PASTES: &str =
    concat!("DELETE FROM paste_tokens WHERE id IN (SELECT value FROM json_each($1)) OR ", pastes_made_by!());
const DELETE_SESSIONS: &str = "DELETE FROM tokens WHERE kind = 'session'
     AND (id IN (SELECT value FROM json_each($1)) OR maker IN (SELECT value FROM json_each($1)))";
const DELETE_ADMIN_SESSIONS: &str = "DELETE FROM admin_tokens WHERE kind = 'session'
     AND (id IN (SELECT value FROM json_each($1)) OR maker IN (SELECT value FROM json_each($1)))";
const DELETE_TOKENS: &str = "DELETE FROM tokens WHERE id IN (SELECT value FROM json_each($1))";
const DELETE_ADMIN_TOKENS: &str = "DELETE FROM admin_tokens WHERE id IN (SELECT value FROM json_each($1))";
const DELETE_MAKERS: &str = "DELETE FROM revoked_makers WHERE id IN (SELECT value FROM json_each($1))";
const COUNT_OTHERS: &str = concat!(family!(), "SELECT COUNT(*) AS count ", valid_others!());

/// Looks at the tokens that `$1` created before all others of its family.
const LEAVES_ANY: &str = concat!(
    family!(),
    "SELECT 1 WHERE EXISTS
         (SELECT 1 FROM tokens t WHERE t.maker = $1 AND t.kind <> 'session' AND (t.expires_at IS NULL OR t.expires_at > $2))
     OR EXISTS (SELECT 1 ",
    valid_others!(),
    ")"
);

impl Store {
    /// The maker of what `act` creates, read in the transaction of the change. What a session creates outlives it: the maker
    /// is that of the session.
    pub(super) async fn maker(&self, transaction: &mut Transaction, act: &Act) -> Result<MakerRow> {
        let query = match &act.right {
            Some(Right::Token(hash) | Right::TokenEvenIfReplaced(hash)) => {
                sqlx::query(MAKER).bind(hash.hex())
            }
            Some(Right::Admin(id)) => sqlx::query(ADMIN_MAKER).bind(id.to_string()),
            None => return Ok(MakerRow::default()),
        };
        let Some(row) = transaction.fetch_optional(query).await? else { return Ok(MakerRow::default()) };
        Ok(MakerRow { id: Some(self.get(&row, "id")?), expires_at_ms: self.time(&row, "expires_at")? })
    }

    /// The ids of the tokens that [`RevokeExtent::WithMade`] ends, with `id` itself.
    pub async fn family(&self, id: &TokenId) -> Result<BTreeSet<TokenId>> {
        let query = sqlx::query(concat!(family!(), "SELECT id FROM family")).bind(id.to_string());
        let rows = self.read(query).await?;
        let ids: Result<Vec<&str>> = rows.iter().map(|row| self.get(row, "id")).collect();
        Ok(ids?.into_iter().filter_map(TokenId::new).collect())
    }

    /// True if a token is stored that came from this admin token, which may have been revoked before.
    pub async fn has_made(&self, id: &AdminTokenId) -> Result<bool> {
        let query = concat!(
            family!(),
            "SELECT 1 FROM family f WHERE f.id <> $1 AND (EXISTS (SELECT 1 FROM tokens t WHERE t.id = f.id)
                 OR EXISTS (SELECT 1 FROM admin_tokens a WHERE a.id = f.id)) LIMIT 1"
        );
        Ok(!self.read(sqlx::query(query).bind(id.to_string())).await?.is_empty())
    }

    /// Revokes a token or a paste token of a user. Returns `None` if the user has none with that id. With
    /// [`RevokeExtent::WithMade`], a token that was revoked before is enough, as long as tokens are left that it created.
    pub async fn revoke_token(
        &self,
        user: &UserId,
        id: &TokenId,
        extent: RevokeExtent,
        act: &Act,
    ) -> Result<Option<Revoked>> {
        let remaining = self.count_remaining(id.as_str(), extent, act.at_ms).await?;
        let mut transaction = self.begin_for(act).await?;
        let ending = self.ending(&mut transaction, id.as_str(), extent).await?;
        let exists = "SELECT 1 FROM tokens WHERE id IN (SELECT value FROM json_each($1)) AND user_id = $2
             UNION ALL SELECT 1 FROM paste_tokens WHERE id IN (SELECT value FROM json_each($1)) AND user_id = $2
             LIMIT 1";
        let exists = sqlx::query(exists).bind(ending.clone()).bind(user.to_string());
        if transaction.fetch_optional(exists).await?.is_none() {
            return Ok(None);
        }
        let revocation =
            Revocation { id: id.as_str(), user: Some(user), ending, extent, remaining, at_ms: act.at_ms };
        let revoked = self.delete_with_derived(&mut transaction, revocation).await?;
        self.commit_act(transaction, Invalidates::User(user), &with_counts(act, &revoked)).await?;
        Ok(Some(revoked))
    }

    /// Revokes an admin token, unless no valid one would be left.
    pub async fn revoke_admin_token(
        &self,
        id: &AdminTokenId,
        extent: RevokeExtent,
        act: &Act,
    ) -> Result<AdminTokenRevocation> {
        let remaining = self.count_remaining(id.as_str(), extent, act.at_ms).await?;
        let mut transaction = self.begin_for(act).await?;
        let ending = self.ending(&mut transaction, id.as_str(), extent).await?;
        let revocation =
            Revocation { id: id.as_str(), user: None, ending, extent, remaining, at_ms: act.at_ms };
        let revoked = self.delete_with_derived(&mut transaction, revocation).await?;
        if revoked.tokens + revoked.admin_tokens + revoked.sessions == 0 {
            return Ok(AdminTokenRevocation::Unknown);
        }
        let good = "SELECT 1 FROM admin_tokens WHERE kind = 'admin' AND (expires_at IS NULL OR expires_at > $1) LIMIT 1";
        let good = sqlx::query(good).bind(to_db(act.at_ms));
        if transaction.fetch_optional(good).await?.is_none() {
            return Ok(AdminTokenRevocation::Last);
        }
        self.commit_act(transaction, Invalidates::Everybody, &with_counts(act, &revoked)).await?;
        Ok(AdminTokenRevocation::Done(revoked))
    }

    /// The number of tokens that stay valid. An admin token may have made all tokens of the store, so it is read before the
    /// transaction: nothing else could be written meanwhile.
    async fn count_remaining(&self, id: &str, extent: RevokeExtent, now_ms: u64) -> Result<u64> {
        if extent == RevokeExtent::WithMade {
            return Ok(0);
        }
        let rows = self.read(sqlx::query(COUNT_OTHERS).bind(id.to_owned()).bind(to_db(now_ms))).await?;
        rows.first().map_or(Ok(0), |row| self.get(row, "count").map(from_db))
    }

    /// The ids of the tokens that a revocation ends, as a JSON list.
    async fn ending(&self, transaction: &mut Transaction, id: &str, extent: RevokeExtent) -> Result<String> {
        let query = match extent {
            RevokeExtent::Alone => return Ok(id_list(id)),
            RevokeExtent::WithMade => concat!(family!(), "SELECT json_group_array(id) AS ids FROM family"),
        };
        let row = transaction.fetch_optional(sqlx::query(query).bind(id.to_owned())).await?;
        row.map_or_else(|| Ok(id_list(id)), |row| self.get(&row, "ids"))
    }

    /// Deletes the token `id` and what ends with it. Paste tokens go first: their makers are still there to be found.
    async fn delete_with_derived(
        &self,
        transaction: &mut Transaction,
        revocation: Revocation<'_>,
    ) -> Result<Revoked> {
        let Revocation { id, user, ending, extent, remaining, at_ms } = revocation;
        let leaves_any = match extent {
            RevokeExtent::Alone => self.leaves_any(transaction, id, at_ms).await?,
            RevokeExtent::WithMade => false,
        };
        let maker = self.maker_of(transaction, id).await?;
        if leaves_any {
            self.remember_maker(transaction, id, at_ms).await?;
        } else if extent == RevokeExtent::Alone {
            self.forget_family(transaction, id).await?;
        }
        let mut run = async |query: &'static str| {
            let query: Query = sqlx::query(query).bind(ending.clone());
            self.step(transaction, query).await.map(|done| done.rows_affected())
        };
        let paste_tokens = run(DELETE_PASTES).await?;
        let sessions = run(DELETE_SESSIONS).await? + run(DELETE_ADMIN_SESSIONS).await?;
        let (tokens, admin_tokens) = (run(DELETE_TOKENS).await?, run(DELETE_ADMIN_TOKENS).await?);
        if leaves_any {
            self.bound_makers(transaction, user, at_ms).await?;
        } else {
            run(DELETE_MAKERS).await?;
            self.forget_makers(transaction, maker, at_ms).await?;
        }
        // Another change may have come between the count and this transaction.
        let remaining = if leaves_any { remaining.max(1) } else { 0 };
        Ok(Revoked { tokens, paste_tokens, admin_tokens, sessions, remaining })
    }

    /// True if valid tokens came from the token `id`.
    pub(super) async fn leaves_any(
        &self,
        transaction: &mut Transaction,
        id: &str,
        now_ms: u64,
    ) -> Result<bool> {
        let query = sqlx::query(LEAVES_ANY).bind(id.to_owned()).bind(to_db(now_ms));
        Ok(transaction.fetch_optional(query).await?.is_some())
    }

    /// The maker of a token, which may have been revoked before.
    async fn maker_of(&self, transaction: &mut Transaction, id: &str) -> Result<Option<String>> {
        let query =
            "SELECT maker FROM tokens WHERE id = $1 UNION ALL SELECT maker FROM admin_tokens WHERE id = $1
             UNION ALL SELECT maker FROM revoked_makers WHERE id = $1";
        let row = transaction.fetch_optional(sqlx::query(query).bind(id.to_owned())).await?;
        row.map_or(Ok(None), |row| self.get(&row, "maker"))
    }

    /// Rotates a token: stores a new one, and lets the old one expire at `old_expires_at_ms`, or at its own expiry if that is
    /// earlier. The old one's paste tokens end with it. The new one becomes the maker of the tokens that the old one
    /// created.
    pub async fn rotate_token(
        &self,
        old: &TokenHash,
        token: &NewToken,
        old_expires_at_ms: u64,
        act: &Act,
    ) -> Result<TokenRotation> {
        let mut transaction = self.begin_for(act).await?;
        let query = "SELECT id, user_id, maker, expires_at, replaced_at FROM tokens WHERE hash = $1";
        let row = transaction.fetch_optional(sqlx::query(query).bind(old.hex())).await?;
        let Some(row) = row else { return Ok(TokenRotation::Gone) };
        let (user, ends) = (self.user_id(&row, "user_id")?, self.time(&row, "expires_at")?);
        if ends.is_some_and(|ends| ends <= act.at_ms) {
            return Ok(TokenRotation::Gone);
        }
        if self.time(&row, "replaced_at")?.is_some() {
            return Ok(TokenRotation::Replaced);
        }
        let (old_id, maker): (String, Option<String>) = (self.get(&row, "id")?, self.get(&row, "maker")?);
        let old_expires_at_ms = ends.map_or(old_expires_at_ms, |ends| ends.min(old_expires_at_ms));
        let update = "UPDATE tokens SET expires_at = $2, replaced_at = $3, replaced_by = $4 WHERE id = $1";
        let update = sqlx::query(update).bind(old_id.clone()).bind(to_db(old_expires_at_ms));
        let update = update.bind(to_db(act.at_ms)).bind(token.id.to_string());
        self.step(&mut transaction, update).await?;
        let paste_tokens = self.limit_pastes(&mut transaction, &old_id, old_expires_at_ms, act.at_ms).await?;
        let handed_over = self.hand_over(&mut transaction, &old_id, &token.id).await?;
        self.enforce_token_limit(&mut transaction, &user, act.at_ms).await?;
        self.step(&mut transaction, insert_token(&user, token, maker)).await?;
        let rotated = Rotated { old_expires_at_ms, paste_tokens, handed_over };
        let act = with_detail(act, &[("pasteTokens", paste_tokens), ("handedOver", handed_over)]);
        self.commit_act(transaction, Invalidates::User(&user), &act).await?;
        Ok(TokenRotation::Done(rotated))
    }

    /// Lets the valid paste tokens of a token expire at `until_ms` at the latest. Returns their number.
    async fn limit_pastes(
        &self,
        transaction: &mut Transaction,
        id: &str,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<u64> {
        let update = concat!(
            "UPDATE paste_tokens SET expires_at = MIN(COALESCE(expires_at, $2), $2)
             WHERE (expires_at IS NULL OR expires_at > $3) AND (",
            pastes_made_by!(),
            ")"
        );
        let update = sqlx::query(update).bind(id_list(id)).bind(to_db(until_ms)).bind(to_db(now_ms));
        Ok(self.step(transaction, update).await?.rows_affected())
    }

    /// Makes `new` the maker of all that `old` created. Returns the number of tokens without sessions.
    async fn hand_over(&self, transaction: &mut Transaction, old: &str, new: &TokenId) -> Result<u64> {
        let mut run = async |query: &'static str| {
            let query = sqlx::query(query).bind(old.to_owned()).bind(new.to_string());
            self.step(transaction, query).await.map(|done| done.rows_affected())
        };
        run("UPDATE revoked_makers SET maker = $2 WHERE maker = $1").await?;
        let tokens = run("UPDATE tokens SET maker = $2 WHERE maker = $1 AND kind <> 'session'").await?;
        run("UPDATE tokens SET maker = $2 WHERE maker = $1").await?;
        Ok(tokens)
    }
}

/// A JSON list of one id.
fn id_list(id: &str) -> String {
    serde_json::json!([id]).to_string()
}

/// The audit entry of a revocation, with its counts.
fn with_counts(act: &Act, revoked: &Revoked) -> Act {
    let Revoked { tokens, paste_tokens, admin_tokens, sessions, remaining } = *revoked;
    let counts = [
        ("tokens", tokens),
        ("pasteTokens", paste_tokens),
        ("adminTokens", admin_tokens),
        ("sessions", sessions),
        ("remaining", remaining),
    ];
    with_detail(act, &counts)
}

fn with_detail(act: &Act, counts: &[(&str, u64)]) -> Act {
    let mut act = act.clone();
    for (name, count) in counts {
        act.detail[*name] = (*count).into();
    }
    act
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::revoked_makers::{FORGET_FAMILY, FORGET_OF_USER, NEIGHBOURS, SUPERFLUOUS, TAKE_OUT};

    /// An admin token may have made all tokens of the store, and a change that looks through them blocks all others.
    #[tokio::test]
    async fn a_revocation_looks_through_no_table() {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let statements = [
            LEAVES_ANY,
            COUNT_OTHERS,
            DELETE_PASTES,
            DELETE_SESSIONS,
            DELETE_ADMIN_SESSIONS,
            DELETE_TOKENS,
            DELETE_ADMIN_TOKENS,
            DELETE_MAKERS,
            MAKER,
            ADMIN_MAKER,
            FORGET_FAMILY,
            FORGET_OF_USER,
            SUPERFLUOUS,
            NEIGHBOURS,
        ];
        for statement in statements.into_iter().chain(TAKE_OUT) {
            let plan = sqlx::query(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
            for row in store.read(plan).await.unwrap() {
                let step: String = store.get(&row, "detail").unwrap();
                let table = step.strip_prefix("SCAN ").unwrap_or_default();
                let table = table.split(' ').next().unwrap_or_default();
                let short =
                    ["", "f", "n", "family", "needed", "json_each", "inner_scope", "outer_scope", "CONSTANT"];
                assert!(short.contains(&table), "{step} in {statement}");
            }
        }
    }
}
