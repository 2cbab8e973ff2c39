//! Failures and their fault kinds.

use std::io::{Error, ErrorKind};

use crate::{fault::FaultKind, origin::Origin, settings::UserOrigins};

use super::{
    peer::{Fed, Server, data},
    *,
};

/// Expects this fault from a server that writes `pieces` and closes.
async fn check_answer(pieces: &'static [&'static str], expected: FaultKind) {
    let server = Server::answering_once(pieces).await;
    let error = upstream().send(&server.origin, get(), DEADLINES).await.unwrap_err();
    assert_eq!(error.kind(), expected, "{pieces:?}: {error}");
    assert_eq!(server.heads().len(), 1, "sent exactly once: {pieces:?}");
}

#[tokio::test]
async fn responses_that_are_not_http() {
    check_answer(&[], FaultKind::UpstreamReset).await;
    check_answer(&["HTTP/1.1 200 OK\r\ncontent-le"], FaultKind::UpstreamReset).await;
    check_answer(&["SSH-2.0-OpenSSH_9.6\r\n"], FaultKind::UpstreamMalformed).await;
    check_answer(&["HTTP/1.1 200 OK\r\nno colon\r\n\r\n"], FaultKind::UpstreamMalformed).await;
    check_answer(&["HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n"], FaultKind::UpstreamMalformed).await;
    check_answer(&["HTTP/1.1 200 OK\r\na : b\r\n\r\n"], FaultKind::UpstreamMalformed).await;
    check_answer(&["HTTP/2 200\r\n\r\n"], FaultKind::UpstreamMalformed).await;
    check_answer(
        &["HTTP/1.1 101 Switching Protocols\r\nupgrade: demo\r\nconnection: upgrade\r\n\r\n"],
        FaultKind::UpstreamMalformed,
    )
    .await;
}

#[tokio::test]
async fn interim_responses_have_a_limit() {
    const INTERIM: &str = "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let check = async |count: usize, in_one_piece: bool, fits: bool| {
        let server = Server::run(move |_, mut peer| async move {
            while peer.head().await.is_some() {
                if in_one_piece {
                    peer.write(INTERIM.repeat(count) + OK).await;
                } else {
                    for _ in 0..count {
                        peer.write(INTERIM).await;
                    }
                    peer.write(OK).await;
                }
            }
        })
        .await;
        let upstream = upstream();
        // The count begins with each request.
        for _ in 0..2 {
            let answer = upstream.send(&server.origin, get(), DEADLINES).await;
            if fits {
                assert_eq!(text(answer).await, "ok");
            } else {
                let error = answer.unwrap_err();
                assert_eq!(error.kind(), FaultKind::UpstreamInterim, "{error}");
            }
        }
        assert_eq!(server.connections(), if fits { 1 } else { 2 }, "{count}");
    };
    for in_one_piece in [true, false] {
        check(0, in_one_piece, true).await;
        check(32, in_one_piece, true).await;
        check(33, in_one_piece, false).await;
        check(1000, in_one_piece, false).await;
    }
}

#[tokio::test]
async fn endless_interim_responses_close_the_connection() {
    let (gone, mut closed) = tokio::sync::mpsc::channel(1);
    let server = Server::run(move |_, mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await;
            let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
            while tokio::io::AsyncWriteExt::write_all(&mut peer.stream, many.as_bytes()).await.is_ok() {}
            gone.send(()).await.unwrap();
        }
    })
    .await;
    let error = upstream().send(&server.origin, get(), DEADLINES).await.unwrap_err();
    assert!(matches!(error, SendError::TooManyInterim { limit: 32 }), "{error}");
    tokio::time::timeout(LONG, closed.recv()).await.unwrap();
}

