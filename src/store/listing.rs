//! The SQL statements for lists of users, groups and owners of credentials. They read no secret, encrypted or not.

use std::fmt::Write as _;

use sqlx::sqlite::SqliteRow;

use super::{Result, Store, StoredField, User, from_db, to_db};
use crate::name::{GroupName, Owner, UserId};

/// The columns of a `ListedUser`. `$1` is the time now.
macro_rules! listed {
    () => {
        "u.id, u.name, u.ip, u.group_name, u.created_at, u.disabled_at,
         (SELECT COUNT(*) FROM tokens t WHERE t.user_id = u.id AND t.kind <> 'session'
              AND (t.expires_at IS NULL OR t.expires_at > $1))
         + (SELECT COUNT(*) FROM paste_tokens t WHERE t.user_id = u.id
              AND (t.expires_at IS NULL OR t.expires_at > $1)) AS valid_tokens,
         (SELECT json_group_array(c.section || '.' || c.field ORDER BY c.section, c.field)
              FROM credentials c WHERE c.owner = u.id AND instr(c.field, ':') = 0) AS stored"
    };
}

/// The time of the newest use of any token of a user; 0 if there is none.
macro_rules! last_use {
    () => {
        "max(COALESCE((SELECT max(t.last_used_at) FROM tokens t WHERE t.user_id = u.id), 0),
             COALESCE((SELECT max(t.last_used_at) FROM paste_tokens t WHERE t.user_id = u.id), 0))"
    };
}

/// True for users who match the pattern `$2` and are in the group `$3`. Either may be null, which matches all.
macro_rules! matches {
    () => {
        "($2 IS NULL OR u.name GLOB $2 OR u.id GLOB $2 OR u.group_name GLOB $2)
         AND ($3 IS NULL OR u.group_name = $3)"
    };
}

/// The users of a list.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// A text that the name, the id or the group contains, in upper or lower case.
    pub search: Option<String>,
    /// The group.
    pub group: Option<GroupName>,
}

/// The order of a list of users. Those with the same value are in the order of their ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UserOrder {
    /// Oldest first.
    #[default]
    Created,
    /// By name, without regard to the case of ASCII letters.
    Name,
    /// Last used first; those that were never used come last.
    LastUsed,
}

/// The value that a list of users is ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortKey {
    /// The time of [`UserOrder::Created`] or [`UserOrder::LastUsed`], in milliseconds since 1970; 0 for no use.
    Time(u64),
    /// The name.
    Name(String),
}

/// A part of a list of users.
#[derive(Debug, Clone, Default)]
pub struct UserPage {
    /// The users.
    pub filter: UserFilter,
    /// Their order.
    pub order: UserOrder,
    /// The place in that order that the page begins after. The user there may be gone.
    pub after: Option<(SortKey, UserId)>,
    /// The users at most; all if absent.
    pub limit: Option<u64>,
    /// The time now, in milliseconds since 1970: expired tokens are not counted.
    pub now_ms: u64,
}

/// A user with what belongs to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUser {
    /// The user.
    pub user: User,
    /// The newest use of any token or session, to about a minute, in milliseconds since 1970.
    pub last_used_at_ms: Option<u64>,
    /// Tokens that are valid, paste tokens included, sessions not.
    pub valid_tokens: u64,
    /// The stored credentials, each `section.field`, in order.
    pub stored: Vec<String>,
}

impl ListedUser {
    /// Its place in an order.
    pub fn sort_key(&self, order: UserOrder) -> SortKey {
        match order {
            UserOrder::Created => SortKey::Time(self.user.created_at_ms),
            UserOrder::Name => SortKey::Name(self.user.name.clone()),
            UserOrder::LastUsed => SortKey::Time(self.last_used_at_ms.unwrap_or(0)),
        }
    }
}

/// The number of users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserCount {
    /// All.
    pub users: u64,
    /// Those of them that are disabled.
    pub disabled: u64,
}

/// A group: users are in it, or it has credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub name: GroupName,
    /// The users who are in it.
    pub users: u64,
    /// Its credentials, each `section.field`, in order.
    pub stored: Vec<String>,
}

/// A stored credential without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundCredential {
    /// The owner.
    pub owner: Owner,
    /// The display name of an owner who is a user.
    pub owner_name: Option<String>,
    /// The section of the credentials document.
    pub section: String,
    /// The field in the section.
    pub field: String,
    /// The origins that it is bound to.
    pub origins: Vec<String>,
}

// === impl Store: lists ===

