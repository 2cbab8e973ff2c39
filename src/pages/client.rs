//! Calls of the API, by a page for the person who is signed in.

use http::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    admin::Response,
    fault::{Fault, FaultKind},
};

/// Calls operations of the API as the person who is signed in.
pub trait Api {
    /// Calls the operation at a method and a path, which may have a query.
    fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> impl Future<Output = Result<Response, Fault>>;
}

/// An [`Api`] whose answers are read.
pub(super) struct Client<'c, A> {
    api: &'c A,
}

impl<'c, A: Api> Client<'c, A> {
    pub(super) fn new(api: &'c A) -> Self {
        Self { api }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        read(&self.api.call(Method::GET, path, None).await?)
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Fault> {
        let body = serde_json::to_value(body).expect("bodies of pages have text keys");
        read(&self.api.call(method, path, Some(&body)).await?)
    }
}

fn read<T: DeserializeOwned>(response: &Response) -> Result<T, Fault> {
    serde_json::from_str(&response.body).map_err(|error| {
        tracing::error!(%error, status = StatusCode::as_u16(&response.status), "a page cannot read an answer of the API");
        Fault::new(FaultKind::StoreUnavailable, "This page cannot be shown now: see tollgate's log")
    })
}

/// A path with a query of these pairs, percent-encoded.
pub(super) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}
