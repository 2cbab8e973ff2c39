//! Whose a finding is that stands in a preset: the preset's own, or that of the one file which made it one by
//! what it wrote beside it. A file is out when a finding names it, and one provider's slip must not put out
//! all the others of its preset.

use std::{collections::BTreeMap, sync::Arc};

use crate::base::diag::{Diagnostic, Location};

/// What was found while one provider was compiled.
pub(super) struct Findings {
    /// The provider's file.
    pub file: Arc<str>,
    /// Where it names its preset.
    pub extends: Option<Location>,
    /// The file of its preset.
    pub preset: Option<Arc<str>>,
    /// The findings.
    pub found: Vec<Diagnostic>,
}

/// All findings, once each. One in a preset stays there if everybody who extends the preset has it; else it
/// is told where the file names the preset.
pub(super) fn settle(all: Vec<Findings>) -> Vec<Diagnostic> {
    let mut users: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let mut times: BTreeMap<Diagnostic, usize> = BTreeMap::new();
    for one in &all {
        one.preset.iter().for_each(|preset| *users.entry(preset.clone()).or_default() += 1);
        one.found.iter().for_each(|finding| *times.entry(finding.clone()).or_default() += 1);
    }
    let mut settled: Vec<Diagnostic> = Vec::new();
    for one in all {
        let users = one.preset.as_ref().and_then(|preset| users.get(preset)).copied().unwrap_or_default();
        for finding in one.found {
            let shared = users > 1 && times.get(&finding) == Some(&users);
            settled.push(match &one.extends {
                Some(extends) if finding.at.file != one.file && !shared => moved(finding, extends),
                Some(_) | None => finding,
            });
        }
    }
    settled.sort();
    settled.dedup();
    settled
}

fn moved(mut finding: Diagnostic, extends: &Location) -> Diagnostic {
    let written = std::mem::replace(&mut finding.at, extends.clone());
    finding.related.insert(0, (written, "what its preset says there".to_owned()));
    finding
}
