//! The command line: one file a command. A command parses its arguments, calls the modules below, and
//! tells a person what happened: results on stdout, everything else on stderr.

pub mod context;
pub mod credential;
pub mod token;
pub mod user;
