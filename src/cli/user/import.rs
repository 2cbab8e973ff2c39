//! `tollgate user add --from FILE.csv`: creates many users. The whole file is checked before the first one is created, and each
//! token is written as soon as its user exists.
//!
//! Read by a parser of its own: common libraries take a quote that is not closed, and text after a closing one, for parts of
//! a name.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, bail, ensure};

use super::{
    super::context::{Context, Report},
    group_name,
};
use crate::{
    accounts::{Actor, AddressNote, DisplayName, NewUser, UserDraft, add_user, remove_user},
    admin::csv_line,
    escape::Lines,
    name::GroupName,
    numbers::counted,
    output,
    store::{DuplicateNames, Store},
    suggest::backticked,
    written::{not_utf8, without_mark},
};

/// The largest file, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The most users of a file.
const MAX_USERS: usize = 10_000;
/// The problems that are shown.
const MAX_SHOWN: usize = 20;
/// The columns. The first one is required.
const COLUMNS: [&str; 3] = ["name", "group", "ip"];

/// A user to create, with the line in the file.
struct Row {
    line: usize,
    name: DisplayName,
    group: Option<GroupName>,
    ip: Option<AddressNote>,
}

/// Creates the users of a file, and writes their tokens as CSV: to the file `out`, which must not exist, or to standard output.
pub(super) async fn run(path: &Path, out: Option<&Path>, context: &Context<'_>) -> anyhow::Result<()> {
    let shown = path.display();
    let text = read(path).with_context(|| format!("failed to read `{shown}`"))?;
    let (rows, problems) = parse(&text);
    refuse(&shown, problems)?;
    ensure!(!rows.is_empty(), "`{shown}` has no user below its first line");
    let store = context.store_or_new().await?;
    refuse(&shown, taken(&rows, &store).await?)?;
    let mut out = Tokens::open(out)?;
    let number = rows.len();
    out.write(["name", "id", "token"])?;
    for (done, row) in rows.into_iter().enumerate() {
        let line = row.line;
        create(row, &mut out, &store).await.with_context(|| {
            format!(
                "{shown}:{line}: created {done} of {}, whose tokens are written; for the rest, remove the lines of those from the file, and run this again with it",
                counted(number, "user")
            )
        })?;
    }
    Report::note(format!("created {}; their tokens are shown this once\n", counted(number, "user")))
        .print_note()
        .context("failed to print")
}

/// The error for a file with problems, by line.
fn refuse(shown: &impl std::fmt::Display, mut problems: Vec<(usize, String)>) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    let number = counted(problems.len(), "problem");
    let mut lines = Lines::one(format_args!("`{shown}` has {number}: no user was created"));
    for (line, problem) in problems.iter().take(MAX_SHOWN) {
        lines.push(format_args!("  {shown}:{line}: {problem}"));
    }
    if let Some(more) = problems.len().checked_sub(MAX_SHOWN).filter(|more| *more > 0) {
        lines.push(format_args!("  and {more} more"));
    }
    Err(lines.into())
}

/// Creates a user, and writes the line. A user whose token cannot be written is removed again.
async fn create(
    Row { line: _, name, group, ip }: Row,
    out: &mut Tokens,
    store: &Store,
) -> anyhow::Result<()> {
    let shown = name.as_str().to_owned();
    let draft = UserDraft { name, ip, group, credentials: None };
    match add_user(store, &Actor::command(), draft, DuplicateNames::Refuse).await? {
        NewUser::Created { id, token } => {
            let Err(lost) = out.write([&*shown, &id.to_string(), token.expose()]) else { return Ok(()) };
            remove_user(store, &Actor::command(), &id).await.with_context(|| {
                format!(
                    "failed to write a token, and to remove its user: `tollgate user remove {id}` does so"
                )
            })?;
            Err(lost.context("failed to write a token, so that its user was removed"))
        }
        NewUser::NameTaken(id) => bail!("a user named `{shown}` exists, with the id {id}"),
        NewUser::OtherKey => bail!("the master key has been replaced meanwhile: try again"),
    }
}

/// Where the tokens go.
enum Tokens {
    /// A new file, which only its owner reads.
    File(File),
    /// Standard output.
    Printed,
}

