//! TLS and `connect_to` rules.

use std::io::Write as _;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{io::AsyncWriteExt as _, sync::mpsc};
use tokio_rustls::TlsAcceptor;

use crate::{fault::FaultKind, origin::Origin};

use super::{peer::Server, *};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn certificate_authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn acceptor(issuer: &CertifiedIssuer<'_, KeyPair>, names: &[&str]) -> TlsAcceptor {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
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
