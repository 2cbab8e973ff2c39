//! WebSockets: frames come back as they went, unmasked. A frame of any size passes in pieces. A ping is answered by a pong, and a
//! close frame by the same one, which ends the connection.

use std::{io, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use ring::digest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{body::Body, counts::Guard};
use crate::websocket;

/// Bytes of one read.
const PIECE: usize = 16 << 10;
/// The opcodes of control frames (RFC 6455, section 11.8).
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The longest wait for a client to close its side.
const LINGER: Duration = Duration::from_secs(1);

/// True for a handshake that the mock answers.
pub(super) fn is_asked(head: &Parts) -> bool {
    websocket::is_asked(&head.headers)
        && head.headers.get(header::SEC_WEBSOCKET_KEY).is_some_and(|key| key.to_str().is_ok())
}

/// The answer that switches. The first subprotocol that the client offers is taken.
pub(super) fn switching(head: &Parts, guard: Guard) -> Response<Body> {
    let mut response = Response::new(Body::whole(bytes::Bytes::new(), guard)).map(Body::head_only);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let key = head.headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    let accept = accept(key.unwrap_or_default());
    headers.extend(HeaderValue::try_from(accept).ok().map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept)));
    let protocol = websocket::members(&head.headers, &header::SEC_WEBSOCKET_PROTOCOL).next();
    let protocol = protocol.and_then(|protocol| HeaderValue::from_str(protocol).ok());
    headers.extend(protocol.map(|protocol| (header::SEC_WEBSOCKET_PROTOCOL, protocol)));
    response
}

/// The answer to a client's key.
fn accept(key: &str) -> String {
    let text = [key, websocket::ACCEPT_GUID].concat();
    BASE64_STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Echoes to the end. The client sees an error, and nobody else needs it.
pub(super) async fn echo(upgrade: OnUpgrade) {
    if let Ok(upgraded) = upgrade.await {
        let _ended = echo_frames(TokioIo::new(upgraded)).await;
    }
}

async fn echo_frames(mut stream: TokioIo<Upgraded>) -> io::Result<()> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await?;
        let length = match head[1] & 0x7f {
            126 => stream.read_u16().await?.into(),
            127 => stream.read_u64().await?,
            short => short.into(),
        };
        let mut mask = [0; 4];
        if head[1] & 0x80 != 0 {
            stream.read_exact(&mut mask).await?;
        }
        let opcode = head[0] & 0xf;
        let is_silent = opcode == PONG;
        if !is_silent {
            let answer = if opcode == PING { head[0] & 0xf0 | PONG } else { head[0] };
            stream.write_all(&front(answer, length)).await?;
        }
        echo_payload(&mut stream, length, mask, is_silent).await?;
        stream.flush().await?;
        if opcode == CLOSE {
            stream.shutdown().await?;
            let _ = timeout(LINGER, stream.read(&mut head)).await;
            return Ok(());
        }
    }
}

/// The header of an unmasked frame.
fn front(first: u8, length: u64) -> Vec<u8> {
    let mut front = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => front.push(short),
        (_, Ok(middle)) => {
            front.push(126);
            front.extend(middle.to_be_bytes());
        }
        _ => {
            front.push(127);
            front.extend(length.to_be_bytes());
        }
    }
    front
}

async fn echo_payload(
    stream: &mut TokioIo<Upgraded>,
    length: u64,
    mask: [u8; 4],
    is_silent: bool,
) -> io::Result<()> {
    let (mut left, mut at) = (length, 0);
    let mut piece = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
    while left > 0 {
        let most = piece.len().min(usize::try_from(left).unwrap_or(PIECE));
        let read = stream.read(&mut piece[..most]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for byte in &mut piece[..read] {
            *byte ^= mask[at % 4];
            at += 1;
        }
        left -= read as u64;
        if !is_silent {
            stream.write_all(&piece[..read]).await?;
        }
    }
    Ok(())
}
