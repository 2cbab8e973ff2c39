//! Files from the outside become a table: reads a providers directory, or the copy compiled into the binary,
//! and takes it through `parse -> compile -> link -> bind`. Also the only place where vars are looked up.
//!
//! Never decides what to do about findings: it hands back what is good, what is not, and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    env::VarError,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use include_dir::{Dir, include_dir};
use rustix::fs::OFlags;

use crate::{
    bind, compile,
    compile::{Compiled, Files, Rejected, VarSource},
    diag::{At, Code, Diagnostic, Sources},
    filetest,
    name::FileName,
    settings::Source,
    spec,
    table::{self, Table},
};

/// The files as they were when this binary was built.
static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/providers.d");

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The largest file that a var is read from, in bytes.
const MAX_VAR_BYTES: u64 = 64 << 10;

/// Files, read and parsed.
#[derive(Debug, Default)]
pub struct Loaded {
    /// All texts, for showing findings.
    pub sources: Sources,
    /// The documents.
    pub files: Files,
    /// What is wrong with the form of a file, or with reading it.
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
    /// How many of the files' own tests ran.
    pub tests: usize,
}

/// Which folder a file stands in.
#[derive(Debug, Clone, Copy)]
enum Folder {
    Providers,
    Presets,
    Gateways,
    Apis,
}

const FOLDERS: [(Folder, &str); 4] = [
    (Folder::Providers, ""),
    (Folder::Presets, "presets"),
    (Folder::Gateways, "gateways"),
    (Folder::Apis, "apis"),
];

/// Reads and parses all files. The error is about the directory itself.
pub fn load(origin: &Source) -> io::Result<Loaded> {
    let mut loaded = Loaded::default();
    match origin {
        Source::Embedded => {
            for (folder, name) in FOLDERS {
                let dir = if name.is_empty() { Some(&EMBEDDED) } else { EMBEDDED.get_dir(name) };
                for file in dir.into_iter().flat_map(Dir::files) {
                    let shown = Path::new("providers.d").join(file.path());
                    loaded.take(folder, &shown, Ok(file.contents().to_vec()));
                }
            }
        }
        Source::Directory(dir) => {
            let root = fs::canonicalize(dir)?;
            for (folder, name) in FOLDERS {
                loaded.read_folder(folder, &dir.join(name), &root)?;
            }
            loaded.fill_in();
        }
    }
    loaded.diagnostics.sort();
    Ok(loaded)
}

