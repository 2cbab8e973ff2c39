//! The admin API: a method and a path become a status code and JSON, whichever way they came. Each call is
//! one arm of [`Admin::answer`].
//!
//! Knows neither tokens nor sockets: whoever calls it has looked at who asks. Reads no request's body as long as no
//! call takes one.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::Serialize;

use crate::{
    accounts::{Actor, Rekeyer},
    fault::{Fault, Kind},
    live::{Live, ReloadError},
};

/// What the API works on.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The current table, and what became of each file.
    pub live: Arc<Live>,
    /// What replaces the master key.
    pub rekeyer: Rekeyer,
    /// Whether who asks may read what this process can read: then the texts of the files are told too.
    pub local: bool,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The document, as compact JSON.
    pub body: String,
}

impl Admin {
    /// Answers a call. `HEAD` is answered as `GET` is; whoever writes the answer leaves out the body.
    pub async fn answer(&self, method: &Method, path: &str) -> Result<Answer, Fault> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let below = path.strip_prefix("/admin/").unwrap_or_default();
        let segments: Vec<&str> = below.split('/').collect();
        match (method, segments.as_slice()) {
            (&Method::GET, ["providers"]) => Ok(answer(StatusCode::OK, &*self.live.status())),
            (&Method::GET, ["providers", "files"]) if self.local => {
                Ok(answer(StatusCode::OK, &self.live.texts()))
            }
            (&Method::POST, ["reload"]) => self.reload().await,
            (&Method::GET, ["rekey"]) if self.local => Ok(answer(StatusCode::OK, &self.rekeyer.status())),
            (&Method::POST, ["rekey"]) if self.local => {
                Ok(answer(StatusCode::ACCEPTED, &self.rekeyer.ask(Actor::command())))
            }
            _ => Err(Fault::new(Kind::NotFound, "Not found")),
        }
    }

    async fn reload(&self) -> Result<Answer, Fault> {
        let status = self.live.reload().await.map_err(unfinished)?;
        let code = if status.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
        Ok(answer(code, &*status))
    }
}

fn unfinished(error: ReloadError) -> Fault {
    Fault::new(Kind::ReloadUnfinished, error.to_string())
}

fn answer(status: StatusCode, document: &impl Serialize) -> Answer {
    let body = serde_json::to_string(document).expect("documents have text keys and no failing parts");
    Answer { status, body }
}
