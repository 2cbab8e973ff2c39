//! The boundaries of TLS records in a stream of bytes (RFC 8446, section 5.1). The TLS library does not say whether it holds
//! a part of a record: such a part is unread, although the socket is empty.
//!
//! It reads lengths alone, decrypts nothing and checks nothing.

/// Type, version and length.
const HEADER: usize = 5;

/// The position in a stream of records.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Bytes of the header that were read.
    header: usize,
    /// Bytes of the content that are still to come. The header is complete then.
    rest: usize,
}

impl Records {
    /// Passes over bytes that were read.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, after)) = bytes.split_first() {
            if self.header < HEADER {
                // The length is the last two bytes of the header.
                let high = if self.header + 1 == HEADER { self.rest << 8 } else { 0 };
                self.rest = if self.header + 2 < HEADER { 0 } else { high | usize::from(*first) };
                self.header += 1;
                bytes = after;
            } else {
                let content = self.rest.min(bytes.len());
                self.rest -= content;
                bytes = &bytes[content..];
            }
            if self.header == HEADER && self.rest == 0 {
                self.header = 0;
            }
        }
    }

    /// True within a record.
    pub(super) fn is_partial(&self) -> bool {
        self.header > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_record_is_a_boundary() {
        let record = |length: usize| {
            let mut bytes =
                vec![23, 3, 3, u8::try_from(length >> 8).unwrap(), u8::try_from(length & 255).unwrap()];
            bytes.resize(HEADER + length, 23);
            bytes
        };
        let lengths = [0, 1, 255, 256, 16_640, 3];
        let stream: Vec<u8> = lengths.iter().flat_map(|length| record(*length)).collect();
        let ends = lengths.iter().scan(0, |at, length| {
            *at += HEADER + length;
            Some(*at)
        });
        let ends: Vec<usize> = ends.collect();
        for piece in [1, 2, 7, 4096, stream.len()] {
            let (mut records, mut at) = (Records::default(), 0);
            for bytes in stream.chunks(piece) {
                records.pass(bytes);
                at += bytes.len();
                assert_eq!(records.is_partial(), !ends.contains(&at), "{piece} {at}");
            }
            assert!(!records.is_partial());
        }
    }
}
