//! Opens one connection: destination check of every address, happy eyeballs (RFC 8305), TLS. The certificate is verified
//! against the origin's host, even if a connect rule redirects the connection.
//!
//! It has no deadline of its own: the caller sets one for the whole.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_rustls::TlsConnector;

use crate::{
    admission::LocalError,
    origin::{Origin, Scheme},
};

use super::{
    Shared,
    destination::{self, HostKind},
    error::SendError,
    socket::{Socket, SocketWatch},
};

/// The byte stream of a connection, plain or TLS.
pub(super) type Io = MaybeHttpsStream<TokioIo<Socket>>;

/// Delay before the next address is tried in parallel (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Maximum number of addresses tried per name.
const MAX_ADDRESSES: usize = 16;
/// TCP keep-alive: idle time before the first probe, and between probes.
const KEEPALIVE_TIME: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The destination of connections to `origin`, after connect rules.
pub(super) fn target<'r>(shared: &'r Shared, origin: &'r Origin) -> &'r Origin {
    shared.config.connect_to.iter().find_map(|rule| rule.target(origin)).unwrap_or(origin)
}

/// Opens a connection to `origin`, whose [`target`] has these addresses.
pub(super) async fn connect(
    shared: &Shared,
    origin: &Origin,
    target: &Origin,
    addresses: Vec<SocketAddr>,
) -> Result<(Io, SocketWatch), SendError> {
    let tcp = dial(addresses).await.map_err(|error| SendError::connecting(target.host(), error))?;
    // Optional tuning: a failure here is ignored.
    let _ = tcp.set_nodelay(true);
    let _ = SockRef::from(&tcp)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL));
    let socket = Socket::new(tcp, origin.scheme == Scheme::Https);
    let watch = socket.watch();
    let io = match origin.scheme {
        Scheme::Http => Io::from(TokioIo::new(socket)),
        Scheme::Https => handshake(shared, origin.host(), socket).await.map_err(|error| {
            let host = origin.host().into();
            match LocalError::in_chain(&error) {
                Some(cause) => SendError::Local { host, cause, error: error.to_string().into() },
                None => SendError::Tls { host, error },
            }
        })?,
    };
    Ok((io, watch))
}

async fn handshake(shared: &Shared, host: &str, socket: Socket) -> io::Result<Io> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let tls = TlsConnector::from(Arc::clone(&shared.tls));
    Ok(Io::from(tls.connect(name, TokioIo::new(TokioIo::new(socket))).await?))
}

/// Addresses of `target` that pass the destination check, in the order to try them.
pub(super) async fn resolve(shared: &Shared, target: &Origin) -> Result<Vec<SocketAddr>, SendError> {
    let host = target.host();
    let (host_kind, found) = if let Some(address) = target.ip() {
        (HostKind::Literal, vec![SocketAddr::new(address, target.port)])
    } else if is_localhost(host) {
        // RFC 6761: `localhost` is loopback, without a lookup, whatever a resolver returns.
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        (HostKind::Localhost, both.map(|address| SocketAddr::new(address, target.port)).to_vec())
    } else {
        let found = shared.resolver.addresses(host).await?;
        (HostKind::Name, found.iter().map(|address| SocketAddr::new(*address, target.port)).collect())
    };
    permitted(host, host_kind, found, shared.config.allow_private).map(interleave)
}

fn permitted(
    host: &str,
    host_kind: HostKind,
    found: Vec<SocketAddr>,
    allow_private: bool,
) -> Result<Vec<SocketAddr>, SendError> {
    let mut allowed = Vec::with_capacity(found.len());
    let mut refused = None;
    for address in found {
        match destination::check(address.ip(), host_kind, allow_private) {
            Ok(()) => allowed.push(address),
            Err(why) => refused = refused.or(Some((address.ip(), why))),
        }
    }
    match refused {
        Some((address, why)) if allowed.is_empty() => {
            Err(SendError::Forbidden { host: host.into(), address, why })
        }
        None if allowed.is_empty() => {
            Err(SendError::Dns { host: host.into(), error: "the name has no address".into() })
        }
        Some(_) | None => Ok(allowed),
    }
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host == "localhost" || host.ends_with(".localhost")
}

/// Alternates between IPv6 and IPv4, starting with the resolver's first family (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mine, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv6() == first_is_v6);
    let (mut mine, mut other) = (mine.into_iter(), other.into_iter());
    std::iter::from_fn(|| Some([mine.next(), other.next()]))
        .take_while(|pair| pair.iter().any(Option::is_some))
        .flat_map(|pair| pair.into_iter().flatten())
        .take(MAX_ADDRESSES)
        .collect()
}

