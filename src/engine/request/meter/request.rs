//! The request's side of a meter. Its content type decides: the fields of a form, or else JSON.

use std::sync::Arc;

use super::{
    form::Fields,
    reader::{NotJson, Reader},
    scanner::Captured,
    tally::Tally,
};
use crate::language::compile::metering::Map;

/// The state of a request.
#[derive(Debug)]
pub(super) struct Request {
    reader: Reader,
    form: Option<Box<Fields>>,
    has_ended: bool,
}

/// A request's body that is read apart from its meter, since it has a content coding.
#[derive(Debug)]
pub struct RequestApart {
    map: Arc<Map>,
    request: Box<Request>,
    is_undecodable: bool,
}

impl Request {
    pub(super) fn new(map: &Map, content: bool) -> Self {
        Self { reader: Reader::of_request(map, content), form: None, has_ended: false }
    }

    /// Call it before the first byte.
    pub(super) fn set_content_type(&mut self, content_type: &[u8]) {
        self.form = Fields::new(content_type).map(Box::new);
    }

    #[inline]
    pub(super) fn feed(&mut self, map: &Map, bytes: &[u8]) {
        match &mut self.form {
            _ if map.is_empty() => {}
            None => self.reader.feed(map, bytes),
            Some(form) => form.feed(map, &mut self.reader, bytes),
        }
    }

    /// The end of the body.
    pub(super) fn end(&mut self, map: &Map) {
        self.reader.end(map, NotJson::Ignored);
        self.has_ended = true;
    }

    /// The end of the exchange.
    pub(super) fn finish(&mut self, map: &Map) {
        if !self.has_ended {
            self.reader.end_cut(map, NotJson::Ignored);
        }
    }

    /// The value that asks for a stream.
    pub(super) fn stream(&self) -> Option<bool> {
        self.reader.tally.stream
    }

    /// Bytes of prompts that are kept.
    pub(super) fn prompt_bytes(&self) -> usize {
        self.reader.prompt_bytes()
    }

    /// Drops them, and keeps no more.
    pub(super) fn drop_prompts(&mut self) {
        self.reader.drop_prompts();
    }

    pub(super) fn into_parts(self) -> (Tally, Vec<Captured>) {
        self.reader.into_parts()
    }
}

impl RequestApart {
    pub(super) fn new(map: &Arc<Map>, request: Box<Request>) -> Self {
        Self { map: Arc::clone(map), request, is_undecodable: false }
    }

    /// Reads on in the body, without its content coding.
    pub fn bytes(&mut self, decoded: &[u8]) {
        if !self.is_undecodable {
            self.request.feed(&self.map, decoded);
        }
    }

    /// The content coding is unknown or damaged, or expands too far: what follows is not read.
    pub fn undecodable(&mut self) {
        self.is_undecodable = true;
    }

    pub(super) fn is_undecodable(&self) -> bool {
        self.is_undecodable
    }

    pub(super) fn into_request(self) -> Box<Request> {
        self.request
    }
}
