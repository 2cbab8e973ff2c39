//! tollgate: a declarative, data-driven proxy engine for LLM providers.
//!
//! Modules stand in layers; each uses only lower layers and modules listed before it in its own
//! (`docs/architecture.md`; a test holds it).

// L0: words that every layer speaks
pub mod fault;
pub mod name;
pub mod origin;
pub mod secret;

// beside the engine: a fake upstream that uses nothing of it
pub mod mock;

// L4: the process
pub mod cli;
