//! Static headers: `set = { authorization = "Bearer {secret}" }`, and members of lists beside them, `add`. Each value is a template
//! over the secret, fields and vars. Query parameters belong to the same kind: `query`.

use std::collections::BTreeMap;

use super::{
    AuthInput, BodyInput, FinishedHead, Inputs, Malformed, Needs, Output, Place, query, rendered,
    syntax::Auth,
};
use crate::{
    base::{diag::Code, header_list},
    language::{
        bind::Filler,
        compile::{Compiler, Placeholder, ProviderTemplate, Template, TemplateScope},
        syntax::pointer_step,
        token::TokenWord,
    },
};
use http::{HeaderName, HeaderValue};

/// Its keys in an entry.
const SET: &str = "set";
const ADD: &str = "add";

pub(super) const NEEDS: Needs = Needs { body: BodyInput::Nothing };

/// The value of each key as written: header names to templates.
pub type Syntax = BTreeMap<String, String>;

/// Compiled: every template is valid.
#[derive(Debug, Clone)]
pub struct Compiled {
    set: Vec<(HeaderName, ProviderTemplate)>,
    /// Members of headers that are lists.
    add: Vec<(HeaderName, ProviderTemplate)>,
    query: query::Compiled,
}

/// Bound to the vars: only the secret and the fields are open.
#[derive(Debug)]
pub struct Bound {
    set: Vec<Header>,
    add: Vec<Header>,
    query: query::Bound,
}

#[derive(Debug)]
struct Header {
    name: HeaderName,
    value: Template<AuthInput>,
    /// True if an active gateway or egress removes or replaces it.
    overridden: bool,
}

/// The pointer of the template of a place, below the entry.
pub(super) fn pointer(place: Place<'_>) -> String {
    match place {
        Place::Header(name) => format!("/{SET}/{}", pointer_step(name.as_str())),
        Place::List(name) => format!("/{ADD}/{}", pointer_step(name.as_str())),
        Place::Query(name) => query::pointer(name),
    }
}

impl Compiled {
    /// Compiles the templates of an entry at the JSON pointer `pointer`.
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        pointer: &str,
        spec: &Auth,
        scope: TemplateScope<'_>,
    ) -> Self {
        let (set, add) = (spec.set.as_ref(), spec.add.as_ref());
        let (set_at, add_at) = (format!("{pointer}/{SET}"), format!("{pointer}/{ADD}"));
        if set.is_some_and(Syntax::is_empty) {
            compiler.report(Code::Condition, compiler.key(&set_at), "an auth entry that sets no header");
        }
        if add.is_some_and(Syntax::is_empty) {
            compiler.report(Code::Condition, compiler.key(&add_at), "an `add` that adds nothing");
        }
        let set = compiler.header_values(&set_at, set, scope);
        let add = compiler.list_members(&add_at, add, scope);
        Self { set, add, query: query::Compiled::new(compiler, pointer, spec.query.as_ref(), scope) }
    }

    pub(super) fn outputs(&self) -> Vec<Output<'_>> {
        let set = self.set.iter().map(|(name, text)| (Place::Header(name), text));
        let add = self.add.iter().map(|(name, text)| (Place::List(name), text));
        let headers = set.chain(add);
        let headers = headers.map(|(place, text)| Output { place, text, reveals: reveals(text), signs: 0 });
        headers.chain(self.query.outputs()).collect()
    }

    /// Fills in the vars. `overridden`: headers that an active gateway or egress removes or replaces.
    pub(super) fn bind(&self, filler: &Filler<'_>, overridden: impl Fn(&HeaderName) -> bool) -> Bound {
        let one = |(name, text): &(HeaderName, ProviderTemplate)| Header {
            name: name.clone(),
            value: filler.auth_input(text),
            overridden: overridden(name),
        };
        let (set, add) = (self.set.iter().map(one).collect(), self.add.iter().map(one).collect());
        Bound { set, add, query: self.query.bind(filler) }
    }
}

impl Bound {
    /// The indices of the values that it reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = u16> {
        let headers = self.set.iter().chain(&self.add).flat_map(|header| header.value.placeholders());
        headers.filter_map(|name| name.field()).chain(self.query.reads())
    }

    /// Its query parameters. Their indices among the outputs follow those of the headers.
    pub(super) fn query(&self) -> (usize, &query::Bound) {
        (self.set.len() + self.add.len(), &self.query)
    }

    /// True if it writes a header of this name.
    pub(super) fn writes(&self, name: &str) -> bool {
        self.set.iter().chain(&self.add).any(|header| header.name == name && !header.overridden)
    }

    /// Writes the headers, and reports each with its index. A value that is malformed is an error also where a gateway
    /// or an egress would remove it. A header that names an absent value is left out.
    pub(super) fn apply(
        &self,
        FinishedHead { headers, .. }: FinishedHead<'_>,
        inputs: &Inputs<'_>,
        mut wrote: impl FnMut(usize, Place<'_>),
    ) -> Result<(), Malformed> {
        for (index, header) in self.set.iter().enumerate() {
            let Some(value) = rendered(&header.value, inputs) else { continue };
            let mut value = HeaderValue::from_str(&value).map_err(|_| Malformed)?;
            if header.overridden {
                continue;
            }
            value.set_sensitive(true);
            headers.insert(header.name.clone(), value);
            wrote(index, Place::Header(&header.name));
        }
        for (index, header) in self.add.iter().enumerate() {
            let Some(members) = rendered(&header.value, inputs) else { continue };
            let mut members = HeaderValue::from_str(&members).map_err(|_| Malformed)?;
            members.set_sensitive(true);
            if !header.overridden && header_list::add(headers, &header.name, &members) {
                wrote(self.set.len() + index, Place::List(&header.name));
            }
        }
        Ok(())
    }
}

/// True if the text shows the secret or a field.
pub(super) fn reveals(text: &ProviderTemplate) -> bool {
    let is_secret = |name: &Placeholder| {
        matches!(name, Placeholder::Secret | Placeholder::Field(_) | Placeholder::Token(TokenWord::Reply(_)))
    };
    text.placeholders().any(is_secret)
}
