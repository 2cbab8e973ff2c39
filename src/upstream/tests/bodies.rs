//! Request and response bodies.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use http_body::{Body, Frame};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::{
    peer::{Fed, Server, data},
    *,
};
use crate::admission::BodyReads;

#[tokio::test]
async fn request_framing_follows_the_body_size() {
    let check = async |method: &str, body: Upload, expected: &str| {
        let server = Server::run(|_, mut peer| async move {
            peer.head().await;
            peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
            peer.hang().await;
        })
        .await;
        let mut request = request(method, body);
        request.headers_mut().insert("content-length", "77".parse().unwrap());
        request.headers_mut().insert("transfer-encoding", "gzip".parse().unwrap());
        upstream().send(&server.origin, request, DEADLINES).await.unwrap();
        let start = format!("{method} /v1/demo?x=1 HTTP/1.1\r\nhost: demo.example.test\r\n");
        assert_eq!(server.heads(), [format!("{start}{expected}\r\n")]);
    };
    check("GET", Upload::empty(), "").await;
    check("DELETE", Upload::empty(), "").await;
    check("POST", Upload::empty(), "content-length: 0\r\n").await;
    check("PUT", Upload::kept(Bytes::new()), "content-length: 0\r\n").await;
    check("POST", Upload::kept("hello".into()), "content-length: 5\r\n").await;
    check("POST", Upload::other(Fed::new(Some(3)).1, 9), "content-length: 3\r\n").await;
    check("POST", Upload::other(Fed::new(None).1, 9), "transfer-encoding: chunked\r\n").await;
    check("GET", Upload::other(Fed::new(None).1, 9), "transfer-encoding: chunked\r\n").await;
}

#[tokio::test]
async fn uploads_are_sent_without_trailers() {
    let check = async |size: Option<u64>, expected: &'static str| {
        let (sender, mut bodies) = mpsc::channel(1);
        let server = Server::run(move |_, mut peer| {
            let sender = sender.clone();
            async move {
                peer.head().await;
                sender.send(peer.read(expected.len()).await).await.unwrap();
                peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
                peer.hang().await;
            }
        })
        .await;
        let (feed, body) = Fed::new(size);
        feed.send(data("one")).await.unwrap();
        feed.send(data("two")).await.unwrap();
        feed.send(Ok(Frame::trailers(
            [("x-demo".parse().unwrap(), "1".parse().unwrap())].into_iter().collect(),
        )))
        .await
        .unwrap();
        drop(feed);
        let upstream = upstream();
        let answer = upstream.send(&server.origin, request("POST", Upload::other(body, 6)), DEADLINES).await;
        assert_eq!(text(answer).await, "");
        assert_eq!(bodies.recv().await.unwrap(), expected);
        assert_eq!(upstream.idle_connections(), 1, "a finished upload leaves the connection usable");
    };
    check(Some(6), "onetwo").await;
    check(None, "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn ten_megabytes_in_both_directions() {
    const SIZE: usize = 10 << 20;
    let server = Server::run(|_, mut peer| async move {
        peer.head().await;
        assert_eq!(peer.read(SIZE).await.len(), SIZE);
        peer.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n")).await;
        peer.write(vec![b'x'; SIZE]).await;
        peer.hang().await;
    })
    .await;
    let upstream = upstream();
    let upload = Upload::kept(vec![b'y'; SIZE].into());
    let answer = upstream.send(&server.origin, request("POST", upload), DEADLINES).await.unwrap();
    let body = bytes(answer).await.unwrap();
    assert_eq!(body.len(), SIZE);
    assert!(body.iter().all(|byte| *byte == b'x'));
    assert_eq!(upstream.idle_connections(), 1);
}

#[tokio::test]
async fn chunks_are_relayed_without_buffering() {
    let (next, turn) = mpsc::channel::<u8>(1);
    let turn = std::sync::Mutex::new(Some(turn));
    let server = Server::run(move |_, mut peer| {
        let mut turn = turn.lock().unwrap().take().unwrap();
        async move {
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            while let Some(byte) = turn.recv().await {
                peer.write(format!("1\r\n{}\r\n", char::from(byte))).await;
            }
            peer.write("0\r\nx-demo: last\r\n\r\n").await;
            peer.hang().await;
        }
    })
    .await;
    let upstream = upstream();
    let mut body = upstream.send(&server.origin, get(), DEADLINES).await.unwrap().into_body();
    // Each byte is sent only after the previous one has arrived: nothing is buffered.
    for byte in b'a'..=b'z' {
        next.send(byte).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), [byte].as_slice());
    }
    drop(next);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["x-demo"], "last");
    assert!(body.frame().await.is_none());
    assert_eq!(upstream.idle_connections(), 1);
}

