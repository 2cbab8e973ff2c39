//! tollgate: a declarative, data-driven proxy engine for LLM providers.
//!
//! Modules stand in layers; each uses only lower layers and modules listed before it in its own
//! (`docs/architecture.md`; a test holds it).

// L0: words that every layer speaks
pub mod leak;
pub mod diag;
pub mod fault;
pub mod name;
pub mod origin;
pub mod secret;

// L1: pure; no IO, no clock, no randomness, no logging
pub mod spec;
pub mod format;
pub mod compile;
pub mod starter;
pub mod bind;
pub mod fields;
pub mod table;
pub mod rewrite;
pub mod explain;
pub mod filetest;
pub mod lint;
pub mod reconcile;
pub mod ways;
pub mod diff;
pub mod prove;
pub mod exchange;

// L2: the edges
pub mod settings;
pub mod upstream;
pub mod store;
pub mod accounts;
pub mod systemd;
pub mod load;
pub mod live;
pub mod listen;
pub mod mock;
pub mod telemetry;

// L3: the gateway, and the admin API
pub mod admin;
pub mod gateway;

// L4: the outside
pub mod server;
pub mod control;
pub mod cli;

// the rules of the house, as tests
#[cfg(test)]
mod house;
