//! gzip (RFC 1952) in pieces: members one after the other, as many as [`Parts`] allow.

use std::{
    io::{self, Write},
    mem,
};

use flate2::write::GzDecoder;

use super::{Output, Parts, Plain};

pub(super) struct Gzip<P: Plain> {
    member: GzDecoder<Output<P>>,
    members: Parts,
}

impl<P: Plain> Gzip<P> {
    pub(super) fn new(output: Output<P>) -> Self {
        Self { member: GzDecoder::new(output), members: Parts::default() }
    }

    pub(super) fn output(&mut self) -> &mut Output<P> {
        self.member.get_mut()
    }

    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.member.write(bytes)? {
                // The member has ended.
                0 => self.begin()?,
                length => {
                    self.members.passed(length);
                    bytes = &bytes[length..];
                }
            }
        }
        Ok(())
    }

    /// Ends. An error if the member had not ended.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.member.try_finish()
    }

    /// Passes on what was decoded so far.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.member.flush()
    }

    /// Begins the next member.
    fn begin(&mut self) -> io::Result<()> {
        self.member.try_finish()?;
        self.members.begin()?;
        let output = mem::replace(self.member.get_mut(), Output::empty());
        self.member = GzDecoder::new(output);
        Ok(())
    }
}
