//! The admin API, for commands: the tollgate that serves from the data directory answers over its control socket,
//! with its files and its key. Where none serves, the same API answers here, from the store.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;

use super::context::Context;
use crate::{
    accounts::{Actor, MasterKey},
    admin::{Admin, Asker, Files, Request},
    control::{self, CallError},
    load,
};

/// Makes a call; what it answers, or why not.
pub(super) async fn call(
    context: &Context<'_>,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let served = control::call(&context.settings.data, method.clone(), path, body.clone()).await;
    let (status, text) = match served {
        Err(CallError::Nobody { .. }) => here(context, method, path, body).await?,
        served => served?,
    };
    let answer: Value = serde_json::from_slice(&text).context("the answer is no JSON")?;
    if status.is_success() {
        return Ok(answer);
    }
    bail!("{}", answer["error"]["message"].as_str().unwrap_or("the call was refused, without a reason"))
}

async fn here(
    context: &Context<'_>,
    method: Method,
    path: &str,
    body: Bytes,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let store = context.store().await?;
    let loaded = load::load(&context.settings.providers).context("failed to read the provider files")?;
    let assembled = load::assemble(&loaded, |source| load::var_value(source, &context.settings.secrets));
    let key = MasterKey::load_beside(&context.keys, &context.settings.data, &store).await?;
    let admin = Admin { files: Files::Read(assembled.table.into()), store, key, rekeyer: None };
    let path = path.to_owned();
    let request = Request { method, path, query: None, body, asker: Asker::Local, actor: Actor::command() };
    Ok(match admin.answer(&request).await {
        Ok(answer) => (answer.status, answer.body.into()),
        Err(fault) => {
            let error = serde_json::json!({ "error": { "message": fault.message } });
            (fault.kind.status(), error.to_string().into())
        }
    })
}
