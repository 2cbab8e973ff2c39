//! Errors of this machine that no upstream is to blame for: it has no descriptor, port, memory or thread left, or its own
//! rules forbid a connection. Counted since the start, apart from refusals by a limit.

use std::{
    error::Error,
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The part of this machine that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalError {
    /// No file descriptor, of the process or of the system.
    Descriptors,
    /// No local port for a connection, or no local address that could reach the other.
    Ports,
    /// No memory, or no room in the buffers of the network.
    Memory,
    /// No thread.
    Threads,
    /// A firewall, a sandbox or a routing rule of this machine.
    Policy,
}

impl LocalError {
    /// The local cause of a failed connection, if it has one.
    pub fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Some(Self::Ports),
            Errno::NOMEM | Errno::NOBUFS => Some(Self::Memory),
            Errno::AGAIN => Some(Self::Threads),
            Errno::PERM | Errno::ACCESS => Some(Self::Policy),
            _ => None,
        }
    }

    /// The same for an error with sources.
    pub fn in_chain(error: &(dyn Error + 'static)) -> Option<Self> {
        let Some(io) = error.downcast_ref::<io::Error>() else {
            return error.source().and_then(Self::in_chain);
        };
        // Its source is that of the error inside, not that error.
        Self::of(io).or_else(|| io.get_ref().and_then(|inside| Self::in_chain(inside)))
    }

    /// The cause, as the rest of a sentence about tollgate.
    pub fn what(self) -> &'static str {
        match self {
            Self::Descriptors => "has no free file descriptor",
            Self::Ports => "has no free local port or address",
            Self::Memory => "has no memory for a connection",
            Self::Threads => "can start no thread",
            Self::Policy => "is not allowed to connect: a firewall or sandbox of its machine forbids it",
        }
    }
}

/// Local errors since the process started, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalErrors {
    /// No file descriptor.
    pub descriptors: u64,
    /// No local port or address.
    pub ports: u64,
    /// No memory.
    pub memory: u64,
    /// No thread.
    pub threads: u64,
    /// Forbidden by this machine.
    pub policy: u64,
}

impl LocalErrors {
    /// Each number that is not 0, with its cause.
    pub fn by_cause(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.all_by_cause().into_iter().filter(|(_, number)| *number > 0)
    }

    /// Each number, with its cause.
    pub fn all_by_cause(&self) -> [(&'static str, u64); 5] {
        let Self { descriptors, ports, memory, threads, policy } = *self;
        [
            ("descriptors", descriptors),
            ("ports", ports),
            ("memory", memory),
            ("threads", threads),
            ("policy", policy),
        ]
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct LocalErrorCounts([AtomicU64; 5]);

impl LocalErrorCounts {
    pub(super) fn add(&self, error: LocalError) {
        self.0[error as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn numbers(&self) -> LocalErrors {
        let [descriptors, ports, memory, threads, policy] =
            self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        LocalErrors { descriptors, ports, memory, threads, policy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_this_machine() {
        let check = |errno: Errno, expected: Option<LocalError>| {
            let error = io::Error::from(errno);
            assert_eq!(LocalError::of(&error), expected, "{error}");
            let wrapped = io::Error::other(error);
            assert_eq!(LocalError::in_chain(&wrapped), expected, "{wrapped}");
        };
        check(Errno::MFILE, Some(LocalError::Descriptors));
        check(Errno::NFILE, Some(LocalError::Descriptors));
        check(Errno::ADDRNOTAVAIL, Some(LocalError::Ports));
        check(Errno::NOMEM, Some(LocalError::Memory));
        check(Errno::NOBUFS, Some(LocalError::Memory));
        check(Errno::ACCESS, Some(LocalError::Policy));
        check(Errno::PERM, Some(LocalError::Policy));
        for of_the_other in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::TIMEDOUT, Errno::HOSTUNREACH] {
            check(of_the_other, None);
        }
        assert_eq!(LocalError::of(&io::ErrorKind::AddrNotAvailable.into()), None);
    }

    #[test]
    fn each_cause_has_its_number() {
        let counts = LocalErrorCounts::default();
        counts.add(LocalError::Descriptors);
        counts.add(LocalError::Policy);
        counts.add(LocalError::Policy);
        let numbers: Vec<_> = counts.numbers().by_cause().collect();
        assert_eq!(numbers, [("descriptors", 1), ("policy", 2)]);
    }
}
