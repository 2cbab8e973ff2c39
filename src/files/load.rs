//! Reads and parses a providers directory once, for the command line.
//!
//! It watches nothing and keeps no last good version. Read next: `reload` for the server.

use std::{io, path::Path};

use super::SourceTree;
use crate::{
    pipeline::{Loaded, parse},
    settings::Source,
};

/// Reads and parses all files. The error is about the directory itself.
pub fn load(source: &Source) -> io::Result<Loaded> {
    let tree = SourceTree::read(source, &SourceTree::default())?;
    Ok(Loaded { sources: tree.sources(), ..parse(tree.input_files(), |_| true) })
}

/// Reads and parses all files, with `text` in place of the file at `path`. The error is about the directory itself.
pub fn load_with(source: &Source, path: &Path, text: Vec<u8>) -> io::Result<Loaded> {
    let mut tree = SourceTree::read(source, &SourceTree::default())?;
    tree.replace(source, path, text);
    Ok(Loaded { sources: tree.sources(), ..parse(tree.input_files(), |_| true) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        files::built_in::EMBEDDED,
        pipeline::{assemble, check},
    };

    const PRESET: &str =
        "path_prefix = \"/proxy/{provider}\"\n[endpoint.one]\nmethod = \"GET\"\npath = \"/one\"\n";
    const GOOD: &str = "title = \"X\"\nextends = \"p\"\nbase_url = \"https://x.example\"\n";

    /// Loads a directory with these files. Returns the providers that serve, those that are rejected (`-name`), and the
    /// codes of all errors.
    fn outcome(files: &[(&str, &str)]) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("presets")).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let loaded = load(&Source::directory(dir.path())).unwrap();
        let assembled = assemble(&loaded, |_| Ok(None));
        let serving = assembled.table.providers.iter().map(|one| one.name.to_string());
        let out = assembled.table.rejected.iter().map(|one| format!("-{}", one.name));
        let errors = assembled.diagnostics.iter().filter(|one| one.is_error());
        let codes = errors.map(|one| one.code.as_str().to_owned());
        (serving.chain(out).collect::<Vec<_>>().join(" "), codes.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_bad_file_rejects_only_the_providers_that_depend_on_it() {
        let check = |files: &[(&str, &str)], providers: &str, codes: &str| {
            assert_eq!(outcome(files), (providers.to_owned(), codes.to_owned()), "{files:?}");
        };
        let preset = ("presets/p.toml", PRESET);
        let clash = &format!("{GOOD}path_prefix = \"/proxy/a\"\n");
        let unset = &GOOD.replace("x.example", "{v}.example");
        let unset = &format!("{unset}[vars]\nv = {{ env = \"NOT_SET_HERE\" }}\n");
        let failing =
            "[[test]]\nname = \"t\"\nrequest = { path = \"/proxy/b/one\" }\nexpect = { status = 404 }\n";
        check(&[preset, ("a.toml", GOOD), ("b.toml", GOOD)], "a b", "");
        check(&[preset, ("a.toml", GOOD), ("b.toml", "x =")], "a -b", "TG003");
        check(&[preset, ("a.toml", GOOD), ("b.toml", clash)], "a -b", "TG040");
        check(&[preset, ("a.toml", GOOD), ("b.toml", unset)], "a -b", "TG030");
        check(&[preset, ("a.toml", GOOD), ("b.toml", &format!("{GOOD}{failing}"))], "a -b", "TG050");
        let half = &format!("{GOOD}[credentials]\nshared_with = [\"gone\"]\nfield = [{{ name = \"k\" }}]\n");
        check(&[preset, ("a.toml", half)], "a", "");
        check(&[("presets/p.toml", "x ="), ("a.toml", GOOD)], "-a", "TG025 TG003");
        check(&[preset, ("a.toml", GOOD), ("B.toml", GOOD)], "a", "TG002");
        check(&[preset, ("a.toml", GOOD), (".b.toml", "x ="), ("b.toml~", "x ="), ("b.txt", "x =")], "a", "");
        check(&[preset, ("a.toml", GOOD), ("b.toml", &"#".repeat((1 << 20) + 1))], "a -b", "TG001");
    }

    #[test]
    fn providers_share_a_section_only_if_each_lists_the_others() {
        let check = |files: &[(&str, &str)], providers: &str, codes: &str| {
            let preset = ("presets/p.toml", PRESET);
            let files: Vec<_> = [preset].iter().chain(files).copied().collect();
            assert_eq!(outcome(&files), (providers.to_owned(), codes.to_owned()), "{files:?}");
        };
        let section = |section: &str, shared_with: &str| {
            let tables = format!("section = \"{section}\"\nshared_with = {shared_with}\n");
            format!("{GOOD}[credentials]\n{tables}field = [{{ name = \"key\" }}]\n")
        };
        let own = &section("providers.m", "[]");
        let knows = |name: &str| section("providers.m", &format!("[\"{name}\"]"));
        let other_host = &own.replace("x.example", "y.example");
        let egress = &format!("{own}[[egress]]\nurl = \"https://y.example/?to={{url|urlencode}}\"\n");
        // Neither lists the other: both are rejected, in either order of names and with any host.
        check(&[("m.toml", own), ("a.toml", other_host)], "-a -m", "TG041 TG041");
        check(&[("m.toml", own), ("z.toml", own)], "-m -z", "TG041 TG041");
        check(&[("m.toml", own), ("z.toml", egress)], "-m -z", "TG041 TG041");
        // Only one lists the other: the one that is not listed is rejected.
        check(&[("m.toml", own), ("z.toml", &knows("m"))], "m -z", "TG041");
        check(&[("m.toml", &knows("z")), ("z.toml", own)], "z -m", "TG041");
        check(&[("m.toml", &knows("z")), ("z.toml", &knows("m"))], "m z", "");
        // The owner of the section is rejected for another reason: a provider that it does not list stays rejected.
        let failing =
            "[[test]]\nname = \"t\"\nrequest = { path = \"/proxy/m/one\" }\nexpect = { status = 404 }\n";
        check(&[("m.toml", &format!("{own}{failing}")), ("z.toml", own)], "-m -z", "TG050 TG041");
        check(&[("m.toml", &format!("{}{failing}", knows("z"))), ("z.toml", own)], "z -m", "TG050");
        check(&[("m.toml", &format!("wrong = 1\n{own}")), ("z.toml", own)], "-m -z", "TG010 TG041");
        check(&[("m.toml", &format!("x =\n{own}")), ("z.toml", own)], "-m -z", "TG003 TG041");
        check(&[("m.toml", &own.replace("https", "ftp")), ("z.toml", own)], "-m -z", "TG021 TG041");
        check(&[("m.toml", "x ="), ("z.toml", own)], "-m -z", "TG003 TG041");
        check(&[("m.toml", &"#".repeat((1 << 20) + 1)), ("z.toml", own)], "-m -z", "TG001 TG041");
        let inherits = &format!("wrong = 1\n{GOOD}").replace("\"p\"", "\"q\"");
        let preset = ("presets/q.toml", "credentials.section = \"s.{provider}\"");
        check(&[preset, ("m.toml", inherits), ("z.toml", &section("s.m", "[]"))], "-m -z", "TG010 TG041");
    }

    #[test]
    fn links_out_of_the_directory_are_not_followed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("x.toml"), GOOD).unwrap();
        fs::write(dir.path().join(".real"), GOOD).unwrap();
        std::os::unix::fs::symlink(outside.path().join("x.toml"), dir.path().join("out.toml")).unwrap();
        std::os::unix::fs::symlink(dir.path().join(".real"), dir.path().join("in.toml")).unwrap();
        let loaded = load(&Source::directory(dir.path())).unwrap();
        let messages: Vec<_> = loaded.diagnostics.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(messages, ["a link that leads out of the providers directory is not followed"]);
        assert_eq!(loaded.files.providers.values().filter(|slot| slot.is_ok()).count(), 1);
    }

    #[test]
    fn missing_presets_are_built_in() {
        let dir = tempfile::tempdir().unwrap();
        let preset = EMBEDDED.get_dir("presets").unwrap().files().next().unwrap().path().file_stem().unwrap();
        let preset = preset.to_str().unwrap();
        let own = format!("title = \"X\"\nextends = \"{preset}\"\nbase_url = \"https://x.example\"\n");
        fs::write(dir.path().join("x.toml"), own).unwrap();
        let loaded = load(&Source::directory(dir.path())).unwrap();
        let (compiled, tests, found) = check(&loaded);
        assert!(found.is_empty(), "{}", loaded.sources.render(&found, false));
        assert_eq!((compiled.providers.len(), tests.ran), (1, 0));
    }

    #[test]
    fn the_built_in_files_are_good() {
        let loaded = load(&Source::built_in()).unwrap();
        let (_, tests, found) = check(&loaded);
        assert!(found.is_empty(), "{}", loaded.sources.render(&found, false));
        assert!(tests.ran > 0);
    }
}
