use std::collections::BTreeSet;

use super::*;
use crate::{
    base::name::FileName,
    language::{
        compile::{self, Clients},
        syntax,
    },
};

const SERVER: &str = "https://gateway.example";

/// A provider `p` at `/p` with endpoints: an api, and a path below that.
fn provider<'p>(endpoints: &[(&'p str, &str)]) -> Called<'p> {
    let paths = endpoints.iter().map(|(api, path)| (*api, format!("/p{path}"))).collect();
    Called { provider: "p", server: SERVER, paths }
}

/// The shipped clients.
fn shipped() -> Clients {
    Clients::new(compile::compile(&crate::shipped::load().files).clients)
}

fn given(model: &str) -> Given<'_> {
    Given { model, ..Given::STAND_INS }
}

/// The steps of each client for a provider with these endpoints.
fn setups<'c>(clients: &'c Clients, endpoints: &[(&str, &str)], model: &str) -> Vec<Setup<'c>> {
    let called = provider(endpoints);
    clients.files().iter().filter_map(|client| setup(client, &called, given(model))).collect()
}

fn client(text: &str) -> Clients {
    let (slot, found) = syntax::parse(&"clients/demo.toml".into(), text);
    assert_eq!(found, []);
    let mut files = compile::Files::default();
    files.clients.insert(FileName::new("demo").unwrap(), slot);
    Clients::new(compile::compile(&files).clients)
}

/// The code of the first step for a provider with these endpoints.
fn code(clients: &Clients, endpoints: &[(&str, &str)], model: &str) -> Option<String> {
    let setups = setups(clients, endpoints, model);
    setups.into_iter().next().map(|setup| setup.steps[0].code.clone())
}

fn speaking(api: &str, path: &str, code: &str) -> String {
    format!(
        "title = \"Demo\"\nkind = \"tool\"\n[[speaks]]\napi = \"{api}\"\npath = \"{path}\"\n[[speaks.step]]\nlanguage = \"sh\"\ncode = '''{code}'''\n"
    )
}

/// Each shipped client renders for an endpoint of each of its formats.
#[test]
fn shipped_clients_are_good() {
    let shipped = shipped();
    for client in shipped.files() {
        for speaks in &client.speaks {
            let provider = provider(&[(speaks.api.value.as_str(), speaks.path.as_str())]);
            let setup = setup(client, &provider, given("m-1")).unwrap();
            assert_eq!(setup.base_url, format!("{SERVER}/p"), "{}", client.file);
            for steps in [&speaks.steps, &speaks.paste_steps] {
                let setup = filled(client, steps, "/p", (&provider, given("m-1")));
                let code: String = setup.steps.iter().map(|step| step.code.as_str()).collect();
                let has_all = code.contains(SERVER) && code.contains(TOKEN);
                assert!(steps.is_empty() || has_all, "{}: {code}", client.file);
            }
        }
    }
    assert!(shipped.files().len() > 8, "the shipped clients are read");
    let titles: BTreeSet<&str> = shipped.files().iter().map(|client| client.title.as_str()).collect();
    assert_eq!(titles.len(), shipped.files().len(), "no title twice");
}

/// Most providers can be called with the shipped clients.
#[test]
fn shipped_clients_fit_a_usual_provider() {
    let shipped = shipped();
    let kinds = |endpoints: &[(&str, &str)]| {
        let kinds: BTreeSet<_> = setups(&shipped, endpoints, MODEL).iter().map(|one| one.kind).collect();
        kinds.into_iter().collect::<Vec<_>>()
    };
    let all = [ClientKind::Shell, ClientKind::Tool, ClientKind::Library];
    assert_eq!(kinds(&[("chat-completions", "/v1/chat/completions")]), all);
    assert_eq!(kinds(&[("messages", "/v1/messages")]), all);
    assert_eq!(kinds(&[("responses", "/v1/responses")]), all);
    assert_eq!(kinds(&[("models", "/v1/models")]), [ClientKind::Shell]);
    assert_eq!(kinds(&[("speech", "/v1/speech")]), []);
}

#[test]
fn a_base_url_is_what_the_clients_own_path_follows() {
    let check = |own: &str, endpoint: &str, expected: Option<&str>| {
        let found = code(&client(&speaking("a", own, "{base_url}")), &[("a", endpoint)], MODEL);
        let expected = expected.map(|path| format!("{SERVER}{path}"));
        assert_eq!(found, expected, "{own} {endpoint}");
    };
    check("/chat/completions", "/v1/chat/completions", Some("/p/v1"));
    check("/chat/completions", "/chat/completions", Some("/p"));
    check("/p/chat", "/chat", Some(""));
    check("/completions", "/chatcompletions", None);
    check("/x/y/z", "/y/z", None);
    check("/models/{model}:run", "/v2/models/{id}:run", Some("/p/v2"));
    check("/models/{model}:run", "/v2/models/{id}:stop", None);
    check("/models/{model}", "/models/fixed", None);
    check("/chat", "/of/{deployment}/chat", None);
    check("/v1beta/models/{model}:run", "/{version}/models/{id}:run", Some("/p"));
    check("/messages", "/v1/messages/batches/{batch}", None);
    check("/v1/messages", "/{version}/messages", Some("/p"));
    check("/v1beta/models/{model}:run", "/x/{version}/models/{id}:run", Some("/p/x"));
    check("/v1beta/run", "/v{version}/run", None);
}

