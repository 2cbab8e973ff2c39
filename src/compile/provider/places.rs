//! Where a provider's values are written: in its own file, or in the preset that it extends.

use std::sync::Arc;

use super::Compiler;
use crate::{
    diag::{At, Code, Diagnostic},
    spec::Spans,
};

/// A file that says part of what a provider is.
#[derive(Clone)]
pub(super) struct Layer<'a> {
    pub(super) file: &'a Arc<str>,
    pub(super) spans: &'a Spans,
    /// The pointer of the provider's table in the file.
    pub(super) root: String,
}

/// A pointer and the layer that has it.
struct Place<'l, 'a> {
    layer: &'l Layer<'a>,
    pointer: String,
}

impl Place<'_, '_> {
    fn key(&self) -> At {
        self.layer.spans.key(self.layer.file, &self.pointer)
    }

    fn value(&self) -> At {
        self.layer.spans.value(self.layer.file, &self.pointer)
    }
}

/// The layer that wrote `pointer`, or the nearest above it. The file's own layer comes first, as in merging.
fn nearest_place<'l, 'a>(layers: &'l [Layer<'a>], pointer: &str) -> Place<'l, 'a> {
    let mut pointer = pointer;
    loop {
        for layer in layers {
            let whole = format!("{}{pointer}", layer.root);
            if layer.spans.has(&whole) {
                return Place { layer, pointer: whole };
            }
        }
        match pointer.rfind('/') {
            Some(slash) => pointer = &pointer[..slash],
            None => return Place { layer: &layers[0], pointer: layers[0].root.clone() },
        }
    }
}

impl Compiler<'_> {
    pub(super) fn key(&self, pointer: &str) -> At {
        nearest_place(&self.layers, pointer).key()
    }

    pub(super) fn value(&self, pointer: &str) -> At {
        nearest_place(&self.layers, pointer).value()
    }

    /// The value if the file itself has it; else what in the file brought it here: its prefix, its preset.
    /// A clash with another file is this file's to mend, not its preset's.
    pub(super) fn own_value(&self, pointer: &str) -> At {
        let own = &self.layers[0];
        let mut pointers =
            [pointer, "/path_prefix", "/extends"].into_iter().map(|p| format!("{}{p}", own.root));
        match pointers.find(|pointer| own.spans.has(pointer)) {
            Some(pointer) => own.spans.value(own.file, &pointer),
            None => At::file(own.file),
        }
    }

    pub(super) fn say(&mut self, code: Code, at: At, message: impl Into<String>) {
        self.found.push(Diagnostic::new(code, at, message));
    }

    pub(super) fn say_help(
        &mut self,
        code: Code,
        at: At,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.push(Diagnostic::new(code, at, message).help(help));
    }
}
