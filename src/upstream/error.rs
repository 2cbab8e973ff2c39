//! Errors of the HTTP client, for the log and for `gateway`, which maps [`SendError::kind`] to the client's fault. An
//! error may name hosts, addresses and messages of the system. It never contains a header value or a body.

use std::{error::Error, fmt, io, net::IpAddr, time::Duration};

use crate::{admission::LocalError, fault::FaultKind};

use super::{proxy::ProxyError, upload::UploadError};

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The host's name does not resolve.
    #[error("`{host}` does not resolve: {error}")]
    Dns {
        /// The name looked up.
        host: Box<str>,
        /// The resolver's error, a fragment.
        error: Box<str>,
    },
    /// The DNS lookup exceeded the connect deadline.
    #[error("the DNS lookup of `{host}` did not end within {limit:?}")]
    DnsTimeout {
        /// The name looked up.
        host: Box<str>,
        /// The deadline.
        limit: Duration,
    },
    /// No DNS lookup can start now.
    #[error(
        "`{host}` is not looked up: too many DNS lookups are in flight (the limit is {limit}); name servers do not respond"
    )]
    DnsBusy {
        /// The name.
        host: Box<str>,
        /// The maximum number of lookups in flight.
        limit: usize,
    },
    /// The SSRF guard refuses every address of the host.
    #[error("`{host}` leads to {address}, {why}")]
    Forbidden {
        /// The host of the origin or of a connect rule's target.
        host: Box<str>,
        /// The first address refused.
        address: IpAddr,
        /// The kind of address, a fragment.
        why: &'static str,
    },
    /// The SSRF guard refuses a name that a proxy would resolve.
    #[error("`{host}` is {why}")]
    ForbiddenName {
        /// The name.
        host: Box<str>,
        /// The kind of name, a fragment.
        why: &'static str,
    },
    /// A user entered the origin, and the setting does not allow it.
    #[error("`{origin}` is an origin that a user entered, and the setting `user_origins` does not allow it")]
    NotAllowed {
        /// The origin.
        origin: Box<str>,
    },
    /// The outgoing proxy failed.
    #[error("no connection to `{host}`: the outgoing proxy {proxy} {error}")]
    Proxy {
        /// The origin of the proxy.
        proxy: Box<str>,
        /// The host of the origin.
        host: Box<str>,
        /// What the proxy did.
        error: ProxyError,
    },
    /// This machine could not connect, which is not the host's fault.
    #[error("no connection to `{host}`, since this machine {}: {error}", cause.what())]
    Local {
        /// The host called.
        host: Box<str>,
        /// The part of the machine that failed.
        cause: LocalError,
        /// The system's error, a fragment.
        error: Box<str>,
    },
    /// There is no way to the host.
    #[error("`{host}` cannot be reached: {error}")]
    Unreachable {
        /// The host called.
        host: Box<str>,
        /// The error of the first address that was tried.
        error: io::Error,
    },
    /// The connection was refused.
    #[error("`{host}` cannot be reached: {error}")]
    Refused {
        /// The host called.
        host: Box<str>,
        /// The error of the first address that was tried.
        error: io::Error,
    },
    /// TCP and TLS exceeded the connect deadline, which includes the DNS lookup.
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
        /// The host that the certificate has to be for.
        host: Box<str>,
        /// The error of the TLS library.
        error: io::Error,
    },
    /// The connection broke before a response.
    #[error("the upstream {0}")]
    Reset(Box<str>),
    /// The head of the response has more fields or bytes than one may have.
    #[error("the head of the upstream's answer is too large")]
    HeadTooLarge,
    /// The response is not HTTP, or not safe to relay.
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(Box<str>),
    /// The answer to the handshake of a WebSocket does not fit.
    #[error("the upstream's answer to the handshake is wrong: {0}")]
    Handshake(&'static str),
    /// More interim responses than allowed.
    #[error("the upstream sent more than {limit} interim (1xx) responses")]
    TooManyInterim {
        /// The maximum number per request.
        limit: usize,
    },
    /// No response head in time, counted from the last progress of the upload.
    #[error("the upstream did not begin its answer within {0:?}")]
    Timeout(Duration),
    /// The request body exceeds its limit.
    #[error("the request's body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The client stopped sending its body.
    #[error("the client sent nothing of its body for {0:?}")]
    BodyStalled(Duration),
    /// The client's connection broke while it was sending its body.
    #[error("the client's body broke off")]
    ClientGone,
    /// The check of the request's body refused it.
    #[error("the request's body is refused")]
    BodyRefused,
}

