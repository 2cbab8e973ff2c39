//! Client of the admin API for commands. A running tollgate handles the call over its control socket, with its own
//! files and key. If none runs, the same API handles the call in this process, on the store.

use std::{collections::BTreeMap, fmt, path::Path};

use anyhow::Context as _;
use bytes::Bytes;
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    check,
    context::{Context, absolute},
};
use crate::{
    accounts::{Actor, MasterKey},
    admin::{Admin, ById, Principal, ProviderFiles, Request},
    compile::ErrorValues,
    control::{self, CallError, Page},
    diag::{Code, Diagnostic},
    escape::{self, Lines},
    fault::{Basis, Cause, FaultKind},
    files,
    pipeline::{self, Assembled, Loaded},
    settings::{DEFAULT_SESSION_LIFETIME, Source},
};

/// A refused call.
#[derive(Debug)]
pub(super) struct CallRefused {
    /// The code of the kind (see [`FaultKind`]).
    code: Option<String>,
    /// The code of the exact cause (see [`Cause`]).
    cause: Option<String>,
    /// The JSON pointer of the part of the body that caused the refusal.
    pub(super) pointer: Option<String>,
    /// The message, which begins with the pointer.
    message: String,
    /// A note on the provider files that the call was checked against, as further lines. Empty if a server handled the
    /// call.
    files_note: String,
}

impl fmt::Display for CallRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", escape::value(&self.message), self.files_note)
    }
}

impl std::error::Error for CallRefused {}

impl CallRefused {
    /// Reads an error document.
    fn parse(document: &Value, files_note: String) -> Self {
        let text = |key| document["error"][key].as_str().map(str::to_owned);
        let message = text("message").unwrap_or_else(|| "the call was refused, without a reason".to_owned());
        Self { code: text("code"), cause: text("cause"), pointer: text("at"), message, files_note }
    }

    pub(super) fn is(&self, cause: Cause) -> bool {
        self.cause.as_deref() == Some(cause.code())
    }

    /// True if the server does not know the call. The fault for a thing that does not exist names its cause.
    pub(super) fn is_unknown_call(&self) -> bool {
        self.cause.is_none() && self.code.as_deref() == Some(FaultKind::NotFound.code())
    }

    /// The error with another text for the message.
    pub(super) fn with_message(&self, text: &str) -> anyhow::Error {
        Lines::split(&format!("{}{}", escape::value(text), self.files_note)).into()
    }

    /// The error with another text for the message, and lines below it.
    pub(super) fn with_lines(&self, text: &str, below: &str) -> anyhow::Error {
        let text = escape::value(text);
        Lines::split(&format!("{text}\n{}{}", below.trim_end(), self.files_note)).into()
    }

    /// The message without the pointer, for messages that name the field themselves.
    pub(super) fn problem(&self) -> &str {
        let pointer = self.pointer.as_deref().unwrap_or_default();
        let problem = self.message.strip_prefix(pointer).and_then(|rest| rest.strip_prefix(": "));
        problem.unwrap_or(&self.message)
    }
}

/// Makes a call. Returns the response, or a [`CallRefused`].
pub(super) async fn call(
    context: &Context<'_>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let text = answer(context, method, path, body).await?.body;
    serde_json::from_slice(&text).context("the response is not JSON")
}

/// Reads a page of a list. Returns the items by id, and the path of the next page.
pub(super) async fn page<T: DeserializeOwned>(
    context: &Context<'_>,
    path: &str,
) -> anyhow::Result<(Vec<(String, T)>, Option<String>)> {
    let Page { body, next, .. } = answer(context, Method::GET, path, Bytes::new()).await?;
    let ById(items) = serde_json::from_slice(&body).context(
        "failed to read the response of the running tollgate: does its version differ from this command's?",
    )?;
    Ok((items, next))
}

/// Reads a page of a document. Returns it, and the path of the next page.
pub(super) async fn document_page<T: DeserializeOwned>(
    context: &Context<'_>,
    path: &str,
) -> anyhow::Result<(T, Option<String>)> {
    let Page { body, next, .. } = answer(context, Method::GET, path, Bytes::new()).await?;
    let document = serde_json::from_slice(&body).context(
        "failed to read the response of the running tollgate: does its version differ from this command's?",
    )?;
    Ok((document, next))
}

