//! The fields of a form as members of one JSON object, which a reader reads as any other: one set of rules holds for both.
//!
//! It guarantees: what no pointer is about is skipped; of a field, at most [`MAX_SCALAR`] bytes are kept.

use std::mem;

use serde_json::Value;

use super::{Form, Parts};
use crate::{
    language::compile::metering::{Map, NO_NODE, ROOT, reads},
    request::meter::reader::Reader,
};

/// The longest value that may be a number.
const MAX_SCALAR: usize = 32;

/// A form, and the state of the object.
#[derive(Debug)]
pub(in crate::request::meter) struct Fields {
    form: Form,
    object: Object,
}

#[derive(Debug, Default)]
struct Object {
    has_members: bool,
    /// The field at hand, where its place takes numbers and booleans only. Others are strings, and pass.
    scalar: Option<Vec<u8>>,
}

struct Writer<'a> {
    object: &'a mut Object,
    map: &'a Map,
    reader: &'a mut Reader,
}

impl Fields {
    /// The fields of a form with this content type. None if it is no form, or its boundary is missing or invalid.
    pub(in crate::request::meter) fn new(content_type: &[u8]) -> Option<Self> {
        Form::new(content_type).map(|form| Self { form, object: Object::default() })
    }

    /// Reads on in the form.
    pub(in crate::request::meter) fn feed(&mut self, map: &Map, reader: &mut Reader, bytes: &[u8]) {
        let Self { form, object } = self;
        form.feed(bytes, &mut Writer { object, map, reader });
    }
}

impl Writer<'_> {
    fn write(&mut self, json: &[u8]) {
        self.reader.feed(self.map, json);
    }

    /// A part of a string.
    fn text(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
            self.write(&bytes[..end]);
            self.write(format!("\\u{:04x}", bytes[end]).as_bytes());
            bytes = &bytes[end + 1..];
        }
        self.write(bytes);
    }

    fn string(&mut self, bytes: &[u8]) {
        self.write(b"\"");
        self.text(bytes);
    }
}

impl Parts for Writer<'_> {
    fn begin(&mut self, name: &[u8], is_file: bool) -> bool {
        let nodes = self.map.nodes();
        let node = nodes[usize::from(ROOT)].member(name);
        if node == NO_NODE {
            return false;
        }
        let start = if mem::replace(&mut self.object.has_members, true) { "," } else { "{" };
        let key = Value::from(String::from_utf8_lossy(name));
        self.write(format!("{start}{key}:").as_bytes());
        if is_file {
            // A value without text.
            self.write(b"{}");
            return false;
        }
        let takes_text = nodes[usize::from(node)].reads & !(reads::SCALAR | reads::JSON) != 0;
        if takes_text {
            self.string(b"");
        } else {
            self.object.scalar = Some(Vec::new());
        }
        true
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let Some(scalar) = &mut self.object.scalar else { return self.text(bytes) };
        let room = MAX_SCALAR - scalar.len();
        if bytes.len() <= room {
            scalar.extend_from_slice(bytes);
            return;
        }
        let start = mem::take(scalar);
        self.object.scalar = None;
        self.string(&start);
        self.text(bytes);
    }

    fn end(&mut self) {
        if let Some(scalar) = self.object.scalar.take() {
            let value = serde_json::from_slice::<Value>(&scalar);
            if matches!(value, Ok(Value::Number(_) | Value::Bool(_))) {
                return self.write(&scalar);
            }
            self.string(&scalar);
        }
        self.write(b"\"");
    }

    fn end_of_form(&mut self) {
        if self.object.has_members {
            self.write(b"}");
        }
    }
}
