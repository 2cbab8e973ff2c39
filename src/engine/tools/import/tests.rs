use super::*;
use crate::base::numbers::counted;

const PRESET: &str = "title = \"P\"\npath_prefix = \"/proxy/{provider}\"\ndefault = true\n\
    [catalogue.imports]\n\"models.dev\" = { \"@x/compatible\" = \"/v1\" }\nlitellm = { plain_like = \"/v1\" }\n\
    catwalk = { compat = \"/v1\" }\nbitrouter = { chat = \"/v1\", plain = \"\" }\n\
    [credentials]\nfield = [{ name = \"key\" }]\n[[auth]]\nfield = \"key\"\nset = { authorization = \"Bearer {secret}\" }\n\
    [endpoint.chat]\nmethod = \"POST\"\npath = \"/v1/chat\"\n[endpoint.models]\nmethod = \"GET\"\npath = \"/v1/models\"\n";

fn source(project: Project, path: &str, text: &str) -> SourceText {
    let shown: Arc<str> = format!("{}/{path}", project.name()).into();
    SourceText { project, path: path.into(), shown, text: Some(text.into()) }
}

fn models_dev(id: &str, keys: &str) -> SourceText {
    source(
        Project::ModelsDev,
        &format!("providers/{id}/provider.toml"),
        &format!("npm = \"@x/compatible\"\n{keys}\n"),
    )
}

fn litellm(entries: &str) -> SourceText {
    source(Project::Litellm, "litellm/llms/plain_like/providers.json", entries)
}

fn catwalk(id: &str, keys: &str) -> SourceText {
    let text = format!("{{\"id\": \"{id}\", \"type\": \"compat\", {keys}}}");
    source(Project::Catwalk, &format!("internal/providers/configs/{id}.json"), &text)
}

fn bitrouter(entries: &str) -> SourceText {
    source(Project::Bitrouter, "dist/registry/providers.json", &format!("{{\"data\": [{entries}]}}"))
}

/// The plan for these texts, with a file of the directory and one of the catalogue, both of the provider `demo`.
fn planned(texts: &[SourceText], own: &str, built_in: &str) -> Plan {
    let (preset, found) = syntax::parse::<syntax::Provider>(&"p.toml".into(), PRESET);
    assert_eq!(found, []);
    let preset = preset.unwrap().document;
    let name = |text: &str| FileName::new(text).unwrap();
    let file = |shown: &str, text: &str| {
        let there = ThereText { shown: shown.into(), text: text.into() };
        (!text.is_empty()).then(|| (name("demo"), there)).into_iter().collect::<BTreeMap<_, _>>()
    };
    let input = Input {
        texts,
        presets: &[(&name("p"), &preset)],
        there: &file("out/demo.toml", own),
        built_in: &file("built-in/demo.toml", built_in),
        families: &["llama".to_owned(), "gpt".to_owned(), "gpt-oss".to_owned()].into(),
        checked: "2026-12-01",
        is_dated: false,
        only: &[],
        out: "out",
        header: "#:schema ../schema/provider.schema.json",
    };
    plan(input, Vec::new())
}

/// The report on lines.
fn check(texts: &[SourceText], expected: &[&str]) -> Plan {
    check_with(texts, "", "", expected)
}

fn check_with(texts: &[SourceText], own: &str, built_in: &str, expected: &[&str]) -> Plan {
    let plan = planned(texts, own, built_in);
    let seen = text(&plan.report, false).to_string();
    let totals = format!("{}: ", counted(plan.report.counts.seen, "provider"));
    let lines: Vec<&str> = seen.lines().take_while(|line| !line.starts_with(&totals)).collect();
    assert_eq!(lines, expected, "{seen}");
    plan
}

/// The value of a key in the only file of a plan.
fn value(plan: &Plan, keys: &[&str]) -> Vec<String> {
    let [file] = plan.files.as_slice() else { panic!("{} files", plan.files.len()) };
    let root = tree::toml(&file.text).unwrap();
    root.at(keys).map(|spot| spot.texts().into_iter().map(str::to_owned).collect()).unwrap_or_default()
}

