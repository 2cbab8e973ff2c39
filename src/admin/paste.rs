//! Paste tokens: made at the paths that provider files name, and whenever their login is set.

use std::collections::BTreeMap;

use http::StatusCode;

use super::{
    Admin, Answered, Request, answer, lost, not_found,
    reach::{out_of_scope, reaches},
    shape::PasteToken,
};
use crate::{
    accounts::{self, Caller, Edit},
    bind,
    fault::{Fault, Kind},
    secret::Secret,
};

impl Admin {
    /// A token of the shape of the provider that names this path.
    pub(super) async fn paste_token(&self, caller: &Caller, request: &Request) -> Answered {
        let provider = request.table.pasting_at(&request.path).ok_or_else(not_found)?;
        let paste = provider.paste_token.as_ref().ok_or_else(not_found)?;
        if !reaches(caller, &provider.name) {
            let name = &provider.name;
            return Err(out_of_scope(format!(
                "This token's scopes do not reach `{name}`, whose token this is"
            )));
        }
        match self.issued(caller, provider, request).await? {
            Some(token) => {
                let named = BTreeMap::from([(paste.spec.reply.clone(), token.expose().to_owned())]);
                Ok(answer(StatusCode::OK, &PasteToken(named)))
            }
            None => Err(Fault::new(Kind::InvalidRequest, paste.spec.missing.clone())),
        }
    }

    /// What a change that sets logins answers besides: the name in the answer, and a token, for each provider whose
    /// clients take one of its shape, and that the token which calls reaches.
    pub(super) async fn pasted(
        &self,
        caller: &Caller,
        edits: &[Edit],
        request: &Request,
    ) -> Result<Vec<(String, Secret)>, Fault> {
        let mut pasted = Vec::new();
        for provider in &request.table.providers {
            let (Some(paste), Some(login)) = (&provider.paste_token, &provider.section) else { continue };
            let sets = |edit: &Edit| match edit {
                Edit::Set { section, field, .. } => *section == login.name && *field == paste.field,
                Edit::Remove { .. } | Edit::RemoveAll => false,
            };
            if reaches(caller, &provider.name)
                && edits.iter().any(sets)
                && let Some(token) = self.issued(caller, provider, request).await?
            {
                pasted.push((paste.spec.reply.clone(), token));
            }
        }
        Ok(pasted)
    }

    async fn issued(
        &self,
        caller: &Caller,
        provider: &bind::Provider,
        request: &Request,
    ) -> Result<Option<Secret>, Fault> {
        accounts::issue_paste_token(&self.store, &request.actor, caller, provider).await.map_err(lost)
    }
}
