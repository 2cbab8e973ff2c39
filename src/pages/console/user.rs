//! One user: name, group and note, state, tokens, and the names of stored credentials. Values are never shown.

use askama::Template;
use http::{Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

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
    newest::Newest,
};
use crate::{
    admin::{ById, CredentialFields, ListedKind, ListedUser, MadeToken, ReachableProviders, Token},
    fault::{Fault, FaultKind},
    name::UserId,
    rewrite::value_of,
};

/// The fields of the form of a user. Each has a hidden one with the value that the page had, whose name begins with [`WAS`].
const FIELDS: [&str; 3] = ["name", "group", "ip"];
const WAS: &str = "was_";

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
    tokens: Newest<Token>,
    sessions: Newest<Token>,
    keys: KeysForm<'p>,
    form: TokenForm<'p>,
    typed: &'p Form,
    made: Option<Made>,
    example: Option<Example>,
    problem: Option<Refused>,
    done: Option<&'static str>,
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
    /// The token that the list of tokens begins after.
    after: String,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let after = value_of(query, "after").unwrap_or_default();
    page(client, frame, id, Outcome { done: done(query), after, ..Outcome::default() }).await
}

/// Changes those of the name, the group and the note that differ from what the page had; an empty one is removed. If one of them was
/// changed meanwhile, nothing is.
pub(in super::super) async fn update(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let user: ListedUser = client.get(&document(id)?).await?;
    let body = match changes(form, &user) {
        Ok(body) if body.is_empty() => return Ok(see_other(frame, id, "same")),
        Ok(body) => body,
        Err(problem) => {
            let outcome = Outcome { typed: form.clone(), problem: Some(problem), ..Outcome::default() };
            return page(client, frame, id, outcome).await;
        }
    };
    let changed: Result<IgnoredAny, Fault> = client.send(Method::PATCH, &document(id)?, &body).await;
    match changed {
        Ok(_) => Ok(see_other(frame, id, "changed")),
        Err(fault) => page(client, frame, id, Outcome { typed: form.clone(), ..problem(fault) }).await,
    }
}

/// The stored value of a field of the form.
fn stored<'u>(user: &'u ListedUser, field: &str) -> &'u str {
    let stored = match field {
        "name" => Some(user.name.as_str()),
        "group" => user.group.as_deref(),
        _ => user.ip.as_deref(),
    };
    stored.unwrap_or_default().trim()
}

/// What a form changes. A problem if somebody else has changed the same since the page was shown.
fn changes(form: &Form, user: &ListedUser) -> Result<Map<String, Value>, Refused> {
    let mut changes = Map::new();
    for field in FIELDS {
        let (typed, stored) = (form.text(field), stored(user, field));
        // A form without the value that the page had is from another client: it has all that it wants.
        let was = form.get(&format!("{WAS}{field}")).unwrap_or(stored);
        if typed == was || typed == stored {
            continue;
        }
        if was != stored {
            let name = if field == "ip" { "note" } else { field };
            let now = if stored.is_empty() { "empty".to_owned() } else { format!("`{stored}`") };
            let message = format!(
                "The {name} is {now} by now: somebody has changed it since this page was shown. Save again to replace it"
            );
            return Err(Refused { status: StatusCode::CONFLICT, ..Refused::from(message) });
        }
        changes.insert(field.to_owned(), Some(typed).filter(|typed| !typed.is_empty()).into());
    }
    Ok(changes)
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
            let problem = Some(Refused::from(problem));
            let outcome = Outcome { token: form.clone(), problem, ..Outcome::default() };
            return page(client, frame, id, outcome).await;
        }
    };
    let made: Result<MadeToken, Fault> =
        client.send(Method::POST, &format!("{}/tokens", document(id)?), &body).await;
    match made {
        Ok(made) => {
            let made = Made::new(made, super::user_path(frame, id), "The new token of this user", usage);
            let outcome = Outcome { made: Some(made.clone()), ..Outcome::default() };
            let whole = page(client, frame, id, outcome).await;
            whole.or_else(|fault| token_form::made_alone(frame, Some(made), fault))
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
    let user: ListedUser = client.get(&document(id)?).await?;
    let ById(tokens) = client.get::<ById<Token>>(&format!("{}/tokens", document(id)?)).await?;
    let reachable: ReachableProviders = client.get("/admin/endpoints").await?;
    let target = target(frame, (KeyOwner::User, id));
    let fields: CredentialFields = client.get(&target.fields).await?;
    let Outcome { typed, token, made, problem, done, after } = outcome;
    let (sessions, tokens): (Vec<_>, Vec<_>) =
        tokens.into_iter().partition(|(_, token)| token.kind == ListedKind::Session);
    let own = frame.path(&format!("/users/{id}"));
    let providers = &reachable.providers;
    let example = made.as_ref().and_then(|made| made.example(frame, providers));
    let action = frame.path(&format!("/users/{id}/tokens"));
    let (problems, nothing) = (Problems::default(), Form::default());
    let status = Refused::status(problem.as_ref());
    let page = UserPage {
        frame,
        id,
        user: &user,
        tokens: Newest::of(tokens, &after, &own),
        sessions: Newest::of(sessions, "", &own),
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

impl UserPage<'_> {
    /// The path that revocations are sent to.
    fn revoke_action(&self) -> String {
        self.frame.path(&format!("/users/{}/tokens/revoke", self.id))
    }

    /// The text of a field of the user: that of the refused form if it changes it, or else the stored one.
    fn text<'t>(&'t self, field: &str) -> &'t str {
        let typed = self.typed.get(field);
        let changes = |typed: &&str| self.typed.get(&format!("{WAS}{field}")) != Some(typed);
        typed.filter(changes).unwrap_or_else(|| self.stored(field))
    }

    fn stored(&self, field: &str) -> &str {
        stored(self.user, field)
    }
}
