//! Reasons for the engine's decisions, as sentences.

use http::{Method, request::Parts};

use super::{Difference, Nearest, positions::position};
use crate::{
    base::{diag::Sources, name::Owner, own_paths, suggest::backticked},
    language::{
        bind,
        compile::{self, NormalizedPath},
        token,
    },
    request::{
        cors, decide,
        rewrite::{EngineHeader, Reason},
        table::{self, Table},
    },
};

pub(super) const NOT_REACHED: &str = "not checked: an earlier entry is used";

pub(super) const NONE_STORED: &str = "no secret is stored, and the endpoint needs none";
pub(super) const SECRET_STORED: &str = "it counts only where no secret of the section is stored";

pub(super) const EXPIRED: &str = "the stored login has expired";

/// Conditions of a request that asks for usage.
pub(super) const NOT_ASKED: &str =
    "inserts nothing: a request with a signature or a `content-encoding` is not changed";
pub(super) const ASKED: &str = "for a body that asks for usage: an event is taken out of the answer";
pub(super) const DIGEST: &str = "for a body that asks for usage: this is the digest of another body";

/// A request that tollgate answers itself. None for any other.
pub(super) fn own_answer(head: &Parts, table: &Table) -> Option<String> {
    if head.method == Method::OPTIONS {
        return Some(format!("a CORS preflight, which tollgate answers on any path{}", allowed(head, table)));
    }
    if decide::is_front_page(head) {
        return Some("`/` in a browser, which tollgate leads to its pages".to_owned());
    }
    let (first, _) = own_paths::find(head.uri.path())?;
    Some(format!("`/{first}` is tollgate's own path: no provider serves it"))
}

/// The headers that a preflight asks for, by whether the files allow them. Empty if it asks for none.
fn allowed(head: &Parts, table: &Table) -> String {
    let names: Vec<String> = cors::requested(&head.headers).map(|name| name.to_string()).collect();
    let (yes, no): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| table.cors.allows(name));
    let part = |verb: &str, names: Vec<&str>| {
        if names.is_empty() {
            return String::new();
        }
        format!("; {verb} {}", backticked(names.into_iter()))
    };
    format!("{}{}", part("allowed:", yes), part("only for trusted origins:", no))
}

/// The use of a PEM text.
pub(super) fn tls(used: bool, from: &compile::VarSource, how: &str) -> String {
    if used {
        format!("{from}{how}")
    } else {
        format!("{from}: a gateway or an egress is called instead of the provider's own origin")
    }
}

/// The reason why the engine dropped a client's header or query parameter.
pub(super) fn dropped(name: &str, reason: Reason) -> &'static str {
    match reason {
        Reason::Managed if name == "host" => "it names this gateway, not the upstream",
        Reason::Managed => "the engine sets framing and connection headers itself",
        Reason::Stripped => stripped(name),
        Reason::Unpassed => "it reveals the client's address or page: `headers.pass` lets it through",
        Reason::Claimed => "a file sets it: the client's value is ignored",
        Reason::TokenLocation => "clients may put their gateway token there: it is never sent upstream",
        Reason::CallerToken => "it contains the caller's token, which is never sent upstream",
        Reason::Nominated => "the request's `connection` header names it: it is hop-by-hop",
    }
}

fn stripped(name: &str) -> &'static str {
    match name {
        "authorization" | "x-api-key" => {
            "it carries the client's gateway token, which is never sent upstream"
        }
        "cookie" | "cookie2" => "a browser's session is never sent upstream",
        _ if name.starts_with("proxy-") => "it is addressed to a proxy, and tollgate is one",
        _ => "some servers take it for the method or path, which bypasses the endpoint",
    }
}

/// The reason why the engine sets a header itself.
pub(super) fn own(own: EngineHeader) -> &'static str {
    match own {
        EngineHeader::Host => "the host that the request is sent to",
        EngineHeader::Trailers => "the client accepts trailers",
        EngineHeader::Handshake => "the endpoint is a WebSocket: its handshake has the client's key",
        EngineHeader::Subprotocols => "the other subprotocols that the client offers",
    }
}

