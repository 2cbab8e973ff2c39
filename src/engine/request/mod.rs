//! One request: routing ([`table`]), rewriting of heads ([`rewrite`]), the order of decisions ([`decide`]), and the record
//! of a finished request ([`access_record`]).
//!
//! Heads and bound providers in, heads out; it never sees a body.

pub mod table;
pub mod rewrite;
pub mod decide;
pub mod access_record;
