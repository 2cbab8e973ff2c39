//! Every call that there is, as data: calls are found in this table, and the `OpenAPI` document is made of it, so
//! that there is none that is not documented.

use std::borrow::Cow;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::shape;
use crate::{
    accounts::RekeyStatus,
    fault::Kind,
    files::{ServedFiles, Status},
};

/// Which call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table below says what each is")]
pub enum Call {
    Alive,
    Ready,
    Files(FileCall),
    MakeUser,
    Users,
    User,
    ChangeUser,
    RemoveUser,
    UserCreds,
    ReplaceUserCreds,
    MergeUserCreds,
    ConfirmUserCreds,
    UserTokens,
    MakeUserToken,
    RemoveUserToken,
    SharedCreds,
    ReplaceSharedCreds,
    MergeSharedCreds,
    ConfirmSharedCreds,
    GroupCreds,
    ReplaceGroupCreds,
    MergeGroupCreds,
    ConfirmGroupCreds,
    AdminTokens,
    MakeAdminToken,
    RemoveAdminToken,
    Audit,
    Rekey,
    RekeyStatus,
    Me,
    MyCreds,
    MergeMyCreds,
    ConfirmMyCreds,
    Rotate,
    MyTokens,
    MakeMyToken,
    RemoveMyToken,
    PasteToken,
}

/// Which call about files: those need no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table below says what each is")]
pub enum FileCall {
    Status,
    Texts,
    Reload,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Anybody.
    Public,
    /// Whoever has an admin token, or the control socket.
    Admin,
    /// The user that serves, over the control socket alone.
    Local,
    /// A user, about what is that user's own.
    User,
}

/// A call.
#[derive(Debug)]
pub struct Operation {
    /// Which one.
    pub call: Call,
    /// Its method.
    pub method: &'static str,
    /// Its path, where `{name}` stands for any one segment.
    pub path: &'static str,
    /// Who may call.
    pub who: Who,
    /// What it does, in a line.
    pub summary: &'static str,
    /// Whether it takes `?limit=` and `?after=`.
    pub paged: bool,
    /// What it takes.
    pub body: Option<Body>,
    /// What it answers when all is well.
    pub answer: Reply,
    /// What else it answers, other than faults.
    pub other: Option<Reply>,
    /// Faults of its own, besides those that all of its kind have.
    pub faults: &'static [Kind],
}

/// The schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A type of a document.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What it is called.
    pub name: fn() -> Cow<'static, str>,
    /// Its schema.
    pub schema: SchemaOf,
}

/// What a call takes.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    /// Its type.
    pub shape: Shape,
    /// Whether no body is as good as `{}`.
    pub optional: bool,
}

/// What a call answers.
#[derive(Debug, Clone, Copy)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Its type.
    pub shape: Shape,
}

/// A call that is in the table, and what stands in its path for the names there, in order.
#[derive(Debug)]
pub struct Found<'p> {
    /// The call.
    pub operation: &'static Operation,
    /// What the path has for each name.
    pub captures: Vec<&'p str>,
}

/// The call for a method and a path. `HEAD` is as `GET`.
pub fn find<'p>(method: &Method, path: &'p str) -> Option<Found<'p>> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut here = OPERATIONS.iter().filter(|operation| operation.method == method);
    here.find_map(|operation| Some(Found { operation, captures: captures(operation.path, path)? }))
}

fn captures<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let (mut steps, mut found) = (path.split('/'), Vec::new());
    for wanted in template.split('/') {
        match steps.next()? {
            step if wanted.starts_with('{') && !step.is_empty() => found.push(step),
            step if step == wanted => {}
            _ => return None,
        }
    }
    steps.next().is_none().then_some(found)
}

const fn shape<T: JsonSchema>() -> Shape {
    Shape { name: T::schema_name, schema: SchemaGenerator::subschema_for::<T> }
}

