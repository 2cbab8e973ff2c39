//! Tokens, users' and admins'. Each is shown once, in the answer to who made it.

use http::StatusCode;

use super::{
    Admin, Answer, Answered, Request, answer,
    body::{self, bad, hint},
    done, lost,
    page::Page,
    reach::{out_of_scope, replaced},
    shape::{
        AdminToken, ById, KindOfToken, ListedKind, MadeAdminToken, MadeToken, Me, MyToken, NewAdminToken,
        NewToken, Rotated, Token,
    },
    users::{display_name, no_user},
};
use crate::{
    accounts::{self, Caller, Issued, NotRotated, TokenDraft, from_utc, now_ms, utc},
    fault::{Fault, Kind},
    name::{AdminTokenId, FileName, GroupName, Scope, TokenId, UserId},
    store::{self, AdminTokenRevocation, TokenKind},
    table::Table,
};

/// How long a token goes on once another has taken its place, in milliseconds.
const OLD_TOKEN_MS: u64 = 3_600_000;

/// Who calls.
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
        },
    }
}

impl Admin {
    pub(super) async fn tokens(&self, user: &UserId, request: &Request) -> Answered {
        self.store.user(user).await.map_err(lost)?.ok_or_else(no_user)?;
        let tokens = self.store.tokens_page(user, None, None).await.map_err(lost)?;
        let list = tokens.iter().map(|token| (token.id.to_string(), shown(token)));
        listed(list.collect(), request)
    }

    pub(super) async fn make_token(&self, user: &UserId, request: &Request) -> Answered {
        let draft = draft(request)?;
        self.issue(user, draft, request).await
    }

    /// It reaches no more than the token that calls, and no longer.
    pub(super) async fn make_my_token(&self, caller: &Caller, request: &Request) -> Answered {
        let draft = narrowed(draft(request)?, caller)?;
        self.issue(&caller.id, draft, request).await
    }

    async fn issue(&self, user: &UserId, draft: TokenDraft, request: &Request) -> Answered {
        let issued = accounts::add_token(&self.store, &request.actor, user, draft).await.map_err(lost)?;
        let Issued { token, record } = issued.ok_or_else(no_user)?;
        let made = MadeToken {
            id: record.id.to_string(),
            token: token.expose().to_owned(),
            kind: record.kind.into(),
            scopes: texts(record.scopes.as_deref()),
            expires_at: record.expires_at_ms.map(utc),
        };
        Ok(answer(StatusCode::CREATED, &made))
    }

    pub(super) async fn remove_token(&self, user: &UserId, token: &str, request: &Request) -> Answered {
        let none = || Fault::new(Kind::NotFound, "Token not found");
        let id = TokenId::new(token).ok_or_else(none)?;
        let revoked = accounts::revoke_token(&self.store, &request.actor, user, &id).await.map_err(lost)?;
        if revoked { Ok(done()) } else { Err(none()) }
    }

    /// None that reaches further than the token that calls.
    pub(super) async fn remove_my_token(&self, caller: &Caller, token: &str, request: &Request) -> Answered {
        if let Some(id) = TokenId::new(token) {
            self.may_revoke(caller, &id).await?;
        }
        self.remove_token(&caller.id, token, request).await
    }

    pub(super) async fn rotate(&self, caller: &Caller, request: &Request) -> Answered {
        let until = now_ms() + OLD_TOKEN_MS;
        let rotated =
            accounts::rotate_token(&self.store, &request.actor, caller, until).await.map_err(lost)?;
        match rotated {
            Ok((old_expires_at_ms, Issued { token, record })) => {
                let token = token.expose().to_owned();
                let old_tokens_expire_at = utc(old_expires_at_ms);
                Ok(answer(
                    StatusCode::OK,
                    &Rotated { token, id: record.id.to_string(), old_tokens_expire_at },
                ))
            }
            Err(NotRotated::Replaced) => Err(replaced()),
            Err(NotRotated::Gone) => Err(Fault::invalid_token()),
        }
    }

    pub(super) async fn admin_tokens(&self, request: &Request) -> Answered {
        let tokens = self.store.admin_tokens().await.map_err(lost)?;
        let list = tokens.iter().map(|token| (token.id.to_string(), admin_shown(token)));
        listed(list.collect(), request)
    }

    pub(super) async fn make_admin_token(&self, request: &Request) -> Answered {
        let new: NewAdminToken = body::parse(body::json_or_nothing(&request.body)?)?;
        let label = new.label.map(|label| display_name("/label", &label)).transpose()?;
        let made = accounts::issue_admin_token(&self.store, &request.actor, label).await.map_err(lost)?;
        let (token, id) = made;
        Ok(answer(
            StatusCode::CREATED,
            &MadeAdminToken { id: id.to_string(), token: token.expose().to_owned() },
        ))
    }

    pub(super) async fn remove_admin_token(&self, text: &str, request: &Request) -> Answered {
        let none = || Fault::new(Kind::NotFound, "Token not found");
        let id = AdminTokenId::new(text).ok_or_else(none)?;
        match accounts::revoke_admin_token(&self.store, &request.actor, &id).await.map_err(lost)? {
            AdminTokenRevocation::Done => Ok(done()),
            AdminTokenRevocation::Unknown => Err(none()),
            AdminTokenRevocation::Last => Err(Fault::new(
                Kind::LastAdminToken,
                "This is the last admin token, and nobody could call any more: make another one first",
            )),
        }
    }
}

