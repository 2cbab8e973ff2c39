//! The reason why a change was refused, or why nobody knows yet if it was made.

use http::StatusCode;

use crate::fault::{Fault, FaultKind};

/// The reason, as a note of a page says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) message: String,
    /// True if the change may have been made: the message says what to do.
    pub(super) is_unsure: bool,
    /// The status of the page.
    pub(super) status: StatusCode,
}

impl Refused {
    /// The status of a page with this outcome.
    pub(super) fn status(refused: Option<&Self>) -> StatusCode {
        refused.map_or(StatusCode::OK, |refused| refused.status)
    }
}

/// The status of a form that is shown again: 422 if the fault is about what was typed, else that of the fault.
pub(super) fn form_status(fault: &Fault) -> StatusCode {
    let is_of_form = fault.kind.status().is_client_error() && !fault.kind.retry_may_help();
    if is_of_form { StatusCode::UNPROCESSABLE_ENTITY } else { fault.kind.status() }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        let is_unsure = fault.kind == FaultKind::ChangeUnconfirmed;
        Self { is_unsure, status: form_status(&fault), message: fault.message.into_owned() }
    }
}

/// A refusal by the page itself: the form contradicts itself, or what is stored.
impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self { message, is_unsure: false, status: StatusCode::UNPROCESSABLE_ENTITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_has_the_status_of_its_cause() {
        for (kind, status, is_unsure) in [
            (FaultKind::InvalidRequest, 422, false),
            (FaultKind::NotFound, 422, false),
            (FaultKind::TooManyTokens, 422, false),
            (FaultKind::TooManyCalls, 429, false),
            (FaultKind::StoreUnavailable, 503, false),
            (FaultKind::ChangeUnconfirmed, 503, true),
        ] {
            let refused = Refused::from(Fault::new(kind, "x"));
            assert_eq!((refused.status.as_u16(), refused.is_unsure), (status, is_unsure), "{kind:?}");
        }
    }
}
