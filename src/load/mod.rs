//! Files from the outside become providers: reads a providers directory, or the copy compiled into the binary,
//! and takes it through `parse -> compile -> link -> bind`. Also the only place where vars are looked up.
//!
//! Never decides what to do about findings: it hands back what is good, what is not, and why.

mod tree;
mod vars;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

pub use tree::{BUILT_IN, Folder, Hash, MAX_FILE_BYTES, Text, Tree, hash, policy_of, read_text, shown, utf8};
pub use vars::{Prints, Vars, var_value};

use crate::{
    bind, compile,
    compile::{Compiled, Files, Rejected, VarSource},
    diag::{At, Code, Diagnostic, Sources},
    filetest, lint,
    name::FileName,
    prove,
    reconcile::{Fresh, Good, settle},
    settings::Source,
    spec,
    table::{self, Table},
};

/// Files, read and parsed.
#[derive(Debug, Default)]
pub struct Loaded {
    /// All texts, for showing findings.
    pub sources: Sources,
    /// The documents.
    pub files: Files,
    /// What is wrong with the form of a file, or with reading it.
    pub diagnostics: Vec<Diagnostic>,
    /// What texts hold that looks like a key.
    pub literals: Vec<Diagnostic>,
    /// The files that are the binary's: nobody here can mend them.
    pub filled_in: BTreeSet<Arc<str>>,
    /// How bad what lints find is.
    pub levels: lint::Levels,
}

/// What files amount to, each for itself.
#[derive(Debug, Default)]
pub struct Made {
    /// The providers.
    pub fresh: BTreeMap<FileName, Fresh>,
    /// Of those that are good but for other files that they are made of: which.
    pub because: BTreeMap<FileName, BTreeSet<Arc<str>>>,
    /// What is to be said of them.
    pub diagnostics: Vec<Diagnostic>,
}

/// What a set of files amounts to.
#[derive(Debug)]
pub struct Assembled {
    /// What is good, ready to serve.
    pub table: Table,
    /// The same providers before their vars were filled in, by name.
    pub providers: Vec<Arc<compile::Provider>>,
    /// All findings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads and parses all files. The error is about the directory itself.
pub fn load(origin: &Source) -> io::Result<Loaded> {
    let tree = Tree::read(origin, &Tree::default())?;
    Ok(Loaded { sources: tree.sources(), ..parse(&tree, |_| true) })
}

/// The same with one text in the place of the file at `path`, whatever that holds.
pub fn load_with(origin: &Source, path: &Path, text: Vec<u8>) -> io::Result<Loaded> {
    let mut tree = Tree::read(origin, &Tree::default())?;
    tree.replace(path, text);
    Ok(Loaded { sources: tree.sources(), ..parse(&tree, |_| true) })
}

/// Parses files: of the providers those that are wanted, and all that they may be made of.
pub fn parse(tree: &Tree, wanted: impl Fn(&FileName) -> bool) -> Loaded {
    let mut loaded = Loaded::default();
    for (file, text) in &tree.0 {
        match &text.name {
            Some(name) if text.folder != Folder::Providers || wanted(name) => loaded.take(file, name, text),
            Some(_) => {}
            None => loaded.diagnostics.push(no_name(file)),
        }
    }
    loaded.own_default(tree);
    loaded.diagnostics.sort();
    loaded
}

fn no_name(file: &Arc<str>) -> Diagnostic {
    let stem = std::path::Path::new(&**file).file_stem().unwrap_or_default().to_string_lossy();
    let message = format!("`{stem}` cannot be a name: use `[a-z0-9][a-z0-9-]*`, at most 64 characters");
    let good = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let better = stem.chars().map(good).collect::<String>();
    let help = match FileName::new(better.trim_matches('-')) {
        Some(better) => format!("rename the file to `{better}.toml`"),
        None => "rename the file".to_owned(),
    };
    Diagnostic::new(Code::FileName, At::file(file), message).help(help)
}

impl Loaded {
    /// A preset of the binary's is not the default where a directory has a default of its own.
    fn own_default(&mut self, tree: &Tree) {
        let filled_in = |file: &Arc<str>| tree.0.get(file).is_some_and(|text| text.filled_in);
        let mut presets: Vec<_> = self.files.presets.values_mut().flatten().collect();
        presets.retain(|preset| preset.document.default == Some(true));
        if presets.iter().any(|preset| !filled_in(&preset.file)) {
            let others = presets.into_iter().filter(|preset| filled_in(&preset.file));
            others.for_each(|preset| preset.document.default = None);
        }
    }

