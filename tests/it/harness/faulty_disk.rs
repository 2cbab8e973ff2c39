//! A disk that fails while the binary runs: full, failing at a write or at a sync, or hanging. The binary loads
//! `faulty_disk.c`, which `cc` compiles here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::io::Errno;
use tempfile::TempDir;

use super::gateway::root;

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
    /// Writes fail: no space is left.
    Full,
    /// Writes fail.
    Write,
    /// Syncs fail, after the bytes were written.
    Sync,
    /// Reads fail.
    Read,
    /// Syncs hang until the fault ends.
    SyncHangs,
    /// Files cannot be renamed to this.
    Rename,
}

/// The switch of a faulty disk.
pub struct FaultyDisk {
    dir: TempDir,
}

impl FaultyDisk {
    /// One that works for now.
    pub fn new() -> Self {
        let dir = TempDir::new().expect("the temporary directory is writable");
        let source = root().join("tests/it/harness/faulty_disk.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(dir.path().join("faulty_disk.so")).arg(source);
        let output = compiler.output().expect("`tests/run.sh` installs cc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { dir }
    }

    /// The environment of a process that has this disk.
    pub fn env(&self) -> [(&'static str, String); 2] {
        let text = |path: PathBuf| path.to_str().expect("text").to_owned();
        [
            ("LD_PRELOAD", text(self.dir.path().join("faulty_disk.so"))),
            ("TOLLGATE_TEST_FAULT", text(self.switch())),
        ]
    }

    /// From now on, all files whose path contains `part` fail; if it ends with `$`, those whose path ends with it.
    pub fn fail(&self, fault: DiskFault, part: &str) {
        let (operation, error) = match fault {
            DiskFault::Full => ("write", Errno::NOSPC.raw_os_error()),
            DiskFault::Write => ("write", Errno::IO.raw_os_error()),
            DiskFault::Sync => ("fsync", Errno::IO.raw_os_error()),
            DiskFault::Read => ("read", Errno::IO.raw_os_error()),
            DiskFault::SyncHangs => ("fsync", 0),
            DiskFault::Rename => ("rename", Errno::IO.raw_os_error()),
        };
        let draft = self.dir.path().join("draft");
        fs::write(&draft, format!("{operation} {error} {part}\n")).expect("the directory is ours");
        fs::rename(draft, self.switch()).expect("the directory is ours");
    }

    /// The disk works again.
    pub fn mend(&self) {
        fs::remove_file(self.switch()).expect("it was failing");
    }

    fn switch(&self) -> PathBuf {
        Path::join(self.dir.path(), "fault")
    }
}
