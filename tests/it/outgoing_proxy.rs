//! Outgoing proxies: a company's network in which nothing is reached without one. The proxy is played by the test: it writes
//! what the test says, or relays bytes to the upstream.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use tollgate::mock::Authority;

use crate::harness::{Fault, Gateway, Home, LIMIT, Upstream, Wire, provider, provider_with_login};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const CORS: Option<&str> = Some("Content-Type, Authorization, x-api-key");
/// `ada:s3cret`
const SENT: &str = "Basic YWRhOnMzY3JldA==";

/// A proxy. It ends with its connections.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

/// What it does after the head of a request.
#[derive(Clone, Copy)]
enum Then {
    /// Opens a tunnel to this address, whatever the client asked for.
    Tunnel(SocketAddr),
    /// Writes this, and closes.
    Say(&'static str),
    /// Nothing.
    Hang,
}

impl Proxy {
    fn start(then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&heads);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                thread::spawn(move || serve(socket, then, &log));
            }
        });
        Self { address, heads }
    }

    fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}{}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(mut client: TcpStream, then: Then, log: &Mutex<Vec<String>>) -> io::Result<()> {
    client.set_read_timeout(Some(LIMIT))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    log.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
    match then {
        Then::Say(text) => client.write_all(text.as_bytes()),
        // Until the client leaves.
        Then::Hang => client.read(&mut [0]).map(drop),
        Then::Tunnel(to) => {
            let mut origin = TcpStream::connect(to)?;
            client.write_all(OPEN.as_bytes())?;
            let (mut from_client, mut to_origin) = (client.try_clone()?, origin.try_clone()?);
            thread::spawn(move || {
                let _ = io::copy(&mut from_client, &mut to_origin);
                to_origin.shutdown(Shutdown::Write)
            });
            io::copy(&mut origin, &mut client)?;
            client.shutdown(Shutdown::Write)
        }
    }
}

/// A provider `t` at this URL, and a request to it.
fn home(base_url: &str) -> (Home, String) {
    let home = Home::new(&[("t", &provider(base_url, ""))]);
    let token = home.user("ada");
    home.credential("ada", "providers.t.apiKey", "sk-upstream");
    let request = format!("GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n");
    (home, request)
}

fn answered(gateway: &Gateway, request: &str) -> crate::harness::Message {
    let mut client = Wire::connect(gateway.address);
    client.send(request);
    client.answer().unwrap()
}

#[test]
fn a_tunnel_to_an_upstream_with_tls() {
    let authority = Arc::new(Authority::new(&[]).unwrap());
    let mut upstream = Upstream::tls(Arc::clone(&authority));
    let proxy = Proxy::start(Then::Tunnel(upstream.address()));
    let (home, request) = home("https://api.example.test");
    std::fs::write(home.path("ca.pem"), authority.pem()).unwrap();
    let ca = home.path("ca.pem");
    let gateway =
        home.serve(&["--ca-file", ca.to_str().unwrap(), "--outgoing-proxy", &proxy.url("ada:s3cret@")]);
    for _ in 0..2 {
        let mut client = Wire::connect(gateway.address);
        client.send(&request);
        let (seen, mut wire) = upstream.request();
        assert_eq!(seen.head.start, "GET /get HTTP/1.1");
        assert_eq!(seen.head.get("host"), Some("api.example.test"));
        assert_eq!(seen.head.get("proxy-authorization"), None);
        assert_eq!(seen.head.get("authorization"), Some("Bearer sk-upstream"));
        wire.send(OK);
        assert_eq!(client.answer().unwrap().head.status(), 200);
        upstream.keep(wire);
    }
    assert_eq!(
        proxy.heads(),
        [format!(
            "CONNECT api.example.test:443 HTTP/1.1\r\nHost: api.example.test:443\r\nProxy-Authorization: {SENT}\r\n\r\n"
        )]
    );
    // The start and the status show the proxy, and never its credentials.
    let shown = format!("http://{}", proxy.address);
    let status = home.done(&["status"], "");
    assert!(status.contains(&format!("outgoing proxy for https: {shown}")), "{status}");
    let log = gateway.log().concat();
    assert!(log.contains(&shown) && !log.contains("s3cret") && !status.contains("s3cret"), "{log}");
}

