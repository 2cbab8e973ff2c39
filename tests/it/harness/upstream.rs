//! The upstream, played by the test itself: it accepts the next request, reads it, and writes the test's bytes at
//! the test's time. There is no thread, so no race: the gateway cannot have read bytes that the test has not
//! written.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tollgate::mock::Authority;

use super::wire::{Broken, LIMIT, Message, Wire};

/// A server played by the test.
pub struct Upstream {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    idle: Vec<Wire>,
    /// The number of accepted connections.
    pub connections: usize,
}

/// The next event at the gateway's two sides.
pub enum Next {
    /// A request begins to arrive on this connection.
    Request(Wire),
    /// The client's connection has something to read, or has ended.
    Client,
}

impl Upstream {
    /// A server without TLS.
    pub fn plain() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        Self { listener, tls: None, idle: Vec::new(), connections: 0 }
    }

    /// A server with TLS, for any name.
    pub fn tls(authority: Arc<Authority>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows every version")
            .with_no_client_auth()
            .with_cert_resolver(authority);
        Self { tls: Some(Arc::new(config)), ..Self::plain() }
    }

    /// A server with TLS that demands a client certificate of the authority with this PEM.
    pub fn mutual_tls(authority: Arc<Authority>, clients: &str) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(clients.as_bytes()).expect("a PEM")).expect("an authority");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows every version")
            .with_client_cert_verifier(verifier.build().expect("it has an authority"))
            .with_cert_resolver(authority);
        Self { tls: Some(Arc::new(config)), ..Self::plain() }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a listener has an address")
    }

    /// The connection on which the next request arrives.
    pub fn next(&mut self) -> Wire {
        match self.wait(&[], true) {
            Some(Next::Request(wire)) => wire,
            Some(Next::Client) | None => panic!("no request reached the upstream within {LIMIT:?}"),
        }
    }

    /// The next whole request, and its connection.
    pub fn request(&mut self) -> (Message, Wire) {
        let mut wire = self.next();
        let request = wire.request().unwrap_or_else(|broken| panic!("{broken:?}; {wire:?}"));
        (request, wire)
    }

    /// The next event: a request here, or something on the client's connection.
    pub fn next_or(&mut self, client: &Wire) -> Next {
        self.wait(&[client.as_fd()], true).unwrap_or_else(|| panic!("nothing happened within {LIMIT:?}"))
    }

    /// The connection of the next request. None if one arrives at another upstream first.
    pub fn next_unless(&mut self, other: &Self) -> Option<Wire> {
        let others: Vec<_> =
            [other.listener.as_fd()].into_iter().chain(other.idle.iter().map(AsFd::as_fd)).collect();
        match self.wait(&others, true).unwrap_or_else(|| panic!("nothing happened within {LIMIT:?}")) {
            Next::Request(wire) => Some(wire),
            Next::Client => None,
        }
    }

    /// Keeps a connection open, for the next request.
    pub fn keep(&mut self, wire: Wire) {
        assert_eq!(wire.left_over(), b"", "bytes follow a request on an upstream connection");
        self.idle.push(wire);
    }

    /// Fails if anything has arrived here.
    pub fn saw_nothing(&mut self) {
        if let Some(Next::Request(mut wire)) = self.wait(&[], false) {
            panic!("the upstream was to see nothing, but saw {:?}", wire.request());
        }
    }

    /// Fails if any byte has arrived here: a connection may have been opened.
    pub fn saw_no_byte(&mut self) {
        if let Some(Next::Request(mut wire)) = self.wait(&[], false) {
            let seen = wire.request();
            assert!(matches!(seen, Err(Broken::Closed)), "the upstream saw {seen:?}");
        }
    }

    /// Fails if a whole request has arrived here: a connection, or the begin of a request that was then given up, may have.
    pub fn saw_no_request(&mut self) {
        if let Some(Next::Request(mut wire)) = self.wait(&[], false) {
            let seen = wire.request();
            assert!(
                matches!(seen, Err(Broken::Closed | Broken::Cut)),
                "the upstream saw {:?}",
                seen.map(|_| ())
            );
        }
    }

    /// Waits until the gateway has closed all unused connections.
    pub fn drop_idle(&mut self) {
        self.idle.clear();
    }

    fn wait(&mut self, others: &[BorrowedFd<'_>], patient: bool) -> Option<Next> {
        let start = Instant::now();
        loop {
            let left =
                if patient { LIMIT.saturating_sub(start.elapsed()) } else { std::time::Duration::ZERO };
            let ready = self.poll(others, Timespec::try_from(left).expect("ten seconds fit"))?;
            if ready == 0 {
                return Some(Next::Client);
            }
            if let Some(wire) = self.take(ready - 1) {
                return Some(Next::Request(wire));
            }
        }
    }

    /// Index of a ready source: 0 the others, 1 the listener, above it the unused connections. Connections precede
    /// the others, so that nothing that reached the upstream is missed.
    fn poll(&self, others: &[BorrowedFd<'_>], left: Timespec) -> Option<usize> {
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        fds.extend(self.idle.iter().map(|wire| PollFd::new(wire, PollFlags::IN)));
        fds.extend(others.iter().map(|other| PollFd::new(other, PollFlags::IN)));
        poll(&mut fds, Some(&left)).expect("the sockets are open");
        let ready = fds.iter().position(|fd| !fd.revents().is_empty())?;
        Some(if ready > self.idle.len() { 0 } else { ready + 1 })
    }

    /// The connection of a ready source. None if it has ended.
    fn take(&mut self, place: usize) -> Option<Wire> {
        if place > 0 {
            let wire = self.idle.remove(place - 1);
            let mut byte = [0];
            return matches!(wire.socket().peek(&mut byte), Ok(1)).then_some(wire);
        }
        let (socket, _) = self.listener.accept().expect("a connection is waiting");
        self.connections += 1;
        let Some(config) = &self.tls else { return Some(Wire::plain(socket)) };
        let connection = ServerConnection::new(Arc::clone(config)).expect("the configuration is good");
        Some(Wire::tls(socket, connection))
    }
}