impl SendError {
    /// The kind of fault for the client.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Dns { .. } => FaultKind::UpstreamDns,
            Self::DnsTimeout { .. } => FaultKind::UpstreamDnsTimeout,
            Self::DnsBusy { .. } => FaultKind::UpstreamDnsBusy,
            Self::Forbidden { .. } | Self::ForbiddenName { .. } | Self::NotAllowed { .. } => {
                FaultKind::UpstreamForbidden
            }
            Self::Proxy { .. } => FaultKind::ProxyFailed,
            // The system's own connect timeout came before our deadline.
            Self::Refused { error, .. } if error.kind() == io::ErrorKind::TimedOut => {
                FaultKind::UpstreamConnectTimeout
            }
            Self::Refused { .. } => FaultKind::UpstreamRefused,
            Self::Local { .. } => FaultKind::LocalError,
            Self::Unreachable { .. } => FaultKind::UpstreamUnreachable,
            Self::ConnectTimeout { .. } => FaultKind::UpstreamConnectTimeout,
            Self::Tls { .. } => FaultKind::UpstreamTls,
            Self::Reset(_) => FaultKind::UpstreamReset,
            Self::HeadTooLarge => FaultKind::UpstreamHeadTooLarge,
            Self::Malformed(_) => FaultKind::UpstreamMalformed,
            Self::Handshake(_) => FaultKind::UpstreamHandshake,
            Self::TooManyInterim { .. } => FaultKind::UpstreamInterim,
            Self::Timeout(_) => FaultKind::UpstreamTimeout,
            Self::BodyTooLarge { .. } => FaultKind::BodyTooLarge,
            Self::BodyStalled(_) => FaultKind::BodyTimeout,
            Self::ClientGone => FaultKind::MalformedRequest,
            Self::BodyRefused => FaultKind::UnjudgeableBody,
        }
    }

    /// Classifies the error of a TCP connection to `host`.
    pub(super) fn connecting(host: &str, error: io::Error) -> Self {
        match LocalError::of(&error) {
            Some(cause) => Self::Local { host: host.into(), cause, error: error.to_string().into() },
            None if matches!(
                error.kind(),
                io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkDown
            ) =>
            {
                Self::Unreachable { host: host.into(), error }
            }
            None => Self::Refused { host: host.into(), error },
        }
    }

    /// Classifies hyper's error. `upload` is the upload's own failure, which goes first.
    pub(super) fn classify(host: &str, error: &hyper::Error, upload: Option<UploadError>) -> Self {
        let local = LocalError::in_chain(error);
        match upload {
            Some(UploadError::TooLarge { limit }) => Self::BodyTooLarge { limit },
            Some(UploadError::Broken) => Self::ClientGone,
            Some(UploadError::Refused) => Self::BodyRefused,
            // The only user code that hyper calls is the upload: here one that ended too early.
            None if error.is_user() => Self::ClientGone,
            None if let Some(cause) = local => {
                Self::Local { host: host.into(), cause, error: Chain(error).to_string().into() }
            }
            // With TLS 1.3, a server judges a client's certificate after the handshake.
            None if let Some(alert) = tls_alert(error) => Self::Tls { host: host.into(), error: alert },
            None if error.is_parse_too_large() => Self::HeadTooLarge,
            None if error.is_parse() => Self::Malformed(Chain(error).to_string().into()),
            None => Self::Reset(format!("broke the connection before an answer: {}", Chain(error)).into()),
        }
    }
}

/// The refusal by the other side of a TLS connection, which an error may have among its sources.
fn tls_alert(error: &(dyn Error + 'static)) -> Option<io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(alert @ rustls::Error::AlertReceived(_)) = io.and_then(|inner| inner.downcast_ref()) {
            return Some(io::Error::other(alert.clone()));
        }
        next = error.source();
    }
    None
}

/// Shows an error with all its sources, on one line.
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

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn errors_name_the_right_party() {
        let check = |errno: Errno, expected: FaultKind| {
            let error = SendError::connecting("demo", errno.into());
            assert_eq!(error.kind(), expected, "{error}");
        };
        check(Errno::CONNREFUSED, FaultKind::UpstreamRefused);
        check(Errno::CONNRESET, FaultKind::UpstreamRefused);
        check(Errno::TIMEDOUT, FaultKind::UpstreamConnectTimeout);
        for errno in [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::NETDOWN] {
            check(errno, FaultKind::UpstreamUnreachable);
        }
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::ADDRNOTAVAIL,
            Errno::NOMEM,
            Errno::NOBUFS,
            Errno::ACCESS,
            Errno::PERM,
        ] {
            check(errno, FaultKind::LocalError);
        }
    }
}
