//! Users: a list, and forms to create, disable and delete them.

use askama::Template;
use http::{Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::json;

use super::super::{
    client::{Api, Client, with_query},
    form::Form,
    frame::Frame,
    response::PageResponse,
    shown,
};
use crate::{
    admin::{ById, MadeUser, User},
    fault::Fault,
    rewrite::value_of,
};

/// The users of one page.
const LIMIT: &str = "100";

#[derive(Template)]
#[template(path = "console/users.html")]
struct UsersPage<'p> {
    frame: &'p Frame,
    users: &'p [(String, User)],
    /// The last user of this page, if another page follows.
    next: Option<&'p str>,
    made: Option<MadeUser>,
    problem: Option<String>,
}

/// A change of a user, by a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Change {
    Disable,
    Enable,
    Delete,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let after = value_of(query, "after").unwrap_or_default();
    page(client, frame, &after, None, None).await
}

/// Creates a user.
pub(in super::super) async fn create(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let mut body = json!({ "name": form.text("name") });
    if !form.text("group").is_empty() {
        body["group"] = form.text("group").into();
    }
    match client.send(Method::POST, "/admin/users", &body).await {
        Ok(made) => page(client, frame, "", Some(made), None).await,
        Err(fault) => page(client, frame, "", None, Some(fault.message.into_owned())).await,
    }
}

/// Changes a user.
pub(in super::super) async fn change(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    id: &str,
    change: Change,
) -> Result<PageResponse, Fault> {
    let path = format!("/admin/users/{id}");
    let changed: Result<IgnoredAny, Fault> = match change {
        Change::Disable => client.send(Method::PATCH, &path, &json!({ "disabled": true })).await,
        Change::Enable => client.send(Method::PATCH, &path, &json!({ "disabled": false })).await,
        Change::Delete => client.send(Method::DELETE, &path, &json!(null)).await,
    };
    match changed {
        Ok(_) => Ok(PageResponse::see_other(&frame.path("/users"))),
        Err(fault) => page(client, frame, "", None, Some(fault.message.into_owned())).await,
    }
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    after: &str,
    made: Option<MadeUser>,
    problem: Option<String>,
) -> Result<PageResponse, Fault> {
    let path = with_query("/admin/users", &[("limit", LIMIT), ("after", after)]);
    let ById(users) = client.get::<ById<User>>(&path).await?;
    let is_full = LIMIT.parse() == Ok(users.len());
    let next = users.last().filter(|_| is_full).map(|(id, _)| id.as_str());
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok(PageResponse::html(status, &UsersPage { frame, users: &users, next, made, problem }))
}
