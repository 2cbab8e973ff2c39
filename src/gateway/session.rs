//! Sessions of browsers over HTTP: the cookie of a session that started or ended, and sign-in, sign-out and the caller of
//! tollgate's own pages.
//!
//! A session's token is in `Set-Cookie` and nowhere else: in no body, log or message. A session is always made here at
//! sign-in; no token that a browser brings becomes one. Read next: `decide/session.rs` (cookies, the cross-site check).

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, request::Parts};

use super::{
    Worker,
    authenticate::{self, Client},
};
use crate::{
    accounts::{Actor, Authenticated},
    admin::{self, Principal, SessionChange, SignedIn},
    decide::{PageOrigin, Presented, SessionCookie, Site},
    fault::{Fault, FaultKind},
    secret::Secret,
    store::TokenHash,
    table::Table,
};

/// A request to one of tollgate's own pages.
#[derive(Debug, Clone, Copy)]
pub struct PageRequest<'r> {
    /// Its head.
    pub head: &'r Parts,
    /// The route table when it began.
    pub table: &'r Arc<Table>,
    /// The client's address.
    pub client: IpAddr,
    /// Its id, for the log.
    pub request_id: &'r str,
    /// The session that the page is for.
    pub cookie: SessionCookie,
    /// What is known of the address in the browser.
    pub site: Site<'r>,
}

impl Worker {
    /// The side in whose name a page acts: the user or admin of the session in the cookie. `None` without a session, and for a
    /// wrong one, which counts against the authentication rate limit. A fault if a page of another site changes
    /// something, if the user is disabled, or if nothing can be looked up now.
    pub async fn signed_in(&self, page: PageRequest<'_>) -> Result<Option<SignedIn>, Fault> {
        let Some(session) = page.cookie.session(page.head, page.site)? else {
            return Ok(None);
        };
        match self.authenticated(page, &Presented::Session(session)).await {
            Ok(signed_in) => Ok(Some(signed_in)),
            Err(fault) if [FaultKind::InvalidToken, FaultKind::InvalidAdminToken].contains(&fault.kind) => {
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Starts a session with the token of a sign-in form, and ends those that the browser has. Returns the values of
    /// `Set-Cookie`, each for a header of its own. A fault for a wrong token, which counts against the authentication rate
    /// limit, and for one of a kind that cannot sign in. The caller has checked that the form is on a page of this tollgate.
    pub async fn sign_in(&self, page: PageRequest<'_>, token: &Secret) -> Result<Vec<HeaderValue>, Fault> {
        let signed_in = self.authenticated(page, &Presented::Token(token.clone())).await?;
        self.change_session(page, signed_in, Method::POST).await
    }

    /// True if a token that these pages do not know is good for those of the other side. It was refused before, and counted
    /// against the authentication rate limit.
    pub async fn is_of_other_pages(&self, cookie: SessionCookie, token: &Secret) -> bool {
        match cookie {
            SessionCookie::User => {
                matches!(self.accounts.authenticate_admin(&self.cache, token.expose()).await, Ok(Some(_)))
            }
            SessionCookie::Admin => {
                matches!(self.accounts.authenticate(&self.cache, token.expose()).await, Ok(Some(_)))
            }
        }
    }

    /// Ends the session in the cookie, if there is one. Returns the values of `Set-Cookie` that remove it.
    pub async fn sign_out(&self, page: PageRequest<'_>) -> Result<Vec<HeaderValue>, Fault> {
        match self.signed_in(page).await? {
            Some(signed_in) => self.change_session(page, signed_in, Method::DELETE).await,
            None => Ok(set_cookies(&SessionChange::Ended, page.cookie, &page.head.headers, page.site)),
        }
    }

    async fn authenticated(&self, page: PageRequest<'_>, presented: &Presented) -> Result<SignedIn, Fault> {
        let client = Client { address: page.client, request_id: page.request_id, table: page.table };
        match page.cookie {
            SessionCookie::User => {
                let Authenticated { caller, part } =
                    authenticate::self_service(self, presented, client).await?;
                caller.facts(part).check_manage()?;
                let actor = Actor::user(&caller, page.client);
                Ok(SignedIn { principal: Principal::User(caller), actor })
            }
            SessionCookie::Admin => {
                let admin = authenticate::admin(self, presented, client).await?;
                let actor = Actor::admin(&admin, page.client);
                Ok(SignedIn { principal: Principal::Admin, actor })
            }
        }
    }

    /// Makes the call that starts or ends a session.
    async fn change_session(
        &self,
        page: PageRequest<'_>,
        SignedIn { principal, actor }: SignedIn,
        method: Method,
    ) -> Result<Vec<HeaderValue>, Fault> {
        let path = match page.cookie {
            SessionCookie::User => "/auth/session",
            SessionCookie::Admin => "/admin/session",
        };
        let request = admin::Request {
            method,
            path: path.to_owned(),
            query: None,
            body: Bytes::new(),
            table: Arc::clone(page.table),
            principal,
            actor,
            sessions: hashes(page.cookie, &page.head.headers),
        };
        let response = self.api_queue.call(request).await?;
        let change = response.session.expect("the operation starts or ends a session");
        Ok(set_cookies(&change, page.cookie, &page.head.headers, page.site))
    }
}

/// The hashes of the sessions that a browser has.
pub(super) fn hashes(cookie: SessionCookie, headers: &HeaderMap) -> Vec<TokenHash> {
    cookie.all(headers).iter().map(|(_, session)| TokenHash::of(session.expose())).collect()
}

/// The values of `Set-Cookie`: the new session, if there is one, and the removal of every other that the browser has sent.
pub(super) fn set_cookies(
    change: &SessionChange,
    cookie: SessionCookie,
    headers: &HeaderMap,
    site: Site<'_>,
) -> Vec<HeaderValue> {
    let (new, started) = match change {
        SessionChange::Started { token, lasts_s } => {
            let name = cookie.name(PageOrigin::of(headers, site).is_secure());
            (Some(name), Some(set_cookie(name, token.expose(), *lasts_s)))
        }
        SessionChange::Ended => (None, None),
    };
    let others = cookie.sent(headers).filter(|name| Some(*name) != new);
    others.map(|name| set_cookie(name, "", 0)).chain(started).collect()
}

fn set_cookie(name: &str, value: &str, max_age_s: u64) -> HeaderValue {
    let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::try_from(text).expect("a name, a token and attributes are visible ASCII");
    value.set_sensitive(true);
    value
}
