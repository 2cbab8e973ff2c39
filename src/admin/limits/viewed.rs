//! The user whose limits a report is about, and what of them the report has.

use std::collections::BTreeSet;

use super::super::{Admin, Request, scope::is_visible, store_fault, users::invalid_user};
use super::document::{self, AllowRule};
use crate::{
    accounts::Caller,
    compile::{CallerFilter, Limit, Limits, NameFilter},
    fault::Fault,
    name::{FileName, GroupName, Scope, UserId},
    store::User,
    syntax::{Per, TokenKindValue},
};

/// A user whose limits are reported.
#[derive(Debug)]
pub(super) struct Viewed {
    pub(super) id: UserId,
    pub(super) name: String,
    pub(super) group: Option<GroupName>,
    /// The ids of the tokens whose amounts are reported.
    pub(super) tokens: BTreeSet<String>,
    /// The scopes of the calling token; all providers if none.
    scopes: Option<Vec<Scope>>,
    /// True if the report is for the user, and not for an admin.
    is_caller: bool,
}

impl Admin {
    /// The user that an admin names, by id or name.
    pub(super) async fn viewed_user(&self, id_or_name: &str) -> Result<Viewed, Fault> {
        let found = self.store.find_users(id_or_name).await.map_err(store_fault)?;
        let [User { id, name, group, .. }] = found.as_slice() else {
            return Err(invalid_user(found.len()));
        };
        let tokens = self.store.tokens_page(id, None, None).await.map_err(store_fault)?;
        let tokens = tokens.iter().map(|token| token.id.to_string()).collect();
        let (id, name, group) = (id.clone(), name.clone(), group.clone());
        Ok(Viewed { id, name, group, tokens, scopes: None, is_caller: false })
    }

    /// The caller.
    pub(super) async fn viewed_caller(&self, caller: &Caller, request: &Request) -> Result<Viewed, Fault> {
        let tokens = self.store.tokens_page(&caller.id, None, None).await.map_err(store_fault)?;
        let tokens = tokens.iter().filter(|token| is_visible(token, request));
        Ok(Viewed {
            id: caller.id.clone(),
            name: caller.name.clone(),
            group: caller.group.clone(),
            tokens: tokens.map(|token| token.id.to_string()).collect(),
            scopes: caller.token.scopes.clone(),
            is_caller: true,
        })
    }
}

impl Viewed {
    /// True if a limit is for requests of the user, by some token.
    pub(super) fn is_in(&self, limit: &Limit) -> bool {
        self.matches(&limit.filter.caller) && self.reaches(&limit.filter.provider)
    }

    /// True if requests of the user take from the amount of these parts, and the report may have it.
    pub(super) fn has(&self, parts: &[(Per, String)]) -> bool {
        let is_own = parts.iter().any(|(per, _)| matches!(per, Per::User | Per::Token));
        parts.iter().all(|(per, text)| match per {
            Per::User => self.id.as_str() == text,
            Per::Token => self.tokens.contains(text),
            Per::Group => self.group.as_ref().map_or("", GroupName::as_str) == text,
            Per::Provider => {
                let name = FileName::new(text);
                let is_in =
                    |scopes: &Vec<Scope>| scopes.iter().any(|scope| Some(&scope.provider) == name.as_ref());
                self.scopes.as_ref().is_none_or(is_in)
            }
            // Names of models come from clients: one user does not see those of others.
            Per::Model => is_own || !self.is_caller,
            Per::All => true,
        })
    }

    /// The rules for the user.
    pub(super) fn rules(&self, limits: &Limits) -> Vec<AllowRule> {
        let rules = limits.allows().iter().filter(|rule| self.matches(&rule.caller));
        rules.map(|rule| document::rule(rule)).collect()
    }

    fn matches(&self, filter: &CallerFilter) -> bool {
        is_for(filter, &self.name, self.group.as_ref())
    }

    fn reaches(&self, providers: &NameFilter) -> bool {
        let scopes = self.scopes.as_ref();
        scopes.is_none_or(|scopes| scopes.iter().any(|scope| providers.matches(scope.provider.as_str())))
    }
}

/// True if a filter is for a user with some kind of token.
pub(super) fn is_for(filter: &CallerFilter, name: &str, group: Option<&GroupName>) -> bool {
    let kinds = [TokenKindValue::Proxy, TokenKindValue::Both, TokenKindValue::Paste];
    kinds.into_iter().any(|kind| filter.matches(name, group, kind))
}