/// A list that is read whole, and the page of it that is wanted.
fn listed<T: serde::Serialize>(mut all: Vec<(String, T)>, request: &Request) -> Answered {
    let page = Page::of(request)?;
    if let Some(after) = &page.after {
        let none =
            || Fault::new(Kind::InvalidRequest, "?after=: there is no such token, or no more: begin anew");
        let at = all.iter().position(|(id, _)| id == after).ok_or_else(none)?;
        all.drain(..=at);
    }
    let mut list = ById(all);
    let link = page.cut(&request.path, &mut list);
    Ok(Answer { link, ..answer(StatusCode::OK, &list) })
}

/// The token that a body asks for.
fn draft(request: &Request) -> Result<TokenDraft, Fault> {
    let new: NewToken = body::parse(body::json_or_nothing(&request.body)?)?;
    let scope = |(index, text): (usize, &String)| {
        scope(text, &request.table).map_err(|problem| bad(&format!("/scopes/{index}"), problem))
    };
    let scopes = new.scopes.map(|all| all.iter().enumerate().map(scope).collect::<Result<Vec<_>, _>>());
    Ok(TokenDraft {
        label: new.label.map(|label| display_name("/label", &label)).transpose()?,
        kind: new.kind.unwrap_or(KindOfToken::Proxy).into(),
        scopes: scopes.transpose()?,
        expires_at_ms: new.expires_at.map(|text| expiry(&text)).transpose()?,
    })
}

/// A scope that the files have. What a rejected one would have, nobody knows.
fn scope(text: &str, table: &Table) -> Result<Scope, String> {
    let scope = Scope::parse(text).ok_or("a scope is written `provider` or `provider/endpoint`")?;
    let name = &scope.provider;
    if table.rejected.iter().any(|rejected| rejected.name == *name) {
        return Ok(scope);
    }
    let Some(provider) = table.providers.iter().find(|provider| provider.name == *name) else {
        let known: Vec<&str> = table.providers.iter().map(|provider| provider.name.as_str()).collect();
        return Err(format!("no provider file has the name `{name}`; {}", hint(name.as_str(), &known)));
    };
    let known: Vec<&str> = provider.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    match &scope.endpoint {
        Some(endpoint) if !known.contains(&endpoint.as_str()) => {
            Err(format!("`{name}` has no endpoint `{endpoint}`; {}", hint(endpoint, &known)))
        }
        Some(_) | None => Ok(scope),
    }
}

fn expiry(text: &str) -> Result<u64, Fault> {
    let path = "/expiresAt";
    let at = from_utc(text).ok_or_else(|| bad(path, "a time is written as `2030-01-01T00:00:00Z`"))?;
    if at <= now_ms() {
        return Err(bad(path, "it lies in the past"));
    }
    Ok(at)
}

/// The same token within what the caller's reaches: what is left out is the caller's, what reaches further is
/// refused.
fn narrowed(draft: TokenDraft, caller: &Caller) -> Result<TokenDraft, Fault> {
    let own = &caller.token;
    let wider = |what: &str| {
        out_of_scope(format!("A token cannot make one that reaches further than itself: {what}"))
    };
    let scopes = match (&own.scopes, draft.scopes) {
        (None, wanted) => wanted,
        (Some(own), None) => Some(own.clone()),
        (Some(own), Some(wanted)) => {
            let within = |scope: &Scope| own.iter().any(|one| one.includes(scope));
            if let Some(out) = wanted.iter().find(|scope| !within(scope)) {
                return Err(wider(&format!("`{out}` is out of its scopes")));
            }
            Some(wanted)
        }
    };
    let expires_at_ms = match (own.expires_at_ms, draft.expires_at_ms) {
        (Some(own), Some(wanted)) if wanted > own => return Err(wider("it expires earlier")),
        (own, wanted) => wanted.or(own),
    };
    Ok(TokenDraft { scopes, expires_at_ms, ..draft })
}

fn texts(scopes: Option<&[Scope]>) -> Option<Vec<String>> {
    scopes.map(|scopes| scopes.iter().map(Scope::to_string).collect())
}

fn shown(token: &store::StoredToken) -> Token {
    Token {
        prefix: Some(token.prefix.clone()).filter(|prefix| !prefix.is_empty()),
        label: token.label.clone(),
        kind: match token.paste {
            Some(_) => ListedKind::Paste,
            None => ListedKind::Of(token.kind.into()),
        },
        provider: token.paste.as_ref().map(FileName::to_string),
        scopes: texts(token.scopes.as_deref()),
        created_at: utc(token.created_at_ms),
        expires_at: token.expires_at_ms.map(utc),
        last_used_at: token.last_used_at_ms.map(utc),
        replaced_at: token.replaced_at_ms.map(utc),
    }
}

fn admin_shown(token: &store::StoredAdminToken) -> AdminToken {
    AdminToken {
        prefix: Some(token.prefix.clone()).filter(|prefix| !prefix.is_empty()),
        label: token.label.clone(),
        created_at: utc(token.created_at_ms),
        expires_at: token.expires_at_ms.map(utc),
        last_used_at: token.last_used_at_ms.map(utc),
    }
}

impl From<TokenKind> for KindOfToken {
    fn from(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Proxy => Self::Proxy,
            TokenKind::Manage => Self::Manage,
            TokenKind::Both => Self::Both,
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
