//! DNS lookups, shared by all workers. `getaddrinfo` on threads of its own: `/etc/hosts`, search domains and the other sources
//! of the system (NSS) apply (`docs/adr/0010-dns-lookups.md`).
//!
//! It guarantees: one lookup per host at a time (single flight); a bound on threads, of which hosts with a slow name server
//! get a small share; short positive and negative caches. It never checks addresses: `connect` does, at every connect.
//!
//! A lookup cannot be cancelled. Callers leave it; its thread ends with it, and graceful shutdown does not wait for it.

mod hosts;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use dns_lookup::{AddrInfo, AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};
use tokio::sync::watch;

use self::hosts::{Addresses, Flight, Hosts, MAX_LOOKUPS, Outcome, STALE_TIMEOUT, Step};
use super::error::SendError;
use crate::admission::LocalError;

/// The lookup itself. It blocks.
type Lookup = dyn Fn(&str) -> Result<Vec<IpAddr>, LookupError> + Send + Sync;

/// The resolver of a process.
#[derive(Clone)]
pub(super) struct Resolver {
    lookup: Arc<Lookup>,
    hosts: Arc<Mutex<Hosts>>,
}

/// Why a lookup failed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LookupError {
    what: Box<str>,
    /// The name servers did not answer. False if the answer is that there is no address.
    is_temporary: bool,
    /// This machine could not ask.
    local: Option<LocalError>,
}

impl Resolver {
    /// With the resolver of the system.
    pub(super) fn new() -> Self {
        Self::with(Arc::new(system))
    }

    fn with(lookup: Arc<Lookup>) -> Self {
        Self { lookup, hosts: Arc::default() }
    }

    /// The addresses of `host`, at least one. It has no deadline of its own.
    pub(super) async fn addresses(&self, host: &str) -> Result<Addresses, SendError> {
        let step = lock(&self.hosts).step(host, Instant::now());
        let outcome = match step {
            Step::Known(outcome) => outcome,
            Step::Busy => return Err(SendError::DnsBusy { host: host.into(), limit: MAX_LOOKUPS }),
            Step::Wait(flight, stale) => wait(flight, stale).await,
            Step::Start(sender, flight, stale) => {
                self.start(host, sender);
                wait(flight, stale).await
            }
        };
        outcome.map_err(|LookupError { what, local, .. }| match local {
            Some(cause) => SendError::Local { host: host.into(), cause, error: what },
            None => SendError::Dns { host: host.into(), error: what },
        })
    }

    /// Starts the lookup. If there can be no thread for it, it fails at once.
    fn start(&self, host: &str, sender: watch::Sender<Option<Outcome>>) {
        let (hosts, lookup) = (self.hosts.clone(), self.lookup.clone());
        let mut running = Running { hosts, host: host.into(), sender, outcome: Err(no_thread()) };
        let thread = std::thread::Builder::new().name("dns-lookup".into());
        let spawned = thread.spawn(move || {
            running.outcome = Err(no_result());
            let found = lookup(&running.host);
            running.report(found);
        });
        // On a failure, `running` was dropped and has reported it.
        drop(spawned);
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Resolver").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// A lookup in flight. Dropped, it reports the outcome to the cache and to all waiting callers.
struct Running {
    hosts: Arc<Mutex<Hosts>>,
    host: Box<str>,
    sender: watch::Sender<Option<Outcome>>,
    outcome: Outcome,
}

impl Running {
    fn report(&mut self, found: Result<Vec<IpAddr>, LookupError>) {
        self.outcome = found.and_then(|found| match &found[..] {
            [] => {
                Err(LookupError { what: "the name has no address".into(), is_temporary: false, local: None })
            }
            found => Ok(found.into()),
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.hosts).ended(&self.host, &self.outcome, Instant::now());
        self.sender.send_replace(Some(self.outcome.clone()));
    }
}

fn no_result() -> LookupError {
    LookupError { what: "the lookup ended without a result".into(), is_temporary: true, local: None }
}

fn no_thread() -> LookupError {
    LookupError {
        what: "no thread for the lookup".into(),
        is_temporary: true,
        local: Some(LocalError::Threads),
    }
}

fn lock(hosts: &Mutex<Hosts>) -> MutexGuard<'_, Hosts> {
    // No panic under the lock can leave the state inconsistent.
    hosts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for the lookup in flight. `stale` stands in if it is slow or fails temporarily.
async fn wait(mut flight: Flight, stale: Option<Addresses>) -> Outcome {
    let ended = async {
        let outcome = flight.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| Err(no_result()))
    };
    let Some(stale) = stale else { return ended.await };
    match tokio::time::timeout(STALE_TIMEOUT, ended).await {
        Ok(Err(error)) if error.is_temporary => Ok(stale),
        Ok(outcome) => outcome,
        Err(_) => Ok(stale),
    }
}

/// The local cause of a lookup that failed temporarily. The resolver of the system reports most errors of its own sockets as
/// name servers that do not respond, so that this opens one.
fn local_cause(kind: LookupErrorKind) -> Option<LocalError> {
    if matches!(kind, LookupErrorKind::Memory) {
        return Some(LocalError::Memory);
    }
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    probe.err().as_ref().and_then(LocalError::of)
}

/// Looks `host` up in the system's sources.
fn system(host: &str) -> Result<Vec<IpAddr>, LookupError> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = getaddrinfo(Some(host), None, Some(hints)).map_err(|error| {
        let is_temporary = !matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::NoData);
        let local = if is_temporary { local_cause(error.kind()) } else { None };
        LookupError { what: io::Error::from(error).to_string().into(), is_temporary, local }
    })?;
    // An address of another family than IPv4 and IPv6 is of no use.
    let addresses = found.filter_map(Result::ok).map(|AddrInfo { sockaddr, .. }| sockaddr.ip());
    Ok(addresses.collect())
}
