//! tollgate's engine: the pure half. Texts of provider files become a route table; a request's head and that table
//! become a decision and an upstream request.
//!
//! It guarantees: no IO, no clock, no randomness, no logging, no runtime. `Cargo.toml` enforces this for crates,
//! `clippy.toml` for `std`. A module depends only on modules listed above it in this file; `tests/house` checks it.
//!
//! Read next: [`pipeline`] for files, [`request`] for requests, `docs/architecture.md` for the whole.

pub mod base;
pub mod language;
pub mod request;
pub mod tools;
pub mod pipeline;

#[cfg(test)]
mod shipped;
