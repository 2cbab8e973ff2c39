//! `SendError`: why there is no answer. It is for our log and for `gateway`, which maps its
//! [`SendError::kind`] to what the client is told. It may name hosts, addresses and the system's own
//! words; never a header value or a body.

use std::{error::Error, fmt, io, net::IpAddr, time::Duration};

use crate::fault::Kind;

use super::upload::UploadError;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The host's name does not resolve.
    #[error("`{host}` does not resolve: {error}")]
    Dns {
        /// The name looked up.
        host: Box<str>,
        /// What the resolver said.
        error: io::Error,
    },
    /// Every address of the host is one that must not be called.
    #[error("`{host}` leads to {address}, {why}")]
    Forbidden {
        /// The host of the origin or of a connect rule's target.
        host: Box<str>,
        /// The first address refused.
        address: IpAddr,
        /// What kind of address it is.
        why: &'static str,
    },
    /// The connection was refused, or the host cannot be reached.
    #[error("`{host}` cannot be reached: {error}")]
    Refused {
        /// The host called.
        host: Box<str>,
        /// The first error of all addresses tried.
        error: io::Error,
    },
    /// Name lookup, TCP and TLS took too long.
    #[error("`{host}` did not accept a connection within {limit:?}")]
    ConnectTimeout {
        /// The host called.
        host: Box<str>,
        /// The deadline.
        limit: Duration,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake with `{host}` failed: {error}")]
    Tls {
        /// The host whose certificate was asked for.
        host: Box<str>,
        /// What went wrong.
        error: io::Error,
    },
    /// The connection broke before an answer.
    #[error("the upstream {0}")]
    Reset(Box<str>),
    /// The answer is not HTTP, or not HTTP that is safe to relay.
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(Box<str>),
    /// No answer in time, counted from the last progress of the upload.
    #[error("the upstream did not begin its answer within {0:?}")]
    Timeout(Duration),
    /// The request's body is larger than allowed.
    #[error("the request's body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The most bytes allowed.
        limit: u64,
    },
    /// The client stopped sending its body.
    #[error("the client sent nothing of its body for {0:?}")]
    BodyStalled(Duration),
    /// The client's side broke while it was sending its body.
    #[error("the client's body broke off")]
    ClientGone,
}

impl SendError {
    /// What the client is told.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Dns { .. } => Kind::UpstreamDns,
            Self::Forbidden { .. } => Kind::UpstreamForbidden,
            // The system gave up before our deadline did.
            Self::Refused { error, .. } if error.kind() == io::ErrorKind::TimedOut => {
                Kind::UpstreamConnectTimeout
            }
            Self::Refused { .. } => Kind::UpstreamRefused,
            Self::ConnectTimeout { .. } => Kind::UpstreamConnectTimeout,
            Self::Tls { .. } => Kind::UpstreamTls,
            Self::Reset(_) => Kind::UpstreamReset,
            Self::Malformed(_) => Kind::UpstreamMalformed,
            Self::Timeout(_) => Kind::UpstreamTimeout,
            Self::BodyTooLarge { .. } => Kind::BodyTooLarge,
            Self::BodyStalled(_) => Kind::BodyTimeout,
            Self::ClientGone => Kind::MalformedRequest,
        }
    }

    /// What hyper's error means, once the upload has said whether the fault is on its side.
    pub(super) fn classify(error: &hyper::Error, upload: Option<UploadError>) -> Self {
        match upload {
            Some(UploadError::TooLarge { limit }) => Self::BodyTooLarge { limit },
            Some(UploadError::Broken) => Self::ClientGone,
            // The only user code in hyper's sight is the upload, here one that ended too early.
            None if error.is_user() => Self::ClientGone,
            None if error.is_parse() => Self::Malformed(Chain(error).to_string().into()),
            None => Self::Reset(format!("broke the connection before an answer: {}", Chain(error)).into()),
        }
    }
}

/// An error with all its sources, on one line.
pub(super) struct Chain<'a>(pub(super) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
