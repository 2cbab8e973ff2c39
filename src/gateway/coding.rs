//! Content codings of a body (RFC 9110, section 8.4.1), undone on a copy for the meter: gzip, deflate, br, zstd.
//!
//! It guarantees: bounded memory, whatever the peer sends (a window of at most 16 MiB); bounded work: beyond
//! [`FREE_BYTES`], a body that expands by more than [`MAX_RATIO`], or to more than [`MAX_BYTES`], is not read further; nor is
//! one of many small [`Parts`]. Only one coding is undone. It never changes what is relayed.
//!
//! Read next: `gzip`; `zstd`, whose library has no decoder that takes pieces; `budget`, for bodies of requests.

mod budget;
mod gzip;
mod zstd;

use std::{
    fmt,
    io::{self, Write},
    mem,
};

use brotli_decompressor::{BrotliDecoderParameter, DecompressorWriter};
use flate2::write::{DeflateDecoder, ZlibDecoder};

use crate::content_coding::{ContentCoding, content_codings};
use gzip::Gzip;
use zstd::Zstd;

pub use budget::Budget;
pub(super) use budget::Room;

/// Decoded bytes to which no ratio applies.
const FREE_BYTES: u64 = 1 << 20;
/// Decoded bytes for each encoded byte.
const MAX_RATIO: u64 = 100;
/// Decoded bytes of a body.
const MAX_BYTES: u64 = 256 << 20;
/// Members of gzip, or frames of zstd, to which no size applies.
const FREE_PARTS: u64 = 64;
/// Encoded bytes for each further one: to begin one costs about as much as to decode these.
const BYTES_PER_PART: u64 = 256;
/// The buffer of the decoder of br, in bytes.
const BUFFER: usize = 4 << 10;

/// Takes decoded bytes.
pub(super) trait Plain {
    /// The next bytes.
    fn bytes(&mut self, bytes: &[u8]);

    /// The coding is unknown or damaged, or expands too far: nothing follows.
    fn undecodable(&mut self);
}

/// Decodes the pieces of a body.
pub(super) struct Decoder<P: Plain>(Coding<P>);

enum Coding<P: Plain> {
    /// None. Of an answer, also before its head is known.
    Identity(P),
    Gzip(Box<Gzip<P>>),
    /// `deflate` is the zlib format; some servers send its content alone. The first byte decides.
    Deflate(Output<P>),
    Zlib(Box<ZlibDecoder<Output<P>>>),
    Raw(Box<DeflateDecoder<Output<P>>>),
    Brotli(Box<DecompressorWriter<Output<P>>>),
    Zstd(Box<Zstd<Output<P>>>),
    /// Nothing is read any more.
    Unread(P),
    /// Between two states.
    Moved,
}

impl<P: Plain> Decoder<P> {
    /// A decoder without a coding.
    pub(super) fn new(plain: P) -> Self {
        Self(Coding::Identity(plain))
    }

    /// Sets the coding that `Content-Encoding` names. Call it before the first byte.
    pub(super) fn set_coding(&mut self, content_encoding: &[u8]) {
        let mut codings = content_codings(content_encoding);
        let Some(first) = codings.next() else { return };
        let coding = if codings.next().is_some() { ContentCoding::Unknown } else { first };
        let Some(mut plain) = self.take() else { return };
        self.0 = match coding {
            ContentCoding::Gzip => Coding::Gzip(Box::new(Gzip::new(Output::new(plain)))),
            ContentCoding::Deflate => Coding::Deflate(Output::new(plain)),
            ContentCoding::Brotli => {
                let mut decoder = DecompressorWriter::new(Output::new(plain), BUFFER);
                // Windows beyond those of RFC 7932 are none of `br`.
                decoder.set_parameter(BrotliDecoderParameter::BROTLI_DECODER_PARAM_LARGE_WINDOW, 0);
                Coding::Brotli(Box::new(decoder))
            }
            ContentCoding::Zstd => Coding::Zstd(Box::new(Zstd::new(Output::new(plain)))),
            ContentCoding::Unknown => {
                plain.undecodable();
                Coding::Unread(plain)
            }
        };
    }

    /// The taker of the decoded bytes.
    pub(super) fn plain(&mut self) -> Option<&mut P> {
        match self.0 {
            Coding::Identity(ref mut plain) | Coding::Unread(ref mut plain) => Some(plain),
            Coding::Gzip(_)
            | Coding::Deflate(_)
            | Coding::Zlib(_)
            | Coding::Raw(_)
            | Coding::Brotli(_)
            | Coding::Zstd(_)
            | Coding::Moved => self.output()?.plain.as_mut(),
        }
    }

