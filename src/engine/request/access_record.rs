//! `AccessRecord`: the record of one finished request, made once, at its end. What is known of a request rides
//! here to whoever counts, writes or exports it; never a body, a header or a query.

use core::net::IpAddr;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::base::name::{FileName, UserId};

/// One finished request.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// The id that the client was given in `tollgate-request-id`.
    pub request_id: String,
    /// The address that the request came from; behind trusted proxies, what they tell of it.
    pub peer: IpAddr,
    /// The client's method.
    pub method: Method,
    /// The client's path, cut at `MAX_PATH` bytes, without the query.
    pub path: String,
    /// Who called.
    pub user: Option<UserId>,
    /// The provider.
    pub provider: Option<FileName>,
    /// The endpoint's name in the provider's file.
    pub endpoint: Option<String>,
    /// What the client was answered; none if it left before.
    pub status: Option<StatusCode>,
    /// The code of the fault, if the answer was tollgate's own.
    pub fault: Option<&'static str>,
    /// Bytes of the answer's body that were handed on.
    pub bytes_out: u64,
    /// From the request's head to the end of the answer.
    pub duration: Duration,
    /// How it ended.
    pub end: End,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The whole answer was handed on.
    Complete,
    /// The client left before that.
    ClientLeft,
    /// The upstream's answer was cut, and so was the client's.
    Cut,
}

impl End {
    /// The word for it in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientLeft => "client_left",
            Self::Cut => "cut",
        }
    }
}

/// How much of a path is kept, in bytes.
pub const MAX_PATH: usize = 256;

/// The path as it is kept: bounded, cut at a character.
pub fn bounded_path(path: &str) -> String {
    path[..path.floor_char_boundary(MAX_PATH)].to_owned()
}