#[tokio::test]
async fn ambiguous_framing_is_malformed() {
    let check =
        async |headers: &'static [&'static str]| check_answer(headers, FaultKind::UpstreamMalformed).await;
    check(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokk"]).await;
    check(&["HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nokk"]).await;
    check(&["HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok"]).await;
    check(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"]).await;
    check(&["HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"]).await;
    check(&["HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok"]).await;
    check(&["HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"]).await;
    let server = Server::answering(&["HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok"]).await;
    let answer = upstream().send(&server.origin, get(), DEADLINES).await.unwrap();
    assert_eq!(answer.headers().get_all("content-length").iter().collect::<Vec<_>>(), ["2"]);
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let check = async |head: String, fits: bool| {
        let server = Server::run(move |_, mut peer| {
            let head = head.clone();
            async move {
                peer.head().await;
                peer.write(head).await;
                peer.hang().await;
            }
        })
        .await;
        let answer = upstream().send(&server.origin, get(), DEADLINES).await;
        assert_eq!(
            answer.map(drop).map_err(|error| error.kind()),
            if fits { Ok(()) } else { Err(FaultKind::UpstreamHeadTooLarge) }
        );
    };
    let head = |lines: String| format!("HTTP/1.1 204 No Content\r\n{lines}\r\n");
    check(head(format!("a: {}\r\n", "b".repeat(60_000))), true).await;
    check(head(format!("a: {}\r\n", "b".repeat(70_000))), false).await;
    check(head("a: b\r\n".repeat(256)), true).await;
    check(head("a: b\r\n".repeat(257)), false).await;
}

#[tokio::test]
async fn connection_resets() {
    let server = Server::run(|_, mut peer| async move {
        peer.head().await;
        peer.reset();
    })
    .await;
    let error = upstream().send(&server.origin, get(), DEADLINES).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamReset, "{error}");
    let server = Server::run(|_, mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\n\r\n").await;
        peer.read(1).await;
        peer.reset();
    })
    .await;
    let (feed, body) = Fed::new(None);
    let answer =
        upstream().send(&server.origin, request("POST", Upload::other(body, 9)), DEADLINES).await.unwrap();
    feed.send(data("x")).await.unwrap();
    assert!(matches!(bytes(answer).await, Err(CutError::Broken(_))));
}

#[tokio::test]
async fn connect_failures() {
    let check = async |url: &str, config: Config, expected: FaultKind| {
        let (origin, _) = Origin::split(url).unwrap();
        let error = upstream_with(config).send(&origin, get(), DEADLINES).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{url}: {error}");
    };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check(&format!("http://{closed}"), Config::default(), FaultKind::UpstreamRefused).await;
    check("http://nonexistent.invalid", Config::default(), FaultKind::UpstreamDns).await;
    for url in
        ["http://169.254.169.254", "https://[fe80::1]", "http://[::ffff:169.254.169.254]", "http://0.0.0.0"]
    {
        check(url, Config::default(), FaultKind::UpstreamForbidden).await;
        check(url, Config { allow_private: true, ..Config::default() }, FaultKind::UpstreamForbidden).await;
    }
    let connect_to = vec![ConnectRule::parse(&format!("*:81={closed}")).unwrap()];
    let config = Config { connect_to, ..Config::default() };
    check("http://demo.example.test:81", config.clone(), FaultKind::UpstreamRefused).await;
    check("http://nonexistent.invalid:82", config, FaultKind::UpstreamDns).await;
}

#[tokio::test]
async fn a_loopback_name_may_resolve_to_loopback() {
    let server = Server::answering(&["HTTP/1.1 204 No Content\r\n\r\n"]).await;
    for host in ["localhost", "demo.localhost", "127.0.0.1"] {
        let (origin, _) = Origin::split(&format!("http://{host}:{}", server.port)).unwrap();
        assert_eq!(text(upstream().send(&origin, get(), DEADLINES).await).await, "", "{host}");
    }
}

#[tokio::test]
async fn timeouts() {
    let silent = Server::run(|_, mut peer| async move {
        peer.head().await;
        peer.hang().await;
    })
    .await;
    let first_byte = Deadlines { first_byte: SHORT, ..DEADLINES };
    let error = upstream().send(&silent.origin, get(), first_byte).await.unwrap_err();
    assert!(matches!(error, SendError::Timeout(SHORT)), "{error}");

    let (feed, body) = Fed::new(Some(9));
    feed.send(data("some")).await.unwrap();
    let error = upstream()
        .send(&silent.origin, request("POST", Upload::other(body, 9)), first_byte)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FaultKind::BodyTimeout, "{error}");

    let (origin, _) = Origin::split(&format!("https://127.0.0.1:{}", silent.port)).unwrap();
    let connect = Deadlines { connect: SHORT, ..DEADLINES };
    let error = upstream().send(&origin, get(), connect).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamConnectTimeout, "{error}");
}

#[tokio::test]
async fn an_upstream_that_does_not_read_is_an_upstream_timeout() {
    let deaf = Server::run(|_, peer| peer.hang()).await;
    let first_byte = Deadlines { first_byte: SHORT, ..DEADLINES };
    let body = Upload::other(http_body_util::Full::new(Bytes::from(vec![b'x'; 64 << 20])), u64::MAX);
    let error = upstream().send(&deaf.origin, request("POST", body), first_byte).await.unwrap_err();
    assert_eq!(error.kind(), FaultKind::UpstreamTimeout, "{error}");
}

