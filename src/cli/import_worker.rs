//! `tollgate import-worker`: imports users of the hosted worker, with their tokens and credentials.

mod dump;

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use zeroize::Zeroizing;

use super::context::{Context, Report, has_no_store};
use crate::{
    accounts::{Actor, ImportedUser, MasterKey, import_user},
    clock::now_ms,
    compile,
    escape::{self, Lines},
    files,
    numbers::counted,
    pipeline::{self, Loaded},
    store::Imported,
    syntax::FieldKind,
    written::{document, not_utf8},
};
use dump::{Dump, PasteLogin};

/// The size limit of a dump.
const MAX_BYTES: u64 = 256 << 20;

/// Import the users of the hosted worker, with their tokens and credentials
///
/// Reads a dump of its key-value store: a JSON list of entries with `key` and `value`, or one object. Nothing is imported if
/// the dump has an error. Each user is imported atomically; existing users are left unchanged, so that a dump can be imported
/// again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dump
    file: PathBuf,
    /// Report what would be imported, and all errors, without importing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub async fn run(args: &Args, context: &Context<'_>) -> anyhow::Result<()> {
    let text = read(&args.file)?;
    let (data, secrets) = (context.places.data()?, context.places.secrets()?);
    let loaded = files::load(&context.places.providers()?).context("failed to read the provider files")?;
    let loaded = Loaded { env_allow: context.places.env_allow()?, ..loaded };
    let assembled = pipeline::assemble(&loaded, |source| files::var_value(source, &secrets));
    let pastes = pastes(&loaded);
    let dump = dump::read(&text, &assembled.table.fields, &pastes, now_ms())?;
    let Dump { users, problems, notes } = dump;
    if !problems.is_empty() {
        let number = counted(problems.len(), "error");
        let mut lines = Lines::one(format_args!("nothing was imported, since the dump has {number}:"));
        for problem in &problems {
            lines.push(format_args!("  {problem}"));
        }
        return Err(lines.into());
    }
    if args.dry_run && has_no_store(&data) {
        let lines = notes.into_iter().map(|note| format!("note: {}\n", escape::value(&note)));
        return Report::note(lines.chain([summary(&users, true)]).collect::<String>()).print();
    }
    let store = context.store_or_new().await?;
    let existing: BTreeSet<_> = store.users().await?.into_iter().map(|user| user.id).collect();
    let mut lines: Vec<String> =
        notes.into_iter().map(|note| format!("note: {}\n", escape::value(&note))).collect();
    for one in users.iter().filter(|one| existing.contains(&one.id)) {
        lines.push(format!("note: users/{}: exists already, and stays unchanged\n", one.id));
    }
    let users: Vec<_> = users.into_iter().filter(|one| !existing.contains(&one.id)).collect();
    if !args.dry_run {
        let key = MasterKey::load_beside(context.keys()?, &data, &store).await;
        let key = key.context("failed to load the master key")?;
        for one in &users {
            let id = &one.id;
            match import_user(&store, &Actor::command(), &key, one).await? {
                Imported::Done => {}
                Imported::Exists => {
                    lines.push(format!("note: users/{id}: was created meanwhile, and stays unchanged\n"));
                }
                Imported::TokenTaken => bail!(
                    "users/{id}: one of the tokens belongs to another user; users before this one in the dump were imported, the others were not"
                ),
                Imported::OtherKey => bail!("the master key has been replaced meanwhile: try again"),
            }
        }
    }
    lines.push(summary(&users, args.dry_run));
    Report::note(lines.concat()).print()
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let shown = path.display();
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).with_context(|| format!("failed to read `{shown}`"))?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("failed to read `{shown}`"))?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "`{shown}` has more than {MAX_BYTES} bytes: it is no dump");
    let text = str::from_utf8(&bytes).map_err(|_| anyhow::anyhow!("`{shown}` {}", not_utf8(&bytes)))?;
    Ok(Zeroizing::new(document(text).to_owned()))
}

/// The providers that issue paste tokens, each with the login that its tokens use.
fn pastes(loaded: &Loaded) -> Vec<PasteLogin> {
    let compiled = compile::compile(&loaded.files);
    let issuers = compiled.providers.into_iter().filter(|one| one.paste_token.is_some());
    let paste = issuers.filter_map(|one| {
        let section = one.section.as_ref()?;
        let login = section.fields.iter().find(|field| field.value.kind == Some(FieldKind::Oauth2))?;
        Some(PasteLogin {
            provider: one.name.clone(),
            section: section.name.clone(),
            field: login.value.name.clone(),
        })
    });
    paste.collect()
}

fn summary(users: &[ImportedUser], dry_run: bool) -> String {
    let sum = |of: fn(&ImportedUser) -> usize| users.iter().map(of).sum::<usize>();
    let counts = [
        counted(sum(|_| 1), "user"),
        counted(sum(|one| one.tokens.len()), "token"),
        counted(sum(|one| one.pastes.len()), "paste token"),
        counted(sum(|one| one.edits.len()), "credential"),
    ];
    let what = if dry_run { "would import" } else { "imported" };
    format!("{what} {}\n", counts.join(", "))
}
