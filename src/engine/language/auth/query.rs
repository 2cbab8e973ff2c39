//! Query parameters: `query = { key = "{secret}" }`. They stand in the URL of the upstream, also where an egress wraps that.
//!
//! It guarantees: names and values are percent-encoded, and follow those of the client. The buffer of the URL does not grow once
//! a secret is in it.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{AuthInput, Inputs, Malformed, Output, Place, headers::reveals, rendered};
use crate::{
    base::diag::Code,
    language::{
        bind::Filler,
        compile::{Compiler, ProviderTemplate, Template, TemplateScope, push_urlencoded},
        syntax::pointer_step,
    },
};

/// Its key in an entry.
const KEY: &str = "query";

/// The key's value as written: names of parameters to templates.
pub type Syntax = BTreeMap<String, String>;

/// Compiled: every template is valid.
#[derive(Debug, Clone)]
pub struct Compiled(Vec<Parameter<ProviderTemplate>>);

/// Bound to the vars: only the secret and the fields are open.
#[derive(Debug)]
pub struct Bound(Vec<Parameter<Template<AuthInput>>>);

#[derive(Debug, Clone)]
struct Parameter<T> {
    name: String,
    text: T,
    /// True if the value is never shown.
    is_secret: bool,
}

/// A parameter as it is sent, not encoded.
pub type Written<'k> = (&'k str, Zeroizing<String>);

/// The pointer of the template of a parameter, below the entry.
pub(super) fn pointer(name: &str) -> String {
    format!("/{KEY}/{}", pointer_step(name))
}

impl Compiled {
    /// Compiles the templates of an entry at the JSON pointer `pointer`.
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        pointer: &str,
        spec: Option<&Syntax>,
        scope: TemplateScope<'_>,
    ) -> Self {
        let pointer = format!("{pointer}/{KEY}");
        if spec.is_some_and(Syntax::is_empty) {
            compiler.report(Code::Condition, compiler.key(&pointer), "a `query` without a parameter");
        }
        let mut parameters = Vec::new();
        for (name, text) in spec.into_iter().flatten() {
            let at = format!("{pointer}/{}", pointer_step(name));
            if name.is_empty() {
                compiler.report(Code::BadValue, compiler.key(&at), "a parameter's name cannot be empty");
            }
            let Some(text) = compiler.template(&at, text, scope) else { continue };
            let is_secret = text.placeholders().any(|placeholder| scope.is_secret(placeholder));
            parameters.push(Parameter { name: name.clone(), text, is_secret });
        }
        Self(parameters)
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = Output<'_>> {
        self.0.iter().map(|one| Output {
            place: Place::Query(&one.name),
            text: &one.text,
            reveals: reveals(&one.text),
            signs: 0,
        })
    }

    pub(super) fn bind(&self, filler: &Filler<'_>) -> Bound {
        let one = |Parameter { name, text, is_secret }: &Parameter<ProviderTemplate>| Parameter {
            name: name.clone(),
            text: filler.auth_input(text),
            is_secret: *is_secret,
        };
        Bound(self.0.iter().map(one).collect())
    }
}

impl Bound {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The indices of the values that it reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|one| one.text.placeholders()).filter_map(|name| name.field())
    }

    /// The parameters with secrets. One that names an absent value is left out.
    pub(super) fn secrets(&self, inputs: &Inputs<'_>) -> Vec<Written<'_>> {
        let secret = self.0.iter().filter(|one| one.is_secret);
        secret.filter_map(|one| Some((one.name.as_str(), rendered(&one.text, inputs)?))).collect()
    }

    /// Adds the parameters to a path and query, and reports each with its index.
    pub(super) fn apply(
        &self,
        target: &mut String,
        inputs: &Inputs<'_>,
        mut wrote: impl FnMut(usize, Place<'_>),
    ) -> Result<(), Malformed> {
        let all = self.0.iter().enumerate();
        let written =
            all.filter_map(|(index, one)| Some((index, (&*one.name, rendered(&one.text, inputs)?))));
        let written: Vec<(usize, Written<'_>)> = written.collect();
        if written.iter().any(|(_, (_, value))| value.contains(|c: char| c.is_control())) {
            return Err(Malformed);
        }
        // Each byte becomes three at most.
        let room = written.iter().map(|(_, (name, value))| 2 + 3 * (name.len() + value.len()));
        target.reserve_exact(room.sum());
        for (index, (name, value)) in &written {
            target.push(if target.contains('?') { '&' } else { '?' });
            push_urlencoded(target, name);
            target.push('=');
            push_urlencoded(target, value);
            wrote(*index, Place::Query(name));
        }
        Ok(())
    }
}
