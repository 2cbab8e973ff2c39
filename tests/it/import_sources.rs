//! `tollgate import`: provider files from files of other projects, what disagrees, and what a second run keeps. The projects' files
//! are in `tests/import`.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::harness::{CommandOutput, Home, root};

const ALL: [&str; 7] = [
    "import",
    "models.dev",
    "src/models.dev",
    "catwalk=src/catwalk",
    "litellm",
    "src/litellm",
    "bitrouter=src/bitrouter",
];

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// With the projects' files in `src`, and no provider files.
fn home() -> Home {
    let home = Home::new(&[]);
    copy(&root().join("tests/import"), &home.path("src"));
    home
}

fn import(home: &Home, more: &[&str]) -> CommandOutput {
    let mut said = home.run(&[&ALL[..], more].concat(), "");
    said.out = said.out.replace(&home.providers().display().to_string(), "providers.d");
    said
}

/// All provider files, each with its inode: a file that is written again has another.
fn files(home: &Home) -> Vec<(PathBuf, u64, String)> {
    let paths = fs::read_dir(home.providers()).unwrap().map(|entry| entry.unwrap().path());
    let file = |path: PathBuf| {
        let (inode, text) = (fs::metadata(&path).unwrap().ino(), fs::read_to_string(&path).unwrap());
        (path, inode, text)
    };
    let mut files: Vec<_> = paths.map(file).collect();
    files.sort();
    files
}

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.providers().join(format!("{name}.toml"))).unwrap()
}

/// Changes a file of a project, or of the directory.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{}: {text}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

/// What the files of all providers pass.
fn passes(home: &Home) {
    for args in [&["check"][..], &["fmt", "--check"], &["test"]] {
        let said = home.run(args, "");
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
    }
}

const FIRST: &str = "acme: made, providers.d/acme.toml (base URL: models.dev, litellm)
  conflict base_url: taken `https://api.acme.example/v1`, since 2 of 3 projects say so
    models.dev  `https://api.acme.example/v1` (src/models.dev/providers/acme/provider.toml:4)
    catwalk     `https://gateway.acme.example/v1` (src/catwalk/internal/providers/configs/acme.json:5)
    litellm     `https://api.acme.example/v1` (src/litellm/litellm/llms/openai_like/providers.json:3)
  conflict title: taken `Acme AI`, since as many say so as say otherwise, and models.dev is named first
    models.dev  `Acme AI` (src/models.dev/providers/acme/provider.toml:1)
    catwalk     `Acme` (src/catwalk/internal/providers/configs/acme.json:2)
  conflict catalogue.env: taken `ACME_API_KEY, ACME_TOKEN`, since people may keep the key in any of them
    models.dev  `ACME_API_KEY` (src/models.dev/providers/acme/provider.toml:2)
    catwalk     `ACME_TOKEN` (src/catwalk/internal/providers/configs/acme.json:4)
    litellm     `ACME_API_KEY` (src/litellm/litellm/llms/openai_like/providers.json:4)
borealis: made, providers.d/borealis.toml (base URL: models.dev, catwalk, bitrouter)
cumulus: not made: no base URL: models.dev names `@ai-sdk/cumulus` alone
delta: made, providers.d/delta.toml (base URL: models.dev)
delta-ai: made, providers.d/delta-ai.toml (base URL: litellm)
  conflict auth: taken `authorization`, since preset `openai-compatible` sends the key in it: change `[[auth]]` by hand
    litellm  `delta-key` (src/litellm/litellm/llms/openai_like/providers.json:14)
    preset   `authorization` (openai-compatible)
estuary: not made: bitrouter has no base URL that can be used: its users log in, and have no key
fjord: not made: no preset is for `messages` of bitrouter: `catalogue.imports` of a preset says which it is for
may be one delta, delta-ai: `https://api.delta.example/v1/chat/completions`
7 providers: 4 made, 0 changed, 0 unchanged, 0 compared, 3 not made
2 confirmed by a second project, 4 conflicts, 0 lines of people kept, 0 findings
";

