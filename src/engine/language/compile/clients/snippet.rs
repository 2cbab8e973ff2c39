//! The texts of steps: code in any language, with placeholders in braces. A brace before anything but a name belongs to the
//! code.
//!
//! A brace directly before the name of a placeholder has to be closed: a forgotten `}` would otherwise show on pages. Read
//! next: `template`, which fills placeholders in.

use std::ops::Range;

use crate::{
    base::{
        diag::{Code, Diagnostic, Location},
        suggest::{backticked, nearest},
    },
    language::compile::{Template, filter::Filters},
};

/// A placeholder in the text or the code of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupValue {
    /// The address that the client puts its paths after.
    BaseUrl,
    /// A token.
    Token,
    /// The name of the provider.
    Provider,
    /// The name of a model.
    Model,
}

impl SetupValue {
    /// All placeholders.
    pub const ALL: [Self; 4] = [Self::BaseUrl, Self::Token, Self::Provider, Self::Model];

    /// Its name, as in braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::BaseUrl => "base_url",
            Self::Token => "token",
            Self::Provider => "provider",
            Self::Model => "model",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A brace of a placeholder. It is closed, or its name is known.
#[derive(Debug, PartialEq, Eq)]
struct Brace<'t> {
    /// Its bytes, to the end of the name or the closing brace.
    range: Range<usize>,
    name: &'t str,
    is_closed: bool,
}

/// Parses a text. `source` is the text of the file, `at` the place of the value there.
pub(super) fn parse(text: &str, source: &str, at: &Location) -> (Template<SetupValue>, Vec<Diagnostic>) {
    let mut template = Template::text("");
    let (mut wrong, mut end) = (false, 0);
    for brace in braces(text) {
        match SetupValue::named(brace.name).filter(|_| brace.is_closed) {
            Some(placeholder) => {
                template.append(&Template::text(&text[end..brace.range.start]), false);
                template.append(&Template::placeholder(placeholder, Filters::default()), false);
                end = brace.range.end;
            }
            None => wrong = true,
        }
    }
    template.append(&Template::text(&text[end..]), false);
    let found = if wrong { faults(text, source, at) } else { Vec::new() };
    (template, found)
}

/// A name of lower-case letters and `_` after each brace. Longer names, as of variables in code, are none.
fn braces(text: &str) -> impl Iterator<Item = Brace<'_>> {
    text.match_indices('{').filter_map(|(start, _)| {
        let rest = &text[start + 1..];
        let length = rest.bytes().take_while(|byte| byte.is_ascii_lowercase() || *byte == b'_').count();
        let (name, after) = rest.split_at(length);
        let is_closed = after.starts_with('}');
        let goes_on = after.starts_with(|c: char| c.is_alphanumeric());
        let is_placeholder =
            if is_closed { !name.is_empty() } else { !goes_on && SetupValue::named(name).is_some() };
        let end = start + 1 + length + usize::from(is_closed);
        is_placeholder.then_some(Brace { range: start..end, name, is_closed })
    })
}

/// The findings about a text, each at its brace. With escapes among the placeholders, they are at the whole value.
fn faults(text: &str, source: &str, at: &Location) -> Vec<Diagnostic> {
    let written: Vec<_> = braces(source.get(at.start..at.end).unwrap_or_default()).collect();
    let read: Vec<_> = braces(text).collect();
    let is_same =
        written.len() == read.len() && written.iter().zip(&read).all(|(one, other)| one.name == other.name);
    let place = |index: usize| match written.get(index).filter(|_| is_same) {
        Some(brace) => Location::new(&at.file, at.start + brace.range.start..at.start + brace.range.end),
        None => at.clone(),
    };
    let faults = read.iter().enumerate().filter_map(|(index, brace)| Some((index, problem(brace)?)));
    faults
        .map(|(index, (message, help))| Diagnostic::new(Code::Template, place(index), message).help(help))
        .collect()
}

/// The message and the help, if a brace is wrong.
fn problem(brace: &Brace<'_>) -> Option<(String, String)> {
    let Brace { name, is_closed, .. } = brace;
    if !is_closed {
        let help = format!("write `{{{name}}}`; a space after the brace makes it text");
        return Some((format!("`{{{name}` without `}}` after it"), help));
    }
    if SetupValue::named(name).is_some() {
        return None;
    }
    let known = SetupValue::ALL.map(SetupValue::name);
    let help = match nearest(name, known) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None => format!("placeholders are {}; a space after the brace makes it text", backticked(known)),
    };
    Some((format!("`{{{name}}}` is no placeholder"), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with values filled in, and each fault: the bytes that it is at, and the message.
    fn outcome(written: &str, text: &str) -> (String, Vec<(String, String)>) {
        let source = format!("code = {written}\n");
        let at = Location::new(&"c.toml".into(), 7..7 + written.len());
        let (template, found) = parse(text, &source, &at);
        let mut filled = String::new();
        template.render(&mut filled, |one| match one {
            SetupValue::BaseUrl => "URL",
            SetupValue::Token => "TOKEN",
            SetupValue::Provider => "P",
            SetupValue::Model => "M",
        });
        let found = found.into_iter().map(|one| (source[one.at.start..one.at.end].to_owned(), one.message));
        (filled, found.collect())
    }

    #[test]
    fn placeholders_are_filled_in_once() {
        let check = |text: &str, expected: &str| {
            assert_eq!(outcome(&format!("'{text}'"), text), (expected.to_owned(), Vec::new()), "{text}");
        };
        check("", "");
        check("{base_url} {token} {provider} {model}", "URL TOKEN P M");
        check("{ token } {\"a\": {\"model\": \"{model}\"}}", "{ token } {\"a\": {\"model\": \"M\"}}");
        check("${TOKEN} {env:TOKEN} {} { {{model}}", "${TOKEN} {env:TOKEN} {} { {M}");
        check("{modelId} {tokens: 1} {models", "{modelId} {tokens: 1} {models");
        check("é{model}é {", "éMé {");
    }

    #[test]
    fn a_fault_is_at_its_brace() {
        let check = |written: &str, text: &str, expected: &[(&str, &str)]| {
            let expected: Vec<_> =
                expected.iter().map(|(at, why)| ((*at).to_owned(), (*why).to_owned())).collect();
            assert_eq!(outcome(written, text).1, expected, "{written}");
        };
        let same = |text: &str, expected: &[(&str, &str)]| check(&format!("'''\n{text}'''"), text, expected);
        same("{token} {tokn}", &[("{tokn}", "`{tokn}` is no placeholder")]);
        same("a\n{model\n", &[("{model", "`{model` without `}` after it")]);
        same(
            "{base_url/v1 {tok}",
            &[("{base_url", "`{base_url` without `}` after it"), ("{tok}", "`{tok}` is no placeholder")],
        );
        same("{model: 1}", &[("{model", "`{model` without `}` after it")]);
        same("{token", &[("{token", "`{token` without `}` after it")]);
        // Escapes before a brace do not move it; one within a name does.
        check(r#""\t\"{tokn}\u00e9""#, "\t\"{tokn}é", &[("{tokn}", "`{tokn}` is no placeholder")]);
        check(r#""{tok\u006e}""#, "{tokn}", &[(r#""{tok\u006e}""#, "`{tokn}` is no placeholder")]);
    }
}
