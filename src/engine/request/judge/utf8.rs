//! UTF-8 piece by piece: whole characters of a stream of bytes.
//!
//! It guarantees: equal characters, and an equal place of an error, for every way of cutting the bytes.

use super::Unjudgeable;

/// The state between two pieces.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The start of a character that was cut.
    cut: [u8; 4],
    /// Its length.
    length: usize,
    /// The bytes before it.
    before: u64,
}

impl Utf8 {
    /// Passes on the characters that are whole, each piece with the place of its first byte.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&str, u64) -> Result<(), Unjudgeable>,
    ) -> Result<(), Unjudgeable> {
        while self.length > 0 {
            let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
            // A character is whole or wrong after four bytes.
            self.cut[self.length] = *first;
            self.length += 1;
            bytes = rest;
            match str::from_utf8(&self.cut[..self.length]) {
                Ok(text) => {
                    take(text, self.before)?;
                    self.before += text.len() as u64;
                    self.length = 0;
                }
                Err(error) if error.error_len().is_some() => {
                    return Err(Unjudgeable::NotUtf8 { at: self.before });
                }
                Err(_) => {}
            }
        }
        let (text, wrong) = match str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let text = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                (text, Some(error.error_len()))
            }
        };
        if !text.is_empty() {
            take(text, self.before)?;
            self.before += text.len() as u64;
        }
        match wrong {
            Some(Some(_)) => Err(Unjudgeable::NotUtf8 { at: self.before }),
            Some(None) => {
                let cut = &bytes[text.len()..];
                self.cut[..cut.len()].copy_from_slice(cut);
                self.length = cut.len();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// True within a character.
    pub(super) fn is_cut(&self) -> bool {
        self.length > 0
    }
}
