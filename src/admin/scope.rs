//! Authorization of self-service calls by the token's scopes. A replaced token only reads. A token with scopes changes
//! only what the providers within them use, so that a leaked token is worth no more than it was made for.

use std::collections::BTreeSet;

use super::{
    Admin, Principal, Request,
    operations::{Parameter, ParameterKind},
    store_fault,
};
use crate::{
    accounts::{Caller, Edit},
    bind,
    fault::{Fault, FaultKind},
    name::{FileName, Scope, TokenId},
    rewrite::value_of,
    store::{RevokeExtent, StoredToken},
    table::Table,
};

/// Refuses a change by a token that was replaced.
pub(super) fn check_not_replaced(caller: &Caller, method: &str) -> Result<(), Fault> {
    if caller.token.replaced && method != "GET" { Err(replaced()) } else { Ok(()) }
}

/// The parameter of a user's change.
pub(super) const USER: Parameter = Parameter {
    name: "as",
    description: "The id of the user for whom the change is meant; refused if the caller is another, as when somebody else signed in to the same browser",
    kind: ParameterKind::Text,
};

/// Refuses a change that is meant for another user than the caller.
pub(super) fn check_user(caller: &Caller, query: Option<&str>) -> Result<(), Fault> {
    match value_of(query, USER.name) {
        Some(id) if id != caller.id.as_str() => Err(other_user()),
        Some(_) | None => Ok(()),
    }
}

/// The fault for a change that is meant for another user than the caller.
pub fn other_user() -> Fault {
    let message = "Somebody else has signed in meanwhile, and nothing was changed: load the page again";
    Fault::new(FaultKind::OtherUser, message)
}

/// The fault for a token that a rotation replaced.
pub(super) fn replaced() -> Fault {
    Fault::new(FaultKind::TokenReplaced, "This token was replaced: use the one that replaced it")
}

/// True if the caller's token reaches any endpoint of a provider.
pub(super) fn reaches(caller: &Caller, provider: &FileName) -> bool {
    Reach(caller.token.scopes.as_deref()).provider(provider)
}

/// The providers and endpoints that a call's token reaches; all for admins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach<'r>(pub(super) Option<&'r [Scope]>);

impl<'r> Reach<'r> {
    pub(super) fn of(request: &'r Request) -> Self {
        Self(match &request.principal {
            Principal::User(caller) => caller.token.scopes.as_deref(),
            Principal::Local | Principal::Admin => None,
        })
    }

    /// True if it reaches any endpoint of a provider.
    pub(super) fn provider(self, name: &FileName) -> bool {
        self.0.is_none_or(|scopes| scopes.iter().any(|scope| scope.provider == *name))
    }

    /// True if it reaches an endpoint.
    pub(super) fn endpoint(self, provider: &FileName, endpoint: &str) -> bool {
        self.0.is_none_or(|scopes| scopes.iter().any(|scope| scope.covers(provider, endpoint)))
    }

    /// True if it reaches a provider that uses a section; of all sections if nothing restricts it.
    pub(super) fn section(self, section: &str, table: &Table) -> bool {
        let uses = |one: &bind::Provider| one.section.as_ref().is_some_and(|own| own.name == section);
        self.0.is_none() || table.providers.iter().any(|one| self.provider(&one.name) && uses(one))
    }
}

/// The fault for a call beyond the token's scopes.
pub(super) fn out_of_scope(message: String) -> Fault {
    Fault::new(FaultKind::TokenScope, message)
}

/// True if everything that `inner` reaches is within `outer`.
fn is_within(inner: Option<&[Scope]>, outer: Option<&[Scope]>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => inner.iter().all(|scope| outer.iter().any(|one| one.includes(scope))),
    }
}

/// Checks edits of the caller's credentials.
pub(super) fn check_edits(caller: &Caller, edits: &[Edit], table: &Table) -> Result<(), Fault> {
    let section = |edit: &Edit| match edit {
        Edit::Set { section, .. } | Edit::Remove { section, .. } | Edit::Bind { section, .. } => {
            Some(section.clone())
        }
        Edit::RemoveAll => None,
    };
    let sections: Vec<String> = edits.iter().filter_map(section).collect();
    check_sections(caller, sections.iter().map(String::as_str), table)
}

/// Checks the sections of the caller's credentials that a call changes.
pub(super) fn check_sections<'s>(
    caller: &Caller,
    sections: impl IntoIterator<Item = &'s str>,
    table: &Table,
) -> Result<(), Fault> {
    let visible = VisibleSections::within(caller, table);
    match sections.into_iter().find(|section| !visible.includes(section)) {
        Some(section) => Err(out_of_scope(format!(
            "This token's scopes reach no provider that uses the section `{section}`"
        ))),
        None => Ok(()),
    }
}

/// The sections of credentials that a call may read and change. A section is in scope if a provider that the token reaches
/// uses it. `None` for all.
pub(super) struct VisibleSections<'t>(Option<BTreeSet<&'t str>>);

impl<'t> VisibleSections<'t> {
    pub(super) fn of(request: &'t Request) -> Self {
        match &request.principal {
            Principal::User(caller) => Self::within(caller, &request.table),
            Principal::Local | Principal::Admin => Self(None),
        }
    }

    fn within(caller: &Caller, table: &'t Table) -> Self {
        if caller.token.scopes.is_none() {
            return Self(None);
        }
        let reached = table.providers.iter().filter(|provider| reaches(caller, &provider.name));
        Self(Some(reached.filter_map(|provider| Some(provider.section.as_ref()?.name.as_str())).collect()))
    }

    pub(super) fn includes(&self, section: &str) -> bool {
        self.0.as_ref().is_none_or(|sections| sections.contains(section))
    }
}

/// True if a call may see the token: one that reaches no further than the calling one.
pub(super) fn is_visible(token: &StoredToken, request: &Request) -> bool {
    match &request.principal {
        Principal::User(caller) => is_within(token.scopes.as_deref(), caller.token.scopes.as_deref()),
        Principal::Local | Principal::Admin => true,
    }
}

impl Admin {
    /// Checks a revocation: of the token, and of all that ends with it. A token that does not exist passes here: the
    /// revocation itself refuses it.
    pub(super) async fn check_revoke(
        &self,
        caller: &Caller,
        token: &TokenId,
        extent: RevokeExtent,
    ) -> Result<(), Fault> {
        let ending = match extent {
            RevokeExtent::Alone => BTreeSet::from([token.clone()]),
            RevokeExtent::WithMade => self.store.family(token).await.map_err(store_fault)?,
        };
        let tokens = self.store.tokens_page(&caller.id, None, None).await.map_err(store_fault)?;
        let own = caller.token.scopes.as_deref();
        let mut ending = tokens.iter().filter(|one| ending.contains(&one.id));
        match ending.find(|one| !is_within(one.scopes.as_deref(), own)) {
            Some(one) if one.id == *token => Err(out_of_scope(
                "That token reaches further than this one: this one cannot revoke it".to_owned(),
            )),
            Some(one) => Err(out_of_scope(format!(
                "The token `{}` came from that token and reaches further than this one: this one cannot revoke it",
                one.id
            ))),
            None => Ok(()),
        }
    }
}
