//! The locations of a provider's keys and values: in its own file, or in its preset.

use std::sync::Arc;

use super::Compiler;
use crate::{
    base::{
        diag::{Code, Diagnostic, Location, MAX_FINDINGS},
        name::FileName,
    },
    language::{
        compile::Files,
        syntax::{self, Parsed, Spans},
    },
};

/// The locations of a provider's keys, for tools. Bound providers hold no locations of rules.
pub struct SourceMap<'a>(Vec<Layer<'a>>);

impl<'a> SourceMap<'a> {
    /// Of a provider.
    pub fn of_provider(files: &'a Files, name: &FileName) -> Option<Self> {
        let parsed = files.providers.get(name)?.as_ref().ok()?;
        Some(Self::extended(whole(parsed), parsed.document.extends.as_deref(), files))
    }

    /// Those of the provider that a shared file's test brings along: which file, which of its tests.
    pub fn of_fixture(files: &'a Files, file: &str, index: usize) -> Option<Self> {
        let presets = files.presets.iter().filter_map(|(name, slot)| Some((name, slot.as_ref().ok()?)));
        let presets =
            presets.map(|(name, one)| (Some(name.as_str()), whole(one), None, one.document.test.as_deref()));
        let gateways = files.gateways.values().flatten();
        let gateways = gateways.map(|one| (None, whole(one), None, one.document.test.as_deref()));
        let apis = files.apis.values().flatten();
        let apis =
            apis.map(|one| (None, whole(one), one.document.fixture.as_deref(), one.document.test.as_deref()));
        let mut all = presets.chain(gateways).chain(apis);
        let (preset, layer, fixture, tests) = all.find(|(_, layer, ..)| &**layer.file == file)?;
        let own = tests?.get(index)?.provider.as_deref();
        let root = if own.is_some() { format!("/test/{index}/provider") } else { "/fixture".to_owned() };
        let extends = own.or(fixture)?.extends.as_deref().or(preset);
        Some(Self::extended(Layer { root, ..layer }, extends, files))
    }

    /// Of a gateway.
    pub fn of_gateway(files: &'a Files, name: &FileName) -> Option<Self> {
        let parsed = files.gateways.get(name)?.as_ref().ok()?;
        Some(Self(vec![whole(parsed)]))
    }

    fn extended(own: Layer<'a>, preset: Option<&str>, files: &'a Files) -> Self {
        let preset = preset.and_then(FileName::new).and_then(|name| files.presets.get(&name)?.as_ref().ok());
        Self([own].into_iter().chain(preset.map(whole)).collect())
    }

    /// The key at a pointer, in the provider's file or else in its preset.
    pub fn key(&self, pointer: &str) -> Option<Location> {
        let has = |layer: &&Layer<'_>| layer.spans.has(&format!("{}{pointer}", layer.root));
        let layer = self.0.iter().find(has)?;
        Some(layer.spans.key(layer.file, &format!("{}{pointer}", layer.root)))
    }

    /// The same, ignoring the case of the last step.
    pub fn key_in_any_case(&self, pointer: &str) -> Option<Location> {
        let spelt = |layer: &Layer<'_>| {
            let found = layer.spans.spelt(&format!("{}{pointer}", layer.root))?;
            Some(layer.spans.key(layer.file, found))
        };
        self.key(pointer).or_else(|| self.0.iter().find_map(spelt))
    }
}

fn whole<T: syntax::Document>(parsed: &Parsed<T>) -> Layer<'_> {
    Layer { file: &parsed.file, spans: &parsed.spans, root: String::new() }
}

/// A file with a part of a provider.
#[derive(Clone)]
pub(super) struct Layer<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) spans: &'a Spans,
    /// The pointer of the provider's table in the file.
    pub(super) root: String,
}

/// A pointer and the layer that has it.
struct LayerPointer<'l, 'a> {
    layer: &'l Layer<'a>,
    pointer: String,
}

impl LayerPointer<'_, '_> {
    fn key(&self) -> Location {
        self.layer.spans.key(self.layer.file, &self.pointer)
    }

    fn value(&self) -> Location {
        self.layer.spans.value(self.layer.file, &self.pointer)
    }
}

/// The first layer with the pointer or its nearest parent. The provider's own file comes first, as in merging.
fn nearest_layer<'l, 'a>(layers: &'l [Layer<'a>], pointer: &str) -> LayerPointer<'l, 'a> {
    let mut pointer = pointer;
    loop {
        for layer in layers {
            let whole = format!("{}{pointer}", layer.root);
            if layer.spans.has(&whole) {
                return LayerPointer { layer, pointer: whole };
            }
        }
        match pointer.rfind('/') {
            Some(slash) => pointer = &pointer[..slash],
            None => return LayerPointer { layer: &layers[0], pointer: layers[0].root.clone() },
        }
    }
}

impl Compiler<'_> {
    pub(crate) fn key(&self, pointer: &str) -> Location {
        nearest_layer(&self.layers, pointer).key()
    }

    pub(crate) fn value(&self, pointer: &str) -> Location {
        nearest_layer(&self.layers, pointer).value()
    }

    /// The value in the provider's own file, or else its `path_prefix` or `extends`. For conflicts with other files, which
    /// the author of this file must resolve, not that of its preset.
    pub(super) fn own_value(&self, pointer: &str) -> Location {
        let own = &self.layers[0];
        let mut pointers =
            [pointer, "/path_prefix", "/extends"].into_iter().map(|p| format!("{}{p}", own.root));
        match pointers.find(|pointer| own.spans.has(pointer)) {
            Some(pointer) => own.spans.value(own.file, &pointer),
            None => Location::file(own.file),
        }
    }

    /// Adds a finding. Beyond a bound, further ones are dropped: nobody reads so many.
    pub(crate) fn add(&mut self, finding: Diagnostic) {
        if self.found.len() <= MAX_FINDINGS && self.budget.keep(finding.size()) {
            self.found.push(finding);
        }
    }

    pub(crate) fn report(&mut self, code: Code, at: Location, message: impl Into<String>) {
        self.add(Diagnostic::new(code, at, message));
    }

    pub(crate) fn report_with_help(
        &mut self,
        code: Code,
        at: Location,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(Diagnostic::new(code, at, message).help(help));
    }
}
