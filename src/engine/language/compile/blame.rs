//! Attribution of findings in a preset: to the preset, or to the one provider file whose own keys caused it.
//!
//! A finding takes its file out of service. A mistake of one provider must not take out the others of its preset.

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
    /// The location of its `extends`.
    pub extends: Option<Location>,
    /// The file of its preset.
    pub preset: Option<Arc<str>>,
    /// The findings.
    pub found: Vec<Diagnostic>,
}

/// The findings of each provider. A finding in a preset stays there if all providers that extend it have it. Otherwise
/// it moves to the `extends` of its provider.
pub(super) fn attribute(all: Vec<Findings>) -> BTreeMap<FileName, Vec<Diagnostic>> {
    let mut users: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut occurrences: BTreeMap<Diagnostic, usize> = BTreeMap::new();
    for one in &all {
        one.preset.iter().for_each(|preset| *users.entry(preset.clone()).or_default() += 1);
        one.found.iter().for_each(|finding| *occurrences.entry(finding.clone()).or_default() += 1);
    }
    let mut attributed: BTreeMap<FileName, Vec<Diagnostic>> = BTreeMap::new();
    for one in all.into_iter().filter(|one| !one.found.is_empty()) {
        let users = one.preset.as_ref().and_then(|preset| users.get(preset)).copied().unwrap_or_default();
        let found = one.found.into_iter().map(|finding| {
            let shared = users > 1 && occurrences.get(&finding) == Some(&users);
            match &one.extends {
                Some(extends) if finding.at.file != one.file && !shared => moved(finding, extends),
                Some(_) | None => finding,
            }
        });
        attributed.insert(one.name, found.collect());
    }
    attributed
}

fn moved(mut finding: Diagnostic, extends: &Location) -> Diagnostic {
    let written = std::mem::replace(&mut finding.at, extends.clone());
    finding.related.insert(0, (written, "what its preset says there".to_owned()));
    finding
}
