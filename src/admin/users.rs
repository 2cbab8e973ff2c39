//! Users, and what was done to all of this.

use std::collections::BTreeSet;

use http::StatusCode;

use super::{
    Admin, Answer, Answered, Request, answer,
    body::{self, bad},
    document, done, lost,
    page::Page,
    shape::{AuditEntry, ById, MadeUser, NewUser, User, UserPatch},
};
use crate::{
    accounts::{self, DisplayName, Draft, NewUser as Outcome, now_ms, utc},
    fault::{Fault, Kind},
    name::{GroupName, Owner, UserId},
    store::{self, DuplicateNames, UserChange},
};

/// The most entries of the audit log that are given at a time.
const MAX_ENTRIES: u64 = 1000;

/// There is no such user.
pub(super) fn no_user() -> Fault {
    Fault::new(Kind::NotFound, "User not found")
}

/// What stands in a path as a user's id. Of one that is none there is no user.
pub(super) fn id(text: &str) -> Result<UserId, Fault> {
    UserId::new(text).ok_or_else(no_user)
}

/// The same, as the owner of credentials.
pub(super) fn owner(text: &str) -> Result<Owner, Fault> {
    id(text).map(Owner::User)
}

/// A text as a name or a label.
pub(super) fn display_name(path: &str, text: &str) -> Result<DisplayName, Fault> {
    DisplayName::new(text).map_err(|error| bad(path, error.to_string()))
}

impl Admin {
    pub(super) async fn make_user(&self, request: &Request) -> Answered {
        let value = body::json(&request.body)?;
        if value.get("name").and_then(|name| name.as_str()).is_none_or(str::is_empty) {
            return Err(Fault::new(Kind::InvalidRequest, "Missing required field: name"));
        }
        let new: NewUser = body::parse(value)?;
        let creds = new.creds.unwrap_or_default();
        let edits = document::edits(&creds.0, "/creds", &request.table.fields, &BTreeSet::new())?;
        let draft = Draft {
            name: display_name("/name", &new.name)?,
            ip: new.ip.as_deref().map(|note| ip("/ip", note)).transpose()?,
            group: new.group.as_deref().map(|name| group("/group", name)).transpose()?,
            credentials: Some((&self.key, edits)),
        };
        match accounts::add_user(&self.store, &request.actor, draft, DuplicateNames::Allow)
            .await
            .map_err(lost)?
        {
            Outcome::Created { id, token } => {
                let made = MadeUser { user_id: id.to_string(), token: token.expose().to_owned() };
                Ok(answer(StatusCode::CREATED, &made))
            }
            Outcome::NameTaken(_) | Outcome::OtherKey => Err(other_key()),
        }
    }

    pub(super) async fn users(&self, request: &Request) -> Answered {
        let page = Page::of(request)?;
        let after = match &page.after {
            None => None,
            Some(text) => Some(self.after(text).await?),
        };
        let after = after.as_ref().map(|user| (user.created_at_ms, &user.id));
        let users = self.store.users_page(after, page.wanted()).await.map_err(lost)?;
        let mut list = ById(users.iter().map(|user| (user.id.to_string(), shown(user))).collect());
        let link = page.cut(&request.path, &mut list);
        Ok(Answer { link, ..answer(StatusCode::OK, &list) })
    }

    /// The user that the page before ended with.
    async fn after(&self, text: &str) -> Result<store::User, Fault> {
        let none =
            || Fault::new(Kind::InvalidRequest, "?after=: there is no such user, or no more: begin anew");
        let id = UserId::new(text).ok_or_else(none)?;
        self.store.user(&id).await.map_err(lost)?.ok_or_else(none)
    }

    pub(super) async fn user(&self, text: &str) -> Answered {
        let user = self.store.user(&id(text)?).await.map_err(lost)?.ok_or_else(no_user)?;
        Ok(answer(StatusCode::OK, &shown(&user)))
    }

    pub(super) async fn change_user(&self, text: &str, request: &Request) -> Answered {
        let patch: UserPatch = body::parse(body::json(&request.body)?)?;
        let name = patch.name.map(|name| display_name("/name", &name)).transpose()?;
        let ip = |note: Option<String>| note.map(|note| ip("/ip", &note)).transpose();
        let group = |name: Option<String>| name.map(|name| group("/group", &name)).transpose();
        let change = UserChange {
            name: name.map(|name| name.as_str().to_owned()),
            ip: patch.ip.map(ip).transpose()?,
            group: patch.group.map(group).transpose()?,
            disabled_at_ms: patch.disabled.map(|disabled| disabled.then(now_ms)),
        };
        let user = accounts::update_user(&self.store, &request.actor, &id(text)?, &change).await;
        let user = user.map_err(lost)?.ok_or_else(no_user)?;
        Ok(answer(StatusCode::OK, &shown(&user)))
    }

    pub(super) async fn remove_user(&self, text: &str, request: &Request) -> Answered {
        let removed = accounts::remove_user(&self.store, &request.actor, &id(text)?).await.map_err(lost)?;
        if removed { Ok(done()) } else { Err(no_user()) }
    }

    pub(super) async fn audit(&self, request: &Request) -> Answered {
        let page = Page::of(request)?;
        let page =
            Page { limit: Some(page.limit.map_or(MAX_ENTRIES, |limit| limit.min(MAX_ENTRIES))), ..page };
        let number = |text: &String| text.parse::<u64>().ok();
        let after = page.after.as_ref().map(|text| number(text).ok_or(text)).transpose();
        let after = after.map_err(|_| {
            Fault::new(
                Kind::InvalidRequest,
                "?after=: the number of an entry is written in digits, as in `?after=100`",
            )
        })?;
        let entries = self.store.audit_page(after.unwrap_or(0), page.wanted()).await.map_err(lost)?;
        let mut list =
            ById(entries.into_iter().map(|entry| (entry.seq.to_string(), entry_shown(entry))).collect());
        let link = page.cut(&request.path, &mut list);
        Ok(Answer { link, ..answer(StatusCode::OK, &list) })
    }
}

/// The master key that this process has is not the one that seals any more.
pub(super) fn other_key() -> Fault {
    Fault::new(
        Kind::StoreUnavailable,
        "The master key has been replaced meanwhile, and nothing was changed: restart tollgate with that one",
    )
}

/// A note is text that can be seen.
fn ip(path: &str, note: &str) -> Result<String, Fault> {
    if note.chars().any(char::is_control) {
        return Err(bad(path, "it has control characters"));
    }
    Ok(note.to_owned())
}

fn group(path: &str, name: &str) -> Result<GroupName, Fault> {
    GroupName::new(name).ok_or_else(|| bad(path, GroupName::RULE))
}

fn shown(user: &store::User) -> User {
    User {
        name: user.name.clone(),
        ip: user.ip.clone(),
        group: user.group.as_ref().map(GroupName::to_string),
        created_at: utc(user.created_at_ms),
        disabled_at: user.disabled_at_ms.map(utc),
    }
}

fn entry_shown(entry: store::AuditEntry) -> AuditEntry {
    AuditEntry {
        at: utc(entry.at_ms),
        at_ms: entry.at_ms,
        actor: entry.actor,
        source: entry.source,
        action: entry.action,
        target: entry.target,
        detail: serde_json::from_str(&entry.detail).unwrap_or_default(),
        hash: entry.hash,
    }
}
