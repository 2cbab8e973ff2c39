//! The explanation of a request by the files that serve: the document of `tollgate explain --json`, with the stored
//! credentials of a user. Nothing is sent.
//!
//! A header or an assumed credential may be a secret: no fault repeats one, and the document masks it.

use std::collections::BTreeMap;

use http::{
    HeaderName, HeaderValue, Method, Request as HttpRequest, StatusCode, Uri, Version, request::Parts,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Admin, ApiResult, ProviderFiles, Request, Response, body, json,
    payloads::KindOfToken,
    pointer::{self, hint, step},
    store_fault, tools,
};
use crate::{
    accounts::StoredFacts,
    clock::now_ms,
    decide::TokenKind,
    explain::{Access, Caller, Calling, Counting, NothingCounted, StoredValue},
    fault::{Cause, Fault, FaultKind},
    limits::CountersAt,
    name::{Scope, TokenId},
    secret::Secret,
    store::{StoredToken, User},
    table::Hit,
    websocket,
};

/// A request to explain.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainRequest {
    /// The method.
    #[schemars(length(min = 1, max = 32), example = &"POST")]
    pub method: String,
    /// The path and query as a client sends them, or a whole URL, whose scheme and host do not matter.
    #[schemars(length(min = 1, max = 8192), example = &"/acme/v1/chat/completions")]
    pub path: String,
    /// The headers.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64), example = BTreeMap::from([("accept", "text/event-stream")]))]
    pub headers: BTreeMap<String, String>,
    /// The calling user, by id or name, with the stored credentials. Not with `credentials`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), example = &"alice")]
    pub user: Option<String>,
    /// The id of one of the user's tokens, whose kind and scopes count.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100))]
    pub token: Option<String>,
    /// The kind of the token; `both` if left out. Not with `token`.
    #[serde(default)]
    pub kind: Option<KindOfToken>,
    /// The scopes of the token; all if left out. Not with `token`.
    #[serde(default)]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 200)))]
    pub scopes: Option<Vec<String>>,
    /// The body as text, without a content coding: limits and rules may depend on it.
    #[serde(default)]
    #[schemars(length(max = 1_048_576), example = &r#"{"model":"example-1"}"#)]
    pub body: Option<String>,
    /// Credentials to assume, by field of the provider's credentials section.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64), example = BTreeMap::from([("apiKey", "a key")]))]
    pub credentials: BTreeMap<String, String>,
}

impl Admin {
    /// Explains a request.
    pub(super) async fn explain(&self, request: &Request) -> ApiResult {
        let serving = self.files.serving()?;
        let asked: ExplainRequest = body::parse(json::parse(&request.body)?)?;
        let head = head(&asked)?;
        let hit = serving.table().find_canonical(&head.method, head.uri.path());
        let mut caller = match &asked.user {
            Some(user) => self.stored_caller(user, &asked, hit.as_ref()).await?,
            None => assumed_caller(&asked, hit.as_ref())?,
        };
        caller.calling.body = asked.body.map(String::into_bytes);
        caller.calling.now_ms = now_ms();
        let states = match &self.files {
            ProviderFiles::Live(live) => Some(live.limits.clone()),
            ProviderFiles::Loaded(_) => None,
        };
        tools::run(move || {
            let now_ms = caller.calling.now_ms;
            let counters = states.as_ref().map(|states| CountersAt { states, now_ms });
            let counting = counters.as_ref().map_or(&NothingCounted as &dyn Counting, |counters| counters);
            Response::json(StatusCode::OK, &serving.explain(&head, &caller, counting))
        })
        .await
    }

    /// A stored user, with what the endpoint's provider may use.
    async fn stored_caller(
        &self,
        user: &str,
        asked: &ExplainRequest,
        hit: Option<&Hit>,
    ) -> Result<Caller, Fault> {
        if !asked.credentials.is_empty() {
            let problem = "with `user`, the stored credentials count: leave one of the two out";
            return Err(pointer::fault("/credentials", Cause::InvalidValue, problem));
        }
        let found = self.find_user(user).await?;
        let access = self.access_of(&found, asked).await?;
        let facts = match hit {
            Some(hit) => StoredFacts::read(&self.store, &found, hit).await.map_err(store_fault)?,
            None => None,
        };
        let owners = facts.map(|facts| facts.by_owner(Some(&self.key))).unwrap_or_default();
        let absent_reason = format!("`{}` has stored nothing for it, and nobody shares any", found.name);
        let calling = Calling {
            user: Some(found.id),
            group: found.group,
            token: asked.token.as_deref().and_then(TokenId::new),
            ..Calling::default()
        };
        Ok(Caller { owners, user: found.name, access, absent_reason, calling })
    }

    /// The user with this id or name.
    async fn find_user(&self, id_or_name: &str) -> Result<User, Fault> {
        let mut users = self.store.find_users(id_or_name).await.map_err(store_fault)?;
        let fault = |message: String| Fault {
            at: Some("/user".to_owned()),
            ..Fault::new(FaultKind::NotFound, message).because(Cause::UnknownUser)
        };
        match (users.pop(), users.len()) {
            (Some(user), 0) => Ok(user),
            (None, _) => Err(fault("No user has this id or name".to_owned())),
            (Some(_), others) => {
                Err(fault(format!("{} users have this name: give the id of one", others + 1)))
            }
        }
    }

