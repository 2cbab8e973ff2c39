//! Files from the outside become a table: reads a providers directory, or the copy compiled into the binary,
//! and takes it through `parse -> compile -> link -> bind`. Also the only place where vars are looked up.
//!
//! Never decides what to do about findings: it hands back what is good, what is not, and why.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use include_dir::{Dir, include_dir};

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
    let metadata = fs::metadata(&real).map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(format!("larger than {MAX_FILE_BYTES} bytes"));
    }
    fs::read(&real).map_err(|error| format!("cannot be read: {error}"))
}

/// All that `check` says of files: no vars, no environment, no secret.
pub fn check(loaded: &Loaded) -> (Compiled, filetest::Outcome, Vec<Diagnostic>) {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut all = loaded.diagnostics.clone();
    all.extend(compiled.diagnostics.iter().cloned());
    all.extend(table::link(&compiled.providers).into_iter().map(|(_, diagnostic)| diagnostic));
    all.extend(tests.diagnostics.iter().cloned());
    all.sort();
    (compiled, tests, all)
}

/// Makes the table of all that is good. A provider is out if it does not compile, if a file that it is made of
/// has errors of form or a test that fails, or if it clashes with one of an earlier name.
pub fn assemble(loaded: &Loaded, value: impl Fn(&VarSource) -> Option<String>) -> Assembled {
    let compiled = compile::compile(&loaded.files);
    let tests = filetest::run(&compiled);
    let mut diagnostics = loaded.diagnostics.clone();
    diagnostics.extend(tests.diagnostics);
    let bad: BTreeSet<Arc<str>> = diagnostics.iter().map(|one| one.at.file.clone()).collect();
    diagnostics.extend(compiled.diagnostics);
    let mut good = compiled.providers;
    let mut rejected = compiled.rejected;
    let made_of_bad = |provider: &mut Arc<compile::Provider>| !provider.inputs.is_disjoint(&bad);
    rejected.extend(good.extract_if(.., made_of_bad).map(|provider| reject(&provider)));
    loop {
        let found = table::link(&good);
        if found.is_empty() {
            break;
        }
        let (losers, found): (BTreeSet<FileName>, Vec<Diagnostic>) = found.into_iter().unzip();
        let lost = |provider: &mut Arc<compile::Provider>| losers.contains(&provider.name);
        rejected.extend(good.extract_if(.., lost).map(|provider| reject(&provider)));
        diagnostics.extend(found);
    }
    let mut bound = Vec::with_capacity(good.len());
    for provider in &good {
        let (ready, found) = bind::bind(provider, |_, _, var| value(&var.source));
        diagnostics.extend(found);
        match ready {
            Some(ready) => bound.push(Arc::new(ready)),
            None => rejected.push(reject(provider)),
        }
    }
    diagnostics.sort();
    rejected.sort_by(|a, b| a.name.cmp(&b.name));
    let cors: Vec<_> = good.iter().flat_map(|provider| provider.cors_headers.iter().cloned()).collect();
    Assembled { table: Table::new(bound, rejected, &cors), diagnostics, tests: tests.ran }
}

fn reject(provider: &compile::Provider) -> Rejected {
    Rejected { name: provider.name.clone(), prefix: Some(provider.prefix.clone()) }
}

/// A var's value: from the environment of this process, or from a file below `secrets`, less the line's end.
pub fn var_value(source: &VarSource, secrets: &Path) -> Option<String> {
    match source {
        VarSource::Env(name) => std::env::var(name).ok(),
        VarSource::File(name) => fs::read_to_string(secrets.join(name))
            .ok()
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned()),
    }
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
        let assembled = assemble(&loaded, |_| None);
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
        check(&[("presets/p.toml", "x ="), ("a.toml", GOOD)], "-a", "TG025 TG003");
        check(&[preset, ("a.toml", GOOD), ("B.toml", GOOD)], "a", "TG002");
        check(&[preset, ("a.toml", GOOD), (".b.toml", "x ="), ("b.toml~", "x ="), ("b.txt", "x =")], "a", "");
        check(&[preset, ("a.toml", GOOD), ("b.toml", &"#".repeat((1 << 20) + 1))], "a -b", "TG001");
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
    fn the_built_in_files_are_good() {
        let loaded = load(&Source::Embedded).unwrap();
        let (_, tests, found) = check(&loaded);
        assert!(found.is_empty(), "{}", loaded.sources.render(&found, false));
        assert!(tests.ran > 0);
    }
}
