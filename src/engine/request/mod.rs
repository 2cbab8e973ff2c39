//! One request: what pages may send ([`cors`]), routing ([`table`]), rewriting of heads ([`rewrite`]), the order of decisions
//! ([`decide`]), and the record of a finished request ([`access_record`]).
//!
//! Heads and bound providers in, heads out; it never sees a body.

pub mod cors;
pub mod table;
pub mod rewrite;
pub mod decide;
pub mod access_record;
