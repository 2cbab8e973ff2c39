//! The admin API, for commands: the tollgate that serves from the data directory answers over its control socket,
//! with its files and its key. Where none serves, the same API answers here, from the store.

use std::{collections::BTreeMap, fmt};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    check,
    context::{Context, absolute},
};
use crate::{
    accounts::{Actor, MasterKey},
    admin::{Admin, Principal, ProviderFiles, Request},
    control::{self, CallError},
    diag::{Code, Diagnostic},
    files,
    pipeline::{self, Assembled},
    settings::Source,
};

/// Why a call was refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// The JSON pointer that it is about, if it is about one.
    pub(super) place: Option<String>,
    /// What is wrong.
    pub(super) reason: String,
    /// By which files that was judged, where no server told.
    pub(super) judged_by: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}{}", self.reason, self.judged_by)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    fn new(message: &str, judged_by: String) -> Self {
        let (place, reason) = match message.split_once(": ") {
            Some((place, reason)) if place.starts_with('/') => (Some(place.to_owned()), reason),
            _ => (None, message),
        };
        Self { place, reason: reason.to_owned(), judged_by }
    }
}

/// Makes a call; what it answers, or why not.
pub(super) async fn call(
    context: &Context<'_>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let served = control::call(&context.settings.data, method.clone(), path, body.clone()).await;
    let (status, text, judged_by) = match served {
        Err(CallError::NotRunning { .. }) => here(context, method, path, body).await?,
        served => served.map(|(status, text)| (status, text, String::new()))?,
    };
    let answer: Value = serde_json::from_slice(&text).context("the answer is no JSON")?;
    if status.is_success() {
        return Ok(answer);
    }
    let message = answer["error"]["message"].as_str();
    Err(Refused::new(message.unwrap_or("the call was refused, without a reason"), judged_by).into())
}

/// The answer of the same API without a server, and, where it hangs on provider files, which those were.
async fn here(
    context: &Context<'_>,
    method: Method,
    path: &str,
    body: Bytes,
) -> anyhow::Result<(StatusCode, Bytes, String)> {
    let store = context.store().await?;
    let loaded = files::load(&context.settings.providers).context("failed to read the provider files")?;
    let assembled = pipeline::assemble(&loaded, |source| files::var_value(source, &context.settings.secrets));
    let judged_by = judged_by(context, &assembled);
    let key = MasterKey::load_beside(&context.keys, &context.settings.data, &store).await?;
    let admin = Admin { files: ProviderFiles::Loaded(assembled.table.into()), store, key, rekeyer: None };
    let path = path.to_owned();
    let (table, principal, actor) = (admin.files.snapshot(), Principal::Local, Actor::command());
    let request = Request { method, path, query: None, body, table, principal, actor };
    Ok(match admin.handle(&request).await {
        Ok(answer) => (answer.status, answer.body.into(), String::new()),
        Err(fault) => {
            let by_files = fault.message.contains("no provider") || fault.message.starts_with("/scopes/");
            let error = serde_json::json!({ "error": { "message": fault.message } });
            let judged_by = if by_files { judged_by } else { String::new() };
            (fault.kind.status(), error.to_string().into(), judged_by)
        }
    })
}

/// Which files were looked at, and which of them count for nothing here. A server may have others, or other vars.
fn judged_by(context: &Context<'_>, assembled: &Assembled) -> String {
    let settings = context.settings;
    let data = absolute(&settings.data);
    let files = match &settings.providers {
        Source::Directory(dir) => format!("the files of {} were looked at", absolute(dir)),
        Source::Embedded => check::built_in_note(),
    };
    let mut lines = vec![format!("\nnote: no tollgate serves from {data}: {files}")];
    let mut first = BTreeMap::<&str, &Diagnostic>::new();
    for one in assembled.diagnostics.iter().filter(|one| one.is_error()) {
        first.entry(&one.at.file).or_insert(one);
    }
    lines.extend(first.into_iter().map(|(file, one)| match one.code {
        Code::Var => format!("\nnote: `{file}` does not count in this shell: {}", one.message),
        _ => format!("\nnote: `{file}` does not count, since it has errors: `tollgate check` tells them"),
    }));
    lines.concat()
}
