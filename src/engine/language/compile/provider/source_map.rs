//! The locations of a provider's keys and values: in its own file, in its preset, or in an endpoint set.

use std::sync::Arc;

use super::{Compiler, with_set};
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
        let (extends, include) = (parsed.document.extends.as_deref(), parsed.document.include.as_deref());
        Some(Self::extended(Layer::whole(parsed), extends, include.unwrap_or_default(), files))
    }

    /// Those of the provider that a shared file's test brings along: which file, which of its tests.
    pub fn of_fixture(files: &'a Files, file: &str, index: usize) -> Option<Self> {
        let shared = SharedTests::of(files).into_iter().find(|one| &**one.layer.file == file)?;
        let own = shared.tests?.get(index)?.provider.as_deref();
        let root = if own.is_some() { format!("/test/{index}/provider") } else { "/fixture".to_owned() };
        let document = own.or(shared.fixture)?;
        let include = with_set(document.include.clone(), shared.includes).unwrap_or_default();
        let extends = document.extends.as_deref().or(shared.extends);
        Some(Self::extended(Layer { root, ..shared.layer }, extends, &include, files))
    }

    /// Of a gateway.
    pub fn of_gateway(files: &'a Files, name: &FileName) -> Option<Self> {
        let parsed = files.gateways.get(name)?.as_ref().ok()?;
        Some(Self(vec![Layer::whole(parsed)]))
    }

    fn extended(own: Layer<'a>, preset: Option<&str>, include: &[String], files: &'a Files) -> Self {
        let sets = |names: &[String]| -> Vec<Layer<'a>> {
            let names = names.iter().filter_map(|name| FileName::nested(name));
            let sets = names.filter_map(|name| files.endpoint_sets.get(&name)?.as_ref().ok());
            sets.map(Layer::endpoints_of).collect()
        };
        let mut layers = vec![own];
        layers.extend(sets(include));
        let preset = preset.and_then(FileName::new).and_then(|name| files.presets.get(&name)?.as_ref().ok());
        if let Some(preset) = preset {
            layers.push(Layer::whole(preset));
            layers.extend(sets(preset.document.include.as_deref().unwrap_or_default()));
        }
        Self(layers)
    }

    /// The key at a pointer, in the provider's file or else in another layer.
    pub fn key(&self, pointer: &str) -> Option<Location> {
        let layer = self.0.iter().find(|layer| layer.has(pointer))?;
        Some(layer.spans.key(layer.file, &format!("{}{pointer}", layer.root)))
    }

    /// The same, ignoring the case of the last step.
    pub fn key_in_any_case(&self, pointer: &str) -> Option<Location> {
        let spelt = |layer: &Layer<'_>| {
            let found =
                layer.spans.spelt(&format!("{}{pointer}", layer.root)).filter(|_| layer.covers(pointer))?;
            Some(layer.spans.key(layer.file, found))
        };
        self.key(pointer).or_else(|| self.0.iter().find_map(spelt))
    }
}

/// A shared file whose tests bring providers along.
struct SharedTests<'a> {
    layer: Layer<'a>,
    tests: Option<&'a [syntax::Test]>,
    fixture: Option<&'a syntax::Provider>,
    /// The preset that the providers extend by default.
    extends: Option<&'a str>,
    /// The endpoint set that they include.
    includes: Option<&'a str>,
}

impl<'a> SharedTests<'a> {
    fn of(files: &'a Files) -> Vec<Self> {
        let shared = |layer, tests: &'a Option<Vec<syntax::Test>>, fixture: Option<&'a syntax::Provider>| {
            SharedTests { layer, tests: tests.as_deref(), fixture, extends: None, includes: None }
        };
        let presets = files.presets.iter().filter_map(|(name, slot)| Some((name, slot.as_ref().ok()?)));
        let presets = presets.map(|(name, one)| Self {
            extends: Some(name.as_str()),
            ..shared(Layer::whole(one), &one.document.test, None)
        });
        let sets = files.endpoint_sets.iter().filter_map(|(name, slot)| Some((name, slot.as_ref().ok()?)));
        let sets = sets.map(|(name, one)| Self {
            includes: Some(name.as_str()),
            ..shared(Layer::whole(one), &one.document.test, one.document.fixture.as_deref())
        });
        let gateways = files.gateways.values().flatten();
        let gateways = gateways.map(|one| shared(Layer::whole(one), &one.document.test, None));
        let apis = files.apis.values().flatten();
        let fixture = |one: &'a Parsed<syntax::Api>| one.document.fixture.as_deref();
        let apis = apis.map(|one| shared(Layer::whole(one), &one.document.test, fixture(one)));
        presets.chain(sets).chain(gateways).chain(apis).collect()
    }
}

/// A file with a part of a provider.
#[derive(Clone)]
pub(super) struct Layer<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) spans: &'a Spans,
    /// The pointer of the provider's table in the file.
    pub(super) root: String,
    /// True for an endpoint set: its other tables are no part of the provider.
    pub(super) endpoints_only: bool,
}

impl<'a> Layer<'a> {
    /// A file that is a provider as a whole.
    pub(super) fn whole<T: syntax::Document>(parsed: &'a Parsed<T>) -> Self {
        Self { file: &parsed.file, spans: &parsed.spans, root: String::new(), endpoints_only: false }
    }

    pub(super) fn endpoints_of(set: &'a Parsed<syntax::EndpointSet>) -> Self {
        Self { endpoints_only: true, ..Self::whole(set) }
    }

    /// True if the key at a pointer can be in this file.
    fn covers(&self, pointer: &str) -> bool {
        !self.endpoints_only || pointer.starts_with("/endpoint/")
    }

    pub(super) fn has(&self, pointer: &str) -> bool {
        self.covers(pointer) && self.spans.has(&format!("{}{pointer}", self.root))
    }
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
            if layer.has(pointer) {
                return LayerPointer { layer, pointer: format!("{}{pointer}", layer.root) };
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

    /// True if the provider's own file has the key.
    pub(super) fn is_own(&self, pointer: &str) -> bool {
        self.layers[0].has(pointer)
    }

    /// True if the provider has the key, from whichever file.
    pub(super) fn has(&self, pointer: &str) -> bool {
        self.layers.iter().any(|layer| layer.has(pointer))
    }

    /// True if an endpoint set has the key.
    pub(super) fn is_of_set(&self, pointer: &str) -> bool {
        nearest_layer(&self.layers, pointer).layer.endpoints_only
    }

    /// The value in the provider's own file, or else its `path_prefix`, `extends` or `include`. For conflicts with other files, which
    /// the author of this file must resolve, not that of its preset.
    pub(super) fn own_value(&self, pointer: &str) -> Location {
        let own = &self.layers[0];
        let written = if self.is_of_set(pointer) { "/include" } else { pointer };
        let mut pointers =
            [written, "/path_prefix", "/extends", "/include"].into_iter().map(|p| format!("{}{p}", own.root));
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
