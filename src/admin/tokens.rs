//! Operations on tokens of users and admins. A token itself is in one response, the one to its creation, and nowhere else.

use http::StatusCode;

use super::{
    Admin, ApiResult, Request, Response, body, json,
    page::{Page, invalid_query, revoke_extent},
    payloads::{
        AdminToken, ById, KindOfAdminToken, KindOfToken, ListedKind, MadeAdminToken, MadeToken, Me, MyToken,
        NewAdminToken, NewToken, Revoked, Rotated, Token,
    },
    pointer::{self, hint},
    scope::{is_visible, out_of_scope, replaced},
    store_fault,
    users::{display_name, user_not_found},
};
use crate::{
    accounts::{self, Caller, IssuedToken, REPLACED_TOKEN_MS, RotateError, TokenDraft},
    clock::{from_utc, now_ms, utc},
    fault::{Cause, Fault, FaultKind},
    name::{AdminTokenId, FileName, GroupName, Scope, TokenId, UserId},
    store::{self, AdminTokenRevocation, Maker, Right, TokenKind},
    table::Table,
};

/// The calling user and token.
pub(super) fn me(caller: &Caller) -> Me {
    let token = &caller.token;
    Me {
        id: caller.id.to_string(),
        name: caller.name.clone(),
        group: caller.group.as_ref().map(GroupName::to_string),
        token: MyToken {
            id: token.id.to_string(),
            kind: token.kind.into(),
            scopes: texts(token.scopes.as_deref()),
            expires_at: token.expires_at_ms.map(utc),
            made_by: token.session_of.as_ref().map(|maker| maker.id.to_string()),
        },
    }
}

impl Admin {
    pub(super) async fn list_tokens(&self, user: &UserId, request: &Request) -> ApiResult {
        self.store.user(user).await.map_err(store_fault)?.ok_or_else(user_not_found)?;
        let tokens = self.store.tokens_page(user, None, None).await.map_err(store_fault)?;
        let visible = tokens.iter().filter(|token| is_visible(token, request));
        let list = visible.map(|token| (token.id.to_string(), listed(token)));
        page_of(list.collect(), request)
    }

    pub(super) async fn create_token(&self, user: &UserId, request: &Request) -> ApiResult {
        let (kind, draft) = draft(request)?;
        self.issue(user, kind, draft, request).await
    }

    /// The new token reaches no further than the calling one, and expires no later.
    pub(super) async fn create_my_token(&self, caller: &Caller, request: &Request) -> ApiResult {
        let (kind, draft) = draft(request)?;
        self.issue(&caller.id, kind, narrow(draft, caller)?, request).await
    }

    async fn issue(
        &self,
        user: &UserId,
        kind: KindOfToken,
        draft: TokenDraft,
        request: &Request,
    ) -> ApiResult {
        let issued =
            accounts::add_token(&self.store, &request.actor, user, draft).await.map_err(store_fault)?;
        let IssuedToken { token, record } = issued.ok_or_else(user_not_found)?;
        let made = MadeToken {
            id: record.id.to_string(),
            token: token.expose().to_owned(),
            kind,
            scopes: texts(record.scopes.as_deref()),
            expires_at: record.expires_at_ms.map(utc),
        };
        Ok(Response::json(StatusCode::CREATED, &made))
    }

    pub(super) async fn revoke_token(&self, user: &UserId, token: &str, request: &Request) -> ApiResult {
        let none = token_not_found;
        let (id, extent) = (TokenId::new(token).ok_or_else(none)?, revoke_extent(request)?);
        let revoked = accounts::revoke_token(&self.store, &request.actor, user, &id, extent).await;
        let revoked = revoked.map_err(store_fault)?.ok_or_else(none)?;
        Ok(Response::json(StatusCode::OK, &Revoked { admin_tokens: None, ..counts(revoked) }))
    }

    /// Revokes only tokens that reach no further than the calling one.
    pub(super) async fn revoke_my_token(&self, caller: &Caller, token: &str, request: &Request) -> ApiResult {
        if let Some(id) = TokenId::new(token) {
            self.check_revoke(caller, &id, revoke_extent(request)?).await?;
        }
        self.revoke_token(&caller.id, token, request).await
    }

