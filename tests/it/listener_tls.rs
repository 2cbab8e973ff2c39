//! TLS on the listeners: HTTP/2 and HTTP/1.1 by ALPN, a certificate that is replaced while serving, and what clients without
//! TLS, or without a handshake, see.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Instant,
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use crate::harness::{
    Gateway, Home, Http2, KEY, LIMIT, Upstream, Wire, eventually, http2::client_config, over_socket, provider,
};

/// A certificate for `localhost`, and its key.
fn issued(until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// As editors and secret mounts do.
fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

struct Tls {
    gateway: Gateway,
    home: Home,
    upstream: Upstream,
    certificate: String,
    bearer: String,
}

impl Tls {
    fn new(args: &[&str]) -> Self {
        let upstream = Upstream::plain();
        let home = Home::new(&[("t", &provider(&format!("http://{}", upstream.address()), ""))]);
        let (certificate, key) = issued(2096);
        let bearer = format!("Bearer {}", home.user("ada"));
        home.credential("ada", "providers.t.apiKey", KEY);
        fs::write(home.path("tls.crt"), &certificate).unwrap();
        fs::write(home.path("tls.key"), key).unwrap();
        let files = ["tls.crt", "tls.key"].map(|name| home.path(name).to_str().unwrap().to_owned());
        let args = [&["--tls-cert", &*files[0], "--tls-key", &*files[1]], args].concat();
        let gateway = home.serve(&args);
        Self { gateway, home, upstream, certificate, bearer }
    }

    fn status(&self) -> serde_json::Value {
        over_socket(&self.home.data(), "GET /admin/providers").1
    }
}

/// What is read of an HTTP/1.1 connection over TLS after these bytes. The error is that of the handshake.
fn https(address: SocketAddr, ca: &str, protocols: &[&str], sent: &str) -> Result<String, String> {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(client_config(ca, protocols)), name).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(sent.as_bytes()).map_err(|error| error.to_string())?;
    let mut read = Vec::new();
    // An end without `close_notify` would be an error.
    stream.read_to_end(&mut read).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(read).unwrap())
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn both_protocols_are_served_over_tls() {
    let mut tls = Tls::new(&["--admin-listen", "127.0.0.1:0"]);
    for address in [tls.gateway.address, tls.gateway.admin_address] {
        let mut client = Http2::over_tls(address, &tls.certificate);
        let answering = client.send("GET /health", &[], b"");
        assert_eq!(client.answer(answering).0, 200);
        for protocols in [&["http/1.1"][..], &[]] {
            let answer = https(address, &tls.certificate, protocols, HEALTH).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        let error = https(address, &tls.certificate, &["h3"], HEALTH).unwrap_err();
        assert!(error.contains("NoApplicationProtocol"), "{error}");
    }
    let mut client = Http2::over_tls(tls.gateway.address, &tls.certificate);
    let answering = client.send("POST /t/post", &[("authorization", &tls.bearer)], b"hello");
    let (request, mut wire) = tls.upstream.request();
    assert_eq!(request.body, b"hello");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.answer(answering), (200, b"ok".to_vec()));
    let body = "x".repeat(100_000);
    let sent = format!(
        "POST /t/post HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {}\r\nContent-Length: 100000\r\n\r\n{body}",
        tls.bearer
    );
    let (address, ca) = (tls.gateway.address, tls.certificate.clone());
    let client = std::thread::spawn(move || https(address, &ca, &[], &sent));
    tls.upstream.keep(wire);
    let (request, mut wire) = tls.upstream.request();
    assert_eq!(request.body.len(), 100_000);
    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "y".repeat(1_000_000)));
    let answer = client.join().unwrap().unwrap();
    assert!(answer.len() > 1_000_000 && answer.ends_with('y'), "{}", answer.len());
    assert_eq!(tls.status()["certificate"]["expires"], "2096-01-01T00:00:00Z");
    let metrics =
        https(tls.gateway.admin_address, &tls.certificate, &[], &HEALTH.replace("/health", "/metrics"));
    let metrics = metrics.unwrap();
    assert!(metrics.contains("tollgate_certificate_expiry_timestamp_seconds 3976214400\n"), "{metrics}");
    assert!(metrics.contains("tollgate_certificate_last_reload_successful 1\n"));
}

