//! The credentials of a user, a group or everybody: the form of `/config`, for operators. No secret is shown.

use askama::Template;
use http::{Method, StatusCode};

use super::{
    super::{
        client::{Api, Client, segment, with_query},
        form::Form,
        frame::Frame,
        keys_form::{self, KeysForm, Problems, Target},
        refused::Refused,
        response::PageResponse,
    },
    done,
    user::document,
};
use crate::{
    admin::{CredentialFields, ListedUser},
    fault::Fault,
};

/// The kind of an owner of credentials. The path names the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum KeyOwner {
    User,
    Group,
    Everybody,
}

/// The kind of an owner, and the id or the name in the path.
type Owner<'o> = (KeyOwner, &'o str);

#[derive(Template)]
#[template(path = "console/keys.html")]
struct KeysPage<'p> {
    frame: &'p Frame,
    /// The title of the page that this one lies below, and its path.
    above: (String, String),
    title: String,
    about: String,
    keys: KeysForm<'p>,
    done: Option<&'static str>,
}

impl KeyOwner {
    /// The owner as the API names it.
    fn text(self, item: &str) -> String {
        match self {
            Self::User => item.to_owned(),
            Self::Group => format!("group:{item}"),
            Self::Everybody => "everybody".to_owned(),
        }
    }

    /// The path of the owner's credentials in the API.
    fn document(self, item: &str) -> String {
        match self {
            Self::User => format!("/admin/users/{}/creds", segment(item)),
            Self::Group => format!("/admin/credentials/groups/{}", segment(item)),
            Self::Everybody => "/admin/credentials/everybody".to_owned(),
        }
    }

    /// The path of the page.
    pub(super) fn page(self, item: &str) -> String {
        match self {
            Self::User => format!("/users/{item}/keys"),
            Self::Group => format!("/shared/groups/{item}"),
            Self::Everybody => "/shared/everybody".to_owned(),
        }
    }
}

/// The page.
pub(in super::super) async fn show(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    owner: Owner<'_>,
    query: Option<&str>,
) -> Result<PageResponse, Fault> {
    page(client, frame, owner, done(query), (&Problems::default(), &Form::default())).await
}

/// Saves what the form holds: all of it, or nothing.
pub(in super::super) async fn save(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    owner: Owner<'_>,
    form: &Form,
) -> Result<PageResponse, Fault> {
    let target = target(frame, owner);
    match keys_form::save(client, &target, form).await? {
        Ok(next) => Ok(PageResponse::see_other(&next)),
        Err(problems) => page(client, frame, owner, None, (&problems, form)).await,
    }
}

/// Confirms that a credential may go to the hosts that the form names.
pub(in super::super) async fn confirm(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    owner: Owner<'_>,
    form: &Form,
) -> Result<PageResponse, Fault> {
    match keys_form::confirm(client, &target(frame, owner), form).await {
        Ok(()) => {
            let page = frame.path(&owner.0.page(owner.1));
            Ok(PageResponse::see_other(&with_query(&page, &[("done", "confirmed")])))
        }
        Err(fault) => {
            let refused = Refused::from(fault);
            let status = refused.status;
            let problems = Problems { other: Some(refused), ..Problems::default() };
            let mut page = page(client, frame, owner, None, (&problems, &Form::default())).await?;
            page.status = status;
            Ok(page)
        }
    }
}

/// The credentials of an owner, for the form.
pub(super) fn target(frame: &Frame, (owner, item): Owner<'_>) -> Target {
    let (document, page) = (owner.document(item), frame.path(&owner.page(item)));
    Target {
        fields: with_query("/admin/fields", &[("owner", &owner.text(item))]),
        method: Method::PATCH,
        change: format!("{document}?expiry=required"),
        confirm: format!("{document}/confirm"),
        confirm_action: format!("{page}/confirm"),
        saved: with_query(&page, &[("done", "saved")]),
        saved_login: with_query(&page, &[("done", "saved")]),
        action: page,
        is_own: false,
    }
}

async fn page(
    client: &Client<'_, impl Api>,
    frame: &Frame,
    owner: Owner<'_>,
    done: Option<&'static str>,
    (problems, refused): (&Problems, &Form),
) -> Result<PageResponse, Fault> {
    let target = target(frame, owner);
    let fields: CredentialFields = client.get(&target.fields).await?;
    let shared = || ("Shared keys".to_owned(), frame.path("/shared"));
    let (above, title, about) = match owner {
        (KeyOwner::User, id) => {
            let user: ListedUser = client.get(&document(id)?).await?;
            let title = format!("Keys of {}", user.name);
            let about = "Requests of this user are sent with these. They come before those of the group and of everybody.";
            ((user.name, frame.path(&format!("/users/{id}"))), title, about)
        }
        (KeyOwner::Group, name) => {
            let about = "Users of the group send requests with these, unless they have stored their own.";
            (shared(), format!("Keys of the group {name}"), about)
        }
        (KeyOwner::Everybody, _) => {
            let about =
                "All users send requests with these, unless they or their groups have stored their own.";
            (shared(), "Keys of everybody".to_owned(), about)
        }
    };
    let keys = KeysForm::new(&target, &fields, problems, refused);
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok(PageResponse::html(status, &KeysPage { frame, above, title, about: about.to_owned(), keys, done }))
}