const fn new<T: JsonSchema>(
    call: Call,
    method: &'static str,
    path: &'static str,
    who: Who,
    summary: &'static str,
) -> Operation {
    let answer = Reply { status: 200, shape: shape::<T>() };
    Operation { call, method, path, who, summary, paged: false, body: None, answer, other: None, faults: &[] }
}

impl Operation {
    const fn takes<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body { shape: shape::<T>(), optional: false });
        self
    }

    const fn may_take<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body { shape: shape::<T>(), optional: true });
        self
    }

    const fn paged(mut self) -> Self {
        self.paged = true;
        self
    }

    const fn made(mut self) -> Self {
        self.answer.status = 201;
        self
    }

    const fn accepted(mut self) -> Self {
        self.answer.status = 202;
        self
    }

    const fn or<T: JsonSchema>(mut self, status: u16) -> Self {
        self.other = Some(Reply { status, shape: shape::<T>() });
        self
    }

    const fn faults(mut self, faults: &'static [Kind]) -> Self {
        self.faults = faults;
        self
    }
}

type Users = shape::ById<shape::User>;
type Tokens = shape::ById<shape::Token>;
type AdminTokens = shape::ById<shape::AdminToken>;
type Audit = shape::ById<shape::AuditEntry>;
type Masked = shape::MaskedCredentials;
type Document = shape::CredentialsDocument;

const NOT_FOUND: &[Kind] = &[Kind::NotFound];
const BAD: &[Kind] = &[Kind::InvalidRequest];
const SCOPED: &[Kind] = &[Kind::TokenScope];

