//! Other words for commands, as other programs have them. They work like the right ones, and no help shows them.

use clap::Command;

/// Each command, and the other words for its last part.
pub(super) const SYNONYMS: &[(&[&str], &[&str])] = &[
    (&["user"], &["users"]),
    (&["user", "add"], &["create", "new"]),
    (&["user", "list"], &["ls"]),
    (&["user", "change"], &["update", "edit"]),
    (&["user", "remove"], &["delete", "rm"]),
    (&["token"], &["tokens"]),
    (&["token", "add"], &["create", "new"]),
    (&["token", "list"], &["ls"]),
    (&["token", "revoke"], &["delete", "remove", "rm"]),
    (&["credential"], &["credentials"]),
    (&["credential", "set"], &["add", "create"]),
    (&["credential", "list"], &["ls"]),
    (&["credential", "remove"], &["delete", "rm"]),
    (&["audit", "list"], &["ls"]),
];

/// Adds the words to the whole command line.
pub(super) fn add_to(command: Command) -> Command {
    SYNONYMS.iter().fold(command, |command, (path, words)| add(command, path, words))
}

fn add(command: Command, path: &[&'static str], words: &'static [&'static str]) -> Command {
    match path {
        [] => command.aliases(words.iter().copied()),
        [first, rest @ ..] => command.mut_subcommand(first, |one| add(one, rest, words)),
    }
}
