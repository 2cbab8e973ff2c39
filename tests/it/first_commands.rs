//! The commands of a first day: a new provider serves at once, many users come from a file, a token is replaced, and who may
//! call what with whose key is shown.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::harness::{Api, Exchange, Home, KEY, World, over_socket};

const URL: &str = "https://acme.example";

#[test]
fn a_new_provider_serves_at_once() {
    let world = World::new();
    let said = world.home.run(&["new", "acme", "--base-url", URL], "");
    let address = world.gateway.address;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    for line in [
        format!("\n  base URL:     http://{address}/proxy/acme/v1\n"),
        "\n  serves:       now: the running tollgate has read it\n".to_owned(),
    ] {
        assert!(said.out.contains(&line), "{line} is missing in\n{}", said.out);
    }
    // The step that it prints, with a user in it.
    let step = said.out.lines().find_map(|line| line.split_once("tollgate credential set USER ")).unwrap().1;
    world.home.done(&["credential", "set", "ada", step], "sk-1");
}

#[test]
fn a_new_provider_says_that_nothing_serves_it() {
    let home = Home::new(&[]);
    let said = home.done(&["new", "acme", "--base-url", URL], "");
    let data = home.data();
    let line = format!(
        "  serves:       not yet: no tollgate serves from `{}`: start one with `tollgate serve`\n",
        data.display()
    );
    assert!(said.contains(&line), "{said}");
    assert!(said.contains("  base URL:     http://127.0.0.1:8787/proxy/acme/v1\n"), "{said}");
    let other = Home::new(&[]);
    fs::write(other.path("tollgate.toml"), "listen = \"0.0.0.0:99\"\n").unwrap();
    let config = other.path("tollgate.toml");
    let said = other.done(&["new", "acme", "--base-url", URL, "--config", config.to_str().unwrap()], "");
    assert!(said.contains("  base URL:     http://127.0.0.1:99/proxy/acme/v1\n"), "{said}");
}

#[test]
fn a_new_provider_is_not_taken_for_the_built_in_one_of_its_name() {
    let home = Home::new(&[]);
    fs::remove_dir_all(home.providers()).unwrap();
    let gateway = home.serve_with(&["--catalogue", "groq,openai"], &[("TOLLGATE_PROVIDERS", "")]);
    fs::create_dir(home.providers()).unwrap();
    let said = home.done(&["new", "groq"], "");
    let not_yet =
        "  serves:       not yet: the running tollgate serves the built-in files and does not read `";
    assert!(said.contains(not_yet), "{said}");
    drop(gateway);
    // The built-in ones that the setting names serve beside it.
    let _gateway = home.serve_with(&["--catalogue", "groq,openai"], &[]);
    let status: Value = serde_json::from_str(&home.done(&["status", "--json"], "")).unwrap();
    let mut files: Vec<&str> = Vec::new();
    for file in status["files"].as_array().unwrap() {
        files.extend(file["file"].as_str().unwrap().rsplit_once('/').map(|(_, name)| name));
    }
    assert_eq!((status["counts"]["providers"].clone(), files), (json!(2), vec!["groq.toml", "openai.toml"]));
}

// === Credentials and access ===

#[test]
fn shared_credentials_are_listed_with_those_of_a_user() {
    let world = World::new();
    let home = &world.home;
    home.done(&["user", "add", "bob", "--group", "team"], "");
    home.done(&["credential", "set", "--group", "team", "providers.t.apiKey"], "sk-of-the-team");
    home.done(&["credential", "set", "--everybody", "providers.t.apiKey"], "sk-of-all");
    let said = home.run(&["credential", "list", "bob"], "");
    let expected = "CREDENTIAL          OWNER       VALUE\n\
                    providers.t.apiKey  group:team  sk-of-th...team\n\
                    providers.t.apiKey  everybody   ...\n";
    let shape = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().take(2).map(str::to_owned).collect()).collect()
    };
    assert_eq!(shape(&said.out), shape(expected), "{said:?}");
    assert!(said.err.contains("a user's own credentials count before those of the group"), "{said:?}");
    let all = home.done(&["credential", "list", "--all"], "");
    let owners: Vec<String> = all.lines().skip(1).map(|line| line[20..].to_owned()).collect();
    assert!(owners[0].starts_with("everybody ") && owners[1].starts_with("group:team "), "{all}");
    assert!(owners[2].contains(" (usr_") && owners.len() == 3, "{all}");
    // Without a server, the same.
    let (home, data) = (world.home, all);
    drop(world.gateway);
    assert_eq!(home.done(&["credential", "list", "--all"], ""), data);
}

