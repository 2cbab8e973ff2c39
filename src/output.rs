//! Standard output and standard error: the only module that writes to them.
//!
//! It guarantees that text for people is escaped ([`Lines`]), and that documents for programs hide no character and hold
//! no command to a CI system. Must not take plain text: each function takes a type that has been escaped. `clippy.toml`
//! and `tests/house` keep other modules from writing.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
};

use rustix::{fs::fsync, io::Errno};
use serde::Serialize;

use crate::escape::{self, Lines};

/// A text for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(String);

impl Document {
    /// An indented JSON document.
    pub fn json(value: &impl Serialize) -> serde_json::Result<Self> {
        Ok(Self::json_text(&format!("{}\n", serde_json::to_string_pretty(value)?)))
    }

    /// A JSON document that exists as a text.
    pub fn json_text(text: &str) -> Self {
        Self(escape::json(text).into_owned())
    }

    /// The text of a file, unchanged: a program or an editor reads it. On a terminal it is shown as lines.
    pub fn file(text: String) -> Self {
        if is_terminal() { Self((*Lines::split(&text)).to_owned()) } else { Self(text) }
    }

    /// GitHub's workflow commands, one line each.
    pub fn workflow_commands(commands: impl IntoIterator<Item = WorkflowCommand>) -> Self {
        Self(commands.into_iter().map(|command| command.0 + "\n").collect())
    }
}

/// A command to GitHub's runner: `::NAME KEY=VALUE,...::MESSAGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowCommand(String);

impl WorkflowCommand {
    /// A command. Values and lines are escaped, also by the runner's own rules.
    pub fn new(name: &'static str, properties: &[(&'static str, String)], message: &[String]) -> Self {
        let properties: Vec<_> =
            properties.iter().map(|(key, value)| format!("{key}={}", property(value))).collect();
        let message: Vec<_> = message.iter().map(|line| data(&escape::line(line))).collect();
        Self(format!("::{name} {}::{}", properties.join(","), message.join("%0A")))
    }
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(&escape::line(text)).replace(':', "%3A").replace(',', "%2C")
}

/// True if standard output is a terminal.
#[expect(clippy::disallowed_methods, reason = "this module owns the standard streams")]
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// True if standard error is a terminal.
#[expect(clippy::disallowed_methods, reason = "this module owns the standard streams")]
pub fn errors_on_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes lines to standard output.
pub fn print(lines: &Lines) -> io::Result<()> {
    to_stdout(lines.as_bytes())
}

/// Writes a document to standard output.
pub fn print_document(document: &Document) -> io::Result<()> {
    to_stdout(document.0.as_bytes())
}

/// Writes lines to standard error.
pub fn note(lines: &Lines) -> io::Result<()> {
    to_stderr(lines.as_bytes())
}

/// Writes one line to standard error.
pub fn note_line(text: fmt::Arguments<'_>) -> io::Result<()> {
    note(&Lines::one(text))
}

/// Writes a line of the log to standard error. A line for people is one line, whatever its values hold.
pub fn log_line(text: &[u8], is_json: bool) -> io::Result<()> {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'#';
    match text.strip_suffix(b"\n") {
        // Nearly every line: nothing is copied.
        Some(line) if line.iter().all(plain) => to_stderr(text),
        line => {
            let line = String::from_utf8_lossy(line.unwrap_or(text));
            let line = if is_json { escape::json(&line) } else { escape::line(&line) };
            to_stderr(format!("{line}\n").as_bytes())
        }
    }
}

/// Whole lines of the log, which are written at once. Each is one line, whatever its values hold.
#[derive(Debug, Default)]
pub struct LogLines {
    text: String,
    count: u64,
}

impl LogLines {
    /// Adds a line for people.
    pub fn push_text(&mut self, line: &str) {
        self.push(&escape::line(line));
    }

    /// Adds a line that is a JSON document.
    pub fn push_json(&mut self, line: &str) {
        self.push(&escape::json(line));
    }

    fn push(&mut self, line: &str) {
        self.text.extend([line, "\n"]);
        self.count += 1;
    }

    /// True if there is no line.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of lines.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their size in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }
}

/// Writes lines of the log to standard error.
pub fn log_lines(lines: &LogLines) -> io::Result<()> {
    to_stderr(lines.text.as_bytes())
}

/// Waits until standard output is on the disk, if it is a file: some file systems report a full disk only here. Pipes and
/// terminals cannot be synced.
#[expect(clippy::disallowed_methods, reason = "this module owns the standard streams")]
pub fn sync() -> io::Result<()> {
    match fsync(io::stdout()) {
        Err(Errno::INVAL | Errno::ROFS | Errno::NOTSUP) => Ok(()),
        synced => Ok(synced?),
    }
}

#[expect(clippy::disallowed_methods, reason = "this module owns the standard streams")]
fn to_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

#[expect(clippy::disallowed_methods, reason = "this module owns the standard streams")]
fn to_stderr(bytes: &[u8]) -> io::Result<()> {
    io::stderr().lock().write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflow_commands_are_escaped() {
        let command = WorkflowCommand::new(
            "error",
            &[("file", "a:b,c%\n".into()), ("line", "3".into())],
            &["50%\r\nis: a, b".into(), "::stop-commands::x ##[y]".into()],
        );
        let expected = "::error file=a%3Ab%2Cc%25\\n,line=3::50%25\\r\\nis: a, b%0A\\u{3a}:stop-commands::x \\u{23}#[y]\n";
        assert_eq!(Document::workflow_commands([command]).0, expected);
    }
}
