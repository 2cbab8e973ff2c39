//! Forms of `application/x-www-form-urlencoded`, piece by piece.
//!
//! It guarantees: linear time; fixed memory; equal results for every way of cutting the bytes. Bytes that such a form never
//! has are refused, so that a form is never JSON, too; so are `;`, which some parsers take for `&`, and broken escapes.

use super::{MAX_KEY, MAX_MODEL, Unjudgeable, findings::Findings, name::hex};

/// The state of a walk.
#[derive(Debug, Default)]
pub(super) struct UrlEncoded {
    part: Part,
    escape: Escape,
    /// The decoded name or value, as far as it is needed.
    text: Vec<u8>,
    at: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Name,
    /// The value of a field that is not needed.
    Skipped,
    /// The value of a node.
    Value(u16),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After `%`.
    Open,
    /// After its first digit.
    High(u8),
}

impl UrlEncoded {
    /// Reads on.
    pub(super) fn feed(&mut self, bytes: &[u8], findings: &mut Findings) -> Result<(), Unjudgeable> {
        for byte in bytes {
            self.byte(*byte, findings)?;
            self.at += 1;
        }
        Ok(())
    }

    /// The end of the form.
    pub(super) fn end(&mut self, findings: &mut Findings) -> Result<(), Unjudgeable> {
        if self.escape != Escape::None {
            return Err(Unjudgeable::Incomplete);
        }
        self.field_ended(findings)
    }

    fn byte(&mut self, byte: u8, findings: &mut Findings) -> Result<(), Unjudgeable> {
        let wrong = || Unjudgeable::NotAForm { at: self.at };
        match (self.escape, byte) {
            (Escape::Open, _) => self.escape = Escape::High(hex(byte).ok_or_else(wrong)?),
            (Escape::High(high), _) => {
                let low = hex(byte).ok_or_else(wrong)?;
                self.escape = Escape::None;
                self.keep(high << 4 | low, findings)?;
            }
            (Escape::None, b'%') => self.escape = Escape::Open,
            (Escape::None, b'+') => self.keep(b' ', findings)?,
            (Escape::None, b'&') => self.field_ended(findings)?,
            (Escape::None, b'=') if self.part == Part::Name => self.name_ended(findings)?,
            (Escape::None, b'"' | b';' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}') => {
                return Err(wrong());
            }
            (Escape::None, b'!'..=b'~') => self.keep(byte, findings)?,
            (Escape::None, _) => return Err(wrong()),
        }
        Ok(())
    }

    fn keep(&mut self, byte: u8, findings: &Findings) -> Result<(), Unjudgeable> {
        match self.part {
            Part::Skipped => return Ok(()),
            Part::Name if self.text.len() == MAX_KEY => return Err(Unjudgeable::LongName),
            Part::Value(node) if self.text.len() == MAX_MODEL => return Err(findings.too_long(node)),
            Part::Name | Part::Value(_) => {}
        }
        self.text.push(byte);
        Ok(())
    }

    fn name_ended(&mut self, findings: &mut Findings) -> Result<(), Unjudgeable> {
        let name = self.decoded()?;
        self.part = findings.field(&name)?.map_or(Part::Skipped, Part::Value);
        Ok(())
    }

    fn field_ended(&mut self, findings: &mut Findings) -> Result<(), Unjudgeable> {
        if self.part == Part::Name {
            // A name without a value. An empty one is none.
            self.name_ended(findings)?;
        }
        if let Part::Value(node) = std::mem::take(&mut self.part) {
            let value = self.decoded()?;
            findings.set(node, &value)?;
        }
        self.text.clear();
        Ok(())
    }

    fn decoded(&mut self) -> Result<String, Unjudgeable> {
        String::from_utf8(std::mem::take(&mut self.text)).map_err(|_| Unjudgeable::NotUtf8 { at: self.at })
    }
}