    pub(super) async fn rotate_my_token(&self, caller: &Caller, request: &Request) -> ApiResult {
        let until = now_ms() + REPLACED_TOKEN_MS;
        let rotated =
            accounts::rotate_token(&self.store, &request.actor, caller, until).await.map_err(store_fault)?;
        match rotated {
            Ok((rotated, IssuedToken { token, record })) => {
                let rotated = Rotated {
                    token: token.expose().to_owned(),
                    id: record.id.to_string(),
                    old_tokens_expire_at: utc(rotated.old_expires_at_ms),
                    ending_paste_tokens: rotated.paste_tokens,
                    handed_over_tokens: rotated.handed_over,
                };
                Ok(Response::json(StatusCode::OK, &rotated))
            }
            Err(RotateError::Replaced) => Err(replaced()),
            Err(RotateError::Gone) => Err(Fault::invalid_token()),
        }
    }

    pub(super) async fn list_admin_tokens(&self, request: &Request) -> ApiResult {
        let tokens = self.store.admin_tokens().await.map_err(store_fault)?;
        let calling = match &request.actor.right {
            Some(Right::Admin(id)) => Some(id),
            Some(Right::Token(_) | Right::TokenEvenIfReplaced(_)) | None => None,
        };
        let listed = |token: &store::StoredAdminToken| AdminToken {
            current: calling == Some(&token.id),
            ..listed_admin(token)
        };
        let list = tokens.iter().map(|token| (token.id.to_string(), listed(token)));
        page_of(list.collect(), request)
    }

    pub(super) async fn create_admin_token(&self, request: &Request) -> ApiResult {
        let new: NewAdminToken = body::parse(json::parse_optional(&request.body)?)?;
        let label = new.label.map(|label| display_name("/label", &label)).transpose()?;
        let made =
            accounts::issue_admin_token(&self.store, &request.actor, label).await.map_err(store_fault)?;
        let (token, id) = made;
        Ok(Response::json(
            StatusCode::CREATED,
            &MadeAdminToken { id: id.to_string(), token: token.expose().to_owned() },
        ))
    }

    pub(super) async fn revoke_admin_token(&self, text: &str, request: &Request) -> ApiResult {
        let none = token_not_found;
        let (id, extent) = (AdminTokenId::new(text).ok_or_else(none)?, revoke_extent(request)?);
        let revoked = accounts::revoke_admin_token(&self.store, &request.actor, &id, extent).await;
        match revoked.map_err(store_fault)? {
            AdminTokenRevocation::Done(revoked) => Ok(Response::json(StatusCode::OK, &counts(revoked))),
            AdminTokenRevocation::Unknown => Err(none()),
            AdminTokenRevocation::Last => Err(Fault::new(
                FaultKind::LastAdminToken,
                "This is the last admin token: without it nobody could call the admin API; make another one first",
            )),
        }
    }
}

fn counts(revoked: store::Revoked) -> Revoked {
    let store::Revoked { tokens, paste_tokens, admin_tokens, sessions, remaining } = revoked;
    Revoked { ok: true, tokens, paste_tokens, admin_tokens: Some(admin_tokens), sessions, remaining }
}

/// The requested page of a list that was read whole.
fn page_of<T: serde::Serialize>(mut all: Vec<(String, T)>, request: &Request) -> ApiResult {
    let page = Page::of(request)?;
    if let Some(after) = &page.after {
        let none = || invalid_query("?after=: no such token exists: start again without it");
        let at = all.iter().position(|(id, _)| id == after).ok_or_else(none)?;
        all.drain(..=at);
    }
    let mut list = ById(all);
    let link = page.truncate(&request.path, &mut list);
    Ok(Response { link, ..Response::json(StatusCode::OK, &list) })
}

/// The token that a request asks for, and its kind.
fn draft(request: &Request) -> Result<(KindOfToken, TokenDraft), Fault> {
    let new: NewToken = body::parse(json::parse_optional(&request.body)?)?;
    let scope = |(index, text): (usize, &String)| scope(&format!("/scopes/{index}"), text, &request.table);
    let scopes = new.scopes.map(|all| all.iter().enumerate().map(scope).collect::<Result<Vec<_>, _>>());
    let kind = new.kind.unwrap_or(KindOfToken::Proxy);
    let draft = TokenDraft {
        label: new.label.map(|label| display_name("/label", &label)).transpose()?,
        kind: kind.into(),
        scopes: scopes.transpose()?,
        expires_at_ms: new.expires_at.map(|text| expiry(&text)).transpose()?,
    };
    Ok((kind, draft))
}

