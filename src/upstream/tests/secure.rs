//! TLS and `connect_to` rules.

use std::io::Write as _;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{io::AsyncWriteExt as _, sync::mpsc};
use tokio_rustls::TlsAcceptor;

use crate::{bind::TlsTexts, fault::FaultKind, origin::Origin, syntax::Roots};

use super::{peer::Server, *};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(super) fn certificate_authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(super) fn acceptor(issuer: &CertifiedIssuer<'_, KeyPair>, names: &[&str]) -> TlsAcceptor {
    acceptor_for(issuer, names, None)
}

/// A server that demands a client certificate of this authority.
fn acceptor_for(
    issuer: &CertifiedIssuer<'_, KeyPair>,
    names: &[&str],
    clients: Option<&CertifiedIssuer<'_, KeyPair>>,
) -> TlsAcceptor {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// The server name (SNI) and the negotiated protocol (ALPN) of a TLS handshake.
type Hello = (Option<String>, Option<Vec<u8>>);

async fn secure_server(acceptor: TlsAcceptor) -> (Server, mpsc::Receiver<Hello>) {
    let (sender, hellos) = mpsc::channel(9);
    let server = Server::run(move |_, peer| {
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        async move {
            let Some(mut peer) = peer.secure(acceptor).await else { return };
            let connection = peer.stream.get_ref().1;
            let hello =
                (connection.server_name().map(str::to_owned), connection.alpn_protocol().map(<[u8]>::to_vec));
            sender.send(hello).await.unwrap();
            while peer.head().await.is_some() {
                peer.write(OK).await;
            }
        }
    })
    .await;
    (server, hellos)
}

#[tokio::test]
async fn an_extra_ca_and_a_connect_rule() {
    let issuer = certificate_authority();
    let (server, mut hellos) = secure_server(acceptor(&issuer, &["api.example.test", "127.0.0.1"])).await;
    let config = |extra_ca: bool| Config {
        connect_to: vec![ConnectRule::parse(&format!("*:443=127.0.0.1:{}", server.port)).unwrap()],
        extra_ca: if extra_ca { vec![issuer.der().clone()] } else { Vec::new() },
        ..Config::default()
    };
    let upstream = upstream_with(config(true));
    let (origin, _) = Origin::split("https://api.example.test").unwrap();
    for _ in 0..3 {
        assert_eq!(text(upstream.send(&origin, get(), DEADLINES).await).await, "ok");
    }
    assert_eq!(server.connections(), 1, "reused, session tickets notwithstanding");
    let hello = hellos.recv().await.unwrap();
    assert_eq!(hello, (Some("api.example.test".to_owned()), Some(b"http/1.1".to_vec())));

    let (literal, _) = Origin::split(&format!("https://127.0.0.1:{}", server.port)).unwrap();
    assert_eq!(text(upstream.send(&literal, get(), DEADLINES).await).await, "ok");

    let (wrong, _) = Origin::split("https://wrong.example.test").unwrap();
    let error = upstream.send(&wrong, get(), DEADLINES).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamTls, "{error}");
    assert!(error.to_string().contains("wrong.example.test"), "{error}");

    let error = upstream_with(config(false)).send(&origin, get(), DEADLINES).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamTls, "{error}");
}

/// A part of a second response was read together with the first one, and TLS holds it until its record is complete. It is
/// not the response to the next request.
#[tokio::test]
async fn a_connection_with_a_part_of_a_record_is_not_used() {
    const LATE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate";
    let issuer = certificate_authority();
    let acceptor = acceptor(&issuer, &["127.0.0.1"]);
    let server = Server::run(move |number, peer| {
        let acceptor = acceptor.clone();
        async move {
            let Some(mut peer) = peer.secure(acceptor).await else { return };
            while number > 0 && peer.head().await.is_some() {
                peer.write(OK).await;
            }
            peer.head().await;
            let (tcp, tls) = peer.stream.get_mut();
            let mut records = Vec::new();
            for text in [OK, LATE] {
                tls.writer().write_all(text.as_bytes()).unwrap();
                tls.write_tls(&mut records).unwrap();
            }
            let rest = records.split_off(records.len() - 9);
            tcp.write_all(&records).await.unwrap();
            peer.head().await;
            let _ = peer.stream.get_mut().0.write_all(&rest).await;
        }
    })
    .await;
    let upstream = upstream_with(Config { extra_ca: vec![issuer.der().clone()], ..Config::default() });
    let (origin, _) = Origin::split(&format!("https://127.0.0.1:{}", server.port)).unwrap();
    for connections in [1, 2, 2] {
        assert_eq!(text(upstream.send(&origin, get(), DEADLINES).await).await, "ok");
        assert_eq!(server.connections(), connections);
    }
}

