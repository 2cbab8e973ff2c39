//! An upstream that answers by itself as a vendor of models does, and keeps its own sums of what it would bill. A request says
//! what it costs, `p` tokens of its prompt and `out` of its answer, and how it ends (`end`): the vendor may break the stream off after
//! `k` tokens, wait after them until the client leaves, or not answer until it does. A token of an answer is four letters.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::{
    exchange::chunk,
    wire::{Message, Wire},
};

/// A server that answers by itself.
pub struct Vendor {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What a caller used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bill {
    /// Whole requests.
    pub requests: u64,
    /// Tokens of prompts.
    pub prompt: u64,
    /// Tokens of answers.
    pub output: u64,
}

/// What came so far.
#[derive(Default)]
struct Seen {
    whole: AtomicUsize,
    /// By the header `x-caller`.
    bills: Mutex<BTreeMap<String, Bill>>,
}

impl Vendor {
    /// Starts it. Its threads end with the gateway's connections and the test's process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let seen = Arc::new(Seen::default());
        let all = Arc::clone(&seen);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&all);
                let mut wire = Wire::plain(socket);
                // An unused connection is quiet for as long as the gateway keeps it.
                wire.socket().set_read_timeout(None).expect("a socket takes no timeout");
                std::thread::spawn(move || {
                    while let Ok(request) = wire.request() {
                        if seen.serve(&mut wire, &request).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// A provider file for it, with the prefix `/v`. Nobody needs a key. The endpoint `probe` fails, and so uses no tokens.
    pub fn provider(&self) -> String {
        format!(
            "title = \"Vendor\"\nbase_url = \"http://{}\"\npath_prefix = \"/v\"\n\
             [endpoint.get]\nmethod = \"GET\"\npath = \"/get\"\n\
             [endpoint.chat]\nmethod = \"POST\"\npath = \"/chat\"\napi = \"chat-completions\"\n\
             [endpoint.probe]\nmethod = \"POST\"\npath = \"/probe\"\napi = \"chat-completions\"\n",
            self.address
        )
    }

    /// The whole requests that it got.
    pub fn requests(&self) -> usize {
        self.seen.whole.load(Ordering::SeqCst)
    }

    /// What a caller used.
    pub fn bill(&self, caller: &str) -> Bill {
        self.seen
            .bills
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(caller)
            .copied()
            .unwrap_or_default()
    }
}

impl Seen {
    /// Bills a request, and then answers it. An error ends the connection.
    fn serve(&self, wire: &mut Wire, request: &Message) -> io::Result<()> {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let number = |key: &str| body[key].as_u64().unwrap_or(0);
        let is_probe = request.head.start.contains("/probe");
        let (prompt, whole, part) =
            if is_probe { (0, 0, 0) } else { (number("p"), number("out"), number("k")) };
        let end = body["end"].as_str().unwrap_or_default();
        let output = if matches!(end, "cut" | "left") { part } else { whole };
        self.whole.fetch_add(1, Ordering::SeqCst);
        {
            let caller = request.head.get("x-caller").unwrap_or_default();
            let mut bills = self.bills.lock().unwrap_or_else(PoisonError::into_inner);
            let bill = bills.entry(caller.into()).or_default();
            *bill = Bill {
                requests: bill.requests + 1,
                prompt: bill.prompt + prompt,
                output: bill.output + output,
            };
        }
        if is_probe {
            return wire.try_send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
        let text = "word".repeat(usize::try_from(output).expect("a short answer"));
        let word = json!({ "model": body["model"], "choices": [{ "delta": { "content": text } }] });
        let usage = json!({ "prompt_tokens": prompt, "completion_tokens": output });
        match end {
            "mute" => {}
            "cut" | "left" => {
                wire.try_send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                wire.try_send(&chunk(format!("data: {word}\n\n").as_bytes()))?;
            }
            _ if body["stream"] == true => {
                let last = json!({ "model": body["model"], "choices": [], "usage": usage });
                return answer(
                    wire,
                    "text/event-stream",
                    &format!("data: {word}\n\ndata: {last}\n\ndata: [DONE]\n\n"),
                );
            }
            _ => {
                let choices = json!([{ "message": { "content": text }, "finish_reason": "stop" }]);
                let whole = json!({ "id": "c", "model": body["model"], "choices": choices, "usage": usage });
                return answer(wire, "application/json", &whole.to_string());
            }
        }
        if end != "cut" {
            wire.rest();
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn answer(wire: &mut Wire, kind: &str, text: &str) -> io::Result<()> {
    let length = text.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    wire.try_send(format!("{head}{text}").as_bytes())
}
