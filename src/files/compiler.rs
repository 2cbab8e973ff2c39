//! The engine's pipeline with the vars and the lint levels of this process: texts become providers.
//!
//! It stores no provider and decides nothing about one. Read next: `last_good` for the providers that serve.

use std::{cell::RefCell, sync::Arc};

use super::{
    SourceTree,
    vars::{Fingerprints, Vars},
};
use crate::{
    bind, compile,
    lint::Levels,
    name::FileName,
    pipeline::{self, Built, Loaded},
};

/// Compiles provider files and binds them to vars.
pub(super) struct Compiler {
    vars: Vars,
    lints: Levels,
}

impl Compiler {
    pub(super) fn new(vars: Vars, lints: Levels) -> Self {
        Self { vars, lints }
    }

    /// Compiles and binds the providers of `tree` that are `wanted`, each by itself.
    pub(super) fn compile(
        &mut self,
        tree: &SourceTree,
        wanted: impl Fn(&FileName) -> bool,
    ) -> (Loaded, Built) {
        let loaded = Loaded { levels: self.lints.clone(), ..pipeline::parse(tree.input_files(), wanted) };
        let made = pipeline::build(&loaded, |source| self.vars.value(source));
        (loaded, made)
    }

    /// The provider under the present values of its vars, or `None` if one of them is missing.
    pub(super) fn bind(&mut self, provider: &compile::Provider) -> Option<Arc<bind::Provider>> {
        let vars = RefCell::new(&mut self.vars);
        let (bound, _) = bind::try_bind(provider, |_, _, var| vars.borrow_mut().value(&var.source));
        bound.map(Arc::new)
    }

    /// Hashes of the secret files that the provider's vars name.
    pub(super) fn fingerprints(&mut self, provider: &compile::Provider) -> Fingerprints {
        self.vars.fingerprints(provider)
    }

    pub(super) fn vars(&self) -> &Vars {
        &self.vars
    }

    pub(super) fn vars_mut(&mut self) -> &mut Vars {
        &mut self.vars
    }
}
