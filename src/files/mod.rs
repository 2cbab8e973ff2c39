//! Provider files from the outside: reads a providers directory, or the copy compiled into the binary, hands the texts to
//! the engine's pipeline, and holds the route table that serves. Hot reload, last good texts and the status document.
//!
//! Also the only place where vars are looked up. It decides nothing about a file: that is [`crate::pipeline`]'s and
//! [`crate::reconcile`]'s. Read next: `reload` for the loop, `state` for what it keeps.

mod keep;
mod live;
mod load;
mod reload;
mod state;
mod status;
mod texts;
mod tree;
mod vars;
mod watch;

pub use live::{Live, ReloadError, served_before};
pub use load::{load, load_with};
pub use reload::{Config, First, Reloader, StartError, start};
pub use status::{Counts, File, Finding, Place, State, Status, Watching};
pub use texts::{Input, Texts};
pub use tree::{BUILT_IN, Hash, MAX_FILE_BYTES, Text, Tree, hash, policy_of, read_text, shown, utf8};
pub use vars::{Prints, Vars, var_value};