#[test]
fn a_client_without_tls_is_refused_plainly() {
    let tls = Tls::new(&["--head-timeout", "1s", "--idle-timeout", "1s"]);
    let mut wire = Wire::connect(tls.gateway.address);
    wire.send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = String::from_utf8(wire.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("call it with `https://`"), "{answer}");
    // A handshake that never ends, or never begins.
    for sent in [&b"\x16"[..], b"\x16\x03\x01\x02\x00\x01", b"\x00\x01", b""] {
        let mut wire = Wire::connect(tls.gateway.address);
        wire.send(sent);
        let start = Instant::now();
        wire.rest();
        assert!(start.elapsed() < LIMIT);
    }
    assert!(https(tls.gateway.address, &tls.certificate, &[], HEALTH).unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_head_that_is_refused_has_a_body_over_tls() {
    let tls = Tls::new(&[]);
    let large = format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    for (sent, status, code) in [
        (&*large, 431, "head_too_large"),
        ("GET /health HTTP/1.1\r\nbad line\r\n\r\n", 400, "malformed_request"),
        ("nonsense\r\n\r\n", 400, "malformed_request"),
    ] {
        let answer = https(tls.gateway.address, &tls.certificate, &["http/1.1"], sent).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(body["error"]["code"], code, "{answer}");
    }
}

/// Another host of the domain can set a plain name, also without TLS.
#[test]
fn a_session_over_tls_has_a_secure_name_alone() {
    let tls = Tls::new(&[]);
    let ask =
        |request: String| https(tls.gateway.address, &tls.certificate, &["http/1.1"], &request).unwrap();
    let form = format!("token={}", tls.bearer.trim_start_matches("Bearer "));
    let answer = ask(format!(
        "POST /config/sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nOrigin: https://localhost\r\n\
        Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    ));
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let session = cookie.strip_prefix("__Host-tollgate=").unwrap().split(';').next().unwrap();
    for (name, status) in [("__Host-tollgate", 200), ("tollgate", 401)] {
        let answer = ask(format!(
            "GET /auth/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {name}={session}\r\n\r\n"
        ));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
    }
}

#[test]
fn a_replaced_certificate_is_used_and_a_bad_one_is_not() {
    let tls = Tls::new(&[]);
    let reaches = |certificate: &str| https(tls.gateway.address, certificate, &[], HEALTH).is_ok();
    let mut before = Http2::over_tls(tls.gateway.address, &tls.certificate);
    let (certificate, key) = issued(2097);
    replace(&tls.home.path("tls.crt"), &certificate);
    replace(&tls.home.path("tls.key"), &key);
    eventually("the new certificate", || reaches(&certificate));
    assert!(!reaches(&tls.certificate));
    assert_eq!(tls.gateway.wait_for_log("certificate replaced")["expires"], "2097-01-01T00:00:00Z");
    let answering = before.send("GET /health", &[], b"");
    assert_eq!(before.answer(answering).0, 200, "an open connection goes on");
    // A key of another certificate.
    replace(&tls.home.path("tls.key"), &issued(2098).1);
    let line = tls.gateway.wait_for_log(
        "the new certificate is not used: the last good one stays; it is tried again once the files change",
    );
    assert!(line["problem"].as_str().unwrap().contains("tls.key` holds another key"), "{line}");
    assert!(reaches(&certificate));
    let status = tls.status();
    assert_eq!(
        (&status["ok"], status["certificate"]["problem"].is_string()),
        (&false.into(), true),
        "{status}"
    );
    let shown = tls.home.run(&["status"], "");
    assert!(shown.code == 1 && shown.out.contains("certificate: the new files are not used: "), "{shown:?}");
    replace(&tls.home.path("tls.key"), &key);
    eventually("the end of the problem", || tls.status()["ok"] == true);
    assert!(!tls.gateway.log().join("").contains(key.lines().nth(1).unwrap()));
}

#[test]
fn a_pair_that_cannot_be_used_refuses_the_start() {
    let home = Home::new(&[]);
    let (certificate, key) = issued(2096);
    let file = |name: &str, text: &str| {
        fs::write(home.path(name), text).unwrap();
        home.path(name).to_str().unwrap().to_owned()
    };
    let (good, key) = (file("good.crt", &certificate), file("good.key", &key));
    let (other, empty) = (file("other.key", &issued(2096).1), file("empty.crt", ""));
    let missing = home.path("missing").to_str().unwrap().to_owned();
    for (args, expected) in [
        (&["--tls-cert", &*good][..], "needs `--tls-key` beside it"),
        (&["--tls-key", &key], "needs `--tls-cert` beside it"),
        (&["--tls-cert", &good, "--tls-key", &other], "other.key` holds another key"),
        (&["--tls-cert", &empty, "--tls-key", &key], "empty.crt` holds no certificate: it is empty"),
        (&["--tls-cert", &good, "--tls-key", &missing], "cannot read `"),
    ] {
        let said = home.run(&[&["serve", "--listen", "127.0.0.1:0"], args].concat(), "");
        assert!(said.code == 1 && said.err.contains(expected), "{args:?}: {said:?}");
        assert!(!home.data().exists(), "{args:?}");
    }
}
