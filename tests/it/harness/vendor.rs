//! An upstream that answers by itself as a vendor of models does, and keeps its own sums of what it would bill. A request says
//! what it costs: `p` tokens of its prompt, and `out` of its answer.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::wire::{Message, Wire};

/// A server that answers by itself.
pub struct Vendor {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What came so far.
#[derive(Default)]
struct Seen {
    whole: AtomicUsize,
    /// Tokens, by the header `x-caller`.
    tokens: Mutex<BTreeMap<String, u64>>,
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
                        seen.whole.fetch_add(1, Ordering::SeqCst);
                        if wire.try_send(&seen.answer(&request)).is_err() {
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

    /// The tokens that a caller used.
    pub fn tokens(&self, caller: &str) -> u64 {
        self.seen.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(caller).copied().unwrap_or(0)
    }
}

impl Seen {
    fn answer(&self, request: &Message) -> Vec<u8> {
        if request.head.start.contains("/probe") {
            return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec();
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let (prompt, output) = (body["p"].as_u64().unwrap_or(0), body["out"].as_u64().unwrap_or(0));
        let caller = request.head.get("x-caller").unwrap_or_default();
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner).entry(caller.into()).or_default() +=
            prompt + output;
        let usage = json!({ "prompt_tokens": prompt, "completion_tokens": output });
        let (kind, text) = if body["stream"] == true {
            let word = json!({ "model": body["model"], "choices": [{ "delta": { "content": "hi" } }] });
            let last = json!({ "model": body["model"], "choices": [], "usage": usage });
            ("text/event-stream", format!("data: {word}\n\ndata: {last}\n\ndata: [DONE]\n\n"))
        } else {
            let choices = json!([{ "message": { "content": "hi" }, "finish_reason": "stop" }]);
            let answer = json!({ "id": "c", "model": body["model"], "choices": choices, "usage": usage });
            ("application/json", answer.to_string())
        };
        let length = text.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{text}")
            .into_bytes()
    }
}