const URL: &str = "api = \"https://api.demo.example/v1\"";

#[test]
fn names_of_projects() {
    let names: Vec<&str> = Project::ALL.iter().map(|project| project.name()).collect();
    assert_eq!(names, PROJECTS);
    for project in Project::ALL {
        assert_eq!(serde_json::to_string(&project).unwrap(), format!("\"{}\"", project.name()));
        assert_eq!(Project::named(project.name()), Some(project));
    }
}

#[test]
fn one_source_is_not_confirmed() {
    let plan = check(
        &[models_dev("demo", &format!("name = \"Demo\"\nenv = [\"DEMO_KEY\"]\n{URL}"))],
        &["demo: made, out/demo.toml (base URL: models.dev)"],
    );
    assert_eq!(value(&plan, &["base_url"]), ["https://api.demo.example"]);
    assert_eq!(value(&plan, &["catalogue", "sources"]), ["models.dev providers/demo/provider.toml"]);
    let open = ["title", "extends", "base_url", "catalogue.env", "auth", "endpoint.models"];
    assert_eq!(value(&plan, &["catalogue", "unconfirmed"]), open);
    let doubts = [
        "Known from one source alone.",
        "No source says `auth`, `endpoint.models`: assumed from the preset `p`.",
    ];
    assert_eq!(value(&plan, &["catalogue", "doubts"]), doubts);
    assert_eq!(value(&plan, &["catalogue", "checked"]), ["2026-12-01"]);
    assert_eq!((plan.report.counts.made, plan.report.counts.confirmed), (1, 0));
    assert!(plan.report.is_clean());
}

#[test]
fn two_sources_confirm() {
    let texts = [
        models_dev("demo", &format!("name = \"Demo\"\nenv = [\"DEMO_KEY\"]\n{URL}")),
        catwalk(
            "demo",
            "\"name\": \"demo\", \"api_key\": \"$DEMO_KEY\", \"api_endpoint\": \"https://API.demo.example/v1/\"",
        ),
        bitrouter(
            "{\"name\": \"demo\", \"api_base\": \"https://api.demo.example/v1\", \"api_protocol\": [{\"*\": \"chat\"}], \"auth\": {\"kind\": \"bearer\"}}",
        ),
    ];
    let plan = check(&texts, &["demo: made, out/demo.toml (base URL: models.dev, catwalk, bitrouter)"]);
    assert_eq!(value(&plan, &["catalogue", "unconfirmed"]), ["auth", "endpoint.models"]);
    let doubt = "No source says `endpoint.models`: assumed from the preset `p`.";
    assert_eq!(value(&plan, &["catalogue", "doubts"]), [doubt]);
    assert_eq!(plan.report.counts.confirmed, 1);
}

#[test]
fn what_most_say_is_taken() {
    let other = "\"api_endpoint\": \"https://other.demo.example/v1\"";
    let said = |by: &str, url: &str, place: &str| format!("    {by:<10}  `{url}` ({place})");
    let (one, two) = ("https://api.demo.example/v1", "https://other.demo.example/v1");
    let place = "models.dev/providers/demo/provider.toml:2";
    let first = said("models.dev", one, place);
    let second = said("catwalk", two, "catwalk/internal/providers/configs/demo.json:1");
    let plan = check(
        &[models_dev("demo", URL), catwalk("demo", other)],
        &[
            "demo: made, out/demo.toml (base URL: models.dev)",
            "  conflict base_url: taken `https://api.demo.example/v1`, since as many say so as say otherwise, and models.dev is named first",
            &first,
            &second,
        ],
    );
    let doubt = "`base_url` is `https://api.demo.example/v1` in models.dev, `https://other.demo.example/v1` in catwalk.";
    assert_eq!(value(&plan, &["catalogue", "doubts"])[0], doubt);
    assert!(!plan.report.is_clean());
    let third = said("litellm", two, "litellm/litellm/llms/plain_like/providers.json:1");
    check(
        &[
            models_dev("demo", URL),
            catwalk("demo", other),
            litellm(&format!("{{\"demo\": {{\"base_url\": \"{two}\"}}}}")),
        ],
        &[
            "demo: made, out/demo.toml (base URL: litellm, catwalk)",
            "  conflict base_url: taken `https://other.demo.example/v1`, since 2 of 3 projects say so",
            &first,
            &second,
            &third,
        ],
    );
}