#[test]
fn the_first_format_that_the_provider_has_counts() {
    let client = client(
        &[
            speaking("a", "/a", "A"),
            "[[speaks]]\napi = \"b\"\npath = \"/b\"\n[[speaks.step]]\nlanguage = \"sh\"\ncode = \"B\"\n"
                .to_owned(),
        ]
        .concat(),
    );
    let check = |endpoints: &[(&str, &str)], expected: Option<&str>| {
        assert_eq!(code(&client, endpoints, MODEL).as_deref(), expected, "{endpoints:?}");
    };
    check(&[("b", "/b"), ("a", "/a")], Some("A"));
    check(&[("b", "/b"), ("a", "/other")], Some("B"));
    check(&[("c", "/a")], None);
}

#[test]
fn steps_have_the_values_of_the_provider() {
    let client = client(&speaking("a", "/a", "{base_url} {token} {provider} {model} { x }\n"));
    let found = code(&client, &[("a", "/a")], "m-1");
    assert_eq!(found.as_deref(), Some("https://gateway.example/p TOKEN p m-1 { x }"));
}

#[test]
fn a_model_is_harmless_in_code() {
    let check = |model: &str, expected: bool| assert_eq!(is_plain(model), expected, "{model}");
    for good in ["m-1", "a/b:free", "@cf/x_1.5"] {
        check(good, true);
    }
    for bad in ["", "-rf", "a b", "a\"; rm", "$(x)", "`x`", "a\nb", "{token}", "é", &"m".repeat(101)] {
        check(bad, false);
    }
}

#[test]
fn a_client_that_takes_a_paste_token_has_steps_for_it() {
    let step = "[[speaks.paste_step]]\nlanguage = \"sh\"\ncode = \"login {token} at {base_url}\"\n";
    let plain = speaking("a", "/a", "{base_url}");
    let pasted = |text: &str, endpoints: &[(&str, &str)]| {
        let (client, provider) = (client(text), provider(endpoints));
        let setups = client.files().iter().filter_map(|client| paste_setup(client, &provider));
        setups.map(|setup| setup.steps[0].code.clone()).collect::<Vec<_>>()
    };
    let with = format!("{plain}{step}");
    assert_eq!(pasted(&with, &[("a", "/a")]), ["login TOKEN at https://gateway.example/p"]);
    assert_eq!(pasted(&with, &[("b", "/a")]), [""; 0]);
    assert_eq!(pasted(&plain, &[("a", "/a")]), [""; 0]);
}

#[test]
fn an_address_is_harmless_between_double_quotes() {
    for (address, expected) in [
        ("https://[::1]:8787/p/v1", "https://[::1]:8787/p/v1"),
        ("http://a$(id)/`x`", "http://a%24(id)/%60x%60"),
        ("http://a\";b'\\!", "http://a%22;b%27%5C%21"),
    ] {
        assert_eq!(escaped(address), expected);
    }
    for client in shipped().files() {
        for step in client.speaks.iter().flat_map(|speaks| &speaks.steps) {
            let mut code = String::new();
            step.code.render(&mut code, |value| if *value == SetupValue::BaseUrl { "B;" } else { "x" });
            let is_bare = code.contains(" B;") && step.language == "sh";
            assert!(!is_bare, "{}: {code}", client.file);
        }
    }
}

/// The provider that a shipped client names can be called with it.
#[test]
fn shipped_clients_name_a_provider_that_they_can_call() {
    let compiled = compile::compile(&crate::shipped::load().files);
    for client in &compiled.clients {
        let wanted = client.provider.as_deref();
        let named = compiled.providers.iter().find(|one| Some(one.name.as_str()) == wanted);
        let named = named.unwrap_or_else(|| panic!("{} names no provider", client.file));
        let paths = named.endpoints.iter().flat_map(|endpoint| {
            let api = endpoint.api.as_ref().map(|api| api.name.as_str());
            endpoint.paths.iter().filter_map(move |path| Some((api?, path.text.clone())))
        });
        let called = Called { provider: named.name.as_str(), server: SERVER, paths: paths.collect() };
        assert!(setup(client, &called, given("m-1")).is_some(), "{}", client.file);
        let first = |steps: &[FilledStep<'_>]| steps.first().is_some_and(|step| step.is_alternative);
        assert!(
            !setup(client, &called, given("m-1")).is_some_and(|one| first(&one.steps)),
            "{}",
            client.file
        );
    }
}
