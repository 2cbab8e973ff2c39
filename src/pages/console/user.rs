//! One user: name, group and note, state, tokens, and the names of stored credentials. Values are never shown.

use askama::Template;
use http::{Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{
    super::{
        client::{Api, Client, segment, with_query},
        form::Form,
        frame::Frame,
        keys_form::{KeysForm, Problems},
        refused::Refused,
        response::PageResponse,
        shown,
        token_form::{self, Example, Made, TokenForm},
    },
    done,
    keys::{KeyOwner, target},
};
use crate::{
    admin::{ById, CredentialFields, ListedUser, MadeToken, ReachableProviders, Token},
    fault::{Fault, FaultKind},
    name::UserId,
};

/// The tokens that are shown: the newest.
const LIMIT: usize = 100;

/// A change of a user, by a form with nothing but a button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Change {
    Disable,
    Enable,
    Delete,
}

#[derive(Template)]
#[template(path = "console/user.html")]
struct UserPage<'p> {
    frame: &'p Frame,
    id: &'p str,
    user: &'p ListedUser,
    tokens: &'p [(String, Token)],
    /// All tokens, if not all are shown.
    of: Option<usize>,
    keys: KeysForm<'p>,
    form: TokenForm<'p>,
    typed: &'p Form,
    made: Option<Made>,
    example: Option<Example>,
    problem: Option<Refused>,
    done: Option<&'static str>,
}

/// All that the page reads.
struct Read {
    user: ListedUser,
    /// The newest first.
    tokens: Vec<(String, Token)>,
    reachable: ReachableProviders,
    fields: CredentialFields,
}

/// The outcome of a form.
#[derive(Default)]
struct Outcome {
    /// The refused form of the user, and that of a new token.
    typed: Form,
    token: Form,
    made: Option<Made>,
    problem: Option<Refused>,
    done: Option<&'static str>,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    page(client, frame, id, Outcome { done: done(query), ..Outcome::default() }).await
}

/// Changes the name, the group and the note. An empty field removes what was there.
pub(in super::super) async fn update(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let optional = |name| Some(form.text(name)).filter(|text| !text.is_empty());
    let body = json!({ "name": form.text("name"), "group": optional("group"), "ip": optional("ip") });
    let changed: Result<IgnoredAny, Fault> = client.send(Method::PATCH, &document(id)?, &body).await;
    match changed {
        Ok(_) => Ok(see_other(frame, id, "changed")),
        Err(fault) => page(client, frame, id, Outcome { typed: form.clone(), ..problem(fault) }).await,
    }
}

/// Changes a user.
pub(in super::super) async fn change(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    change: Change,
) -> Result<PageResponse, Fault> {
    let (method, body, word) = match change {
        Change::Disable => (Method::PATCH, json!({ "disabled": true }), "disabled"),
        Change::Enable => (Method::PATCH, json!({ "disabled": false }), "enabled"),
        Change::Delete => (Method::DELETE, Value::Null, "deleted"),
    };
    let changed: Result<IgnoredAny, Fault> = client.send(method, &document(id)?, &body).await;
    match (changed, change) {
        (Ok(_), Change::Delete) => {
            Ok(PageResponse::see_other(&with_query(&frame.path("/users"), &[("done", word)])))
        }
        (Ok(_), Change::Disable | Change::Enable) => Ok(see_other(frame, id, word)),
        (Err(fault), _) => page(client, frame, id, problem(fault)).await,
    }
}

/// Creates a token of the user.
pub(in super::super) async fn create_token(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let (body, usage) = match token_form::body(form) {
        Ok(asked) => asked,
        Err(problem) => {
            let outcome =
                Outcome { token: form.clone(), problem: Some(problem.into()), ..Outcome::default() };
            return page(client, frame, id, outcome).await;
        }
    };
    let made: Result<MadeToken, Fault> =
        client.send(Method::POST, &format!("{}/tokens", document(id)?), &body).await;
    match made {
        Ok(made) => {
            let made =
                Some(Made::new(made, super::user_path(frame, id), "The new token of this user", usage));
            page(client, frame, id, Outcome { made, ..Outcome::default() }).await
        }
        Err(fault) => page(client, frame, id, Outcome { token: form.clone(), ..problem(fault) }).await,
    }
}

/// Revokes a token or a session of the user.
pub(in super::super) async fn revoke_token(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let path = format!("{}/tokens/{}", document(id)?, segment(form.text("token")));
    let (path, word) = token_form::revocation(&path, form);
    let revoked: Result<IgnoredAny, Fault> = client.send(Method::DELETE, &path, &json!(null)).await;
    match revoked {
        Ok(_) => Ok(see_other(frame, id, word)),
        Err(fault) => page(client, frame, id, problem(fault)).await,
    }
}

/// The path of the user in the API. Another word than an id could be the name of another operation.
pub(super) fn document(id: &str) -> Result<String, Fault> {
    let none = || Fault::new(FaultKind::NotFound, "User not found");
    UserId::new(id).map(|id| format!("/admin/users/{id}")).ok_or_else(none)
}

fn see_other(frame: &Frame, id: &str, word: &str) -> PageResponse {
    PageResponse::see_other(&with_query(&frame.path(&format!("/users/{id}")), &[("done", word)]))
}

fn problem(fault: Fault) -> Outcome {
    Outcome { problem: Some(fault.into()), ..Outcome::default() }
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    outcome: Outcome,
) -> Result<PageResponse, Fault> {
    let Outcome { typed, token, made, problem, done } = outcome;
    let target = target(frame, (KeyOwner::User, id));
    let Read { user, mut tokens, reachable, fields } = match read(client, id, &target.fields).await {
        Ok(read) => read,
        Err(fault) => return token_form::made_alone(frame, made, fault),
    };
    let of = Some(tokens.len()).filter(|all| *all > LIMIT);
    tokens.truncate(LIMIT);
    let providers = &reachable.providers;
    let example = made.as_ref().and_then(|made| made.example(frame, providers));
    let action = frame.path(&format!("/users/{id}/tokens"));
    let (problems, nothing) = (Problems::default(), Form::default());
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = UserPage {
        frame,
        id,
        user: &user,
        tokens: &tokens,
        of,
        keys: KeysForm::new(&target, &fields, &problems, &nothing),
        form: TokenForm { action, providers, typed: &token, is_own: false },
        typed: &typed,
        made,
        example,
        problem,
        done,
    };
    Ok(PageResponse::html(status, &page))
}

async fn read(client: &Client<'_, impl Api>, id: &str, fields: &str) -> Result<Read, Fault> {
    let user = client.get(&document(id)?).await?;
    let ById(mut tokens) = client.get::<ById<Token>>(&format!("{}/tokens", document(id)?)).await?;
    tokens.reverse();
    let reachable = client.get("/admin/endpoints").await?;
    Ok(Read { user, tokens, reachable, fields: client.get(fields).await? })
}

impl UserPage<'_> {
    /// The path that revocations are sent to.
    fn revoke_action(&self) -> String {
        self.frame.path(&format!("/users/{}/tokens/revoke", self.id))
    }

    /// The text of a field of the user: that of the refused form, or else the stored one.
    fn text<'t>(&'t self, name: &str, stored: Option<&'t str>) -> &'t str {
        self.typed.get(name).or(stored).unwrap_or_default()
    }
}
