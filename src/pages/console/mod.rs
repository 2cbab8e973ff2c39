//! The pages below `/console`, for operators.

pub(super) mod check;
pub(super) mod explain;
pub(super) mod audit;
pub(super) mod files;
pub(super) mod keys;
mod listing;
pub(super) mod overview;
pub(super) mod shared;
pub(super) mod tokens;
pub(super) mod tail;
pub(super) mod usage;
pub(super) mod user;
pub(super) mod users;

use super::{client::with_query, frame::Frame};
use crate::{pipeline::Folder, rewrite::value_of};
use super::{client::with_query, form::Form, frame::Frame};
use crate::{
    fault::{Fault, FaultKind},
    pipeline::Folder,
    rewrite::value_of,
};
use http::StatusCode;

/// The messages of changes that were made, by their word in `?done=` of the page that follows.
const DONE: &[(&str, &str)] = &[
    ("saved", "Saved."),
    ("confirmed", "Confirmed: the credential is sent to its new hosts from now on."),
    ("changed", "The user was changed."),
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
    let Some((above, file)) = path.rsplit_once('/') else { return path };
    let start = above.rfind('/').map_or(0, |slash| slash + 1);
    let folder = &above[start..];
    let is_folder = !folder.is_empty() && Folder::named(folder).is_some();
    if is_folder { &path[start..] } else { file }
}

/// The page of a file.
fn file_page(frame: &Frame, path: &str) -> String {
    with_query(&frame.path("/providers/item"), &[("file", file_name(path))])
}

/// The status of a form that is shown again: 422 if the fault is about what was typed.
fn form_status(fault: &Fault) -> StatusCode {
    match fault.kind {
        FaultKind::InvalidRequest => StatusCode::UNPROCESSABLE_ENTITY,
        _ if fault.at.is_some() => StatusCode::UNPROCESSABLE_ENTITY,
        kind => kind.status(),
    }
}

/// The page of a user.
fn user_path(frame: &Frame, id: &str) -> String {
    frame.path(&format!("/users/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_revocation_may_include_what_came_from_the_token() {
        for (form, expected) in
            [("token=x", ("/t", "revoked")), ("token=x&with_made=1", ("/t?withMade=true", "revoked-all"))]
        {
            let (path, word) = revocation("/t", &Form::parse(form.as_bytes()));
            assert_eq!((path.as_str(), word), expected, "{form}");
        }
    }

    #[test]
    fn only_what_was_typed_is_unprocessable() {
        let typed = |kind| Fault { at: Some("/user".to_owned()), ..Fault::new(kind, "") };
        for (fault, status) in [
            (Fault::new(FaultKind::InvalidRequest, ""), 422),
            (typed(FaultKind::NotFound), 422),
            (Fault::new(FaultKind::TooManyCalls, ""), FaultKind::TooManyCalls.status().as_u16()),
            (Fault::new(FaultKind::StoreUnavailable, ""), 503),
        ] {
            assert_eq!(form_status(&fault).as_u16(), status, "{fault:?}");
        }
    }

    #[test]
    fn a_file_is_named_below_the_directory() {
        for (path, expected) in [
            ("/etc/tollgate/providers.d/acme.toml", "acme.toml"),
            ("/etc/tollgate/providers.d/apis/acme.toml", "apis/acme.toml"),
            ("providers.d/presets/a.toml", "presets/a.toml"),
            ("presets/a.toml", "presets/a.toml"),
            ("built-in/acme.toml", "acme.toml"),
            ("acme.toml", "acme.toml"),
            ("/acme.toml", "acme.toml"),
        ] {
            assert_eq!(file_name(path), expected, "{path}");
        }
    }
}
