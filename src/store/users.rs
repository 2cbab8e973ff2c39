//! The SQL statements on users.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;

use super::{
    Act, CredentialChange, DuplicateNames, NewToken, Query, Result, Store, User, UserChange, UserCreation,
    credentials::change_query, from_db, invalidation::Invalidates, to_db, tokens::insert_token,
};
use crate::name::{GroupName, Owner, UserId};

macro_rules! user {
    () => {
        "SELECT id, name, ip, group_name, created_at, disabled_at FROM users "
    };
}

/// The first token and credentials of a new user.
#[derive(Debug)]
pub struct InitialAccess<'a> {
    /// The first token.
    pub token: &'a NewToken,
    /// The id of the master key, and the credentials that it encrypted.
    pub credentials: Option<(&'a str, &'a [CredentialChange])>,
}

impl Store {
    /// Creates a user with the first token and credentials.
    pub async fn create_user(
        &self,
        user: &User,
        initial: InitialAccess<'_>,
        names: DuplicateNames,
        act: &Act,
    ) -> Result<UserCreation> {
        let mut transaction = self.begin_for(act).await?;
        if names == DuplicateNames::Refuse {
            let same =
                sqlx::query("SELECT id FROM users WHERE name = $1 ORDER BY id").bind(user.name.clone());
            if let Some(row) = transaction.fetch_optional(same).await? {
                return Ok(UserCreation::NameTaken(self.user_id(&row, "id")?));
            }
        }
        self.step(&mut transaction, insert_user(user)).await?;
        let maker = self.maker(&mut transaction, act).await?;
        self.step(&mut transaction, insert_token(&user.id, initial.token, maker.id)).await?;
        if let Some((key_id, changes)) = initial.credentials {
            if !self.is_sealing_key(&mut transaction, key_id).await? {
                return Ok(UserCreation::OtherKey);
            }
            let owner = Owner::User(user.id.clone());
            for change in changes {
                self.step(&mut transaction, change_query(&owner, change)).await?;
            }
        }
        self.commit_act(transaction, Invalidates::User(&user.id), act).await?;
        Ok(UserCreation::Created)
    }

    /// All users, oldest first.
    pub async fn users(&self) -> Result<Vec<User>> {
        self.users_page(None, None).await
    }

    /// Users, oldest first: those after a creation time and an id, at most `limit`.
    pub async fn users_page(&self, after: Option<(u64, &UserId)>, limit: Option<u64>) -> Result<Vec<User>> {
        let query = concat!(
            user!(),
            "WHERE created_at > $1 OR (created_at = $1 AND id > $2) ORDER BY created_at, id LIMIT $3"
        );
        let (at, id) = after.map_or((-1, String::new()), |(at, id)| (to_db(at), id.to_string()));
        let rows = self.read(sqlx::query(query).bind(at).bind(id).bind(limit.map_or(-1, to_db))).await?;
        rows.iter().map(|row| self.user_row(row)).collect()
    }

    /// The user with this id.
    pub async fn user(&self, id: &UserId) -> Result<Option<User>> {
        let query = sqlx::query(concat!(user!(), "WHERE id = $1")).bind(id.to_string());
        self.read(query).await?.first().map(|row| self.user_row(row)).transpose()
    }

    /// The user with this id, or those with this name.
    pub async fn find_users(&self, id_or_name: &str) -> Result<Vec<User>> {
        let query = concat!(user!(), "WHERE id = $1 OR name = $1 ORDER BY created_at, id");
        let rows = self.read(sqlx::query(query).bind(id_or_name.to_owned())).await?;
        rows.iter().map(|row| self.user_row(row)).collect()
    }

    /// The names of the users with these ids, those that exist.
    pub async fn user_names(&self, ids: Vec<String>) -> Result<BTreeMap<String, String>> {
        let query = "SELECT id, name FROM users WHERE id IN (SELECT value FROM json_each($1))";
        let rows = self.read(sqlx::query(query).bind(serde_json::json!(ids).to_string())).await?;
        rows.iter().map(|row| Ok((self.get(row, "id")?, self.get(row, "name")?))).collect()
    }