/// Every call.
#[rustfmt::skip]
pub static OPERATIONS: &[Operation] = &[
    new::<shape::Health>(Call::Alive, "GET", "/health", Who::Public, "Whether the process lives"),
    new::<shape::Health>(Call::Alive, "GET", "/livez", Who::Public, "Whether the process lives"),
    new::<shape::Health>(Call::Ready, "GET", "/readyz", Who::Public, "Whether more requests are wanted")
        .or::<shape::Health>(503),

    new::<Status>(Call::Files(FileCall::Status), "GET", "/admin/providers", Who::Admin, "What serves, and what became of each file"),
    new::<ServedFiles>(Call::Files(FileCall::Texts), "GET", "/admin/providers/files", Who::Local, "The texts of the files that serve (over the control socket alone)"),
    new::<Status>(Call::Files(FileCall::Reload), "POST", "/admin/reload", Who::Admin, "Read the provider files anew")
        .or::<Status>(422).faults(&[Kind::ReloadUnfinished]),

    new::<shape::MadeUser>(Call::MakeUser, "POST", "/admin/users", Who::Admin, "Make a user with a first token, which has both kinds")
        .takes::<shape::NewUser>().made(),
    new::<Users>(Call::Users, "GET", "/admin/users", Who::Admin, "All users").paged(),
    new::<shape::User>(Call::User, "GET", "/admin/users/{id}", Who::Admin, "A user").faults(NOT_FOUND),
    new::<shape::User>(Call::ChangeUser, "PATCH", "/admin/users/{id}", Who::Admin, "Rename a user, move to another group, or refuse all tokens for now")
        .takes::<shape::UserPatch>().faults(NOT_FOUND),
    new::<shape::Done>(Call::RemoveUser, "DELETE", "/admin/users/{id}", Who::Admin, "Remove a user with all tokens and credentials")
        .faults(NOT_FOUND),
    new::<Masked>(Call::UserCreds, "GET", "/admin/users/{id}/creds", Who::Admin, "A user's credentials, masked").faults(NOT_FOUND),
    new::<shape::Done>(Call::ReplaceUserCreds, "PUT", "/admin/users/{id}/creds", Who::Admin, "Replace all of a user's credentials")
        .takes::<Document>().faults(NOT_FOUND),
    new::<Masked>(Call::MergeUserCreds, "PATCH", "/admin/users/{id}/creds", Who::Admin, "Change some of a user's credentials")
        .takes::<Document>().faults(NOT_FOUND),
    new::<shape::Confirmation>(Call::ConfirmUserCreds, "POST", "/admin/users/{id}/creds/confirm", Who::Admin, "Let a user's credentials go where the provider files lead now")
        .may_take::<shape::Confirm>().faults(NOT_FOUND),
    new::<Tokens>(Call::UserTokens, "GET", "/admin/users/{id}/tokens", Who::Admin, "A user's tokens").paged().faults(NOT_FOUND),
    new::<shape::MadeToken>(Call::MakeUserToken, "POST", "/admin/users/{id}/tokens", Who::Admin, "Make a further token for a user")
        .may_take::<shape::NewToken>().made().faults(&[Kind::NotFound, Kind::TooManyTokens]),
    new::<shape::Done>(Call::RemoveUserToken, "DELETE", "/admin/users/{id}/tokens/{token}", Who::Admin, "Revoke a user's token")
        .faults(NOT_FOUND),

    new::<Masked>(Call::SharedCreds, "GET", "/admin/credentials/everybody", Who::Admin, "The credentials that everybody may use, masked"),
    new::<shape::Done>(Call::ReplaceSharedCreds, "PUT", "/admin/credentials/everybody", Who::Admin, "Replace all credentials that everybody may use")
        .takes::<Document>(),
    new::<Masked>(Call::MergeSharedCreds, "PATCH", "/admin/credentials/everybody", Who::Admin, "Change some of the credentials that everybody may use")
        .takes::<Document>(),
    new::<shape::Confirmation>(Call::ConfirmSharedCreds, "POST", "/admin/credentials/everybody/confirm", Who::Admin, "Let the credentials that everybody may use go where the provider files lead now")
        .may_take::<shape::Confirm>(),
    new::<Masked>(Call::GroupCreds, "GET", "/admin/credentials/groups/{name}", Who::Admin, "The credentials that a group may use, masked").faults(BAD),
    new::<shape::Done>(Call::ReplaceGroupCreds, "PUT", "/admin/credentials/groups/{name}", Who::Admin, "Replace all credentials that a group may use")
        .takes::<Document>(),
    new::<Masked>(Call::MergeGroupCreds, "PATCH", "/admin/credentials/groups/{name}", Who::Admin, "Change some of the credentials that a group may use")
        .takes::<Document>(),
    new::<shape::Confirmation>(Call::ConfirmGroupCreds, "POST", "/admin/credentials/groups/{name}/confirm", Who::Admin, "Let the credentials that a group may use go where the provider files lead now")
        .may_take::<shape::Confirm>(),

    new::<AdminTokens>(Call::AdminTokens, "GET", "/admin/tokens", Who::Admin, "All admin tokens").paged(),
    new::<shape::MadeAdminToken>(Call::MakeAdminToken, "POST", "/admin/tokens", Who::Admin, "Make a further admin token")
        .may_take::<shape::NewAdminToken>().made(),
    new::<shape::Done>(Call::RemoveAdminToken, "DELETE", "/admin/tokens/{id}", Who::Admin, "Revoke an admin token; over HTTP not the last one")
        .faults(&[Kind::NotFound, Kind::LastAdminToken]),
    new::<Audit>(Call::Audit, "GET", "/admin/audit", Who::Admin, "What was changed by whom, oldest first; 1000 entries at most at a time").paged(),

    new::<RekeyStatus>(Call::Rekey, "POST", "/admin/rekey", Who::Local, "Replace the master key by the one in `master-key.next` (over the control socket alone)")
        .accepted(),
    new::<RekeyStatus>(Call::RekeyStatus, "GET", "/admin/rekey", Who::Local, "How far that is (over the control socket alone)"),

    new::<shape::Me>(Call::Me, "GET", "/auth/me", Who::User, "Who calls"),
    new::<Masked>(Call::MyCreds, "GET", "/auth/creds", Who::User, "The caller's credentials, masked"),
    new::<Masked>(Call::MergeMyCreds, "PUT", "/auth/creds", Who::User, "Change some of the caller's credentials")
        .takes::<Document>().faults(SCOPED),
    new::<shape::Confirmation>(Call::ConfirmMyCreds, "POST", "/auth/creds/confirm", Who::User, "Let the caller's credentials go where the provider files lead now")
        .may_take::<shape::Confirm>().faults(SCOPED),
    new::<shape::Rotated>(Call::Rotate, "POST", "/auth/rotate", Who::User, "Replace the token that calls, which goes on for an hour")
        .faults(&[Kind::TooManyTokens]),
    new::<Tokens>(Call::MyTokens, "GET", "/auth/tokens", Who::User, "The caller's tokens").paged(),
    new::<shape::MadeToken>(Call::MakeMyToken, "POST", "/auth/tokens", Who::User, "Make a further token, which reaches no more than the one that calls")
        .may_take::<shape::NewToken>().made().faults(&[Kind::TokenScope, Kind::TooManyTokens]),
    new::<shape::Done>(Call::RemoveMyToken, "DELETE", "/auth/tokens/{id}", Who::User, "Revoke one of the caller's tokens")
        .faults(&[Kind::NotFound, Kind::TokenScope]),
    new::<shape::PasteToken>(Call::PasteToken, "POST", "/auth/{name}", Who::User, "Make a token of a vendor's shape, at a path that a provider file names")
        .faults(&[Kind::NotFound, Kind::InvalidRequest, Kind::TokenScope]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_paths::{self, Served};

    #[test]
    fn a_call_is_found_by_method_and_path() {
        let check = |line: &str, expected: Option<(Call, &[&str])>| {
            let (method, path) = line.split_once(' ').unwrap();
            let found = find(&method.parse().unwrap(), path);
            let found = found.as_ref().map(|found| (found.operation.call, &*found.captures));
            assert_eq!(found, expected, "{line}");
        };
        check("GET /health", Some((Call::Alive, &[])));
        check("HEAD /admin/users", Some((Call::Users, &[])));
        check("PATCH /admin/users/u/creds", Some((Call::MergeUserCreds, &["u"])));
        check("DELETE /admin/users/u/tokens/t", Some((Call::RemoveUserToken, &["u", "t"])));
        check("GET /admin/users/creds", Some((Call::User, &["creds"])));
        for none in [
            "POST /health",
            "OPTIONS /admin/users",
            "GET /admin",
            "GET /admin/",
            "GET /admin/users/",
            "GET /admin/users//creds",
            "GET /admin/users/u/",
            "GET /admin/users/u/creds/",
            "PUT /admin/users",
            "GET //admin/users",
            "get /admin/users",
        ] {
            check(none, None);
        }
    }

    #[test]
    fn every_call_lies_below_an_own_path_of_its_listener() {
        for Operation { method, path, who, .. } in OPERATIONS {
            let (_, served) = own_paths::find(path).unwrap_or_else(|| panic!("{path} is not reserved"));
            let expected = match who {
                Who::Public => Served::Both,
                Who::Admin | Who::Local => Served::Admin,
                Who::User => Served::Public,
            };
            assert_eq!(served, expected, "{path}");
            // A paste token is made by POST at a path that a provider file names.
            if let Some(name) = path.strip_prefix("/auth/").and_then(|rest| rest.split('/').next())
                && *method != "GET"
                && name != "{name}"
            {
                assert!(own_paths::SELF_SERVICE.contains(&name), "{path}");
            }
        }
    }

    #[test]
    fn no_two_calls_are_one() {
        for (index, one) in OPERATIONS.iter().enumerate() {
            for other in &OPERATIONS[index + 1..] {
                assert!(one.method != other.method || one.path != other.path, "{} {}", one.method, one.path);
            }
            let found = find(&one.method.parse().unwrap(), one.path).unwrap();
            assert_eq!(found.operation.path, one.path, "an earlier call hides it");
        }
    }
}
