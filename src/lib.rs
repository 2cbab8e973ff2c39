//! tollgate: a declarative, data-driven proxy engine for LLM providers.
//!
//! This file lists the modules by layer (`floor`), the lowest first. A module depends only on modules of lower layers;
//! `tests/house` checks it. Read next: `docs/architecture.md`.

// The engine: pure. Its rooms are known here by their own names.
pub use tollgate_engine::{
    base::{
        budget, content_coding, day, diag, escape, fault, hex, json_parts, money, name, numbers, origin,
        own_paths, ranking, secret, secret_scan, suggest, usage, websocket, window, written,
    },
    language::{bind, compile, fields, format, generator, lint, starter, syntax, token, variables},
    pipeline,
    request::{
        access_record, cors, decide, judge, limits as call_limits, meter, rewrite, splice, table,
        trace_context,
    },
    tools::{catalogue, client_setup, diff, explain, filetest, import, prove, reconcile, upstream_routes},
};

// floor: the clock
pub mod clock;

// floor: admission control, finished exchanges
pub mod admission;
pub mod recorder;

// floor: standard output and standard error
pub mod output;

// floor: settings
pub mod settings;

// floor: what touches the world
pub mod upstream;
pub mod store;
pub mod systemd;
pub mod telemetry;
pub mod mock;

// floor: the listeners' certificate, accounts, usage, exporters
pub mod listener_tls;
pub mod accounts;
pub mod ledger;
pub mod limits;
pub mod exporters;

// floor: files and the route table that serves
pub mod files;

// floor: figures of the last day
pub mod traffic;

// floor: the API of tollgate itself, metrics
pub mod admin;
pub mod metrics;

// floor: pages
pub mod pages;

// floor: requests
pub mod gateway;

// floor: the process
pub mod server;
pub mod control;

// floor: the command line
pub mod cli;
