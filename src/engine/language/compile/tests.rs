//! Findings about broken files. A test is data: a text, and its findings, one a line.

mod metering;
mod parts;
mod whole;

use std::sync::Arc;

use super::*;
use crate::{
    base::diag::{Location, Sources},
    request::table,
};

/// The first lines of a case, so that a case holds only what it tests.
const HEAD: &str = "title = \"Demo\"\nextends = \"base\"\nbase_url = \"https://api.example.com\"\n";

const BASE: &str = "path_prefix = \"/{provider}\"\n\
    credentials.field = [{ name = \"key\" }]\n\
    auth = [{ field = \"key\", set = { x-key = \"{secret}\" } }]\n\
    endpoint.items = { method = \"GET\", path = \"/v1/items\" }\n";

/// The kind of file of a case.
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

/// Parses, compiles and links the case with a few good files, and files `broken` with errors of form. One finding a line:
/// `code line:column message | help`, with ` ~ file:line:column label` for each related location. Locations in other
/// files have a file name.
fn findings(case: Case, text: &str) -> String {
    let mut world = World::default();
    let gateway = "title = \"Hub\"\nbase_url = \"https://hub.example.com\"\nvars.token = { env = \"HUB\" }";
    world.take("presets/base.toml", BASE, |files| &mut files.presets);
    world.take("presets/layered.toml", "extends = \"base\"", |files| &mut files.presets);
    world.take("presets/broken.toml", "?", |files| &mut files.presets);
    world.take("gateways/hub.toml", gateway, |files| &mut files.gateways);
    world.take("gateways/other.toml", "?", |files| &mut files.gateways);
    world.take("apis/chat.toml", "title = \"Chat\"\nerror.body = {}", |files| &mut files.apis);
    world.take("apis/broken.toml", "?", |files| &mut files.apis);
    for (name, usage) in [
        ("metered", "usage.body.input = \"/in\""),
        ("asking", "usage = { body = { input = \"/in\" }, ask = { at = \"/a\", value = true } }"),
        ("captured", "request.model = \"{model}\"\nusage.body.input = \"/in\""),
    ] {
        let text = format!("title = \"Case\"\nerror.body = {{}}\n{usage}");
        world.take(&format!("apis/{name}.toml"), &text, |files| &mut files.apis);
    }
    world.found.clear();
    let (first, second) = text.split_once("\n=====\n").unwrap_or((text, ""));
    match case {
        Case::Provider => world.take("demo.toml", &format!("{HEAD}{text}"), |files| &mut files.providers),
        Case::Whole => world.take("demo.toml", text, |files| &mut files.providers),
        Case::Two => {
            world.take("demo.toml", first, |files| &mut files.providers);
            world.take("other.toml", second, |files| &mut files.providers);
        }
        Case::Gateway => world.take("case.toml", text, |files| &mut files.gateways),
        Case::Api => world.take("case.toml", text, |files| &mut files.apis),
    }
    let compiled = compile(&world.files);
    world.found.extend(compiled.diagnostics);
    let conflicts = table::link(&[], &compiled.providers, &compiled.rejected, &compiled.budgets);
    world.found.extend(conflicts.into_iter().map(|one| one.diagnostic));
    world.describe(case)
}

#[derive(Default)]
struct World {
    files: Files,
    sources: Sources,
    found: Vec<Diagnostic>,
}

impl World {
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

    fn describe(&self, case: Case) -> String {
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