#[test]
fn a_base_url_without_the_version_is_called_as_it_is() {
    let plan = check(
        &[models_dev("demo", "api = \"https://api.demo.example/v4\"")],
        &["demo: made, out/demo.toml (base URL: models.dev)"],
    );
    assert_eq!(value(&plan, &["base_url"]), ["https://api.demo.example/v4"]);
    assert_eq!(value(&plan, &["endpoint", "chat", "upstream_path"]), ["/chat"]);
    let doubts = value(&plan, &["catalogue", "doubts"]);
    assert!(doubts.iter().any(|doubt| doubt.contains("does not end with `/v1`")), "{doubts:?}");
    // Clients of this mark put the whole path behind it.
    let entry =
        "{\"name\": \"demo\", \"api_base\": \"https://api.demo.example/x\", \"api_protocol\": \"plain\"}";
    let plan = check(&[bitrouter(entry)], &["demo: made, out/demo.toml (base URL: bitrouter)"]);
    assert_eq!(value(&plan, &["base_url"]), ["https://api.demo.example/x"]);
    assert_eq!(value(&plan, &["endpoint"]), [""; 0]);
}

#[test]
fn files_that_are_there_are_compared() {
    let own = "title = \"Demo\"\nextends = \"p\"\nbase_url = \"https://own.demo.example\"\n";
    let conflict = [
        "  conflict base_url: taken `https://api.demo.example/v1`, since the projects agree",
        "    models.dev  `https://api.demo.example/v1` (models.dev/providers/demo/provider.toml:2)",
        "    catalogue   `https://own.demo.example/v1/chat` (built-in/demo.toml:3)",
    ];
    let made = ["demo: made, out/demo.toml (base URL: models.dev)"];
    let plan = check_with(&[models_dev("demo", URL)], "", own, &[&made[..], &conflict].concat());
    assert_eq!(plan.report.counts.in_catalogue, 1);
    let persons = [
        "demo: compared, out/demo.toml: people wrote it",
        "  conflict base_url: taken `https://own.demo.example/v1/chat`, since the file was written by people, and stays as it is",
        "    models.dev  `https://api.demo.example/v1` (models.dev/providers/demo/provider.toml:2)",
        "    file        `https://own.demo.example/v1/chat` (out/demo.toml:3)",
    ];
    let plan = check_with(&[models_dev("demo", URL)], own, "", &persons);
    assert_eq!(plan.files, []);
    // The same URL, in other words.
    let same = "extends = \"p\"\nbase_url = \"https://api.demo.example/v1/\"\nendpoint.chat.upstream_path = \"/chat\"\n";
    check_with(&[models_dev("demo", URL)], same, "", &persons[..1]);
}

#[test]
fn what_cannot_be_made_is_reported() {
    let not_made = |texts: &[SourceText], reason: &str| {
        let plan = planned(texts, "", "");
        let seen = plan.report.providers.first().and_then(|one| one.reason.as_deref());
        assert_eq!((seen, plan.files.len()), (Some(reason), 0));
        assert!(!plan.report.is_clean());
    };
    not_made(&[models_dev("demo", "")], "no base URL: models.dev names `@x/compatible` alone");
    not_made(
        &[source(Project::ModelsDev, "providers/demo/provider.toml", &format!("npm = \"@x/other\"\n{URL}"))],
        "no preset is for `@x/other` of models.dev: `catalogue.imports` of a preset says which it is for",
    );
    not_made(
        &[source(Project::ModelsDev, "providers/demo/provider.toml", URL)],
        "models.dev does not say which kind of API it is",
    );
    not_made(
        &[models_dev("demo", "api = \"http://localhost:1/v1\"")],
        "models.dev has no base URL that can be used: it does not start with `https://`",
    );
    not_made(
        &[bitrouter(
            "{\"name\": \"demo\", \"api_base\": \"https://a.example/v1\", \"status\": \"withdrawn\"}",
        )],
        "bitrouter has no base URL that can be used: it is listed as not active",
    );
    let key = format!("name = \"sk-proj-{}\"\n{URL}", "Ab1".repeat(16));
    not_made(&[models_dev("demo", &key)], "one of its values looks like a key");
}