#[test]
fn the_first_run_makes_files_that_pass_all_checks() {
    let home = home();
    let said = import(&home, &["--checked", "2026-12-01"]);
    assert_eq!((said.code, said.err.as_str(), said.out.as_str()), (1, "", FIRST));
    passes(&home);
    let text = read(&home, "acme");
    for line in [
        "base_url = \"https://api.acme.example\"",
        "env         = { apiKey = [\"ACME_API_KEY\", \"ACME_TOKEN\"] }",
        "models      = [\"gpt-oss\", \"llama\", \"qwen\"]",
        "checked     = \"2026-12-01\"",
        "unconfirmed = [\"title\", \"docs\", \"auth\", \"endpoint.embeddings\", \"endpoint.models\"]",
        "    \"`title` is `Acme AI` in models.dev, `Acme` in catwalk.\",",
        ": models.dev providers/acme/provider.toml, litellm litellm/llms/openai_like/providers.json\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let listed = home.done(&["routes"], "");
    assert!(listed.contains("https://api.borealis.example/inference/v4/chat/completions"), "{listed}");
}

#[test]
fn a_run_without_conflicts_ends_with_0() {
    let home = home();
    let args = ["import", "models.dev", "src/models.dev", "--only", "acme", "borealis"];
    let said = home.run(&args, "");
    assert_eq!((said.code, home.run(&args, "").code), (0, 0), "{said:?}");
    passes(&home);
}

#[test]
fn a_second_run_changes_nothing() {
    let home = home();
    import(&home, &[]);
    let before = files(&home);
    let said = import(&home, &[]);
    assert!(
        said.out.contains("7 providers: 0 made, 0 changed, 4 unchanged, 0 compared, 3 not made\n"),
        "{said:?}"
    );
    assert!(files(&home) == before, "something was written");
    // Another day alone is no change, unless it is named.
    assert!(import(&home, &["--checked", "2030-01-02"]).out.contains("4 changed"));
    assert!(read(&home, "delta").contains("\"2030-01-02\""));
    let before = files(&home);
    import(&home, &[]);
    assert!(files(&home) == before, "something was written");
}

#[test]
fn a_source_that_changed_changes_its_lines() {
    let home = home();
    import(&home, &[]);
    let (acme, delta, borealis) = (read(&home, "acme"), read(&home, "delta"), read(&home, "borealis"));
    edit(&home.path("src/models.dev/providers/delta/provider.toml"), "api.delta.example", "eu.delta.example");
    let said = import(&home, &[]);
    assert!(said.out.contains("delta: changed, providers.d/delta.toml\n"), "{said:?}");
    let change = "  changed  base_url: `\"https://api.delta.example\"` -> `\"https://eu.delta.example\"`\n";
    assert!(said.out.contains(change) && said.out.contains("  changed  test chat: "), "{said:?}");
    assert_eq!((read(&home, "acme"), read(&home, "borealis")), (acme, borealis));
    assert_ne!(read(&home, "delta"), delta);
    passes(&home);
    // A provider that no project names any more stays as it is.
    fs::remove_dir_all(home.path("src/models.dev/providers/delta")).unwrap();
    let delta = read(&home, "delta");
    import(&home, &[]);
    assert_eq!(read(&home, "delta"), delta);
}

#[test]
fn what_a_person_wrote_is_never_overwritten() {
    let home = home();
    import(&home, &[]);
    let path = home.providers().join("delta.toml");
    edit(&path, "title    = \"Delta\" ", "# The name on the bill.\ntitle    = \"Delta Inc\" ");
    let text = read(&home, "delta");
    let docs = text.lines().find(|line| line.starts_with("docs ")).unwrap();
    edit(&path, &format!("{docs}\n"), "group    = \"ours\"\n");
    edit(&home.path("src/models.dev/providers/delta/provider.toml"), "api.delta.example", "eu.delta.example");
    let said = import(&home, &[]);
    for line in [
        "  kept     title = `\"Delta Inc\"` (providers.d/delta.toml:6): the projects say `\"Delta\"`\n",
        "  kept     docs: removed by hand (providers.d/delta.toml): the projects say `\"https://delta.example/docs\"`\n",
        "2 lines of people kept",
    ] {
        assert!(said.code == 1 && said.out.contains(line), "{line} is not in {said:?}");
    }
    let text = read(&home, "delta");
    assert!(text.contains("# The name on the bill.\ntitle    = \"Delta Inc\""), "{text}");
    assert!(text.contains("group    = \"ours\"\n") && !text.contains("\ndocs"), "{text}");
    assert!(text.contains("base_url = \"https://eu.delta.example\""), "{text}");
    passes(&home);
    // A base URL of a person: the tests of the file are theirs as well.
    edit(&path, "https://eu.delta.example", "https://mine.delta.example");
    let before = read(&home, "delta");
    let said = import(&home, &[]);
    assert!(said.out.contains("kept     base_url = `\"https://mine.delta.example\"`"), "{said:?}");
    let after = read(&home, "delta");
    let tests = |text: &str| text[text.find("[[test]]").unwrap()..].to_owned();
    assert_eq!(tests(&before), tests(&after));
    passes(&home);
}

#[test]
fn a_file_of_people_is_only_compared() {
    let home = home();
    let own = "title = \"Acme\"\nextends = \"openai-compatible\"\nbase_url = \"https://own.acme.example\"\n";
    home.write("acme", own);
    let said = import(&home, &["--only", "acme"]);
    assert!(said.out.contains("acme: compared, providers.d/acme.toml: people wrote it\n"), "{said:?}");
    let file = "    file        `https://own.acme.example/v1/chat/completions` (providers.d/acme.toml:3)\n";
    assert!(said.code == 1 && said.out.contains(file), "{said:?}");
    assert_eq!(read(&home, "acme"), own);
    // A provider of the catalogue.
    let home = self::home();
    let toml = "name = \"Other\"\nnpm = \"@ai-sdk/openai-compatible\"\napi = \"https://other.example/v1\"\n";
    fs::create_dir(home.path("src/models.dev/providers/groq")).unwrap();
    fs::write(home.path("src/models.dev/providers/groq/provider.toml"), toml).unwrap();
    let said = import(&home, &["--only", "groq", "--dry-run"]);
    assert!(
        said.out.contains("(built-in/groq.toml:5)")
            && said.out.contains("1 of the made are in the catalogue"),
        "{said:?}"
    );
}

#[test]
fn a_dry_run_writes_nothing() {
    let home = home();
    let before = files(&home);
    let said = import(&home, &["--dry-run"]);
    assert!(said.code == 1 && said.out.contains("acme: would be made, providers.d/acme.toml"), "{said:?}");
    assert!(files(&home) == before, "something was written");
    let report: Value = serde_json::from_str(&import(&home, &["--dry-run", "--json"]).out).unwrap();
    assert_eq!(report["counts"]["made"], 4);
    assert_eq!(report["providers"][0]["conflicts"][0]["statements"][1]["by"], "catwalk");
    assert_eq!(report["aliases"][0]["names"], serde_json::json!(["delta", "delta-ai"]));
    // Another directory, which is made.
    let said = import(&home, &["--out", "new/files"]);
    assert!(said.err.starts_with("note: `new/files` is new: "), "{said:?}");
    assert!(home.path("new/files/acme.toml").is_file() && !home.providers().join("acme.toml").exists());
}

#[test]
fn arguments_are_checked() {
    let home = home();
    let check = |args: &[&str], message: &str| {
        let said = home.run(&[&["import"], args].concat(), "");
        assert!(said.code == 2 && said.err.contains(message), "{args:?}: {said:?}");
    };
    fs::create_dir(home.path("empty")).unwrap();
    check(&[], "required arguments were not provided");
    check(
        &["src"],
        "`src` is no project that can be imported: use `models.dev`, `litellm`, `catwalk`, `bitrouter`",
    );
    check(&["catwalk"], "no directory of catwalk is named: write it after the project");
    check(&["catwalk", "gone"], "`gone` cannot be read: No such file");
    check(
        &["catwalk", "src/litellm/model_prices_and_context_window.json"],
        "is not a directory that can be read",
    );
    check(
        &["catwalk", "empty"],
        "`empty` has no file of catwalk: tollgate reads `internal/providers/configs/*.json`",
    );
    check(&["catwalk", "src/catwalk", "--checked", "today"], "is no day");
    check(&["catwalk", "src/catwalk", "--only", "../x"], "use `[a-z0-9][a-z0-9-]*`");
    // A directory with the name of a project.
    fs::rename(home.path("src/catwalk"), home.path("catwalk")).unwrap();
    let said = home.run(&["import", "catwalk", "catwalk", "models.dev", "src/models.dev", "--dry-run"], "");
    assert!(said.out.contains("(base URL: models.dev, catwalk)"), "{said:?}");
}

#[test]
fn hostile_entries_harm_nothing_else() {
    let home = home();
    let models_dev = |id: &str, text: &str| {
        let dir = home.path("src/models.dev/providers").join(id);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("provider.toml"), text).unwrap();
    };
    let entry = |api: &str| format!("name = \"X\"\nnpm = \"@ai-sdk/openai-compatible\"\napi = \"{api}\"\n");
    models_dev("broken", "name = ");
    models_dev("plain", &entry("http://plain.example/v1"));
    models_dev("local", &entry("https://127.0.0.1/v1"));
    models_dev("user", &entry("https://name:sk-hidden@user.example/v1"));
    models_dev("hidden", &entry("https://hidden.example/v1").replace("\"X\"", "\"a\\u202e\\u001b[31mb\""));
    models_dev("O\u{202e}dd", &entry("https://odd.example/v1"));
    let configs = home.path("src/catwalk/internal/providers/configs");
    fs::write(configs.join("escape.json"), "{\"id\": \"../../escape\", \"type\": \"openai-compat\"}")
        .unwrap();
    fs::write(configs.join("cut.json"), "{\"id\": \"cut\"").unwrap();
    fs::write(configs.join("bytes.json"), b"\xff\xfe{}").unwrap();
    fs::write(home.path("outside.json"), "{\"id\": \"outside\"}").unwrap();
    symlink(home.path("outside.json"), configs.join("link.json")).unwrap();
    symlink("/dev/zero", configs.join("endless.json")).unwrap();
    File::create(configs.join("huge.json")).unwrap().set_len(64 << 20).unwrap();
    fs::create_dir(home.path("elsewhere")).unwrap();
    fs::write(home.path("elsewhere/provider.toml"), entry("https://elsewhere.example/v1")).unwrap();
    symlink(home.path("elsewhere"), home.path("src/models.dev/providers/elsewhere")).unwrap();
    let said = import(&home, &[]);
    for line in [
        "finding    models.dev: it is not TOML: ",
        "finding    models.dev: the base URL cannot be used: it does not start with `https://`",
        "finding    models.dev: the base URL cannot be used: its host `127.0.0.1` is an address or a local name",
        "finding    models.dev: the base URL cannot be used: it has user information before the host",
        "finding    models.dev: the title cannot be used, and is left out (src/models.dev/providers/hidden/provider.toml:1)",
        "finding    models.dev: its name has other characters than letters, digits, `-`, `.` and `_`",
        "finding    catwalk: the id `../../escape` is not the name of a provider",
        "finding    catwalk: it is not JSON: EOF while parsing an object (src/catwalk/internal/providers/configs/cut.json:1)",
        "finding    catwalk: is UTF-16: save it as UTF-8",
        "finding    catwalk: is larger than 33554432 bytes (src/catwalk/internal/providers/configs/huge.json)",
        "finding    catwalk: a link that leads out of the directory is not followed (src/catwalk/internal/providers/configs/link.json)",
        "finding    models.dev: a link that leads out of the directory is not followed (src/models.dev/providers/elsewhere",
        "plain: not made: models.dev has no base URL that can be used: it does not start with `https://`",
        "acme: made, ",
        "hidden: made, ",
    ] {
        assert!(said.code == 1 && said.out.contains(line), "{line} is not in\n{}{}", said.out, said.err);
    }
    assert!(!said.out.contains("sk-hidden") && !said.out.contains("outside\n"), "{said:?}");
    assert!(!home.path("escape.toml").exists() && !home.providers().join("elsewhere.toml").exists());
    passes(&home);
}

