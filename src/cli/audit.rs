//! `tollgate audit`: lists the audit log, and verifies its hash chain.

mod list;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};

use super::context::{Context, Report};
use crate::{clock::utc, numbers::counted, store::HashChain};

/// Entries per read.
const PAGE: u64 = 1000;

/// The arguments of `tollgate audit`.
#[derive(Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// List entries of the audit log, the newest first, or search them
    List(list::ListArgs),
    /// Verify the hash chain from its beginning; exit code 1 if an entry was altered or removed
    ///
    /// A truncated end shows only by comparison with a hash kept elsewhere: an earlier head, or the hash of an entry in the log
    /// of the process.
    Verify {
        /// An earlier printed head, or `seq` and `hash` of a log line, which the log has to contain
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<String>,
    },
}

/// Runs the command.
pub async fn run(args: AuditArgs, context: &Context<'_>) -> anyhow::Result<()> {
    match args.command {
        AuditCommand::List(args) => list::run(&args, context).await,
        AuditCommand::Verify { head } => verify(head.as_deref(), context).await?.print(),
    }
}

async fn verify(head: Option<&str>, context: &Context<'_>) -> anyhow::Result<Report> {
    let head = head.map(parse_head).transpose()?;
    let store = context.store().await?;
    let (mut chain, mut first, mut last) = (HashChain::default(), None, None);
    loop {
        let page = store.audit_page(chain.seq, Some(PAGE)).await?;
        for entry in &page {
            chain.verify(entry)?;
            if let Some((seq, hash)) = &head
                && *seq == entry.seq
            {
                ensure!(*hash == entry.hash, "entry {seq} of the audit log has another hash: it was altered");
            }
            first.get_or_insert(entry.at_ms);
            last = Some(entry.at_ms);
        }
        if page.is_empty() {
            break;
        }
    }
    if chain.seq == 0 {
        ensure!(
            store.users_page(None, Some(1)).await?.is_empty() && store.admin_tokens().await?.is_empty(),
            "the audit log is empty, though there are users or tokens: all of its entries were removed"
        );
    }
    if let Some((seq, _)) = head.filter(|(seq, _)| *seq > chain.seq) {
        bail!("the audit log ends with entry {}: those up to {seq} were cut off", chain.seq);
    }
    let span = first
        .zip(last)
        .map_or_else(String::new, |(first, last)| format!(", from {} to {}", utc(first), utc(last)));
    let note = format!("{}{span}: all unaltered\n", counted(chain.seq, "entry"));
    Ok(Report { out: format!("{}:{}\n", chain.seq, chain.hash), note })
}

fn parse_head(text: &str) -> anyhow::Result<(u64, String)> {
    let (seq, hash) = text.split_once(':').context("`--head` is given as SEQ:HASH")?;
    let seq = seq.parse().ok().context("`--head` begins with the number of an entry")?;
    ensure!(
        hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
        "`--head` ends with a hash of 64 hex digits"
    );
    Ok((seq, hash.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests;