#[test]
fn all_credentials_come_in_pages() {
    let world = World::new();
    let admin = Api::admin(&world);
    let own = admin.done("GET /admin/credentials", &Value::Null);
    assert_eq!(own.as_object().unwrap().len(), 1, "{own}");
    admin.done("PATCH /admin/credentials/everybody", &json!({ "providers": { "t": { "apiKey": KEY } } }));
    let page = admin.get("GET /admin/credentials?limit=1");
    assert_eq!(page.body.as_object().unwrap().keys().collect::<Vec<_>>(), ["everybody"]);
    let text = page.body.to_string();
    assert!(!text.contains(KEY), "{text}");
    assert_eq!(page.link.as_deref(), Some("</admin/credentials?limit=1&after=everybody>; rel=\"next\""));
    let rest = admin.done("GET /admin/credentials?limit=1&after=everybody", &Value::Null);
    assert_eq!(rest.as_object().unwrap().len(), 1, "{rest}");
    let fault = admin.get("GET /admin/credentials?after=x").body;
    assert_eq!(fault["error"]["code"], "invalid_request", "{fault}");
}

fn access(api: &Api, path: &str) -> Value {
    api.done(&format!("GET {path}"), &Value::Null)
}

#[test]
fn access_says_what_may_be_called_with_whose_key() {
    let world = World::new();
    let (admin, own) = (Api::admin(&world), Api::new(world.gateway.address, &world.token));
    let mine = access(&own, "/auth/access");
    let one = &mine["t"];
    assert_eq!((&one["key"]["from"], &one["key"]["fields"]), (&json!("own"), &json!(["apiKey"])), "{mine}");
    assert_eq!((&one["provider"]["name"], &one["basePaths"][0]), (&json!("t"), &json!("/t")), "{mine}");
    let id = own.done("GET /auth/me", &Value::Null)["id"].as_str().unwrap().to_owned();
    assert_eq!(access(&admin, &format!("/admin/users/{id}/access")), mine);
    let (other, token) = admin.user("bob");
    let path = format!("/admin/users/{other}/access");
    let from = |path: &str| access(&admin, path)["t"]["key"].clone();
    assert_eq!(from(&path), json!({ "from": "missing" }));
    admin.done("PATCH /admin/credentials/groups/team", &json!({ "providers": { "t": { "apiKey": KEY } } }));
    admin.done(&format!("PATCH /admin/users/{other}"), &json!({ "group": "team" }));
    let teams = json!({ "from": "group", "owner": "group:team", "fields": ["apiKey"] });
    assert_eq!(from(&path), teams);
    // What a token does not reach is not there.
    let made = admin
        .done(&format!("POST /admin/users/{other}/tokens"), &json!({ "scopes": ["t/get"], "kind": "both" }));
    let scoped = format!("{path}?token={}", made["id"].as_str().unwrap());
    let names = |document: &Value| -> Vec<Value> {
        let endpoints = document["t"]["provider"]["endpoints"].as_array().unwrap();
        endpoints.iter().map(|one| one["name"].clone()).collect()
    };
    assert_eq!(names(&access(&admin, &scoped)), ["get"]);
    let narrow = admin.with(made["token"].as_str().unwrap());
    assert_eq!(names(&access(&narrow, "/auth/access")), ["get"]);
    assert!(names(&access(&admin.with(&token), "/auth/access")).len() > 1);
    for (query, status) in [("?token=tok_x", 400), ("?after=X", 400), ("?limit=x", 400), ("?nothing=1", 400)]
    {
        assert_eq!(admin.get(&format!("GET {path}{query}")).status, status, "{query}");
    }
    assert_eq!(admin.get("GET /admin/users/usr_0123456789abcdef/access").status, 404);
    let said = world.home.run(&["user", "access", "bob"], "");
    let address = world.gateway.address;
    let row = said.out.lines().nth(1).unwrap();
    let start = format!("t         group:team  http://{address}/t  ");
    assert!(row.starts_with(&start) && row[start.len()..].split(',').any(|name| name == "get"), "{said:?}");
    let callable = |user: &str| world.home.run(&["user", "access", user, "--callable"], "");
    assert_eq!(callable("bob").out, said.out);
    let (_, nobody) = (admin.user("eve"), callable("eve"));
    assert!(nobody.out.is_empty() && nobody.err.starts_with("no provider can be called"), "{nobody:?}");
    assert!(nobody.err.contains("`tollgate credential fields usr_"), "{nobody:?}");
    world.home.done(&["user", "change", "bob", "--state", "disabled"], "");
    let said = world.home.run(&["user", "access", "bob"], "");
    assert!(said.err.contains("`bob` is disabled, so that every call is refused"), "{said:?}");
    let document = world.home.done(&["user", "access", "bob", "--json"], "");
    assert_eq!(serde_json::from_str::<Value>(&document).unwrap()["t"]["key"], teams);
}

