//! Revoked makers: the memory of revoked tokens that left tokens behind, so that a later revocation finds these.
//!
//! It is bounded. A revoked maker of which no valid token is left is forgotten: at once if a revocation ended the last one,
//! else with the next revoked maker of its user. Of one user, and of all admin tokens, [`MAX_REVOKED_MAKERS`] are
//! remembered; beyond that the oldest is forgotten. What it created then counts as created by the token before it, so
//! that all others in the chain still lead to what is left. The same holds for a token that is deleted after its expiry.
//! The walks are in `revocation`.

use super::{Result, Store, revocation::family, to_db, writer::Transaction};
use crate::name::UserId;

/// The maximum number of revoked makers of a user, and of revoked admin tokens.
const MAX_REVOKED_MAKERS: u64 = 1000;

const REMEMBER: &str = "INSERT OR IGNORE INTO revoked_makers (id, maker, replaced_by, user_id, revoked_at)
     SELECT id, maker, replaced_by, user_id, $2 FROM tokens WHERE id = $1
     UNION ALL SELECT id, maker, NULL, NULL, $2 FROM admin_tokens WHERE id = $1";

pub(super) const FORGET_FAMILY: &str =
    concat!(family!(), "DELETE FROM revoked_makers WHERE id IN (SELECT id FROM family)");

/// Forgets those of the user `$1` that no token leads to that is valid at `$2`.
pub(super) const FORGET_OF_USER: &str = "DELETE FROM revoked_makers WHERE user_id = $1 AND id NOT IN (
     WITH RECURSIVE needed (id) AS (
         SELECT id FROM tokens WHERE user_id = $1 AND (expires_at IS NULL OR expires_at > $2)
         UNION SELECT t.maker FROM needed n JOIN tokens t ON t.id = n.id WHERE t.maker IS NOT NULL
         UNION SELECT t.replaced_by FROM needed n JOIN tokens t ON t.id = n.id WHERE t.replaced_by IS NOT NULL
         UNION SELECT t.id FROM needed n JOIN tokens t ON t.replaced_by = n.id
         UNION SELECT r.maker FROM needed n JOIN revoked_makers r ON r.id = n.id WHERE r.maker IS NOT NULL
         UNION SELECT r.replaced_by FROM needed n JOIN revoked_makers r ON r.id = n.id
             WHERE r.replaced_by IS NOT NULL
         UNION SELECT r.id FROM needed n JOIN revoked_makers r ON r.replaced_by = n.id
     ) SELECT id FROM needed)";

/// The same for admin tokens. The tokens of users may be many: of each revoked admin token, the first valid one is enough.
const FORGET_OF_ADMINS: &str = "DELETE FROM revoked_makers WHERE user_id IS NULL AND id NOT IN (
     WITH RECURSIVE needed (id) AS (
         SELECT id FROM admin_tokens WHERE expires_at IS NULL OR expires_at > $2
         UNION SELECT r.id FROM revoked_makers r WHERE r.user_id IS $1 AND (
             EXISTS (SELECT 1 FROM tokens t WHERE t.maker = r.id AND (t.expires_at IS NULL OR t.expires_at > $2))
             OR EXISTS (SELECT 1 FROM revoked_makers u WHERE u.maker = r.id AND u.user_id IS NOT NULL))
         UNION SELECT a.maker FROM needed n JOIN admin_tokens a ON a.id = n.id WHERE a.maker IS NOT NULL
         UNION SELECT r.maker FROM needed n JOIN revoked_makers r ON r.id = n.id WHERE r.maker IS NOT NULL
     ) SELECT id FROM needed)";

/// A revoked maker beyond the maximum `$2`: the oldest of the user `$1`, or of the admin tokens.
pub(super) const SUPERFLUOUS: &str = "SELECT id FROM revoked_makers WHERE user_id IS $1
     ORDER BY revoked_at DESC, id DESC LIMIT 1 OFFSET $2";

