//! `tollgate fmt` and `new`, and the schemas, checked by taplo as editors do.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use crate::harness::{CommandOutput, Home, root};

const ROUGH: &str = "base_url='https://good.example'\ntitle = \"Good\" # ours\npath_prefix=\"/good\"\n\
                     [endpoint.chat]\npath = \"/v1/chat\"\nmethod = \"POST\"\n";
const SMOOTH: &str = "#:schema ../schema/provider.schema.json
title       = \"Good\" # ours
base_url    = \"https://good.example\"
path_prefix = \"/good\"

[endpoint.chat]
method = \"POST\"
path   = \"/v1/chat\"
";

fn check(home: &Home, args: &[&str], stdin: &str, code: i32, out: &str, err: &str) {
    let CommandOutput { code: seen, out: seen_out, err: seen_err } = home.run(args, stdin);
    let shown = |text: String| text.replace(&home.providers().display().to_string(), "{dir}");
    let (seen_out, seen_err) = (shown(seen_out), shown(seen_err));
    assert_eq!((seen, &*seen_out, &*seen_err), (code, out, err), "{args:?}\n{seen_out}\n{seen_err}");
}

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.providers().join(name)).unwrap()
}

#[test]
fn a_formatted_file_is_not_written_again() {
    let home = Home::new(&[("good", ROUGH)]);
    let file = home.providers().join("good.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    check(&home, &["fmt"], "", 0, "{dir}/good.toml: formatted\n", "");
    assert_eq!(read(&home, "good.toml"), SMOOTH);
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o640);
    check(&home, &["fmt"], "", 0, "", "");
    assert_eq!(fs::metadata(&file).unwrap().ino(), metadata.ino(), "what is formatted is not written again");
    check(&home, &["fmt", "--check"], "", 0, "", "");
    let left: Vec<_> = fs::read_dir(home.providers()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left, ["good.toml"]);
}

#[test]
fn check_writes_nothing_and_shows_the_difference() {
    let home = Home::new(&[("good", SMOOTH), ("rough", &SMOOTH.replace("title      ", "title"))]);
    let before = read(&home, "rough.toml");
    let difference = "{dir}/rough.toml: not formatted
@@ -1,3 +1,3 @@
 #:schema ../schema/provider.schema.json
-title = \"Good\" # ours
+title       = \"Good\" # ours
 base_url    = \"https://good.example\"
";
    check(&home, &["fmt", "--check"], "", 1, difference, "");
    assert_eq!(read(&home, "rough.toml"), before);
    let good = home.providers().join("good.toml").display().to_string();
    check(&home, &["fmt", "--check", &good], "", 0, "", "");
}

#[test]
fn invalid_toml_is_left_unchanged() {
    let home = Home::new(&[("bad", "title = \nbase_url = 'x'\n"), ("good", ROUGH)]);
    let said = home.run(&["fmt"], "");
    assert_eq!(said.code, 1, "{said:?}");
    for part in ["bad.toml:1:", "TG003", "bad.toml` is not TOML, and stays as it is"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert_eq!(read(&home, "bad.toml"), "title = \nbase_url = 'x'\n");
    assert_eq!(read(&home, "good.toml"), SMOOTH, "the others are formatted");
}

#[test]
fn read_and_write_errors_are_reported() {
    let home = Home::new(&[("good", ROUGH)]);
    let missing = home.providers().join("missing.toml").display().to_string();
    let said = home.run(&["fmt", &missing], "");
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{said:?}");
    assert!(said.err.contains("missing.toml`: cannot be read: No such file"), "{}", said.err);
    fs::write(home.providers().join("bytes.toml"), [b'a', 0xff]).unwrap();
    let said = home.run(&["fmt"], "");
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("bytes.toml`: not UTF-8 at byte 1"), "{}", said.err);
    assert_eq!(read(&home, "good.toml"), SMOOTH);
    assert_eq!(home.run(&["fmt", "--nonsense"], "").code, 2);
}

#[test]
fn a_link_stays_a_link() {
    let home = Home::new(&[("good", ROUGH)]);
    let link = home.path("link.toml");
    symlink(home.providers().join("good.toml"), &link).unwrap();
    let said = home.run(&["fmt", link.to_str().unwrap()], "");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(read(&home, "good.toml").contains("title       = \"Good\""));
}

