//! Numbers of JSON.

use super::{Json, MAX_DIGITS, Piece, State, Use};
use crate::request::judge::{Unjudgeable, findings::Findings};

/// The part of a number that was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing.
    Start,
    Minus,
    /// The zero of the whole part.
    Zero,
    Whole,
    Point,
    Fraction,
    /// `e`.
    Exponent,
    /// The sign of the exponent.
    Sign,
    Power,
}

impl Stage {
    pub(super) const START: Self = Self::Start;

    /// The stage after a further byte of the number. None if it does not belong to it.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Start, b'-') => Self::Minus,
            (Self::Start | Self::Minus, b'0') => Self::Zero,
            (Self::Start | Self::Minus | Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::Sign,
            (Self::Exponent | Self::Sign | Self::Power, b'0'..=b'9') => Self::Power,
            _ => return None,
        })
    }

    /// True if a number may end here.
    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Power)
    }
}

impl Json {
    /// Reads on in a number. The byte after it is left.
    pub(super) fn number(
        &mut self,
        mut stage: Stage,
        piece: Piece<'_>,
        from: usize,
        findings: &mut Findings,
    ) -> Result<usize, Unjudgeable> {
        let mut at = from;
        while let Some(next) = piece.text.as_bytes().get(at).and_then(|byte| stage.after(*byte)) {
            stage = next;
            at += 1;
        }
        self.state = State::Number(stage);
        let node = if let Use::Value(node) = self.used { Some(node) } else { None };
        if node.is_some() {
            self.keep(&piece.text[from..at], MAX_DIGITS);
        }
        if at == piece.text.len() {
            return Ok(at);
        }
        if !stage.is_whole() {
            return Err(piece.not_json(at));
        }
        if let Some(node) = node {
            if self.is_long {
                return Err(findings.wrong_type(node));
            }
            findings.set(node, &self.text)?;
        }
        self.value_ended();
        Ok(at)
    }
}
