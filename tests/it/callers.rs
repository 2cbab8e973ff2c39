//! Where requests come from, and what becomes of wrong tokens.

use std::time::Duration;

use crate::harness::{Exchange, Fault, Wire, World};

const NO_CALLER: Fault<'_> = Fault(401, "invalid_token", "Invalid or missing auth credentials");
const NO_ADMIN: Fault<'_> = Fault(401, "invalid_admin_token", "Invalid or missing admin credentials");
const TOO_MANY: Fault<'_> =
    Fault(429, "too_many_attempts", "Too many wrong tokens came from your network: try again later");

/// So many wrong tokens of one address are answered at once.
const FREE: usize = 10;
/// So many further ones may be held back at once, these few for less than five seconds.
const DELAYED: usize = 128;
const SHORT: usize = 8;

/// A request with a token, told to have come from an address.
fn request(line: &str, token: &str, from: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\nX-Forwarded-For: {from}\r\n\r\n"
    )
}

/// What the access log says of where the last request came from.
fn peer(world: &World) -> String {
    world.gateway.says("request")["peer"].as_str().unwrap().to_owned()
}

#[test]
fn only_trusted_proxies_tell_where_a_request_came_from() {
    let mut world = World::with("", &["--trusted-proxies", "127.0.0.0/8,2001:db8::/32"]);
    let mut check = |from: &str, expected: &str| {
        world.fault(request("GET /t/get", "wrong", from), NO_CALLER);
        assert_eq!(peer(&world), expected, "{from}");
    };
    check("203.0.113.9", "203.0.113.9");
    check("198.51.100.7, 203.0.113.10, 2001:db8::1", "203.0.113.10");
    check("198.51.100.7:4711", "198.51.100.7");
    check("nonsense", "127.0.0.1");
    let mut world = World::new();
    world.fault(request("GET /t/get", "wrong", "203.0.113.9"), NO_CALLER);
    assert_eq!(peer(&world), "127.0.0.1");
}

const STATUS: &str = "GET /admin/providers";

/// Asks for the status with wrong tokens, each on a connection of its own, and waits for nothing.
fn guess(world: &World, count: usize, from: &str) -> Vec<Wire> {
    let sent = (0..count).map(|_| {
        let mut client = world.client();
        client.send(request(STATUS, "wrong", from));
        client
    });
    sent.collect()
}

/// The next answer there, and whether it was a refusal for being one too many.
fn refused(world: &World, client: &mut Wire) -> bool {
    let answer = client.answer().unwrap();
    let too_many = answer.head.status() == 429;
    world.check_fault(STATUS, if too_many { TOO_MANY } else { NO_ADMIN }, &answer);
    too_many
}

#[test]
fn wrong_tokens_are_held_back_and_right_ones_never() {
    let mut world = World::with("", &["--trusted-proxies", "127.0.0.1"]);
    let (here, elsewhere) = ("203.0.113.9", "203.0.113.10");
    for mut free in guess(&world, FREE, here) {
        assert!(!refused(&world, &mut free));
    }
    // These are held back for ever longer, most of them for five seconds, and so the last are too many.
    let mut held_back = guess(&world, DELAYED + SHORT, here);
    let mut last = held_back.pop().unwrap();
    assert!(refused(&world, &mut last));
    // Meanwhile right ones from there are answered, the first wrong ones from elsewhere, and who has none.
    let exchange = world.known(Exchange::get().removed("X-Forwarded-For", here));
    let mut client = world.client();
    world.exchange_on(&mut client, &exchange);
    assert!(!refused(&world, &mut guess(&world, 1, elsewhere)[0]));
    world.fault("GET /t/get HTTP/1.1\r\nHost: gateway.test\r\n\r\n", NO_CALLER);
    let waiting = held_back.iter().filter(|client| client.is_quiet_for(Duration::from_millis(1))).count();
    assert!(waiting > DELAYED - SHORT, "{waiting}");
}
