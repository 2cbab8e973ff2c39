//! Opens one connection: directly or through a proxy (`proxy`), with a destination check of every address, happy eyeballs
//! (RFC 8305) and TLS. The certificate is verified against the origin's host, wherever the connection leads.
//!
//! The addresses of a proxy are the operator's: they may be private.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, Sleep, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    admission::LocalError,
    origin::{Origin, Scheme},
};

use super::{
    Shared, Target,
    destination::{self, HostKind},
    error::SendError,
    io::Io,
    proxy::{self, Proxy, ProxyError},
    socket::{Socket, SocketWatch, Tunnel},
};

/// Delay before the next address is tried in parallel (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Maximum number of addresses tried per name.
const MAX_ADDRESSES: usize = 16;
/// TCP keep-alive: idle time before the first probe, and between probes.
const KEEPALIVE_TIME: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The end of the time for one connection, and its length for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) limit: Duration,
}

/// The way to an origin.
enum Route<'r> {
    /// To this host and port: those of the origin or of a connect rule.
    Direct(&'r Origin),
    Proxy(&'r Proxy),
}

/// A connection to a proxy.
enum Carrier {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// What vouches for private addresses of a name.
#[derive(Clone, Copy)]
struct Vouched {
    /// A pattern of `user_origins`.
    by_user: bool,
    /// A setting, for all names.
    allow_private: bool,
}

fn vouched(shared: &Shared, to: Target<'_>) -> Vouched {
    Vouched { by_user: to.is_entered(), allow_private: shared.config.allow_private }
}

/// A connect rule goes first: its author names the address to call.
fn route<'r>(shared: &'r Shared, origin: &'r Origin) -> Route<'r> {
    if let Some(target) = shared.config.connect_to.iter().find_map(|rule| rule.target(origin)) {
        return Route::Direct(target);
    }
    let proxy = shared.config.proxies.as_ref().and_then(|proxies| proxies.of(origin));
    proxy.map_or(Route::Direct(origin), Route::Proxy)
}

/// The proxy that forwards requests to `origin`, which is not the end of a tunnel.
pub(super) fn forwarding<'r>(shared: &'r Shared, origin: &'r Origin) -> Option<&'r Proxy> {
    if origin.scheme == Scheme::Https || shared.config.proxies.is_none() {
        return None;
    }
    match route(shared, origin) {
        Route::Proxy(proxy) => Some(proxy),
        Route::Direct(_) => None,
    }
}

/// Opens a connection for requests to `to`.
pub(super) async fn connect(
    shared: &Shared,
    to: Target<'_>,
    due: Due,
) -> Result<(Io, SocketWatch), SendError> {
    match route(shared, to.origin) {
        Route::Direct(target) => direct(shared, to, target, due).await,
        Route::Proxy(proxy) => through(shared, to, proxy, due).await,
    }
}

async fn direct(
    shared: &Shared,
    to: Target<'_>,
    target: &Origin,
    due: Due,
) -> Result<(Io, SocketWatch), SendError> {
    let addresses = timeout_at(due.at, resolve(shared, target, vouched(shared, to)))
        .await
        .unwrap_or_else(|_| Err(SendError::DnsTimeout { host: target.host().into(), limit: due.limit }))?;
    let opening = async {
        let socket = dial(addresses).await.map_err(|error| SendError::connecting(target.host(), error))?;
        let watch = socket.watch();
        let io = match to.origin.scheme {
            Scheme::Http => Io::Plain(TokioIo::new(socket)),
            Scheme::Https => Io::Tls(TokioIo::new(secure(shared, to, socket.with_tls()).await?)),
        };
        Ok((io, watch))
    };
    timeout_at(due.at, opening).await.unwrap_or_else(|_| Err(timed_out(to.origin, due)))
}

/// The proxy resolves the origin's name: a literal address is checked here, and a name by its form.
async fn through(
    shared: &Shared,
    to: Target<'_>,
    proxy: &Proxy,
    due: Due,
) -> Result<(Io, SocketWatch), SendError> {
    let origin = to.origin;
    // A pattern names the host of an origin that a user entered.
    permitted_through_proxy(origin, to.is_entered() || shared.config.allow_private)?;
    let failed = |error| proxy.failed(origin.host(), error);
    let (carrier, watch) = timeout_at(due.at, carrier(shared, proxy, origin))
        .await
        .unwrap_or_else(|_| Err(failed(ProxyError::Timeout(due.limit))))?;
    let io = match (origin.scheme, carrier) {
        (Scheme::Http, Carrier::Plain(socket)) => Io::Plain(TokioIo::new(socket)),
        (Scheme::Http, Carrier::Tls(stream)) => Io::Tls(TokioIo::new(*stream)),
        (Scheme::Https, carrier) => {
            let securing = async {
                Ok(match carrier {
                    Carrier::Plain(socket) => {
                        Io::Tls(TokioIo::new(secure(shared, to, socket.with_tls()).await?))
                    }
                    Carrier::Tls(stream) => {
                        let tunnel = Tunnel::new(*stream, watch.clone());
                        Io::Nested(Box::new(TokioIo::new(secure(shared, to, tunnel).await?)))
                    }
                })
            };
            timeout_at(due.at, securing).await.unwrap_or_else(|_| Err(timed_out(origin, due)))?
        }
    };
    Ok((io, watch))
}

fn timed_out(origin: &Origin, due: Due) -> SendError {
    SendError::ConnectTimeout { host: origin.host().into(), limit: due.limit }
}

/// A connection to `proxy`. For an `https` origin, its tunnel is open.
async fn carrier(
    shared: &Shared,
    proxy: &Proxy,
    origin: &Origin,
) -> Result<(Carrier, SocketWatch), SendError> {
    let at = proxy.origin();
    let failed = |error| proxy.failed(origin.host(), error);
    let unreachable = |error| match error {
        // This machine is at fault, and no proxy.
        error @ SendError::Local { .. } => error,
        error => failed(ProxyError::Unreachable(Box::new(error))),
    };
    let addresses =
        resolve(shared, at, Vouched { by_user: false, allow_private: true }).await.map_err(unreachable)?;
    let socket =
        dial(addresses).await.map_err(|error| unreachable(SendError::connecting(at.host(), error)))?;
    let watch = socket.watch();
    let mut carrier = match at.scheme {
        Scheme::Http => Carrier::Plain(socket),
        Scheme::Https => {
            let stream = handshake(&shared.tls, at.host(), socket.with_tls()).await;
            let stream = stream.map_err(|error| match LocalError::in_chain(&error) {
                Some(_) => tls_error(at.host(), error),
                None => failed(ProxyError::Tls(error)),
            })?;
            Carrier::Tls(Box::new(stream))
        }
    };
    if origin.scheme == Scheme::Https {
        let opened = match &mut carrier {
            Carrier::Plain(socket) => proxy::establish(socket, proxy, origin).await,
            Carrier::Tls(stream) => proxy::establish(&mut **stream, proxy, origin).await,
        };
        opened.map_err(failed)?;
    }
    Ok((carrier, watch))
}

/// TLS with the origin.
async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    to: Target<'_>,
    stream: S,
) -> Result<TlsStream<S>, SendError> {
    let host = to.origin.host();
    let config = to.identity.map_or(&shared.tls, |identity| identity.config(shared));
    handshake(config, host, stream).await.map_err(|error| tls_error(host, error))
}

fn tls_error(host: &str, error: io::Error) -> SendError {
    let host = host.into();
    match LocalError::in_chain(&error) {
        Some(cause) => SendError::Local { host, cause, error: error.to_string().into() },
        None => SendError::Tls { host, error },
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: S,
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// Checks an origin whose name a proxy resolves.
fn permitted_through_proxy(origin: &Origin, allow_private: bool) -> Result<(), SendError> {
    let host = origin.host();
    match origin.ip() {
        Some(address) => destination::check(address, HostKind::Literal, allow_private)
            .map_err(|why| SendError::Forbidden { host: host.into(), address, why }),
        None => destination::check_name(host, allow_private)
            .map_err(|why| SendError::ForbiddenName { host: host.into(), why }),
    }
}

/// Addresses of `target` that pass the destination check, in the order to try them.
async fn resolve(shared: &Shared, target: &Origin, vouched: Vouched) -> Result<Vec<SocketAddr>, SendError> {
    let host = target.host();
    let (host_kind, found) = if let Some(address) = target.ip() {
        (HostKind::Literal, vec![SocketAddr::new(address, target.port)])
    } else if is_localhost(host) {
        // RFC 6761: `localhost` is loopback, without a lookup, whatever a resolver returns.
        let both: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        (HostKind::Localhost, both.map(|address| SocketAddr::new(address, target.port)).to_vec())
    } else {
        let found = shared.resolver.addresses(host).await?;
        let host_kind = if vouched.by_user { HostKind::UserEntered } else { HostKind::Name };
        (host_kind, found.iter().map(|address| SocketAddr::new(*address, target.port)).collect())
    };
    permitted(host, host_kind, found, vouched.allow_private).map(interleave)
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

pub(super) fn is_localhost(host: &str) -> bool {
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
async fn dial(addresses: Vec<SocketAddr>) -> io::Result<Socket> {
    let tcp = race(addresses).await?;
    // Optional tuning: a failure here is ignored.
    let _ = tcp.set_nodelay(true);
    let _ = SockRef::from(&tcp)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL));
    Ok(Socket::new(tcp))
}

async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
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
        let tcp = race(vec![closed, closed, open]).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), open);
        let error = race(vec![closed, closed]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
