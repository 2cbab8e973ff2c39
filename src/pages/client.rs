//! Calls of the API, by a page for the person who is signed in.

use http::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    admin::{ById, Response},
    fault::{Fault, FaultKind},
    rewrite::value_of,
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

/// A page of a list.
#[derive(Debug)]
pub(super) struct Listed<T> {
    /// The items, each with its id, in the order of the list.
    pub(super) items: Vec<(String, T)>,
    /// The place that the next page begins after, if there is one.
    pub(super) next: Option<String>,
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

    /// A page of a list.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Listed<T>, Fault> {
        let response = self.api.call(Method::GET, path, None).await?;
        let ById(items) = read(&response)?;
        Ok(Listed { items, next: response.link.as_deref().and_then(next_place) })
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

/// The value of `after` in the `Link` of a list.
fn next_place(link: &str) -> Option<String> {
    let (_, query) = link.split_once('>')?.0.split_once('?')?;
    value_of(Some(query), "after")
}

/// A text as a segment of a path, percent-encoded.
pub(super) fn segment(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A path with a query of these pairs, percent-encoded. Those without a value are left out.
pub(super) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_next_page() {
        for (link, expected) in [
            ("</admin/users?limit=2&after=usr_1>; rel=\"next\"", Some("usr_1")),
            ("</admin/users?order=name&limit=2&after=usr_1%7EA+%26+B>; rel=\"next\"", Some("usr_1~A & B")),
            ("</admin/users>; rel=\"next\"", None),
        ] {
            assert_eq!(next_place(link).as_deref(), expected, "{link}");
        }
    }

    #[test]
    fn a_query_and_a_segment_are_encoded() {
        assert_eq!(with_query("/a", &[("b", "c&d"), ("e", "")]), "/a?b=c%26d");
        assert_eq!(with_query("/a", &[("e", "")]), "/a");
        assert_eq!(segment("../a?b#c"), "..%2Fa%3Fb%23c");
    }
}
