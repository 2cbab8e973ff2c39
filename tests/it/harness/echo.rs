//! An upstream that answers each request by itself, with the request's target, so that tests see the route taken.
//! A target that ends in `/stream` gets an event every few milliseconds until the test ends all streams.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use super::{exchange::chunk, wire::Wire};

/// The pause between two events of a stream.
const TICK: Duration = Duration::from_millis(20);

/// A server that answers by itself.
pub struct Echo {
    address: SocketAddr,
    ended: Arc<Ended>,
}

/// True once streams are to end.
#[derive(Default)]
struct Ended(Mutex<bool>, Condvar);

impl Echo {
    /// Starts it. Its threads end with the gateway's connections and the test's process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let ended = Arc::new(Ended::default());
        let streams = Arc::clone(&ended);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let streams = Arc::clone(&streams);
                let wire = Wire::plain(socket);
                // An unused connection is quiet for as long as the gateway keeps it.
                wire.socket().set_read_timeout(None).expect("a socket takes no timeout");
                std::thread::spawn(move || answer(wire, &streams));
            }
        });
        Self { address, ended }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all streams properly.
    pub fn end_streams(&self) {
        *self.ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended.1.notify_all();
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end_streams();
    }
}

fn answer(mut wire: Wire, ended: &Ended) {
    while let Ok(request) = wire.request() {
        let target = request.head.start.split(' ').nth(1).unwrap_or_default();
        let sent = if target.ends_with("/stream") {
            stream(&mut wire, ended)
        } else {
            wire.try_send(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()).as_bytes(),
            )
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Numbered events, so that a client notices a missing one.
fn stream(wire: &mut Wire, ended: &Ended) -> std::io::Result<()> {
    wire.try_send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    let mut over = ended.0.lock().unwrap_or_else(PoisonError::into_inner);
    for number in 0.. {
        wire.try_send(&chunk(format!("data: {number}\n\n").as_bytes()))?;
        if *over {
            break;
        }
        over = ended.1.wait_timeout(over, TICK).unwrap_or_else(PoisonError::into_inner).0;
    }
    wire.try_send(b"0\r\n\r\n")
}
