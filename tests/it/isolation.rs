//! The trouble of one provider does not reach others: a name server that hangs, interim responses without end, responses
//! that come too late or twice.

use crate::harness::{Answer, Exchange, Fault, Gateway, Home, NameServer, Next, Upstream, Wire, World};

const CORS: &str = "Content-Type, Authorization, x-api-key";

/// A provider at a host, which nobody needs a credential for.
fn provider(name: &str, host: &str, port: u16, connect: &str) -> String {
    format!(
        "title = \"{name}\"\nbase_url = \"http://{host}:{port}\"\npath_prefix = \"/{name}\"\n\
         [endpoint.get]\nmethod = \"GET\"\npath = \"/get\"\n[timeouts]\nconnect = \"{connect}\"\n"
    )
}

/// A gateway whose names are looked up at a scripted name server.
struct Named {
    names: NameServer,
    upstream: Upstream,
    gateway: Gateway,
    token: String,
    _home: Home,
}

impl Named {
    /// With providers `good` and `new`, and so many whose lookups hang.
    fn new(hanging: usize) -> Option<Self> {
        let (names, upstream, home) = (NameServer::start()?, Upstream::plain(), Home::new(&[]));
        let port = upstream.address().port();
        for name in ["good", "new"] {
            home.write(name, &provider(name, &format!("{name}.test"), port, "5s"));
        }
        for number in 0..hanging {
            let name = format!("hang{number}");
            home.write(&name, &provider(&name, &format!("{name}.test"), port, "2s"));
        }
        let token = home.user("ada");
        let gateway = home.serve_in(&names.namespace(&home)?, &["--allow-private", "true"]);
        Some(Self { names, upstream, gateway, token, _home: home })
    }

    fn call(&self, name: &str) -> Wire {
        let mut client = Wire::connect(self.gateway.address);
        let token = &self.token;
        client.send(format!("GET /{name}/get HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\r\n"));
        client
    }

    /// A call that reaches the upstream on a new connection.
    fn is_served(&mut self, name: &str) {
        let mut client = self.call(name);
        let Next::Request(mut wire) = self.upstream.next_or(&client) else {
            panic!("{name}: {:?}", client.answer());
        };
        wire.request().unwrap();
        wire.send(Answer::new("200 OK").body("ok").bytes());
        assert_eq!(client.answer().unwrap().body, b"ok");
    }
}

#[test]
fn callers_of_a_name_that_hangs_hold_up_nobody_else() {
    let Some(mut named) = Named::new(1) else { return };
    let mut hanging: Vec<_> = (0..100).map(|_| named.call("hang0")).collect();
    for _ in 0..3 {
        named.is_served("good");
        named.is_served("new");
    }
    let message = "Upstream hang0 failed: its name was not resolved in time";
    for client in &mut hanging {
        Fault(504, "upstream_dns_timeout", message).check(Some(CORS), &client.answer().unwrap());
    }
    assert_eq!(named.names.queries("hang0.test"), 2, "one lookup for all callers");
}

#[test]
fn many_names_that_hang_leave_lookups_to_known_hosts_and_are_refused_at_once() {
    let Some(mut named) = Named::new(120) else { return };
    named.is_served("good");
    let hanging: Vec<_> = (0..120).map(|number| (number, named.call(&format!("hang{number}")))).collect();
    let (mut busy, mut late) = (0, 0);
    for (number, mut client) in hanging {
        let answer = client.answer().unwrap();
        let (code, what) = if answer.head.status() == 503 {
            busy += 1;
            let what = "its name cannot be resolved now, since too many DNS lookups are in flight";
            ((503, "upstream_dns_busy"), what)
        } else {
            late += 1;
            ((504, "upstream_dns_timeout"), "its name was not resolved in time")
        };
        let message = format!("Upstream hang{number} failed: {what}");
        Fault(code.0, code.1, &message).check(Some(CORS), &answer);
    }
    assert_eq!((late, busy), (112, 8));
    // Those lookups still hang.
    named.is_served("good");
    assert_eq!(named.call("new").answer().unwrap().head.status(), 503);
}

#[test]
fn interim_responses_have_a_limit() {
    let mut world = World::new();
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let exchange = world.known(Exchange::get());
    let mut client = world.client();
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    wire.send([interim.repeat(32).as_bytes(), &exchange.answer.bytes()].concat());
    world.receive(&mut client, &exchange);
    world.upstream.keep(wire);
    client.send(exchange.bytes());
    let (_, mut wire) = world.upstream.request();
    wire.send([interim.repeat(33).as_bytes(), &exchange.answer.bytes()].concat());
    let message = "Upstream t failed: it sent too many interim (1xx) responses";
    world.check_fault(exchange.bytes(), Fault(502, "upstream_interim", message), &client.answer().unwrap());
    wire.ends();
    world.exchange(Exchange::get());
    assert_eq!(world.upstream.connections, 2);
}

#[test]
fn a_late_or_second_response_is_never_that_of_another_request() {
    let mut world = World::new();
    let cases = [
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "\r\n",
    ];
    let mut connections = 0;
    for late in cases {
        for at_once in [true, false] {
            let exchange = world.known(Exchange::get());
            let mut client = world.client();
            client.send(exchange.bytes());
            let (_, mut wire) = world.upstream.request();
            if at_once {
                wire.send([&exchange.answer.bytes(), late.as_bytes()].concat());
                world.receive(&mut client, &exchange);
            } else {
                wire.send(exchange.answer.bytes());
                world.receive(&mut client, &exchange);
                wire.try_send(late.as_bytes()).unwrap();
            }
            // The upstream goes on listening there, and would answer.
            world.upstream.keep(wire);
            connections += 1;
            assert_eq!(world.upstream.connections, connections, "{late}, at once: {at_once}");
        }
    }
    world.exchange(Exchange::get());
    assert_eq!(world.upstream.connections, connections + 1);
}
