//! The signals of a serving process, and the meaning of SIGHUP, which is decided at the start:
//!
//! - With a controlling terminal, SIGHUP is its end: the process stops gracefully, as at SIGTERM.
//! - Without one, as in a service, or if the starter had SIGHUP ignored (`nohup`), it reloads the files.
//!
//! Read next: `lifecycle`, which acts on them.

use std::{fs, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The handled signals, from registration on.
pub(super) struct Signals {
    /// SIGHUP, if it reloads.
    pub(super) reload: Option<Signal>,
    pub(super) stop: StopSignals,
}

/// The signals that end the process.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    /// SIGHUP, if it ends the process and has not come yet.
    hangup: Option<Signal>,
}

impl Signals {
    pub(super) fn register() -> io::Result<Self> {
        let stops = hangup_stops(&proc_file("stat"), &proc_file("status"));
        let hangup = signal(SignalKind::hangup())?;
        let (reload, hangup) = if stops { (None, Some(hangup)) } else { (Some(hangup), None) };
        let stop = StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        };
        Ok(Self { reload, stop })
    }
}

impl StopSignals {
    /// Waits for the next signal. Returns its name. SIGHUP counts once: the shell and the system both send it when a
    /// terminal closes, and a second signal would cut running requests.
    pub(super) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        };
        if name == "SIGHUP" {
            self.hangup = None;
        }
        name
    }
}

/// A file about this process; empty if the system has none.
fn proc_file(name: &str) -> String {
    fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

/// True if SIGHUP ends the process, by the texts of `/proc/self/stat` and `/proc/self/status` from before it is handled.
fn hangup_stops(stat: &str, status: &str) -> bool {
    // The name of the program, in brackets, may have spaces. Then come state, parent, group, session and terminal.
    let terminal = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(4));
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    terminal.is_some_and(|terminal| terminal != "0") && ignored.is_some_and(|mask| mask & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_is_not_ignored_ends_the_process() {
        let check = |terminal: &str, ignored: &str, expected: bool| {
            let stat = format!("42 (a ) b) S 1 42 42 {terminal} 42 4194304");
            let status = format!("Name:\ttollgate\nSigIgn:\t{ignored}\nSigCgt:\t0000000000000001\n");
            assert_eq!(hangup_stops(&stat, &status), expected, "{terminal} {ignored}");
        };
        check("34816", "0000000000001000", true);
        check("34816", "0000000000000001", false);
        check("34816", "", false);
        check("0", "0000000000001000", false);
        assert!(!hangup_stops("", ""));
    }
}
