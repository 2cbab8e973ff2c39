//! The integration suite: the real binary, over real sockets, against an upstream that the test plays.
//!
//! Every exchange is checked completely: an unexpected header fails the test, in both directions.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, here outside of `#[test]` functions too"
)]

mod access_log;
mod accounts;
mod admin;
mod api_admin;
mod api_fields;
mod api_self;
mod api_tools;
mod console_tools;
mod asking;
mod audit;
mod auth_entries;
mod backup;
mod broken;
mod browsers;
mod budget_limits;
mod call_limits;
mod callers;
mod cli;
mod clients;
mod closing;
mod console_accounts;
mod crowd;
mod decision_table;
mod decisions;
mod derived;
mod durability;
mod escaping;
mod exporters;
mod failing_disk;
mod failures;
mod field_kinds;
mod first_commands;
mod first_day;
mod forms;
mod harness;
mod http2;
mod import;
mod import_sources;
mod inputs;
mod isolation;
mod keys;
mod known_callers;
mod lifecycle;
mod limit_files;
mod limits;
mod listener_tls;
mod listing;
mod llemtry;
mod machine;
mod metering;
mod metrics;
mod model_limits;
mod oauth;
mod operating;
mod origins;
mod outgoing_proxy;
mod output;
mod own_tls;
mod overview;
mod overload;
mod own_answers;
mod own_errors;
mod pages;
mod paste;
mod paths;
mod prices;
mod probe;
mod protocol;
mod raw;
mod raw_answers;
mod reloading;
mod reloading_mid_request;
mod reloading_under_load;
mod rewriting;
mod serving;
mod sessions;
mod setup;
mod shipped;
mod signing;
mod streaming;
mod systemd;
mod tokens;
mod tooling_check;
mod tooling_diff;
mod tooling_explain;
mod tooling_fmt;
mod usage_totals;
mod websocket;
mod usage;