pub(super) fn matching(
    auth: &compile::Auth,
    token: Option<&token::Compiled>,
    owner: Option<&Owner>,
    user: &str,
) -> String {
    let owner = owner.map(|owner| format!(" for {}", owner_text(owner, user))).unwrap_or_default();
    match (&auth.matches, token) {
        (Some(glob), _) => format!("the stored credential{owner} matches `{}`", glob.as_str()),
        (None, Some(token)) => format!("what it is made from is stored{owner}: {}", token.shown()),
        (None, None) => format!("it is stored{owner}"),
    }
}

/// A credential's owner. `user` is the caller's name.
fn owner_text(owner: &Owner, user: &str) -> String {
    match owner {
        Owner::User(_) => format!("`{user}`"),
        Owner::Group(group) => format!("the group `{group}`"),
        Owner::Everybody => "everybody".to_owned(),
    }
}

/// The reason why an owner's credential is not used: `first` has one too, and takes precedence.
pub(super) fn outranked(owner: &Owner, first: &Owner, user: &str) -> String {
    format!(
        "{} shares one, but that of {} takes precedence",
        owner_text(owner, user),
        owner_text(first, user)
    )
}

pub(super) fn does_not_match(auth: &compile::Auth) -> String {
    match &auth.matches {
        Some(glob) => format!("the stored credential does not match `{}`", glob.as_str()),
        None => "a value that is needed beside the stored one is missing, or not accepted".to_owned(),
    }
}

/// The reason for an entry that does not count for the request's endpoint.
pub(super) fn other_endpoints(auth: &compile::Auth) -> String {
    let globs = auth.endpoints.iter().flatten().map(compile::Glob::as_str);
    format!("it counts for the endpoints {} alone", backticked(globs))
}

pub(super) fn gateway(used: Option<&str>, name: &str, unset: &[String]) -> String {
    match used {
        Some(used) if used == name => "all of its vars are set".to_owned(),
        Some(used) if unset.is_empty() => format!("`{used}` takes precedence"),
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

/// The most similar endpoint, and the differences.
pub(super) fn nearest(near: &table::Nearest<'_>, head: &Parts, sources: &Sources) -> Nearest {
    let path = head.uri.path();
    let differs = match (near.differences.as_slice(), NormalizedPath::new(path)) {
        ([], _) | (_, None) => {
            let message = "the path is not normalized".to_owned();
            vec![Difference { what: "encoding".into(), message }]
        }
        (differences, Some(plain)) => {
            differences.iter().map(|one| difference(one, near, head, &plain)).collect()
        }
    };
    Nearest {
        provider: near.provider.name.to_string(),
        name: near.endpoint.name.to_string(),
        method: near.endpoint.method.to_string(),
        path: near.path.text.clone(),
        differs,
        at: position(sources, &near.path.at),
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
        D::Dots => ("dots", "a path with `.` or `..` matches no endpoint".into()),
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
            ("segment", format!("segment {number} differs: here it is `{}`", shown(number)))
        }
        D::Extra(number) => ("extra_segment", format!("segment {number}, `{}`, is extra", shown(number))),
        D::Missing(number) => {
            ("missing_segment", format!("its segment {number}, `{}`, is missing", written(number)))
        }
    };
    Difference { what: what.into(), message }
}

/// The reason why answers of an endpoint are not metered.
pub(super) fn unmetered(endpoint: &bind::Endpoint) -> String {
    match (&endpoint.method, &endpoint.api) {
        (&Method::GET | &Method::HEAD | &Method::DELETE, _) => {
            format!("answers to {} are never metered", endpoint.method)
        }
        (_, None) => "the endpoint has no `api`".to_owned(),
        (_, Some(api)) if api.metering.is_none() => format!("api `{}` has no `[usage]`", api.name),
        (_, Some(_)) => "`metered` is `false`".to_owned(),
    }
}
