//! The frame around every page: title, navigation, the person who is signed in.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;

use super::{
    PageRequest, SignInProblem, assets,
    client::with_query,
    response::PageResponse,
    route::{Area, PageRoute},
};
use crate::{
    compile::Clients,
    fault::{Fault, FaultKind},
};

/// The parameter of a form's address, and of a call that changes something: the id of the user that the page was made for.
pub(super) const USER: &str = "as";

/// The frame of one page.
#[derive(Debug)]
pub(super) struct Frame {
    area: Area,
    /// The path of the page that the navigation marks.
    pub(super) current: &'static str,
    pub(super) who: String,
    /// The user's id. `None` for an admin, and for nobody in particular.
    pub(super) user: Option<String>,
    /// True if the page answers a form.
    pub(super) is_form: bool,
    /// The address at which people reach tollgate.
    pub(super) public_url: String,
    /// The clients that can be set up.
    pub(super) clients: Arc<Clients>,
}

/// A page of the navigation: its path below the area, and its title.
pub(super) type Tab = (&'static str, &'static str);

const CONFIG: &[Tab] = &[("", "Keys"), ("/connect", "Connect"), ("/usage", "Usage"), ("/tokens", "Tokens")];
const CONSOLE: &[Tab] = &[
    ("", "Overview"),
    ("/providers", "Providers"),
    ("/explain", "Explain"),
    ("/check", "Check"),
    ("/users", "Users"),
    ("/shared", "Shared keys"),
    ("/tokens", "Tokens"),
    ("/usage", "Usage"),
    ("/audit", "Audit"),
];

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'p> {
    frame: &'p Frame,
    /// The page that was asked for.
    then: &'p str,
    problem: Option<&'p str>,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'p> {
    frame: &'p Frame,
    message: &'p str,
    code: &'p str,
    retry: bool,
    /// True if a form led here, and certainly changed nothing.
    is_refusal: bool,
}

impl Frame {
    pub(super) fn new(route: &PageRoute, request: &PageRequest<'_>) -> Self {
        let (who, public_url) = (request.who.to_owned(), request.public_url.to_owned());
        let clients = Arc::clone(request.clients);
        let user = request.user.map(str::to_owned);
        let (area, is_form, current) = (route.area, route.is_form, tab(route));
        Self { area, current, who, user, is_form, public_url, clients }
    }

    /// The frame of a page for nobody in particular.
    pub(super) fn bare(area: Area) -> Self {
        let (who, public_url) = (String::new(), String::new());
        Self { area, current: "", who, user: None, is_form: false, public_url, clients: Arc::default() }
    }

    /// The path of an asset.
    pub(super) fn asset(&self, name: &str) -> String {
        format!("{}/assets/{}/{name}", self.area.path(), assets::hash())
    }

    /// A path below this area.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("{}{rest}", self.area.path())
    }

    /// The path of a change below this area, in pieces, for the action of a form. It names the user that the page was made for.
    pub(super) fn change(&self, rest: &[&str]) -> String {
        with_query(&self.path(&rest.concat()), &[(USER, self.user.as_deref().unwrap_or_default())])
    }

    pub(super) fn is_console(&self) -> bool {
        self.area == Area::Console
    }

    pub(super) fn tabs(&self) -> &'static [Tab] {
        tabs(self.area)
    }
}

fn tabs(area: Area) -> &'static [Tab] {
    match area {
        Area::Config => CONFIG,
        Area::Console => CONSOLE,
    }
}

/// The path of the tab that the navigation marks: the one that the page lies below.
fn tab(route: &PageRoute) -> &'static str {
    let above = |path: &&str| {
        let rest = route.pattern.strip_prefix(path);
        !path.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    tabs(route.area).iter().map(|(path, _)| *path).find(above).unwrap_or_default()
}

/// The sign-in form.
pub(super) fn sign_in(area: Area, then: &str, problem: Option<&SignInProblem>) -> PageResponse {
    let (status, problem) = match problem {
        // A first visit is a page like any other.
        None => (StatusCode::OK, None),
        Some(SignInProblem::Ended) => (
            StatusCode::UNAUTHORIZED,
            Some("Your sign-in has ended. Nothing was changed: sign in, and do it again"),
        ),
        Some(SignInProblem::Elsewhere(area)) => (StatusCode::UNAUTHORIZED, Some(of_area(*area))),
        Some(SignInProblem::Refused(fault)) => {
            let message = match fault.kind {
                FaultKind::InvalidToken | FaultKind::InvalidAdminToken | FaultKind::MissingToken => {
                    "This token is not valid here"
                }
                FaultKind::ForeignToken => {
                    "This token is not valid here: it does not look like one of tollgate's"
                }
                _ => &*fault.message,
            };
            (fault.kind.status(), Some(message))
        }
    };
    PageResponse::html(status, &SignIn { frame: &Frame::bare(area), then, problem })
}

/// The advice to somebody whose token is for this area.
fn of_area(area: Area) -> &'static str {
    match area {
        Area::Config => "This is a user's token: sign in with it at /config",
        Area::Console => "This is an admin token: sign in with it at /console",
    }
}

/// The page in place of one that cannot be shown.
pub(super) fn problem(frame: &Frame, fault: &Fault) -> PageResponse {
    let kind = fault.kind;
    let (code, retry) = (kind.code(), kind.retry_may_help());
    // Another fault may have come after the change.
    let is_refusal = frame.is_form && kind.status().is_client_error();
    let page = Problem { frame, message: &fault.message, code, retry, is_refusal };
    PageResponse::html(kind.status(), &page)
}