impl Tokens {
    /// Creates the file, if one is named. One that exists may hold tokens that are shown nowhere else: it is an error.
    fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Printed) };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        Ok(Self::File(
            file.with_context(|| format!("failed to create `{}`: no user was created", path.display()))?,
        ))
    }

    /// Writes a line, and waits until it is on disk.
    fn write<const N: usize>(&mut self, cells: [&str; N]) -> anyhow::Result<()> {
        let mut text = String::new();
        csv_line(&mut text, cells.map(str::to_owned));
        match self {
            Self::File(file) => {
                file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).context("failed to write")
            }
            Self::Printed => {
                output::print(&Lines::split(&text)).and_then(|()| output::sync()).context("failed to print")
            }
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "it has more than {MAX_BYTES} bytes: split it");
    String::from_utf8(bytes).map_err(|error| anyhow::anyhow!("it {}", not_utf8(error.as_bytes())))
}

/// The users of a file, and its problems by line.
fn parse(text: &str) -> (Vec<Row>, Vec<(usize, String)>) {
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    let mut records = records(without_mark(text)).into_iter();
    let columns = match records
        .next()
        .map(|(line, cells)| cells.and_then(|cells| columns(&cells)).map_err(|problem| (line, problem)))
    {
        None => {
            return (rows, vec![(1, format!("it is empty: begin it with the line `{}`", COLUMNS.join(",")))]);
        }
        Some(Err(problem)) => return (rows, vec![problem]),
        Some(Ok(columns)) => columns,
    };
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    for (line, cells) in records {
        match cells.and_then(|cells| row(line, &cells, &columns)) {
            Ok(row) => match lines.insert(row.name.as_str().to_owned(), line) {
                Some(first) => {
                    problems.push((line, format!("`{}` stands in line {first} already", row.name.as_str())));
                }
                None => rows.push(row),
            },
            Err(problem) => problems.push((line, problem)),
        }
    }
    if rows.len() > MAX_USERS {
        problems.push((rows[MAX_USERS].line, format!("a file has at most {MAX_USERS} users: split it")));
    }
    (rows, problems)
}

/// The columns of the first line, by their index in [`COLUMNS`].
fn columns(cells: &[String]) -> Result<Vec<usize>, String> {
    let mut found = Vec::new();
    for cell in cells {
        let name = cell.trim();
        let index = COLUMNS.iter().position(|column| column.eq_ignore_ascii_case(name));
        let index = index.ok_or_else(|| {
            format!(
                "the first line names the columns, and there is no column `{name}`: there are {}",
                backticked(COLUMNS)
            )
        })?;
        if found.contains(&index) {
            return Err(format!("the column `{name}` is there twice"));
        }
        found.push(index);
    }
    if found.contains(&0) {
        Ok(found)
    } else {
        Err("the first line names the columns, and `name` is missing".to_owned())
    }
}

fn row(line: usize, cells: &[String], columns: &[usize]) -> Result<Row, String> {
    if cells.len() != columns.len() {
        return Err(format!("{} instead of {}", counted(cells.len(), "cell"), columns.len()));
    }
    let cell = |column: usize| {
        let at = columns.iter().position(|one| *one == column)?;
        Some(cells[at].trim()).filter(|cell| !cell.is_empty())
    };
    let name = DisplayName::new(cell(0).unwrap_or_default()).map_err(|error| error.to_string())?;
    let group = cell(1).map(group_name).transpose().map_err(|error| format!("`group`: {error}"))?;
    let ip = cell(2).map(AddressNote::new).transpose().map_err(|error| format!("`ip`: {error}"))?;
    Ok(Row { line, name, group, ip })
}

/// The names that users have already.
async fn taken(rows: &[Row], store: &Store) -> anyhow::Result<Vec<(usize, String)>> {
    let known: BTreeMap<String, String> =
        store.users().await?.into_iter().map(|user| (user.name, user.id.to_string())).collect();
    let taken = rows.iter().filter_map(|row| {
        let id = known.get(row.name.as_str())?;
        Some((row.line, format!("a user named `{}` exists, with the id {id}", row.name.as_str())))
    });
    Ok(taken.collect())
}

