//! Credentials of users, of groups and of everybody: read masked, replaced whole, or changed in parts.

use http::StatusCode;
use serde_json::Value;

use super::{
    Admin, Answered, Asker, Request, answer,
    body::{self, bad, wrong_type},
    document, done, lost,
    reach::may_edit,
    shape::{Confirm, Confirmation, MaskedCredentials},
    users::{no_user, other_key},
};
use crate::{
    accounts::{self, Caller, ConfirmError, Edit, Which},
    fault::{Fault, Kind},
    leak,
    name::{GroupName, Owner},
    store::ChangeOutcome,
};

/// What stands in a path as a group's name.
pub(super) fn group(name: &str) -> Result<Owner, Fault> {
    GroupName::new(name).map(Owner::Group).ok_or_else(|| bad("the path", GroupName::RULE))
}

impl Admin {
    pub(super) async fn creds(&self, owner: &Owner, request: &Request) -> Answered {
        if let Owner::User(id) = owner {
            self.store.user(id).await.map_err(lost)?.ok_or_else(|| gone(request))?;
        }
        Ok(answer(StatusCode::OK, &self.masked(owner).await?))
    }

    pub(super) async fn replace_creds(&self, owner: &Owner, request: &Request) -> Answered {
        let edits = self.wanted(owner, request).await?;
        let kept = edits.into_iter().filter(|edit| matches!(edit, Edit::Set { .. }));
        let edits: Vec<_> = std::iter::once(Edit::RemoveAll).chain(kept).collect();
        self.change(owner, &edits, request).await?;
        Ok(done())
    }

    pub(super) async fn merge_creds(&self, owner: &Owner, request: &Request) -> Answered {
        let edits = self.wanted(owner, request).await?;
        self.change(owner, &edits, request).await?;
        Ok(answer(StatusCode::OK, &self.masked(owner).await?))
    }

    pub(super) async fn merge_my_creds(&self, caller: &Caller, request: &Request) -> Answered {
        let owner = Owner::User(caller.id.clone());
        let edits = self.wanted(&owner, request).await?;
        may_edit(caller, &edits, &request.table)?;
        self.change(&owner, &edits, request).await?;
        let mut document = self.masked(&owner).await?;
        let pasted = self.pasted(caller, &edits, request).await?;
        document.0.extend(pasted.into_iter().map(|(name, token)| (name, token.expose().into())));
        Ok(answer(StatusCode::OK, &document))
    }

    /// Lets what has moved of an owner's credentials go where the files lead now.
    pub(super) async fn confirm_creds(&self, owner: &Owner, request: &Request) -> Answered {
        let asked: Confirm = body::parse(body::json_or_nothing(&request.body)?)?;
        let which = match (asked.section.as_deref(), asked.field.as_deref()) {
            (None, None) => Which::All,
            (Some(section), None) => Which::Section(section),
            (Some(section), Some(field)) => Which::Field(section, field),
            (None, Some(_)) => return Err(bad("/field", "a field is named with its `section`")),
        };
        if let Owner::User(id) = owner {
            self.store.user(id).await.map_err(lost)?.ok_or_else(|| gone(request))?;
        }
        if let Asker::User(caller) = &request.asker {
            self.may_confirm(caller, which, &request.table).await?;
        }
        let known = &request.table.fields;
        let done = accounts::confirm(&self.store, &request.actor, &self.key, owner, known, which).await;
        match done {
            Ok(confirmed) => Ok(answer(StatusCode::OK, &Confirmation { confirmed })),
            Err(ConfirmError::Unknown(unknown)) => Err(bad("", leak::mask(&unknown.to_string()))),
            Err(ConfirmError::Contended) => {
                Err(Fault::new(Kind::StoreUnavailable, ConfirmError::Contended.to_string()))
            }
            Err(ConfirmError::Store(error)) => Err(lost(error)),
        }
    }

    /// What the body of a call asks for.
    async fn wanted(&self, owner: &Owner, request: &Request) -> Result<Vec<Edit>, Fault> {
        let Value::Object(document) = body::json(&request.body)? else {
            return Err(wrong_type("", &body::json(&request.body)?, "an object"));
        };
        let stored = self.store.credentials(owner).await.map_err(lost)?;
        let stored = stored.into_iter().map(|one| (one.section, one.field)).collect();
        document::edits(&document, "", &request.table.fields, &stored)
    }

    async fn change(&self, owner: &Owner, edits: &[Edit], request: &Request) -> Result<(), Fault> {
        let changed =
            accounts::change_credentials(&self.store, &request.actor, &self.key, owner, edits).await;
        match changed.map_err(lost)? {
            ChangeOutcome::Done { .. } => Ok(()),
            ChangeOutcome::UnknownUser => Err(gone(request)),
            ChangeOutcome::OtherKey => Err(other_key()),
        }
    }

    async fn masked(&self, owner: &Owner) -> Result<MaskedCredentials, Fault> {
        let read = accounts::read_credentials(&self.store, &self.key, owner).await;
        let (credentials, lost) = read.map_err(lost)?;
        let lost = lost.iter().map(|one| (one.section.as_str(), one.field.as_str()));
        Ok(document::masked(&credentials, lost))
    }
}

/// There is no such user, or not any more.
fn gone(request: &Request) -> Fault {
    match request.asker {
        Asker::User(_) => Fault::invalid_token(),
        Asker::Local | Asker::Admin => no_user(),
    }
}