#[tokio::test]
async fn an_upload_in_progress_does_not_time_out() {
    let server = Server::run(|_, mut peer| async move {
        peer.head().await;
        peer.read(20).await;
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    })
    .await;
    let (feed, body) = Fed::new(Some(20));
    let deadlines = Deadlines { first_byte: 4 * SHORT, ..DEADLINES };
    let slowly = async {
        for _ in 0..10 {
            tokio::time::sleep(SHORT / 2).await;
            feed.send(data("xy")).await.unwrap();
        }
    };
    let upstream = upstream();
    let sent = upstream.send(&server.origin, request("POST", Upload::other(body, 20)), deadlines);
    let (answer, ()) = tokio::join!(sent, slowly);
    assert_eq!(answer.unwrap().status(), 204);
}

#[tokio::test]
async fn a_broken_client_upload() {
    let server = Server::run(|_, mut peer| async move {
        peer.rest().await;
    })
    .await;
    for size in [None, Some(9)] {
        let (feed, body) = Fed::new(size);
        feed.send(data("some")).await.unwrap();
        feed.send(Err(Error::from(ErrorKind::ConnectionReset).into())).await.unwrap();
        let request = request("POST", Upload::other(body, 9));
        let watch = request.body().watch().unwrap();
        let error = upstream().send(&server.origin, request, DEADLINES).await.unwrap_err();
        assert!(matches!(error, SendError::ClientGone), "{error}");
        assert_eq!((watch.bytes(), watch.failure()), (4, Some(UploadError::Broken)));
    }
}

#[tokio::test]
async fn oversized_uploads() {
    let server = Server::run(|_, mut peer| async move {
        peer.rest().await;
    })
    .await;
    let (_feed, body) = Fed::new(Some(10));
    let error = upstream()
        .send(&server.origin, request("POST", Upload::other(body, 9)), DEADLINES)
        .await
        .unwrap_err();
    assert!(matches!(error, SendError::BodyTooLarge { limit: 9 }), "{error}");
    assert_eq!(server.connections(), 0, "refused before a connection is opened");

    let (feed, body) = Fed::new(None);
    feed.send(data("12345")).await.unwrap();
    feed.send(data("67890")).await.unwrap();
    let error = upstream()
        .send(&server.origin, request("POST", Upload::other(body, 9)), DEADLINES)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FaultKind::BodyTooLarge, "{error}");
}

/// The server responds before it has read the body, and closes. The response is relayed; the failed write is ignored.
#[tokio::test]
async fn an_early_response_survives_a_failed_upload() {
    let server = Server::run(|_, mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 401 Unauthorized\r\ncontent-length: 6\r\n\r\nno key").await;
    })
    .await;
    for _ in 0..20 {
        let body = Upload::kept(vec![b'x'; 32 << 20].into());
        let answer = upstream().send(&server.origin, request("POST", body), DEADLINES).await.unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(bytes(answer).await.unwrap(), "no key");
    }
}

/// An origin that a user entered is called only if the setting allows it, and then also at a private address.
#[tokio::test]
async fn origins_that_users_enter() {
    let server = Server::answering(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]).await;
    let send = async |patterns: &[&str], url: &str| {
        let user_origins = UserOrigins::parse(patterns.iter().copied()).unwrap();
        let upstream = upstream_with(Config { user_origins, ..Config::default() });
        let (origin, _) = Origin::split(url).unwrap();
        let to = Target { origin: &origin, identity: None, entered: Some(&origin) };
        upstream.send(to, get(), DEADLINES).await.map(drop).map_err(|error| error.kind())
    };
    let here = format!("http://127.0.0.1:{}", server.port);
    assert_eq!(send(&[], &here).await, Err(FaultKind::UpstreamForbidden));
    assert_eq!(
        send(&["http://10.0.0.0/8:*", "https://127.0.0.0/8:*"], &here).await,
        Err(FaultKind::UpstreamForbidden)
    );
    assert_eq!(send(&["http://127.0.0.0/8:*"], &here).await, Ok(()));
    let local = format!("http://localhost:{}", server.port);
    assert_eq!(send(&["http://127.0.0.0/8:*"], &local).await, Err(FaultKind::UpstreamForbidden));
    assert_eq!(send(&["http://localhost:*"], &local).await, Ok(()));
    // No pattern allows what is never called.
    let metadata = "http://169.254.169.254";
    assert_eq!(send(&["http://169.254.0.0/16"], metadata).await, Err(FaultKind::UpstreamForbidden));
}
