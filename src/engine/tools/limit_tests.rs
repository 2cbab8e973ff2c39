//! What tests of tools have in common: a provider with an api and prices, beside files of limits.

use crate::{pipeline::Loaded, shipped};

/// The provider `demo`: `chat` counts usage, `items` does not. Its base URL has a var.
const PROVIDER: &str = r#"
title = "Demo"
path_prefix = "/demo"
base_url = "https://{zone}.example.com"
vars.zone = { env = "ZONE" }
credentials.field = [{ name = "key" }]
auth = [{ field = "key", set = { x-key = "{secret}" } }]
[endpoint.chat]
method = "POST"
path = "/chat"
api = "demo"
[endpoint.items]
method = "GET"
path = "/items/{id}"
"#;

const API: &str = r#"
title = "A"
error.body = { error = "{message}" }
request.model = "/model"
request.max_output = "/max_tokens"
request.other_models = ["/models/*"]
request.answers = "/n"
request.unbounded = ["/earlier"]
usage = { body = { input = "/usage/in", output = "/usage/out" } }
"#;

/// A dollar for ten tokens.
const PRICES: &str = "title = \"Demo\"\ncurrency = \"USD\"\n[[price]]\nmodel = [\"big\"]\ninput = 100000\noutput = 100000\n[[price]]\nmodel = [\"cheap\"]\ninput = 10000\noutput = 10000\n";

/// All of them, with files of limits: each a name and a text.
pub(super) fn loaded(limits: &[(&str, &str)]) -> Loaded {
    let limits: Vec<_> = limits.iter().map(|(name, text)| (format!("limits.d/{name}.toml"), *text)).collect();
    let mut files = vec![("demo.toml", PROVIDER), ("apis/demo.toml", API), ("prices/demo.toml", PRICES)];
    files.extend(limits.iter().map(|(path, text)| (path.as_str(), *text)));
    let loaded = shipped::load_only(&files);
    assert_eq!(loaded.diagnostics, [], "{limits:?}");
    loaded
}