#[tokio::test]
async fn truncated_bodies_are_errors() {
    let check = async |pieces: &'static [&'static str], arrived: &str| {
        let server = Server::answering_once(pieces).await;
        let mut body = upstream().send(&server.origin, get(), DEADLINES).await.unwrap().into_body();
        let mut found = Vec::new();
        let error = loop {
            match body.frame().await.expect("a cut is not an end") {
                Ok(frame) => found.extend_from_slice(&frame.into_data().unwrap()),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, CutError::Broken(_)), "{error}");
        assert_eq!(found, arrived.as_bytes(), "{pieces:?}");
        assert!(body.is_end_stream() && body.frame().await.is_none());
    };
    check(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome"], "some").await;
    check(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"], "").await;
    check(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n"], "some").await;
    check(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nso"], "so").await;
    check(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n"], "some").await;
    check(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nsome\r\n"], "").await;
}

#[tokio::test]
async fn an_idle_upstream_times_out() {
    let server = Server::run(|_, mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome").await;
        peer.hang().await;
    })
    .await;
    let deadlines = Deadlines { idle: SHORT, ..DEADLINES };
    let mut body = upstream().send(&server.origin, get(), deadlines).await.unwrap().into_body();
    // A slow reader does not count as an idle upstream.
    tokio::time::sleep(2 * SHORT).await;
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "some");
    tokio::time::sleep(2 * SHORT).await;
    let waiting = std::time::Instant::now();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error, CutError::Idle(SHORT));
    assert!(waiting.elapsed() >= SHORT, "the idle timeout runs only during a read");
}

/// After an early response the rest of a client's body can be drained.
#[tokio::test]
async fn the_rest_of_a_client_body_can_be_drained() {
    let server = Server::run(|_, mut peer| async move {
        peer.head().await;
        peer.write("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n").await;
        peer.rest().await;
    })
    .await;
    let upstream = upstream();
    let (mut client, gateway) = tokio::io::duplex(64);
    let answered = tokio::sync::Notify::new();
    let relay = async |incoming: http::Request<Incoming>| {
        let upload = Upload::incoming(incoming.into_body(), 99, Arc::default());
        let watch = upload.watch().unwrap();
        let answer = upstream.send(&server.origin, request("POST", upload), DEADLINES).await.unwrap();
        answered.notify_one();
        let rest = watch.take_rest().unwrap().collect().await.unwrap().to_bytes();
        assert_eq!(watch.bytes() + rest.len() as u64, 10);
        assert!(watch.take_rest().is_none());
        Ok::<_, Infallible>(answer)
    };
    let serving =
        http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(gateway), service_fn(relay));
    let asking = async {
        client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345").await.unwrap();
        answered.notified().await;
        client.write_all(b"67890").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    };
    let (result, ()) = tokio::join!(serving, asking);
    result.unwrap();
}

/// A copy exists only if it was requested, the body is small, and all of it was sent.
#[tokio::test]
async fn a_copy_of_the_body_is_kept_for_a_retry() {
    let check = async |pieces: &[usize], ended: bool, keep: bool, expected: bool| {
        let server = Server::run(move |_, mut peer| async move {
            let head = peer.head().await;
            if ended && head.is_some_and(|head| head.contains("chunked")) {
                // Only the last chunk begins with `0`: the pieces consist of `x`.
                while peer.stream.read_u8().await.unwrap() != b'0' || peer.read(4).await != "\r\n\r\n" {}
            }
            peer.write("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n").await;
            peer.hang().await;
        })
        .await;
        let (feed, body) = Fed::new(None);
        for piece in pieces {
            feed.send(Ok(Frame::data(vec![b'x'; *piece].into()))).await.unwrap();
        }
        let feed = Some(feed).filter(|_| !ended);
        let upload = Upload::other(body, u64::MAX);
        let upload = if keep { upload.keep() } else { upload };
        let watch = upload.watch().unwrap();
        upstream().send(&server.origin, request("POST", upload), DEADLINES).await.unwrap();
        let all = vec![b'x'; pieces.iter().sum()];
        assert_eq!(watch.take_kept(), expected.then(|| all.into()), "{pieces:?} {ended} {keep}");
        assert_eq!(watch.take_kept(), None);
        drop(feed);
    };
    check(&[1, 2, 3], true, true, true).await;
    check(&[MAX_KEPT - 1, 1], true, true, true).await;
    check(&[MAX_KEPT, 1], true, true, false).await;
    check(&[MAX_KEPT + 1], true, true, false).await;
    check(&[1, 2, 3], false, true, false).await;
    check(&[1, 2, 3], true, false, false).await;
}

/// A body of single bytes that are all there at once.
struct Pieces(usize);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.0.checked_sub(1).inspect(|left| self.0 = *left);
        Poll::Ready(left.map(|_| Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

/// The number of bytes in each turn of a task that polls `body` for as long as it can.
async fn turns<B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin>(mut body: B) -> Vec<usize> {
    let mut turns = Vec::new();
    loop {
        let (count, ended) = std::future::poll_fn(|cx| {
            let mut count = 0;
            loop {
                match Pin::new(&mut body).poll_frame(cx) {
                    Poll::Ready(Some(frame)) => count += frame.unwrap().into_data().unwrap().len(),
                    Poll::Ready(None) => return Poll::Ready((count, true)),
                    Poll::Pending => return Poll::Ready((count, false)),
                }
            }
        })
        .await;
        turns.push(count);
        if ended {
            return turns;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_turn_relays_a_limited_number_of_frames() {
    let check = |turns: Vec<usize>| {
        assert_eq!(turns.iter().sum::<usize>(), 1000);
        assert_eq!(turns.iter().max(), Some(&16), "{turns:?}");
    };
    let server = Server::run(|_, mut peer| async move {
        peer.head().await;
        let chunks = "1\r\nx\r\n".repeat(1000);
        peer.write(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")).await;
        peer.hang().await;
    })
    .await;
    let upstream = upstream();
    let answer = upstream.send(&server.origin, get(), DEADLINES).await.unwrap();
    check(tokio::time::timeout(LONG, turns(answer.into_body())).await.unwrap());
    assert_eq!(upstream.idle_connections(), 1);
    check(tokio::time::timeout(LONG, turns(Upload::other(Pieces(1000), 1000))).await.unwrap());
}

/// A chunk's size may begin with any number of zeros, and spaces may follow it.
#[tokio::test]
async fn framing_without_content_is_bounded() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
    for (start, endless) in [("", "0"), ("2", " ")] {
        let server = Server::run(move |_, mut peer| async move {
            peer.head().await;
            peer.write(HEAD).await;
            peer.write(start).await;
            while peer.stream.write_all(endless.repeat(4096).as_bytes()).await.is_ok() {}
        })
        .await;
        let answer = upstream().send(&server.origin, get(), DEADLINES).await.unwrap();
        let Err(CutError::Broken(error)) = bytes(answer).await else { panic!("it has an end") };
        assert_eq!(&*error, "more than 65536 bytes of framing without content");
    }
    let padded = format!("{}2;{}\r\nok\r\n", "0".repeat(9_000), "x".repeat(9_000));
    let all = format!("{HEAD}{padded}0\r\n\r\n");
    let server = Server::run(move |_, mut peer| {
        let all = all.clone();
        async move {
            peer.head().await;
            peer.write(all).await;
            peer.hang().await;
        }
    })
    .await;
    assert_eq!(text(upstream().send(&server.origin, get(), DEADLINES).await).await, "okok");
}

/// The same of a client's body. There is no rest to read, so that its connection ends.
#[tokio::test]
async fn framing_without_content_is_bounded_in_uploads() {
    let (mut client, gateway) = tokio::io::duplex(1024);
    let relay = async |incoming: http::Request<Incoming>| {
        let reads = Arc::<BodyReads>::default();
        let mut upload = Upload::incoming(incoming.into_body(), 99, Arc::clone(&reads));
        let watch = upload.watch().unwrap();
        reads.unframed.store(turn::MAX_FRAMING + 1, Ordering::Relaxed);
        assert_eq!(upload.frame().await.unwrap().unwrap().into_data().unwrap(), "ok", "content resets it");
        assert_eq!(reads.unframed.swap(turn::MAX_FRAMING + 1, Ordering::Relaxed), 0);
        assert_eq!(upload.frame().await.unwrap().unwrap_err(), UploadError::Broken);
        drop(upload);
        assert!(watch.take_rest().is_none());
        assert_eq!(reads.content.load(Ordering::Relaxed), 2);
        Ok::<_, Infallible>(Response::new(http_body_util::Empty::<Bytes>::new()))
    };
    let serving = http1::Builder::new().serve_connection(TokioIo::new(gateway), service_fn(relay));
    client.write_all(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n000").await.unwrap();
    serving.await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}
