//! One JSON array, whose elements are the events.

use crate::{
    language::compile::metering::Map,
    request::meter::{
        reader::{NotJson, Reader},
        scanner::is_space,
    },
};

/// The state between and within elements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::request::meter) enum Array {
    /// Before `[`.
    #[default]
    Before,
    /// After `[`.
    First,
    /// After a comma, or within an element.
    Element,
    /// After an element.
    After,
    /// After `]`.
    Ended,
    /// After an error.
    Broken,
}

impl Array {
    pub(super) fn feed(&mut self, map: &Map, bytes: &[u8], reader: &mut Reader) {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Broken {
            if *self == Self::Element {
                at += reader.feed_until_end(map, &bytes[at..]);
                if reader.is_done() {
                    reader.end(map, NotJson::Broken);
                    *self = Self::After;
                } else if reader.is_at_error() {
                    self.break_off(reader);
                }
                continue;
            }
            let byte = bytes[at];
            *self = match (*self, byte) {
                (same, _) if is_space(byte) => same,
                (Self::Before, b'[') => Self::First,
                // A byte order mark.
                (Self::Before, 0xEF | 0xBB | 0xBF) => Self::Before,
                (Self::First | Self::After, b']') => Self::Ended,
                (Self::After, b',') => Self::Element,
                (Self::First, _) => {
                    // The first element starts here.
                    *self = Self::Element;
                    continue;
                }
                _ => return self.break_off(reader),
            };
            at += 1;
        }
    }

    /// True after the whole array.
    pub(super) fn is_ended(self) -> bool {
        self == Self::Ended
    }

    fn break_off(&mut self, reader: &mut Reader) {
        reader.is_broken = true;
        *self = Self::Broken;
    }
}
