//! Outgoing proxies, played byte for byte.

use rcgen::{CertifiedIssuer, KeyPair};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use crate::{fault::FaultKind, origin::Origin, settings::Bypass};

use super::{
    peer::Server,
    secure::{acceptor, certificate_authority},
    *,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

fn origin(url: &str) -> Origin {
    Origin::split(url).unwrap().0
}

fn through(url: &str, issuer: Option<&CertifiedIssuer<'_, KeyPair>>) -> Config {
    let proxy = Proxy::parse(url).unwrap();
    Config {
        proxies: Some(Proxies { http: Some(proxy.clone()), https: Some(proxy), bypass: Bypass::default() }),
        extra_ca: issuer.map(|issuer| issuer.der().clone()).into_iter().collect(),
        ..Config::default()
    }
}

/// A proxy that opens tunnels to an origin with TLS, which it plays itself.
async fn tunnels(origin: TlsAcceptor) -> Server {
    Server::run(move |_, mut peer| {
        let origin = origin.clone();
        async move {
            peer.head().await;
            peer.write(OPEN).await;
            let Some(mut peer) = peer.secure(origin).await else { return };
            while peer.head().await.is_some() {
                peer.write(OK).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_tunnel_carries_requests_one_after_another() {
    let issuer = certificate_authority();
    let server = tunnels(acceptor(&issuer, &["api.example.test"])).await;
    let upstream = upstream_with(through(&format!("http://ada:pw@127.0.0.1:{}", server.port), Some(&issuer)));
    for _ in 0..3 {
        let answer = upstream.send(&origin("https://api.example.test"), get(), DEADLINES).await;
        assert_eq!(text(answer).await, "ok");
    }
    assert_eq!(server.connections(), 1);
    let heads = server.heads();
    assert_eq!(heads.len(), 4);
    assert_eq!(
        heads[0],
        "CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test:443\r\nProxy-Authorization: Basic YWRhOnB3\r\n\r\n"
    );
    for head in &heads[1..] {
        assert!(head.starts_with("GET /v1/demo?x=1 HTTP/1.1\r\n"), "{head}");
        assert!(
            !head.to_lowercase().contains("proxy-"),
            "the origin sees no credentials of the proxy: {head}"
        );
    }
    // The certificate has to be for the origin, and a tunnel is for one origin.
    let error = upstream.send(&origin("https://wrong.example.test"), get(), DEADLINES).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamTls, "{error}");
}

#[tokio::test]
async fn plain_requests_are_sent_in_absolute_form() {
    let server = Server::answering(&[OK]).await;
    let upstream = upstream_with(through(&format!("http://ada:pw@127.0.0.1:{}", server.port), None));
    for _ in 0..2 {
        let answer = upstream.send(&origin("http://demo.example.test:81"), get(), DEADLINES).await;
        assert_eq!(text(answer).await, "ok");
    }
    assert_eq!(server.connections(), 1);
    for head in server.heads() {
        assert!(head.starts_with("GET http://demo.example.test:81/v1/demo?x=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("proxy-authorization: Basic YWRhOnB3\r\n"), "{head}");
        assert!(head.contains("host: demo.example.test\r\n"), "{head}");
    }
}

/// TLS with the proxy, and in it TLS with the origin. A part of a record of the inner TLS is unread, as of the outer one.
#[tokio::test]
async fn a_proxy_with_tls() {
    const LATE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate";
    let issuer = certificate_authority();
    let (proxy, inner) = (acceptor(&issuer, &["127.0.0.1"]), acceptor(&issuer, &["api.example.test"]));
    let server = Server::run(move |number, peer| {
        let (proxy, inner) = (proxy.clone(), inner.clone());
        async move {
            let Some(mut peer) = peer.secure(proxy).await else { return };
            let head = peer.head().await.unwrap();
            if head.starts_with("GET http://") {
                peer.write(OK).await;
                return peer.hang().await;
            }
            peer.write(OPEN).await;
            let Ok(stream) = inner.accept(peer.stream).await else { return };
            let mut peer = peer::Peer::new(stream);
            while number > 1 && peer.head().await.is_some() {
                peer.write(OK).await;
            }
            peer.head().await;
            let (outer, tls) = peer.stream.get_mut();
            let mut records = Vec::new();
            for text in [OK, LATE] {
                std::io::Write::write_all(&mut tls.writer(), text.as_bytes()).unwrap();
                tls.write_tls(&mut records).unwrap();
            }
            records.truncate(records.len() - 9);
            outer.write_all(&records).await.unwrap();
            outer.flush().await.unwrap();
            peer.hang().await;
        }
    })
    .await;
    let upstream = upstream_with(through(&format!("https://127.0.0.1:{}", server.port), Some(&issuer)));
    let answer = upstream.send(&origin("http://demo.example.test"), get(), DEADLINES).await;
    assert_eq!(text(answer).await, "ok");
    for connections in [2, 3, 3] {
        let answer = upstream.send(&origin("https://api.example.test"), get(), DEADLINES).await;
        assert_eq!(text(answer).await, "ok");
        assert_eq!(server.connections(), connections);
    }
}

/// Expects this failure of a proxy that answers with `pieces` and closes.
async fn check(pieces: &'static [&'static str], url: &str, expected: &str) {
    let server = Server::answering_once(pieces).await;
    let upstream = upstream_with(through(&format!("http://ada:s3cret@127.0.0.1:{}", server.port), None));
    let sent = upstream.send(&origin(url), get(), DEADLINES).await.map(drop);
    let switched = upstream.switch(&origin(url), get(), &HeaderMap::new(), DEADLINES).await.map(drop);
    for error in [sent.unwrap_err(), switched.unwrap_err()] {
        assert_eq!(error.kind(), FaultKind::ProxyFailed, "{error}");
        let shown = error.to_string();
        assert!(
            shown.contains(&format!("the outgoing proxy http://127.0.0.1:{} {expected}", server.port)),
            "{shown}"
        );
        assert!(!format!("{shown} {error:?}").contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn failures_are_the_proxys() {
    let https = "https://api.example.test";
    check(&["HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"], https, "refused its credentials (407)")
        .await;
    check(&["HTTP/1.1 403 Forbidden\r\n\r\n"], https, "refused a tunnel with status 403").await;
    check(&["SSH-2.0-OpenSSH_9.6\r\n"], https, "gave an answer that cannot be used").await;
    check(&["HTTP/1.1 200 OK\r\n\r\nmore"], https, "gave an answer that cannot be used").await;
    check(&["HTTP/1.1 200"], https, "closed the connection before it opened a tunnel").await;
    check(&[], https, "closed the connection before it opened a tunnel").await;
    let http = "http://demo.example.test";
    check(&["HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n"], http, "refused its credentials (407)").await;
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_or_is_slow() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let upstream = upstream_with(through(&format!("http://{closed}"), None));
    let error = upstream.send(&origin("https://api.example.test"), get(), DEADLINES).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::ProxyFailed, "{error}");
    assert!(error.to_string().contains("cannot be used: `127.0.0.1` cannot be reached"), "{error}");
    let silent = Server::run(|_, peer| peer.hang()).await;
    for scheme in ["http", "https"] {
        let upstream = upstream_with(through(&format!("{scheme}://127.0.0.1:{}", silent.port), None));
        let deadlines = Deadlines { connect: SHORT, ..DEADLINES };
        let error = upstream.send(&origin("https://api.example.test"), get(), deadlines).await.unwrap_err();
        assert_eq!(error.kind(), FaultKind::ProxyFailed, "{error}");
        assert!(error.to_string().contains("did not open a connection within 50ms"), "{error}");
    }
    // A tunnel that is open and silent is the origin's.
    let open = Server::run(|_, mut peer| async move {
        peer.head().await;
        peer.write(OPEN).await;
        peer.hang().await;
    })
    .await;
    let upstream = upstream_with(through(&format!("http://127.0.0.1:{}", open.port), None));
    let deadlines = Deadlines { connect: SHORT, ..DEADLINES };
    let error = upstream.send(&origin("https://api.example.test"), get(), deadlines).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamConnectTimeout, "{error}");
}

#[tokio::test]
async fn a_proxy_leads_to_no_forbidden_destination() {
    let server = Server::answering(&[OK]).await;
    let config = through(&format!("http://127.0.0.1:{}", server.port), None);
    let strict = upstream_with(config.clone());
    let lax = upstream_with(Config { allow_private: true, ..config });
    for (url, allowed) in [
        ("http://169.254.169.254", false),
        ("https://[::ffff:169.254.169.254]", false),
        ("http://0.0.0.0", false),
        ("http://intranet", true),
        ("http://db.internal", true),
        ("http://printer.local.", true),
    ] {
        let error = strict.send(&origin(url), get(), DEADLINES).await.unwrap_err();
        assert_eq!(error.kind(), FaultKind::UpstreamForbidden, "{url}: {error}");
        assert_eq!(lax.send(&origin(url), get(), DEADLINES).await.is_ok(), allowed, "{url}");
    }
    // An address that the file itself names is meant, as without a proxy.
    assert!(strict.send(&origin("http://10.0.0.1"), get(), DEADLINES).await.is_ok());
}

#[tokio::test]
async fn ways_without_the_proxy() {
    let (proxy, direct) = (Server::answering(&[OK]).await, Server::answering(&[OK]).await);
    let mut config = through(&format!("http://127.0.0.1:{}", proxy.port), None);
    config.connect_to =
        vec![ConnectRule::parse(&format!("ruled.example.test:80=127.0.0.1:{}", direct.port)).unwrap()];
    let upstream = upstream_with(config);
    for (url, connections) in [
        // This machine itself, and a connect rule.
        (format!("http://127.0.0.1:{}", direct.port), (0, 1)),
        ("http://ruled.example.test".to_owned(), (0, 2)),
        ("http://other.example.test".to_owned(), (1, 2)),
    ] {
        assert_eq!(text(upstream.send(&origin(&url), get(), DEADLINES).await).await, "ok");
        assert_eq!((proxy.connections(), direct.connections()), connections, "{url}");
    }
}
