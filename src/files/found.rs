//! The findings of the last scan with the texts that they point into, to show their source lines. Likely keys are masked
//! in those, as `tollgate check` masks them.
//!
//! It is apart from the status document, which never holds the text of a file.

use super::{Finding, evaluate::Evaluation};
use crate::diag::{Diagnostic, Sources};

/// The most findings of a file that are rendered.
const MAX_RENDERED: usize = 100;
/// The most bytes that are rendered of one file's findings.
const MAX_BYTES: usize = 128 << 10;

/// The findings of a scan.
#[derive(Debug, Default)]
pub struct Found {
    sources: Sources,
    /// Those that the status document has, in the same order.
    all: Vec<Diagnostic>,
}

/// A finding with its source lines.
#[derive(Debug)]
pub struct RenderedFinding {
    /// The finding, as the status document has it.
    pub finding: Finding,
    /// Its text as `tollgate check` prints it.
    pub text: String,
}

impl Found {
    pub(super) fn new(evaluation: &Evaluation, sources: &Sources) -> Self {
        let all = evaluation.shown().0.into_iter().cloned().collect();
        Self { sources: sources.clone(), all }
    }

    /// The findings of a file, by its path as shown, and the number of those that are left out: at most 100 are rendered.
    /// It is heavy for a worker thread.
    pub fn render(&self, file: &str) -> (Vec<RenderedFinding>, usize) {
        let own: Vec<_> = self.all.iter().filter(|one| *one.at.file == *file).collect();
        let (mut rendered, mut bytes) = (Vec::new(), 0);
        for one in own.iter().take(MAX_RENDERED) {
            let text = self.sources.render(std::slice::from_ref(*one), false).trim_end().to_owned();
            bytes += text.len();
            if bytes > MAX_BYTES {
                break;
            }
            rendered.push(RenderedFinding { finding: Finding::new(one, &self.sources), text });
        }
        let omitted = own.len() - rendered.len();
        (rendered, omitted)
    }
}
