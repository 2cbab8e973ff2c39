//! tollgate: a declarative, data-driven proxy engine for LLM providers.
//!
//! Modules stand in layers; each uses only lower layers and modules listed before it in its own
//! (`docs/architecture.md`; a test holds it).

// L0: words that every layer speaks
pub mod fault;
pub mod name;
pub mod origin;
pub mod secret;

// L2: what touches the world
pub mod upstream;
