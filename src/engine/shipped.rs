//! For tests: the shipped provider files, and sets of files given as texts. Reads the source tree, since this package
//! embeds no files.

#![expect(clippy::disallowed_methods, reason = "tests read the files that are shipped")]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use crate::{
    base::{
        budget::{MAX_BYTES, MAX_STEPS, Used},
        diag::Sources,
    },
    pipeline::{self, Folder, InputFile, Loaded},
};

/// The shipped files.
pub(crate) fn load() -> Loaded {
    loaded(&read("providers.d"), |_| false)
}

/// Parses these files, by path below a providers directory. The shipped presets, gateways and apis are added.
pub(crate) fn load_with(files: &[(&str, &str)]) -> Loaded {
    let mut all = read("providers.d");
    all.retain(|path, _| path.contains('/'));
    let shipped: Vec<String> = all.keys().cloned().collect();
    for (path, text) in files {
        all.insert((*path).to_owned(), (*text).to_owned());
    }
    let own = |path: &str| files.iter().any(|(one, _)| *one == path);
    loaded(&all, |path| !own(path) && shipped.iter().any(|one| one == path))
}

/// Parses these files alone.
pub(crate) fn load_only(files: &[(&str, &str)]) -> Loaded {
    let all = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    loaded(&all, |_| false)
}

#[test]
fn shipped_files_use_a_fiftieth_of_their_budget_at_most() {
    let loaded = load();
    let (compiled, _, found) = pipeline::check(&loaded);
    assert_eq!(found, []);
    for file in loaded.sources.files() {
        let Used { steps, bytes } = compiled.budgets.of(file).used();
        assert!(steps > 0 && steps < MAX_STEPS / 50 && bytes < MAX_BYTES / 50, "{file}: {steps}, {bytes}");
    }
}

/// The files of a directory of the source tree, by path below it.
pub(crate) fn read(dir: &str) -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(dir);
    let mut files = BTreeMap::new();
    for folder in Folder::ALL {
        let mut dirs = vec![root.join(folder.name())];
        while let Some(dir) = dirs.pop() {
            let Ok(entries) = fs::read_dir(dir) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    dirs.extend(folder.has_folders().then_some(path));
                    continue;
                }
                let below = path.strip_prefix(&root).unwrap().to_str().unwrap();
                files.insert(below.to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

fn loaded(files: &BTreeMap<String, String>, filled_in: impl Fn(&str) -> bool) -> Loaded {
    let mut sources = Sources::default();
    let mut inputs = Vec::new();
    for (path, text) in files {
        let file: Arc<str> = path.as_str().into();
        sources.insert(file.clone(), text.as_str().into());
        let (folder, name) = match path.strip_prefix("../") {
            Some(policy) => (Folder::Policy, policy),
            None => Folder::of_path(path).unwrap(),
        };
        inputs.push((file, folder, folder.file_name(name.trim_end_matches(".toml")), text, filled_in(path)));
    }
    let inputs = inputs.iter().map(|(file, folder, name, text, filled_in)| {
        let (folder, name, filled_in) = (*folder, name.as_ref(), *filled_in);
        (file, InputFile { folder, name, text: Ok(text), filled_in, is_built_in: false, is_judged: false })
    });
    Loaded { sources, ..pipeline::parse(inputs, |_| true) }
}
