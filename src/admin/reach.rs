//! How far a user's token reaches below `/auth`: one that was replaced only reads, and one with scopes changes only
//! what the providers within them use. What leaks must not be good for more than what it was made for.

use std::collections::BTreeSet;

use super::{Admin, lost};
use crate::{
    accounts::{self, Caller, Edit, Which},
    bind,
    fault::{Fault, Kind},
    name::{FileName, Owner, Scope, TokenId},
    table::Table,
};

/// Whether a token may make this call at all.
pub(super) fn may_change(caller: &Caller, method: &str) -> Result<(), Fault> {
    if caller.token.replaced && method != "GET" { Err(replaced()) } else { Ok(()) }
}

/// Another token is in the place of the one that called.
pub(super) fn replaced() -> Fault {
    Fault::new(Kind::TokenReplaced, "Another token has taken the place of this one: use that one")
}

/// Whether a token reaches anything of a provider.
pub(super) fn reaches(caller: &Caller, provider: &FileName) -> bool {
    let scopes = caller.token.scopes.as_ref();
    scopes.is_none_or(|scopes| scopes.iter().any(|scope| scope.provider == *provider))
}

/// A token's scopes do not reach what was asked for.
pub(super) fn out_of_scope(message: String) -> Fault {
    Fault::new(Kind::TokenScope, message)
}

/// Whether what `own` lets through to, all of it, `other` is within.
fn within(own: Option<&[Scope]>, other: Option<&[Scope]>) -> bool {
    match (own, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own), Some(other)) => other.iter().all(|scope| own.iter().any(|one| one.includes(scope))),
    }
}

/// Whether a token may change what stands in these sections.
fn may_change_sections<'s>(
    caller: &Caller,
    sections: impl IntoIterator<Item = &'s str>,
    table: &Table,
) -> Result<(), Fault> {
    let name = |provider: &bind::Provider| provider.section.as_ref().map(|section| section.name.clone());
    let reached = table.providers.iter().filter(|provider| reaches(caller, &provider.name));
    let reached: BTreeSet<String> = reached.filter_map(|provider| name(provider)).collect();
    let mut out = sections.into_iter().filter(|section| !reached.contains(*section));
    match out.next() {
        Some(section) if caller.token.scopes.is_some() => Err(out_of_scope(format!(
            "This token's scopes reach no provider that uses the section `{section}`"
        ))),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn may_edit(caller: &Caller, edits: &[Edit], table: &Table) -> Result<(), Fault> {
    let section = |edit: &Edit| match edit {
        Edit::Set { section, .. } | Edit::Remove { section, .. } => Some(section.clone()),
        Edit::RemoveAll => None,
    };
    let sections: Vec<String> = edits.iter().filter_map(section).collect();
    may_change_sections(caller, sections.iter().map(String::as_str), table)
}

impl Admin {
    /// What is named may not be there: that is told by whoever looks for it.
    pub(super) async fn may_confirm(
        &self,
        caller: &Caller,
        which: Which<'_>,
        table: &Table,
    ) -> Result<(), Fault> {
        match which {
            Which::Section(section) | Which::Field(section, _) => {
                may_change_sections(caller, [section], table)
            }
            Which::All => {
                let stored = self.store.credentials(&Owner::User(caller.id.clone())).await;
                let stored = stored.map_err(lost)?;
                let moved = stored.iter().filter(|one| accounts::moved(&table.fields, one).is_some());
                may_change_sections(caller, moved.map(|one| one.section.as_str()), table)
            }
        }
    }

    /// Of a token that is not there, whoever revokes it tells.
    pub(super) async fn may_revoke(&self, caller: &Caller, token: &TokenId) -> Result<(), Fault> {
        let tokens = self.store.tokens_page(&caller.id, None, None).await.map_err(lost)?;
        let own = caller.token.scopes.as_deref();
        match tokens.iter().find(|one| one.id == *token) {
            Some(one) if !within(own, one.scopes.as_deref()) => Err(out_of_scope(
                "That token reaches further than this one: this one cannot revoke it".to_owned(),
            )),
            Some(_) | None => Ok(()),
        }
    }
}