#[test]
fn access_comes_in_pages() {
    let world = World::new();
    let admin = Api::admin(&world);
    let (id, _) = admin.user("bob");
    let free = "title = \"U\"\nbase_url = \"https://u.example\"\npath_prefix = \"/u\"\n\
                [endpoint.one]\nmethod = \"GET\"\npath = \"/one\"\n";
    world.home.write("u", free);
    let (_, status) = over_socket(&world.home.data(), "POST /admin/reload");
    assert_eq!(status["counts"]["providers"], 2, "{status}");
    let page = admin.get(&format!("GET /admin/users/{id}/access?limit=1"));
    assert_eq!(page.body.as_object().unwrap().keys().collect::<Vec<_>>(), ["t"]);
    let next = format!("</admin/users/{id}/access?limit=1&after=t>; rel=\"next\"");
    assert_eq!(page.link.as_deref(), Some(&*next));
    let page = admin.get(&format!("GET /admin/users/{id}/access?limit=1&after=t"));
    assert_eq!(page.body.as_object().unwrap().keys().collect::<Vec<_>>(), ["u"]);
    assert_eq!((page.link, &page.body["u"]["key"]), (None, &json!({ "from": "not_needed" })));
}

// === Tokens and users ===

#[test]
fn a_token_is_replaced() {
    let mut world = World::new();
    let home = &world.home;
    let said = home.run(&["token", "rotate", "-"], &world.token);
    assert_eq!(said.code, 0, "{said:?}");
    let new = said.out.trim_end().to_owned();
    assert!(said.err.contains("which is shown this once; the old one stays valid until "), "{said:?}");
    assert!(new.starts_with("tg_") && new != world.token, "{said:?}");
    let again = home.run(&["token", "rotate", "-"], &world.token);
    assert!(again.code == 1 && again.err.contains("was replaced before"), "{again:?}");
    assert!(!again.err.contains(&world.token), "{again:?}");
    let unknown = home.run(&["token", "rotate", "tg_nothing"], "");
    assert!(unknown.code == 1 && unknown.err.contains("nothing was changed"), "{unknown:?}");
    // Both call.
    world.exchange(Exchange::get());
    world.token = new;
    world.exchange(Exchange::get());
    let audit = world.home.done(&["audit", "list"], "");
    assert!(audit.contains("token.rotate"), "{audit}");
}

