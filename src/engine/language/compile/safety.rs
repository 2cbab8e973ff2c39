//! The engine's own rules for headers, which no file can override: headers that never pass, that pass only by
//! `headers.pass`, and that only the engine sets.
//!
//! `compile` rejects rules against them, and `rewrite` applies them to every message.

/// The class of a client's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The class of a request header, by its lower-case name.
pub fn request(name: &str) -> HeaderClass {
    match name {
        // Hop-by-hop: RFC 9110, section 7.6.1; framing: RFC 9112, section 6.
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding"
        | "upgrade" | "content-length" | "host" | "http2-settings" | "expect" => HeaderClass::Managed,
        // The caller's token, and cookies of a browser.
        "authorization" | "x-api-key" | "cookie" | "cookie2"
        // Some servers take these for the method or the path: they would bypass the allowed endpoint.
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

/// True if an entry of `headers.pass`, a name or a glob, matches only passable names.
pub fn may_pass(entry: &str) -> bool {
    match entry.split_once('*') {
        None => request(entry) == HeaderClass::Passable,
        Some((prefix, _)) => prefix.starts_with("cf-") || prefix.starts_with("x-forwarded"),
    }
}

/// True for headers that are removed from responses: hop-by-hop headers, and instructions to the client about tollgate's
/// own origin.
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
