//! Framings of streams: they find the events in the bytes of an answer, and feed each to a [`Reader`].
//!
//! Nothing is held back or kept: the text of an event is read as it passes.

mod array;
mod aws;
mod lines;
mod sse;

use super::reader::{NotJson, Reader};
use crate::language::compile::metering::{Framing, Map};

use sse::Sse;

/// The state of a framing.
#[derive(Debug)]
pub(super) enum Frames {
    Sse(Sse),
    Lines,
    Array(array::Array),
    Aws(aws::Aws),
}

impl Frames {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse(Sse::default()),
            Framing::Ndjson => Self::Lines,
            Framing::JsonArray => Self::Array(array::Array::default()),
            Framing::AwsEventStream => Self::Aws(aws::Aws::default()),
        }
    }

    /// Reads on.
    pub(super) fn feed(&mut self, map: &Map, bytes: &[u8], reader: &mut Reader) {
        match self {
            Self::Sse(sse) => sse.feed(map, bytes, reader),
            Self::Lines => lines::feed(map, bytes, reader),
            Self::Array(array) => array.feed(map, bytes, reader),
            Self::Aws(aws) => aws.feed(map, bytes, reader),
        }
    }

    /// The end of the bytes: of all, or where they were cut.
    pub(super) fn end(&self, map: &Map, reader: &mut Reader, is_complete: bool) {
        let (not_json, is_ended) = match self {
            Self::Sse(_) => (NotJson::Ignored, true),
            Self::Lines => (NotJson::Broken, true),
            Self::Array(array) => (NotJson::Broken, array.is_ended()),
            Self::Aws(aws) => (NotJson::Broken, aws.is_between()),
        };
        if is_complete {
            reader.end(map, not_json);
            reader.is_broken |= !is_ended;
        } else {
            reader.end_cut(map, not_json);
        }
    }
}