impl Store {
    /// A part of the list of users.
    pub async fn listed_users(&self, page: &UserPage) -> Result<Vec<ListedUser>> {
        let query = match page.order {
            UserOrder::Created => concat!(
                "SELECT ",
                listed!(),
                ", ",
                last_use!(),
                " AS last_used FROM users u WHERE ",
                matches!(),
                " AND ($4 IS NULL OR (u.created_at, u.id) > ($4, $5)) ORDER BY u.created_at, u.id LIMIT $6"
            ),
            UserOrder::Name => concat!(
                "SELECT ",
                listed!(),
                ", ",
                last_use!(),
                " AS last_used FROM users u WHERE ",
                matches!(),
                " AND ($4 IS NULL OR u.name COLLATE NOCASE > $4 OR (u.name COLLATE NOCASE = $4 AND u.id > $5))
                 ORDER BY u.name COLLATE NOCASE, u.id LIMIT $6"
            ),
            // The values of a page are read once its users are known.
            UserOrder::LastUsed => concat!(
                "WITH page AS MATERIALIZED (SELECT id, last_used FROM (SELECT u.id, ",
                last_use!(),
                " AS last_used FROM users u WHERE ",
                matches!(),
                " LIMIT -1 OFFSET 0) WHERE $4 IS NULL OR last_used < $4 OR (last_used = $4 AND id > $5)
                 ORDER BY last_used DESC, id LIMIT $6)
                 SELECT ",
                listed!(),
                ", p.last_used FROM page p CROSS JOIN users u ON u.id = p.id ORDER BY p.last_used DESC, u.id"
            ),
        };
        let UserFilter { search, group } = &page.filter;
        let query = sqlx::query(query)
            .bind(to_db(page.now_ms))
            .bind(search.as_deref().map(containing))
            .bind(group.as_ref().map(GroupName::to_string));
        let id = page.after.as_ref().map(|(_, id)| id.to_string());
        let query = match page.after.as_ref().map(|(key, _)| key) {
            None => query.bind(None::<i64>),
            Some(SortKey::Time(at_ms)) => query.bind(to_db(*at_ms)),
            Some(SortKey::Name(name)) => query.bind(name.clone()),
        };
        let rows = self.read(query.bind(id).bind(page.limit.map_or(-1, to_db))).await?;
        rows.iter().map(|row| self.listed_user(row)).collect()
    }

    /// The user with this id, with what belongs to the user.
    pub async fn show_user(&self, id: &UserId, now_ms: u64) -> Result<Option<ListedUser>> {
        let query =
            concat!("SELECT ", listed!(), ", ", last_use!(), " AS last_used FROM users u WHERE u.id = $2");
        let rows = self.read(sqlx::query(query).bind(to_db(now_ms)).bind(id.to_string())).await?;
        rows.first().map(|row| self.listed_user(row)).transpose()
    }

    /// The number of users.
    pub async fn count_users(&self, filter: &UserFilter) -> Result<UserCount> {
        let query = concat!(
            "SELECT COUNT(*) AS users, COUNT(u.disabled_at) AS disabled FROM users u WHERE ",
            matches!()
        );
        let query = sqlx::query(query)
            .bind(None::<i64>)
            .bind(filter.search.as_deref().map(containing))
            .bind(filter.group.as_ref().map(GroupName::to_string));
        let rows = self.read(query).await?;
        let Some(row) = rows.first() else { return Ok(UserCount::default()) };
        let count = |column| Ok(from_db(self.get(row, column)?));
        Ok(UserCount { users: count("users")?, disabled: count("disabled")? })
    }

    /// The groups after one, in the order of their names; at most `limit`.
    pub async fn listed_groups(
        &self,
        after: Option<&GroupName>,
        limit: Option<u64>,
    ) -> Result<Vec<ListedGroup>> {
        let query = "WITH names AS (
                 SELECT DISTINCT group_name AS name FROM users WHERE group_name > $1
                 UNION SELECT DISTINCT substr(owner, 7) FROM credentials
                     WHERE owner > 'group:' || $1 AND owner < 'group;')
             SELECT n.name,
                 (SELECT COUNT(*) FROM users u WHERE u.group_name = n.name) AS users,
                 (SELECT json_group_array(c.section || '.' || c.field ORDER BY c.section, c.field)
                      FROM credentials c WHERE c.owner = 'group:' || n.name AND instr(c.field, ':') = 0) AS stored
             FROM names n ORDER BY n.name LIMIT $2";
        let after = after.map_or_else(String::new, GroupName::to_string);
        let rows = self.read(sqlx::query(query).bind(after).bind(limit.map_or(-1, to_db))).await?;
        let group = |row| {
            let name: &str = self.get(row, "name")?;
            let none = || self.corrupt(format!("`{name}` is not a group's name"));
            Ok(ListedGroup {
                name: GroupName::new(name).ok_or_else(none)?,
                users: from_db(self.get(row, "users")?),
                stored: self.places(row)?,
            })
        };
        rows.iter().map(group).collect()
    }

    /// The credentials that are bound as one of `wanted` is, of the owners after one, in the order of their texts; of at most
    /// `limit` owners.
    pub async fn credentials_bound_as(
        &self,
        wanted: &[StoredField],
        after: Option<&Owner>,
        limit: u64,
    ) -> Result<Vec<BoundCredential>> {
        let query = "WITH wanted AS MATERIALIZED (
                 SELECT value ->> 0 AS section, value ->> 1 AS field, value ->> 2 AS origins FROM json_each($1)),
             found AS MATERIALIZED (
                 SELECT c.owner, c.section, c.field, c.origins FROM wanted w CROSS JOIN credentials c
                 ON c.section = w.section AND c.field = w.field AND COALESCE(c.origins, '[]') = w.origins
                 WHERE c.owner > $2)
             SELECT f.owner, f.section, f.field, f.origins, u.name FROM found f LEFT JOIN users u ON u.id = f.owner
             WHERE f.owner IN (SELECT DISTINCT owner FROM found ORDER BY owner LIMIT $3)
             ORDER BY f.owner, f.section, f.field";
        let wanted = wanted.iter().map(|one| {
            let origins = serde_json::Value::from(one.origins.clone()).to_string();
            serde_json::json!([one.section, one.field, origins])
        });
        let query = sqlx::query(query)
            .bind(wanted.collect::<serde_json::Value>().to_string())
            .bind(after.map_or_else(String::new, Owner::to_string))
            .bind(to_db(limit));
        let rows = self.read(query).await?;
        let credential = |row| {
            Ok(BoundCredential {
                owner: self.owner(row)?,
                owner_name: self.get(row, "name")?,
                section: self.get(row, "section")?,
                field: self.get(row, "field")?,
                origins: self.origins(row)?.unwrap_or_default(),
            })
        };
        rows.iter().map(credential).collect()
    }

    /// The owners with stored credentials after a place, in the order of their texts, and the names of those that are users.
    pub async fn credential_owners(
        &self,
        after: Option<&Owner>,
        limit: u64,
    ) -> Result<Vec<(Owner, Option<String>)>> {
        let query = "SELECT o.owner, u.name FROM (
                 SELECT DISTINCT owner FROM credentials WHERE owner > $1 AND instr(field, ':') = 0
                 ORDER BY owner LIMIT $2) o
             LEFT JOIN users u ON u.id = o.owner ORDER BY o.owner";
        let after = after.map_or_else(String::new, Owner::to_string);
        let rows = self.read(sqlx::query(query).bind(after).bind(to_db(limit))).await?;
        rows.iter().map(|row| Ok((self.owner(row)?, self.get(row, "name")?))).collect()
    }

    fn listed_user(&self, row: &SqliteRow) -> Result<ListedUser> {
        Ok(ListedUser {
            user: self.user_row(row)?,
            last_used_at_ms: Some(from_db(self.get(row, "last_used")?)).filter(|at_ms| *at_ms > 0),
            valid_tokens: from_db(self.get(row, "valid_tokens")?),
            stored: self.places(row)?,
        })
    }

    fn places(&self, row: &SqliteRow) -> Result<Vec<String>> {
        let places = serde_json::from_str(self.get(row, "stored")?);
        places.map_err(|_| self.corrupt("the fields of credentials cannot be read".to_owned()))
    }
}