/// The neighbours of the token `$1` in its chain.
pub(super) const NEIGHBOURS: &str = "SELECT maker, replaced_by,
         (SELECT id FROM tokens WHERE replaced_by = $1
          UNION ALL SELECT id FROM revoked_makers WHERE replaced_by = $1 LIMIT 1) AS replaced
     FROM (SELECT maker, replaced_by FROM tokens WHERE id = $1
           UNION ALL SELECT maker, replaced_by FROM revoked_makers WHERE id = $1)";

/// Takes the token `$1` out of its chain: what it created gets the maker `$2`, and what it replaced the successor `$3`.
pub(super) const TAKE_OUT: [&str; 7] = [
    "UPDATE tokens SET maker = $2 WHERE maker = $1",
    "UPDATE admin_tokens SET maker = $2 WHERE maker = $1",
    "UPDATE revoked_makers SET maker = $2 WHERE maker = $1",
    "UPDATE tokens SET replaced_by = $3 WHERE replaced_by = $1",
    "UPDATE revoked_makers SET replaced_by = $3 WHERE replaced_by = $1",
    "DELETE FROM revoked_makers WHERE id = $1",
    "DELETE FROM tokens WHERE id = $1",
];

impl Store {
    /// Remembers the token `id`, which is about to be deleted.
    pub(super) async fn remember_maker(
        &self,
        transaction: &mut Transaction,
        id: &str,
        now_ms: u64,
    ) -> Result<()> {
        let remember = sqlx::query(REMEMBER).bind(id.to_owned()).bind(to_db(now_ms));
        self.step(transaction, remember).await?;
        Ok(())
    }

    /// Keeps the revoked makers of a user bounded; without a user, those of the admin tokens.
    pub(super) async fn bound_makers(
        &self,
        transaction: &mut Transaction,
        user: Option<&UserId>,
        now_ms: u64,
    ) -> Result<()> {
        let user = user.map(UserId::to_string);
        let forget = if user.is_some() { FORGET_OF_USER } else { FORGET_OF_ADMINS };
        self.step(transaction, sqlx::query(forget).bind(user.clone()).bind(to_db(now_ms))).await?;
        loop {
            let oldest = sqlx::query(SUPERFLUOUS).bind(user.clone()).bind(to_db(MAX_REVOKED_MAKERS));
            let Some(row) = transaction.fetch_optional(oldest).await? else { return Ok(()) };
            self.take_out(transaction, self.get(&row, "id")?).await?;
        }
    }

    /// Deletes a token, or a revoked maker, so that all others in its chain still lead to each other. A token that was
    /// replaced has created nothing: its successor has taken that over.
    pub(super) async fn take_out(&self, transaction: &mut Transaction, id: String) -> Result<()> {
        let neighbours = sqlx::query(NEIGHBOURS).bind(id.clone());
        let Some(row) = transaction.fetch_optional(neighbours).await? else { return Ok(()) };
        let [maker, successor, replaced]: [Option<String>; 3] =
            [self.get(&row, "maker")?, self.get(&row, "replaced_by")?, self.get(&row, "replaced")?];
        let maker = replaced.or(maker);
        for query in TAKE_OUT {
            let query = sqlx::query(query).bind(id.clone()).bind(maker.clone()).bind(successor.clone());
            self.step(transaction, query).await?;
        }
        Ok(())
    }

    /// Forgets the revoked makers in the family of `id`.
    pub(super) async fn forget_family(&self, transaction: &mut Transaction, id: &str) -> Result<()> {
        self.step(transaction, sqlx::query(FORGET_FAMILY).bind(id.to_owned())).await?;
        Ok(())
    }

    /// Forgets the revoked makers of which nothing is left, from `maker` upward.
    pub(super) async fn forget_makers(
        &self,
        transaction: &mut Transaction,
        mut maker: Option<String>,
        now_ms: u64,
    ) -> Result<()> {
        while let Some(id) = maker {
            let query = sqlx::query("SELECT maker FROM revoked_makers WHERE id = $1").bind(id.clone());
            let Some(row) = transaction.fetch_optional(query).await? else { break };
            if self.leaves_any(transaction, &id, now_ms).await? {
                break;
            }
            maker = self.get(&row, "maker")?;
            self.forget_family(transaction, &id).await?;
        }
        Ok(())
    }
}
