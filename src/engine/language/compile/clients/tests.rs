//! Files of clients: what is compiled, and that each error has place, reason and help.

use super::*;

const GOOD: &str = "title = \"Demo\"\nkind = \"tool\"\n[[speaks]]\napi = \"a\"\npath = \"/a\"\n[[speaks.step]]\nlanguage = \"sh\"\ncode = '''\ncurl {base_url}/a\n'''\n";

fn compiled(name: &str, text: &str) -> Result<ClientFile, Vec<Diagnostic>> {
    let (slot, found) = syntax::parse(&"clients/demo.toml".into(), text);
    let parsed = slot.map_err(|_| found)?;
    let (file, found) = compile(&FileName::new(name).unwrap(), &parsed, &Budget::default());
    file.ok_or(found)
}

#[test]
fn clients_are_sorted_by_kind_and_title() {
    let client = |name: &str, kind: &str, title: &str| {
        let text = GOOD.replace("tool", kind).replace("Demo", title);
        Arc::new(compiled(name, &text).unwrap())
    };
    let all = vec![
        client("a", "library", "lib"),
        client("b", "tool", "Zed"),
        client("c", "tool", "acme"),
        client("e", "shell", "curl"),
        client("d", "tool", "Zed"),
    ];
    let clients = Clients::new(all);
    let names: Vec<&str> = clients.files().iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["e", "c", "b", "d", "a"]);
}

#[test]
fn errors_have_place_reason_and_help() {
    let check = |text: &str, line: usize, reason: &str, help: &str| {
        let found = compiled("demo", text).unwrap_err();
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(text[..=one.at.start].lines().count(), line, "{one:?}");
        assert!(one.message.contains(reason), "{one:?}");
        assert!(one.help.as_deref().unwrap_or_default().contains(help), "{one:?}");
    };
    assert!(compiled("demo", GOOD).is_ok());
    check(&GOOD.replace("title = \"Demo\"\n", ""), 1, "no `title`", "title = ");
    check(&format!("titel = \"x\"\n{GOOD}"), 1, "`titel`", "`title`");
    check(&format!("language = 3\n{GOOD}"), 1, "wants language 3", "upgrade");
    check(&GOOD.replace("tool", "toool"), 2, "none of `shell`, `tool`, `library`", "did you mean `tool`?");
    check(&GOOD.replace("\"/a\"", "\"a\""), 5, "`path`", "");
    check(&GOOD.replace("{base_url}", "{bas_url}"), 9, "`{bas_url}` is no placeholder", "`{base_url}`?");
    let foreign = GOOD.replace("{base_url}", "{xxxxxxxxxxxx}");
    check(&foreign, 9, "is no placeholder", "placeholders are `base_url`, `token`, `provider`, `model`");
    let pasted = format!("{GOOD}[[speaks.paste_step]]\nlanguage = \"sh\"\ncode = \"{{tokn}}\"\n");
    check(&pasted, 13, "`{tokn}` is no placeholder", "`{token}`?");
    check(&GOOD.replace("{base_url}", "{base_url"), 9, "`{base_url` without `}`", "write `{base_url}`");
    check(&GOOD.replace("language", "text = \"Use {tokn}\"\nlanguage"), 7, "`{tokn}`", "`{token}`?");
}

#[test]
fn a_file_is_below_the_home_directory_or_the_current_one() {
    let with = |file: &str| GOOD.replace("language", &format!("file = {file:?}\nlanguage"));
    for good in ["a.json", "a/b.json", "~/.a/b", "~/..a", ".a.yml"] {
        assert!(compiled("demo", &with(good)).is_ok(), "{good}");
    }
    for bad in ["", "/etc/a", "../a", "a/../../b", "~/../a", "~//a", "~/~", "~", "~/", "a/", "./a", "a\nb"] {
        let found = compiled("demo", &with(bad)).unwrap_err();
        let [one] = found.as_slice() else { panic!("{bad}: {found:?}") };
        assert!(one.code == Code::BadValue && one.help.is_some(), "{bad}: {one:?}");
        assert!(one.message.contains("`file` is not a path below"), "{bad}: {one:?}");
    }
}

/// A file may have many errors, and few are kept.
#[test]
fn findings_are_bounded() {
    let step = format!("[[speaks.step]]\nlanguage = \"sh\"\ncode = \"{}\"\n", "{x}".repeat(2000));
    let text = format!("{GOOD}{}", step.repeat(10));
    assert_eq!(compiled("demo", &text).unwrap_err().len(), MAX_FINDINGS + 1);
}
