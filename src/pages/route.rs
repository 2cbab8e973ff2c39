//! The table of pages: the page of a method and a path.

use http::Method;

use super::console::{keys::KeyOwner, user::Change};
use crate::{
    accounts::{MAX_DOCUMENT_BYTES, MAX_SECRET_BYTES},
    admin::MAX_BODY,
    fields::DeclaredFields,
};

/// The largest form with the text of a file: a text of 1 MiB, of which a form may encode each byte as three.
const MAX_TEXT_FORM: usize = (3 << 20) + 4096;

/// The part of a form for one pasted document or login, of which a form may encode each byte as three. It is stored without
/// white space, and pasted with it.
const DOCUMENT_FORM: usize = (MAX_DOCUMENT_BYTES + MAX_SECRET_BYTES) * 3 * 2;

/// The documents of one section that a form takes at most.
const MAX_DOCUMENTS: usize = 16;

/// The pages of one audience, below one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// `/config`: what is a user's own.
    Config,
    /// `/console`: everything, for operators.
    Console,
}

/// A page that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRoute {
    /// The area.
    pub area: Area,
    /// The page.
    pub(super) page: Page,
    /// Its path below the area, with `*` for the item.
    pub(super) pattern: &'static str,
    /// True if a form of a page leads here.
    pub(super) is_form: bool,
    /// The segment of the path that names one item, such as a token's id. Empty if the page has none.
    pub(super) item: String,
}

/// A page, or a change that a form of a page makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Keys,
    SaveKeys,
    ConfirmKey,
    Connect,
    ConnectOne,
    Probe,
    Usage,
    Tokens,
    CreateToken,
    RotateToken,
    PasteToken,
    RevokeToken,
    Overview,
    Files,
    File,
    Reload,
    Explain,
    ExplainRequest,
    Check,
    CheckText,
    AllUsage,
    Tail,
    Audit,
    Users,
    CreateUser,
    User,
    UpdateUser,
    ChangeUser(Change),
    CreateUserToken,
    RevokeUserToken,
    OwnerKeys(KeyOwner),
    SaveOwnerKeys(KeyOwner),
    ConfirmOwnerKey(KeyOwner),
    Shared,
    Unconfirmed,
    OpenGroup,
    AdminTokens,
    CreateAdminToken,
    RevokeAdminToken,
}

impl PageRoute {
    /// The largest form that the page takes, in bytes. That of keys takes a document in each field of any one section.
    pub fn max_form(&self, fields: &DeclaredFields) -> usize {
        match self.page {
            Page::CheckText => MAX_TEXT_FORM,
            Page::SaveKeys | Page::SaveOwnerKeys(_) => {
                MAX_BODY + fields.most_documents().min(MAX_DOCUMENTS) * DOCUMENT_FORM
            }
            _ => MAX_BODY,
        }
    }

    /// The advice to somebody whose form is too large.
    pub(super) fn advice(&self) -> &'static str {
        match self.page {
            Page::SaveKeys | Page::SaveOwnerKeys(_) => {
                "save fewer documents at a time, without white space in them"
            }
            _ => "shorten what you typed",
        }
    }
}

/// Each page: area, method, path below the area, with `*` for one item.
const PAGES: &[(Area, &str, &str, Page)] = &[
    (Area::Config, "GET", "", Page::Keys),
    (Area::Config, "POST", "/keys", Page::SaveKeys),
    (Area::Config, "POST", "/keys/confirm", Page::ConfirmKey),
    (Area::Config, "GET", "/connect", Page::Connect),
    (Area::Config, "GET", "/connect/*", Page::ConnectOne),
    (Area::Config, "POST", "/connect/*/probe", Page::Probe),
    (Area::Config, "GET", "/usage", Page::Usage),
    (Area::Config, "GET", "/tokens", Page::Tokens),
    (Area::Config, "POST", "/tokens", Page::CreateToken),
    (Area::Config, "POST", "/tokens/rotate", Page::RotateToken),
    (Area::Config, "POST", "/tokens/paste/*", Page::PasteToken),
    (Area::Config, "POST", "/tokens/*/revoke", Page::RevokeToken),
    (Area::Console, "GET", "", Page::Overview),
    (Area::Console, "GET", "/providers", Page::Files),
    (Area::Console, "GET", "/providers/item", Page::File),
    (Area::Console, "POST", "/providers/reload", Page::Reload),
    (Area::Console, "GET", "/explain", Page::Explain),
    (Area::Console, "POST", "/explain", Page::ExplainRequest),
    (Area::Console, "GET", "/check", Page::Check),
    (Area::Console, "POST", "/check", Page::CheckText),
    (Area::Console, "GET", "/usage", Page::AllUsage),
    (Area::Console, "GET", "/usage/tail", Page::Tail),
    (Area::Console, "GET", "/audit", Page::Audit),
    (Area::Console, "GET", "/users", Page::Users),
    (Area::Console, "POST", "/users", Page::CreateUser),
    (Area::Console, "GET", "/users/*", Page::User),
    (Area::Console, "POST", "/users/*", Page::UpdateUser),
    (Area::Console, "POST", "/users/*/disable", Page::ChangeUser(Change::Disable)),
    (Area::Console, "POST", "/users/*/enable", Page::ChangeUser(Change::Enable)),
    (Area::Console, "POST", "/users/*/delete", Page::ChangeUser(Change::Delete)),
    (Area::Console, "POST", "/users/*/tokens", Page::CreateUserToken),
    (Area::Console, "POST", "/users/*/tokens/revoke", Page::RevokeUserToken),
    (Area::Console, "GET", "/users/*/keys", Page::OwnerKeys(KeyOwner::User)),
    (Area::Console, "POST", "/users/*/keys", Page::SaveOwnerKeys(KeyOwner::User)),
    (Area::Console, "POST", "/users/*/keys/confirm", Page::ConfirmOwnerKey(KeyOwner::User)),
    (Area::Console, "GET", "/shared", Page::Shared),
    (Area::Console, "POST", "/shared", Page::OpenGroup),
    (Area::Console, "GET", "/shared/unconfirmed", Page::Unconfirmed),
    (Area::Console, "GET", "/shared/everybody", Page::OwnerKeys(KeyOwner::Everybody)),
    (Area::Console, "POST", "/shared/everybody", Page::SaveOwnerKeys(KeyOwner::Everybody)),
    (Area::Console, "POST", "/shared/everybody/confirm", Page::ConfirmOwnerKey(KeyOwner::Everybody)),
    (Area::Console, "GET", "/shared/groups/*", Page::OwnerKeys(KeyOwner::Group)),
    (Area::Console, "POST", "/shared/groups/*", Page::SaveOwnerKeys(KeyOwner::Group)),
    (Area::Console, "POST", "/shared/groups/*/confirm", Page::ConfirmOwnerKey(KeyOwner::Group)),
    (Area::Console, "GET", "/tokens", Page::AdminTokens),
    (Area::Console, "POST", "/tokens", Page::CreateAdminToken),
    (Area::Console, "POST", "/tokens/revoke", Page::RevokeAdminToken),
];

