//! What the engine does to headers whatever the files say: the one table of names that never pass, that
//! pass only on request, and that only the engine itself writes. `compile` refuses rules against it, and
//! `rewrite` holds it on every message.

/// What a name means on a client's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderClass {
    /// Passes as sent.
    Plain,
    /// Removed, unless a file's `headers.pass` lets it through: where the client is, and what page it is on.
    Passable,
    /// Always removed; a file may set it.
    Stripped,
    /// Always removed, and never set by a file: framing and connection are the engine's own.
    Managed,
}

/// The class of a request header, by its lower-case name.
pub fn request(name: &str) -> HeaderClass {
    match name {
        // Hop-by-hop: RFC 9110, section 7.6.1; framing: RFC 9112, section 6.
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding"
        | "upgrade" | "content-length" | "host" | "http2-settings" | "expect" => HeaderClass::Managed,
        // What carries a caller's token, and what a browser adds of its own.
        "authorization" | "x-api-key" | "cookie" | "cookie2"
        // What some servers take for the method or the path, past the endpoint that was allowed.
        | "x-http-method" | "x-http-method-override" | "x-method-override" | "x-original-url" | "x-original-uri"
        | "x-rewrite-url" => HeaderClass::Stripped,
        "forwarded"
        | "x-real-ip"
        | "true-client-ip"
        | "via"
        | "cdn-loop"
        | "origin"
        | "referer"
        | "x-client-ip"
        | "x-cluster-client-ip"
        | "x-original-forwarded-for"
        | "fastly-client-ip"
        | "client-ip"
        | "fly-client-ip"
        | "x-remote-addr"
        | "x-remote-ip"
        | "x-originating-ip"
        | "x-azure-clientip"
        | "x-appengine-user-ip"
        | "x-envoy-external-address" => HeaderClass::Passable,
        _ if name.starts_with("cf-") || name.starts_with("x-forwarded") => HeaderClass::Passable,
        _ if name.starts_with("proxy-") => HeaderClass::Stripped,
        _ => HeaderClass::Plain,
    }
}

/// Whether an entry of `headers.pass`, a name or a glob, can only match passable names.
pub fn may_pass(entry: &str) -> bool {
    match entry.split_once('*') {
        None => request(entry) == HeaderClass::Passable,
        Some((prefix, _)) => prefix.starts_with("cf-") || prefix.starts_with("x-forwarded"),
    }
}

/// Whether an answer's header stays behind: hop-by-hop, or an order to the client about our own origin.
pub fn is_removed_from_response(name: &str) -> bool {
    matches!(
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
        let check = |name: &str, class: HeaderClass| assert_eq!(request(name), class, "{name}");
        check("example-version", HeaderClass::Plain);
        check("x-stainless-os", HeaderClass::Plain);
        check("accept-encoding", HeaderClass::Plain);
        check("cf-ray", HeaderClass::Passable);
        check("x-forwarded-for", HeaderClass::Passable);
        check("x-forwarded", HeaderClass::Passable);
        check("cookie", HeaderClass::Stripped);
        check("proxy-authorization", HeaderClass::Stripped);
        check("proxy-connection", HeaderClass::Managed);
        check("content-length", HeaderClass::Managed);
    }

    #[test]
    fn only_passable_names_can_be_let_through() {
        let check = |entry: &str, good: bool| assert_eq!(may_pass(entry), good, "{entry}");
        for good in ["cf-*", "cf-ipcountry", "x-forwarded-*", "x-forwarded-for", "origin", "via"] {
            check(good, true);
        }
        for bad in ["*", "c*", "cookie", "authorization", "x-*", "host", "te", "x-api-key", "accept"] {
            check(bad, false);
        }
    }
}