    /// The names that no user has, and those of groups that have no user.
    pub async fn unknown_names(
        &self,
        users: Vec<String>,
        groups: Vec<String>,
    ) -> Result<(Vec<String>, Vec<String>)> {
        let of_users =
            "SELECT value FROM json_each($1) WHERE value NOT IN (SELECT name FROM users) ORDER BY value";
        let of_groups = "SELECT value FROM json_each($1)
             WHERE value NOT IN (SELECT group_name FROM users WHERE group_name IS NOT NULL) ORDER BY value";
        let mut unknown = Vec::new();
        for (query, names) in [(of_users, users), (of_groups, groups)] {
            let rows = self.read(sqlx::query(query).bind(serde_json::json!(names).to_string())).await?;
            unknown.push(rows.iter().map(|row| self.get(row, "value")).collect::<Result<Vec<String>>>()?);
        }
        let groups = unknown.pop().unwrap_or_default();
        Ok((unknown.pop().unwrap_or_default(), groups))
    }

    /// Changes a user. Returns `None` if no such user exists.
    pub async fn update_user(&self, id: &UserId, change: &UserChange, act: &Act) -> Result<Option<User>> {
        let mut transaction = self.begin_for(act).await?;
        let select = sqlx::query(concat!(user!(), "WHERE id = $1")).bind(id.to_string());
        let Some(row) = transaction.fetch_optional(select).await? else { return Ok(None) };
        let mut user = self.user_row(&row)?;
        let UserChange { name, ip, group, disabled_at_ms } = change.clone();
        user.name = name.unwrap_or(user.name);
        user.ip = ip.unwrap_or(user.ip);
        user.group = group.unwrap_or(user.group);
        user.disabled_at_ms = match disabled_at_ms {
            None => user.disabled_at_ms,
            Some(None) => None,
            Some(since) => user.disabled_at_ms.or(since),
        };
        let update = "UPDATE users SET name = $1, ip = $2, group_name = $3, disabled_at = $4 WHERE id = $5";
        let update = sqlx::query(update)
            .bind(user.name.clone())
            .bind(user.ip.clone())
            .bind(user.group.as_ref().map(GroupName::to_string))
            .bind(user.disabled_at_ms.map(to_db))
            .bind(id.to_string());
        self.step(&mut transaction, update).await?;
        self.commit_act(transaction, Invalidates::User(id), act).await?;
        Ok(Some(user))
    }

    /// Deletes a user with all tokens and credentials. Returns false if no such user exists.
    pub async fn delete_user(&self, user: &UserId, act: &Act) -> Result<bool> {
        let mut transaction = self.begin_for(act).await?;
        let delete = sqlx::query("DELETE FROM users WHERE id = $1").bind(user.to_string());
        if self.step(&mut transaction, delete).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let own = Owner::User(user.clone());
        self.step(&mut transaction, change_query(&own, &CredentialChange::RemoveAll)).await?;
        self.commit_act(transaction, Invalidates::User(user), act).await?;
        Ok(true)
    }

    pub(super) fn user_row(&self, row: &SqliteRow) -> Result<User> {
        let group = self.get::<Option<&str>>(row, "group_name")?;
        let no_group = |name| self.corrupt(format!("`{name}` is not a group's name"));
        Ok(User {
            id: self.user_id(row, "id")?,
            name: self.get(row, "name")?,
            ip: self.get(row, "ip")?,
            group: group.map(|name| GroupName::new(name).ok_or_else(|| no_group(name))).transpose()?,
            created_at_ms: from_db(self.get(row, "created_at")?),
            disabled_at_ms: self.time(row, "disabled_at")?,
        })
    }
}

pub(super) fn insert_user(user: &User) -> Query {
    let query = "INSERT INTO users (id, name, ip, group_name, created_at, disabled_at)
         VALUES ($1, $2, $3, $4, $5, $6)";
    sqlx::query(query)
        .bind(user.id.to_string())
        .bind(user.name.clone())
        .bind(user.ip.clone())
        .bind(user.group.as_ref().map(GroupName::to_string))
        .bind(to_db(user.created_at_ms))
        .bind(user.disabled_at_ms.map(to_db))
}
