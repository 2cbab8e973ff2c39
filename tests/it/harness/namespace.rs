//! A user and mount namespace for the binary: small, read-only or missing file systems, and kernel limits, without
//! any effect outside. Tests look into a running gateway's namespace through `Gateway::inside` and `Gateway::sh`.

use std::process::{Command, Stdio};

/// The setup of a namespace. Each process started in it gets a new one.
pub struct Namespace {
    set_up: String,
}

impl Namespace {
    /// A namespace that these lines of shell set up, as its root, in the environment of `home`'s commands
    /// (`$TOLLGATE_DATA`, `$TOLLGATE_PROVIDERS`). None, with a line on stderr, if the machine does not allow it.
    pub(super) fn new(home: &Command, set_up: &str) -> Option<Self> {
        let namespace = Self { set_up: format!("set -e\n{set_up}\n") };
        let mut probe = namespace.around(home, "true");
        let probe = probe.stdin(Stdio::null()).output();
        let refused = match probe {
            Ok(output) if output.status.success() => return Some(namespace),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("not tested here, for want of a namespace: {refused}");
        None
    }

    /// A command that runs `program` inside, with `home`'s environment. The process is replaced, not forked, so
    /// signals and the process id are the program's.
    pub(super) fn around(&self, home: &Command, program: &str) -> Command {
        let script = format!("{}exec \"$0\" \"$@\"", self.set_up);
        let mut command = within(home, "unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, program]);
        command
    }
}

/// A command that runs `program` in the namespace of a running process.
pub(super) fn beside(home: &Command, process: u32, program: &str) -> Command {
    let mut command = within(home, "nsenter");
    command.args(["--target", &process.to_string(), "--user", "--mount", "--preserve-credentials", program]);
    command
}

/// Another program, with the environment and the directory of a command.
fn within(home: &Command, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for (name, value) in home.get_envs() {
        command.env(name, value.expect("nothing is only removed"));
    }
    command.current_dir(home.get_current_dir().expect("it has one"));
    command
}
