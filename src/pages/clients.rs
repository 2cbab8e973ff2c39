//! Clients on pages: the steps to set up each client that speaks a wire format of a provider, with this server's address
//! and the provider's base path filled in. The clients themselves are files.
//!
//! Nothing here knows a token: texts show a stand-in for it. Read next: `client_setup`, which fills them in, and
//! `config/connect`, the page that shows them.

use std::sync::Arc;

use crate::{
    admin::ReachableProvider,
    client_setup::{self, Called, Given, Setup},
    compile::Clients,
    syntax::ClientKind,
};

/// The steps of each client that speaks a wire format of the provider. `server` is tollgate's own address, `model` one that
/// the user has used.
pub(super) fn setups<'c>(
    clients: &'c Clients,
    provider: &ReachableProvider,
    server: &str,
    model: Option<&str>,
) -> Vec<Setup<'c>> {
    let called = called(provider, server);
    let mut given = Given::STAND_INS;
    if let Some(model) = model.filter(|model| client_setup::is_plain(model)) {
        given = Given { model, ..given };
    }
    let files = clients.files().iter().map(Arc::as_ref);
    files.filter_map(|client| client_setup::setup(client, &called, given)).collect()
}

/// The steps of each client that takes a paste token of the provider.
pub(super) fn paste_setups<'c>(
    clients: &'c Clients,
    provider: &ReachableProvider,
    server: &str,
) -> Vec<Setup<'c>> {
    let called = called(provider, server);
    let files = clients.files().iter().map(Arc::as_ref);
    files.filter_map(|client| client_setup::paste_setup(client, &called)).collect()
}

/// The heading above the clients of a kind.
pub(super) fn kind_title(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Shell => "Shell",
        ClientKind::Tool => "Tools",
        ClientKind::Library => "Libraries",
    }
}

fn called<'p>(provider: &'p ReachableProvider, server: &'p str) -> Called<'p> {
    let speaking = provider.endpoints.iter().filter_map(|one| Some((one.api.as_deref()?, one)));
    let paths = speaking.flat_map(|(api, endpoint)| {
        let path = format!("{}{}", provider.base_path, endpoint.path);
        [path].into_iter().chain(endpoint.aliases.iter().cloned()).map(move |path| (api, path))
    });
    Called { provider: &provider.name, server, paths: paths.collect() }
}

/// The shipped clients, for tests.
#[cfg(test)]
pub(super) fn shipped() -> Clients {
    let loaded = crate::files::load(&crate::settings::Source::built_in()).unwrap();
    Clients::new(crate::compile::compile(&loaded.files).clients)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_fills_in_what_is_harmless() {
        let shipped = shipped();
        let check = |path: &str, model: Option<&str>, base: &str, shown: &str| {
            let endpoint = json!({
                "name": "e", "method": "POST", "path": path, "api": "chat-completions", "streaming": true,
                "aliases": ["/other/v1/chat/completions"],
            });
            let provider = json!({ "name": "p", "title": "P", "basePath": "/p", "endpoints": [endpoint] });
            let provider: ReachableProvider = serde_json::from_value(provider).unwrap();
            let setups = setups(&shipped, &provider, "https://gateway.example", model);
            assert_eq!(setups[0].base_url, format!("https://gateway.example{base}"));
            assert!(setups[0].steps[0].code.contains(shown), "{}", setups[0].steps[0].code);
        };
        check("/chat/completions", Some("used-1"), "/p", "\"used-1\"");
        check("/chat", Some("a'b"), "/other/v1", "\"MODEL\"");
        check("/chat/completions", None, "/p", "\"MODEL\"");
    }
}
