//! Content codings of an answer (RFC 9110, section 8.4.1). The request asks for none; some servers and proxies compress
//! all the same.
//!
//! Pure. The result is bounded, and zeroed when it is dropped. The body is whole here: all that can be decoded of a body that
//! is cut is kept, and what follows a gzip file is ignored. `gateway::coding` decodes in pieces, and does neither.

use std::io::{self, Read};

use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
use zeroize::Zeroizing;

use super::MAX_RESPONSE;
use crate::content_coding::{ContentCoding, content_codings};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Maximum number of codings that are applied in a row.
const MAX_CODINGS: usize = 4;
const BROKEN: &str = "has a broken content coding";
const UNKNOWN: &str = "has a content coding that is not understood";

/// A decoded body, or its first part.
pub(super) struct Decoded {
    pub(super) body: Zeroizing<Vec<u8>>,
    /// The reason why the rest is missing.
    pub(super) incomplete: Option<&'static str>,
}

/// Decodes a body. None if it has no coding. The error completes the sentence "The token endpoint's response".
pub(super) fn decoded(body: &[u8], content_encoding: &str) -> Result<Option<Decoded>, &'static str> {
    let mut codings: Vec<ContentCoding> = content_codings(content_encoding.as_bytes()).collect();
    if codings.is_empty() && body.starts_with(&GZIP_MAGIC) {
        codings.push(ContentCoding::Gzip);
    }
    if codings.len() > MAX_CODINGS {
        return Err("has too many content codings");
    }
    let mut decoded: Option<Decoded> = None;
    for coding in codings.iter().rev() {
        let input = decoded.as_ref().map_or(body, |decoded| &decoded.body);
        let mut next = match coding {
            ContentCoding::Gzip => gunzip(input)?,
            ContentCoding::Deflate => inflate(input)?,
            ContentCoding::Brotli | ContentCoding::Zstd | ContentCoding::Unknown => return Err(UNKNOWN),
        };
        next.incomplete = next.incomplete.or(decoded.and_then(|before| before.incomplete));
        decoded = Some(next);
    }
    Ok(decoded)
}

/// All members of a gzip file (RFC 1952, section 2.2). What follows the last one is ignored.
fn gunzip(mut input: &[u8]) -> Result<Decoded, &'static str> {
    let mut decoded = Decoded { body: Zeroizing::default(), incomplete: None };
    loop {
        let mut member = GzDecoder::new(input);
        decoded.read(&mut member)?;
        input = member.into_inner();
        if decoded.incomplete.is_some() || !input.starts_with(&GZIP_MAGIC) {
            return Ok(decoded);
        }
    }
}

/// `deflate` is the zlib format; some servers send its content alone (RFC 9110, section 8.4.1.2).
fn inflate(input: &[u8]) -> Result<Decoded, &'static str> {
    let mut decoded = Decoded { body: Zeroizing::default(), incomplete: None };
    if decoded.read(&mut ZlibDecoder::new(input)).is_ok() {
        return Ok(decoded);
    }
    decoded.body = Zeroizing::default();
    decoded.read(&mut DeflateDecoder::new(input))?;
    Ok(decoded)
}

impl Decoded {
    /// Appends what a decoder yields, up to the maximum size.
    fn read(&mut self, decoder: &mut impl Read) -> Result<(), &'static str> {
        let mut piece = Zeroizing::new([0; 4096]);
        loop {
            match decoder.read(&mut *piece) {
                Ok(0) => return Ok(()),
                Ok(length) if push(&mut self.body, &piece[..length]) => {}
                Ok(_) => {
                    self.incomplete = Some("is too long");
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.incomplete = Some("is cut");
                    return Ok(());
                }
                Err(_) => return Err(BROKEN),
            }
        }
    }
}

/// Appends bytes, up to the maximum size of an answer. False if some did not fit. No copy of the body stays behind.
pub(in crate::accounts) fn push(body: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) -> bool {
    let fitting = &bytes[..bytes.len().min(MAX_RESPONSE - body.len())];
    let length = body.len() + fitting.len();
    if length > body.capacity() {
        // The vector itself must not grow, since that leaves a copy in memory.
        let mut larger = Zeroizing::new(Vec::with_capacity(length.next_power_of_two().max(16 << 10)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(fitting);
    fitting.len() == bytes.len()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn common_codings_are_decoded() {
        let text = br#"{"access_token":"a","refresh_token":"r"}"#;
        let check = |body: &[u8], coding: &str| {
            let decoded = decoded(body, coding).unwrap().unwrap();
            assert_eq!((&decoded.body[..], decoded.incomplete), (&text[..], None), "{coding}");
        };
        check(&gzip(text), "gzip");
        check(&gzip(text), "X-GZIP");
        check(&gzip(text), "identity, gzip ,");
        check(&gzip(text), "");
        check(&zlib(text), "deflate");
        check(&raw(text), "Deflate");
        check(&gzip(&zlib(text)), "deflate, gzip");
        let members = [gzip(&text[..9]), gzip(&text[9..]), b"more".to_vec()].concat();
        check(&members, "gzip");
        assert!(decoded(text, "identity, Identity").unwrap().is_none());
    }

    #[test]
    fn the_result_of_a_decoding_is_bounded() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < MAX_RESPONSE);
        for (body, coding) in [(bomb.clone(), "gzip"), (gzip(&bomb), "gzip, gzip")] {
            let decoded = decoded(&body, coding).unwrap().unwrap();
            assert_eq!((decoded.body.len(), decoded.incomplete), (MAX_RESPONSE, Some("is too long")));
        }
        assert_eq!(decoded(b"x", "gzip,gzip,gzip,gzip,gzip").err(), Some("has too many content codings"));
    }

    #[test]
    fn a_broken_coding_is_not_used() {
        let mut changed = gzip(b"canary canary");
        let checksum = changed.len() - 8;
        changed[checksum] ^= 1;
        assert_eq!(decoded(&changed, "gzip").err(), Some(BROKEN));
        assert_eq!(decoded(b"canary canary", "gzip").err(), Some(BROKEN));
        assert_eq!(decoded(b"\xff\xff", "deflate").err(), Some(BROKEN));
        let whole = gzip(b"canary canary");
        let cut = decoded(&whole[..whole.len() - 9], "gzip").unwrap().unwrap();
        assert_eq!(cut.incomplete, Some("is cut"));
        for coding in ["br", "zstd", "compress", "none", "utf-8", "gzip, br"] {
            assert_eq!(decoded(b"canary", coding).err(), Some(UNKNOWN), "{coding}");
        }
    }
}
