//! The boundaries of frames in a stream of bytes (RFC 6455, section 5.2), and the code of a close frame.
//!
//! It reads headers alone, and the first two bytes of a close frame. It checks nothing: the peer does, and sees every byte.

/// The longest header: two bytes, a length of eight, a mask of four.
const MAX_HEADER: usize = 14;
/// The opcode of a close frame.
const CLOSE: u8 = 8;

/// A close frame that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// Its code; none if it has none (1005 in RFC 6455, section 7.4.1).
    pub code: Option<u16>,
}

/// The position in a stream of frames.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    header: [u8; MAX_HEADER],
    /// Bytes of the header that have passed.
    known: usize,
    /// Bytes of the payload that are still to come. The header is complete then, or the frame is over.
    rest: u64,
    /// The first bytes of a close frame's payload, unmasked, and their number.
    code: ([u8; 2], usize),
    close: Option<Close>,
    count: u64,
}

impl Frames {
    /// Passes over bytes.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, after)) = bytes.split_first() {
            if self.rest > 0 {
                let content = usize::try_from(self.rest).unwrap_or(usize::MAX).min(bytes.len());
                self.payload(&bytes[..content]);
                self.rest -= content as u64;
                bytes = &bytes[content..];
            } else {
                self.header[self.known] = *first;
                self.known += 1;
                bytes = after;
                if self.known < self.header_len() {
                    continue;
                }
                self.rest = self.payload_len();
                self.code = ([0; 2], 0);
            }
            if self.rest == 0 {
                self.end();
            }
        }
    }

    /// True if another frame may begin here.
    pub fn is_between(&self) -> bool {
        self.known == 0
    }

    /// Bytes to the end of the frame, as far as its header says it; at least 1.
    pub fn rest(&self) -> usize {
        let header = self.header_len().saturating_sub(self.known);
        if self.rest > 0 { usize::try_from(self.rest).unwrap_or(usize::MAX) } else { header.max(1) }
    }

    /// The first close frame that has passed whole.
    pub fn close(&self) -> Option<Close> {
        self.close
    }

    /// The frames that have passed whole.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The length of the header, as far as its first two bytes say it.
    fn header_len(&self) -> usize {
        if self.known < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.is_masked() { 4 } else { 0 }
    }

    fn is_masked(&self) -> bool {
        self.header[1] & 0x80 != 0
    }

    fn payload_len(&self) -> u64 {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        match self.header[1] & 0x7f {
            126 => number(&self.header[2..4]),
            127 => number(&self.header[2..10]),
            short => u64::from(short),
        }
    }

    fn payload(&mut self, bytes: &[u8]) {
        if self.header[0] & 0xf != CLOSE {
            return;
        }
        let mask = self.is_masked().then(|| &self.header[self.known - 4..self.known]);
        let (code, known) = &mut self.code;
        for byte in bytes {
            let Some(place) = code.get_mut(*known) else { return };
            *place = byte ^ mask.map_or(0, |mask| mask[*known]);
            *known += 1;
        }
    }

    /// A frame is over.
    fn end(&mut self) {
        if self.header[0] & 0xf == CLOSE {
            let (code, known) = self.code;
            let code = (known == code.len()).then(|| u16::from_be_bytes(code));
            self.close.get_or_insert(Close { code });
        }
        self.count += 1;
        self.known = 0;
    }
}

/// A close frame with a code and a reason of at most 123 bytes. A client masks its frames: with `mask`.
pub fn close_frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let reason = &reason[..reason.floor_char_boundary(123)];
    let payload = code.to_be_bytes().into_iter().chain(reason.bytes());
    let length = u8::try_from(2 + reason.len()).expect("a reason is short");
    let mut frame = vec![0x80 | CLOSE, length | if mask.is_some() { 0x80 } else { 0 }];
    frame.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(payload.enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// A frame with a payload of zeros.
    fn frame(opcode: u8, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(bit | u8::try_from(length).unwrap()),
            126..65_536 => {
                frame.push(bit | 0x7e);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(mask.into_iter().flatten());
        frame.resize(frame.len() + length, 0);
        frame
    }

    #[test]
    fn only_the_end_of_a_frame_is_a_boundary() {
        for mask in [None, Some(MASK)] {
            let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000, 3];
            let frames: Vec<Vec<u8>> = lengths.iter().map(|length| frame(2, *length, mask)).collect();
            let ends = frames.iter().scan(0, |at, frame| {
                *at += frame.len();
                Some(*at)
            });
            let ends: Vec<usize> = ends.collect();
            let stream = frames.concat();
            for piece in [1, 2, 7, 4096, stream.len()] {
                let (mut frames, mut at) = (Frames::default(), 0);
                for bytes in stream.chunks(piece) {
                    frames.pass(bytes);
                    at += bytes.len();
                    assert_eq!(frames.is_between(), at == 0 || ends.contains(&at), "{piece} {at}");
                    assert!(frames.rest() <= ends.iter().find(|end| **end > at).map_or(2, |end| end - at));
                    assert_eq!(frames.count(), ends.iter().filter(|end| **end <= at).count() as u64);
                }
                assert_eq!(frames.close(), None);
            }
        }
    }

    #[test]
    fn the_code_of_a_close_frame() {
        let check = |stream: &[u8], expected: Option<Close>| {
            for piece in 1..=stream.len() {
                let mut frames = Frames::default();
                stream.chunks(piece).for_each(|bytes| frames.pass(bytes));
                assert_eq!(frames.close(), expected, "{stream:?} {piece}");
            }
        };
        for mask in [None, Some(MASK), Some([0; 4])] {
            let code = |code| Some(Close { code: Some(code) });
            check(&close_frame(1000, "", mask), code(1000));
            check(&close_frame(4999, "a reason that is long", mask), code(4999));
            check(&frame(8, 0, mask), Some(Close { code: None }));
            check(&frame(8, 1, mask), Some(Close { code: None }));
            check(&[frame(1, 5, mask), frame(9, 5, mask), close_frame(1001, "", mask)].concat(), code(1001));
            check(&[close_frame(1001, "", mask), close_frame(1002, "", mask)].concat(), code(1001));
            let whole = close_frame(1001, "more", mask);
            check(&whole[..whole.len() - 1], None);
        }
    }

    #[test]
    fn a_length_without_end_is_no_boundary() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]);
        frames.pass(&vec![0; 100_000]);
        assert!(!frames.is_between());
    }

    #[test]
    fn a_reason_has_at_most_123_bytes() {
        let frame = close_frame(1001, &"é".repeat(100), None);
        assert_eq!((frame[1], frame.len()), (124, 126));
    }
}
