//! The URL at which clients reach tollgate, for messages: that of the running server, or else the one that the settings give.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Method;

use super::status;
use crate::{
    origin::{Origin, Scheme},
    settings::{DEFAULT_LISTEN, Places, Settings},
};

/// The URL, without a `/` at its end.
pub(super) async fn own_url(places: &Places) -> anyhow::Result<String> {
    let running = status::fetch(&places.data()?, Method::GET, "/admin/providers").await;
    let running = running.ok().and_then(|(status, _)| status.url);
    Ok(running.unwrap_or_else(|| configured_url(places)))
}

/// The URL that a server with these settings would have.
pub(super) fn configured_url(places: &Places) -> String {
    // An error in the settings is `serve`'s to report.
    let listen = places.listen().unwrap_or_else(|_| DEFAULT_LISTEN.to_owned());
    let scheme = if places.has_tls() { Scheme::Https } else { Scheme::Http };
    listen
        .parse()
        .map_or_else(|_| format!("{}://{listen}", scheme.as_str()), |address| url_of(scheme, address))
}

/// The URL of a running server.
pub(super) fn of_server(settings: &Settings, address: SocketAddr) -> String {
    let scheme = if settings.tls.is_some() { Scheme::Https } else { Scheme::Http };
    settings.public_url.as_ref().map_or_else(|| url_of(scheme, address), Origin::to_string)
}

/// The URL of a listener. One on all addresses is reached by the loopback address.
fn url_of(scheme: Scheme, address: SocketAddr) -> String {
    let mut shown = address;
    if address.ip().is_unspecified() {
        shown.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("{}://{shown}", scheme.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_called_on_this_machine() {
        for (scheme, address, url) in [
            (Scheme::Http, "0.0.0.0:80", "http://127.0.0.1:80"),
            (Scheme::Https, "[::]:8787", "https://[::1]:8787"),
            (Scheme::Http, "10.0.0.1:1", "http://10.0.0.1:1"),
        ] {
            assert_eq!(url_of(scheme, address.parse().unwrap()), url);
        }
    }
}
