//! Credentials of users, of groups and of everybody: read masked, replaced whole, or changed in parts.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Map, Value};

use super::{
    Admin, Answered, Asker, Request, answer,
    body::{self, wrong_type},
    document::{self, Place},
    done, lost,
    shape::MaskedCredentials,
    users::{no_user, other_key},
};
use crate::{
    accounts::{self, Caller, Edit},
    fault::{Fault, Kind},
    name::{GroupName, Owner},
    store::ChangeOutcome,
};

/// What stands in a path as a group's name.
pub(super) fn group(name: &str) -> Result<Owner, Fault> {
    let bad = || {
        let message = "A group's name has 1 to 64 letters a-z, digits and `-`, and does not begin with `-`";
        Fault::new(Kind::InvalidRequest, message)
    };
    GroupName::new(name).map(Owner::Group).ok_or_else(bad)
}

impl Admin {
    /// The steps that a credentials document asks for.
    pub(super) fn edits(
        &self,
        document: &Map<String, Value>,
        path: &str,
        stored: &BTreeSet<Place>,
    ) -> Result<Vec<Edit>, Fault> {
        document::edits(document, path, &self.files.table().fields, stored)
    }

    pub(super) async fn creds(&self, owner: &Owner, request: &Request) -> Answered {
        if let Owner::User(id) = owner {
            self.store.user(id).await.map_err(lost)?.ok_or_else(|| gone(request))?;
        }
        Ok(answer(StatusCode::OK, &self.masked(owner).await?))
    }

    pub(super) async fn replace_creds(&self, owner: &Owner, request: &Request) -> Answered {
        let edits = self.wanted(owner, request).await?;
        let kept = edits.into_iter().filter(|edit| matches!(edit, Edit::Set { .. }));
        self.change(owner, std::iter::once(Edit::RemoveAll).chain(kept).collect(), request).await?;
        Ok(done())
    }

    pub(super) async fn merge_creds(&self, owner: &Owner, request: &Request) -> Answered {
        let edits = self.wanted(owner, request).await?;
        self.change(owner, edits, request).await?;
        Ok(answer(StatusCode::OK, &self.masked(owner).await?))
    }

    pub(super) async fn merge_my_creds(&self, caller: &Caller, request: &Request) -> Answered {
        self.merge_creds(&Owner::User(caller.id.clone()), request).await
    }

    /// What the body of a call asks for.
    async fn wanted(&self, owner: &Owner, request: &Request) -> Result<Vec<Edit>, Fault> {
        let Value::Object(document) = body::json(&request.body)? else {
            return Err(wrong_type("", &body::json(&request.body)?, "an object"));
        };
        let stored = self.store.credentials(owner).await.map_err(lost)?;
        let stored = stored.into_iter().map(|one| (one.section, one.field)).collect();
        self.edits(&document, "", &stored)
    }

    async fn change(&self, owner: &Owner, edits: Vec<Edit>, request: &Request) -> Result<(), Fault> {
        let changed =
            accounts::change_credentials(&self.store, &request.actor, &self.key, owner, &edits).await;
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
        Asker::User(_) => Fault::new(Kind::InvalidToken, "Invalid or missing auth credentials"),
        Asker::Local | Asker::Admin => no_user(),
    }
}
