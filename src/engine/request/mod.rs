//! One request: what pages may send ([`cors`]), routing ([`table`]), rewriting of heads ([`rewrite`]), the order of decisions
//! ([`decide`]), the trace of a request ([`trace_context`]), the record of a finished request ([`access_record`]), replacement
//! of one value in a body ([`splice`]), the judge of a body's model ([`judge`]), the meter of usage ([`meter`]), and limits
//! ([`limits`]).
//!
//! Heads and bound providers in, heads out. Only [`splice`], [`judge`] and [`meter`] see bodies; nothing keeps them.

pub mod cors;
pub mod table;
pub mod rewrite;
pub mod decide;
pub mod trace_context;
mod unmatched;
pub mod access_record;
pub mod splice;
pub mod judge;
pub mod meter;
pub mod limits;