/// The pattern of `GLOB` for texts that contain `search`. Unlike `LIKE`, which ignores the case of ASCII letters alone, it can
/// ignore that of any letter: a letter becomes the class of its forms.
fn containing(search: &str) -> String {
    let mut pattern = "*".to_owned();
    for letter in search.chars() {
        let forms = forms(letter);
        // Writing to a text does not fail.
        let _ = match letter {
            '*' | '?' | '[' => write!(pattern, "[{letter}]"),
            _ if forms.len() == 1 => write!(pattern, "{letter}"),
            _ => write!(pattern, "[{}]", forms.into_iter().collect::<String>()),
        };
    }
    pattern.push('*');
    pattern
}

/// A letter, and its lower and upper case if each is one letter too.
fn forms(letter: char) -> Vec<char> {
    let mut forms = vec![letter];
    let single = |(first, rest): (Option<char>, Option<char>)| first.filter(|_| rest.is_none());
    let (mut lower, mut upper) = (letter.to_lowercase(), letter.to_uppercase());
    let others = [single((lower.next(), lower.next())), single((upper.next(), upper.next()))];
    for other in others.into_iter().flatten() {
        if !forms.contains(&other) {
            forms.push(other);
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_becomes_a_pattern_that_matches_it_alone() {
        for (search, expected) in [
            ("", "**"),
            ("7-]^_%\\", "*7-]^_%\\*"),
            ("aB", "*[aA][Bb]*"),
            ("é*?[", "*[éÉ][*][?][[]*"),
            ("ßИ", "*ß[Ии]*"),
        ] {
            assert_eq!(containing(search), expected);
        }
    }
}
