//! The keys of all owners that wait for a confirmation, since the provider files lead them to other hosts.

use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;

use super::{
    super::{
        client::{Api, Client, Listed, with_query},
        frame::Frame,
        response::PageResponse,
    },
    keys::KeyOwner,
};
use crate::{accounts::NewOrigins, admin::UnconfirmedOwner, fault::Fault, name::Owner, rewrite::value_of};

/// The owners of one page.
const LIMIT: &str = "100";
/// The path of the page.
const PATH: &str = "/shared/unconfirmed";

#[derive(Template)]
#[template(path = "console/unconfirmed.html")]
struct UnconfirmedPage<'p> {
    frame: &'p Frame,
    owners: Vec<Waiting>,
    /// The address of the next page, if there is one.
    next: Option<String>,
    is_first: bool,
}

/// An owner, with what waits.
struct Waiting {
    title: String,
    /// The page where it is confirmed.
    page: String,
    unconfirmed: BTreeMap<String, NewOrigins>,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    let after = value_of(query, "after").unwrap_or_default();
    let asked = with_query("/admin/credentials/unconfirmed", &[("limit", LIMIT), ("after", &after)]);
    let Listed { items, next } = client.list::<UnconfirmedOwner>(&asked).await?;
    let page = UnconfirmedPage {
        frame,
        owners: items.into_iter().filter_map(|(owner, found)| waiting(frame, &owner, found)).collect(),
        next: next.map(|next| with_query(&frame.path(PATH), &[("after", &next)])),
        is_first: after.is_empty(),
    };
    Ok(PageResponse::html(StatusCode::OK, &page))
}

fn waiting(frame: &Frame, owner: &str, found: UnconfirmedOwner) -> Option<Waiting> {
    let (title, page) = match Owner::parse(owner)? {
        Owner::User(id) => {
            (found.name.unwrap_or_else(|| id.to_string()), KeyOwner::User.page(&id.to_string()))
        }
        Owner::Group(name) => (format!("the group {name}"), KeyOwner::Group.page(&name.to_string())),
        Owner::Everybody => ("everybody".to_owned(), KeyOwner::Everybody.page("")),
    };
    Some(Waiting { title, page: frame.path(&page), unconfirmed: found.unconfirmed })
}
