//! Authorization of self-service calls by the token's scopes. A replaced token only reads. A token with scopes changes
//! only what the providers within them use, so that a leaked token is worth no more than it was made for.

use std::collections::BTreeSet;

use super::{Admin, store_fault};
use crate::{
    accounts::{self, Caller, CredentialSelector, Edit},
    bind,
    fault::{Fault, FaultKind},
    name::{FileName, Owner, Scope, TokenId},
    store::RevokeExtent,
    table::Table,
};

/// Refuses a change by a token that was replaced.
pub(super) fn check_not_replaced(caller: &Caller, method: &str) -> Result<(), Fault> {
    if caller.token.replaced && method != "GET" { Err(replaced()) } else { Ok(()) }
}

/// The fault for a token that a rotation replaced.
pub(super) fn replaced() -> Fault {
    Fault::new(FaultKind::TokenReplaced, "This token was replaced: use the one that replaced it")
}

/// True if the caller's token reaches any endpoint of a provider.
pub(super) fn reaches(caller: &Caller, provider: &FileName) -> bool {
    let scopes = caller.token.scopes.as_ref();
    scopes.is_none_or(|scopes| scopes.iter().any(|scope| scope.provider == *provider))
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
        Edit::Set { section, .. } | Edit::Remove { section, .. } => Some(section.clone()),
        Edit::RemoveAll => None,
    };
    let sections: Vec<String> = edits.iter().filter_map(section).collect();
    check_sections(caller, sections.iter().map(String::as_str), table)
}

/// A section is in scope if a provider that the token reaches uses it.
fn check_sections<'s>(
    caller: &Caller,
    sections: impl IntoIterator<Item = &'s str>,
    table: &Table,
) -> Result<(), Fault> {
    if caller.token.scopes.is_none() {
        return Ok(());
    }
    let name = |provider: &bind::Provider| provider.section.as_ref().map(|section| section.name.clone());
    let reached = table.providers.iter().filter(|provider| reaches(caller, &provider.name));
    let reached: BTreeSet<String> = reached.filter_map(|provider| name(provider)).collect();
    match sections.into_iter().find(|section| !reached.contains(*section)) {
        Some(section) => Err(out_of_scope(format!(
            "This token's scopes reach no provider that uses the section `{section}`"
        ))),
        None => Ok(()),
    }
}

impl Admin {
    /// Checks a confirmation. A field that does not exist passes here: the confirmation itself refuses it.
    pub(super) async fn check_confirm(
        &self,
        caller: &Caller,
        which: CredentialSelector<'_>,
        table: &Table,
    ) -> Result<(), Fault> {
        match which {
            CredentialSelector::Section(section) | CredentialSelector::Field(section, _) => {
                check_sections(caller, [section], table)
            }
            CredentialSelector::All => {
                let stored = self.store.credentials(&Owner::User(caller.id.clone())).await;
                let stored = stored.map_err(store_fault)?;
                let moved =
                    stored.iter().filter(|one| accounts::unconfirmed_origins(&table.fields, one).is_some());
                check_sections(caller, moved.map(|one| one.section.as_str()), table)
            }
        }
    }

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
