//! The arithmetic of limits: what is counted in which window, whether a request passes, and when it would.
//!
//! It guarantees:
//! - Amounts are whole units in 128 bits, and saturate. Nothing overflows or panics, whatever the clock shows.
//! - A request is counted in the window in which it was admitted, also if it ends in another one.
//! - No jump of the clock and no restart resets a window that a counter holds.
//! - With [`Admits::Fits`](terms::Admits::Fits), a window never has more than its amount, apart from what calls use beyond their
//!   reservation.
//!
//! It has no clock, reads no files, and keeps no map: the caller holds one [`Counter`](counter::Counter) for each limit and key.
//!
//! [`call`] selects the limits and rules for a call, [`take`] says what it takes of each, and [`refuse`] words refusals.
//!
//! Read next: [`terms`], then [`counter`] and [`admit`]. [`estimate`] makes reservations, [`warn`] reports thresholds, and
//! [`concurrent`] limits running calls.

pub mod terms;
pub mod counter;
pub mod concurrent;
pub mod admit;
pub mod warn;
pub mod estimate;
pub mod call;
pub mod take;
pub mod refuse;

#[cfg(test)]
mod simulation;
