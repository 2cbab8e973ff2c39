//! Values that every room shares: names, origins, secrets, faults for clients, diagnostics for authors of files.
//!
//! Uses nothing else of the engine. Read next: [`diag`], [`fault`].

pub mod header_list;
pub mod header_name;
pub mod content_coding;
pub mod escape;
pub mod hex;
pub mod secret_scan;
pub mod suggest;
pub mod time;
pub mod written;
pub mod diag;
pub mod budget;
mod currencies;
pub mod day;
pub mod fault;
pub mod json_parts;
pub mod money;
pub mod name;
pub mod numbers;
pub mod ranking;
pub mod origin;
pub mod own_paths;
pub mod secret;
pub mod usage;
pub mod websocket;
pub mod window;
