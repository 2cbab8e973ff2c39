//! Merges a provider file with its preset and with the endpoint sets that the two include.
//!
//! The order of precedence: the file, its endpoint sets, its preset, the endpoint sets of that. Read next: `source_map`,
//! which finds the places of keys in these layers.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Compiler,
    endpoints::{self, Entries},
    resolve,
    source_map::Layer,
};
use crate::{
    base::diag::{Code, Diagnostic, Location},
    language::{
        compile::ENDPOINT_SET,
        syntax::{self, EndpointEntry, Parsed, Spans},
    },
};

/// A set cannot be used: without it, findings about missing endpoints would be noise.
struct UnusableSet;

impl<'a> Compiler<'a> {
    /// Merges the file with its preset and their endpoint sets. A table in the file replaces the preset's table as a whole.
    /// Endpoints are merged by name, and within an endpoint key by key.
    pub(super) fn merge(&mut self, own: &syntax::Provider) -> Option<syntax::Provider> {
        let mut merged = own.clone();
        let (file, spans, root) = (self.layers[0].file, self.layers[0].spans, self.layers[0].root.clone());
        let includes = Includes { names: own.include.as_deref(), file, spans, root };
        let own_sets = self.include(&includes).ok();
        let Some(extends) = &own.extends else {
            let entries = endpoints::merge(merged.endpoint, own_sets?);
            merged.endpoint = Some(entries).filter(|entries| !entries.is_empty());
            return Some(merged);
        };
        let preset = self.preset(extends)?;
        let _ = self.budget.work(preset.size / 8);
        let base = preset.document.clone();
        let (file, spans, root) = (&preset.file, &preset.spans, String::new());
        let inherited = self.include(&Includes { names: base.include.as_deref(), file, spans, root }).ok();
        macro_rules! inherit {
            ($($field:ident)*) => { $(merged.$field = merged.$field.or(base.$field);)* };
        }
        inherit!(base_url origins strip path_prefix path_prefixes group keys_url key_prefixes docs catalogue telemetry_name);
        inherit!(cors_headers vars tls caller);
        inherit!(credentials token auth headers gateway egress response response_headers timeouts limits paste_token);
        // A file that removes an endpoint cannot have the preset's probe of it.
        let is_removed = |probe: &syntax::Probe| {
            let entry = own.endpoint.as_ref().and_then(|endpoints| endpoints.get(&probe.endpoint));
            matches!(entry, Some(EndpointEntry::Removed))
        };
        merged.probe = merged.probe.or_else(|| base.probe.filter(|probe| !is_removed(probe)));
        let inherited = endpoints::merge(base.endpoint, inherited?);
        let inherited = endpoints::merge(own_sets?, inherited);
        merged.endpoint = Some(endpoints::merge(merged.endpoint, inherited));
        Some(merged)
    }

    /// The preset of this name, which becomes a layer.
    fn preset(&mut self, extends: &str) -> Option<&'a Parsed<syntax::Provider>> {
        let shared = self.shared;
        let preset = match resolve("preset", extends, &shared.presets, || self.value("/extends")) {
            Ok(preset) => *preset,
            Err(unresolved) => {
                self.add(unresolved);
                return None;
            }
        };
        if preset.document.extends.is_some() {
            let message =
                format!("preset `{extends}` extends a preset itself, and only one level is allowed");
            let at = preset.spans.key(&preset.file, "/extends");
            let one = Diagnostic::new(Code::Reference, self.value("/extends"), message);
            let help = "drop that line, and write what it would have brought into the preset itself";
            self.add(one.related(at, "the preset's own").help(help));
            return None;
        }
        self.add_layer(Layer::whole(preset));
        Some(preset)
    }

    /// The endpoints of the sets that a file includes, which become layers.
    fn include(&mut self, includes: &Includes<'_>) -> Result<Option<Entries>, UnusableSet> {
        let mut owners = BTreeMap::new();
        let mut entries = Entries::new();
        let known = self.found.len();
        for (index, name) in includes.names.into_iter().flatten().enumerate() {
            let at = includes.at(index);
            match resolve(ENDPOINT_SET, name, &self.shared.endpoint_sets, || at.clone()) {
                Ok(set) => {
                    let _ = self.budget.work(set.size / 8);
                    self.add_layer(Layer::endpoints_of(set));
                    self.take_in(name, set, &at, (&mut owners, &mut entries));
                }
                Err(unresolved) => self.add(unresolved),
            }
        }
        if self.found.len() > known {
            return Err(UnusableSet);
        }
        Ok(Some(entries).filter(|entries| !entries.is_empty()))
    }

    /// Adds the endpoints of a set, and reports those that another set of the list has too.
    fn take_in(
        &mut self,
        name: &str,
        set: &Parsed<syntax::EndpointSet>,
        at: &Location,
        (owners, entries): (&mut BTreeMap<String, String>, &mut Entries),
    ) {
        for (endpoint, table) in &set.document.endpoint {
            if let Some(other) = owners.insert(endpoint.clone(), name.to_owned()) {
                let message = if other == name {
                    format!("the endpoint set `{name}` is included twice")
                } else {
                    format!("the endpoint sets `{other}` and `{name}` both have an endpoint `{endpoint}`")
                };
                self.report_with_help(Code::Name, at.clone(), message, "include one of them");
                return;
            }
            entries.insert(endpoint.clone(), EndpointEntry::Table(Box::new(table.clone())));
        }
    }

    fn add_layer(&mut self, layer: Layer<'a>) {
        let is_known = |known: &Layer<'_>| known.file == layer.file && known.root == layer.root;
        if !self.layers.iter().any(is_known) {
            self.layers.push(layer);
        }
    }
}

/// The `include` of a file.
struct Includes<'i> {
    names: Option<&'i [String]>,
    file: &'i Arc<str>,
    spans: &'i Spans,
    /// The pointer of the provider's table in the file.
    root: String,
}

impl Includes<'_> {
    fn at(&self, index: usize) -> Location {
        let own = format!("{}/include/{index}", self.root);
        // A test's provider includes the set of its file, which is written nowhere.
        let pointer = if self.spans.has(&own) { own } else { self.root.clone() };
        self.spans.value(self.file, &pointer)
    }
}