    fn take(&mut self, file: &Arc<str>, name: &FileName, text: &Text) {
        let files = &mut self.files;
        let found = match text.folder {
            Folder::Providers => keep(&mut files.providers, name, file, text, |one| &mut one.test),
            Folder::Presets => keep(&mut files.presets, name, file, text, |one| &mut one.test),
            Folder::Gateways => keep(&mut files.gateways, name, file, text, |one| &mut one.test),
            Folder::Apis => keep(&mut files.apis, name, file, text, |one| &mut one.test),
            Folder::Policy => {
                let (slot, found) = slot(file, text);
                files.policy = Some((file.clone(), slot));
                found
            }
        };
        self.diagnostics.extend(found);
        if text.filled_in {
            self.filled_in.insert(file.clone());
        } else if let Ok(text) = &text.text {
            self.literals.extend(lint::literals(file, text));
        }
    }

    /// What lints find, as bad as their levels say.
    fn lint(&self, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let mut found = self.levels.apply(found);
        found.retain(|one| !self.filled_in.contains(&one.at.file));
        found
    }

    /// What lints say of each file.
    fn lint_each(&self, compiled: &Compiled) -> Vec<Diagnostic> {
        let mut found = lint::each(&self.files, compiled);
        found.extend(self.literals.iter().cloned());
        self.lint(found)
    }

    /// What lints say of gateways that none of `providers` names. Where one is out nobody knows what it names.
    pub fn unused_gateways<'p>(
        &self,
        providers: impl Iterator<Item = &'p compile::Provider>,
        rejected: &[Rejected],
    ) -> Vec<Diagnostic> {
        if rejected.is_empty() {
            self.lint(lint::unused_gateways(&self.files, providers))
        } else {
            Vec::new()
        }
    }
}

/// A text that cannot be read or parsed leaves its name behind, so that who refers to it is told why.
fn keep<T: spec::Document>(
    slots: &mut BTreeMap<FileName, spec::Slot<T>>,
    name: &FileName,
    file: &Arc<str>,
    text: &Text,
    tests: fn(&mut T) -> &mut Option<Vec<spec::Test>>,
) -> Vec<Diagnostic> {
    let (mut slot, found) = slot(file, text);
    if text.filled_in
        && let Ok(parsed) = &mut slot
    {
        *tests(&mut parsed.document) = None;
    }
    slots.insert(name.clone(), slot);
    found
}

fn slot<T: spec::Document>(file: &Arc<str>, text: &Text) -> (spec::Slot<T>, Vec<Diagnostic>) {
    match &text.text {
        Ok(text) => spec::parse(file, text),
        Err(problem) => {
            let found = Diagnostic::new(Code::File, At::file(file), problem.clone());
            (Err(spec::Outline::default()), vec![found])
        }
    }
}

/// All that `check` says of files: no vars, no environment, no secret.
pub fn check(loaded: &Loaded) -> (Compiled, filetest::Outcome, Vec<Diagnostic>) {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut all = loaded.diagnostics.clone();
    all.extend(compiled.diagnostics.iter().cloned());
    all.extend(table::link(&compiled.providers, &compiled.rejected).into_iter().map(|one| one.diagnostic));
    all.extend(tests.diagnostics.iter().cloned());
    all.extend(loaded.lint_each(&compiled));
    all.extend(loaded.unused_gateways(compiled.providers.iter().map(|one| &**one), &compiled.rejected));
    all.extend(prove::judge(&loaded.files, &compiled.providers).into_diagnostics());
    all.sort();
    (compiled, tests, all)
}

