//! TLS of a provider's own, against an upstream that demands a client certificate: it is used, it is replaced while serving,
//! and a bad file leaves the last good one in use. No private key is shown.

use std::{fs, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tollgate::mock::Authority;

use crate::harness::{Broken, Fault, Gateway, Home, Upstream, Wire, over_socket};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const CORS: Option<&str> = Some("Content-Type, Authorization, x-api-key");

struct Mutual {
    upstream: Upstream,
    clients: CertifiedIssuer<'static, KeyPair>,
    home: Home,
    request: String,
}

impl Mutual {
    /// A provider `t` with this `tls` table.
    fn new(tls: &str) -> Self {
        let servers = Arc::new(Authority::new(&[]).unwrap());
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let clients = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let upstream = Upstream::mutual_tls(Arc::clone(&servers), &clients.pem());
        // A text of several lines is for a key of `tls` alone.
        let client = if tls.contains("client") {
            "client = { file = \"client.pem\" }\nclient_key = { file = \"client.key\", secret = true }"
        } else {
            ""
        };
        let text = format!(
            "title = \"T\"\nbase_url = \"https://{}\"\npath_prefix = \"/t\"\n\
            [vars]\ncorp_ca = {{ file = \"ca.pem\" }}\n{client}\n{tls}\n\
            [endpoint.get]\nmethod = \"GET\"\npath = \"/get\"\n",
            upstream.address()
        );
        let home = Home::new(&[("t", &text)]);
        fs::create_dir(home.path("secrets")).unwrap();
        fs::write(home.path("secrets/ca.pem"), servers.pem()).unwrap();
        let request =
            format!("GET /t/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\r\n", home.user("ada"));
        let mutual = Self { upstream, clients, home, request };
        mutual.issue("client");
        mutual
    }

    /// Writes a new certificate with this name, and its key.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.clients).unwrap();
        replace(&self.home.path("secrets/client.key"), &key.serialize_pem());
        replace(&self.home.path("secrets/client.pem"), &certificate.pem());
    }

    fn passes(&mut self, gateway: &Gateway) {
        let mut client = Wire::connect(gateway.address);
        client.send(&self.request);
        let (_, mut wire) = self.upstream.request();
        wire.send(OK);
        assert_eq!(client.answer().unwrap().head.status(), 200);
        self.upstream.keep(wire);
    }

    fn fails(&mut self, gateway: &Gateway) {
        let mut client = Wire::connect(gateway.address);
        client.send(&self.request);
        // The upstream refuses in its handshake.
        assert!(matches!(self.upstream.next().request(), Err(Broken::Closed | Broken::Cut)));
        let fault = Fault(502, "upstream_tls", "Upstream t failed: the TLS handshake failed");
        fault.check(CORS, &client.answer().unwrap());
    }

    fn reload(&self) -> String {
        over_socket(&self.home.data(), "POST /admin/reload").1.to_string()
    }
}

/// As editors and secret mounts do.
fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, path).unwrap();
}

const BOTH: &str =
    "[tls]\nca = \"corp_ca\"\nroots = \"only\"\ncertificate = \"client\"\nkey = \"client_key\"";

#[test]
fn an_upstream_that_demands_a_client_certificate() {
    let mut mutual = Mutual::new(BOTH);
    let gateway = mutual.home.serve(&[]);
    mutual.passes(&gateway);
    mutual.passes(&gateway);
    assert_eq!(mutual.upstream.connections, 1, "the connection is kept");
    drop(gateway);
    let mut without = Mutual::new("[tls]\nca = \"corp_ca\"");
    let gateway = without.home.serve(&[]);
    without.fails(&gateway);
}

#[test]
fn a_replaced_certificate_is_used_and_a_bad_one_is_not() {
    let mut mutual = Mutual::new(BOTH);
    let gateway = mutual.home.serve(&[]);
    mutual.passes(&gateway);
    mutual.issue("another");
    assert!(mutual.reload().contains("\"ok\":true"));
    mutual.passes(&gateway);
    assert_eq!(mutual.upstream.connections, 2, "no connection of the old certificate is used");
    let key = fs::read_to_string(mutual.home.path("secrets/client.key")).unwrap();
    let body = key.lines().nth(1).unwrap().to_owned();
    for (file, text, expected) in [
        ("client.key", KeyPair::generate().unwrap().serialize_pem(), "holds another key"),
        ("client.key", key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "holds an encrypted private key"),
        ("client.key", format!("{body}\n"), "holds no private key"),
        ("client.pem", "nonsense".to_owned(), "var `client` holds no certificate"),
        ("ca.pem", key.clone(), "var `corp_ca` holds no certificate: it holds a private key"),
        ("ca.pem", String::new(), "var `corp_ca` is empty"),
    ] {
        let path = mutual.home.path(&format!("secrets/{file}"));
        let good = fs::read_to_string(&path).unwrap();
        replace(&path, &text);
        let status = mutual.reload();
        assert!(status.contains(expected) && status.contains("\"stale\""), "{file}: {status}");
        assert!(!status.contains(&body), "{status}");
        mutual.passes(&gateway);
        replace(&path, &good);
        assert!(mutual.reload().contains("\"ok\":true"));
    }
    let log = gateway.log().concat();
    assert!(
        log.contains("holds another key") && !log.contains(&body),
        "the log names the problem, and no key"
    );
    let explained = mutual.home.run(&["explain", "GET", "/t/get"], "");
    assert!(
        explained.out.contains("`certificate`: file `client.pem` in the secrets directory"),
        "{explained:?}"
    );
    assert!(!format!("{explained:?}").contains(&body));
}

/// Without a good version, the provider is out of service, and the others serve.
#[test]
fn a_bad_certificate_at_the_start() {
    let mutual = Mutual::new(BOTH);
    fs::write(mutual.home.path("secrets/client.key"), "nonsense").unwrap();
    let gateway = mutual.home.serve(&[]);
    let mut client = Wire::connect(gateway.address);
    client.send(&mutual.request);
    let answer = client.answer().unwrap();
    assert_eq!(answer.head.status(), 503);
    let routes = mutual.home.run(&["routes"], "");
    assert!(routes.err.contains("var `client_key` holds no private key"), "{routes:?}");
}
