//! The checksum of a backup: after the database's last page, a line with the SHA-256 of all before it. `SQLite` ignores what
//! follows the last page.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use sha2::{Digest, Sha256};

use crate::hex;

const PREFIX: &str = "\ntollgate backup sha256 ";
/// The prefix, 64 hex digits and a line end. It is no multiple of a page.
const LENGTH: u64 = PREFIX.len() as u64 + 64 + 1;
/// The field of the database header with the page size: two bytes, big-endian, 1 for 65,536.
/// <https://www.sqlite.org/fileformat.html#page_size>
const PAGE_SIZE_AT: u64 = 16;

/// Appends the checksum to a database.
pub(super) fn append(file: &mut File) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut sha256 = Sha256::new();
    io::copy(file, &mut sha256)?;
    file.seek(SeekFrom::End(0))?;
    writeln!(file, "{PREFIX}{}", hex::encode(&sha256.finalize()))
}

/// The result of a verified copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The checksum is right.
    Good,
    /// There is no checksum: the file is a copy of a database, not one that `back_up` wrote.
    Absent,
    /// The file was changed since it was written.
    Wrong,
    /// The file does not end with a page or a checksum.
    CutOff,
}

/// Copies the database of a backup, without the checksum, and verifies it.
pub(super) fn copy(from: &mut File, to: &mut File) -> io::Result<Verdict> {
    let expected = read(from)?;
    let size = from.metadata()?.len() - expected.as_ref().map_or(0, |_| LENGTH);
    let page = page_size(from)?;
    from.seek(SeekFrom::Start(0))?;
    let mut sha256 = Sha256::new();
    let mut copied = 0;
    let mut buffer = vec![0; 1 << 16];
    let mut database = from.take(size);
    loop {
        let read = database.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        copied += read as u64;
    }
    Ok(match expected {
        Some(expected) if expected == hex::encode(&sha256.finalize()) => Verdict::Good,
        Some(_) => Verdict::Wrong,
        None if copied == size && size.is_multiple_of(page) => Verdict::Absent,
        None => Verdict::CutOff,
    })
}

/// The checksum at the end of a file.
fn read(file: &mut File) -> io::Result<Option<String>> {
    let Some(start) = file.metadata()?.len().checked_sub(LENGTH) else { return Ok(None) };
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(LENGTH).read_to_end(&mut end)?;
    let text = str::from_utf8(&end).ok().and_then(|text| text.strip_prefix(PREFIX));
    Ok(text.and_then(|text| text.strip_suffix('\n')).map(str::to_owned))
}

fn page_size(file: &mut File) -> io::Result<u64> {
    file.seek(SeekFrom::Start(PAGE_SIZE_AT))?;
    let mut field = [0; 2];
    Ok(match file.read_exact(&mut field) {
        // Too short for a database: the inspection says so.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 1,
        read => {
            read?;
            match u64::from(u16::from_be_bytes(field)) {
                0 | 1 => 1 << 16,
                size => size,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 512;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn bytes(file: &mut File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn database() -> Vec<u8> {
        let mut database: Vec<u8> = (0..=255).cycle().take(3 * PAGE).collect();
        database[16..18].copy_from_slice(&[2, 0]);
        database
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let database = database();
        let mut backup = file(&database);
        append(&mut backup).unwrap();
        let backup = bytes(&mut backup);
        let mut restored = file(b"");
        assert_eq!(copy(&mut file(&backup), &mut restored).unwrap(), Verdict::Good);
        assert_eq!(bytes(&mut restored), database);
        for at in 0..backup.len() {
            for bit in 0..8 {
                let mut damaged = backup.clone();
                damaged[at] ^= 1 << bit;
                let verdict = copy(&mut file(&damaged), &mut file(b"")).unwrap();
                assert!(
                    matches!(verdict, Verdict::Wrong | Verdict::CutOff),
                    "byte {at}, bit {bit}: {verdict:?}"
                );
            }
        }
        for length in (0..backup.len()).filter(|length| !length.is_multiple_of(PAGE)) {
            let verdict = copy(&mut file(&backup[..length]), &mut file(b"")).unwrap();
            assert!(length <= 17 || verdict == Verdict::CutOff, "{length} bytes: {verdict:?}");
        }
        assert_eq!(copy(&mut file(&database), &mut file(b"")).unwrap(), Verdict::Absent);
    }
}
