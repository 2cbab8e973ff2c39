//! Users: a list with a search, a group and an order, in pages, and a form that creates one.

use askama::Template;
use http::Method;
use serde_json::json;

use super::{
    super::{
        client::{Api, Client, Listed, with_query},
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
    admin::{Group, ListedUser, MadeUser, UserNumbers},
    fault::{Fault, FaultKind},
    numbers::grouped,
    rewrite::value_of,
};

/// The users of one page.
const LIMIT: &str = "100";
/// The groups that the filter suggests.
const GROUPS: &str = "100";
/// The orders, as the API and as the page names them.
const ORDERS: [(&str, &str); 3] =
    [("created", "Oldest first"), ("name", "Name"), ("last_used", "Last used first")];

#[derive(Template)]
#[template(path = "console/users.html")]
struct UsersPage<'p> {
    frame: &'p Frame,
    asked: &'p Asked,
    users: &'p [(String, ListedUser)],
    numbers: UserNumbers,
    groups: &'p [(String, Group)],
    /// The address of the next page, if there is one.
    next: Option<String>,
    outcome: Outcome<'p>,
}

/// The outcome of a form.
#[derive(Default)]
struct Outcome<'p> {
    made: Option<MadeUser>,
    /// The refused form.
    typed: Option<&'p Form>,
    problem: Option<Refused>,
    done: Option<&'static str>,
}

/// The users that a page shows.
#[derive(Default)]
struct Asked {
    search: String,
    group: String,
    order: &'static str,
    after: String,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let outcome = Outcome { done: done(query), ..Outcome::default() };
    page(client, frame, &Asked::of(query), outcome).await
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
    let asked = Asked::of(None);
    let sent: Result<MadeUser, Fault> = client.send(Method::POST, "/admin/users", &body).await;
    match sent {
        Ok(made) => {
            let alone = shown_once(frame, &made);
            let outcome = Outcome { made: Some(made), ..Outcome::default() };
            let whole = page(client, frame, &asked, outcome).await;
            whole.or_else(|fault| token_form::made_alone(frame, Some(alone), fault))
        }
        Err(fault) => {
            let outcome = Outcome { typed: Some(form), problem: Some(fault.into()), ..Outcome::default() };
            page(client, frame, &asked, outcome).await
        }
    }
}

/// The token of a user that was just made.
fn shown_once(frame: &Frame, made: &MadeUser) -> Made {
    Made {
        title: "The token of the new user".to_owned(),
        token: made.token.clone(),
        page: super::user_path(frame, &made.user_id),
        notes: vec!["It is shown only now.".to_owned()],
        usage: None,
    }
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    asked: &Asked,
    mut outcome: Outcome<'_>,
) -> Result<PageResponse, Fault> {
    let found = match list(client, asked).await {
        Ok(found) => Some(found),
        // A filter that nothing can match: the form shows it, with the reason.
        Err(fault) if fault.kind == FaultKind::InvalidRequest => {
            outcome.problem = Some(fault.into());
            None
        }
        Err(fault) => return Err(fault),
    };
    let (list, numbers) = found
        .unwrap_or_else(|| (Listed { items: Vec::new(), next: None }, UserNumbers { users: 0, disabled: 0 }));
    let groups = client.list::<Group>(&with_query("/admin/groups", &[("limit", GROUPS)])).await?;
    let status = Refused::status(outcome.problem.as_ref());
    let next = list.next.as_deref().map(|after| asked.address(frame, after));
    let page = UsersPage { frame, asked, users: &list.items, numbers, groups: &groups.items, next, outcome };
    Ok(PageResponse::html(status, &page))
}

async fn list(
    client: &Client<'_, impl Api>,
    asked: &Asked,
) -> Result<(Listed<ListedUser>, UserNumbers), Fault> {
    let filters = [("search", asked.search.as_str()), ("group", &asked.group)];
    let numbers = client.get(&with_query("/admin/users/count", &filters)).await?;
    let [search, group] = filters;
    let parameters = [search, group, ("order", asked.order), ("limit", LIMIT), ("after", &asked.after)];
    Ok((client.list(&with_query("/admin/users", &parameters)).await?, numbers))
}

impl Asked {
    fn of(query: Option<&str>) -> Self {
        let value = |name| value_of(query, name).map(|value| value.trim().to_owned()).unwrap_or_default();
        let order = value("order");
        let order = ORDERS.into_iter().find(|(one, _)| *one == order).unwrap_or(ORDERS[0]).0;
        Self { search: value("search"), group: value("group"), order, after: value("after") }
    }

    /// The address of a page of the same list; of the first one if `after` is empty.
    fn address(&self, frame: &Frame, after: &str) -> String {
        let order = if self.order == ORDERS[0].0 { "" } else { self.order };
        let pairs =
            [("search", self.search.as_str()), ("group", &self.group), ("order", order), ("after", after)];
        with_query(&frame.path("/users"), &pairs)
    }

    fn is_ordered(&self, order: &str) -> bool {
        self.order == order
    }

    fn is_filtered(&self) -> bool {
        !self.search.is_empty() || !self.group.is_empty()
    }
}

impl UsersPage<'_> {
    /// The number of users that the filters leave.
    fn count(&self) -> String {
        let UserNumbers { users, disabled } = self.numbers;
        let users = if users == 1 { "1 user".to_owned() } else { format!("{} users", grouped(users)) };
        if disabled == 0 { users } else { format!("{users}, {} disabled", grouped(disabled)) }
    }

    /// The text that the refused form had in a field.
    fn typed(&self, name: &str) -> &str {
        self.outcome.typed.map_or("", |form| form.text(name))
    }
}
