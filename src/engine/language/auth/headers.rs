//! Static headers: `set = { authorization = "Bearer {secret}" }`. Each header is a template over the secret and vars.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::{BodyInput, FinishedHead, Inputs, Malformed, Needs, Output, SecretFields};
use crate::{
    base::{diag::Code, secret::Secret},
    language::{
        bind::Filler,
        compile::{Compiler, Placeholder, ProviderTemplate, Resolved, Template, TemplateScope, Vars},
        syntax::pointer_step,
    },
};

/// Its key in an entry.
const KEY: &str = "set";

pub(super) const NEEDS: Needs = Needs { secrets: SecretFields::OfEntry, body: BodyInput::Nothing };

/// The key's value as written: header names to templates.
pub type Syntax = BTreeMap<String, String>;

/// Compiled: every template is valid.
#[derive(Debug, Clone)]
pub struct Compiled {
    set: Vec<(HeaderName, ProviderTemplate)>,
}

/// Bound to the vars: only the secret is open.
#[derive(Debug)]
pub struct Bound {
    set: Vec<Header>,
}

#[derive(Debug)]
struct Header {
    name: HeaderName,
    value: Template<SecretPlaceholder>,
    /// True if an active gateway or egress removes or replaces it.
    overridden: bool,
}

/// The only placeholder in a bound template: the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SecretPlaceholder;

/// The pointer of the template of a header, below the entry.
pub(super) fn pointer(header: &HeaderName) -> String {
    format!("/{KEY}/{}", pointer_step(header.as_str()))
}

impl Compiled {
    /// Compiles the templates of an entry at the JSON pointer `pointer`.
    pub(super) fn new(compiler: &mut Compiler<'_>, pointer: &str, spec: &Syntax, vars: &Vars) -> Self {
        let scope = TemplateScope {
            vars: Some(vars),
            words: &[("secret", Placeholder::Secret)],
            ..TemplateScope::default()
        };
        let pointer = format!("{pointer}/{KEY}");
        let set = compiler.header_values(&pointer, Some(spec), scope);
        if set.is_empty() && spec.is_empty() {
            compiler.report(Code::Condition, compiler.key(&pointer), "an auth entry that sets no header");
        }
        Self { set }
    }

    pub(super) fn outputs(&self) -> Vec<Output<'_>> {
        self.set.iter().map(|(header, text)| Output { header, text, reveals: reveals(text) }).collect()
    }

    /// Fills in the vars. `overridden`: headers that an active gateway or egress removes or replaces.
    pub(super) fn bind(&self, filler: &Filler<'_>, overridden: impl Fn(&HeaderName) -> bool) -> Bound {
        let one = |(name, text): &(HeaderName, ProviderTemplate)| Header {
            name: name.clone(),
            value: filler.fill(text, |_| Resolved::Placeholder(SecretPlaceholder)),
            overridden: overridden(name),
        };
        Bound { set: self.set.iter().map(one).collect() }
    }
}

impl Bound {
    /// Writes the headers, and reports each with its index. A value that is malformed is an error also where a gateway
    /// or an egress would remove it.
    pub(super) fn apply(
        &self,
        FinishedHead { headers, .. }: FinishedHead<'_>,
        Inputs { secret, .. }: Inputs<'_>,
        mut wrote: impl FnMut(usize, &HeaderName),
    ) -> Result<(), Malformed> {
        for (index, header) in self.set.iter().enumerate() {
            let mut value = rendered(&header.value, secret)?;
            if header.overridden {
                continue;
            }
            value.set_sensitive(true);
            headers.insert(header.name.clone(), value);
            wrote(index, &header.name);
        }
        Ok(())
    }
}

fn reveals(text: &ProviderTemplate) -> bool {
    text.placeholders().any(|name| *name == Placeholder::Secret)
}

/// The value with the secret filled in. Its buffer never grows, so that no copy of the secret stays behind in memory.
fn rendered(template: &Template<SecretPlaceholder>, secret: &Secret) -> Result<HeaderValue, Malformed> {
    let mut text =
        Zeroizing::new(String::with_capacity(template.max_len(|SecretPlaceholder| secret.expose().len())));
    template.render(&mut text, |SecretPlaceholder| secret.expose());
    HeaderValue::from_str(&text).map_err(|_| Malformed)
}