impl Loaded {
    fn read_folder(&mut self, folder: Folder, dir: &Path, root: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            // Only the providers' own folder has to be there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !matches!(folder, Folder::Providers) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let wanted = path.extension().is_some_and(|extension| extension == "toml");
            if wanted && !name.starts_with('.') && !name.ends_with('~') {
                self.take(folder, &path, read(&path, root));
            }
        }
        Ok(())
    }

    /// Presets, gateways and apis that a directory lacks are those of the binary, so that a provider file works
    /// wherever it is put. Their tests were run when the binary was made.
    fn fill_in(&mut self) {
        for (folder, name) in &FOLDERS[1..] {
            for file in EMBEDDED.get_dir(name).into_iter().flat_map(Dir::files) {
                let stem = file.path().file_stem().and_then(|stem| stem.to_str()).and_then(FileName::new);
                if let Some(stem) = stem.filter(|stem| !self.has(*folder, stem)) {
                    let shown = Path::new("built-in").join(file.path());
                    self.take(*folder, &shown, Ok(file.contents().to_vec()));
                    self.forget_tests(*folder, &stem);
                }
            }
        }
    }

    fn forget_tests(&mut self, folder: Folder, name: &FileName) {
        type Slots<T> = BTreeMap<FileName, spec::Slot<T>>;
        fn forget<T>(
            slots: &mut Slots<T>,
            name: &FileName,
            tests: fn(&mut T) -> &mut Option<Vec<spec::Test>>,
        ) {
            if let Some(Ok(parsed)) = slots.get_mut(name) {
                *tests(&mut parsed.document) = None;
            }
        }
        let files = &mut self.files;
        match folder {
            Folder::Providers => forget(&mut files.providers, name, |one| &mut one.test),
            Folder::Presets => forget(&mut files.presets, name, |one| &mut one.test),
            Folder::Gateways => forget(&mut files.gateways, name, |one| &mut one.test),
            Folder::Apis => forget(&mut files.apis, name, |one| &mut one.test),
        }
    }

    fn has(&self, folder: Folder, name: &FileName) -> bool {
        match folder {
            Folder::Providers => self.files.providers.contains_key(name),
            Folder::Presets => self.files.presets.contains_key(name),
            Folder::Gateways => self.files.gateways.contains_key(name),
            Folder::Apis => self.files.apis.contains_key(name),
        }
    }

    fn take(&mut self, folder: Folder, path: &Path, contents: Result<Vec<u8>, String>) {
        let file: Arc<str> = path.to_string_lossy().into();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let Some(name) = FileName::new(&stem) else {
            let message =
                format!("`{stem}` cannot be a name: use `[a-z0-9][a-z0-9-]*`, at most 64 characters");
            self.diagnostics
                .push(Diagnostic::new(Code::FileName, At::file(&file), message).help("rename the file"));
            return;
        };
        let text = contents.and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
        });
        match text {
            Ok(text) => {
                self.parse(folder, name, &file, &text);
                self.sources.insert(file, text.into());
            }
            Err(message) => {
                self.diagnostics.push(Diagnostic::new(Code::File, At::file(&file), message));
                self.miss(folder, name);
            }
        }
    }

    /// A text that cannot be parsed leaves its name behind, so that who refers to it is told why.
    fn parse(&mut self, folder: Folder, name: FileName, file: &Arc<str>, text: &str) {
        let found = match folder {
            Folder::Providers => keep(&mut self.files.providers, name, file, text),
            Folder::Presets => keep(&mut self.files.presets, name, file, text),
            Folder::Gateways => keep(&mut self.files.gateways, name, file, text),
            Folder::Apis => keep(&mut self.files.apis, name, file, text),
        };
        self.diagnostics.extend(found);
    }

    /// A file that cannot be read leaves its name behind too.
    fn miss(&mut self, folder: Folder, name: FileName) {
        let nothing = spec::Outline::default();
        match folder {
            Folder::Providers => drop(self.files.providers.insert(name, Err(nothing))),
            Folder::Presets => drop(self.files.presets.insert(name, Err(nothing))),
            Folder::Gateways => drop(self.files.gateways.insert(name, Err(nothing))),
            Folder::Apis => drop(self.files.apis.insert(name, Err(nothing))),
        }
    }
}

fn keep<T: spec::Document>(
    slots: &mut BTreeMap<FileName, spec::Slot<T>>,
    name: FileName,
    file: &Arc<str>,
    text: &str,
) -> Vec<Diagnostic> {
    let (parsed, found) = spec::parse(file, text);
    slots.insert(name, parsed);
    found
}

/// Reads one file below `root`. The error is a fragment.
fn read(path: &Path, root: &Path) -> Result<Vec<u8>, String> {
    let real = fs::canonicalize(path).map_err(|error| format!("cannot be read: {error}"))?;
    if !real.starts_with(root) {
        return Err("a link that leads out of the providers directory is not followed".into());
    }
    // What is looked at is what is read, whoever changes the path in between.
    let file = open(&real, OFlags::NOFOLLOW).map_err(|error| format!("cannot be read: {error}"))?;
    contents(file, MAX_FILE_BYTES)
}

/// All that `check` says of files: no vars, no environment, no secret.
pub fn check(loaded: &Loaded) -> (Compiled, filetest::Outcome, Vec<Diagnostic>) {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut all = loaded.diagnostics.clone();
    all.extend(compiled.diagnostics.iter().cloned());
    all.extend(
        table::link(&compiled.providers, &compiled.rejected).into_iter().map(|(_, diagnostic)| diagnostic),
    );
    all.extend(tests.diagnostics.iter().cloned());
    all.sort();
    (compiled, tests, all)
}