/// Reads all pages of a list.
pub(super) async fn pages<T: DeserializeOwned>(
    context: &Context<'_>,
    path: &str,
) -> anyhow::Result<Vec<(String, T)>> {
    let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let (items, rest) = page(context, &path).await?;
        all.extend(items);
        next = rest;
    }
    Ok(all)
}

/// Makes a call without a body. Returns the text of the response, or a [`CallRefused`].
pub(super) async fn call_text(context: &Context<'_>, method: Method, path: &str) -> anyhow::Result<String> {
    let text = answer(context, method, path, Bytes::new()).await?.body;
    String::from_utf8(text.into()).context("the response is not UTF-8")
}

async fn answer(context: &Context<'_>, method: Method, path: &str, body: Bytes) -> anyhow::Result<Page> {
    let called = control::call_page(&context.places.data()?, method.clone(), path, body.clone()).await;
    let (page, files_note) = match called {
        Err(CallError::NotRunning { .. }) => handle_locally(context, method, path, body).await?,
        called => (called?, String::new()),
    };
    if page.status.is_success() {
        return Ok(page);
    }
    let refusal: Value = serde_json::from_slice(&page.body).context("the response is not JSON")?;
    Err(CallRefused::parse(&refusal, files_note).into())
}

/// Handles a call without a server. Also returns a note about the provider files if the response depends on them.
async fn handle_locally(
    context: &Context<'_>,
    method: Method,
    path: &str,
    body: Bytes,
) -> anyhow::Result<(Page, String)> {
    let store = context.store().await?;
    let (providers, secrets) = (context.places.providers()?, context.places.secrets()?);
    let loaded = files::load(&providers).context("failed to read the provider files")?;
    let loaded = Loaded { env_allow: context.places.env_allow()?, ..loaded };
    let assembled = pipeline::assemble(&loaded, |source| files::var_value(source, &secrets));
    let data = context.places.data()?;
    let files_note = files_note(&data, &providers, &assembled);
    let key = MasterKey::load_beside(context.keys()?, &data, &store).await?;
    let files = ProviderFiles::Loaded(assembled.table.into());
    let session_lifetime = DEFAULT_SESSION_LIFETIME;
    let user_origins = context.places.user_origins()?;
    let admin = Admin { files, store, key, rekeyer: None, session_lifetime, user_origins };
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let (path, query) = (path.to_owned(), query.map(str::to_owned));
    let (table, principal, actor) = (admin.files.snapshot(), Principal::Local, Actor::command());
    let request = Request { method, path, query, body, table, principal, actor, sessions: Vec::new() };
    Ok(match admin.handle(&request).await {
        Ok(answer) => {
            let next = answer.link.as_deref().and_then(control::next_page).map(str::to_owned);
            (Page { status: answer.status, body: answer.body.into(), next }, String::new())
        }
        Err(fault) => {
            let by_files = fault.cause.is_some_and(|cause| cause.basis() == Basis::Files);
            let files_note = if by_files { files_note } else { String::new() };
            let body = ErrorValues::of(&fault, "").body(None).into();
            (Page { status: fault.kind.status(), body, next: None }, files_note)
        }
    })
}

/// Notes on used and skipped provider files. A server may have other files or other vars.
fn files_note(data: &Path, providers: &Source, assembled: &Assembled) -> String {
    let data = absolute(data);
    let files = match providers {
        Source::Directory { path: dir, .. } => format!("checked against the files of {}", absolute(dir)),
        Source::Embedded { .. } => check::built_in_note(),
    };
    let mut lines = vec![format!("\nnote: no tollgate serves from {data}: {files}")];
    let mut first = BTreeMap::<&str, &Diagnostic>::new();
    for one in assembled.diagnostics.iter().filter(|one| one.is_error()) {
        first.entry(&one.at.file).or_insert(one);
    }
    lines.extend(first.into_iter().map(|(file, one)| match one.code {
        Code::Var => format!("\nnote: `{}` is not used in this shell: {}", escape::value(file), one.message),
        _ => format!(
            "\nnote: `{}` is not used, since it has errors: see `tollgate check`",
            escape::value(file)
        ),
    }));
    lines.concat()
}
