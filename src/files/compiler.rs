//! The engine's pipeline with the vars and the lint levels of this process: texts become providers.
//!
//! It stores no provider and decides nothing about one. Providers and independent files are compiled apart. Read next: `last_good` for the providers that serve.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    SourceTree,
    vars::{Fingerprints, Vars},
};
use crate::{
    bind::{self, VarOwner},
    budget::Budget,
    clock::now_ms,
    compile::{self, ClientFile, LimitFile, PriceFile, Var, VarSource},
    day::Day,
    diag::Diagnostic,
    lint::{self, Levels},
    name::FileName,
    pipeline::{self, Built, FileJudgement, Folder, IndependentFile, InputFile, Loaded},
    upstream,
    variables::EnvAllow,
};

/// Compiles provider files and binds them to vars.
pub(super) struct Compiler {
    vars: Vars,
    lints: Levels,
    env_allow: EnvAllow,
    steps: u64,
}

impl Compiler {
    pub(super) fn new(vars: Vars, lints: Levels, env_allow: EnvAllow) -> Self {
        Self { vars, lints, env_allow, steps: 0 }
    }

    /// Compiles and binds the providers of `tree` that are `wanted`, each by itself.
    pub(super) fn compile(&mut self, tree: &SourceTree, wanted: impl Fn(&FileName) -> bool) -> Built {
        self.compile_with(tree, wanted, None).1
    }

    /// The same. `known` are the findings of the shared files, if they were judged before.
    pub(super) fn compile_with(
        &mut self,
        tree: &SourceTree,
        wanted: impl Fn(&FileName) -> bool,
        known: Option<Vec<Diagnostic>>,
    ) -> (Loaded, Built) {
        // An independent file without a valid name is reported here, with all other such files.
        let files = tree.input_files().filter(|(_, one)| !one.folder.is_independent() || one.name.is_none());
        let is_shipped = tree.is_built_in();
        let files = files.map(|(file, input)| {
            // The tests of built-in texts passed when the binary was built. Those of an api need no other file.
            let is_known = input.is_built_in && (is_shipped || input.folder == Folder::Apis);
            let is_judged = is_known || known.is_some() && input.folder != Folder::Providers;
            (file, InputFile { is_judged, ..input })
        });
        let parsed = pipeline::parse(files, wanted);
        let (levels, env_allow) = (self.lints.clone(), self.env_allow.clone());
        let known = known.unwrap_or_default();
        let loaded = Loaded { levels, env_allow, known, make_tls: upstream::make_tls(), ..parsed };
        let built = pipeline::build(&loaded, |source| self.vars.value(source));
        self.steps += built.used.steps;
        (loaded, built)
    }

    /// Compiles the independent files of a kind in `tree` that are `wanted`, each by itself: one document is in memory at a
    /// time.
    pub(super) fn compile_independent<T: IndependentFile>(
        &mut self,
        tree: &SourceTree,
        wanted: impl Fn(&FileName) -> bool,
    ) -> BTreeMap<FileName, FileJudgement<T>> {
        let is_wanted = |one: &InputFile<'_>| one.folder == T::FOLDER && one.name.is_some_and(&wanted);
        let mut judged = BTreeMap::new();
        for file in tree.input_files().filter(|(_, one)| is_wanted(one)) {
            let parsed = pipeline::parse([file], |_| false);
            let built = pipeline::build(&Loaded { levels: self.lints.clone(), ..parsed }, |_| Ok(None));
            self.steps += built.used.steps;
            judged.extend(T::judgements(built));
        }
        judged
    }

    /// The lints of price files beside each other and beside the provider files of `tree`.
    pub(super) fn lint_prices(&self, prices: &[Arc<PriceFile>], tree: &SourceTree) -> Vec<Diagnostic> {
        let today = Some(Day::of_seconds(now_ms() / 1000));
        self.lints.apply(lint::prices(prices, &names(tree, Folder::Providers), today))
    }

    /// The lints of files of clients beside the api files of `tree`.
    pub(super) fn lint_clients(&self, clients: &[Arc<ClientFile>], tree: &SourceTree) -> Vec<Diagnostic> {
        self.lints.apply(lint::clients(clients, &names(tree, Folder::Apis)))
    }

    /// The findings about files of limits beside each other, providers and prices.
    pub(super) fn lint_limits(
        &self,
        limits: &[Arc<LimitFile>],
        providers: &[Arc<compile::Provider>],
        prices: &[Arc<PriceFile>],
    ) -> Vec<Diagnostic> {
        self.lints.apply(lint::limits(limits, providers, prices))
    }

    /// The steps of all judgements so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// The provider under the present values of its vars, or `None` if one of them is missing.
    pub(super) fn bind(&mut self, provider: &compile::Provider) -> Option<Arc<bind::Provider>> {
        let vars = RefCell::new(&mut self.vars);
        let value = |_: VarOwner<'_>, _: &str, var: &Var| vars.borrow_mut().value(&var.source);
        let (bound, _) = bind::try_bind(provider, value, upstream::make_tls(), &Budget::default());
        bound.map(Arc::new)
    }

    /// Hashes of the secret files that the provider's vars name.
    pub(super) fn fingerprints(&mut self, provider: &compile::Provider) -> Fingerprints {
        self.vars.fingerprints(provider.var_sources())
    }

    /// Hashes of some secret files.
    pub(super) fn fingerprints_of(&mut self, sources: &BTreeSet<VarSource>) -> Fingerprints {
        self.vars.fingerprints(sources)
    }

    /// True if these secret files have the same values now.
    pub(super) fn are_current(&mut self, fingerprints: &Fingerprints) -> bool {
        self.vars.fingerprints(fingerprints.keys()) == *fingerprints
    }

    pub(super) fn vars(&self) -> &Vars {
        &self.vars
    }

    pub(super) fn vars_mut(&mut self) -> &mut Vars {
        &mut self.vars
    }
}

/// The names of the files of a folder.
fn names(tree: &SourceTree, folder: Folder) -> Vec<&str> {
    let files = tree.0.values().filter(|text| text.folder == folder);
    files.filter_map(|text| text.name.as_ref()).map(FileName::as_str).collect()
}
