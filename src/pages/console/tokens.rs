//! Admin tokens and the sessions that were started with them: list, create, revoke. A token is shown once.

use askama::Template;
use http::Method;
use serde::de::IgnoredAny;
use serde_json::json;

use super::{
    super::{
        client::{Api, Client, segment, with_query},
        form::Form,
        frame::Frame,
        refused::Refused,
        response::PageResponse,
        shown,
        token_form::{self, Made},
    },
    done,
    newest::Newest,
};
use crate::{
    admin::{AdminToken, ById, KindOfAdminToken, MadeAdminToken},
    fault::Fault,
    rewrite::value_of,
};

#[derive(Template)]
#[template(path = "console/tokens.html")]
struct TokensPage<'p> {
    frame: &'p Frame,
    tokens: Newest<AdminToken>,
    sessions: Newest<AdminToken>,
    /// The session or token that this page was asked for with, and its maker.
    current: Option<(String, Option<String>)>,
    /// The label that the refused form had.
    typed: &'p str,
    made: Option<Made>,
    problem: Option<Refused>,
    done: Option<&'static str>,
}

/// The outcome of a form.
#[derive(Default)]
struct Outcome<'p> {
    typed: &'p str,
    made: Option<Made>,
    problem: Option<Refused>,
    done: Option<&'static str>,
    /// The token that the list begins after.
    after: String,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let after = value_of(query, "after").unwrap_or_default();
    page(client, frame, Outcome { done: done(query), after, ..Outcome::default() }).await
}

/// Creates a token.
pub(in super::super) async fn create(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let typed = form.text("label");
    let body = if typed.is_empty() { json!({}) } else { json!({ "label": typed }) };
    let made: Result<MadeAdminToken, Fault> = client.send(Method::POST, "/admin/tokens", &body).await;
    match made {
        Ok(made) => {
            let made = shown_once(frame, made);
            let outcome = Outcome { made: Some(made.clone()), ..Outcome::default() };
            let whole = page(client, frame, outcome).await;
            whole.or_else(|fault| token_form::made_alone(frame, Some(made), fault))
        }
        Err(fault) => {
            page(client, frame, Outcome { typed, problem: Some(fault.into()), ..Outcome::default() }).await
        }
    }
}

/// Revokes a token or a session.
pub(in super::super) async fn revoke(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let path = format!("/admin/tokens/{}", segment(form.text("token")));
    let (path, word) = token_form::revocation(&path, form);
    let revoked: Result<IgnoredAny, Fault> = client.send(Method::DELETE, &path, &json!(null)).await;
    match revoked {
        Ok(_) => Ok(PageResponse::see_other(&with_query(&frame.path("/tokens"), &[("done", word)]))),
        Err(fault) => {
            let problem = Some(fault.into());
            page(client, frame, Outcome { problem, ..Outcome::default() }).await
        }
    }
}

fn shown_once(frame: &Frame, made: MadeAdminToken) -> Made {
    let note = "It is shown only now. It may do everything that this console does: store it in a safe place.";
    Made {
        title: "The new admin token".to_owned(),
        token: made.token,
        page: frame.path("/tokens"),
        notes: vec![note.to_owned()],
        usage: None,
    }
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    outcome: Outcome<'_>,
) -> Result<PageResponse, Fault> {
    let ById(all) = client.get::<ById<AdminToken>>("/admin/tokens").await?;
    let Outcome { typed, made, problem, done, after } = outcome;
    let current = all.iter().find(|(_, token)| token.current);
    let current = current.map(|(id, token)| (id.clone(), token.made_by.clone()));
    let (sessions, tokens): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, token)| token.is_session());
    let own = frame.path("/tokens");
    let (tokens, sessions) = (Newest::of(tokens, &after, &own), Newest::of(sessions, "", &own));
    let status = Refused::status(problem.as_ref());
    let page = TokensPage { frame, tokens, sessions, current, typed, made, problem, done };
    Ok(PageResponse::html(status, &page))
}

impl TokensPage<'_> {
    /// True if the revocation of a token ends the session that asks for it.
    fn ends_sign_in(&self, id: &str) -> bool {
        self.current.as_ref().is_some_and(|(own, maker)| own == id || maker.as_deref() == Some(id))
    }
}

impl AdminToken {
    fn is_session(&self) -> bool {
        self.kind == KindOfAdminToken::Session
    }
}
