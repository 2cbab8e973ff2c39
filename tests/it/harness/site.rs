//! A gateway whose provider files change while it runs. A provider's version is part of its file's URL, so the
//! upstream reports the version that serves.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    echo::Echo,
    gateway::{Gateway, Home, over_socket},
    namespace::Namespace,
    wire::{LIMIT, Wire},
};

/// Arguments of every `serve`: the log is about files alone.
const QUIET: [&str; 2] = ["--access-log", "false"];

/// A running gateway, its files, and an upstream that answers by itself.
pub struct Site {
    /// The upstream of all requests.
    pub upstream: Echo,
    /// Its directories.
    pub home: Home,
    /// The user's token.
    pub token: String,
    gateway: Option<Gateway>,
}

impl Site {
    /// With providers, as `a=1 b=1`, and more arguments to `serve`.
    pub fn new(providers: &str, args: &[&str]) -> Self {
        let mut site = Self::stopped(providers);
        site.start(args);
        site
    }

    /// The same, not started yet.
    pub fn stopped(providers: &str) -> Self {
        let (upstream, home) = (Echo::start(), Home::new(&[]));
        let token = home.user("ada");
        let site = Self { upstream, home, token, gateway: None };
        for (name, version) in providers.split(' ').filter_map(|one| one.split_once('=')) {
            site.write(name, version);
        }
        site
    }

    /// Starts `serve`.
    pub fn start(&mut self, args: &[&str]) {
        self.gateway = Some(self.home.serve(&[&QUIET, args].concat()));
    }

    /// Starts `serve` with environment variables.
    pub fn start_with(&mut self, env: &[(&str, &str)]) {
        self.gateway = Some(self.home.serve_with(&QUIET, env));
    }

    /// Starts `serve` in a namespace.
    pub fn start_in(&mut self, namespace: &Namespace, args: &[&str]) {
        self.gateway = Some(self.home.serve_in(namespace, &[&QUIET, args].concat()));
    }

    /// Stops `serve` by a signal, and waits for its end.
    pub fn stop(&mut self, signal: Signal) {
        let mut gateway = self.gateway.take().expect("it runs");
        gateway.signal(signal);
        gateway.exit();
    }

    /// The running gateway.
    pub fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("it runs")
    }

    /// The text of a provider of this version.
    pub fn text(&self, name: &str, version: &str) -> String {
        format!(
            "title = \"{name} {version}\"\nbase_url = \"http://{}/{name}/{version}\"\npath_prefix = \"/{name}\"\n\
            [endpoint.get]\nmethod = \"GET\"\npath = \"/get\"\n[endpoint.stream]\nmethod = \"GET\"\npath = \"/stream\"\n",
            self.upstream.address()
        )
    }

    /// The path of a provider's file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.providers().join(format!("{name}.toml"))
    }

    /// Writes a provider file of this version, in place.
    pub fn write(&self, name: &str, version: &str) {
        self.home.write(name, &self.text(name, version));
    }

    /// A request to a provider.
    pub fn request(&self, name: &str, path: &str) -> String {
        format!("GET /{name}/{path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\r\n", self.token)
    }

    /// The version of a provider that serves, or the code of the fault that it returns.
    pub fn seen(&self, client: &mut Wire, name: &str) -> String {
        client.send(self.request(name, "get"));
        answered(client, name)
    }

    /// Waits for these versions or faults, with `~` if the status reports the provider as stale:
    /// `a=2 b=1~ c=config_rejected`. Every change must be in the log too.
    pub fn serves(&self, expected: &str) {
        let start = Instant::now();
        let mut client = Wire::connect(self.gateway().address);
        loop {
            let lines = self.gateway().log().len();
            let found = self.found(&mut client, expected);
            if found == expected {
                return;
            }
            let left = LIMIT.saturating_sub(start.elapsed());
            assert!(self.gateway().logs_more_than(lines, left), "expected `{expected}`, but it is `{found}`");
        }
    }

    fn found(&self, client: &mut Wire, expected: &str) -> String {
        let names = expected.split(' ').filter_map(|one| one.split_once('=')).map(|(name, _)| name);
        let seen: Vec<_> = names.map(|name| (name, self.seen(client, name))).collect();
        let status = self.status();
        let files = status["files"].as_array().expect("it has files");
        let shown = seen.into_iter().map(|(name, seen)| {
            let file = files.iter().find(|file| file["provider"] == name);
            let mark = match file.and_then(|file| file["state"].as_str()) {
                Some("stale") => "~",
                _ => "",
            };
            format!("{name}={seen}{mark}")
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    /// The status document.
    pub fn status(&self) -> Value {
        over_socket(&self.home.data(), "GET /admin/providers").1
    }

    /// Reloads all files now. Returns the status.
    pub fn reload(&self) -> Value {
        over_socket(&self.home.data(), "POST /admin/reload").1
    }

    /// Its log.
    pub fn lines(&self) -> Vec<Value> {
        self.gateway().log().iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// Waits for a log line with all of these words, from a line on. Returns its index.
    pub fn logs(&self, from: usize, words: &[&str]) -> usize {
        let start = Instant::now();
        loop {
            let log = self.gateway().log();
            let has = |line: &String| words.iter().all(|word| line.contains(word));
            if let Some(at) = log.iter().skip(from).position(has) {
                return from + at;
            }
            let left = LIMIT.saturating_sub(start.elapsed());
            assert!(self.gateway().logs_more_than(log.len(), left), "no line has all of {words:?}");
        }
    }
}

/// The version of a provider that answers a request, or the code of the fault.
pub fn answered(client: &mut Wire, name: &str) -> String {
    let answer = client.answer().unwrap_or_else(|broken| panic!("{broken:?}; {client:?}"));
    if answer.head.status() == 200 {
        let target = String::from_utf8(answer.body).expect("a target is text");
        let version = target.strip_prefix(&format!("/{name}/")).and_then(|rest| rest.strip_suffix("/get"));
        return version.unwrap_or_else(|| panic!("{name} was led to `{target}`")).to_owned();
    }
    let details = answer.head.get("proxy-status").and_then(|status| status.split('"').nth(1));
    details.expect("a fault of the gateway has a code").to_owned()
}

/// Saves as editors do: a new file under another name replaces the old one.
pub fn save(path: &Path, text: &str) {
    let draft = path.with_file_name(".draft");
    fs::write(&draft, text).expect("the directory is ours");
    fs::rename(draft, path).expect("the directory is ours");
}

/// Waits for a condition that no log line reports.
pub fn eventually(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        pause(Duration::from_millis(5));
    }
}

/// Sleeps, for a test of a rate.
pub fn pause(time: Duration) {
    std::thread::park_timeout(time);
}