#[test]
fn standard_input_is_formatted_to_standard_output() {
    let home = Home::new(&[]);
    let (_, without_header) = SMOOTH.split_once('\n').unwrap();
    check(&home, &["fmt", "-"], ROUGH, 0, without_header, "");
    let name = home.providers().join("good.toml").display().to_string();
    check(&home, &["fmt", "-", "--name", &name], ROUGH, 0, SMOOTH, "");
    check(&home, &["fmt", "-", "--check"], without_header, 0, "", "");
    assert_eq!(home.run(&["fmt", "-", "--check"], ROUGH).code, 1);
    let said = home.run(&["fmt", "-"], "title =");
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains("<stdin>:1:"), "{}", said.err);
    // The kind comes from the path, or else from the schema that the text names.
    let gateway = "vars = {}\nbase_url = 'x'\ntitle = 'G'\n";
    let laid_out =
        "#:schema ../../schema/gateway.schema.json\ntitle    = \"G\"\nbase_url = \"x\"\nvars     = {}\n";
    let name = home.providers().join("gateways/g.toml").display().to_string();
    fs::create_dir(home.providers().join("gateways")).unwrap();
    check(&home, &["fmt", "-", "--name", &name], gateway, 0, laid_out, "");
    let named = format!("#:schema ../../schema/gateway.schema.json\n{gateway}");
    check(&home, &["fmt", "-"], &named, 0, laid_out, "");
}

#[test]
fn the_schema_that_is_there_is_named() {
    let home = Home::new(&[("good", ROUGH)]);
    let schema = home.providers().join("schema");
    fs::create_dir(&schema).unwrap();
    fs::write(schema.join("provider.schema.json"), "{}").unwrap();
    assert_eq!(home.run(&["fmt"], "").code, 0);
    assert!(read(&home, "good.toml").starts_with("#:schema schema/provider.schema.json\n"));
}

#[test]
fn every_shipped_file_is_formatted() {
    let home = Home::new(&[]);
    for dir in ["providers.d", "tests/providers"] {
        let dir = root().join(dir).display().to_string();
        check(&home, &["fmt", "--check", &dir], "", 0, "", "");
    }
    for guide in ["README.md", "docs/provider-files.md", "docs/tooling.md"] {
        let text = fs::read_to_string(root().join(guide)).unwrap();
        for block in text.split("```toml\n").skip(1).filter_map(|tail| tail.split_once("```")) {
            let name = ["[checks]", "[lints]", "[policy"].iter().find(|part| block.0.contains(**part));
            if name.is_none() {
                let api = block.0.contains("/api.schema.json");
                let named = ["fmt", "-", "--check", "--name", "providers.d/apis/demo.toml"];
                check(&home, if api { &named } else { &named[..3] }, block.0, 0, "", "");
            }
        }
    }
}

/// The README shows the file that its command writes.
#[test]
fn the_readme_has_the_file_that_new_writes() {
    let home = Home::new(&[]);
    home.done(&["new", "acme", "--base-url", "https://api.acme.example"], "");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, after) = readme.split_once("tollgate new acme --base-url https://api.acme.example").unwrap();
    let (_, block) = after.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    assert_eq!(block, read(&home, "acme.toml"));
}

#[test]
fn a_new_file_passes_check_and_serves() {
    let home = Home::new(&[]);
    let said = home.run(&["new", "acme", "--base-url", "https://acme.example/api"], "");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("tollgate credential set USER providers.acme.apiKey"), "{}", said.out);
    let text = read(&home, "acme.toml");
    assert!(text.starts_with("#:schema ../schema/provider.schema.json\ntitle    = \"Acme\"\n"), "{text}");
    check(&home, &["check"], "", 0, "`{dir}`: 1 provider, 3 endpoints, 2 tests: ok\n", "");
    check(&home, &["fmt", "--check"], "", 0, "", "");
    let again = home.run(&["new", "acme", "--base-url", "https://other.example"], "");
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.err.contains("acme.toml` exists already"), "{}", again.err);
    assert_eq!(read(&home, "acme.toml"), text);
    let routes = home.done(&["routes"], "");
    assert!(routes.contains("https://acme.example/api/v1/chat/completions"), "{routes}");
}

