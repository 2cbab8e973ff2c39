//! Lints of files of clients.

use std::{collections::HashSet, sync::Arc};

use crate::{
    base::{
        diag::{Code, Diagnostic, MAX_FINDINGS},
        suggest::nearest,
    },
    language::compile::ClientFile,
};

/// The wire formats of clients that no api file describes. `apis` are the names of all api files.
pub fn clients(files: &[Arc<ClientFile>], apis: &[&str]) -> Vec<Diagnostic> {
    let known: HashSet<&str> = apis.iter().copied().collect();
    let spoken = files.iter().flat_map(|file| &file.speaks).map(|speaks| &speaks.api);
    let unknown = spoken.filter(|api| !known.contains(&*api.value)).take(MAX_FINDINGS + 1);
    let one = |api: &crate::language::compile::Located<String>| {
        let help = match nearest(&api.value, apis.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there would have to be a file `apis/{}.toml`", api.value),
        };
        Diagnostic::new(Code::UnknownApi, api.at.clone(), format!("there is no api `{}`", api.value))
            .help(help)
    };
    unknown.map(one).collect()
}
