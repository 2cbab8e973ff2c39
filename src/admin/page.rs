//! Query parameters. Pagination: `?limit=` and `?after=`, and the `Link` to the next page. Without a limit a list is
//! returned whole. Revocation: `?withMade=`.

use std::borrow::Cow;

use crate::{
    fault::{Cause, Fault, FaultKind},
    rewrite::value_of,
    store::RevokeExtent,
};

use super::{Request, payloads::ById};

/// The requested page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) limit: Option<u64>,
    pub(super) after: Option<String>,
}

impl Page {
    pub(super) fn of(request: &Request) -> Result<Self, Fault> {
        let value = |name: &str| value_of(request.query.as_deref(), name);
        let limit = value("limit").map(|text| limit(&text)).transpose()?;
        Ok(Self { limit, after: value("after") })
    }

    /// The page with at most so many items, also if the request has no limit.
    pub(super) fn within(self, max: u64) -> Self {
        Self { limit: Some(self.limit.map_or(max, |limit| limit.min(max))), ..self }
    }

    /// The number of items to read: one more than the page has, to learn whether another page follows.
    pub(super) fn read_limit(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_add(1))
    }

    /// Truncates what was read to the page. Returns the `Link` to the next page, if there is one.
    pub(super) fn truncate<T>(&self, path: &str, list: &mut ById<T>) -> Option<String> {
        let limit = self.limit?;
        let (end, _) = self.cut(&mut list.0)?;
        Some(format!("<{path}?limit={limit}&after={end}>; rel=\"next\""))
    }

    /// Truncates what was read to the page. Returns the last item of the page, if another page follows.
    pub(super) fn cut<'l, T>(&self, items: &'l mut Vec<T>) -> Option<&'l T> {
        let kept = usize::try_from(self.limit?).unwrap_or(usize::MAX);
        if items.len() <= kept {
            return None;
        }
        items.truncate(kept);
        items.last()
    }

    /// The `Link` to the page after a place, with the other parameters of the request.
    pub(super) fn link(&self, request: &Request, after: &str) -> String {
        let query = request.query.as_deref().unwrap_or_default();
        let mut next = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !["limit", "after"].contains(&&*name) {
                next.append_pair(&name, &value);
            }
        }
        if let Some(limit) = self.limit {
            next.append_pair("limit", &limit.to_string());
        }
        let next = next.append_pair("after", after).finish();
        format!("<{}?{next}>; rel=\"next\"", request.path)
    }
}

/// Parses a count. One that is too large for 64 bits is the same as no limit.
fn limit(text: &str) -> Result<u64, Fault> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid_query("?limit=: a count is written in digits, as in `?limit=100`"));
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// The extent of a revocation: `?withMade=true` or `false`, which is the default.
pub(super) fn revoke_extent(request: &Request) -> Result<RevokeExtent, Fault> {
    match value_of(request.query.as_deref(), "withMade").as_deref() {
        None | Some("false") => Ok(RevokeExtent::Alone),
        Some("true") => Ok(RevokeExtent::WithMade),
        Some(_) => Err(invalid_query("?withMade=: it is written `true` or `false`")),
    }
}

/// The fault for a query parameter.
pub(super) fn invalid_query(message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(FaultKind::InvalidRequest, message).because(Cause::InvalidQuery)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_links_to_the_next() {
        let check = |read: usize, limit: Option<u64>, given: usize, link: Option<&str>| {
            let page = Page { limit, after: None };
            let mut list = ById((1..=read).map(|id| (id.to_string(), ())).collect());
            assert_eq!(page.truncate("/admin/things", &mut list).as_deref(), link, "{read} {limit:?}");
            assert_eq!(list.0.len(), given, "{read} {limit:?}");
        };
        check(3, None, 3, None);
        check(3, Some(3), 3, None);
        check(3, Some(2), 2, Some("</admin/things?limit=2&after=2>; rel=\"next\""));
        check(1, Some(0), 0, None);
        check(0, Some(u64::MAX), 0, None);
    }

    #[test]
    fn a_limit_is_any_count() {
        for (text, expected) in [("0", 0), ("007", 7), ("99999999999999999999999", u64::MAX)] {
            assert_eq!(limit(text).unwrap(), expected);
        }
        for text in ["", "-1", "1.0", "x", "1 ", "+1", "٣"] {
            assert_eq!(limit(text).unwrap_err().kind, FaultKind::InvalidRequest, "{text}");
        }
    }
}