const PRESET: &str = "path_prefix = \"/mine/{provider}\"\ntitle = \"Mine\"\ndefault = true\n\
                      [endpoint.one]\nmethod = \"GET\"\npath = \"/one\"\n";

#[test]
fn a_new_file_extends_the_default_preset() {
    let home = Home::new(&[("presets/mine", PRESET)]);
    let said = home.run(&["new", "acme", "--base-url", "https://acme.example"], "");
    let note = "note: this is the first provider of `{dir}`: tollgate serves it instead of the built-in providers; `catalogue = \"all\"` in the settings keeps those beside it\n";
    let note = note.replace("{dir}", &home.providers().display().to_string());
    assert_eq!((said.code, said.err.as_str()), (0, note.as_str()), "{said:?}");
    assert!(
        read(&home, "acme.toml").contains("extends  = \"mine\""),
        "the directory's default goes before the built-in one"
    );
    check(&home, &["check"], "", 0, "`{dir}`: 1 provider, 1 endpoint, 2 tests: ok\n", "");
    let built_in = ["new", "other", "--base-url", "https://acme.example", "--extends", "openai-compatible"];
    assert_eq!(home.run(&built_in, "").code, 0);
    let two = Home::new(&[("presets/mine", PRESET), ("presets/yours", PRESET)]);
    let said = two.run(&["check"], "");
    assert_eq!(said.code, 1, "{said:?}");
    let both = "presets `mine` and `yours` both say that they are the default";
    assert!(said.err.contains(both) && said.err.contains("mine.toml:3:1"), "{}", said.err);
}

#[test]
fn a_new_file_with_errors_is_not_written() {
    let wrong = |args: &[&str], code: i32, message: &str| {
        let home = Home::new(&[(
            "taken",
            &format!(
                "title = \"T\"\nbase_url = \"https://t.example\"\n{}",
                PRESET.replace("title = \"Mine\"\ndefault = true\n", "").replace("{provider}", "acme")
            ),
        )]);
        fs::create_dir(home.providers().join("presets")).unwrap();
        fs::write(home.providers().join("presets/mine.toml"), PRESET).unwrap();
        let said = home.run(&[&["new"], args].concat(), "");
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{said:?}");
        assert!(said.err.contains(message), "{}", said.err);
        assert!(!home.providers().join("acme.toml").exists());
    };
    wrong(&["acme", "--base-url", "https://a.example"], 1, "can match the same request");
    wrong(&["acme", "--base-url", "a.example"], 1, "it does not start with `https://` or `http://`");
    wrong(&["acme", "--base-url", "https://a.example", "--extends", "mien"], 1, "did you mean `mine`?");
    wrong(&["Acme", "--base-url", "https://a.example"], 2, "use `[a-z0-9][a-z0-9-]*`");
    wrong(&["acme"], 1, "the catalogue has no provider `acme`: ");
    wrong(&["acme", "--extends", "mine"], 2, "--base-url");
    wrong(&["acme", "--base-url", "http://gpu.lan:8000"], 1, "can match the same request");
    let home = Home::new(&[]);
    // A warning is shown, and keeps no file from being written: the settings say whether it counts.
    let said = home.run(&["new", "gpu", "--base-url", "http://gpu.lan:8000"], "");
    assert!(said.code == 0 && said.err.starts_with("warning[TG062]"), "{}", said.err);
    fs::write(home.path("tollgate.toml"), "[lints]\nplain_http = \"allow\"\n").unwrap();
    let said = home.run(&["new", "gpu-two", "--base-url", "http://gpu.lan:8000"], "");
    assert!(said.code == 0 && !said.err.contains("TG062"), "{}", said.err);
    let said = home.run(&["new", "acme", "--base-url", "{server}"], "");
    assert!(said.out.contains("`server` takes what the setting `user_origins` allows"), "{}", said.out);
}