#[test]
fn plain_requests_and_the_variables_of_other_programs() {
    let (home, request) = home("http://api.example.test:81");
    let proxy = Proxy::start(Then::Say(OK));
    let url = proxy.url("ada:s3cret@");
    let check = |env: &[(&str, &str)], args: &[&str], is_used: bool| {
        let before = proxy.heads().len();
        let gateway = home.serve_with(args, env);
        let status = answered(&gateway, &request).head.status();
        assert_eq!(
            (status == 200, proxy.heads().len() > before),
            (is_used, is_used),
            "{env:?} {args:?}: {status}"
        );
    };
    check(&[("http_proxy", &url)], &[], true);
    check(&[("HTTP_PROXY", &url)], &[], true);
    check(&[("HTTP_PROXY", &url), ("NO_PROXY", "other.example, example.test")], &[], false);
    check(&[("HTTP_PROXY", &url), ("NO_PROXY", "*")], &["--no-proxy", "other.example"], true);
    check(&[("HTTP_PROXY", &url), ("NO_PROXY", "api.example.test:82,10.*")], &[], true);
    check(&[("HTTP_PROXY", &url), ("REQUEST_METHOD", "GET")], &[], false);
    check(&[("HTTPS_PROXY", &url)], &[], false);
    check(&[("HTTP_PROXY", &url)], &["--outgoing-proxy", ""], false);
    check(&[("HTTP_PROXY", &url), ("TOLLGATE_OUTGOING_PROXY", "-")], &["--outgoing-proxy", ""], false);
    check(&[("HTTP_PROXY", "http://127.0.0.1:1")], &["--outgoing-proxy", &url], true);
    for head in proxy.heads() {
        assert!(head.starts_with("GET http://api.example.test:81/get HTTP/1.1\r\n"), "{head}");
        assert!(
            head.to_lowercase().contains(&format!("proxy-authorization: {}\r\n", SENT.to_lowercase())),
            "{head}"
        );
    }
}

#[test]
fn failures_of_the_proxy_are_its_own() {
    let (home, request) = home("https://api.example.test");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let check = |address: SocketAddr, what: &str, logged: &str| {
        let gateway = home.serve(&["--outgoing-proxy", &format!("http://ada:s3cret@{address}")]);
        let answer = answered(&gateway, &request);
        let message = format!("Upstream t failed: the outgoing proxy {what}");
        Fault(502, "proxy_failed", &message).check(CORS, &answer);
        assert!(!String::from_utf8_lossy(&answer.body).contains(&address.to_string()));
        gateway.logged(logged);
        let log = gateway.log().concat();
        assert!(!log.contains("s3cret") && !log.contains(SENT), "{log}");
    };
    let says = |text| Proxy::start(Then::Say(text)).address;
    check(closed, "cannot be reached", "cannot be used: `127.0.0.1` cannot be reached");
    check(
        says("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n"),
        "wants other credentials (407)",
        "refused its credentials (407)",
    );
    check(
        says("HTTP/1.1 403 Forbidden\r\n\r\n"),
        "refused the way to it",
        "refused a tunnel with status 403",
    );
    check(says("nonsense\r\n\r\n"), "gave an answer that cannot be used", "it is not HTTP/1.1");
    check(
        says("HTTP/1.1 200 OK\r\n"),
        "closed the connection",
        "closed the connection before it opened a tunnel",
    );
}

#[test]
fn a_slow_proxy_is_within_the_connect_timeout() {
    let proxy = Proxy::start(Then::Hang);
    let (home, request) = home("https://api.example.test");
    home.write("t", &provider("https://api.example.test", "[timeouts]\nconnect = \"100ms\"\n"));
    let gateway = home.serve(&["--outgoing-proxy", &proxy.url("")]);
    let fault =
        Fault(502, "proxy_failed", "Upstream t failed: the outgoing proxy did not open a connection in time");
    fault.check(CORS, &answered(&gateway, &request));
}

#[test]
fn a_proxy_leads_to_no_private_name() {
    let proxy = Proxy::start(Then::Say(OK));
    for (url, allowed) in
        [("http://intranet", false), ("http://db.internal", false), ("http://169.254.169.254", false)]
    {
        let (home, request) = home(url);
        let gateway = home.serve(&["--outgoing-proxy", &proxy.url("")]);
        assert_eq!(answered(&gateway, &request).head.status() == 200, allowed, "{url}");
    }
    assert_eq!(proxy.heads(), [""; 0]);
}

/// A call to a token endpoint obeys the same rules.
#[test]
fn logins_are_refreshed_through_the_proxy() {
    let proxy = Proxy::start(Then::Say(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{\"access_token\":\"a2\",\"refresh_token\":\"r2\",\"expires_in\":3600}",
    ));
    let text = provider_with_login("http://api.example.test", "http://auth.example.test/token");
    let home = Home::new(&[("t", &text)]);
    let token = home.user("ada");
    let login = r#"{"accessToken":"a1","refreshToken":"r1","expiresAt":1000000000000}"#;
    home.credential("ada", "providers.t.login", login);
    let gateway = home.serve(&["--outgoing-proxy", &proxy.url("")]);
    let request = format!("GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n");
    answered(&gateway, &request);
    let heads = proxy.heads();
    assert!(heads[0].starts_with("POST http://auth.example.test/token HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[1].starts_with("GET http://api.example.test/get HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[1].to_lowercase().contains("authorization: bearer a2\r\n"), "{heads:?}");
}