/// A scope that the provider files have. The endpoints of a rejected file are unknown: any name of one passes.
fn scope(path: &str, text: &str, table: &Table) -> Result<Scope, Fault> {
    let malformed = "a scope is written `provider` or `provider/endpoint`";
    let scope = Scope::parse(text).ok_or_else(|| pointer::fault(path, Cause::InvalidValue, malformed))?;
    let unknown = |problem: String| Err(pointer::fault(path, Cause::UnknownScope, problem));
    let name = &scope.provider;
    if table.rejected.iter().any(|rejected| rejected.name == *name) {
        return Ok(scope);
    }
    let Some(provider) = table.providers.iter().find(|provider| provider.name == *name) else {
        let known: Vec<&str> = table.providers.iter().map(|provider| provider.name.as_str()).collect();
        return unknown(format!("no provider file has the name `{name}`; {}", hint(name.as_str(), &known)));
    };
    let known: Vec<&str> = provider.endpoints.iter().map(|endpoint| &*endpoint.name).collect();
    match &scope.endpoint {
        Some(endpoint) if !known.contains(&endpoint.as_str()) => {
            unknown(format!("`{name}` has no endpoint `{endpoint}`; {}", hint(endpoint, &known)))
        }
        Some(_) | None => Ok(scope),
    }
}

fn token_not_found() -> Fault {
    Fault::new(FaultKind::NotFound, "Token not found").because(Cause::UnknownToken)
}

fn expiry(text: &str) -> Result<u64, Fault> {
    let invalid = |problem| pointer::fault("/expiresAt", Cause::InvalidValue, problem);
    let at = from_utc(text).ok_or_else(|| invalid("a time is written as `2030-01-01T00:00:00Z`"))?;
    if at <= now_ms() {
        return Err(invalid("it lies in the past"));
    }
    Ok(at)
}

/// Limits a requested token to the caller's: scopes and expiry that were left out are the caller's, wider ones are
/// refused.
fn narrow(draft: TokenDraft, caller: &Caller) -> Result<TokenDraft, Fault> {
    let own = &caller.token;
    let too_wide = |what: &str| {
        out_of_scope(format!("A token cannot make one that reaches further than itself: {what}"))
    };
    let scopes = match (&own.scopes, draft.scopes) {
        (None, wanted) => wanted,
        (Some(own), None) => Some(own.clone()),
        (Some(own), Some(wanted)) => {
            let within = |scope: &Scope| own.iter().any(|one| one.includes(scope));
            if let Some(out) = wanted.iter().find(|scope| !within(scope)) {
                return Err(too_wide(&format!("`{out}` is out of its scopes")));
            }
            Some(wanted)
        }
    };
    let expires_at_ms = match (own.limit_ms(), draft.expires_at_ms) {
        (Some(own), Some(wanted)) if wanted > own => return Err(too_wide("it expires earlier")),
        (own, wanted) => wanted.or(own),
    };
    Ok(TokenDraft { scopes, expires_at_ms, ..draft })
}

fn texts(scopes: Option<&[Scope]>) -> Option<Vec<String>> {
    scopes.map(|scopes| scopes.iter().map(Scope::to_string).collect())
}

fn listed(token: &store::StoredToken) -> Token {
    Token {
        prefix: Some(token.prefix.clone()).filter(|prefix| !prefix.is_empty()),
        label: token.label.clone(),
        kind: match token.paste {
            Some(_) => ListedKind::Paste,
            None => token.kind.into(),
        },
        provider: token.paste.as_ref().map(FileName::to_string),
        scopes: texts(token.scopes.as_deref()),
        created_at: utc(token.created_at_ms),
        expires_at: token.expires_at_ms.map(utc),
        last_used_at: token.last_used_at_ms.map(utc),
        replaced_at: token.replaced_at_ms.map(utc),
        made_by: token.maker.as_ref().map(Maker::to_string),
    }
}

fn listed_admin(token: &store::StoredAdminToken) -> AdminToken {
    AdminToken {
        prefix: Some(token.prefix.clone()).filter(|prefix| !prefix.is_empty()),
        label: token.label.clone(),
        kind: if token.is_session { KindOfAdminToken::Session } else { KindOfAdminToken::Admin },
        current: false,
        created_at: utc(token.created_at_ms),
        expires_at: token.expires_at_ms.map(utc),
        last_used_at: token.last_used_at_ms.map(utc),
        made_by: token.maker.as_ref().map(AdminTokenId::to_string),
    }
}

impl From<TokenKind> for ListedKind {
    fn from(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Proxy => Self::Of(KindOfToken::Proxy),
            TokenKind::Manage => Self::Of(KindOfToken::Manage),
            TokenKind::Both => Self::Of(KindOfToken::Both),
            TokenKind::Session => Self::Session,
        }
    }
}

impl From<KindOfToken> for TokenKind {
    fn from(kind: KindOfToken) -> Self {
        match kind {
            KindOfToken::Proxy => Self::Proxy,
            KindOfToken::Manage => Self::Manage,
            KindOfToken::Both => Self::Both,
        }
    }
}
