//! Why the engine decided as it did, in words.

use http::{Method, request::Parts};

use super::{Difference, Nearest, places::place};
use crate::{
    base::{diag::Sources, name::Owner, own_paths, suggest::backticked},
    language::compile::{self, NormalizedPath},
    request::{
        rewrite::{EngineHeader, Reason},
        table,
    },
};

pub(super) const NOT_REACHED: &str = "not looked at: an entry above is used";

pub(super) const EXPIRED: &str = "the login that is stored has expired";

/// What tollgate answers itself.
pub(super) fn own_answer(head: &Parts) -> Option<String> {
    if head.method == Method::OPTIONS {
        return Some("a browser's preflight, which tollgate answers on any path".to_owned());
    }
    let (first, _) = own_paths::find(head.uri.path())?;
    Some(format!("`/{first}` is tollgate's own: no provider is behind it"))
}

/// Why the engine dropped what a client sent.
pub(super) fn dropped(name: &str, reason: Reason) -> &'static str {
    match reason {
        Reason::Managed if name == "host" => "it names this gateway, not the upstream",
        Reason::Managed => "framing and connection are the engine's own",
        Reason::Stripped => stripped(name),
        Reason::Unpassed => {
            "it says where the client is, or what page it is on: `headers.pass` lets it through"
        }
        Reason::Claimed => "a file sets it: what clients send under this name never counts",
        Reason::TokenLocation => "clients may put their gateway token there: it never goes up",
        Reason::Nominated => "the request's `connection` says that it is for this hop alone",
    }
}

fn stripped(name: &str) -> &'static str {
    match name {
        "authorization" | "x-api-key" => "it carries the client's gateway token, which never goes up",
        "cookie" | "cookie2" => "a browser's session never goes up",
        _ if name.starts_with("proxy-") => "it is for a proxy, and this is one",
        _ => "some servers take it for the method or the path, past the endpoint that was allowed",
    }
}

/// Why the engine writes a header itself.
pub(super) fn own(own: EngineHeader) -> &'static str {
    match own {
        EngineHeader::Host => "the host that the request goes to",
        EngineHeader::Trailers => "the client takes trailers",
    }
}

pub(super) fn fits(auth: &compile::Auth, owner: Option<&Owner>, user: &str) -> String {
    let whose = owner.map(|owner| format!(" for {}", whom(owner, user))).unwrap_or_default();
    match &auth.matches {
        Some(glob) => format!("what is stored{whose} matches `{}`", glob.as_str()),
        None => format!("it is stored{whose}"),
    }
}

/// Whose a credential is; `user` is what the caller is called.
fn whom(owner: &Owner, user: &str) -> String {
    match owner {
        Owner::User(_) => format!("`{user}`"),
        Owner::Group(group) => format!("the group `{group}`"),
        Owner::Everybody => "everybody".to_owned(),
    }
}

/// Why what one owner has is not used: another one has something too.
pub(super) fn after(owner: &Owner, first: &Owner, user: &str) -> String {
    format!("{} shares one, but what {} has goes first", whom(owner, user), whom(first, user))
}

pub(super) fn does_not_match(auth: &compile::Auth) -> String {
    let glob = auth.matches.as_ref().map_or("", |glob| glob.as_str());
    format!("what is stored does not match `{glob}`")
}

pub(super) fn gateway(used: Option<&str>, name: &str, unset: &[String]) -> String {
    match used {
        Some(used) if used == name => "all of its vars are set".to_owned(),
        Some(used) if unset.is_empty() => format!("`{used}` goes before it"),
        Some(_) | None => not_set(unset),
    }
}

pub(super) fn egress(when: &[String], unset: &[String]) -> String {
    match (when, unset) {
        ([], _) => "it has no `when`".to_owned(),
        (_, []) => format!("{} {} set", backticked(when), are(when)),
        (_, unset) => not_set(unset),
    }
}

fn not_set(unset: &[String]) -> String {
    format!("{} {} not set", backticked(unset), are(unset))
}

fn are(names: &[String]) -> &'static str {
    if names.len() == 1 { "is" } else { "are" }
}

/// The nearest endpoint, and what differs.
pub(super) fn nearest(near: &table::Nearest<'_>, head: &Parts, sources: &Sources) -> Nearest {
    let path = head.uri.path();
    let differs = match (near.differences.as_slice(), NormalizedPath::new(path)) {
        ([], _) | (_, None) => {
            let message = "the path is not in its one plain form".to_owned();
            vec![Difference { what: "encoding", message }]
        }
        (differences, Some(plain)) => {
            differences.iter().map(|one| difference(one, near, head, &plain)).collect()
        }
    };
    Nearest {
        provider: near.provider.name.to_string(),
        name: near.endpoint.name.clone(),
        method: near.endpoint.method.to_string(),
        path: near.path.text.clone(),
        differs,
        at: place(sources, &near.path.at),
    }
}

fn difference(
    one: &compile::Difference,
    near: &table::Nearest<'_>,
    head: &Parts,
    plain: &NormalizedPath,
) -> Difference {
    use compile::Difference as D;
    let written = |number: usize| near.path.text.split('/').nth(number).unwrap_or_default();
    let shown = |number: usize| plain.segment(number);
    let (what, message) = match *one {
        D::Method => {
            ("method", format!("the method is {}, here it is {}", near.endpoint.method, head.method))
        }
        D::TrailingSlash => ("trailing_slash", "the path has no slash at its end".into()),
        D::DoubleSlash => ("double_slash", "the path has no two slashes in a row".into()),
        D::Dots => ("dots", "a path with `.` or `..` in it leads nowhere".into()),
        D::Encoding(0) => ("encoding", "the path's slashes are not percent-encoded".into()),
        D::Encoding(number) => (
            "encoding",
            format!(
                "segment {number} is not percent-encoded: paths are matched as sent, here it is `{}`",
                shown(number)
            ),
        ),
        D::Case(number) => {
            ("case", format!("segment {number} differs in case: here it is `{}`", shown(number)))
        }
        D::Segment(number) => {
            ("segment", format!("segment {number} is another: here it is `{}`", shown(number)))
        }
        D::Extra(number) => ("extra_segment", format!("segment {number}, `{}`, is too many", shown(number))),
        D::Missing(number) => {
            ("missing_segment", format!("its segment {number}, `{}`, is missing", written(number)))
        }
    };
    Difference { what, message }
}