/// The identity of a client with a certificate of `clients`, that trusts `servers` alone.
fn identity(
    servers: &CertifiedIssuer<'_, KeyPair>,
    clients: Option<&CertifiedIssuer<'_, KeyPair>>,
) -> Identity {
    let (key, servers) = (KeyPair::generate().unwrap(), servers.pem());
    let params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
    let certificate = clients.map(|clients| params.signed_by(&key, clients).unwrap().pem());
    let key = key.serialize_pem();
    let client = certificate.as_deref().map(|certificate| (certificate, key.as_str()));
    Identity::new(&TlsTexts { ca: Some(&servers), roots: Roots::Only, client }).unwrap()
}

#[tokio::test]
async fn identities_share_no_connection() {
    let (servers, clients) = (certificate_authority(), certificate_authority());
    let (server, _hellos) = secure_server(acceptor_for(&servers, &["127.0.0.1"], Some(&clients))).await;
    let upstream = upstream();
    let (origin, _) = Origin::split(&format!("https://127.0.0.1:{}", server.port)).unwrap();
    let (one, other) = (identity(&servers, Some(&clients)), identity(&servers, Some(&clients)));
    for (identity, connections) in [(&one, 1), (&other, 2), (&one, 2), (&other, 2)] {
        let to = Target { origin: &origin, identity: Some(identity), entered: None };
        assert_eq!(text(upstream.send(to, get(), DEADLINES).await).await, "ok");
        assert_eq!(server.connections(), connections);
    }
    assert_eq!(upstream.idle_connections(), 2);
    // Without an identity, the certificate of the server is unknown, and no connection of another is used.
    let error = upstream.send(&origin, get(), DEADLINES).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamTls, "{error}");
    // The server refuses who has no certificate, or one of another authority.
    for identity in [identity(&servers, None), identity(&servers, Some(&servers))] {
        let to = Target { origin: &origin, identity: Some(&identity), entered: None };
        let error = upstream.send(to, get(), DEADLINES).await.unwrap_err();
        assert_eq!(error.kind(), FaultKind::UpstreamTls, "{error}");
    }
}

#[tokio::test]
async fn authorities_of_ones_own() {
    let (system, own) = (certificate_authority(), certificate_authority());
    let config = Config { extra_ca: vec![system.der().clone()], ..Config::default() };
    let upstream = upstream_with(config);
    let identity = |roots| {
        let ca = own.pem();
        Identity::new(&TlsTexts { ca: Some(&ca), roots, client: None }).unwrap()
    };
    let (added, alone) = (identity(Roots::System), identity(Roots::Only));
    for (issuer, by_system, by_added, by_alone) in [(&system, true, true, false), (&own, false, true, true)] {
        let (server, _hellos) = secure_server(acceptor(issuer, &["127.0.0.1"])).await;
        let (origin, _) = Origin::split(&format!("https://127.0.0.1:{}", server.port)).unwrap();
        for (identity, expected) in [(None, by_system), (Some(&added), by_added), (Some(&alone), by_alone)] {
            let to = Target { origin: &origin, identity, entered: None };
            assert_eq!(upstream.send(to, get(), DEADLINES).await.is_ok(), expected, "{identity:?}");
        }
    }
}

#[tokio::test]
async fn a_server_without_tls() {
    let server =
        Server::run(|_, mut peer| async move { peer.write("HTTP/1.1 400 Bad Request\r\n\r\n").await }).await;
    let (origin, _) = Origin::split(&format!("https://127.0.0.1:{}", server.port)).unwrap();
    let error = upstream().send(&origin, get(), DEADLINES).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamTls, "{error}");
}

#[tokio::test]
async fn the_first_matching_rule_applies() {
    let (first, second) = (Server::answering(&[OK]).await, Server::answering(&[OK]).await);
    let rule = |rule: String| ConnectRule::parse(&rule).unwrap();
    let connect_to = vec![
        rule(format!("api.example.test:80=localhost:{}", first.port)),
        rule(format!("*=127.0.0.1:{}", second.port)),
    ];
    let upstream = upstream_with(Config { connect_to, ..Config::default() });
    for (url, connections) in [
        ("http://api.example.test", (1, 0)),
        ("http://other.example.test", (1, 1)),
        ("http://api.example.test:81", (1, 2)),
    ] {
        let (origin, _) = Origin::split(url).unwrap();
        assert_eq!(text(upstream.send(&origin, get(), DEADLINES).await).await, "ok");
        assert_eq!((first.connections(), second.connections()), connections, "{url}");
    }
}
