//! Provider files from the outside: reads a providers directory, or the copy compiled into the binary, hands the texts to
//! the engine's pipeline, and holds the route table that serves. Hot reload, last good texts and the status document.
//!
//! Also the only place where vars are looked up. It decides nothing about a file: that is [`crate::pipeline`]'s and
//! [`crate::reconcile`]'s. Read next: `reload` for the loop, `state` for what it keeps.

// Each module uses only those above it.
mod source_file;

mod tree;

mod load;
mod status;
mod texts;
mod vars;
mod watch;

mod config;
mod scan;

mod log;

mod keep;

mod compiler;

mod last_good;

mod evaluate;

mod describe;

mod state;

mod live;

mod events;

mod reload;

pub use config::{Config, First, StartError};
pub use keep::served_before;
pub use live::{Live, ReloadError};
pub use load::{load, load_with};
pub use log::finding as log_finding;
pub use reload::{Reloader, start};
pub use source_file::{MAX_FILE_BYTES, Text, read_text, utf8};
pub use status::{Counts, File, Finding, Place, State, Status, Watching};
pub use texts::{Input, Texts};
pub use tree::{Tree, policy_of};
pub use vars::{Vars, var_value};
