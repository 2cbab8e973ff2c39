//! The limits of a process, derived from its descriptors and its memory. Pure arithmetic.
//!
//! Of the descriptors, tollgate's own files and seven equal reserves come first: one for the control socket, one for
//! files and lookups, two each for the admin listener and for connections that are refused, with those that are being
//! closed for others, and one for clients' connections that are being closed. The rest is shared by clients and upstreams,
//! half and half: a request holds one descriptor of each.

use super::Resources;

/// Files of the process itself: store, logs, event queues, listeners.
const OWN_FILES: usize = 36;
/// Files of each worker: event queue, waker, signals, listener, and that of admins.
const FILES_PER_WORKER: usize = 6;
/// Reserves of equal size.
const RESERVES: usize = 7;
/// The largest size of each reserve.
const MAX_RESERVE: usize = 32;
/// The most connections by default, however many descriptors there are.
const MAX_CONNECTIONS: usize = 65_536;
/// Memory of a connection besides the head of a request.
const CONNECTION_BYTES: u64 = 24 << 10;
/// Memory of a request while both sides stall: buffers of both directions, the copy of a small body, TLS.
const REQUEST_BYTES: u64 = 160 << 10;
/// Memory of the process without any load.
const OWN_BYTES: u64 = 64 << 20;
/// By default, an agent with hundreds of parallel calls works, and a leaked token cannot take all.
const REQUESTS_PER_TOKEN: usize = 256;
const REQUESTS_PER_USER: usize = 512;
/// Connections of one address that are always allowed, if twice as many fit.
const MIN_PER_ADDRESS: usize = 64;
/// Idle upstream connections per worker.
const MAX_IDLE_UPSTREAM: usize = 1024;

/// Limits from the settings. None is the default; 0 is no limit, where that is possible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Requests per token.
    pub requests_per_token: Option<usize>,
    /// Requests per user.
    pub requests_per_user: Option<usize>,
    /// Requests of all.
    pub requests: Option<usize>,
    /// Connections per address.
    pub connections_per_address: Option<usize>,
    /// Connections of all.
    pub connections: Option<usize>,
}

/// The limits in force. None is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The limit of open files.
    pub open_files: usize,
    /// Connections of clients.
    pub connections: usize,
    /// Connections of one address.
    pub connections_per_address: Option<usize>,
    /// Requests to providers.
    pub requests: usize,
    /// Requests of one token.
    pub requests_per_token: Option<usize>,
    /// Requests of one user.
    pub requests_per_user: Option<usize>,
    /// Size of each reserve of descriptors.
    pub reserve: usize,
    /// Idle upstream connections per worker.
    pub idle_upstream: usize,
}

impl Limits {
    /// The limits of a process with these resources. What the settings ask for beyond the descriptors is lowered.
    pub fn derive(resources: Resources, overrides: &Overrides, workers: usize, max_head: usize) -> Self {
        let own = OWN_FILES + FILES_PER_WORKER * workers;
        let spare = resources.open_files.saturating_sub(own);
        let reserve = (spare / (2 * RESERVES)).clamp(1, MAX_RESERVE);
        let shared = spare.saturating_sub(RESERVES * reserve);
        let default = (shared / 2).min(by_memory(resources.memory, max_head)).min(MAX_CONNECTIONS);
        let connections = overrides.connections.unwrap_or(default).min(shared * 3 / 4).max(2);
        let upstream = shared.saturating_sub(connections);
        let default = (connections * 3 / 4).min(upstream * 3 / 4);
        let requests = overrides.requests.unwrap_or(default).min(upstream).max(1);
        let per_caller = |asked, usual: usize| match asked {
            Some(0) => None,
            Some(asked) => Some(asked),
            None => Some(usual.min(requests / 2).max(1)),
        };
        let per_address = (connections / 4).max(MIN_PER_ADDRESS.min(connections / 2)).max(1);
        Self {
            open_files: resources.open_files,
            connections,
            connections_per_address: match overrides.connections_per_address {
                Some(0) => None,
                asked => Some(asked.unwrap_or(per_address)),
            },
            requests,
            requests_per_token: per_caller(overrides.requests_per_token, REQUESTS_PER_TOKEN),
            requests_per_user: per_caller(overrides.requests_per_user, REQUESTS_PER_USER),
            reserve,
            idle_upstream: (upstream.saturating_sub(requests) / workers.max(1)).clamp(1, MAX_IDLE_UPSTREAM),
        }
    }
}

/// Connections that half of the memory is enough for, three of four with a request.
fn by_memory(memory: u64, max_head: usize) -> usize {
    let each = CONNECTION_BYTES + max_head as u64 + REQUEST_BYTES * 3 / 4;
    usize::try_from(memory.saturating_sub(OWN_BYTES) / 2 / each).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn derive(open_files: usize, memory: u64, overrides: &Overrides) -> Limits {
        Limits::derive(Resources { open_files, memory }, overrides, 4, 64 << 10)
    }

    #[test]
    fn descriptors_are_never_promised_twice() {
        for workers in [1, 4, 256] {
            for open_files in (0..3000).chain([20_000, 65_536, 1 << 20, 1 << 30]) {
                let resources = Resources { open_files, memory: 64 * GIB };
                for wanted in [None, Some(1), Some(usize::MAX)] {
                    let asked = Overrides { connections: wanted, requests: wanted, ..Overrides::default() };
                    let limits = Limits::derive(resources, &asked, workers, 8 << 10);
                    let idle = limits.idle_upstream * workers;
                    let taken = limits.connections + limits.requests + RESERVES * limits.reserve;
                    let own = OWN_FILES + FILES_PER_WORKER * workers;
                    // Below that, tollgate starts, and serves what the system lets it.
                    if open_files >= own + 20 {
                        assert!(taken + own <= open_files, "{open_files} {wanted:?} {limits:?}");
                        let all = taken + own + idle;
                        assert!(all <= open_files + workers, "{open_files} {wanted:?} {limits:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_scarcer_resource_decides() {
        let check = |open_files, memory, connections, requests| {
            let limits = derive(open_files, memory, &Overrides::default());
            assert_eq!((limits.connections, limits.requests), (connections, requests), "{limits:?}");
        };
        check(64, GIB, 2, 1);
        check(1024, GIB, 370, 277);
        check(20_000, 64 * GIB, 9_858, 7_393);
        check(1 << 20, 700 << 20, 1_565, 1_173);
        check(1 << 20, GIB, 2_363, 1_772);
        check(1 << 20, 1 << 40, 65_536, 49_152);
        // A process without room still serves one request at a time.
        check(0, 0, 2, 1);
    }

    #[test]
    fn one_caller_cannot_take_all_by_default() {
        let limits = derive(1024, GIB, &Overrides::default());
        assert_eq!((limits.requests_per_token, limits.requests_per_user), (Some(138), Some(138)));
        assert_eq!(limits.connections_per_address, Some(92));
        let limits = derive(1 << 20, 1 << 40, &Overrides::default());
        assert_eq!((limits.requests_per_token, limits.requests_per_user), (Some(256), Some(512)));
        let some = |number| Some(number);
        let asked = Overrides {
            requests_per_token: some(5),
            requests_per_user: some(0),
            requests: some(7),
            connections_per_address: some(0),
            connections: some(9),
        };
        let limits = derive(1 << 20, 1 << 40, &asked);
        assert_eq!((limits.requests_per_token, limits.requests_per_user), (Some(5), None));
        assert_eq!((limits.requests, limits.connections, limits.connections_per_address), (7, 9, None));
    }
}
