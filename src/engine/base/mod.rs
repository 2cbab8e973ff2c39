//! Base: the values that every room shares. Names, origins, secrets, faults for clients, diagnostics for authors of
//! files. Uses nothing else of the engine.

pub mod header_name;
pub mod hex;
pub mod secret_scan;
pub mod suggest;
pub mod diag;
pub mod fault;
pub mod name;
pub mod numbers;
pub mod origin;
pub mod own_paths;
pub mod secret;