#[test]
fn users_come_from_a_file() {
    let world = World::new();
    let home = &world.home;
    let file = home.path("people.csv");
    let from = |text: &str| {
        fs::write(&file, text).unwrap();
        home.run(&["user", "add", "--from", file.to_str().unwrap()], "")
    };
    let before = home.done(&["user", "list"], "");
    let shown = file.display();
    let said = from("name,group\nbob,team\neve,-x\nbob,\n");
    let expected = format!("error: `{shown}` has 2 problems: no user was created\n  {shown}:3: `group`: ");
    assert!(said.code == 1 && said.out.is_empty() && said.err.starts_with(&expected), "{said:?}");
    assert!(said.err.contains(&format!("\n  {shown}:4: `bob` stands in line 2 already\n")), "{said:?}");
    assert_eq!(home.done(&["user", "list"], ""), before);
    let said = from("name,group\nbob,team\n\"Lovelace, Ada\",\n");
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "name,id,token"), "{said:?}");
    assert!(lines[1].starts_with("bob,usr_") && lines[2].starts_with("\"Lovelace, Ada\",usr_"), "{said:?}");
    let token = lines[1].rsplit(',').next().unwrap();
    let me = Api::new(world.gateway.address, token).done("GET /auth/me", &Value::Null);
    assert_eq!(me["name"], "bob", "{me}");
    let said = from("name\nnew\nbob\n");
    assert!(
        said.code == 1 && said.err.contains(":3: a user named `bob` exists, with the id usr_"),
        "{said:?}"
    );
    assert!(!home.done(&["user", "list"], "").contains(" new\n"));
    // A file of tokens is private, and is never replaced.
    let (tokens, path) = (home.path("tokens.csv"), home.path("more.csv"));
    fs::write(&path, "name\n=cmd|calc\n").unwrap();
    let args = ["user", "add", "--from", path.to_str().unwrap(), "--out", tokens.to_str().unwrap()];
    let said = home.run(&args, "");
    assert!(said.code == 0 && said.out.is_empty(), "{said:?}");
    let written = fs::read_to_string(&tokens).unwrap();
    assert!(written.starts_with("name,id,token\n'=cmd|calc,usr_"), "{written}");
    assert_eq!(fs::metadata(&tokens).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "name\nlast\n").unwrap();
    let said = home.run(&args, "");
    assert!(said.code == 1 && said.err.contains("tokens.csv`: no user was created"), "{said:?}");
    assert_eq!(fs::read_to_string(&tokens).unwrap(), written);
    let many = format!("name\n{}", "x,\n".repeat(1000));
    let said = from(&many);
    assert!(said.code == 1 && said.err.ends_with("  and 980 more\n"), "{}", said.err.len());
    for args in [&["user", "add"][..], &["user", "add", "x", "--from", "y"]] {
        assert_eq!(home.run(args, "").code, 2, "{args:?}");
    }
}

#[test]
fn long_rows_of_access_are_counted() {
    let home = Home::shipped();
    home.user("ada");
    let said = home.run(&["user", "access", "ada"], "");
    let row = |name: &str| {
        let row = said.out.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let anthropic = row("anthropic");
    assert_eq!(anthropic[1..4], ["missing", "http://127.0.0.1:8787/anthropic", "(+1)"], "{anthropic:?}");
    let openai = row("openai");
    assert!(openai[2].ends_with("/openai/v1") && openai.last().unwrap().starts_with("(+"), "{openai:?}");
    assert!(said.err.contains("`--json` shows all"), "{said:?}");
    assert!(said.out.lines().all(|line| line.len() < 200), "{}", said.out);
    let json = home.done(&["user", "access", "ada", "--json"], "");
    let bases = &serde_json::from_str::<Value>(&json).unwrap()["anthropic"]["basePaths"];
    assert_eq!(bases.as_array().unwrap().len(), 2, "{bases}");
}

#[test]
fn a_provider_shows_where_its_key_is_stored() {
    let home = Home::shipped();
    let said = home.done(&["providers", "mistral"], "");
    for line in [
        "  field:        providers.mistral.apiKey (secret): MISTRAL_API_KEY\n",
        "  store it:     tollgate credential set USER providers.mistral.apiKey\n",
    ] {
        assert!(said.contains(line), "{line} is missing in\n{said}");
    }
    assert_eq!(said.matches("\n  sources:").count(), 1, "{said}");
    assert!(!said.contains("\n  source:"), "{said}");
    let json: Value = serde_json::from_str(&home.done(&["providers", "mistral", "--json"], "")).unwrap();
    assert!(json[0]["sources"].as_array().unwrap().len() > 1, "{json}");
    assert_eq!(json[0]["section"], "providers.mistral");
}
