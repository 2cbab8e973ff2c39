//! The real binary: its data and provider directories, its command line, and a running `serve`. The port is read
//! from the log, which is shown if a test fails.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::unix::{
        fs::chown,
        net::UnixStream,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    namespace::{Namespace, beside},
    wire::LIMIT,
};

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate");

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(BINARY)
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A data directory and a directory of provider files.
pub struct Home {
    dir: TempDir,
    providers: PathBuf,
    /// The user that runs the commands, if not the one that runs the tests.
    user: Option<u32>,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit code; if a signal ended it, the signal's negative number.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// The providers of `Home::shipped`.
const SHIPPED: [&str; 14] = [
    "anthropic",
    "cohere",
    "deepseek",
    "fireworks",
    "groq",
    "minimax",
    "mistral",
    "moonshot",
    "openai",
    "openai-codex",
    "openrouter",
    "perplexity",
    "together",
    "xai",
];

impl Home {
    /// With the test's own provider files: name (a path below the directory, without `.toml`) and text.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("the temporary directory is writable");
        let home = Self { providers: dir.path().join("providers.d"), dir, user: None };
        fs::create_dir(&home.providers).expect("the directory is ours");
        for (name, text) in files {
            home.write(name, text);
        }
        home
    }

    /// With the shipped files of the providers that have most users, unchanged. `tests/catalogue` has all.
    pub fn shipped() -> Self {
        let home = Self::new(&[]);
        for name in SHIPPED {
            let text = fs::read_to_string(root().join(format!("providers.d/{name}.toml")));
            home.write(name, &text.expect("the file is shipped"));
        }
        home
    }

    /// Runs commands as an unprivileged user, who owns all of this.
    pub fn without_rights(mut self) -> Self {
        const NOBODY: u32 = 65534;
        if rustix::process::geteuid().is_root() {
            for path in [self.dir.path(), &self.providers] {
                chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
            }
            self.user = Some(NOBODY);
        }
        self
    }

