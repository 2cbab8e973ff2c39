//! The deadlines, with peers that take their time. The bytes themselves: `tests/it/websocket.rs`.

use std::future::{Future, pending};

use tokio::{
    io::{DuplexStream, duplex},
    time::sleep,
};

use super::*;

const SHORT: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_mins(5);
const FREE: Limits = Limits { idle: LONG, stall: LONG, closing: LONG, closed_in: LONG };
/// More than is on its way between two peers.
const MUCH: usize = 4 << 10;

/// The client's close frame, masked with zeros, and the upstream's.
const OF_CLIENT: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
const OF_UPSTREAM: [u8; 4] = [0x88, 0x02, 0x03, 0xe8];

/// A binary frame of the upstream.
fn much() -> Vec<u8> {
    let length = u16::try_from(MUCH).unwrap().to_be_bytes();
    [&[0x82, 126], &length[..], &[0; MUCH]].concat()
}

/// Relays with these limits while the peers play: the client, and the upstream.
async fn relayed<P: Future<Output = ()>>(
    limits: Limits,
    peers: impl FnOnce(DuplexStream, DuplexStream) -> P,
) -> (Ended, Duration) {
    let (client, mut near) = duplex(64);
    let (upstream, mut far) = duplex(64);
    let start = Instant::now();
    let relaying = async move {
        let ended = relay(&mut near, &mut far, Default::default(), limits, pending(), |_, _| {}).await;
        (ended, start.elapsed())
    };
    tokio::join!(relaying, peers(client, upstream)).0
}

fn check(ended: Ended, by: Party, code: Option<u16>) {
    assert_eq!((ended.by, ended.close.map(|close| close.code)), (by, code.map(Some)), "{ended:?}");
}

async fn expect(peer: &mut DuplexStream, bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    peer.read_exact(&mut found).await.unwrap();
    assert!(found == bytes, "{} bytes", bytes.len());
}

#[tokio::test]
async fn a_receiver_that_takes_its_time_is_no_silence() {
    let limits = Limits { idle: SHORT, ..FREE };
    let (ended, took) = relayed(limits, async |mut client, mut upstream| {
        tokio::join!(async { upstream.write_all(&much()).await.unwrap() }, async {
            sleep(SHORT * 5).await;
            expect(&mut client, &much()).await;
        });
        let mut farewell = [0; 2];
        client.read_exact(&mut farewell).await.unwrap();
        assert_eq!(farewell[0], 0x88);
        drop((client, upstream));
    })
    .await;
    check(ended, Party::Tollgate, Some(GOING_AWAY));
    assert!(took > SHORT * 6, "{took:?}");
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_has_a_limit() {
    for is_client in [true, false] {
        let limits = Limits { stall: SHORT * 3, ..FREE };
        let (ended, took) = relayed(limits, async |client, upstream| {
            let (mut from, to) = if is_client { (upstream, client) } else { (client, upstream) };
            let sent = from.write_all(&much()[..1 << 10]).await;
            sent.unwrap_err();
            drop(to);
        })
        .await;
        // The close frame had its place on the other way, which was open.
        check(ended, Party::Tollgate, Some(GOING_AWAY));
        assert!(took >= SHORT * 3, "{took:?}");
    }
}

/// The client has sent its close frame: what the upstream sends before its own arrives.
#[tokio::test]
async fn a_receiver_that_takes_its_time_gets_the_end() {
    let limits = Limits { closing: SHORT, ..FREE };
    let (ended, _) = relayed(limits, async |mut client, mut upstream| {
        upstream.write_all(&much()[..128]).await.unwrap();
        client.write_all(&OF_CLIENT).await.unwrap();
        expect(&mut upstream, &OF_CLIENT).await;
        tokio::join!(
            async {
                upstream.write_all(&much()[128..]).await.unwrap();
                upstream.write_all(&OF_UPSTREAM).await.unwrap();
            },
            async {
                sleep(SHORT * 5).await;
                expect(&mut client, &much()).await;
                expect(&mut client, &OF_UPSTREAM).await;
            }
        );
    })
    .await;
    check(ended, Party::Client, Some(1000));
}

#[tokio::test]
async fn a_close_frame_without_an_answer_has_a_limit() {
    // A pause; a peer that sends nothing, and one whose bytes are not taken.
    for (limits, is_silent) in [
        (Limits { closing: SHORT, ..FREE }, true),
        (Limits { closed_in: SHORT, ..FREE }, true),
        (Limits { closed_in: SHORT, ..FREE }, false),
    ] {
        let (ended, took) = relayed(limits, async |mut client, upstream| {
            client.write_all(&OF_CLIENT).await.unwrap();
            let (mut reader, mut writer) = tokio::io::split(upstream);
            let mut found = [0; OF_CLIENT.len()];
            reader.read_exact(&mut found).await.unwrap();
            if !is_silent {
                writer.write_all(&much()[..180]).await.unwrap();
            }
            sleep(SHORT * 2).await;
        })
        .await;
        check(ended, Party::Client, Some(1000));
        assert!(took >= SHORT, "{took:?}");
    }
}
