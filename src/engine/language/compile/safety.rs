//! The engine's own rules for headers, which no file can override: headers that never pass, that pass only by
//! `headers.pass`, and that only the engine sets.
//!
//! `compile` rejects rules against them, and `rewrite` applies them to every message.

use crate::base::header_name::FoldedName;

/// The class of a client's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeaderClass {
    /// Passes unchanged.
    Plain,
    /// Removed unless a file's `headers.pass` names it: the client's address, and the page that it is on.
    Passable,
    /// Always removed. A file may set it.
    Stripped,
    /// Always removed. Only the engine sets it: framing and connection.
    Managed,
}

/// Defines the classes of single names, as a function for requests and as a list for proofs.
macro_rules! single_names {
    ($($class:ident: $($name:literal)|+;)*) => {
        fn single(name: &str) -> Option<HeaderClass> {
            match name {
                $($($name)|+ => Some(HeaderClass::$class),)*
                _ => None,
            }
        }

        /// All single names that have a class of their own.
        pub const SINGLE_NAMES: &[(&str, HeaderClass)] = &[$($(($name, HeaderClass::$class),)+)*];
    };
}

single_names! {
    // Hop-by-hop: RFC 9110, section 7.6.1; framing: RFC 9112, section 6.
    Managed: "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade"
        | "content-length" | "host" | "http2-settings" | "expect";
    // The handshake of a WebSocket: RFC 6455, section 4.1.
    Managed: "sec-websocket-key" | "sec-websocket-version" | "sec-websocket-accept";
    // The caller's token, and cookies of a browser.
    Stripped: "authorization" | "x-api-key" | "cookie" | "cookie2";
    // Some servers take these for the method or the path: they would bypass the allowed endpoint.
    Stripped: "x-http-method" | "x-http-method-override" | "x-method-override" | "x-original-url" | "x-original-uri"
        | "x-rewrite-url";
    Passable: "forwarded" | "x-real-ip" | "true-client-ip" | "via" | "cdn-loop" | "origin" | "referer" | "x-client-ip"
        | "x-cluster-client-ip" | "x-original-forwarded-for" | "fastly-client-ip" | "client-ip" | "fly-client-ip"
        | "x-remote-addr" | "x-remote-ip" | "x-originating-ip" | "x-azure-clientip" | "x-appengine-user-ip"
        | "x-envoy-external-address";
}

/// The names that are passable or stripped by how they begin, as prefixes.
pub const PREFIXES: &[(&str, HeaderClass)] = &[
    ("cf-", HeaderClass::Passable),
    ("x-forwarded", HeaderClass::Passable),
    ("proxy-", HeaderClass::Stripped),
];

/// The class of a request header.
pub fn request(name: &FoldedName<'_>) -> HeaderClass {
    let name = name.as_str();
    let by_prefix = || PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, class)| *class);
    single(name).or_else(by_prefix).unwrap_or(HeaderClass::Plain)
}

/// True if an entry of `headers.pass`, a name or a glob, matches only passable names.
pub fn may_pass(entry: &str) -> bool {
    let entry = FoldedName::of(entry);
    match entry.as_str().split_once('*') {
        None => request(&entry) == HeaderClass::Passable,
        Some((start, _)) => PREFIXES
            .iter()
            .any(|(prefix, class)| *class == HeaderClass::Passable && start.starts_with(prefix)),
    }
}

/// True for headers that are removed from responses: hop-by-hop headers, and instructions to the client about tollgate's
/// own origin. Of these, only tollgate decides which pages of other origins may read a response (CORS).
pub fn is_removed_from_response(name: &str) -> bool {
    name.starts_with("access-control-")
        || matches!(
            name,
            "connection"
                | "keep-alive"
                | "proxy-connection"
                | "te"
                | "transfer-encoding"
                | "upgrade"
                | "proxy-authenticate"
                | "proxy-authentication-info"
                | "set-cookie"
                | "set-cookie2"
                | "alt-svc"
                | "strict-transport-security"
                | "clear-site-data"
                | "service-worker-allowed"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let check =
            |name: &str, class: HeaderClass| assert_eq!(request(&FoldedName::of(name)), class, "{name}");
        check("example-version", HeaderClass::Plain);
        check("x-stainless-os", HeaderClass::Plain);
        check("accept-encoding", HeaderClass::Plain);
        check("cf-ray", HeaderClass::Passable);
        check("x-forwarded-for", HeaderClass::Passable);
        check("X_Forwarded_For", HeaderClass::Passable);
        check("x-forwarded", HeaderClass::Passable);
        check("cookie", HeaderClass::Stripped);
        check("proxy-authorization", HeaderClass::Stripped);
        check("proxy-connection", HeaderClass::Managed);
        check("content-length", HeaderClass::Managed);
    }

    #[test]
    fn headers_pass_accepts_only_passable_names() {
        let check = |entry: &str, good: bool| assert_eq!(may_pass(entry), good, "{entry}");
        for good in ["cf-*", "cf-ipcountry", "x-forwarded-*", "x-forwarded-for", "origin", "via"] {
            check(good, true);
        }
        for bad in ["*", "c*", "cookie", "authorization", "x-*", "host", "te", "x-api-key", "accept"] {
            check(bad, false);
        }
    }
}