/// Connects to the first address that accepts. The error is that of the first failed attempt.
async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [address] = addresses[..] {
        return TcpStream::connect(address).await;
    }
    let mut race = Race {
        waiting: addresses.into_iter(),
        running: Vec::new(),
        stagger: Box::pin(tokio::time::sleep(Duration::ZERO)),
        error: None,
    };
    poll_fn(|cx| race.poll(cx)).await
}

/// Happy eyeballs: parallel attempts, each started 250 ms after the previous one or as soon as one fails.
struct Race {
    waiting: std::vec::IntoIter<SocketAddr>,
    running: Vec<Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>>,
    stagger: Pin<Box<Sleep>>,
    error: Option<io::Error>,
}

impl Race {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        loop {
            if let Some(tcp) = self.poll_running(cx) {
                return Poll::Ready(Ok(tcp));
            }
            let due = self.running.is_empty() || self.stagger.as_mut().poll(cx).is_ready();
            match self.waiting.as_slice().first() {
                Some(_) if !due => return Poll::Pending,
                Some(_) => self.start(),
                None if self.running.is_empty() => return Poll::Ready(Err(self.failure())),
                None => return Poll::Pending,
            }
        }
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> Option<TcpStream> {
        let mut index = 0;
        while let Some(attempt) = self.running.get_mut(index) {
            match attempt.as_mut().poll(cx) {
                Poll::Ready(Ok(tcp)) => return Some(tcp),
                Poll::Ready(Err(error)) => {
                    drop(self.running.swap_remove(index));
                    self.error.get_or_insert(error);
                    // The next attempt starts at once.
                    self.stagger.as_mut().reset(Instant::now());
                }
                Poll::Pending => index += 1,
            }
        }
        None
    }

    fn start(&mut self) {
        if let Some(address) = self.waiting.next() {
            self.running.push(Box::pin(TcpStream::connect(address)));
            self.stagger.as_mut().reset(Instant::now() + STAGGER);
        }
    }

    fn failure(&mut self) -> io::Error {
        self.error.take().unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let check = |addresses: &str, expected: &str| {
            let parse = |list: &str| -> Vec<SocketAddr> {
                list.split_whitespace().map(|ip| SocketAddr::new(ip.parse().unwrap(), 1)).collect()
            };
            assert_eq!(interleave(parse(addresses)), parse(expected), "{addresses}");
        };
        check("", "");
        check("1.1.1.1", "1.1.1.1");
        check("::1 ::2 1.1.1.1 1.1.1.2 1.1.1.3", "::1 1.1.1.1 ::2 1.1.1.2 1.1.1.3");
        check("1.1.1.1 1.1.1.2 ::1", "1.1.1.1 ::1 1.1.1.2");
        check(&"1.1.1.1 ".repeat(40), &"1.1.1.1 ".repeat(MAX_ADDRESSES));
    }

    #[test]
    fn addresses_that_may_be_called() {
        let check = |host_kind: HostKind, found: &str, expected: Result<usize, &str>| {
            let found = found.split_whitespace().map(|ip| SocketAddr::new(ip.parse().unwrap(), 1)).collect();
            let verdict = permitted("demo", host_kind, found, false);
            match (verdict, expected) {
                (Ok(allowed), expected) => assert_eq!(Ok(allowed.len()), expected),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
                (Err(error), Ok(_)) => panic!("{error}"),
            }
        };
        check(HostKind::Name, "1.1.1.1 2606:4700::1111", Ok(2));
        check(HostKind::Name, "10.0.0.1 1.1.1.1 169.254.169.254", Ok(1));
        check(HostKind::Name, "10.0.0.1 169.254.169.254", Err("leads to 10.0.0.1, a private"));
        check(HostKind::Name, "127.0.0.1", Err("a loopback"));
        check(HostKind::Name, "::ffff:169.254.169.254", Err("never called"));
        check(HostKind::Literal, "10.0.0.1", Ok(1));
        check(HostKind::Name, "", Err("does not resolve"));
    }

    #[test]
    fn localhost_names() {
        for (host, expected) in [
            ("localhost", true),
            ("localhost.", true),
            ("demo.localhost", true),
            ("xlocalhost", false),
            ("localhost.example.test", false),
        ] {
            assert_eq!(is_localhost(host), expected, "{host}");
        }
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let tcp = dial(vec![closed, closed, open]).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), open);
        let error = dial(vec![closed, closed]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
