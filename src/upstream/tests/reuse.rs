//! Connection reuse, and the cases that forbid it.

use tokio::sync::{Notify, mpsc};

use super::{
    peer::{Fed, Peer, Server, data},
    *,
};

/// Sends two sequential requests and checks the number of connections.
async fn check(pieces: &'static [&'static str], body: &str, connections: usize) {
    let server = Server::answering(pieces).await;
    check_server(server, body, connections).await;
}

async fn check_server(server: Server, body: &str, connections: usize) {
    let upstream = upstream();
    for _ in 0..2 {
        assert_eq!(text(upstream.send(&server.origin, get(), DEADLINES).await).await, body);
    }
    assert_eq!(server.connections(), connections, "{body}");
    let counts = upstream.counts();
    let opened = usize::try_from(counts.opened()).unwrap();
    assert_eq!((opened, counts.reused()), (connections, u64::from(connections == 1)), "{body}");
    assert_eq!((counts.idle(), counts.streams()), (upstream.idle_connections(), 0), "{body}");
    assert_eq!(server.heads().len(), 2);
}

#[tokio::test]
async fn reused_after_delimited_responses() {
    check(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"], "ok", 1).await;
    check(&["HTTP/1.1 200 OK\r\ncontent-", "length: 2\r\n\r\no", "k"], "ok", 1).await;
    check(&["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], "", 1).await;
    check(&["HTTP/1.1 204 No Content\r\n\r\n"], "", 1).await;
    check(&["HTTP/1.1 204 No Content\r\nkeep-alive: timeout=30\r\n\r\n"], "", 1).await;
    check(&["HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n"], "", 1).await;
    check(&["HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n"], "", 1).await;
    check(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"], "ok", 1).await;
    check(
        &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "2\r\nok\r\n", "0\r\n", "\r\n"],
        "ok",
        1,
    )
    .await;
    check(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\na: b\r\n\r\n"], "ok", 1)
        .await;
    check(&["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"], "ok", 1)
        .await;
}

#[tokio::test]
async fn not_reused_after_close_delimited_responses() {
    check(&["HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"], "ok", 2).await;
    check(&["HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"], "", 2).await;
    check(&["HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"], "ok", 2).await;
    check(&["HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"], "ok", 2).await;
    check(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"], "ok", 2).await;
    check(&["HTTP/1.1 204 No Content\r\nkeep-alive: timeout=1\r\n\r\n"], "", 2).await;
    let server = Server::answering_once(&["HTTP/1.1 200 OK\r\n\r\n", "until the end"]).await;
    check_server(server, "until the end", 2).await;
}

#[tokio::test]
async fn an_unfinished_body_closes_the_connection() {
    let (gone, mut closed) = mpsc::channel(1);
    let server = Server::run(move |_, mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").await;
            peer.rest().await;
            gone.send(()).await.unwrap();
        }
    })
    .await;
    let upstream = upstream();
    let mut answer = upstream.send(&server.origin, get(), DEADLINES).await.unwrap();
    answer.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(upstream.counts().streams(), 1);
    drop(answer);
    assert_eq!(upstream.counts().streams(), 0);
    tokio::time::timeout(2 * SHORT, closed.recv()).await.unwrap();
    assert_eq!(upstream.idle_connections(), 0);
}

#[tokio::test]
async fn dropping_the_send_closes_the_connection() {
    let (gone, mut closed) = mpsc::channel(1);
    let (came, mut asked) = mpsc::channel(1);
    let server = Server::run(move |_, mut peer| {
        let (gone, came) = (gone.clone(), came.clone());
        async move {
            peer.head().await;
            came.send(()).await.unwrap();
            peer.rest().await;
            gone.send(()).await.unwrap();
        }
    })
    .await;
    let upstream = upstream();
    tokio::select! {
        _ = upstream.send(&server.origin, get(), DEADLINES) => panic!("there is no answer"),
        _ = asked.recv() => {}
    }
    tokio::time::timeout(2 * SHORT, closed.recv()).await.unwrap();
}

#[tokio::test]
async fn not_reused_during_an_upload() {
    let (gone, mut closed) = mpsc::channel(1);
    let server = Server::run(move |_, mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await;
            peer.write("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
            gone.send(peer.rest().await).await.unwrap();
        }
    })
    .await;
    let upstream = upstream();
    let (feed, body) = Fed::new(None);
    feed.send(data("some")).await.unwrap();
    let answer =
        upstream.send(&server.origin, request("POST", Upload::other(body, 99)), DEADLINES).await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(bytes(answer).await.unwrap(), "big");
    assert_eq!(upstream.idle_connections(), 0);
    let uploaded = tokio::time::timeout(LONG, closed.recv()).await.unwrap().unwrap();
    assert_eq!(uploaded, b"4\r\nsome\r\n");
}

#[tokio::test]
async fn a_closed_idle_connection_is_detected_for_every_method() {
    for method in ["GET", "POST"] {
        let (close, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let gates = (Arc::clone(&close), Arc::clone(&closed));
        let server = Server::run(move |_, mut peer: Peer| {
            let (close, closed) = gates.clone();
            async move {
                peer.head().await;
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                close.notified().await;
                drop(peer);
                closed.notify_one();
            }
        })
        .await;
        let upstream = upstream();
        assert_eq!(text(upstream.send(&server.origin, get(), DEADLINES).await).await, "ok");
        assert_eq!(upstream.idle_connections(), 1);
        close.notify_one();
        closed.notified().await;
        // Lets the runtime poll its sockets.
        tokio::task::yield_now().await;
        let again = request(method, Upload::kept("body".into()));
        assert_eq!(text(upstream.send(&server.origin, again, DEADLINES).await).await, "ok");
        assert_eq!((server.connections(), server.heads().len()), (2, 2), "{method}");
    }
}

/// Answers the first request of the first connection, then hands the connection over to the test. Other connections serve.
async fn handing_over(answer: &'static str) -> (Server, mpsc::Receiver<Peer>) {
    let (sender, handed) = mpsc::channel(1);
    let server = Server::run(move |number, mut peer: Peer| {
        let sender = sender.clone();
        async move {
            while peer.head().await.is_some() {
                peer.write(answer).await;
                if number == 0 {
                    sender.send(peer).await.unwrap();
                    return;
                }
            }
        }
    })
    .await;
    (server, handed)
}

/// What arrives on an idle connection is never the answer to the next request, even if the worker has not polled its
/// sockets since.
#[tokio::test]
async fn a_connection_with_unread_bytes_is_not_used() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    for late in [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate",
        "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconte",
        "\r\n",
        "",
    ] {
        for (keeps_budget, method) in [(true, "GET"), (true, "POST"), (false, "GET")] {
            let (server, mut handed) = handing_over(OK).await;
            let upstream = upstream();
            assert_eq!(text(upstream.send(&server.origin, get(), DEADLINES).await).await, "ok");
            let mut peer = handed.recv().await.unwrap();
            assert_eq!(upstream.idle_connections(), 1);
            // From here on, nothing lets the runtime poll its sockets.
            peer.write(late).await;
            let peer = Some(peer).filter(|_| !late.is_empty());
            if !keeps_budget {
                turn::exhaust();
            }
            let again = request(method, Upload::kept("body".into()));
            assert_eq!(text(upstream.send(&server.origin, again, DEADLINES).await).await, "ok", "{late}");
            assert_eq!((server.connections(), server.heads().len()), (2, 2), "{late}");
            drop(peer);
        }
    }
}

#[tokio::test]
async fn not_reused_after_more_than_one_response() {
    const EXTRA: [&[&str]; 4] = [
        &["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nextra"],
        &["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 408 Request Timeout\r\n\r\n"],
        &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 2"],
        &["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\r\n"],
    ];
    for pieces in EXTRA {
        check(pieces, "ok", 2).await;
    }
    check(&["HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nextra"], "", 2).await;
}

/// The pool checks a connection before reuse. If it closes after that check, the unsent request is returned.
#[tokio::test]
async fn an_unwritten_request_is_returned_for_a_retry() {
    let closed = Arc::new(Notify::new());
    let close = Arc::clone(&closed);
    let server = Server::run(move |_, peer: Peer| {
        drop(peer);
        close.notify_one();
        std::future::ready(())
    })
    .await;
    let live = upstream().open((&server.origin).into(), DEADLINES).await.unwrap();
    closed.notified().await;
    tokio::task::yield_now().await;
    match exchange::exchange(live, request("POST", Upload::kept("body".into())), DEADLINES).await.unwrap() {
        Exchanged::Answer(..) => panic!("nobody answers"),
        Exchanged::Unsent(unsent) => {
            assert_eq!(unsent.into_body().collect().await.unwrap().to_bytes(), "body");
        }
    }
    let error = upstream().send(&server.origin, get(), DEADLINES).await.unwrap_err();
    assert_eq!(error.kind(), crate::fault::FaultKind::UpstreamReset, "{error}");
}

#[tokio::test]
async fn a_written_request_is_never_retried() {
    let server = Server::run(|number, mut peer| async move {
        peer.head().await;
        if number == 0 {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            peer.head().await;
            peer.reset();
        }
    })
    .await;
    let upstream = upstream();
    assert_eq!(text(upstream.send(&server.origin, get(), DEADLINES).await).await, "ok");
    let error = upstream.send(&server.origin, get(), DEADLINES).await.unwrap_err();
    assert!(matches!(error, SendError::Reset(_)), "{error}");
    assert_eq!((server.connections(), server.heads().len()), (1, 2));
}

#[tokio::test]
async fn pools_are_per_origin_and_bounded() {
    const OK: &[&str] = &["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"];
    let (first, second) = (Server::answering(OK).await, Server::answering(OK).await);
    let check = async |config: Config, expected: usize| {
        let upstream = upstream_with(config);
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(upstream.send(&first.origin, get(), DEADLINES).await);
            answers.push(upstream.send(&second.origin, get(), DEADLINES).await);
        }
        for answer in answers {
            assert_eq!(text(answer).await, "ok");
        }
        assert_eq!(upstream.idle_connections(), expected);
        upstream
    };
    check(Config::default(), 6).await;
    check(Config { pool_max_idle_per_origin: 2, ..Config::default() }, 4).await;
    check(Config { pool_max_idle_per_origin: 0, ..Config::default() }, 0).await;
    check(Config { pool_max_idle: 3, ..Config::default() }, 3).await;
    let aged = check(Config { pool_idle_timeout: Duration::ZERO, ..Config::default() }, 6).await;
    aged.sweep();
    assert_eq!(aged.idle_connections(), 0);
    let kept = check(Config::default(), 6).await;
    kept.sweep();
    assert_eq!(kept.idle_connections(), 6);
    let before = first.connections();
    let aged = check(Config { pool_idle_timeout: Duration::ZERO, ..Config::default() }, 6).await;
    text(aged.send(&first.origin, get(), DEADLINES).await).await;
    assert_eq!(first.connections(), before + 4, "one that is too old is not used");
    assert_eq!(aged.idle_connections(), 4);
}
