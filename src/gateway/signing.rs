//! Bodies of signed requests. The signature in the head covers a hash of the body, which therefore is read before anything is
//! sent.
//!
//! It guarantees: bounded memory (`limits.signed_body` for each body, and the worker's bound for all that are read ahead), a
//! deadline for each piece, and turns for other requests while a large body is hashed. Read next: `read_ahead` in `upstream`.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{InFlight, context::RequestContext, relay::send_fault};
use crate::{
    decide::BodyHash,
    fault::{Fault, FaultKind},
    table::Hit,
    upstream::{ReadAhead, Upload},
};

/// The bytes that are hashed in one turn of the task.
const TURN_BYTES: usize = 256 << 10;

/// Reads the whole body.
pub(super) async fn read(
    request: InFlight<'_>,
    hit: &Hit,
    upload: &mut Upload,
    context: &RequestContext,
) -> Result<(), Fault> {
    let limit = hit.provider.signed_body.min(hit.provider.max_body);
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let read = request.worker.upstream.read_ahead(upload, most, hit.endpoint().timeouts.first_byte).await;
    match read.map_err(|error| send_fault(&error, hit, context))? {
        ReadAhead::Whole(_) => Ok(()),
        ReadAhead::TooLarge => Err(too_large(limit)),
        ReadAhead::NoRoom => {
            let message = "Too many bodies of signed requests are held in memory now: try again";
            Err(Fault::new(FaultKind::Overloaded, message))
        }
    }
}

/// The hash of a body that was read.
pub(super) async fn hash(body: Bytes) -> BodyHash {
    let mut hash = Sha256::new();
    for piece in body.chunks(TURN_BYTES) {
        hash.update(piece);
        if piece.len() == TURN_BYTES {
            tokio::task::yield_now().await;
        }
    }
    BodyHash(hash.finalize().into())
}

fn too_large(limit: u64) -> Fault {
    let message = format!(
        "The request is signed, and its body is larger than {limit} bytes, the most that is kept in memory for a signature"
    );
    Fault::new(FaultKind::SignedBodyTooLarge, message)
}
