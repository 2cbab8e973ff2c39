//! Zstandard (RFC 8878) in pieces. The library decodes whole blocks; this finds their ends, and keeps one block at most.
//!
//! It guarantees: at most 128 KiB of a block and a window of 8 MiB, the limit of the content coding (RFC 9659). Checksums are
//! not verified.

use std::io::{self, Read, Write};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::Parts;

const MAX_WINDOW: u64 = 8 << 20;
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The largest block, in bytes: RFC 8878, section 3.1.1.2.
const MAX_BLOCK: usize = 128 << 10;
/// Decoded bytes that are passed on at once.
const PIECE: usize = 8 << 10;

pub(super) struct Zstd<W> {
    decoder: FrameDecoder,
    output: W,
    /// Bytes of the next unit, which is not complete.
    pending: Vec<u8>,
    next: Unit,
    frames: Parts,
}

/// The unit that is expected next.
#[derive(Debug, Clone, Copy)]
enum Unit {
    FrameHead,
    Block {
        /// The frame ends with a checksum.
        has_checksum: bool,
    },
    Checksum,
    /// The rest of a frame that is to be skipped.
    Skipped(usize),
}

impl<W: Write> Zstd<W> {
    pub(super) fn new(output: W) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW);
        Self { decoder, output, pending: Vec::new(), next: Unit::FrameHead, frames: Parts::default() }
    }

    pub(super) fn output(&mut self) -> &mut W {
        &mut self.output
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut rest = &pending[..];
        while let Some(length) = self.unit(rest)?.filter(|length| *length <= rest.len()) {
            let (unit, after) = rest.split_at(length);
            self.take(unit)?;
            rest = after;
        }
        let used = pending.len() - rest.len();
        pending.drain(..used);
        self.pending = pending;
        Ok(())
    }

    /// Ends. The library keeps a window of decoded bytes until the frame ends: an empty last block makes it pass them on. An
    /// error if the frame had not ended.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self.next {
            Unit::FrameHead if self.pending.is_empty() => return Ok(()),
            Unit::Block { has_checksum } => self.decode(&[1, 0, 0], has_checksum)?,
            Unit::FrameHead | Unit::Checksum | Unit::Skipped(_) => {}
        }
        Err(damaged())
    }

    /// The length of the next unit. None if these bytes do not say, or if there is none.
    fn unit(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        Ok(match self.next {
            _ if bytes.is_empty() => None,
            Unit::FrameHead => frame_head(bytes)?,
            Unit::Block { .. } => match block(bytes) {
                Some((_, content)) if content > MAX_BLOCK => return Err(damaged()),
                Some((_, content)) => Some(3 + content),
                None => None,
            },
            Unit::Checksum => Some(4),
            Unit::Skipped(left) => Some(left.min(bytes.len())),
        })
    }

    /// Takes one whole unit.
    fn take(&mut self, unit: &[u8]) -> io::Result<()> {
        if let Unit::FrameHead = self.next {
            self.frames.begin()?;
        }
        self.frames.passed(unit.len());
        self.next = match self.next {
            Unit::FrameHead if is_skippable(unit) => {
                let length = unit.get(4..8).and_then(|length| length.try_into().ok()).ok_or_else(damaged)?;
                skipped(usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?)
            }
            Unit::FrameHead => {
                self.decoder.reset(unit).map_err(io::Error::other)?;
                Unit::Block { has_checksum: unit[4] & 0b100 != 0 }
            }
            Unit::Block { has_checksum } => {
                self.decode(unit, has_checksum)?;
                match block(unit) {
                    Some((true, _)) if has_checksum => Unit::Checksum,
                    Some((true, _)) => Unit::FrameHead,
                    _ => Unit::Block { has_checksum },
                }
            }
            Unit::Checksum => Unit::FrameHead,
            Unit::Skipped(left) => skipped(left - unit.len()),
        };
        Ok(())
    }

    /// Decodes one block, and passes on what the window does not need.
    fn decode(&mut self, block: &[u8], has_checksum: bool) -> io::Result<()> {
        // The library reads the checksum with the last block, and does not compare it.
        let source = block.chain(if has_checksum { &[0; 4][..] } else { &[] });
        let one = BlockDecodingStrategy::UptoBlocks(1);
        self.decoder.decode_blocks(source, one).map_err(io::Error::other)?;
        let mut piece = [0; PIECE];
        loop {
            match self.decoder.read(&mut piece)? {
                0 => return Ok(()),
                length => self.output.write_all(&piece[..length])?,
            }
        }
    }
}

fn skipped(left: usize) -> Unit {
    if left == 0 { Unit::FrameHead } else { Unit::Skipped(left) }
}

fn is_skippable(head: &[u8]) -> bool {
    head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18]
}

/// The length of a frame's head: RFC 8878, section 3.1.1.1. For a frame to be skipped, of its magic number and size.
fn frame_head(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(descriptor) = bytes.get(4) else { return Ok(None) };
    if is_skippable(bytes) {
        return Ok(Some(8));
    }
    if bytes[..4] != MAGIC {
        return Err(damaged());
    }
    let single_segment = descriptor & 0x20 != 0;
    let window = usize::from(!single_segment);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_size = match descriptor >> 6 {
        0 => usize::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    Ok(Some(5 + window + dictionary + content_size))
}

/// The head of a block: true if it is the last, and the bytes of its content here. RFC 8878, section 3.1.1.2.
fn block(bytes: &[u8]) -> Option<(bool, usize)> {
    let head = bytes.first_chunk::<3>()?;
    let head = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    let is_run = head >> 1 & 3 == 1;
    let size = usize::try_from(head >> 3).ok()?;
    Some((head & 1 == 1, if is_run { 1 } else { size }))
}

fn damaged() -> io::Error {
    io::Error::other("the body is no zstd")
}
