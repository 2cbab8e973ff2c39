use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

/// Bytes of the texts below, or the number of all decoded bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Probe {
    bytes: Vec<u8>,
    count: u64,
    undecodable: bool,
}

impl Plain for Probe {
    fn bytes(&mut self, bytes: &[u8]) {
        assert!(!self.undecodable, "nothing follows");
        self.count += bytes.len() as u64;
        if self.count < 1 << 20 {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn undecodable(&mut self) {
        self.undecodable = true;
    }
}

const TEXT: &str = "{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}} {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}} {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}} é";
/// [`TEXT`], encoded by Node.js.
const BROTLI: &str = "1b9d00108c84dc44ebed2a863f419c2d55bbacd1ba908cf96f2675528761030e1cf30692c117a261034e380e93f52ce1c2d253d93fa6cb83294fa00bbf13e101";
/// The same with a window beyond RFC 7932.
const LARGE_BROTLI: &str = "115e74024030127213adb7ab18fe0471b654edb246eb4232e6bf99d4491d860d3870cc1b48065f88860d38e1384cd6b3840b4b4f65ff982e0fa63c812efc4e8407";
/// 32 MiB of spaces.
const BROTLI_BOMB: &str = "cfffff7ff82540e2b14020f7fe3ffffffff14b00c4610180eefd3f";
/// `{"usage":1}` with a window of 128 MiB, encoded by zstd.
const LARGE_ZSTD: &str = "28b52ffd04885900007b227573616765223a317da2b2277d";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

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

fn zstd(text: &[u8]) -> Vec<u8> {
    compress_to_vec(text, CompressionLevel::Fastest)
}

fn decoded(coding: &str, encoded: &[u8], piece: usize, complete: bool) -> Probe {
    let mut decoder = Decoder::new(Probe::default());
    decoder.set_coding(coding.as_bytes());
    for piece in encoded.chunks(piece) {
        decoder.decode(piece);
    }
    decoder.finish(complete).unwrap()
}

#[test]
fn codings_are_undone_in_pieces_of_any_size() {
    let check = |coding: &str, encoded: &[u8]| {
        for piece in [1, 2, 3, 7, 64, 1 << 20] {
            let probe = decoded(coding, encoded, piece, true);
            assert!(probe.bytes == TEXT.as_bytes() && !probe.undecodable, "{coding} {piece}: {probe:?}");
        }
    };
    let text = TEXT.as_bytes();
    let (front, back) = text.split_at(40);
    check("", text);
    check("identity, ", text);
    check("gzip", &gzip(text));
    check("identity, X-GZIP", &gzip(text));
    check("gzip", &[gzip(front), gzip(back)].concat());
    check("deflate", &zlib(text));
    check("Deflate", &raw(text));
    check("br", &bytes(BROTLI));
    check("zstd", &zstd(text));
    let skipped = [&b"\x57\x2a\x4d\x18\x03\0\0\0abc"[..], b"\x50\x2a\x4d\x18\0\0\0\0"].concat();
    check("zstd", &[zstd(front), skipped, zstd(back)].concat());
}

#[test]
fn large_answers_are_decoded() {
    let text: Vec<u8> = (0_u32..500_000).flat_map(|number| format!("{number},").into_bytes()).collect();
    for (coding, encoded) in [("gzip", gzip(&text)), ("deflate", raw(&text)), ("zstd", zstd(&text))] {
        let probe = decoded(coding, &encoded, 16 << 10, true);
        assert_eq!((probe.count, probe.undecodable), (text.len() as u64, false), "{coding}");
    }
}

#[test]
fn unknown_and_damaged_codings_are_reported() {
    let check = |coding: &str, encoded: &[u8]| {
        for piece in [1, 1 << 20] {
            let probe = decoded(coding, encoded, piece, true);
            assert!(probe.undecodable, "{coding} {piece}: {probe:?}");
        }
    };
    let text = TEXT.as_bytes();
    for coding in ["compress", "gzip, gzip", "br, gzip", "none", "\u{e9}"] {
        check(coding, &gzip(text));
    }
    for coding in ["gzip", "deflate", "br", "zstd"] {
        check(coding, text);
    }
    let mut changed = gzip(text);
    let checksum = changed.len() - 8;
    changed[checksum] ^= 1;
    check("gzip", &changed);
    check("br", &bytes(LARGE_BROTLI));
    check("zstd", &bytes(LARGE_ZSTD));
    for (coding, encoded) in [("gzip", gzip(text)), ("br", bytes(BROTLI)), ("zstd", zstd(text))] {
        check(coding, &encoded[..encoded.len() - 1]);
    }
}

/// An answer that breaks off has what was decoded so far, and no error of its coding.
#[test]
fn a_cut_answer_keeps_what_it_has() {
    let text: Vec<u8> = (0_u32..50_000).flat_map(|number| format!("{number},").into_bytes()).collect();
    for (coding, encoded) in [("gzip", gzip(&text)), ("deflate", zlib(&text)), ("zstd", zstd(&text))] {
        let probe = decoded(coding, &encoded[..encoded.len() / 2], 1000, false);
        assert!(!probe.undecodable, "{coding}");
        assert!(probe.count > text.len() as u64 / 4, "{coding}: {} of {}", probe.count, text.len());
        assert!(text.starts_with(&probe.bytes), "{coding}");
    }
    for coding in ["gzip", "deflate", "br", "zstd"] {
        assert_eq!(decoded(coding, b"", 1, true), Probe::default(), "{coding}: an answer without a body");
    }
}

#[test]
fn bombs_end_the_decoding() {
    let check = |coding: &str, encoded: &[u8]| {
        let probe = decoded(coding, encoded, 16 << 10, true);
        let limit = FREE_BYTES.max(MAX_RATIO * encoded.len() as u64);
        assert!(probe.undecodable && probe.count <= limit, "{coding}: {} of {limit}", probe.count);
    };
    check("gzip", &gzip(&vec![b' '; 64 << 20]));
    check("deflate", &zlib(&vec![b' '; 64 << 20]));
    check("br", &bytes(BROTLI_BOMB));
    // Runs of 128 KiB, without an end.
    let run = bytes("02001020");
    check("zstd", &[bytes("28b52ffd0068"), run.repeat(100_000)].concat());
    assert!(decoded("gzip", &gzip(&vec![b' '; 1 << 20]), 1 << 20, true).count == FREE_BYTES);
}

#[test]
fn many_small_parts_are_not_read() {
    let (gzip_part, zstd_part) = (gzip(b"x"), zstd(b"x"));
    let skipped = b"\x50\x2a\x4d\x18\0\0\0\0".to_vec();
    for (coding, part) in [("gzip", gzip(b"")), ("gzip", gzip_part), ("zstd", zstd_part), ("zstd", skipped)] {
        for piece in [1, 7, 1 << 20] {
            let few = decoded(coding, &part.repeat(60), piece, true);
            assert!(!few.undecodable, "{coding} {piece}");
            let many = decoded(coding, &part.repeat(1000), piece, true);
            assert!(many.undecodable && many.count < 100, "{coding} {piece}: {}", many.count);
        }
    }
    // Parts that have a size of their own are as many as they like.
    let noise: Vec<u8> =
        (0_u32..1000).flat_map(|number| (number.wrapping_mul(2_654_435_769) >> 7).to_le_bytes()).collect();
    for (coding, part) in [("gzip", gzip(&noise)), ("zstd", zstd(&noise))] {
        let probe = decoded(coding, &part.repeat(200), 16 << 10, true);
        assert_eq!((probe.count, probe.undecodable), (200 * 4000, false), "{coding}");
    }
}
