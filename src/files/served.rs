//! The document of the texts that serve: for each provider, its own file and every file that it was compiled from. Two
//! providers may serve with different texts of the same file.
//!
//! A text may contain a key by mistake. Only the control socket returns this document, to users who may read the files.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SourceFile, SourceTree, tree::Inputs};
use crate::{compile, hex, name::FileName, pipeline::Folder, table::Table};

/// The texts that serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Texts")]
pub struct ServedFiles {
    /// For each provider, the files that it was compiled from.
    pub providers: BTreeMap<String, Vec<ServedFile>>,
    /// Price files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<ServedFile>,
    /// Files of clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ServedFile>,
    /// Files of limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<ServedFile>,
    /// All texts by SHA-256.
    pub texts: BTreeMap<String, String>,
}

/// A file that a provider was compiled from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Input")]
pub struct ServedFile {
    /// Path of the file, as shown.
    pub file: String,
    /// Folder of the file.
    pub folder: Folder,
    /// Name of the file, without `.toml`.
    pub name: String,
    /// SHA-256 of its text.
    pub sha256: String,
}

/// All that serves, as the server holds it.
#[derive(Debug)]
pub(super) struct ServedInputs {
    pub providers: InputsByProvider,
    pub prices: Inputs,
    pub clients: Inputs,
    pub limits: Inputs,
    /// The providers before vars are filled in, compiled from those texts.
    pub compiled: BTreeMap<FileName, Arc<compile::Provider>>,
    /// The route table of those providers.
    pub table: Arc<Table>,
}

/// The files that each provider was compiled from, as the server holds them.
pub(super) type InputsByProvider = BTreeMap<FileName, Inputs>;

impl ServedFiles {
    pub(super) fn of(served: &ServedInputs) -> Self {
        let mut all = Self::default();
        for (provider, inputs) in &served.providers {
            let list = all.add(inputs);
            all.providers.insert(provider.to_string(), list);
        }
        all.prices = all.add(&served.prices);
        all.clients = all.add(&served.clients);
        all.limits = all.add(&served.limits);
        all
    }

    /// Adds texts. Returns their list.
    fn add(&mut self, inputs: &Inputs) -> Vec<ServedFile> {
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
            self.texts.entry(sha256).or_insert_with(|| content.to_string());
        }
        list
    }

    /// The texts as source trees. Providers with the same presets, gateways and apis share a tree; files of prices, clients
    /// and limits have one of their own.
    pub fn trees(&self) -> Vec<SourceTree> {
        let mut trees: BTreeMap<Vec<&ServedFile>, SourceTree> = BTreeMap::new();
        for inputs in self.providers.values() {
            let shared: Vec<_> = inputs.iter().filter(|input| input.folder != Folder::Providers).collect();
            let tree = trees.entry(shared).or_default();
            for input in inputs.iter().filter(|input| input.folder != Folder::Policy) {
                tree.0.extend(self.source_file(input));
            }
        }
        let independent = self.prices.iter().chain(&self.clients).chain(&self.limits);
        let independent = SourceTree(independent.filter_map(|input| self.source_file(input)).collect());
        trees.into_values().chain([independent]).collect()
    }

    fn source_file(&self, input: &ServedFile) -> Option<(Arc<str>, Arc<SourceFile>)> {
        let (text, name) = (self.texts.get(&input.sha256)?, input.folder.file_name(&input.name)?);
        // `filled_in`: its tests passed when the server took it over, and need not run again.
        let text = SourceFile::from_text(input.folder, name, text, true);
        Some((input.file.as_str().into(), Arc::new(text)))
    }
}