    /// Writes or replaces a provider file.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.providers.join(format!("{name}.toml"));
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("the directory is ours");
        fs::write(path, text).expect("the directory is ours");
    }

    /// The path of a file of limits.
    pub fn limits(&self, name: &str) -> PathBuf {
        self.path("limits.d").join(format!("{name}.toml"))
    }

    /// Writes or replaces a file of limits.
    pub fn write_limits(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path("limits.d")).expect("the directory is ours");
        fs::write(self.limits(name), text).expect("the directory is ours");
    }

    /// A path below the temporary directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The provider directory.
    pub fn providers(&self) -> &Path {
        &self.providers
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn command(&self) -> Command {
        self.command_of(BINARY)
    }

    fn command_of(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // Only the test's environment: neither keys nor settings of the developer.
        command.env_clear().current_dir(self.dir.path());
        command.env("TOLLGATE_PROVIDERS", &self.providers).env("TOLLGATE_DATA", self.data());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs a command to its end, with environment variables.
    pub fn run_with(&self, args: &[&str], env: &[(&str, &str)], stdin: &str) -> CommandOutput {
        let mut command = self.command();
        command.envs(env.iter().copied());
        run(command, args, stdin)
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str], stdin: &str) -> CommandOutput {
        run(self.command(), args, stdin)
    }

    /// The same, where no setting names a providers directory.
    pub fn run_without_providers(&self, args: &[&str]) -> CommandOutput {
        let mut command = self.command();
        command.env_remove("TOLLGATE_PROVIDERS");
        run(command, args, "")
    }

    /// Starts a command. The test waits for its end or causes it.
    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("the binary runs")
    }

    /// Runs statements on the database; see [`database`].
    pub fn database(&self, statements: &'static str) -> String {
        database(&self.data().join("tollgate.db"), statements)
    }

    /// Every non-empty file of the store in the data directory, and its bytes; without locks and shared memory.
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        const TALK: [&str; 3] = ["serve.lock", "setup.lock", "tollgate.db-shm"];
        let mut files = self.files();
        let last_good = self.data().join("last-good");
        let talk = |path: &Path| TALK.iter().any(|name| path.ends_with(name)) || path.starts_with(&last_good);
        files.retain(|path, bytes| !bytes.is_empty() && !talk(path));
        files
    }

    /// Every file in the data directory, and its bytes.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut found, mut open) = (BTreeMap::new(), vec![self.data()]);
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).expect("it is there") {
                let path = entry.expect("it is readable").path();
                let kind = path.symlink_metadata().map(|found| found.file_type());
                match kind {
                    Ok(kind) if kind.is_dir() => open.push(path),
                    Ok(kind) if kind.is_file() => {
                        let bytes = fs::read(&path).expect("it is readable");
                        found.insert(path, bytes);
                    }
                    // A socket, or gone meanwhile.
                    Ok(_) | Err(_) => {}
                }
            }
        }
        found
    }

    /// Runs a command to its end, after lines of shell such as `ulimit`.
    pub fn run_after(&self, lines: &str, args: &[&str]) -> CommandOutput {
        let lines = format!("{lines} && exec \"$0\" \"$@\"");
        run(self.command_of("/bin/sh"), &[&["-c", &lines, BINARY], args].concat(), "")
    }

    /// Runs a command to its end in this address space, in KiB, and this time of a processor, in seconds: a signal ends one that
    /// needs more.
    pub fn run_within(&self, kib: u32, seconds: u32, args: &[&str]) -> CommandOutput {
        self.run_after(&format!("ulimit -v {kib}; ulimit -t {seconds}"), args)
    }

    /// Runs a command to its end, with a pipe as its standard output that nobody reads.
    pub fn run_unread(&self, args: &[&str]) -> CommandOutput {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let output = self.command().args(args).stdin(Stdio::null()).stdout(writer).output();
        command_output(output.expect("the binary runs"))
    }

    /// A namespace for `run_in` and `serve_in`. None if the machine does not allow it; see [`Namespace::new`].
    pub fn namespace(&self, set_up: &str) -> Option<Namespace> {
        Namespace::new(&self.command(), set_up)
    }

    /// Runs a command to its end in a namespace of its own.
    pub fn run_in(&self, namespace: &Namespace, args: &[&str], stdin: &str) -> CommandOutput {
        run(namespace.around(&self.command(), BINARY), args, stdin)
    }

    /// Runs a command to its end in the namespace of a running gateway.
    pub fn run_beside(&self, gateway: &Gateway, args: &[&str], stdin: &str) -> CommandOutput {
        run(beside(&self.command(), gateway.child.id(), BINARY), args, stdin)
    }

    /// Runs lines of shell in the namespace of a running gateway, as its root. They must succeed.
    pub fn sh_beside(&self, gateway: &Gateway, lines: &str) -> String {
        let said = run(beside(&self.command(), gateway.child.id(), "sh"), &["-ec", lines], "");
        assert_eq!(said.code, 0, "{lines}: {said:?}");
        said.out
    }

    /// Runs a command without input as another user; only root can do so. None if that user may not execute the
    /// binary, whose path depends on the repository's.
    pub fn run_as(&self, uid: u32, args: &[&str]) -> Option<CommandOutput> {
        match self.command().args(args).uid(uid).gid(uid).stdin(Stdio::null()).output() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("skipped: uid {uid} may not run {BINARY}");
                None
            }
            output => Some(command_output(output.expect("the binary runs"))),
        }
    }

    /// Runs a command that must succeed. Returns its standard output.
    pub fn done(&self, args: &[&str], stdin: &str) -> String {
        let said = self.run(args, stdin);
        assert_eq!(said.code, 0, "tollgate {args:?}: {said:?}");
        said.out
    }

    /// Creates a user. Returns the token.
    pub fn user(&self, name: &str) -> String {
        let out = self.done(&["user", "add", name], "");
        let token = out.strip_suffix('\n').expect("a token and a line end");
        assert!(!token.is_empty() && !token.contains(char::is_whitespace), "`{out}` is not a token alone");
        token.to_owned()
    }

    /// Stores a credential of a user.
    pub fn credential(&self, user: &str, place: &str, secret: &str) {
        self.done(&["credential", "set", user, place], secret);
    }

    /// Starts `serve`, and waits until it listens.
    pub fn serve(&self, args: &[&str]) -> Gateway {
        self.serve_with(args, &[])
    }

    /// The same, with environment variables.
    pub fn serve_with(&self, args: &[&str], env: &[(&str, &str)]) -> Gateway {
        let mut gateway = self.start(args, env);
        gateway.listens();
        gateway
    }

    /// Starts `serve` without waiting. An empty variable is not set.
    pub fn start(&self, args: &[&str], env: &[(&str, &str)]) -> Gateway {
        // As a service: at a terminal of the developer's, SIGHUP would end it.
        let mut command = self.command_of("/bin/sh");
        command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", BINARY]);
        for (name, value) in env {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        started(command, args)
    }

    /// Starts `serve` at a terminal of its own, and waits until it listens. Its process is that of the terminal, which `close`
    /// ends.
    pub fn serve_at_terminal(&self, before: &str) -> Gateway {
        let line =
            format!("{before} exec {BINARY} serve --log-format json --listen 127.0.0.1:0 --workers 1 2>&3");
        let mut command = self.command_of("/bin/sh");
        command.args(["-c", "exec 3>&2; exec script -qec \"$0\" /dev/null", &line]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut gateway = Gateway::start(command);
        gateway.listens();
        gateway
    }

    /// Runs a command in another working directory, without a named data directory.
    pub fn run_elsewhere(&self, dir: &Path, args: &[&str], env: &[(&str, &str)]) -> CommandOutput {
        let mut command = self.command();
        command.env_remove("TOLLGATE_DATA").current_dir(dir).envs(env.iter().copied());
        run(command, args, "")
    }

    /// Starts `serve` within the limits that lines of shell set, and waits until it listens.
    pub fn serve_within(&self, limits: &str, args: &[&str]) -> Gateway {
        let mut command = self.command_of("/bin/sh");
        command.args(["-ec", &format!("{limits}; exec \"$0\" \"$@\""), BINARY]);
        let mut gateway = started(command, args);
        gateway.listens();
        gateway
    }

    /// The same, in a namespace of its own.
    pub fn serve_in(&self, namespace: &Namespace, args: &[&str]) -> Gateway {
        let mut gateway = started(namespace.around(&self.command(), BINARY), args);
        gateway.listens();
        gateway
    }

    /// The same, in the namespace of another gateway.
    pub fn serve_beside(&self, other: &Gateway, args: &[&str]) -> Gateway {
        let mut gateway = started(beside(&self.command(), other.child.id(), BINARY), args);
        gateway.listens();
        gateway
    }
}

fn started(mut command: Command, args: &[&str]) -> Gateway {
    command.args(["serve", "--listen", "127.0.0.1:0"]).args(args);
    if !args.contains(&"--workers") {
        command.args(["--workers", "1"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Gateway::start(command)
}

fn run(mut command: Command, args: &[&str], stdin: &str) -> CommandOutput {
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().expect("it is piped").write_all(stdin.as_bytes());
    let process = Pid::from_child(&child);
    let (ended, end) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        // `serve` would never end if it started where it should fail.
        if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = kill_process(process, Signal::KILL);
        }
    });
    let output = child.wait_with_output();
    drop(ended);
    watch.join().expect("the watch does not panic");
    command_output(output.expect("the child is ours"))
}

fn command_output(output: Output) -> CommandOutput {
    CommandOutput {
        code: output.status.code().or_else(|| Some(-output.status.signal()?)).expect("it has ended"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// A running `serve`.
pub struct Gateway {
    child: Child,
    /// The address it listens on.
    pub address: SocketAddr,
    /// The admin listener's address, if there is one.
    pub admin_address: SocketAddr,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
    /// Threads of a test may share a gateway.
    lines: Mutex<mpsc::Receiver<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Gateway {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let log = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (sender, lines) = mpsc::channel();
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                kept.0.lock().expect("no reader panics").push(line.clone());
                kept.1.notify_all();
                // The test may have stopped reading.
                let _ = sender.send(line);
            }
        });
        let lines = Mutex::new(lines);
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { child, address: unknown, admin_address: unknown, log, lines, reader: Some(reader) }
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its address.
    pub fn listens(&mut self) {
        let line = self.wait_for_log("listening");
        let address = |key: &str| line[key].as_str()?.parse().ok();
        self.address = address("address").expect("`serve` says where it listens");
        self.admin_address = address("admin_address").unwrap_or(self.admin_address);
    }

    /// Waits for this log message. Returns its line; lines before it are consumed.
    pub fn wait_for_log(&self, message: &str) -> Value {
        loop {
            let line = self.line().unwrap_or_else(|_| panic!("it does not say `{message}`"));
            if let Ok(line) = serde_json::from_str::<Value>(&line)
                && line["message"] == message
            {
                return line;
            }
        }
    }

    /// Its next log line.
    fn line(&self) -> Result<String, mpsc::RecvTimeoutError> {
        self.lines.lock().expect("no other waits for it").recv_timeout(LIMIT)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it handles these signals itself.
    pub fn catches(&self, signals: &[Signal]) {
        let wanted: u64 = signals.iter().map(|signal| 1 << (signal.as_raw() - 1)).sum();
        let start = Instant::now();
        loop {
            let caught = u64::from_str_radix(&self.proc_status("SigCgt:"), 16).expect("a mask");
            if caught & wanted == wanted {
                return;
            }
            assert!(start.elapsed() < LIMIT, "it does not catch {signals:?}");
            std::thread::yield_now();
        }
    }

    /// A value of its `/proc/PID/status`.
    pub fn proc_status(&self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel reports it");
        line.trim().to_owned()
    }

    /// Its log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.0.lock().expect("no reader panics").clone()
    }

    /// Waits until it has logged more lines than this. False if it does not in time.
    pub fn logs_more_than(&self, lines: usize, timeout: Duration) -> bool {
        let log = self.log.0.lock().expect("no reader panics");
        let few = |log: &mut Vec<String>| log.len() <= lines;
        !self.log.1.wait_timeout_while(log, timeout, few).expect("no reader panics").1.timed_out()
    }

    /// Waits for a log line with this text. Returns all such lines.
    pub fn logged(&self, text: &str) -> Vec<String> {
        let log = self.log.0.lock().expect("no reader panics");
        let none = |log: &mut Vec<String>| !log.iter().any(|line| line.contains(text));
        let (log, waited) = self.log.1.wait_timeout_while(log, LIMIT, none).expect("no reader panics");
        assert!(!waited.timed_out(), "`{text}` is not logged");
        log.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Waits until so many requests have ended, as the access log says.
    pub fn ended(&self, requests: usize) {
        let log = self.log.0.lock().expect("no reader panics");
        let is_request = |line: &&String| line.contains("\"message\":\"request\"");
        let few = |log: &mut Vec<String>| log.iter().filter(is_request).count() < requests;
        let waited = self.log.1.wait_timeout_while(log, LIMIT, few).expect("no reader panics").1;
        assert!(!waited.timed_out(), "{requests} requests have not ended");
    }

    /// Limits it to the files that are open.
    pub fn allow_no_files(&self) {
        // The limit is on the numbers of descriptors, and those of standard input and output are in use.
        self.limit_files(3);
    }

    /// Limits it to this many more open files.
    pub fn allow_files(&self, more: usize) {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count();
        self.limit_files(open + more);
    }

    fn limit_files(&self, limit: usize) {
        let limit = Rlimit { current: Some(limit as u64), ..getrlimit(Resource::Nofile) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).expect("it is our child");
    }

    /// Its soft limit of open files.
    pub fn open_files_limit(&self) -> String {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.id())).expect("it runs");
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("it has one");
        line.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// A path as this process sees it: it may have its own mounts there.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").expect("the path is absolute");
        Path::new(&format!("/proc/{}/root", self.child.id())).join(path)
    }

    /// Its resident memory.
    pub fn resident_bytes(&self) -> usize {
        self.proc_bytes("VmRSS:")
    }

    /// The greatest resident memory that it had.
    pub fn peak_bytes(&self) -> usize {
        self.proc_bytes("VmHWM:")
    }

    fn proc_bytes(&self, key: &str) -> usize {
        let kib = self.proc_status(key).trim_end_matches(" kB").parse::<usize>().expect("a number of kB");
        kib * 1024
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is our child");
    }

    /// Waits for its end and its whole log.
    pub fn exit(&mut self) -> ExitStatus {
        // The log ends with the process, and with it the reader.
        let ended = loop {
            if let Err(ended) = self.line() {
                break ended;
            }
        };
        assert_eq!(ended, mpsc::RecvTimeoutError::Disconnected, "it does not exit");
        self.reader.take().expect("it exits once").join().expect("the reader does not panic");
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log().join("\n"));
        }
    }
}

