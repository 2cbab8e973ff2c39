//! Tests against scripted servers that write raw bytes to real sockets.

mod bodies;
mod faults;
mod peer;
mod proxied;
mod reuse;
mod secure;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;

use super::*;

/// A timeout that no passing test reaches.
const LONG: Duration = Duration::from_secs(20);
/// A timeout that tests wait for.
const SHORT: Duration = Duration::from_millis(50);

const DEADLINES: Deadlines = Deadlines { connect: LONG, first_byte: LONG, idle: LONG };

fn upstream() -> Arc<Upstream> {
    upstream_with(Config::default())
}

fn upstream_with(config: Config) -> Arc<Upstream> {
    Arc::new(Upstream::new(Arc::new(Shared::new(config).unwrap())))
}

fn get() -> Request<Upload> {
    request("GET", Upload::empty())
}

fn request(method: &str, body: Upload) -> Request<Upload> {
    Request::builder()
        .method(method)
        .uri("/v1/demo?x=1")
        .header("host", "demo.example.test")
        .body(body)
        .unwrap()
}

async fn bytes(answer: Response<Download>) -> Result<Bytes, CutError> {
    answer.into_body().collect().await.map(http_body_util::Collected::to_bytes)
}

async fn text(answer: Result<Response<Download>, SendError>) -> String {
    String::from_utf8(bytes(answer.unwrap()).await.unwrap().to_vec()).unwrap()
}

#[test]
fn futures_are_send_and_small() {
    fn send<T: Send>(_: &T) {}
    fn sync<T: Sync>() {}
    sync::<Upstream>();
    let upstream = upstream();
    send(&upstream);
    let (origin, _) = Origin::split("http://demo.example.test").unwrap();
    let sending = upstream.send(&origin, get(), DEADLINES);
    send(&sending);
    // Every request in flight holds one.
    assert!(size_of_val(&sending) < 2048, "{}", size_of_val(&sending));
}
