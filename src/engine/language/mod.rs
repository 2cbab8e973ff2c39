//! The language of provider files. TOML texts become documents ([`syntax`]), documents become providers ([`compile`]),
//! and providers are bound to the values of their vars ([`mod@bind`]). Findings are collected as diagnostics.
//!
//! Uses [`base`](crate::base) alone. Knows nothing of requests. Read next: `docs/provider-files.md`.

pub mod generator;
pub mod syntax;
pub mod auth;
pub mod format;
pub mod compile;
pub mod starter;
pub mod bind;
pub mod fields;
pub mod token;
pub mod variables;
pub mod lint;
