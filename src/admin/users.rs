//! Operations on users.

use http::StatusCode;

use super::{
    Admin, ApiResult, Request, Response, body, document,
    document::ValueRules,
    json,
    page::invalid_query,
    payloads::{MadeUser, NewUser, User, UserPatch},
    pointer, store_fault,
};
use crate::{
    accounts::{self, AddressNote, DisplayName, NewUser as Outcome, UserDraft},
    clock::{now_ms, utc},
    fault::{Cause, Fault, FaultKind},
    name::{GroupName, Owner, UserId},
    store::{self, DuplicateNames, UserChange},
};

/// The fault for a user who does not exist.
pub(super) fn user_not_found() -> Fault {
    Fault::new(FaultKind::NotFound, "User not found").because(Cause::UnknownUser)
}

/// The fault for `?user=` if so many users have the id or name that it gives.
pub(super) fn invalid_user(found: usize) -> Fault {
    invalid_query(match found {
        0 => "?user=: no user has this id or name",
        _ => "?user=: several users have this name: give an id",
    })
}

/// The fault for a new user without a name, which is also refused if it is empty or not a text.
fn missing_name() -> Fault {
    let fault = Fault::new(FaultKind::InvalidRequest, "Missing required field: name");
    Fault { at: Some("/name".to_owned()), ..fault.because(Cause::MissingKey) }
}

/// The user id in a path. A malformed id is that of no user.
pub(super) fn id(text: &str) -> Result<UserId, Fault> {
    UserId::new(text).ok_or_else(user_not_found)
}

/// The user id in a path, as the owner of credentials.
pub(super) fn owner(text: &str) -> Result<Owner, Fault> {
    id(text).map(Owner::User)
}

/// Parses a display name or a label.
pub(super) fn display_name(path: &str, text: &str) -> Result<DisplayName, Fault> {
    DisplayName::new(text).map_err(|error| pointer::fault(path, Cause::InvalidValue, error.to_string()))
}

impl Admin {
    pub(super) async fn create_user(&self, request: &Request) -> ApiResult {
        let value = json::parse(&request.body)?;
        if value.get("name").and_then(|name| name.as_str()).is_none_or(str::is_empty) {
            return Err(missing_name());
        }
        let new: NewUser = body::parse(value)?;
        let creds = new.creds.unwrap_or_default();
        let rules = ValueRules { known: &request.table.fields, user_origins: &self.user_origins };
        let edits = document::first_edits(&creds.0, "/creds", rules)?;
        let draft = UserDraft {
            name: display_name("/name", &new.name)?,
            ip: new.ip.as_deref().map(|note| ip("/ip", note)).transpose()?,
            group: new.group.as_deref().map(|name| group("/group", name)).transpose()?,
            credentials: Some((&self.key, edits)),
        };
        match accounts::add_user(&self.store, &request.actor, draft, DuplicateNames::Allow)
            .await
            .map_err(store_fault)?
        {
            Outcome::Created { id, token } => {
                let made = MadeUser { user_id: id.to_string(), token: token.expose().to_owned() };
                Ok(Response::json(StatusCode::CREATED, &made))
            }
            Outcome::NameTaken(_) | Outcome::OtherKey => Err(other_key()),
        }
    }

    pub(super) async fn update_user(&self, text: &str, request: &Request) -> ApiResult {
        let patch: UserPatch = body::parse(json::parse(&request.body)?)?;
        let name = patch.name.map(|name| display_name("/name", &name)).transpose()?;
        let ip = |note: Option<String>| note.map(|note| Ok(ip("/ip", &note)?.into_string())).transpose();
        let group = |name: Option<String>| name.map(|name| group("/group", &name)).transpose();
        let change = UserChange {
            name: name.map(|name| name.as_str().to_owned()),
            ip: patch.ip.map(ip).transpose()?,
            group: patch.group.map(group).transpose()?,
            disabled_at_ms: patch.disabled.map(|disabled| disabled.then(now_ms)),
        };
        let user = accounts::update_user(&self.store, &request.actor, &id(text)?, &change).await;
        let user = user.map_err(store_fault)?.ok_or_else(user_not_found)?;
        Ok(Response::json(StatusCode::OK, &listed(&user)))
    }

    pub(super) async fn delete_user(&self, text: &str, request: &Request) -> ApiResult {
        let removed =
            accounts::remove_user(&self.store, &request.actor, &id(text)?).await.map_err(store_fault)?;
        if removed { Ok(Response::done()) } else { Err(user_not_found()) }
    }
}

/// The fault for a master key that was rotated by another process.
pub(super) fn other_key() -> Fault {
    Fault::new(
        FaultKind::StoreUnavailable,
        "The master key was replaced meanwhile, and nothing was changed: restart tollgate with the new one",
    )
}

fn ip(path: &str, note: &str) -> Result<AddressNote, Fault> {
    AddressNote::new(note).map_err(|error| pointer::fault(path, Cause::InvalidValue, error.to_string()))
}

fn group(path: &str, name: &str) -> Result<GroupName, Fault> {
    GroupName::new(name).ok_or_else(|| pointer::fault(path, Cause::InvalidValue, GroupName::RULE))
}

fn listed(user: &store::User) -> User {
    User {
        name: user.name.clone(),
        ip: user.ip.clone(),
        group: user.group.as_ref().map(GroupName::to_string),
        created_at: utc(user.created_at_ms),
        disabled_at: user.disabled_at_ms.map(utc),
    }
}
