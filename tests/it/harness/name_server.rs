//! A scripted name server at port 53 of an address of its own, and the namespace in which a gateway uses it.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
};

use super::{gateway::Home, namespace::Namespace};

/// A name server. Each name has the address 127.0.0.1; for one that begins with `hang`, it never answers.
pub struct NameServer {
    address: Ipv4Addr,
    queries: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Starts it. None, with a word on stderr, where the machine refuses port 53. Its thread ends with the test's process.
    pub fn start() -> Option<Self> {
        // Tests run at the same time: each process has an address of its own.
        let [_, a, b, c] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 64 | a, b, c);
        let socket = match UdpSocket::bind((address, 53)) {
            Ok(socket) => socket,
            Err(error) => {
                eprintln!("not tested here, for want of port 53: {error}");
                return None;
            }
        };
        let queries = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&queries);
        std::thread::spawn(move || serve(&socket, &seen));
        Some(Self { address, queries })
    }

    /// A namespace in which names are looked up here, without retries.
    pub fn namespace(&self, home: &Home) -> Option<Namespace> {
        let (servers, sources) = (home.path("resolv.conf"), home.path("nsswitch.conf"));
        let text = format!("nameserver {}\noptions timeout:30 attempts:1\n", self.address);
        std::fs::write(&servers, text).expect("the directory is ours");
        std::fs::write(&sources, "hosts: files dns\n").expect("the directory is ours");
        home.namespace(&format!(
            "mount --bind '{}' /etc/resolv.conf; mount --bind '{}' /etc/nsswitch.conf",
            servers.display(),
            sources.display()
        ))
    }

    /// The number of queries for a name. A lookup sends two: for IPv4 and IPv6.
    pub fn queries(&self, name: &str) -> usize {
        let queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        queries.iter().filter(|query| *query == name).count()
    }
}

fn serve(socket: &UdpSocket, queries: &Mutex<Vec<String>>) {
    let mut query = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut query) {
        let Some((name, end)) = name_of(&query[..length]) else { continue };
        if !name.starts_with("hang") {
            socket.send_to(&answer(&query[..end]), client).ok();
        }
        queries.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    }
}

/// The name in the question of a query, and the question's end.
fn name_of(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            return Some((labels.join("."), at + 5)).filter(|(_, end)| *end <= query.len());
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).into_owned());
        at += length + 1;
    }
}

/// The answer to a query that ends with its question: one address for IPv4, none for IPv6.
fn answer(query: &[u8]) -> Vec<u8> {
    let is_ipv4 = query[query.len() - 4..query.len() - 2] == [0, 1];
    let mut answer = query.to_vec();
    // A response, without an error; the counts of its sections.
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
    if is_ipv4 {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    answer
}
