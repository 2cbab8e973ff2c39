//! W3C trace context: the trace that a client's request belongs to, and the header that hands a trace on.
//!
//! Parsing is strict: anything but one well-formed `traceparent` is no context. Read next: `gateway::context`, which
//! applies the setting `trace_context`.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::hex;

/// `traceparent`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// `baggage`, which belongs to the context that a client sends.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The length of a `traceparent` of version 00, and of the part of later ones that is understood.
const LENGTH: usize = 55;
/// The longest `traceparent` that is looked at.
const MAX_LENGTH: usize = 512;

/// The trace of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The client's span. None if the trace begins here.
    pub parent: Option<[u8; 8]>,
    /// True if spans of this trace are to be recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// A trace that begins here, and is recorded.
    pub fn begun(trace_id: [u8; 16]) -> Self {
        Self { trace_id, parent: None, sampled: true }
    }

    /// The context that a client sends.
    pub fn of_client(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let only = all.next()?;
        if all.next().is_some() { None } else { Self::parse(only.to_str().ok()?) }
    }

    /// Parses a `traceparent`. A later version counts as far as version 00 goes.
    fn parse(text: &str) -> Option<Self> {
        if text.len() < LENGTH || text.len() > MAX_LENGTH || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let [version] = hex::decode::<1>(fields.next()?)?;
        let trace_id = hex::decode::<16>(fields.next()?)?;
        let parent = hex::decode::<8>(fields.next()?)?;
        let [flags] = hex::decode::<1>(fields.next()?)?;
        let has_good_end =
            if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        let is_valid = version != 0xff && has_good_end && trace_id != [0; 16] && parent != [0; 8];
        is_valid.then_some(Self { trace_id, parent: Some(parent), sampled: flags & 1 == 1 })
    }

    /// The `traceparent` that makes a request a child of this span.
    pub fn header(&self, span: [u8; 8]) -> Option<HeaderValue> {
        let flags = if self.sampled { "01" } else { "00" };
        let text = format!("00-{}-{}-{flags}", hex::encode(&self.trace_id), hex::encode(&span));
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn only_a_well_formed_header_is_a_context() {
        let check = |text: &str, expected: Option<bool>| {
            assert_eq!(TraceContext::parse(text).map(|found| found.sampled), expected, "{text}");
        };
        check(&format!("00-{ID}-b7ad6b7169203331-01"), Some(true));
        check(&format!("00-{ID}-b7ad6b7169203331-00"), Some(false));
        check(&format!("00-{ID}-b7ad6b7169203331-03"), Some(true));
        check(&format!("cc-{ID}-b7ad6b7169203331-01"), Some(true));
        check(&format!("cc-{ID}-b7ad6b7169203331-01-more"), Some(true));
        check(&format!("cc-{ID}-b7ad6b7169203331-01more"), None);
        check(&format!("00-{ID}-b7ad6b7169203331-01-more"), None);
        check(&format!("ff-{ID}-b7ad6b7169203331-01"), None);
        check(&format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), None);
        check(&format!("00-{ID}-0000000000000000-01"), None);
        check(&format!("00-{}-b7ad6b7169203331-01", ID.to_uppercase()), None);
        check(&format!("00-{ID}-b7ad6b7169203331-0"), None);
        check(&format!("00-{ID}-b7ad6b7169203331-0x"), None);
        check(&format!("00-{ID}b-7ad6b7169203331-01"), None);
        check(&format!("cc-{ID}-b7ad6b7169203331-01-{}", "x".repeat(MAX_LENGTH)), None);
        check("", None);
        check(&"é".repeat(28), None);
    }

    #[test]
    fn two_headers_are_no_context() {
        let text = format!("00-{ID}-b7ad6b7169203331-01");
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::of_client(&headers), None);
        headers.append(TRACEPARENT, text.parse().unwrap());
        let found = TraceContext::of_client(&headers).unwrap();
        assert_eq!(found.header(found.parent.unwrap()).unwrap(), text);
        headers.append(TRACEPARENT, text.parse().unwrap());
        assert_eq!(TraceContext::of_client(&headers), None);
    }
}