    /// Decodes the next bytes.
    pub(super) fn decode(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Coding::Identity(plain) => plain.bytes(bytes),
            Coding::Unread(_) => {}
            Coding::Gzip(_)
            | Coding::Deflate(_)
            | Coding::Zlib(_)
            | Coding::Raw(_)
            | Coding::Brotli(_)
            | Coding::Zstd(_)
            | Coding::Moved => {
                if self.write(bytes).is_err() {
                    self.fail();
                }
            }
        }
    }

    /// Ends. A coding that a body that is `complete` does not end is damaged.
    pub(super) fn finish(mut self, complete: bool) -> Option<P> {
        let has_bytes = self.output().is_some_and(|output| output.encoded > 0);
        let ended = match &mut self.0 {
            Coding::Gzip(decoder) if complete => decoder.finish(),
            Coding::Zlib(decoder) if complete => decoder.try_finish(),
            Coding::Raw(decoder) if complete => decoder.try_finish(),
            Coding::Brotli(decoder) if complete => decoder.close(),
            // What was decoded so far.
            Coding::Gzip(decoder) => decoder.flush(),
            Coding::Zstd(decoder) => decoder.finish(),
            Coding::Zlib(decoder) => decoder.flush(),
            Coding::Raw(decoder) => decoder.flush(),
            Coding::Identity(_)
            | Coding::Deflate(_)
            | Coding::Brotli(_)
            | Coding::Unread(_)
            | Coding::Moved => Ok(()),
        };
        if has_bytes && complete && ended.is_err() {
            self.fail();
        }
        self.take()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Coding::Deflate(output) = &mut self.0 {
            let Some(first) = bytes.first() else { return Ok(()) };
            let output = mem::replace(output, Output::empty());
            // RFC 1950, section 2.2: the method is 8. Deflate has padding there, which is 0 (RFC 1951, section 3.2.4).
            self.0 = if first & 0x0f == 8 {
                Coding::Zlib(Box::new(ZlibDecoder::new(output)))
            } else {
                Coding::Raw(Box::new(DeflateDecoder::new(output)))
            };
        }
        if let Some(output) = self.output() {
            output.encoded += bytes.len() as u64;
        }
        match &mut self.0 {
            Coding::Gzip(decoder) => decoder.write_all(bytes),
            Coding::Zlib(decoder) => decoder.write_all(bytes),
            Coding::Raw(decoder) => decoder.write_all(bytes),
            Coding::Brotli(decoder) => decoder.write_all(bytes),
            Coding::Zstd(decoder) => decoder.write_all(bytes),
            Coding::Identity(_) | Coding::Deflate(_) | Coding::Unread(_) | Coding::Moved => Ok(()),
        }
    }

    fn fail(&mut self) {
        if let Some(mut plain) = self.take() {
            plain.undecodable();
            self.0 = Coding::Unread(plain);
        }
    }

    fn output(&mut self) -> Option<&mut Output<P>> {
        match &mut self.0 {
            Coding::Gzip(decoder) => Some(decoder.output()),
            Coding::Deflate(output) => Some(output),
            Coding::Zlib(decoder) => Some(decoder.get_mut()),
            Coding::Raw(decoder) => Some(decoder.get_mut()),
            Coding::Brotli(decoder) => Some(decoder.get_mut()),
            Coding::Zstd(decoder) => Some(decoder.output()),
            Coding::Identity(_) | Coding::Unread(_) | Coding::Moved => None,
        }
    }

    fn take(&mut self) -> Option<P> {
        if let Some(output) = self.output() {
            return output.plain.take();
        }
        match mem::replace(&mut self.0, Coding::Moved) {
            Coding::Identity(plain) | Coding::Unread(plain) => Some(plain),
            Coding::Gzip(_)
            | Coding::Deflate(_)
            | Coding::Zlib(_)
            | Coding::Raw(_)
            | Coding::Brotli(_)
            | Coding::Zstd(_)
            | Coding::Moved => None,
        }
    }
}

impl<P: Plain> fmt::Debug for Decoder<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Decoder")
    }
}

/// Bounds the number of members or frames by the bytes that they have: many small ones cost far more than their bytes.
#[derive(Debug, Default)]
struct Parts {
    encoded: u64,
    begun: u64,
}

impl Parts {
    /// So many encoded bytes were taken.
    fn passed(&mut self, bytes: usize) {
        self.encoded = self.encoded.saturating_add(bytes as u64);
    }

    /// Begins a further part. An error if there are too many.
    fn begin(&mut self) -> io::Result<()> {
        self.begun = self.begun.saturating_add(1);
        if self.begun > FREE_PARTS + self.encoded / BYTES_PER_PART {
            return Err(io::Error::other("the body has too many small parts"));
        }
        Ok(())
    }
}

/// The end of a decoder: passes decoded bytes on, up to the bounds.
struct Output<P> {
    /// None once it is taken: the decoder is about to be dropped.
    plain: Option<P>,
    encoded: u64,
    decoded: u64,
}

impl<P> Output<P> {
    fn new(plain: P) -> Self {
        Self { plain: Some(plain), encoded: 0, decoded: 0 }
    }

    fn empty() -> Self {
        Self { plain: None, encoded: 0, decoded: 0 }
    }
}

impl<P: Plain> Write for Output<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.decoded += bytes.len() as u64;
        let limit = FREE_BYTES.max(self.encoded.saturating_mul(MAX_RATIO)).min(MAX_BYTES);
        match &mut self.plain {
            Some(plain) if self.decoded <= limit => {
                plain.bytes(bytes);
                Ok(bytes.len())
            }
            _ => Err(io::Error::other("the body expands too far")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