    /// The kind and scopes of the stored token, if one is named; else those that are given.
    async fn access_of(&self, user: &User, asked: &ExplainRequest) -> Result<Access, Fault> {
        let disabled = user.disabled_at_ms.is_some();
        let Some(id) = &asked.token else { return Ok(Access { disabled, ..access(asked)? }) };
        for (pointer, is_given) in [("/kind", asked.kind.is_some()), ("/scopes", asked.scopes.is_some())] {
            if is_given {
                let problem = "with `token`, those of the stored token count: leave one of the two out";
                return Err(pointer::fault(pointer, Cause::InvalidValue, problem));
            }
        }
        let tokens = self.store.tokens_page(&user.id, None, None).await.map_err(store_fault)?;
        let token = tokens.into_iter().find(|one| one.id.as_str() == id);
        let StoredToken { kind, paste, scopes, .. } = token.ok_or_else(|| Fault {
            at: Some("/token".to_owned()),
            ..Fault::new(FaultKind::NotFound, "This user has no such token")
        })?;
        Ok(Access { disabled, kind, paste, scopes })
    }
}

/// The head of the request. No fault repeats a part of it: it may hold a token.
fn head(asked: &ExplainRequest) -> Result<Parts, Fault> {
    let invalid = |pointer: &str, problem: &str| pointer::fault(pointer, Cause::InvalidValue, problem);
    let method = Method::from_bytes(asked.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| invalid("/method", "it is no method: give one such as `POST`"))?;
    // Clients add `Host` themselves, so the headers need none. Only HTTP/1.0 allows that.
    let request = HttpRequest::builder().method(method).uri(target(&asked.path)?).version(Version::HTTP_10);
    let request = request.body(()).map_err(|_| invalid("/path", "it is no path of a request"))?;
    let (mut head, ()) = request.into_parts();
    for (name, value) in &asked.headers {
        let malformed = || {
            let pointer = format!("/headers/{}", step(name));
            invalid(&pointer, "it is no header: a name has no spaces, and a value is one line")
        };
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| malformed())?;
        head.headers.append(name, value);
    }
    websocket::complete(&mut head);
    Ok(head)
}

/// The path and query of a path or a URL.
fn target(path: &str) -> Result<Uri, Fault> {
    let invalid = || {
        let problem = "it is no path and no URL: begin with `/`, and percent-encode special characters";
        pointer::fault("/path", Cause::InvalidValue, problem)
    };
    let path = path.trim();
    let is_url = ["http://", "https://"].iter().any(|scheme| path.starts_with(scheme));
    if !path.starts_with('/') && !is_url {
        return Err(invalid());
    }
    // A fragment is never sent.
    let (path, _) = path.split_once('#').unwrap_or((path, ""));
    let uri: Uri = path.parse().map_err(|_| invalid())?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    target.parse().map_err(|_| invalid())
}

/// The kind and scopes that are given.
fn access(asked: &ExplainRequest) -> Result<Access, Fault> {
    if asked.token.is_some() && asked.user.is_none() {
        return Err(pointer::fault("/token", Cause::InvalidValue, "it needs `user`, whose token it is"));
    }
    let kind = match asked.kind {
        Some(KindOfToken::Proxy) => TokenKind::Proxy,
        Some(KindOfToken::Manage) => TokenKind::Manage,
        Some(KindOfToken::Both) | None => TokenKind::Both,
    };
    let scope = |(index, text): (usize, &String)| {
        let malformed = "a scope is written `provider` or `provider/endpoint`";
        let fault = || pointer::fault(&format!("/scopes/{index}"), Cause::InvalidValue, malformed);
        Scope::parse(text).ok_or_else(fault)
    };
    let scopes = asked.scopes.as_ref().map(|all| all.iter().enumerate().map(scope).collect());
    Ok(Access { kind, scopes: scopes.transpose()?, ..Access::default() })
}

/// A caller with the credentials to assume.
fn assumed_caller(asked: &ExplainRequest, hit: Option<&Hit>) -> Result<Caller, Fault> {
    let sections = hit.into_iter().flat_map(|hit| &hit.provider.section);
    let known: Vec<&str> =
        sections.flat_map(|section| &section.fields).map(|field| field.value.name.as_str()).collect();
    if let Some(unknown) =
        asked.credentials.keys().find(|field| hit.is_some() && !known.contains(&field.as_str()))
    {
        let problem = format!("the provider has no such field; {}", hint(unknown, &known));
        return Err(pointer::fault(&format!("/credentials/{}", step(unknown)), Cause::UnknownKey, problem));
    }
    let held = asked.credentials.iter();
    let held = held.map(|(field, value)| (field.clone(), StoredValue::Value(Secret::new(value))));
    let absent_reason = if asked.credentials.is_empty() {
        "no caller is named: give `user` or `credentials`"
    } else {
        "`credentials` does not give it"
    };
    Ok(Caller { access: access(asked)?, ..Caller::given(held, absent_reason) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_or_a_url_is_a_target() {
        for (path, expected) in [
            ("/a/b?c=d", Some("/a/b?c=d")),
            (" /a ", Some("/a")),
            ("https://gateway.test:8080/a?b#c", Some("/a?b")),
            ("http://gateway.test", Some("/")),
            ("//a", Some("//a")),
            ("/a%2fb", Some("/a%2fb")),
        ] {
            assert_eq!(target(path).ok().map(|uri| uri.to_string()).as_deref(), expected, "{path}");
        }
        for path in ["", "a/b", "ftp://gateway.test/a", "/a b", "https:///a", "*", "/\u{7f}"] {
            assert_eq!(target(path).unwrap_err().at.as_deref(), Some("/path"), "{path}");
        }
    }
}
