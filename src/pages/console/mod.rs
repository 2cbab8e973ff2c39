//! The pages below `/console`, for operators.

pub(super) mod check;
pub(super) mod explain;
pub(super) mod audit;
pub(super) mod files;
pub(super) mod keys;
mod listing;
mod newest;
pub(super) mod overview;
pub(super) mod shared;
pub(super) mod tokens;
pub(super) mod tail;
pub(super) mod unconfirmed;
pub(super) mod usage;
pub(super) mod user;
pub(super) mod users;

use super::{client::with_query, frame::Frame};
use crate::{pipeline::Folder, rewrite::value_of};

/// The messages of changes that were made, by their word in `?done=` of the page that follows.
const DONE: &[(&str, &str)] = &[
    ("saved", "Saved."),
    ("confirmed", "Confirmed: the credential is sent to its new hosts from now on."),
    ("changed", "The user was changed."),
    ("same", "The form has what is stored: there was nothing to change."),
    ("disabled", "The user was disabled: all tokens are refused from now on."),
    ("enabled", "The user was enabled: the tokens work again."),
    ("deleted", "The user was deleted, with all tokens and keys."),
    ("revoked", "The token was revoked."),
    ("revoked-all", "The token was revoked, with all that came from it."),
];

/// The message of the change that led to this page. The words of an address are never shown themselves.
fn done(query: Option<&str>) -> Option<&'static str> {
    let word = value_of(query, "done")?;
    DONE.iter().find(|(one, _)| *one == word).map(|(_, message)| *message)
}

/// The path of a file below the providers directory: `acme.toml`, `apis/acme.toml`.
fn file_name(path: &str) -> &str {
    Folder::shown_path(path)
}

/// The page of a file.
fn file_page(frame: &Frame, path: &str) -> String {
    with_query(&frame.path("/providers/item"), &[("file", file_name(path))])
}

/// The page of a user.
fn user_path(frame: &Frame, id: &str) -> String {
    frame.path(&format!("/users/{id}"))
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use super::{
        super::{
            client::{Api, Client},
            form::Form,
            route::Area,
        },
        *,
    };
    use crate::{
        admin::Response,
        fault::{Fault, FaultKind},
    };

    /// An API that makes tokens, and can read nothing.
    struct Unreadable;

    impl Api for Unreadable {
        async fn call(&self, method: Method, path: &str, _: Option<&Value>) -> Result<Response, Fault> {
            if method != Method::POST {
                return Err(Fault::new(FaultKind::StoreUnavailable, "The store is away"));
            }
            let made = match path {
                "/admin/users" => json!({ "userId": "usr_1", "token": "the-token" }),
                _ => json!({ "id": "tok_1", "token": "the-token", "kind": "proxy" }),
            };
            let body = made.to_string();
            Ok(Response { status: StatusCode::CREATED, body, csv: false, link: None, session: None })
        }
    }

    #[tokio::test]
    async fn a_new_token_is_shown_even_if_nothing_else_can_be() {
        let (client, frame) = (Client::new(&Unreadable), Frame::bare(Area::Console));
        let form = Form::parse(b"name=a&kind=proxy&label=x&days=0");
        let pages = [
            users::create(&client, &frame, &form).await,
            tokens::create(&client, &frame, &form).await,
            user::create_token(&client, &frame, "usr_0123456789abcdef", &form).await,
        ];
        for page in pages {
            let (status, _, body) = page.unwrap().into_body(false);
            let body = str::from_utf8(&body).unwrap();
            assert_eq!(status, StatusCode::OK, "{body}");
            assert!(body.contains("the-token") && body.contains("The store is away"), "{body}");
        }
    }

    #[test]
    fn only_known_words_are_messages() {
        for (query, expected) in [
            (None, None),
            (Some("done=saved"), Some("Saved.")),
            (Some("done=<b>"), None),
            (Some("x=saved"), None),
        ] {
            assert_eq!(done(query), expected, "{query:?}");
        }
    }

    #[test]
    fn a_file_is_named_below_the_directory() {
        for (path, expected) in [
            ("/etc/tollgate/providers.d/acme.toml", "acme.toml"),
            ("/etc/tollgate/providers.d/apis/acme.toml", "apis/acme.toml"),
            ("providers.d/presets/a.toml", "presets/a.toml"),
            ("presets/a.toml", "presets/a.toml"),
            ("/etc/tollgate/limits.d/a.toml", "limits.d/a.toml"),
            ("built-in/acme.toml", "acme.toml"),
            ("acme.toml", "acme.toml"),
            ("/acme.toml", "acme.toml"),
        ] {
            assert_eq!(file_name(path), expected, "{path}");
        }
    }
}
