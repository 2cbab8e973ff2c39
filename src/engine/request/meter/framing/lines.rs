//! A JSON value a line.

use memchr::memchr;

use crate::{
    language::compile::metering::Map,
    request::meter::reader::{NotJson, Reader},
};

pub(super) fn feed(map: &Map, mut bytes: &[u8], reader: &mut Reader) {
    while let Some(end) = memchr(b'\n', bytes) {
        reader.feed(map, &bytes[..end]);
        reader.end(map, NotJson::Broken);
        bytes = &bytes[end + 1..];
    }
    reader.feed(map, bytes);
}
