//! Connections per peer address before authentication (IPv6: per /64), over all workers. An address at its limit replaces
//! its own idle connections.
//!
//! Sharded, so that workers seldom meet, and only when a connection begins or ends. Memory grows with connections, not with
//! addresses.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::ClientConnection;

const SHARDS: usize = 32;
/// Connections of an address that are looked at for an idle one: more than an address has by default. The next search
/// goes on behind them.
const MAX_SEARCHED: usize = 4096;
/// Closed connections that are not worth a sweep.
const FEW: usize = 16;

#[derive(Debug)]
pub(super) struct Peers {
    /// None for no limit. Connections are counted all the same: a refusal for the limit of all names the largest address.
    limit: Option<usize>,
    /// Connections above the limit: they replace idle ones that are being closed.
    slack: usize,
    shards: [Mutex<HashMap<u128, Peer>>; SHARDS],
}

/// The connections of one address.
#[derive(Debug, Default)]
struct Peer {
    open: usize,
    /// Those that can be replaced while they are idle. Closed ones leave later.
    connections: VecDeque<Arc<ClientConnection>>,
}

impl Peers {
    pub(super) fn new(limit: Option<usize>, slack: usize) -> Self {
        Self { limit, slack, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Counts a connection. False, and it is not counted, if the address has as many as it may.
    pub(super) fn acquire(&self, peer: IpAddr) -> bool {
        let limit = self.limit.unwrap_or(usize::MAX - self.slack);
        let network = network(peer);
        let mut shard = self.shard(network);
        let peer = shard.entry(network).or_default();
        // Also where this one is refused, so that there is room for the next.
        if peer.open < limit || (peer.evict_idle() && peer.open < limit + self.slack) {
            peer.open += 1;
            return true;
        }
        false
    }

    /// Lists a counted connection, which may be closed for another one of its address.
    pub(super) fn add(&self, peer: IpAddr, connection: &Arc<ClientConnection>) {
        if self.limit.is_none() {
            return;
        }
        let network = network(peer);
        let mut shard = self.shard(network);
        let Some(peer) = shard.get_mut(&network) else { return };
        peer.connections.push_back(Arc::clone(connection));
        if peer.connections.len() > FEW + 2 * peer.open {
            peer.connections.retain(|connection| !connection.is_closed());
        }
    }

    /// Gives a counted connection back.
    pub(super) fn release(&self, peer: IpAddr) {
        let network = network(peer);
        let mut shard = self.shard(network);
        let Some(peer) = shard.get_mut(&network) else { return };
        peer.open -= 1;
        if peer.open == 0 {
            shard.remove(&network);
        }
    }

    /// The address with the most connections, and their number. The address is one of its network.
    pub(super) fn largest(&self) -> Option<(IpAddr, usize)> {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        let largest =
            shards.filter_map(|shard| shard.iter().map(|(network, peer)| (peer.open, *network)).max());
        largest.max().map(|(open, network)| (IpAddr::from(network.to_be_bytes()).to_canonical(), open))
    }

    fn shard(&self, network: u128) -> MutexGuard<'_, HashMap<u128, Peer>> {
        let folded = network ^ (network >> 64) ^ (network >> 8);
        let index = usize::try_from(folded % SHARDS as u128).expect("a shard's number is small");
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    /// Asks an idle connection to close. False if there is none among those that are looked at.
    fn evict_idle(&mut self) -> bool {
        for _ in 0..self.connections.len().min(MAX_SEARCHED) {
            let Some(connection) = self.connections.pop_front() else { return false };
            if connection.is_closed() {
                continue;
            }
            if connection.is_idle() {
                connection.evict();
                return true;
            }
            self.connections.push_back(connection);
        }
        false
    }
}

/// The unit that is counted: an IPv4 address, or the /64 prefix of an IPv6 address.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_limit_and_gives_back() {
        let peers = Peers::new(Some(2), 1);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(peers.acquire(address("2001:db8::1")) && peers.acquire(address("2001:db8::2")));
        assert!(!peers.acquire(address("2001:db8::3")), "a /64 counts as one");
        assert!(peers.acquire(address("2001:db8:0:1::1")) && peers.acquire(address("192.0.2.1")));
        assert!(peers.acquire(address("::ffff:192.0.2.1")) && !peers.acquire(address("192.0.2.1")));
        assert_eq!(peers.largest(), Some((address("2001:db8::"), 2)));
        peers.release(address("2001:db8::2"));
        assert_eq!(peers.largest(), Some((address("192.0.2.1"), 2)));
        assert!(peers.acquire(address("2001:db8::4")));
        for text in ["2001:db8::1", "2001:db8::1", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.1"] {
            peers.release(address(text));
        }
        let entries = peers.shards.iter().map(|shard| shard.lock().unwrap().len());
        assert_eq!(entries.sum::<usize>(), 0, "an address without connections leaves no entry");
        let unlimited = Peers::new(None, 1);
        assert!((0..1000).all(|_| unlimited.acquire(address("192.0.2.1"))));
        assert_eq!(unlimited.largest(), Some((address("192.0.2.1"), 1000)));
    }
}
