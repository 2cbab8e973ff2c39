//! Admission control: how many connections and requests this process takes at once. Beyond a limit, new work is refused
//! (load shedding), and idle connections are closed. Running requests are never touched.
//!
//! It guarantees: each limit counts over all workers, and every count is given back by a guard. It never waits, never
//! opens or closes a socket, and never makes a response.
//!
//! Read next: `limits` for the arithmetic, `requests` and `connections` for the counters, `client_connection` for what a
//! connection, its requests and these counters share.

mod client_connection;
mod connections;
mod limits;
mod local_error;
mod peers;
mod requests;
mod resources;
mod shedding;
mod status;

use std::{fmt::Display, net::IpAddr, sync::Arc};

pub use self::{
    client_connection::{Awaited, BodyReads, ClientConnection},
    limits::{Limits, Overrides},
    local_error::{LocalError, LocalErrors},
    requests::{RequestGuard, RequestRefusal},
    resources::{Resources, raise_open_files},
    shedding::Cause,
    status::{Gauge, Load},
};
use self::{
    connections::Pool, local_error::LocalErrorCounts, peers::Peers, requests::Requests, shedding::Shedding,
};
use crate::name::{TokenId, UserId};

/// The counters of one process, shared by its workers.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    requests: Requests,
    peers: Peers,
    /// Connections of clients.
    clients: Pool,
    /// Connections at the admin listener: a reserve of its own.
    admin: Pool,
    /// Connections beyond a limit, open until they have got their refusal or the answer of a health check.
    refused: Pool,
    shedding: Shedding,
    local_errors: LocalErrorCounts,
}

/// The listener that a connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// The one for clients.
    Clients,
    /// The separate one for admins.
    Admin,
}

/// Where a connection came from, and to.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The kind of its listener.
    pub entrance: Entrance,
    /// The number of its listener.
    pub listener: usize,
    /// The address that it comes from.
    pub peer: IpAddr,
    /// True if that is a trusted proxy, which has the connections of many clients.
    pub exempt: bool,
}

/// A counted connection. Dropping it gives its place back.
#[derive(Debug)]
pub struct Admitted {
    /// What the connection shares with its requests.
    pub connection: Arc<ClientConnection>,
    admission: Arc<Admission>,
    peer: Option<IpAddr>,
}

impl Admission {
    /// Counters for `listeners` listeners, all at zero.
    pub fn new(limits: Limits, listeners: usize) -> Arc<Self> {
        Arc::new(Self {
            limits,
            requests: Requests::new(&limits),
            peers: Peers::new(limits.connections_per_address, limits.reserve),
            clients: Pool::new(limits.connections, limits.reserve, listeners),
            admin: Pool::new(limits.reserve, limits.reserve, listeners),
            refused: Pool::new(limits.reserve, limits.reserve, listeners),
            shedding: Shedding::default(),
            local_errors: LocalErrorCounts::default(),
        })
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes a connection that a listener accepted. Beyond a limit, an idle connection is closed for it, or else it is only
    /// there to be refused. None if even that is too much: close it.
    pub fn connect(self: &Arc<Self>, arrival: Arrival) -> Option<Admitted> {
        self.take(arrival, None)
    }

    fn take(self: &Arc<Self>, arrival: Arrival, of: Option<&ClientConnection>) -> Option<Admitted> {
        let Arrival { entrance, listener, peer, exempt } = arrival;
        if entrance == Entrance::Admin {
            return self.open(&self.admin, listener, None, None, of).or_else(|| {
                self.shedding.refused(Cause::Connections, Some(self.limits.reserve), || "admins".to_owned());
                None
            });
        }
        let peer = (!exempt).then_some(peer);
        if let Some(peer) = peer
            && !self.peers.acquire(peer)
        {
            self.shedding.refused(Cause::Address, self.limits.connections_per_address, || peer.to_string());
            return self.open(&self.refused, listener, None, Some(Cause::Address), of);
        }
        let admitted = self.open(&self.clients, listener, peer, None, of);
        match (&admitted, peer) {
            (Some(admitted), Some(peer)) => self.peers.add(peer, &admitted.connection),
            (None, Some(peer)) => self.peers.release(peer),
            (_, None) => {}
        }
        if admitted.is_some() {
            return admitted;
        }
        self.shedding.refused(Cause::Connections, Some(self.limits.connections), || {
            // A proxy's connections are not counted by address.
            self.peers.largest().map_or_else(|| "trusted proxies".to_owned(), largest)
        });
        self.open(&self.refused, listener, None, Some(Cause::Connections), of)
    }

    /// Takes a place for a request beside others on a connection, as a connection of its own would: an address has as many
    /// requests at a time on one connection as it has connections.
    pub fn stream(self: &Arc<Self>, arrival: Arrival, of: &ClientConnection) -> Option<Admitted> {
        self.take(arrival, Some(of))
    }

    fn open(
        self: &Arc<Self>,
        pool: &Pool,
        listener: usize,
        peer: Option<IpAddr>,
        refusal: Option<Cause>,
        of: Option<&ClientConnection>,
    ) -> Option<Admitted> {
        let connection = Arc::new(ClientConnection::new(pool.open(listener)?, refusal, of));
        connection.mark_idle();
        Some(Admitted { connection, admission: Arc::clone(self), peer })
    }

    /// True if a connection more would have to replace another. Closing the old one needs a turn of the runtime.
    pub fn is_crowded(&self) -> bool {
        self.clients.is_full() || self.refused.is_full()
    }

    /// Has some idle connections closed, as when the process has too many open files.
    pub fn evict_idle(&self, listener: usize) {
        for _ in 0..self.limits.reserve {
            if !self.clients.evict_idle(listener) {
                return;
            }
        }
    }

    /// Counts a request to a provider. `key` is a part of its token's SHA-256.
    pub fn request(
        self: &Arc<Self>,
        key: u64,
        token: &TokenId,
        user: &UserId,
    ) -> Result<RequestGuard, RequestRefusal> {
        RequestGuard::acquire(self, key, user).inspect_err(|refusal| {
            let from = || match refusal.cause {
                Cause::Token => format!("{token} of {user}"),
                Cause::Requests => {
                    self.requests.largest_user().map_or_else(|| "many users".to_owned(), largest)
                }
                Cause::User | Cause::Address | Cause::Connections => user.to_string(),
            };
            self.shedding.refused(refusal.cause, Some(refusal.limit), from);
        })
    }

    /// Counts an error of this machine.
    pub fn local_error(&self, error: LocalError) {
        self.local_errors.add(error);
    }

    /// Logs the end of load shedding that has stopped. Call it every few seconds.
    pub fn tick(&self) {
        self.shedding.tick();
    }

    /// The current numbers, and their limits.
    pub fn load(&self) -> Load {
        Load::of(self)
    }
}

fn largest((who, number): (impl Display, usize)) -> String {
    format!("{who}, with {number} of them")
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connection.close();
        if let Some(peer) = self.peer {
            self.admission.peers.release(peer);
        }
    }
}