#[test]
fn a_preset_says_which_marks_it_is_for() {
    const PRESET: &str = "path_prefix = \"/proxy/{provider}\"\n\
        [catalogue.imports]\nbitrouter = { messages = \"/v1\" }\n\
        [credentials]\nfield = [{ name = \"apiKey\" }]\n\
        [[auth]]\nfield = \"apiKey\"\nset = { x-api-key = \"{secret}\" }\n\
        [endpoint.messages]\nmethod = \"POST\"\npath = \"/v1/messages\"\n";
    let home = home();
    home.write("presets/messages", PRESET);
    let said = import(&home, &["--only", "fjord", "nobody"]);
    assert!(said.out.contains("fjord: made, providers.d/fjord.toml (base URL: bitrouter)\n"), "{said:?}");
    assert!(said.code == 1 && said.out.contains("nobody: not made: no project names it\n"), "{said:?}");
    let text = read(&home, "fjord");
    assert!(
        text.contains("base_url = \"https://fjord.example\"") && text.contains("x-api-key = \"key\""),
        "{text}"
    );
    // What one project says of the header is not confirmed, and not assumed either.
    assert!(!text.contains("assumed from"), "{text}");
    let said = home.run(&["test"], "");
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_file_that_cannot_be_written_is_reported() {
    let home = home();
    // A link that leads nowhere: it exists, and is not replaced.
    symlink(home.path("gone"), home.providers().join("delta.toml")).unwrap();
    let said = import(&home, &["--only", "delta", "borealis"]);
    assert!(said.code == 1 && said.out.contains("delta: not made: "), "{said:?}");
    assert!(said.out.contains("borealis: made") && !home.path("gone").exists(), "{said:?}");
}