/// taplo, installed below `target` if missing. None without npm.
fn taplo() -> Option<&'static Path> {
    static TAPLO: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
        let dir = root().join("target/taplo");
        let taplo = dir.join("node_modules/.bin/taplo");
        if !taplo.exists() {
            fs::create_dir_all(&dir).unwrap();
            let install =
                ["install", "--silent", "--no-audit", "--no-fund", "--prefix", ".", "@taplo/cli@0.7.0"];
            match Command::new("npm").args(install).current_dir(&dir).output() {
                Err(error) => {
                    eprintln!("skipped: npm cannot be run: {error}");
                    return None;
                }
                Ok(output) if !output.status.success() => {
                    eprintln!(
                        "skipped: npm cannot install taplo: {}",
                        String::from_utf8_lossy(&output.stderr)
                    );
                    return None;
                }
                Ok(_) => {}
            }
        }
        Some(taplo)
    });
    TAPLO.as_deref()
}

/// Runs taplo on files. Returns true if it finds no error, and its output.
fn lint(files: &[PathBuf]) -> Option<(bool, String)> {
    let output = Command::new(taplo()?).arg("lint").args(files).current_dir(root()).output().unwrap();
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn toml_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { toml_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|one| one == "toml")).collect()
}

#[test]
fn taplo_accepts_the_shipped_files() {
    let files =
        [toml_files(&root().join("providers.d")), toml_files(&root().join("tests/providers"))].concat();
    assert!(files.len() > 20);
    let Some((good, said)) = lint(&files) else { return };
    assert!(good, "{said}");
    // The same with the draft-07 copies.
    let dir = tempfile::tempdir_in(root().join("target")).unwrap();
    let copies = files.iter().enumerate().map(|(index, file)| {
        let text = fs::read_to_string(file).unwrap();
        let (header, rest) = text.split_once('\n').unwrap();
        let schema = root().join("schema/draft-07").join(header.rsplit('/').next().unwrap());
        let copy = dir.path().join(format!("{index}.toml"));
        fs::write(&copy, format!("#:schema {}\n{rest}", schema.display())).unwrap();
        copy
    });
    let (good, said) = lint(&copies.collect::<Vec<_>>()).unwrap();
    assert!(good, "{said}");
}

/// A kind of file, a text with an error, and taplo's message.
const WRONG: [(&str, &str, &str); 12] = [
    ("provider", "title = 1", "1 is not of type \"string\""),
    ("provider", "titel = \"x\"", "'titel' was unexpected"),
    ("provider", "[endpoint.a]\nmethod = \"get\"", "\"get\" is not one of"),
    ("provider", "endpoint.a = true", "false was expected"),
    ("provider", "[headers]\nappend = {}", "'append' was unexpected"),
    ("provider", "[timeouts]\nidle = \"soon\"", "\"soon\" does not match"),
    ("provider", "[[auth]]\nfeild = \"a\"", "'feild' was unexpected"),
    (
        "provider",
        "[[test]]\nname = \"a\"\nrequest = { path = 1 }\nexpect = {}",
        "1 is not of type \"string\"",
    ),
    ("gateway", "title = \"G\"\nbase_url = \"x\"", "\"vars\" is a required property"),
    ("api", "title = \"A\"\nerror = { body = {}, types = { 401 = 1 } }", "1 is not of type \"string\""),
    ("settings", "workers = 0", "0 is less than the minimum of 1"),
    ("settings", "log = \"loud\"", "\"loud\" is not one of"),
];