impl Area {
    /// Each area.
    pub const ALL: [Self; 2] = [Self::Config, Self::Console];

    /// The path that its pages lie below.
    pub fn path(self) -> &'static str {
        match self {
            Self::Config => "/config",
            Self::Console => "/console",
        }
    }

    /// The same path if it leads to a page of this area, else that of the area's first page. A path from a form may lead
    /// anywhere.
    pub fn within(self, path: &str) -> &str {
        let (plain, _) = path.split_once('?').unwrap_or((path, ""));
        let is_own = matches!(Self::of(plain), Some((area, rest)) if area == self && find(self, &Method::GET, rest).is_some());
        let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if is_own && is_plain { path } else { self.path() }
    }

    /// The area of a path, and the rest of the path: empty, or from a slash on.
    pub fn of(path: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|area| {
            let rest = path.strip_prefix(area.path())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((area, rest))
        })
    }
}

/// The page of a method and a path below an area. `HEAD` is handled as `GET`.
pub fn find(area: Area, method: &Method, path: &str) -> Option<PageRoute> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    PAGES.iter().filter(|(one, verb, ..)| *one == area && *verb == method).find_map(|(.., pattern, page)| {
        let item = matched(pattern, path)?.to_owned();
        Some(PageRoute { area, page: *page, pattern, is_form: method == "POST", item })
    })
}

/// The item of a path that a pattern matches; empty if the pattern has none.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let (mut segments, mut item) = (path.split('/'), "");
    for expected in pattern.split('/') {
        match segments.next()? {
            segment if expected == "*" && !segment.is_empty() => item = segment,
            segment if segment == expected => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_has_whole_segments() {
        let check = |path, expected| assert_eq!(Area::of(path), expected, "{path}");
        check("/config", Some((Area::Config, "")));
        check("/config/usage", Some((Area::Config, "/usage")));
        check("/console/", Some((Area::Console, "/")));
        for other in ["/", "/configuration", "/auth", "config"] {
            check(other, None);
        }
    }

    #[test]
    fn signing_in_leads_to_a_page_of_the_area() {
        let check = |path: &str, expected| assert_eq!(Area::Config.within(path), expected, "{path}");
        for own in ["/config", "/config/usage", "/config/usage?range=day&by=a%2Fb", "/config/connect/a"] {
            check(own, own);
        }
        for other in [
            "",
            "/",
            "/console",
            "//evil.example/config",
            "https://evil.example/config",
            "/configuration",
            "/config/nothing",
            "/config/sign-out",
            "/config/../admin",
            "/config?x=\r\nSet-Cookie: a=b",
            "/config?\\",
        ] {
            check(other, "/config");
        }
    }

    #[test]
    fn a_method_and_a_path_have_a_page() {
        let check = |method: &str, path, expected: Option<Page>| {
            let found = find(Area::Config, &method.parse().unwrap(), path);
            assert_eq!(found.map(|route| route.page), expected, "{method} {path}");
        };
        check("GET", "", Some(Page::Keys));
        check("HEAD", "/usage", Some(Page::Usage));
        check("POST", "/keys", Some(Page::SaveKeys));
        check("GET", "/connect/one", Some(Page::ConnectOne));
        check("POST", "/connect/one/probe", Some(Page::Probe));
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/keys"),
            ("POST", ""),
            ("DELETE", "/keys"),
            ("GET", "/usage/"),
            ("GET", "/connect/"),
            ("GET", "/connect/one/probe"),
        ] {
            check(method, path, None);
        }
    }
}
