//! The resources of this process: its limit of open files, and the memory that it may use.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory limits above this are none: kernels write "no limit" as such numbers.
const UNLIMITED: u64 = 1 << 60;

/// The resources of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// The limit of open files.
    pub open_files: usize,
    /// The memory, in bytes: that of the machine, the cgroup or the process's own limit, whichever is least.
    pub memory: u64,
}

/// Raises the soft limit of open files to the hard one, which needs no privilege. Where a sandbox forbids it, the soft one
/// stays.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

impl Resources {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
        let own = [Resource::As, Resource::Data].map(|resource| getrlimit(resource).current);
        let memory = own.into_iter().flatten().chain(cgroup()).chain(machine()).min();
        Self {
            open_files: usize::try_from(open_files).unwrap_or(usize::MAX),
            memory: memory.unwrap_or(UNLIMITED),
        }
    }
}

/// The limits of this process's control group and of those above it, of both versions.
fn cgroup() -> Vec<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut files = Vec::new();
    for (root, name, path) in groups.lines().filter_map(memory_group) {
        let ancestors = path.match_indices('/').map(|(at, _)| &path[..at]).chain([path]);
        // Inside a container the path may not exist; its root is the container's own group.
        files.extend(ancestors.map(|path| format!("{root}{path}/{name}")));
    }
    files.iter().filter_map(|file| limit(&fs::read_to_string(file).ok()?)).collect()
}

/// Root, file and path of the group that limits memory; none for a line about anything else.
fn memory_group(line: &str) -> Option<(&'static str, &'static str, &str)> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    if controllers.split(',').any(|one| one == "memory") {
        return Some(("/sys/fs/cgroup/memory", "memory.limit_in_bytes", path));
    }
    (number == "0").then_some(("/sys/fs/cgroup", "memory.max", path))
}

/// The bytes in such a file; none if there is no limit.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED)
}

/// The machine's memory.
fn machine() -> Option<u64> {
    total(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("734003200\n"), Some(700 << 20));
        assert_eq!(total("MemTotal:       24100432 kB\nMemFree: 1 kB\n"), Some(24_100_432 << 10));
        assert_eq!(memory_group("0::/a/b"), Some(("/sys/fs/cgroup", "memory.max", "/a/b")));
        let old = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "/c");
        assert_eq!(memory_group("4:hugetlb,memory:/c"), Some(old));
        assert_eq!(memory_group("9:name=systemd:/"), None);
    }

    #[test]
    fn a_process_has_files_and_memory() {
        let resources = Resources::of_this_process();
        assert!(resources.open_files >= 64 && resources.memory > 64 << 20, "{resources:?}");
    }
}
