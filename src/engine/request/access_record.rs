//! The access record of one finished request: made once, at its end, for the access log and for metrics.
//!
//! It never holds a body, a header or a query.

use core::net::IpAddr;
use std::time::Duration;

use http::{Method, StatusCode};

use super::rewrite::TokenSearch;
use crate::base::name::{FileName, UserId};

/// The access record of one finished request.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// The id, as in the response's `tollgate-request-id`.
    pub request_id: String,
    /// The client's address, as far as trusted proxies say it.
    pub peer: IpAddr,
    /// The client's method.
    pub method: Method,
    /// The client's path as [`logged_path`] has it, without the query.
    pub path: String,
    /// The caller.
    pub user: Option<UserId>,
    /// The provider.
    pub provider: Option<FileName>,
    /// The endpoint's name in the provider's file.
    pub endpoint: Option<String>,
    /// The status of the response; none if the client left before it.
    pub status: Option<StatusCode>,
    /// The code of the fault, if the response was tollgate's own.
    pub fault: Option<&'static str>,
    /// Bytes of the response's body that were passed on.
    pub bytes_out: u64,
    /// From the request's head to the end of the response.
    pub duration: Duration,
    /// The way it ended.
    pub end: End,
}

/// The way a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The whole response was passed on.
    Complete,
    /// The client left before the end.
    ClientLeft,
    /// The upstream's response broke off, and so did the client's.
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

/// The most that is kept of a path, in bytes.
pub const MAX_PATH: usize = 256;

/// The path in the record of a request whose path contains a token.
pub const HIDDEN_PATH: &str = "***";

/// A path as it is kept: bounded, cut at a character; hidden, if it holds a generated token of anyone.
pub fn logged_path(path: &str) -> String {
    if TokenSearch::generated().is_in(path.as_bytes()) {
        return HIDDEN_PATH.to_owned();
    }
    path[..path.floor_char_boundary(MAX_PATH)].to_owned()
}
