//! Admin tokens and the sessions that were started with them: list, create, revoke. A token is shown once.

use askama::Template;
use http::{Method, StatusCode};
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
};
use crate::{
    admin::{AdminToken, ById, KindOfAdminToken, MadeAdminToken},
    fault::Fault,
};

/// The tokens that are shown: the newest.
const LIMIT: usize = 100;

#[derive(Template)]
#[template(path = "console/tokens.html")]
struct TokensPage<'p> {
    frame: &'p Frame,
    tokens: &'p [(String, AdminToken)],
    /// All tokens, if not all are shown.
    of: Option<usize>,
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
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    page(client, frame, Outcome { done: done(query), ..Outcome::default() }).await
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
    let outcome = match made {
        Ok(made) => Outcome { made: Some(shown_once(frame, made)), ..Outcome::default() },
        Err(fault) => Outcome { typed, problem: Some(fault.into()), ..Outcome::default() },
    };
    page(client, frame, outcome).await
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
    let Outcome { typed, made, problem, done } = outcome;
    let ById(mut tokens) = match client.get::<ById<AdminToken>>("/admin/tokens").await {
        Ok(tokens) => tokens,
        Err(fault) => return token_form::made_alone(frame, made, fault),
    };
    // The newest first.
    tokens.reverse();
    let of = Some(tokens.len()).filter(|all| *all > LIMIT);
    tokens.truncate(LIMIT);
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = TokensPage { frame, tokens: &tokens, of, typed, made, problem, done };
    Ok(PageResponse::html(status, &page))
}

impl TokensPage<'_> {
    /// True if the revocation of a token ends the session that asks for it.
    fn ends_sign_in(&self, id: &str) -> bool {
        let current = self.tokens.iter().find(|(_, token)| token.current);
        current.is_some_and(|(own, token)| own == id || token.made_by.as_deref() == Some(id))
    }
}

impl AdminToken {
    fn is_session(&self) -> bool {
        self.kind == KindOfAdminToken::Session
    }
}
