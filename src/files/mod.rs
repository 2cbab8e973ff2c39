//! Provider files: reads a directory or the built-in copy, passes the texts to the engine's pipeline, and holds the route
//! table that serves. Hot reload, last good versions, and the status document.
//!
//! It guarantees that a request never waits for a reload, and that a file with errors does not stop a provider that
//! serves. It decides nothing about a file: [`crate::pipeline`] and [`crate::reconcile`] do. No other room looks up vars.
//!
//! Read next: `reload` for the loop, then `state` for one scan.

// Each module uses only those above it.
mod built_in;

mod source_file;
mod staleness;

mod tree;

mod load;
mod status;
mod served;
mod vars;
mod watch;

mod config;
mod scan;

mod log;

mod last_good_dir;

mod compiler;

mod judged;

mod last_good;

mod independent;

mod evaluate;

mod found;

mod describe;

mod state;

mod snapshot;

mod live;

mod change_events;

mod reload;

pub use built_in::{BUILT_IN, provider as built_in_provider, providers as built_in_providers};
pub use config::{Config, InitialDiagnostics, StartError};
pub use found::{Found, RenderedFinding};
pub use last_good_dir::last_good_source;
pub use live::{Live, ReloadError};
pub use load::{load, load_with};
pub use log::findings as log_findings;
pub use reload::{Reloader, start};
pub use served::{ServedFile, ServedFiles};
pub use snapshot::{CheckedText, FilePlace, ServingFiles};
pub use source_file::{MAX_FILE_BYTES, SourceFile, Text, decode_utf8, read_foreign, read_text};
pub use status::{FileState, FileStatus, Finding, RelatedLocation, Status, StatusCounts, Watching};
pub use tree::{SourceTree, policy_of};
pub use vars::var_value;