#[test]
fn taplo_finds_each_error() {
    let dir = tempfile::tempdir_in(root().join("target")).unwrap();
    let mut files = Vec::new();
    for draft in ["", "draft-07/"] {
        for (index, (kind, text, message)) in WRONG.iter().enumerate() {
            let schema = root().join(format!("schema/{draft}{kind}.schema.json"));
            let file = dir.path().join(format!("{}{index}.toml", draft.trim_end_matches('/')));
            fs::write(&file, format!("#:schema {}\n{text}\n", schema.display())).unwrap();
            files.push((file, *message));
        }
    }
    let all: Vec<PathBuf> = files.iter().map(|(file, _)| file.clone()).collect();
    let Some((good, said)) = lint(&all) else { return };
    assert!(!good, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    for (file, message) in files {
        // `error: ...`, then the position on the next line.
        let place = format!("{}:", file.display());
        let found = lines.windows(2).any(|pair| pair[0].contains(message) && pair[1].contains(&place));
        assert!(found, "{message} in {place}\n{said}");
    }
}

/// Pieces of documents, most of them valid in TOML 1.1 alone.
const PIECES: [&str; 24] = [
    "a = 1",
    "title = \"\\e[1m\\x41\" # one",
    "b = { c = [1, # one\n2], d = 3 }",
    "e = {\n  f = 1, # two\n  # three\n  g = { h = [ # four\n  ] },\n}",
    "i = [ { # five\n j = 1, }, # six\n { k = \"\"\"\nx\n\"\"\" } ]",
    "l = 07:32",
    "m = 1979-05-27T07:32Z",
    "n = 1979-05-27 07:32+01:30",
    "o = 1979-05-27T07:32:00.5-07:00",
    "p = \"\"\"\n\\e\\\\e\\x41 \\\n   q\"\"\"",
    "'ä ö' = 'ü'",
    "\"\\x41\" = \"\\u202E\\U0001F600\\u007F\"",
    "r.s.\"t u\" = {}",
    "v = 'C:\\x\\e'",
    "w = [\n  # seven\n  [ [ ], [ 1, ], ],\n]",
    "x = [1e3, -0.0, +1, 0xFF, 0o17, 0b1, inf, 1_000]",
    "y = '''\nraw \\e \"\"\"\n'''",
    "z = \"it's \\\"\\\"\\\" \\t\\b\\f\\r\\n\\\\\"",
    "# eight\n\n# nine",
    "[aa]\n# ten\nbb = { cc = 1 } # eleven\n\n\n# twelve",
    "[[dd]]\nee = {ff = [{gg = [1 # thirteen\n]}]}\n[dd.hh]\n[[dd]]",
    "[\"ii.jj\".'kk']\n'' = \"\"",
    "[ll.mm]\nnn.oo = 1\nnn.pp = {}",
    "[endpoint.x]\npath = \"/x\"\nmethod = \"GET\" # fourteen",
];

/// Fails if a formatted file is no TOML 1.0, has another meaning, or lacks a comment. The arguments are its directories.
const READER: &str = r"
import sys, pathlib, re
try:
    import tomllib
except ImportError:
    sys.exit(77)
old, new = map(pathlib.Path, sys.argv[1:])
plain = 0
for file in sorted(new.glob('*.toml')):
    before, after = (folder.joinpath(file.name).read_text() for folder in (old, new))
    document = tomllib.loads(after)
    words = lambda text: sorted(re.findall('# [a-z]+', text))
    assert words(before) == words(after), file
    try:
        expected = tomllib.loads(before)
    except tomllib.TOMLDecodeError:
        continue
    plain += 1
    assert expected == document, file
print(plain)
";

#[test]
fn a_reader_of_toml_1_0_accepts_what_fmt_writes() {
    let (home, texts) = (Home::new(&[]), tempfile::tempdir().unwrap());
    let mut count = 0;
    for (at, first) in PIECES.iter().enumerate() {
        for second in &PIECES[at + 1..] {
            let name = format!("d{count}");
            let text = format!("{first}\n{second}\n");
            fs::write(texts.path().join(format!("{name}.toml")), &text).unwrap();
            home.write(&name, &text);
            count += 1;
        }
    }
    let said = home.run(&["fmt"], "");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let again = home.run(&["fmt", "--check"], "");
    assert_eq!((again.code, again.out.as_str()), (0, ""), "{again:?}");
    let mut python = Command::new("python3");
    python.args(["-c", READER]).arg(texts.path()).arg(home.providers());
    match python.output() {
        Err(error) => eprintln!("not tested here, for want of python3: {error}"),
        Ok(output) if output.status.code() == Some(77) => {
            eprintln!("not tested here: this python3 has no `tomllib`");
        }
        Ok(output) => {
            let plain = String::from_utf8_lossy(&output.stdout).trim().parse::<usize>();
            assert!(plain.is_ok_and(|plain| plain > count / 3), "{output:?}");
        }
    }
}

/// The difference of two texts that have hardly a line in common is not compared to its end.
#[test]
fn the_difference_of_a_long_file_is_short() {
    let long = (0..100_000).map(|at| format!("k{at}=1\n")).collect::<Vec<_>>().concat();
    let home = Home::new(&[("long", &long)]);
    let said = home.run(&["fmt", "--check"], "");
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!((said.code, lines.len(), lines.last()), (1, 22, Some(&"... and more lines")), "{}", said.out);
    // A short change far down is shown whole.
    let smooth = (0..5000).map(|at| format!("k{at:04} = 1\n")).collect::<Vec<_>>().concat();
    let text =
        format!("#:schema ../schema/provider.schema.json\n{smooth}").replace("k4000 = 1", "k4000  =  1");
    home.write("long", &text);
    let said = home.run(&["fmt", "--check"], "");
    let shown: Vec<_> = said.out.lines().skip(1).collect();
    let expected = ["@@ -4001,3 +4001,3 @@", " k3999 = 1", "-k4000  =  1", "+k4000 = 1", " k4001 = 1"];
    assert_eq!((said.code, shown.as_slice()), (1, &expected[..]));
}

const ROUGH_LIMITS: &str = "[[limit]]\nwindow={every='day'}\nrequests=1\nid=\"a\"\n";
const SMOOTH_LIMITS: &str = "#:schema ../schema/limits.schema.json

[[limit]]
id       = \"a\"
requests = 1
window   = { every = \"day\" }
";

/// Limits are formatted with the directory that they are beside.
#[test]
fn limits_beside_a_directory_are_formatted_with_it() {
    let home = Home::new(&[("good", SMOOTH)]);
    let file = home.path("limits.d/team.toml");
    fs::create_dir(home.path("limits.d")).unwrap();
    let check = |args: &[&str], stdin: &str, code: i32, out: &str| {
        let said = home.run(args, stdin);
        let shown = said.out.replace(&home.path("").display().to_string(), "");
        assert_eq!(
            (said.code, shown.trim_start_matches('/'), said.err.as_str()),
            (code, out, ""),
            "{args:?}"
        );
    };
    let not_formatted = "limits.d/team.toml: not formatted\n@@ -1,4 +1,6 @@\n+#:schema ../schema/limits.schema.json\n+\n [[limit]]\n\
                         -window={every='day'}\n-requests=1\n-id=\"a\"\n+id       = \"a\"\n+requests = 1\n+window   = { every = \"day\" }\n";
    for args in [&[][..], &["providers.d"], &["limits.d"], &["limits.d/team.toml"]] {
        fs::write(&file, ROUGH_LIMITS).unwrap();
        check(&[&["fmt", "--check"], args].concat(), "", 1, not_formatted);
        assert_eq!(fs::read_to_string(&file).unwrap(), ROUGH_LIMITS);
        check(&[&["fmt"], args].concat(), "", 0, "limits.d/team.toml: formatted\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), SMOOTH_LIMITS, "{args:?}");
        check(&[&["fmt", "--check"], args].concat(), "", 0, "");
    }
    check(&["fmt", "-", "--name", "limits.d/other.toml"], ROUGH_LIMITS, 0, SMOOTH_LIMITS);
    // A directory of another name, by its setting.
    fs::rename(home.path("limits.d"), home.path("caps")).unwrap();
    fs::write(home.path("caps/team.toml"), ROUGH_LIMITS).unwrap();
    check(&["fmt", "--limits", "caps"], "", 0, "caps/team.toml: formatted\n");
    assert_eq!(fs::read_to_string(home.path("caps/team.toml")).unwrap(), SMOOTH_LIMITS);
    fs::write(home.path("caps/team.toml"), ROUGH_LIMITS).unwrap();
    check(&["fmt", "--limits", "caps", "caps/team.toml"], "", 0, "caps/team.toml: formatted\n");
    assert_eq!(fs::read_to_string(home.path("caps/team.toml")).unwrap(), SMOOTH_LIMITS);
    // The schema that it names is enough.
    check(&["fmt", "--check", "caps/team.toml"], "", 0, "");
}