/// Makes providers of files, each for itself. One is out if it does not compile, if a file that it is made of
/// has errors of form or a test that fails, if it breaks the policy, or if its vars cannot be filled in.
pub fn make(loaded: &Loaded, mut value: impl FnMut(&VarSource) -> bind::Lookup) -> Made {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut diagnostics = loaded.diagnostics.clone();
    diagnostics.extend(tests.diagnostics);
    diagnostics.extend(loaded.lint_each(&compiled));
    let judged = prove::judge(&loaded.files, &compiled.providers);
    diagnostics.extend(judged.policy);
    let bad = diagnostics.iter().filter(|one| one.is_error());
    let bad: BTreeSet<Arc<str>> = bad.map(|one| one.at.file.clone()).collect();
    let mut warnings = BTreeMap::<Arc<str>, Vec<Diagnostic>>::new();
    for one in diagnostics.iter().filter(|one| !one.is_error()) {
        warnings.entry(one.at.file.clone()).or_default().push(one.clone());
    }
    diagnostics.extend(compiled.diagnostics);
    diagnostics.extend(judged.broken.values().flatten().cloned());
    let mut fresh: BTreeMap<FileName, Fresh> =
        compiled.rejected.into_iter().map(|one| (one.name.clone(), Fresh::Bad(one))).collect();
    let mut because = BTreeMap::new();
    for provider in compiled.providers {
        let rejected = || Fresh::Bad(Rejected::from(&*provider));
        let made = if judged.broken.contains_key(&provider.name) {
            rejected()
        } else if provider.inputs.is_disjoint(&bad) {
            let value = std::cell::RefCell::new(&mut value);
            let (bound, found) = bind::bind_read(&provider, |_, _, var| (value.borrow_mut())(&var.source));
            diagnostics.extend(found);
            let bound = bound.map(Arc::new);
            let warnings = warnings.remove(&provider.at.file).unwrap_or_default();
            let good = |bound| Fresh::New(Good { compiled: provider.clone(), bound, warnings });
            bound.map_or_else(rejected, good)
        } else {
            because.insert(provider.name.clone(), provider.inputs.intersection(&bad).cloned().collect());
            rejected()
        };
        fresh.insert(provider.name.clone(), made);
    }
    Made { fresh, because, diagnostics }
}

/// Makes the table of all that is good.
pub fn assemble(loaded: &Loaded, value: impl FnMut(&VarSource) -> bind::Lookup) -> Assembled {
    let Made { fresh, mut diagnostics, .. } = make(loaded, value);
    let settled = settle(fresh, &BTreeMap::new());
    diagnostics.extend(settled.diagnostics);
    let serving = settled.serving.values().map(|one| &*one.good.compiled);
    diagnostics.extend(loaded.unused_gateways(serving, &settled.rejected));
    sort(&mut diagnostics);
    let providers: Vec<_> = settled.serving.values().map(|one| one.good.compiled.clone()).collect();
    let bound = settled.serving.into_values().map(|one| one.good.bound).collect();
    let table = table(&providers, bound, settled.rejected);
    Assembled { table, providers, diagnostics }
}

/// The table of providers that go together.
pub fn table(
    compiled: &[Arc<compile::Provider>],
    bound: Vec<Arc<bind::Provider>>,
    rejected: Vec<Rejected>,
) -> Table {
    let cors: Vec<_> = compiled.iter().flat_map(|provider| provider.cors_headers.iter().cloned()).collect();
    Table::new(bound, rejected, &cors)
}

