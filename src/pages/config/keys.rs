//! The keys of a user.

use askama::Template;
use http::{Method, StatusCode};

use super::{
    super::{
        client::{Api, Client},
        form::Form,
        frame::Frame,
        keys_form::{self, KeysForm, Problems, Target},
        response::PageResponse,
    },
    tokens,
};
use crate::{admin::CredentialFields, fault::Fault, rewrite::value_of};

/// The word in the address of the page that follows the save of a login.
const LOGIN: &str = "login";

#[derive(Template)]
#[template(path = "config/keys.html")]
struct KeysPage<'p> {
    frame: &'p Frame,
    keys: KeysForm<'p>,
    saved: bool,
    /// True if a login was saved, and clients that take its paste tokens alone have none yet.
    lacks_paste_token: bool,
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    page(client, frame, value_of(query, "saved").as_deref(), &Problems::default(), &Form::default()).await
}

/// Saves what the form holds: all of it, or nothing.
pub(in super::super) async fn save(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let target = own(frame);
    match keys_form::save(client, &target, form).await? {
        Ok(next) => Ok(PageResponse::see_other(&next)),
        Err(problems) => page(client, frame, None, &problems, form).await,
    }
}

/// Confirms that a credential may go to the hosts that the form names.
pub(in super::super) async fn confirm(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    form: &Form,
) -> Result<PageResponse, Fault> {
    keys_form::confirm(client, &own(frame), form).await?;
    Ok(PageResponse::see_other(&frame.path("")))
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    saved: Option<&str>,
    problems: &Problems,
    refused: &Form,
) -> Result<PageResponse, Fault> {
    let target = own(frame);
    let fields: CredentialFields = client.get(&target.fields).await?;
    let lacks_paste_token = saved == Some(LOGIN) && tokens::lacks_paste_token(client, &fields).await?;
    let keys = KeysForm::new(&target, &fields, problems, refused);
    let page = KeysPage { frame, keys, saved: saved.is_some(), lacks_paste_token };
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok(PageResponse::html(status, &page))
}

fn own(frame: &Frame) -> Target {
    Target {
        fields: "/auth/fields".to_owned(),
        method: Method::PUT,
        change: "/auth/creds?expiry=required&paste_tokens=none".to_owned(),
        confirm: "/auth/creds/confirm".to_owned(),
        action: frame.change(&["/keys"]),
        confirm_action: frame.change(&["/keys/confirm"]),
        saved: frame.path("?saved=1"),
        saved_login: frame.path("?saved=login"),
        is_own: true,
    }
}