#[test]
fn hostile_values_are_left_out() {
    let check = |texts: &[SourceText], expected: &str| {
        let plan = planned(texts, "", "");
        let seen: Vec<String> =
            plan.report.findings.iter().map(|one| format!("{} ({})", one.message, one.place)).collect();
        assert_eq!(seen, [expected]);
        let shown = text(&plan.report, false).to_string() + &serde_json::to_string(&plan.report).unwrap();
        assert!(!shown.contains("sk-hidden") && !shown.contains('\u{202e}'), "{shown}");
    };
    let at = "models.dev/providers/demo/provider.toml";
    check(
        &[models_dev("demo", "name = ")],
        &format!("it is not TOML: string values must be quoted, expected literal string ({at}:2)"),
    );
    check(
        &[models_dev("demo", "name = \"a\\u202eb\"")],
        &format!("the title cannot be used, and is left out ({at}:2)"),
    );
    check(
        &[models_dev("demo", "name = \"a\\nb\"")],
        &format!("the title cannot be used, and is left out ({at}:2)"),
    );
    let docs = "the address of the documentation cannot be used, and is left out";
    check(&[models_dev("demo", "doc = \"javascript:x\"")], &format!("{docs} ({at}:2)"));
    check(&[models_dev("demo", "doc = \"https://u:sk-hidden@demo.example\"")], &format!("{docs} ({at}:2)"));
    check(
        &[models_dev("demo", "api = \"https://u:sk-hidden@demo.example/v1\"")],
        &format!("the base URL cannot be used: it has user information before the host ({at}:2)"),
    );
    check(
        &[models_dev("demo", "env = [\"1_KEY\", \"DEMO_KEY\"]")],
        &format!("a name of an environment variable that no shell can set is left out ({at}:2)"),
    );
    check(
        &[catwalk("demo", "\"api_key\": \"sk-hidden\"")],
        "`api_key` is not the name of a variable, `$NAME`: it is not read (catwalk/internal/providers/configs/demo.json:1)",
    );
    check(
        &[litellm("{\"demo\": ")],
        "it is not JSON: EOF while parsing a value (litellm/litellm/llms/plain_like/providers.json:1)",
    );
    check(
        &[litellm("{\n\"../demo\": {}}")],
        "the id `../demo` is not the name of a provider: use `[a-z0-9][a-z0-9-]*` (litellm/litellm/llms/plain_like/providers.json:2)",
    );
    let shape = "it names no provider: it is not of the form that is read";
    check(&[litellm("[1]")], &format!("{shape} (litellm/litellm/llms/plain_like/providers.json:1)"));
    check(
        &[source(Project::Bitrouter, "dist/registry/providers.json", "{\"data\": {}}")],
        &format!("{shape} (bitrouter/dist/registry/providers.json:1)"),
    );
    check(
        &[bitrouter("{}")],
        "no id is not the name of a provider: use `[a-z0-9][a-z0-9-]*` (bitrouter/dist/registry/providers.json:1)",
    );
}

#[test]
fn others_go_on_after_a_bad_entry() {
    let good = "\"demo\": {\"base_url\": \"https://api.demo.example/v1\"}";
    for bad in ["\"a/b\": {}", "\"x\": null", "\"x\": {\"base_url\": 1}", "\"x\": []"] {
        let plan = planned(&[litellm(&format!("{{{bad}, {good}}}"))], "", "");
        assert_eq!(plan.files.len(), 1, "{bad}");
    }
}