/// The records of a CSV text (RFC 4180), each with its first line. Empty lines are left out.
fn records(text: &str) -> Vec<(usize, Result<Vec<String>, String>)> {
    let (mut all, mut line) = (Vec::new(), 1);
    let mut rest = text;
    while !rest.is_empty() {
        let begun = line;
        let (record, tail) = record(rest);
        line += rest[..rest.len() - tail.len()].matches('\n').count();
        rest = tail;
        if record.as_ref().is_ok_and(|cells| cells.iter().all(|cell| cell.trim().is_empty())) {
            continue;
        }
        all.push((begun, record));
    }
    all
}

/// The first record, and what follows it.
fn record(text: &str) -> (Result<Vec<String>, String>, &str) {
    let (mut cells, mut rest) = (Vec::new(), text);
    loop {
        let (cell, tail) = if let Some(quoted) = rest.strip_prefix('"') {
            let Some(found) = quoted_cell(quoted) else {
                return (Err("a `\"` is not closed".to_owned()), "");
            };
            found
        } else {
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            (rest[..end].trim_end_matches('\r').to_owned(), &rest[end..])
        };
        cells.push(cell);
        let Some(next) = tail.strip_prefix(',') else { return end_of_record(cells, tail) };
        rest = next;
    }
}

/// The record of these cells, of which `tail` follows the last.
fn end_of_record(cells: Vec<String>, tail: &str) -> (Result<Vec<String>, String>, &str) {
    let tail = tail.strip_prefix('\r').unwrap_or(tail);
    if tail.is_empty() {
        return (Ok(cells), "");
    }
    let Some(next) = tail.strip_prefix('\n') else {
        let after = tail.split_once('\n').map_or("", |(_, after)| after);
        return (Err("text follows the closing `\"` of a cell".to_owned()), after);
    };
    (Ok(cells), next)
}

/// The cell after a `"`, and what follows the closing one.
fn quoted_cell(text: &str) -> Option<(String, &str)> {
    let (mut cell, mut rest) = (String::new(), text);
    loop {
        let (before, after) = rest.split_once('"')?;
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                cell.push('"');
                rest = next;
            }
            None => return Some((cell, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, rows: &[(usize, &str, &str, &str)], problems: &[(usize, &str)]) {
        let (found, wrong) = parse(text);
        let found: Vec<_> = found
            .into_iter()
            .map(|row| {
                let group = row.group.map(|group| group.to_string()).unwrap_or_default();
                let ip = row.ip.map(AddressNote::into_string).unwrap_or_default();
                (row.line, row.name.as_str().to_owned(), group, ip)
            })
            .collect();
        let found: Vec<_> =
            found.iter().map(|(line, name, group, ip)| (*line, &**name, &**group, &**ip)).collect();
        let wrong: Vec<_> = wrong.iter().map(|(line, problem)| (*line, problem.as_str())).collect();
        assert_eq!((&*found, &*wrong), (rows, problems), "{text}");
    }

    #[test]
    fn a_file_becomes_users_or_problems_with_their_lines() {
        check("name\nada\n", &[(2, "ada", "", "")], &[]);
        check(
            "\u{feff}Name,Group\r\nada,team\r\n\r\neve,\r\n",
            &[(2, "ada", "team", ""), (4, "eve", "", "")],
            &[],
        );
        check(
            "ip,name\n10.0.0.1,\"Lovelace, \"\"Ada\"\"\"\n",
            &[(2, "Lovelace, \"Ada\"", "", "10.0.0.1")],
            &[],
        );
        check("name", &[], &[]);
        check("", &[], &[(1, "it is empty: begin it with the line `name,group,ip`")]);
        check(
            "user\nada\n",
            &[],
            &[(
                1,
                "the first line names the columns, and there is no column `user`: there are `name`, `group`, `ip`",
            )],
        );
        check("group\nteam\n", &[], &[(1, "the first line names the columns, and `name` is missing")]);
        check("name,name\n", &[], &[(1, "the column `name` is there twice")]);
        check(
            "name,group\nada\n,x\neve,team\neve,\n",
            &[(4, "eve", "team", "")],
            &[
                (2, "1 cell instead of 2"),
                (3, "a name has 1 to 100 characters"),
                (5, "`eve` stands in line 4 already"),
            ],
        );
        check("name\n\"a\nb\n", &[], &[(2, "a `\"` is not closed")]);
        check(
            "name\n\"a\"b\neve\n",
            &[(3, "eve", "", "")],
            &[(2, "text follows the closing `\"` of a cell")],
        );
    }
}
