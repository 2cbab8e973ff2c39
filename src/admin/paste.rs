//! Paste tokens: tokens in the shape of a vendor's own, for clients that insist on it. They are made at the paths that
//! provider files name, and whenever the login that they stand for is set.

use std::collections::BTreeMap;

use http::StatusCode;

use super::{
    Admin, ApiResult, Request, Response, not_found,
    payloads::PasteToken,
    scope::{out_of_scope, reaches},
    store_fault,
};
use crate::{
    accounts::{self, Caller, Edit},
    bind,
    fault::{Cause, Fault, FaultKind},
    secret::Secret,
    store::PasteTokenIssue,
};

impl Admin {
    /// Makes a paste token of the provider whose file names the request's path.
    pub(super) async fn create_paste_token(&self, caller: &Caller, request: &Request) -> ApiResult {
        let provider = request.table.pasting_at(&request.path).ok_or_else(not_found)?;
        let paste = provider.paste_token.as_ref().ok_or_else(not_found)?;
        if !reaches(caller, &provider.name) {
            let name = &provider.name;
            return Err(out_of_scope(format!(
                "This token's scopes do not reach `{name}`, the provider of this paste token"
            )));
        }
        let token = self.issue_paste_token(caller, provider, request).await?;
        let missing = || {
            let message = paste.spec.missing.clone();
            Fault::new(FaultKind::InvalidRequest, message).because(Cause::LoginMissing)
        };
        let token = token.ok_or_else(missing)?;
        let named = BTreeMap::from([(paste.spec.reply.clone(), token.expose().to_owned())]);
        Ok(Response::json(StatusCode::OK, &PasteToken(named)))
    }

    async fn issue_paste_token(
        &self,
        caller: &Caller,
        provider: &bind::Provider,
        request: &Request,
    ) -> Result<Option<Secret>, Fault> {
        accounts::issue_paste_token(&self.store, &request.actor, caller, provider).await.map_err(store_fault)
    }
}

/// The paste tokens of the logins that `edits` set, of each provider that the calling token reaches: each with its name in
/// the response, and as it is to be stored.
pub(super) fn draft_paste_tokens(
    caller: &Caller,
    edits: &[Edit],
    request: &Request,
) -> Vec<((String, Secret), PasteTokenIssue)> {
    let mut tokens = Vec::new();
    for provider in &request.table.providers {
        let (Some(paste), Some(login)) = (&provider.paste_token, &provider.section) else { continue };
        let sets_login = |edit: &Edit| match edit {
            Edit::Set { section, field, .. } => *section == login.name && *field == paste.field,
            Edit::Remove { .. } | Edit::Bind { .. } | Edit::RemoveAll => false,
        };
        if reaches(caller, &provider.name)
            && edits.iter().any(sets_login)
            && let Some((token, issue)) = accounts::draft_paste_token(&request.actor, caller, provider)
        {
            tokens.push(((paste.spec.reply.clone(), token), issue));
        }
    }
    tokens
}
