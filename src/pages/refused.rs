//! The reason why a change was refused, or why nobody knows yet if it was made.

use crate::fault::{Fault, FaultKind};

/// The reason, as a note of a page says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) message: String,
    /// True if the change may have been made: the message says what to do.
    pub(super) is_unsure: bool,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self { is_unsure: fault.kind == FaultKind::ChangeUnconfirmed, message: fault.message.into_owned() }
    }
}

/// A refusal by the page itself.
impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self { message, is_unsure: false }
    }
}
