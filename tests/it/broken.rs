//! Complete output of `tollgate check` on broken files, stored beside each file. `UPDATE_EXPECT=1` writes it again.
//! Files that cannot be stored well are generated here.
//!
//! `tests/broken/providers/x.toml` is checked alone, as a file of that folder; `tests/broken/sets/x` is a whole
//! providers directory. The output of either is in `x.txt`.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::harness::{CommandOutput, Home, root};

/// The number of files checked at the same time.
const AT_ONCE: usize = 4;
/// The address space that `check` may use for a hostile file, in KiB.
const MAX_KIB: u32 = 256 << 10;
/// Far more than an optimized build needs: this is a debug build.
const MAX_SECONDS: u32 = 10;

/// A broken file or directory, its expected output, and its folder in a providers directory.
struct Case {
    path: PathBuf,
    expected: PathBuf,
    folder: &'static str,
}

fn cases() -> Vec<Case> {
    let broken = root().join("tests/broken");
    let folders = [
        ("providers", ""),
        ("presets", "presets"),
        ("endpoints", "endpoints"),
        ("gateways", "gateways"),
        ("apis", "apis"),
        ("prices", "prices"),
        ("clients", "clients"),
        ("sets", ""),
    ];
    let mut cases = Vec::new();
    for (kind, folder) in folders {
        for entry in fs::read_dir(broken.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() || path.extension() == Some(OsStr::new("toml")) {
                cases.push(Case { expected: path.with_extension("txt"), path, folder });
            }
        }
    }
    cases.sort_by(|one, other| one.path.cmp(&other.path));
    cases
}

/// Copies a file or a directory tree.
fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// An empty providers directory, without lints about missing tests.
fn home() -> Home {
    let home = Home::new(&[]);
    fs::write(home.path("tollgate.toml"), "[lints]\nuntested_endpoint = \"allow\"\n").unwrap();
    home
}

impl Case {
    fn output(&self) -> CommandOutput {
        let home = home();
        let folder = home.providers().join(self.folder);
        let name = self.path.file_name().unwrap();
        copy(&self.path, &if self.path.is_dir() { folder } else { folder.join(name) });
        home.run(&["check", "providers.d"], "")
    }

    /// Compares the output. Returns the difference.
    fn check(&self) -> Option<String> {
        let said = self.output();
        let name = self.path.display();
        if said.code != 1 {
            return Some(format!("{name}: {said:?}"));
        }
        let text = format!("{}{}", said.err, said.out);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&self.expected, &text).unwrap();
        }
        let expected = fs::read_to_string(&self.expected).unwrap_or_default();
        (text != expected).then(|| format!("{name} reports\n{text}\ninstead of\n{expected}"))
    }
}

#[test]
fn broken_files_have_the_expected_findings() {
    let cases = cases();
    assert!(cases.len() > 150, "{}", cases.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let each = std::iter::from_fn(|| cases.get(next.fetch_add(1, Ordering::Relaxed)));
        each.filter_map(Case::check).collect::<Vec<_>>()
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Runs `check` within the limits of memory and time.
fn check_within_bounds(home: &Home) -> CommandOutput {
    home.run_within(MAX_KIB, MAX_SECONDS, &["check", "providers.d"])
}

/// Checks that a file of these bytes is rejected within the limits, with this message.
fn bytes(text: impl AsRef<[u8]>, expected: &str) {
    let home = home();
    fs::write(home.providers().join("x.toml"), text).unwrap();
    let said = check_within_bounds(&home);
    let start: String = said.err.chars().take(2000).collect();
    assert!(said.code == 1 && said.err.contains(expected), "{expected}: {} {start}", said.code);
    assert!(said.err.len() < 1 << 20, "{expected}: {} bytes are too much to read", said.err.len());
}

#[test]
fn hostile_bytes_cost_little() {
    const DEEP: usize = 10_000;
    let repeated = |text: fn(usize) -> String, times: usize| (0..times).map(text).collect::<String>();
    bytes(b"title = \"\xff\"\n", "not UTF-8 at byte 9");
    bytes(b"title = \"\xed\xa0\x80\"\n", "not UTF-8 at byte 9");
    bytes(vec![b'#'; 50 << 20], "is larger than 1048576 bytes");
    bytes(repeated(|at| format!("[t{at}]\n"), 100_000), "unknown key `t0`");
    bytes(repeated(|_| "[[t]]\n".into(), 100_000), "unknown key `t`");
    bytes(repeated(|_| "[t]\n".into(), 100_000), "`t` is written twice");
    bytes(repeated(|at| format!("k{at}=1\n"), 90_000), "unknown key `k0`");
    bytes(repeated(|_| "title = \n".into(), 100_000), "error[TG003]");
    bytes(format!("a = {}1{}\n", "[".repeat(DEEP), "]".repeat(DEEP)), "error[TG003]");
    bytes(format!("a = {}", "[".repeat(1 << 19)), "error[TG003]");
    bytes(format!("a = {}1{}\n", "{ a = ".repeat(DEEP), " }".repeat(DEEP)), "error[TG003]");
    bytes(format!("[a{}]\n", ".a".repeat(DEEP)), "error[");
    bytes(format!("a{} = 1\n", ".a".repeat(DEEP)), "error[");
    bytes(format!("title = \"{}\n", "x".repeat(1 << 19)), "error[TG003]");
    bytes(format!("base_url = \"{}\"\n", "{a}".repeat(100_000)), "error[TG0");
    bytes(vec![0; 1 << 20], "error[TG003]");
}

/// Checks that the file `x.toml` created by `make` is rejected with this message.
fn no_file(make: impl Fn(&Path), expected: &str) {
    let home = home().without_rights();
    make(&home.providers().join("x.toml"));
    let said = check_within_bounds(&home);
    assert!(said.code == 1 && said.err.starts_with(expected), "{expected}: {said:?}");
    assert!(said.err.contains(" providers.d/x.toml"), "{said:?}");
}

#[test]
fn a_special_file_is_reported_without_waiting_for_it() {
    let fifo = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::ROTH, 0).unwrap();
    let unreadable = |path: &Path| {
        fs::write(path, "title = \"X\"\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    };
    let pair = |path: &Path| {
        symlink("y.toml", path).unwrap();
        symlink("x.toml", path.with_file_name("y.toml")).unwrap();
    };
    no_file(|path| symlink("x.toml", path).unwrap(), "error[TG001]: a link that leads to itself");
    no_file(pair, "error[TG001]: a link that leads to itself");
    no_file(|path| symlink("gone.toml", path).unwrap(), "error[TG001]: a link that leads nowhere");
    no_file(|path| symlink("/dev/zero", path).unwrap(), "error[TG001]: a link that leads out");
    no_file(fifo, "error[TG001]: is a pipe, not a file");
    no_file(|path| fs::create_dir(path).unwrap(), "error[TG001]: is a directory, not a file");
    no_file(unreadable, "error[TG001]: cannot be read");
}
