//! The texts that serve, as one document: of each provider those of its own file and of all that it is made of, as
//! they were when they were taken over. Two providers may serve with two texts of one file.
//!
//! Told only to who may read the files anyway: a text may hold a key by mistake.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SourceFile, SourceTree, tree::Inputs};
use crate::{hex, name::FileName, pipeline::Folder};

/// The texts that serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Texts")]
pub struct ServedFiles {
    /// By provider, what it is made of.
    pub providers: BTreeMap<String, Vec<ServedFile>>,
    /// The texts by their SHA-256.
    pub texts: BTreeMap<String, String>,
}

/// A file that a provider is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Input")]
pub struct ServedFile {
    /// Its path, as it is shown.
    pub file: String,
    /// Its folder.
    pub folder: Folder,
    /// Its name.
    pub name: String,
    /// Which text.
    pub sha256: String,
}

/// The same, as the server holds it.
pub(super) type InputsByProvider = BTreeMap<FileName, Inputs>;

impl ServedFiles {
    pub(super) fn of(served: &InputsByProvider) -> Self {
        let mut all = Self::default();
        for (provider, inputs) in served {
            let mut list = Vec::new();
            for (file, text) in inputs {
                let (Ok(content), Some(name)) = (&text.text, &text.name) else { continue };
                let sha256 = hex::encode(&text.hash);
                list.push(ServedFile {
                    file: file.to_string(),
                    folder: text.folder,
                    name: name.to_string(),
                    sha256: sha256.clone(),
                });
                all.texts.entry(sha256).or_insert_with(|| content.to_string());
            }
            all.providers.insert(provider.to_string(), list);
        }
        all
    }

    /// The texts as trees: in each, all providers that share their presets, gateways and apis.
    pub fn trees(&self) -> Vec<SourceTree> {
        let mut trees: BTreeMap<Vec<&ServedFile>, SourceTree> = BTreeMap::new();
        for inputs in self.providers.values() {
            let shared: Vec<_> = inputs.iter().filter(|input| input.folder != Folder::Providers).collect();
            let tree = trees.entry(shared).or_default();
            for input in inputs.iter().filter(|input| input.folder != Folder::Policy) {
                let (Some(text), Some(name)) = (self.texts.get(&input.sha256), FileName::new(&input.name))
                else {
                    continue;
                };
                // Their tests passed when they were taken over.
                let text = SourceFile::from_text(input.folder, name, text, true);
                tree.0.insert(input.file.as_str().into(), Arc::new(text));
            }
        }
        trees.into_values().collect()
    }
}
