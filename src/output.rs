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

/// Writes a prompt to standard error. What is typed follows on the same line.
pub fn prompt(text: &str) -> io::Result<()> {
    to_stderr(format!("{}: ", escape::value(text)).as_bytes())
}

/// The log's writer to standard error. After an error that cut a line, the next line begins on a line of its own.
#[derive(Debug, Default)]
pub struct LogOutput {
    /// True if the last byte that was written is not a line end.
    is_cut: bool,
}

impl LogOutput {
    /// Writes a line. A line for people is one line, whatever its values hold. Returns the number of lines that were lost.
    pub fn line(&mut self, text: &[u8], is_json: bool) -> u64 {
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'#';
        match text.strip_suffix(b"\n") {
            // Nearly every line: nothing is copied.
            Some(line) if line.iter().all(plain) => self.write_to_stderr(text),
            line => {
                let line = String::from_utf8_lossy(line.unwrap_or(text));
                let line = if is_json { escape::json(&line) } else { escape::line(&line) };
                self.write_to_stderr(format!("{line}\n").as_bytes())
            }
        }
    }

    /// Writes lines. Returns the number of those that were lost.
    pub fn lines(&mut self, lines: &LogLines) -> u64 {
        self.write_to_stderr(lines.text.as_bytes())
    }

    #[expect(clippy::disallowed_methods, reason = "this module owns the standard streams")]
    fn write_to_stderr(&mut self, lines: &[u8]) -> u64 {
        self.write(&mut io::stderr().lock(), lines)
    }

    /// Writes whole lines. Returns the number of those that were not written to their end.
    fn write(&mut self, out: &mut impl io::Write, lines: &[u8]) -> u64 {
        let ends = |text: &[u8]| text.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
        if self.is_cut && write_some(out, b"\n") == 0 {
            return ends(lines);
        }
        let (written, rest) = lines.split_at(write_some(out, lines));
        self.is_cut = !written.is_empty() && !written.ends_with(b"\n");
        // A line that lacks only its end is whole: the next call writes that end.
        ends(rest) - u64::from(self.is_cut && rest.starts_with(b"\n"))
    }
}

/// Writes bytes until an error. Returns the number of those that were written.
fn write_some(out: &mut impl io::Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    written
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

    /// A disk with room for so many bytes.
    struct Disk {
        text: Vec<u8>,
        room: usize,
    }

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let size = bytes.len().min(self.room);
            if size == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= size;
            self.text.extend_from_slice(&bytes[..size]);
            Ok(size)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_are_not_written_are_counted_and_never_glued_to_others() {
        // Each step has the room that is freed before it, its lines, and the number of lost ones.
        let check = |steps: &[(usize, &str, u64)], expected: &str| {
            let (mut log, mut disk) = (LogOutput::default(), Disk { text: Vec::new(), room: 0 });
            for (freed, lines, lost) in steps {
                disk.room += freed;
                assert_eq!(log.write(&mut disk, lines.as_bytes()), *lost, "{steps:?}: {lines:?}");
            }
            assert_eq!(String::from_utf8(disk.text).unwrap(), expected, "{steps:?}");
        };
        check(&[(9, "a1\nb2\nc3\n", 0)], "a1\nb2\nc3\n");
        // Cut within a line, at its end, and before its line end.
        check(&[(4, "a1\nb2\nc3\n", 2), (9, "d4\n", 0)], "a1\nb\nd4\n");
        check(&[(3, "a1\nb2\nc3\n", 2), (9, "d4\n", 0)], "a1\nd4\n");
        check(&[(5, "a1\nb2\nc3\n", 1), (9, "d4\n", 0)], "a1\nb2\nd4\n");
        // While nothing is freed, all are lost; the cut line is ended once.
        check(&[(1, "a1\n", 1), (0, "b2\nc3\n", 2), (0, "d4\n", 1), (9, "e5\n", 0)], "a\ne5\n");
        check(&[(1, "a1\n", 1), (1, "b2\n", 1), (9, "c3\n", 0)], "a\nc3\n");
        check(&[(0, "a1\n", 1), (9, "b2\n", 0)], "b2\n");
    }

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