#[test]
fn families_are_known_ones() {
    let check = |ids: &[&str], expected: &[&str]| {
        let known = ["gpt".to_owned(), "gpt-oss".to_owned(), "llama".to_owned()].into();
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(families(&ids, &known).into_iter().collect::<Vec<_>>(), expected, "{ids:?}");
    };
    check(&["demo/gpt-oss-120b", "GPT-5"], &["gpt", "gpt-oss"]);
    check(&["us.meta.Llama-4", "meta:llama3"], &["llama"]);
    check(&["llamadrama", "mygpt", ""], &[]);
}

#[test]
fn lists_of_models_belong_to_providers_that_others_name() {
    let names = |path: &str| SourceText { text: None, ..source(Project::ModelsDev, path, "") };
    let prices = "{\"a\": {\"litellm_provider\": \"demo\"}, \"llama-4\": {\"litellm_provider\": \"demo\"}, \"gpt-5\": {\"litellm_provider\": \"x\"}}";
    let texts = [
        models_dev("demo", URL),
        names("providers/demo/models/demo/gpt-oss-1.toml"),
        source(Project::Litellm, "model_prices_and_context_window.json", prices),
    ];
    let plan = check(&texts, &["demo: made, out/demo.toml (base URL: models.dev)"]);
    assert_eq!(value(&plan, &["catalogue", "models"]), ["gpt-oss", "llama"]);
    let sources = [
        "models.dev providers/demo/provider.toml",
        "litellm model_prices_and_context_window.json",
        "models.dev providers/demo/models",
    ];
    assert_eq!(value(&plan, &["catalogue", "sources"]), sources);
}

#[test]
fn a_second_run_changes_what_changed() {
    let first = planned(&[models_dev("demo", &format!("name = \"Demo\"\n{URL}"))], "", "");
    let there = &first.files[0].text;
    let again = check_with(
        &[models_dev("demo", &format!("name = \"Demo\"\n{URL}"))],
        there,
        "",
        &["demo: unchanged, out/demo.toml"],
    );
    assert_eq!(again.files, []);
    let news = models_dev("demo", &format!("name = \"Demo 2\"\n{URL}"));
    let plan = check_with(
        std::slice::from_ref(&news),
        there,
        "",
        &["demo: changed, out/demo.toml", "  changed  title: `\"Demo\"` -> `\"Demo 2\"`"],
    );
    let (before, after) = (there.lines(), plan.files[0].text.lines());
    assert_eq!(before.zip(after).filter(|(a, b)| a != b).count(), 1, "{}", plan.files[0].text);
    // A person's line stays, and is not among the unconfirmed.
    let mine = there.replace("\"Demo\"", "\"Mine\"");
    let plan = check_with(
        &[news],
        &mine,
        "",
        &[
            "demo: changed, out/demo.toml",
            "  changed  catalogue.unconfirmed: `[\"title\", \"extends\", \"base_url\", \"auth\", \"endpoint.models\"]` -> `[\"extends\", \"base_url\", \"auth\", \"endpoint.models\"]`",
            "  kept     title = `\"Mine\"` (out/demo.toml:5): the projects say `\"Demo 2\"`",
        ],
    );
    assert!(plan.files[0].text.contains("\"Mine\""));
}

#[test]
fn aliases_are_named() {
    let texts = [
        models_dev("demo", URL),
        models_dev("de-mo", "api = \"https://x.example/v1\""),
        models_dev("other", URL),
    ];
    let plan = planned(&texts, "", "");
    let seen: Vec<(String, String)> =
        plan.report.aliases.into_iter().map(|one| (one.shared, one.names.join(" "))).collect();
    let expected = [("demo", "de-mo demo"), ("https://api.demo.example/v1/chat", "demo other")];
    assert_eq!(seen, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}
