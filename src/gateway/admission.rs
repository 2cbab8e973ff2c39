//! Admission of a request: the limits of its caller and of the process, as faults. A request is counted after
//! authentication and authorization, and until its response ends, breaks off or is dropped.
//!
//! Calls of tollgate's own API are not counted: a user at the limit can revoke a token, and the API has its own queues.

use super::Worker;
use crate::{
    accounts::Caller,
    admission::{Cause, ClientConnection, RequestGuard},
    fault::{Fault, FaultKind},
    numbers::counted,
};

/// Refuses a connection that is beyond a limit.
pub(super) fn connection(connection: &ClientConnection) -> Result<(), Fault> {
    connection.refusal().map_or(Ok(()), |cause| Err(fault(cause, None)))
}

/// Counts a request to a provider.
pub(super) fn request(worker: &Worker, caller: &Caller) -> Result<RequestGuard, Fault> {
    worker
        .admission
        .request(caller.token.hash.key(), &caller.token.id, &caller.id)
        .map_err(|refusal| fault(refusal.cause, Some(refusal.limit)))
}

fn fault(cause: Cause, limit: Option<usize>) -> Fault {
    let limit = limit.unwrap_or_default();
    match cause {
        Cause::Token => Fault::new(
            FaultKind::TokenConcurrency,
            format!(
                "This token has {} in progress, its limit: wait until one has ended",
                counted(limit, "request")
            ),
        ),
        Cause::User => Fault::new(
            FaultKind::UserConcurrency,
            format!(
                "You have {} in progress, your limit: wait until one has ended",
                counted(limit, "request")
            ),
        ),
        Cause::Address => Fault::new(
            FaultKind::TooManyConnections,
            "Your address has too many connections here: close some, or reuse them",
        ),
        Cause::Requests | Cause::Connections => Fault::new(
            FaultKind::Overloaded,
            "This tollgate has too much work at the moment: try again later",
        ),
    }
}