/// In the order in which they are shown, each once: a var of a gateway is looked up by each provider that uses
/// the gateway.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort();
    diagnostics.dedup();
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        tree::{EMBEDDED, read},
        *,
    };

    const PRESET: &str =
        "path_prefix = \"/proxy/{provider}\"\n[endpoint.one]\nmethod = \"GET\"\npath = \"/one\"\n";
    const GOOD: &str = "title = \"X\"\nextends = \"p\"\nbase_url = \"https://x.example\"\n";

    /// Which providers serve and which are out, and the codes of all errors, of a directory with these files.
    fn outcome(files: &[(&str, &str)]) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("presets")).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let loaded = load(&Source::Directory(dir.path().into())).unwrap();
        let assembled = assemble(&loaded, |_| Ok(None));
        let serving = assembled.table.providers.iter().map(|one| one.name.to_string());
        let out = assembled.table.rejected.iter().map(|one| format!("-{}", one.name));
        let errors = assembled.diagnostics.iter().filter(|one| one.is_error());
        let codes = errors.map(|one| one.code.as_str().to_owned());
        (serving.chain(out).collect::<Vec<_>>().join(" "), codes.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_bad_file_takes_out_no_more_than_it_must() {
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
    fn a_stored_key_goes_only_where_all_that_use_its_section_know_of() {
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
        // Neither names the other: both are out, whichever name is first and wherever they lead.
        check(&[("m.toml", own), ("a.toml", other_host)], "-a -m", "TG041 TG041");
        check(&[("m.toml", own), ("z.toml", own)], "-m -z", "TG041 TG041");
        check(&[("m.toml", own), ("z.toml", egress)], "-m -z", "TG041 TG041");
        // One names the other: the one that is not named is out.
        check(&[("m.toml", own), ("z.toml", &knows("m"))], "m -z", "TG041");
        check(&[("m.toml", &knows("z")), ("z.toml", own)], "z -m", "TG041");
        check(&[("m.toml", &knows("z")), ("z.toml", &knows("m"))], "m z", "");
        // Whom the owner does not name stays out while the owner is out itself, for whatever reason.
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

    fn pipe(path: &Path) {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    }

    #[test]
    fn a_var_is_unset_only_where_it_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, expected: Result<Option<&str>, &str>| {
            let found = var_value(&VarSource::File(name.into()), dir.path());
            assert_eq!(found, expected.map(|text| text.map(str::to_owned)).map_err(str::to_owned), "{name}");
        };
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("good", b"value\r\n");
        write("empty", b"\n");
        write("binary", b"\xff");
        write("full", &vec![b'x'; 64 << 10]);
        write("large", &vec![b'x'; (64 << 10) + 1]);
        fs::create_dir(dir.path().join("directory")).unwrap();
        std::os::unix::fs::symlink("good", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        pipe(&dir.path().join("pipe"));
        check("missing", Ok(None));
        check("good", Ok(Some("value")));
        check("link", Ok(Some("value")));
        check("empty", Ok(Some("")));
        check("full", Ok(Some(&"x".repeat(64 << 10))));
        check("large", Err("is larger than 65536 bytes"));
        check("binary", Err("is not UTF-8"));
        check("directory", Err("is a directory, not a file"));
        check("pipe", Err("is a pipe, not a file"));
        check("loop", Err("cannot be read: Too many levels of symbolic links (os error 40)"));
        check("good/below", Err("cannot be read: Not a directory (os error 20)"));
    }

    #[test]
    fn links_out_of_the_directory_are_not_followed() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("x.toml"), GOOD).unwrap();
        fs::write(dir.path().join(".real"), GOOD).unwrap();
        std::os::unix::fs::symlink(outside.path().join("x.toml"), dir.path().join("out.toml")).unwrap();
        std::os::unix::fs::symlink(dir.path().join(".real"), dir.path().join("in.toml")).unwrap();
        let loaded = load(&Source::Directory(dir.path().into())).unwrap();
        let messages: Vec<_> = loaded.diagnostics.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(messages, ["a link that leads out of the providers directory is not followed"]);
        assert_eq!(loaded.files.providers.values().filter(|slot| slot.is_ok()).count(), 1);
    }

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let check = |name: &str, expected: Result<usize, &str>| {
            let found = read(&root.join(name), &root).map(|bytes| bytes.len());
            assert_eq!(found, expected.map_err(str::to_owned), "{name}");
        };
        fs::write(root.join("full"), vec![b'#'; 1 << 20]).unwrap();
        fs::write(root.join("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
        fs::create_dir(root.join("directory")).unwrap();
        pipe(&root.join("pipe"));
        check("full", Ok(1 << 20));
        check("large", Err("is larger than 1048576 bytes"));
        check("directory", Err("is a directory, not a file"));
        check("pipe", Err("is a pipe, not a file"));
        check("missing", Err("cannot be read: No such file or directory (os error 2)"));
    }

    #[test]
    fn what_a_directory_lacks_is_the_binarys() {
        let dir = tempfile::tempdir().unwrap();
        let preset = EMBEDDED.get_dir("presets").unwrap().files().next().unwrap().path().file_stem().unwrap();
        let preset = preset.to_str().unwrap();
        let own = format!("title = \"X\"\nextends = \"{preset}\"\nbase_url = \"https://x.example\"\n");
        fs::write(dir.path().join("x.toml"), own).unwrap();
        let loaded = load(&Source::Directory(dir.path().into())).unwrap();
        let (compiled, tests, found) = check(&loaded);
        assert!(found.is_empty(), "{}", loaded.sources.render(&found, false));
        assert_eq!((compiled.providers.len(), tests.ran), (1, 0));
    }

    #[test]
    fn the_built_in_files_are_good() {
        let loaded = load(&Source::Embedded).unwrap();
        let (_, tests, found) = check(&loaded);
        assert!(found.is_empty(), "{}", loaded.sources.render(&found, false));
        assert!(tests.ran > 0);
    }
}
