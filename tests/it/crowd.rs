//! Many requests at once: each client gets its own answer, in whatever order the upstream answers.

use std::collections::BTreeSet;

use crate::harness::{Answer, Exchange, Wire, World};

/// Few enough for any limit on open files: each has four sockets here and in the gateway.
const CROWD: usize = 150;

fn numbered(world: &World, number: usize) -> Exchange {
    let body = format!("answer {number}").repeat(number % 7 + 1);
    let answer = if number.is_multiple_of(2) {
        Answer::new("200 OK").body(body)
    } else {
        Answer::new("200 OK").chunked(body)
    };
    let exchange = Exchange::post(format!("request {number}")).header("X-Number", &number.to_string());
    let exchange = exchange.at(&format!("/t/post?n={number}"), &format!("/post?n={number}"));
    world.known(exchange.answer(answer))
}

fn crowd(mut world: World) {
    let mut ids = BTreeSet::new();
    for round in 0..3 {
        let exchanges: Vec<Exchange> = (0..CROWD).map(|number| numbered(&world, number + round)).collect();
        let mut clients: Vec<Wire> = exchanges
            .iter()
            .map(|exchange| {
                let mut client = world.client();
                client.send(exchange.bytes());
                client
            })
            .collect();
        // All requests arrive before any is answered, and the last is answered first.
        let mut waiting: Vec<(usize, Wire)> = (0..CROWD)
            .map(|_| {
                let (request, wire) = world.upstream.request();
                let number: usize = request.head.get("x-number").unwrap().parse().unwrap();
                exchanges[number - round].check(&world.host, &request);
                (number - round, wire)
            })
            .collect();
        waiting.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        for (number, mut wire) in waiting {
            wire.send(exchanges[number].answer.bytes());
            let answer = world.receive(&mut clients[number], &exchanges[number]);
            assert!(
                ids.insert(answer.head.get("tollgate-request-id").unwrap().to_owned()),
                "two have one id"
            );
            world.upstream.keep(wire);
        }
    }
    assert_eq!(ids.len(), CROWD * 3);
}

#[test]
fn each_gets_its_own_answer_from_one_worker() {
    crowd(World::new());
}

#[test]
fn each_gets_its_own_answer_from_several_workers() {
    crowd(World::with("", &["--workers", "4"]));
}
