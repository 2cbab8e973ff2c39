use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::name::FileName;

const SERVER: &str = "https://gateway.example";

/// A provider `p` at `/p` with endpoints: an api, and a path below that.
fn provider(endpoints: &[(&str, &str)]) -> ReachableProvider {
    let endpoint = |(api, path): &(&str, &str)| json!({ "name": "e", "method": "POST", "path": path, "api": api, "streaming": true });
    let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
    let provider = json!({ "name": "p", "title": "P", "basePath": "/p", "endpoints": endpoints });
    serde_json::from_value(provider).unwrap()
}

fn client(text: &str) -> &'static ClientFile {
    Box::leak(Box::new(ClientFile::parse(&"clients/demo.toml".into(), text).unwrap()))
}

fn speaking(api: &str, path: &str, code: &str) -> String {
    format!(
        "title = \"Demo\"\nkind = \"tool\"\n[[speaks]]\napi = \"{api}\"\npath = \"{path}\"\n[[speaks.step]]\nlanguage = \"sh\"\ncode = '''{code}'''\n"
    )
}

/// Each shipped client parses, names known apis, and renders for an endpoint of each of them.
#[test]
fn shipped_clients_are_good() {
    let loaded = files::load(&crate::settings::Source::Embedded).unwrap();
    let apis: BTreeSet<&str> = loaded.files.apis.keys().map(FileName::as_str).collect();
    assert!(apis.len() > 10, "the shipped apis are read");
    for (file, text) in files::clients() {
        let client = ClientFile::parse(&file.as_str().into(), text);
        let client: &ClientFile =
            Box::leak(Box::new(client.unwrap_or_else(|found| panic!("{file}: {found:?}"))));
        for speaks in &client.speaks {
            assert!(apis.contains(&*speaks.api), "{file}: no api is named `{}`", speaks.api);
            let provider = provider(&[(speaks.api.as_str(), speaks.path.as_str())]);
            let setup = client.setup(&provider, SERVER, "m-1").unwrap();
            assert_eq!(setup.base_url, format!("{SERVER}/p"), "{file}");
            let code: String = setup.steps.iter().map(|step| step.code.as_str()).collect();
            assert!(code.contains(SERVER) && code.contains(TOKEN), "{file}: {code}");
            assert_eq!(placeholders(&code).next(), None, "{file}: {code}");
        }
    }
    assert!(CLIENTS.len() > 8, "the shipped clients are read");
    let titles: BTreeSet<&str> = CLIENTS.iter().map(|client| client.title.as_str()).collect();
    assert_eq!(titles.len(), CLIENTS.len(), "no title twice");
    assert!(CLIENTS.is_sorted_by_key(|client| client.kind));
}

/// Most providers can be called with the shipped clients.
#[test]
fn shipped_clients_fit_a_usual_provider() {
    let kinds = |endpoints: &[(&str, &str)]| {
        let kinds: BTreeSet<_> =
            setups(&provider(endpoints), SERVER, None).iter().map(|one| one.kind).collect();
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
        let setup =
            client(&speaking("a", own, "{base_url}")).setup(&provider(&[("a", endpoint)]), SERVER, "m");
        let expected = expected.map(|path| format!("{SERVER}{path}"));
        assert_eq!(setup.map(|setup| setup.steps[0].code.clone()), expected, "{own} {endpoint}");
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
        let setup = client.setup(&provider(endpoints), SERVER, "m");
        assert_eq!(setup.map(|setup| setup.steps[0].code.clone()).as_deref(), expected, "{endpoints:?}");
    };
    check(&[("b", "/b"), ("a", "/a")], Some("A"));
    check(&[("b", "/b"), ("a", "/other")], Some("B"));
    check(&[("c", "/a")], None);
}

#[test]
fn placeholders_are_filled_in_once() {
    let check = |code: &str, expected: &str| {
        let provider = provider(&[("a", "/a")]);
        let setup = client(&speaking("a", "/a", code)).setup(&provider, SERVER, "m-1").unwrap();
        assert_eq!(setup.steps[0].code, expected);
    };
    check("{base_url} {token} {provider} {model}", "https://gateway.example/p TOKEN p m-1");
    check("{ token } {\"a\": {\"model\": \"{model}\"}}", "{ token } {\"a\": {\"model\": \"m-1\"}}");
    check("${TOKEN} {env:TOKEN} {} { {{model}}", "${TOKEN} {env:TOKEN} {} { {m-1}");
    check("é{model}é", "ém-1é");
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
    let code = |model: Option<&str>| {
        let setups = setups(&provider(&[("chat-completions", "/chat/completions")]), SERVER, model);
        setups[0].steps[0].code.clone()
    };
    assert!(code(Some("used-1")).contains("\"used-1\""));
    assert!(code(Some("a'b")).contains(MODEL) && code(None).contains(MODEL));
}

#[test]
fn errors_have_place_reason_and_help() {
    let check = |text: &str, line: usize, reason: &str, help: &str| {
        let found = ClientFile::parse(&"clients/demo.toml".into(), text).unwrap_err();
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(text[..=one.at.start].lines().count(), line, "{one:?}");
        assert!(one.message.contains(reason), "{one:?}");
        assert!(one.help.as_deref().unwrap_or_default().contains(help), "{one:?}");
    };
    let good = speaking("a", "/a", "");
    check(&good.replace("title = \"Demo\"\n", ""), 1, "no `title`", "title = ");
    check(&format!("titel = \"x\"\n{good}"), 1, "`titel`", "`title`");
    check(&good.replace("tool", "toool"), 2, "none of `shell`, `tool`, `library`", "did you mean `tool`?");
    check(&good.replace("\"/a\"", "\"a\""), 5, "", "");
    let unknown = speaking("a", "/a", "{bas_url}");
    check(&unknown, 8, "`{bas_url}` is no placeholder", "did you mean `{base_url}`?");
    let foreign = speaking("a", "/a", "{xxxxxxxxxxxx}");
    check(&foreign, 8, "is no placeholder", "placeholders are `base_url`, `token`, `provider`, `model`");
}
