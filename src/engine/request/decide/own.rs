//! tollgate's own paths: the answers and pages there, and the listeners that serve them. With an admin address of its own, admin work is
//! there and nowhere else. Looks at method and path alone; who may call is decided after it.

use http::{Method, StatusCode, header, request::Parts};

use super::SessionCookie;
use crate::base::own_paths::{self, Served};

/// The requests that a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerRole {
    /// All: there is no admin address.
    All,
    /// All but those of the admin address.
    Public,
    /// Admin work, and the health checks.
    Admin,
}

/// The answers of tollgate itself that need no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnAnswer {
    /// `OPTIONS`, on any path: the preflight of browsers.
    Preflight,
    /// The process runs.
    Alive,
    /// The process wants requests.
    Ready,
    /// `/` in a browser: the way to the pages.
    FrontPage,
}

/// The meaning of a path of tollgate's own.
pub(super) enum Found {
    Answer(OwnAnswer),
    Page(SessionCookie),
    Metrics,
    Admin,
    SelfService,
}

impl ListenerRole {
    /// True if requests for a path are served here.
    pub(super) fn serves(self, path: &str) -> bool {
        let served = own_paths::find(path);
        match self {
            Self::All => true,
            Self::Public => !matches!(served, Some((_, Served::Admin))),
            Self::Admin => match served {
                Some((_, Served::Admin)) => true,
                // Health checks have no paths below their segment.
                Some((segment, Served::Both)) => path[1..] == *segment,
                Some((_, Served::Public)) | None => false,
            },
        }
    }
}

impl OwnAnswer {
    /// The status of the answer; for [`OwnAnswer::Ready`] of a process that wants requests.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Preflight => StatusCode::NO_CONTENT,
            Self::Alive | Self::Ready => StatusCode::OK,
            Self::FrontPage => StatusCode::SEE_OTHER,
        }
    }
}

/// True for a person who opens `/` in a browser. No path of a provider is that short: any other client gets a fault there.
pub fn is_front_page(head: &Parts) -> bool {
    let accepted = head.headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut types = accepted.flat_map(|line| line.split(',')).map(|one| one.split(';').next().unwrap_or(one));
    head.uri.path() == "/"
        && [Method::GET, Method::HEAD].contains(&head.method)
        && types.any(|one| one.trim().eq_ignore_ascii_case("text/html"))
}

/// The meaning of a path of tollgate's own. Where there is none, also below a reserved segment, the request is taken for a
/// call to a provider.
pub(super) fn find(method: &Method, path: &str) -> Option<Found> {
    let (segment, _) = own_paths::find(path)?;
    let is_get = [Method::GET, Method::HEAD].contains(method);
    let is_read = is_get && path[1..] == *segment;
    // A form without a script is posted.
    let is_page = is_get || *method == Method::POST;
    match segment {
        "admin" => Some(Found::Admin),
        "auth" => Some(Found::SelfService),
        "health" | "livez" if is_read => Some(Found::Answer(OwnAnswer::Alive)),
        "readyz" if is_read => Some(Found::Answer(OwnAnswer::Ready)),
        "config" if is_page => Some(Found::Page(SessionCookie::User)),
        "console" if is_page => Some(Found::Page(SessionCookie::Admin)),
        "metrics" if is_read => Some(Found::Metrics),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_work_is_at_one_address() {
        let check = |path, expected| {
            let roles = [ListenerRole::All, ListenerRole::Public, ListenerRole::Admin];
            assert_eq!(roles.map(|role| role.serves(path)), expected, "{path}");
        };
        for admin in ["/admin", "/admin/providers", "/console/", "/metrics"] {
            check(admin, [true, false, true]);
        }
        for health in ["/health", "/livez", "/readyz"] {
            check(health, [true, true, true]);
        }
        for public in ["/", "/config", "/auth/token", "/administrator", "/healthz", "/t/admin"] {
            check(public, [true, true, false]);
        }
    }
}