/// Makes the table of all that is good. A provider is out if it does not compile, if a file that it is made of
/// has errors of form or a test that fails, if it clashes with one of an earlier name, or if another that uses
/// its credentials section does not name it.
pub fn assemble(loaded: &Loaded, value: impl Fn(&VarSource) -> bind::Lookup) -> Assembled {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut diagnostics = loaded.diagnostics.clone();
    diagnostics.extend(tests.diagnostics);
    let bad: BTreeSet<Arc<str>> = diagnostics.iter().map(|one| one.at.file.clone()).collect();
    diagnostics.extend(compiled.diagnostics);
    let mut good = compiled.providers;
    let mut rejected = compiled.rejected;
    let made_of_bad = |provider: &mut Arc<compile::Provider>| !provider.inputs.is_disjoint(&bad);
    rejected.extend(good.extract_if(.., made_of_bad).map(|provider| Rejected::from(&*provider)));
    loop {
        let found = table::link(&good, &rejected);
        if found.is_empty() {
            break;
        }
        let (losers, found): (BTreeSet<FileName>, Vec<Diagnostic>) = found.into_iter().unzip();
        let lost = |provider: &mut Arc<compile::Provider>| losers.contains(&provider.name);
        rejected.extend(good.extract_if(.., lost).map(|provider| Rejected::from(&*provider)));
        diagnostics.extend(found);
    }
    let cors: Vec<_> = good.iter().flat_map(|provider| provider.cors_headers.iter().cloned()).collect();
    let mut bound = Vec::with_capacity(good.len());
    good.retain(|provider| {
        let (ready, found) = bind::bind_read(provider, |_, _, var| value(&var.source));
        diagnostics.extend(found);
        let Some(ready) = ready else {
            rejected.push(Rejected::from(&**provider));
            return false;
        };
        bound.push(Arc::new(ready));
        true
    });
    diagnostics.sort();
    // A var of a gateway is looked up by each provider that uses the gateway.
    diagnostics.dedup();
    rejected.sort_by(|a, b| a.name.cmp(&b.name));
    let table = Table::new(bound, rejected, &cors);
    Assembled { table, providers: good, diagnostics, tests: tests.ran }
}

/// A var's value: from the environment of this process, or from a file below `secrets`, less the line's end.
/// Only what is not there is unset: what is there and cannot be read may be what keeps requests off the
/// direct way.
pub fn var_value(source: &VarSource, secrets: &Path) -> bind::Lookup {
    match source {
        VarSource::Env(name) => match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err("is not UTF-8".into()),
        },
        VarSource::File(name) => match open(&secrets.join(name), OFlags::empty()) {
            Ok(file) => {
                let text = String::from_utf8(contents(file, MAX_VAR_BYTES)?);
                let text = text.map_err(|_| "is not UTF-8")?;
                Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot be read: {error}")),
        },
    }
}

/// Opens a file for reading. A pipe that nobody writes to does not hold the process up.
fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = (flags | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    File::options().read(true).custom_flags(flags.cast_signed()).open(path)
}

/// All of a regular file, if it is small enough. The error is a fragment.
fn contents(file: File, max: u64) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err("is not a regular file".into());
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max { Err(format!("is larger than {max} bytes")) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRESET: &str =
        "path_prefix = \"/proxy/{provider}\"\n[endpoint.one]\nmethod = \"GET\"\npath = \"/one\"\n";
    const GOOD: &str = "title = \"X\"\nextends = \"p\"\nbase_url = \"https://x.example\"\n";

    /// Which providers serve and which are out, and the codes of all findings, of a directory with these files.
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
        let codes = assembled.diagnostics.iter().map(|one| one.code.as_str().to_owned());
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
        check("directory", Err("is not a regular file"));
        check("pipe", Err("is not a regular file"));
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
        check("directory", Err("is not a regular file"));
        check("pipe", Err("is not a regular file"));
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
