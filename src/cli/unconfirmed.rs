//! The stored credentials that wait for a confirmation, since a changed file leads them to other hosts: for `status` and
//! `reload`, which report them and exit with a code of their own.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, StatusCode};

use crate::{
    accounts::NewOrigins,
    admin::{ById, UnconfirmedOwner},
    control,
    escape::{self, Lines},
    numbers::counted,
};

/// The exit code of `status` and `reload` if nothing else is wrong.
pub(super) const EXIT_CODE: u8 = 5;
/// The list of owners.
const PATH: &str = "/admin/credentials/unconfirmed";
/// The owners that are counted: 20 pages.
const MAX_PAGES: usize = 20;
/// The credentials that are shown.
const MAX_SHOWN: usize = 20;

/// The credentials that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Of each credential, the owner and the origins.
    found: Vec<(String, String, NewOrigins)>,
    owners: usize,
    /// True if there are more owners than are read.
    more: bool,
}

impl Waiting {
    /// Reads them from the running server. Errors if it cannot look at the store.
    pub(super) async fn read(data: &Path) -> anyhow::Result<Self> {
        let (mut waiting, mut next) = (Self::default(), Some(PATH.to_owned()));
        for _ in 0..MAX_PAGES {
            let Some(path) = next.take() else { return Ok(waiting) };
            let page = control::call_page(data, Method::GET, &path, Bytes::new()).await?;
            anyhow::ensure!(page.status == StatusCode::OK, "the running tollgate answered {}", page.status);
            let ById(owners): ById<UnconfirmedOwner> = serde_json::from_slice(&page.body)
                .context("failed to read the list of the running tollgate")?;
            for (owner, UnconfirmedOwner { name, unconfirmed }) in owners {
                waiting.owners += 1;
                let shown = name.map_or_else(|| owner.clone(), |name| format!("{name} ({owner})"));
                waiting.found.extend(unconfirmed.into_iter().map(|(place, new)| (place, shown.clone(), new)));
            }
            next = page.next;
        }
        waiting.more = next.is_some();
        Ok(waiting)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many there are, whose, and the old and new hosts of each.
    pub(super) fn report(&self) -> Lines {
        let verb = if self.found.len() == 1 { "waits" } else { "wait" };
        let at_least = if self.more { "at least " } else { "" };
        let mut text = Lines::one(format_args!(
            "{at_least}{} of {} {verb} for a confirmation: requests that would send them to a new host are refused until then",
            counted(self.found.len(), "stored credential"),
            counted(self.owners, "owner"),
        ));
        for (place, owner, new) in self.found.iter().take(MAX_SHOWN) {
            let to: Vec<&str> = new.added().collect();
            text.push(format_args!(
                "  `{place}` of {}: stored for {}, leads to {} now",
                escape::value(owner),
                if new.from.is_empty() { "no host".to_owned() } else { new.from.join(", ") },
                to.join(", ")
            ));
        }
        if let Some(more) = self.found.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
            text.push(format_args!("  and {more} more"));
        }
        text.push(format_args!(
            "  help: intended: `tollgate credential confirm OWNER` shows and confirms the new hosts; else put the files back"
        ));
        text
    }
}
