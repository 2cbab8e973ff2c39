//! The frame of a request: one resource, one scope, and the encoded items of a signal. Requests of all three signals have
//! the same tags, so that one frame serves them. Items are encoded before, on another thread.

use bytes::{BufMut as _, Bytes};
use http::StatusCode;
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use super::messages::{ExportResponse, Resource, Scope};
use crate::exporters::Protocol;

/// Tags: `ResourceSpans.resource` and `.scope_spans`, `ScopeSpans.scope` and `.spans`, and those of their siblings.
const OWNER: u32 = 1;
const ITEMS: u32 = 2;

/// A frame. Its pieces are fields of the scope, as [`item`] makes them.
pub(super) struct Envelope {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Envelope {
    pub(super) fn new(resource: &Resource) -> Self {
        let scope = Scope { name: "tollgate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        Self {
            resource: field(OWNER, &resource.encode_to_vec()),
            scope: field(OWNER, &scope.encode_to_vec()),
        }
    }
}

impl Protocol for Envelope {
    fn body(&self, pieces: &[Bytes]) -> Bytes {
        let items = pieces.iter().map(Bytes::len).sum::<usize>();
        let scoped = self.scope.len() + items;
        let owned = self.resource.len() + head_len(ITEMS, scoped) + scoped;
        let mut body = Vec::with_capacity(head_len(OWNER, owned) + owned);
        put_head(OWNER, owned, &mut body);
        body.put_slice(&self.resource);
        put_head(ITEMS, scoped, &mut body);
        body.put_slice(&self.scope);
        for piece in pieces {
            body.put_slice(piece);
        }
        body.into()
    }

    /// The statuses that the protocol names.
    fn is_temporary(&self, status: StatusCode) -> bool {
        matches!(status.as_u16(), 429 | 502 | 503 | 504)
    }

    /// An answer that is not understood reports nothing.
    fn refused(&self, answer: &[u8]) -> u64 {
        let rejected = ExportResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
        rejected.and_then(|partial| u64::try_from(partial.rejected).ok()).unwrap_or(0)
    }
}

/// An item of a scope, such as a span, as a field.
pub(super) fn item(message: &impl prost::Message) -> Vec<u8> {
    field(ITEMS, &message.encode_to_vec())
}

fn field(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(head_len(tag, bytes.len()) + bytes.len());
    put_head(tag, bytes.len(), &mut field);
    field.put_slice(bytes);
    field
}

fn put_head(tag: u32, len: usize, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

fn head_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::{
        super::messages::{PartialSuccess, Span, text},
        *,
    };

    #[test]
    fn a_body_is_a_request_of_the_protocol() {
        let envelope = Envelope::new(&Resource { attributes: vec![text("service.name", "s")] });
        let span = |name: &str| Bytes::from(item(&Span { name: name.to_owned(), ..Span::default() }));
        let long = "n".repeat(1000);
        let body = envelope.body(&[span("a"), span(&long)]);
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let [of_resource] = request.resource_spans.as_slice() else { panic!("{request:?}") };
        let resource = of_resource.resource.as_ref().unwrap();
        assert_eq!(resource.attributes[0].key, "service.name");
        let [of_scope] = of_resource.scope_spans.as_slice() else { panic!("{request:?}") };
        assert_eq!(of_scope.scope.as_ref().unwrap().name, "tollgate");
        let names: Vec<&str> = of_scope.spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["a", long.as_str()]);
    }

    #[test]
    fn only_partial_success_is_refused() {
        let envelope = Envelope::new(&Resource::default());
        let answer = |rejected| ExportResponse { partial_success: Some(PartialSuccess { rejected }) };
        assert_eq!(envelope.refused(&answer(3).encode_to_vec()), 3);
        assert_eq!(envelope.refused(&answer(-3).encode_to_vec()), 0);
        assert_eq!(envelope.refused(b""), 0);
        assert_eq!(envelope.refused(b"{\"partialSuccess\":{}}"), 0);
    }
}
