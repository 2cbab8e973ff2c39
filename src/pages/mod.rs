//! The pages of tollgate: `/config` for users, `/console` for operators. HTML is rendered here from templates that are
//! compiled in; every fact and change is a call of the API that `schema/openapi.json` describes.
//!
//! A page is a client of the API: it never touches the store, the accounts or the files. What a form can do works without
//! JavaScript. Values from files, users and upstreams are text: templates escape them.
//!
//! Read next: `route` for the table of pages, `client` for calls of the API, `clients` for the tools that people connect.

mod assets;
mod chart;
mod client;
mod clients;
mod config;
mod console;
mod form;
mod frame;
mod keys_form;
mod over_time;
mod refused;
mod response;
mod route;
mod shown;
mod token_form;

pub use self::{
    client::Api,
    response::PageResponse,
    route::{Area, PageRoute, find},
};
use self::{client::Client, form::Form, frame::Frame, route::Page};
use std::sync::Arc;

use crate::{
    admin::other_user,
    compile::Clients,
    fault::{Fault, FaultKind},
    rewrite::value_of,
};
use bytes::Bytes;

/// A request for a page by somebody who is signed in.
#[derive(Debug)]
pub struct PageRequest<'r> {
    /// The query, without `?`.
    pub query: Option<&'r str>,
    /// The body of a form, or the reason why it was not read.
    pub form: Result<Bytes, Fault>,
    /// The address at which people reach tollgate, without a slash at the end.
    pub public_url: &'r str,
    /// The clients of the request's snapshot.
    pub clients: &'r Arc<Clients>,
    /// The name of the person, as pages show it.
    pub who: &'r str,
    /// The user's id. `None` for an admin.
    pub user: Option<&'r str>,
}

/// The reason why somebody is asked to sign in again.
#[derive(Debug)]
pub enum SignInProblem {
    /// The attempt failed.
    Refused(Fault),
    /// The token is good, and for the pages of this other area.
    Elsewhere(Area),
    /// A form was sent after the session had ended.
    Ended,
}

/// The sign-in form, with the page that was asked for, and the reason why the form is shown again.
pub fn sign_in(area: Area, then: &str, problem: Option<&SignInProblem>) -> PageResponse {
    frame::sign_in(area, area.within(then), problem)
}

/// The page in place of one that cannot be shown.
pub fn problem(area: Area, fault: &Fault) -> PageResponse {
    frame::problem(&Frame::bare(area), fault)
}

/// The page for an address that has none.
pub fn not_found(area: Area) -> PageResponse {
    problem(area, &Fault::new(FaultKind::NotFound, "No page has this address"))
}

/// An asset, by the hash and the name in its path. None if there is none.
pub fn asset(hash: &str, name: &str) -> Option<PageResponse> {
    assets::find(hash, name)
}

/// A page for somebody who is signed in. `api` calls operations as that person.
pub async fn answer(route: &PageRoute, request: &PageRequest<'_>, api: &impl Api) -> PageResponse {
    let client = Client::new(api);
    let frame = Frame::new(route, request);
    let rendered = match (&request.form, check_user(route, request)) {
        (Err(fault), _) => Err(unread(route, fault)),
        (Ok(form), Ok(())) => render(route, (request, form), &client, &frame).await,
        (Ok(_), Err(fault)) => Err(fault),
    };
    rendered.unwrap_or_else(|fault| frame::problem(&frame, &fault))
}

/// The fault for a form that was not read. One that is too large needs advice.
fn unread(route: &PageRoute, fault: &Fault) -> Fault {
    match fault.kind {
        FaultKind::BodyTooLarge => {
            Fault::new(fault.kind, format!("The form is too large: {}, or use the API", route.advice()))
        }
        _ => fault.clone(),
    }
}

/// Refuses a form of a page that was made for another user: somebody else has signed in to the same browser since then.
fn check_user(route: &PageRoute, request: &PageRequest<'_>) -> Result<(), Fault> {
    match request.user {
        Some(user) if route.is_form && value_of(request.query, frame::USER).as_deref() != Some(user) => {
            Err(other_user())
        }
        Some(_) | None => Ok(()),
    }
}

async fn render(
    route: &PageRoute,
    (request, form): (&PageRequest<'_>, &[u8]),
    client: &Client<'_, impl Api>,
    frame: &Frame,
) -> Result<PageResponse, Fault> {
    let form = || Form::parse(form);
    let item = route.item.as_str();
    match route.page {
        Page::Keys => config::keys::show(client, frame, request.query).await,
        Page::SaveKeys => config::keys::save(client, frame, &form()).await,
        Page::ConfirmKey => config::keys::confirm(client, frame, &form()).await,
        Page::Connect => config::connect::list(client, frame).await,
        Page::ConnectOne => config::connect::show(client, frame, item).await,
        Page::Probe => config::connect::probe(client, frame, item).await,
        Page::Usage => config::usage::show(client, frame, request.query).await,
        Page::Tokens => config::tokens::show(client, frame).await,
        Page::CreateToken => config::tokens::create(client, frame, &form()).await,
        Page::RotateToken => config::tokens::rotate(client, frame).await,
        Page::PasteToken => config::tokens::paste(client, frame, item).await,
        Page::RevokeToken => config::tokens::revoke(client, frame, item, &form()).await,
        Page::Overview => console::overview::show(client, frame).await,
        Page::Files => console::files::show(client, frame, request.query).await,
        Page::File => console::files::item(client, frame, request.query).await,
        Page::Explain => console::explain::show(client, frame, request.query).await,
        Page::ExplainRequest => console::explain::explain(client, frame, &form()).await,
        Page::Check => Ok(console::check::show(frame, request.query)),
        Page::CheckText => console::check::check(client, frame, &form()).await,
        Page::Reload => console::files::reload(client, frame).await,
        Page::AllUsage => console::usage::show(client, frame, request.query).await,
        Page::Tail => console::tail::show(client, frame, request.query).await,
        Page::Audit => console::audit::show(client, frame, request.query).await,
        Page::Users => console::users::show(client, frame, request.query).await,
        Page::CreateUser => console::users::create(client, frame, &form()).await,
        Page::User => console::user::show(client, frame, item, request.query).await,
        Page::UpdateUser => console::user::update(client, frame, item, &form()).await,
        Page::ChangeUser(change) => console::user::change(client, frame, item, change).await,
        Page::CreateUserToken => console::user::create_token(client, frame, item, &form()).await,
        Page::RevokeUserToken => console::user::revoke_token(client, frame, item, &form()).await,
        Page::OwnerKeys(owner) => console::keys::show(client, frame, (owner, item), request.query).await,
        Page::SaveOwnerKeys(owner) => console::keys::save(client, frame, (owner, item), &form()).await,
        Page::ConfirmOwnerKey(owner) => console::keys::confirm(client, frame, (owner, item), &form()).await,
        Page::Shared => console::shared::show(client, frame, request.query).await,
        Page::Unconfirmed => console::unconfirmed::show(client, frame, request.query).await,
        Page::OpenGroup => console::shared::open(client, frame, &form()).await,
        Page::AdminTokens => console::tokens::show(client, frame, request.query).await,
        Page::CreateAdminToken => console::tokens::create(client, frame, &form()).await,
        Page::RevokeAdminToken => console::tokens::revoke(client, frame, &form()).await,
    }
}
