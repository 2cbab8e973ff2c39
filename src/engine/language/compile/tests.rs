//! Broken files and what is said of them. A test is data: a text, and its findings a line each.

mod parts;
mod whole;

use std::sync::Arc;

use super::*;
use crate::{
    base::diag::{Location, Sources},
    request::table,
};

/// The lines before a case's own, so that a case holds only what it is about.
const HEAD: &str = "title = \"Demo\"\nextends = \"base\"\nbase_url = \"https://api.example.com\"\n";

const BASE: &str = "path_prefix = \"/{provider}\"\n\
    credentials.field = [{ name = \"key\" }]\n\
    auth = [{ field = \"key\", set = { x-key = \"{secret}\" } }]\n\
    endpoint.items = { method = \"GET\", path = \"/v1/items\" }\n";

/// What a case's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// The provider `demo`, below `HEAD`.
    Provider,
    /// The provider `demo`, whole.
    Whole,
    /// The providers `demo` and `other`, whole, with `=====` between.
    Two,
    /// The gateway `case`.
    Gateway,
    /// The api `case`.
    Api,
}

/// Parses, compiles and links the case among a few good files, and the names `broken` that stand for files
/// with errors of form. A finding a line: `code line:column message | help`, and ` ~ file:line:column what`
/// for each other place; the file before the place if it is not the case's own.
fn findings(case: Case, text: &str) -> String {
    let mut made = Made::default();
    let gateway = "title = \"Hub\"\nbase_url = \"https://hub.example.com\"\nvars.token = { env = \"HUB\" }";
    made.take("presets/base.toml", BASE, |files| &mut files.presets);
    made.take("presets/layered.toml", "extends = \"base\"", |files| &mut files.presets);
    made.take("presets/broken.toml", "?", |files| &mut files.presets);
    made.take("gateways/hub.toml", gateway, |files| &mut files.gateways);
    made.take("gateways/other.toml", "?", |files| &mut files.gateways);
    made.take("apis/chat.toml", "title = \"Chat\"\nerror.body = {}", |files| &mut files.apis);
    made.take("apis/broken.toml", "?", |files| &mut files.apis);
    made.found.clear();
    let (first, second) = text.split_once("\n=====\n").unwrap_or((text, ""));
    match case {
        Case::Provider => made.take("demo.toml", &format!("{HEAD}{text}"), |files| &mut files.providers),
        Case::Whole => made.take("demo.toml", text, |files| &mut files.providers),
        Case::Two => {
            made.take("demo.toml", first, |files| &mut files.providers);
            made.take("other.toml", second, |files| &mut files.providers);
        }
        Case::Gateway => made.take("case.toml", text, |files| &mut files.gateways),
        Case::Api => made.take("case.toml", text, |files| &mut files.apis),
    }
    let compiled = compile(&made.files);
    made.found.extend(compiled.diagnostics);
    made.found
        .extend(table::link(&compiled.providers, &compiled.rejected).into_iter().map(|one| one.diagnostic));
    made.tell(case)
}

#[derive(Default)]
struct Made {
    files: Files,
    sources: Sources,
    found: Vec<Diagnostic>,
}

impl Made {
    fn take<T: syntax::Document>(
        &mut self,
        path: &str,
        text: &str,
        folder: impl Fn(&mut Files) -> &mut BTreeMap<FileName, Slot<T>>,
    ) {
        let file: Arc<str> = path.into();
        self.sources.insert(file.clone(), text.into());
        let (parsed, found) = syntax::parse(&file, text);
        let stem = path.rsplit('/').next().and_then(|name| name.strip_suffix(".toml")).unwrap();
        folder(&mut self.files).insert(FileName::new(stem).unwrap(), parsed);
        self.found.extend(found);
    }

    fn tell(&self, case: Case) -> String {
        let place = |at: &Location| {
            let (line, column) = self.sources.line_column(at);
            match &*at.file {
                "demo.toml" if case == Case::Provider => match line.checked_sub(HEAD.lines().count()) {
                    None | Some(0) => format!("head:{line}:{column}"),
                    Some(line) => format!("{line}:{column}"),
                },
                "case.toml" | "demo.toml" => format!("{line}:{column}"),
                other => format!("{other}:{line}:{column}"),
            }
        };
        let line = |one: &Diagnostic| {
            let help = one.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
            let others = one.related.iter().map(|(at, what)| format!(" ~ {} {what}", place(at)));
            let others: String = others.collect();
            format!("{} {} {}{help}{others}", one.code.as_str(), place(&one.at), one.message)
        };
        self.found.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn provider(text: &str, expected: &str) {
    assert_eq!(findings(Case::Provider, text), expected, "\n{text}");
}

fn whole(text: &str, expected: &str) {
    assert_eq!(findings(Case::Whole, text), expected, "\n{text}");
}

fn two(text: &str, expected: &str) {
    assert_eq!(findings(Case::Two, text), expected, "\n{text}");
}

fn gateway(text: &str, expected: &str) {
    assert_eq!(findings(Case::Gateway, text), expected, "\n{text}");
}

fn api(text: &str, expected: &str) {
    assert_eq!(findings(Case::Api, text), expected, "\n{text}");
}