/// A connection to the control socket in a data directory.
pub fn connect(data: &Path) -> UnixStream {
    let stream = UnixStream::connect(data.join("control.sock")).expect("somebody serves from there");
    stream.set_read_timeout(Some(LIMIT)).expect("a socket takes a timeout");
    stream
}

/// A call of the admin API over it. Returns status code and document.
pub fn over_socket(data: &Path, line: &str) -> (u16, Value) {
    let mut stream = connect(data);
    write!(stream, "{line} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is read");
    let mut answer = String::new();
    // The connection ends after the answer.
    stream.read_to_string(&mut answer).expect("an answer comes in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a head has a status");
    (code, serde_json::from_str(body).unwrap_or_default())
}

/// Runs statements on a database that nobody else has open; creates it if missing. Returns the first value of the
/// last statement's first row.
pub fn database(path: &Path, statements: &'static str) -> String {
    use sqlx::{ConnectOptions, Connection, Row};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it runs");
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = options.connect().await.expect("it is a database");
        let rows = sqlx::raw_sql(statements).fetch_all(&mut connection).await.expect("it takes them");
        let shown = rows.last().map(|row| {
            let number = row.try_get::<i64, _>(0).map(|number| number.to_string());
            number.or_else(|_| row.try_get::<String, _>(0)).unwrap_or_default()
        });
        connection.close().await.expect("it closes");
        shown.unwrap_or_default()
    })
}
