//! Shared credentials: those of everybody, and of each group.

use askama::Template;
use http::StatusCode;
use serde::de::IgnoredAny;

use super::{
    super::{
        client::{Api, Client, Listed, segment, with_query},
        form::Form,
        frame::Frame,
        response::PageResponse,
    },
    done,
};
use crate::{
    admin::{CredentialFields, Group},
    fault::{Fault, FaultKind},
    numbers::counted,
    rewrite::value_of,
};

/// The groups of one page.
const LIMIT: &str = "100";
/// The stored fields of a group that the list names.
const FIRST: usize = 6;

#[derive(Template)]
#[template(path = "console/shared.html")]
struct SharedPage<'p> {
    frame: &'p Frame,
    everybody: Vec<String>,
    groups: &'p [(String, Group)],
    /// The address of the next page, if there is one.
    next: Option<String>,
    is_first: bool,
    typed: &'p str,
    problem: Option<String>,
    done: Option<&'static str>,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    page(client, frame, query, "", None).await
}

/// Opens the page of the group that the form names. The group needs no user yet.
pub(in super::super) async fn open(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let name = form.text("name");
    let found: Result<IgnoredAny, Fault> = match name {
        "" => Err(Fault::new(FaultKind::InvalidRequest, "Type the name of a group")),
        name => client.get(&format!("/admin/credentials/groups/{}", segment(name))).await,
    };
    match found {
        Ok(_) => Ok(PageResponse::see_other(&frame.path(&format!("/shared/groups/{}", segment(name))))),
        Err(fault) => page(client, frame, None, name, Some(fault.message.into_owned())).await,
    }
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
    typed: &str,
    problem: Option<String>,
) -> Result<PageResponse, Fault> {
    let after = value_of(query, "after").unwrap_or_default();
    let asked = with_query("/admin/groups", &[("limit", LIMIT), ("after", &after)]);
    let Listed { items, next } = client.list::<Group>(&asked).await?;
    let fields: CredentialFields =
        client.get(&with_query("/admin/fields", &[("owner", "everybody")])).await?;
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let page = SharedPage {
        frame,
        everybody: stored(&fields),
        groups: &items,
        next: next.map(|next| with_query(&frame.path("/shared"), &[("after", &next)])),
        is_first: after.is_empty(),
        typed,
        problem,
        done: done(query),
    };
    Ok(PageResponse::html(status, &page))
}

fn first(stored: &[String]) -> &[String] {
    stored.get(..FIRST).unwrap_or(stored)
}

/// The stored fields, each with its section.
fn stored(fields: &CredentialFields) -> Vec<String> {
    let sections = fields.sections.iter().flat_map(|section| {
        let stored = section.fields.iter().filter(|field| field.stored.is_some());
        stored.map(|field| format!("{}.{}", section.section, field.field))
    });
    let undeclared = fields.undeclared.iter().map(|one| format!("{}.{}", one.section, one.field));
    sections.chain(undeclared).collect()
}
