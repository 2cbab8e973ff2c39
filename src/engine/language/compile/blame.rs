//! Attribution of findings in a preset or an endpoint set: to that file, or to the one provider file whose own keys caused
//! them.
//!
//! A finding takes its file out of service. A mistake of one provider must not take out the others that use the same file.

use std::{collections::BTreeMap, sync::Arc};

use crate::base::{
    diag::{Diagnostic, Location},
    name::FileName,
};

/// The findings of compiling one provider.
pub(super) struct Findings {
    /// The provider.
    pub name: FileName,
    /// The provider's file.
    pub file: Arc<str>,
    /// The files of its preset and its endpoint sets, each with the location of the `extends` or `include` that leads to it.
    pub bases: BTreeMap<Arc<str>, Location>,
    /// The findings.
    pub found: Vec<Diagnostic>,
}

/// The findings of each provider. A finding in a preset or an endpoint set stays there if all providers that use the file
/// have it. Otherwise it moves to the `extends` or `include` of its provider.
pub(super) fn attribute(all: Vec<Findings>) -> BTreeMap<FileName, Vec<Diagnostic>> {
    let mut users: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut occurrences: BTreeMap<Diagnostic, usize> = BTreeMap::new();
    for one in &all {
        one.bases.keys().for_each(|base| *users.entry(base.clone()).or_default() += 1);
        one.found.iter().for_each(|finding| *occurrences.entry(finding.clone()).or_default() += 1);
    }
    let mut attributed: BTreeMap<FileName, Vec<Diagnostic>> = BTreeMap::new();
    for one in all.into_iter().filter(|one| !one.found.is_empty()) {
        let found = one.found.into_iter().map(|finding| {
            let users = users.get(&finding.at.file).copied().unwrap_or_default();
            let shared = users > 1 && occurrences.get(&finding) == Some(&users);
            match one.bases.get(&finding.at.file) {
                Some(reference) if finding.at.file != one.file && !shared => moved(finding, reference),
                Some(_) | None => finding,
            }
        });
        attributed.insert(one.name, found.collect());
    }
    attributed
}

fn moved(mut finding: Diagnostic, reference: &Location) -> Diagnostic {
    let written = std::mem::replace(&mut finding.at, reference.clone());
    finding.related.insert(0, (written, "what that file says there".to_owned()));
    finding
}
