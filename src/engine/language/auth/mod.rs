//! Kinds of authentication: how a stored credential is put into a request. Everything about a kind is here: its keys in
//! `[[auth]]`, its compiled and its bound form, what it needs, and how it is applied.
//!
//! A kind is applied to the finished head, after the rules of the file and after gateway and egress. No other module can
//! match on kinds: the two enums below are private. CONTRIBUTING.md lists the files that a new kind touches.

mod basic;
mod headers;
mod inputs;
mod query;
mod sigv4;
pub mod syntax;

use std::fmt;

use http::HeaderName;

use crate::{
    base::diag::Code,
    language::{
        bind::Filler,
        compile::{Compiler, FieldScope, Placeholder, ProviderTemplate, Section, TemplateScope, Vars},
        token::{self, ReplyField, TokenWord},
    },
};

use inputs::rendered;
pub use inputs::{AuthInput, BodyHash, BodyInput, FieldValue, FieldValues, FinishedHead, Inputs, Needs};
pub use query::Written as WrittenParameter;

/// The keys whose templates may use `{secret}`, for messages.
pub(crate) const SECRET_SCOPE: &str = "an `[[auth]]` that has a `field` or a `token`";

/// A kind, compiled from an entry.
#[derive(Debug, Clone)]
pub struct Compiled(CompiledKind);

/// A kind, bound to the values of the vars: what requests run on.
#[derive(Debug)]
pub struct Bound {
    kind: BoundKind,
    /// Its headers that an active gateway or egress removes or replaces.
    overridden: Vec<Overridden>,
}

/// A header that is not written since an active gateway or egress removes or replaces it.
#[derive(Debug)]
pub struct Overridden {
    /// Its index among the outputs.
    pub index: usize,
    /// Its name.
    pub header: HeaderName,
    /// True if members would be added to it.
    pub is_list: bool,
}

#[derive(Debug, Clone)]
enum CompiledKind {
    /// Static headers.
    Headers(headers::Compiled),
    /// HTTP Basic.
    Basic(basic::Compiled),
    /// A signature.
    AwsSigv4(Box<sigv4::Compiled>),
    /// No credential.
    Nothing,
}

#[derive(Debug)]
enum BoundKind {
    /// Static headers.
    Headers(headers::Bound),
    /// HTTP Basic.
    Basic(basic::Bound),
    /// A signature.
    AwsSigv4(Box<sigv4::Bound>),
    /// No credential.
    Nothing,
}

/// A text that a kind writes into a request, as tools see it.
#[derive(Debug, Clone, Copy)]
pub struct Output<'k> {
    /// Its place.
    pub place: Place<'k>,
    /// Its value, as far as it is known without a request.
    pub text: &'k ProviderTemplate,
    /// True if the upstream can read the credential from it.
    pub reveals: bool,
    /// The number of placeholders at the text's end whose values are not sent: the request is signed with them.
    pub signs: usize,
}

/// A place in a request that a kind writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'k> {
    /// A header. The client's own is removed.
    Header(&'k HeaderName),
    /// A header that is a list. The members of the client's stay.
    List(&'k HeaderName),
    /// A query parameter. The client's own is removed.
    Query(&'k str),
}

impl<'k> Place<'k> {
    /// The header.
    pub fn header(self) -> Option<&'k HeaderName> {
        match self {
            Self::Header(name) | Self::List(name) => Some(name),
            Self::Query(_) => None,
        }
    }

    /// The header, if the client's own is removed.
    pub fn replaced_header(self) -> Option<&'k HeaderName> {
        match self {
            Self::Header(name) => Some(name),
            Self::List(_) | Self::Query(_) => None,
        }
    }

    /// The query parameter.
    pub fn parameter(self) -> Option<&'k str> {
        match self {
            Self::Query(name) => Some(name),
            Self::Header(_) | Self::List(_) => None,
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(out, "`{name}`"),
            Self::List(name) => write!(out, "the list `{name}`"),
            Self::Query(name) => write!(out, "the query parameter `{name}`"),
        }
    }
}

/// The credential cannot be put into the request: the value would be malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Compiled {
    /// Compiles the keys of an entry at the JSON pointer `pointer`; findings go to the compiler.
    pub(crate) fn new(
        compiler: &mut Compiler<'_>,
        pointer: &str,
        spec: &syntax::Auth,
        (section, token, vars): (Option<&Section>, Option<&token::Compiled>, &Vars),
    ) -> Self {
        if spec.none.is_some() {
            check_none(compiler, pointer, spec);
            return Self(CompiledKind::Nothing);
        }
        let names: Vec<String> = token.into_iter().flat_map(token::Compiled::reply_names).collect();
        let mut words = Vec::new();
        if spec.field.is_some() || spec.token.is_some() {
            words.push(("secret", Placeholder::Secret));
        }
        words.extend((0..).zip(&names).map(|(index, name)| {
            let field = ReplyField { index, name: name.as_str().into() };
            (name.as_str(), Placeholder::Token(TokenWord::Reply(field)))
        }));
        let scope = TemplateScope {
            vars: Some(vars),
            words: &words,
            fields: FieldScope::all(section),
            ..TemplateScope::default()
        };
        if let Some(message) = several_kinds(spec) {
            compiler.report_with_help(
                Code::Condition,
                compiler.key(pointer),
                message,
                "write an entry for each",
            );
        }
        let signed = spec.sign.as_ref().and_then(|sign| sigv4::Compiled::new(compiler, pointer, sign, scope));
        match (&spec.set, &spec.basic, signed) {
            (_, _, Some(signed)) => Self(CompiledKind::AwsSigv4(Box::new(signed))),
            (_, Some(basic), None) => {
                Self(CompiledKind::Basic(basic::Compiled::new(compiler, pointer, basic, scope)))
            }
            (set, None, None) => {
                if set.is_none() && spec.query.is_none() && spec.sign.is_none() {
                    let message = "an auth entry has no `set`: nothing says how the credential is sent";
                    let help = "for example: set = { authorization = \"Bearer {secret}\" }";
                    compiler.report_with_help(Code::MissingKey, compiler.key(pointer), message, help);
                }
                Self(CompiledKind::Headers(headers::Compiled::new(compiler, pointer, spec, scope)))
            }
        }
    }

    /// True if it sends no credential.
    pub fn is_none(&self) -> bool {
        matches!(self.0, CompiledKind::Nothing)
    }

    /// All that it writes.
    pub fn outputs(&self) -> Vec<Output<'_>> {
        match &self.0 {
            CompiledKind::Headers(kind) => kind.outputs(),
            CompiledKind::Basic(kind) => kind.outputs(),
            CompiledKind::AwsSigv4(kind) => kind.outputs(),
            CompiledKind::Nothing => Vec::new(),
        }
    }

    /// The JSON pointer, below the entry, of the key that makes it write to a place.
    pub fn pointer(&self, place: Place<'_>) -> String {
        match &self.0 {
            CompiledKind::Headers(_) => headers::pointer(place),
            CompiledKind::Basic(_) => basic::pointer(),
            CompiledKind::AwsSigv4(_) => sigv4::pointer(place),
            CompiledKind::Nothing => String::new(),
        }
    }

    /// Fills in the vars. `overridden`: headers that an active gateway or egress removes or replaces.
    pub(crate) fn bind(&self, filler: &Filler<'_>, overridden: impl Fn(&HeaderName) -> bool) -> Bound {
        let outputs = self.outputs().into_iter().enumerate();
        let yielded = outputs.filter_map(|(index, output)| {
            let header = output.place.header().filter(|name| overridden(name))?.clone();
            Some(Overridden { index, header, is_list: output.place.replaced_header().is_none() })
        });
        let yielded = yielded.collect();
        let kind = match &self.0 {
            CompiledKind::Headers(kind) => BoundKind::Headers(kind.bind(filler, overridden)),
            CompiledKind::Basic(kind) => BoundKind::Basic(kind.bind(filler, overridden)),
            CompiledKind::AwsSigv4(kind) => BoundKind::AwsSigv4(Box::new(kind.bind(filler, overridden))),
            CompiledKind::Nothing => BoundKind::Nothing,
        };
        Bound { kind, overridden: yielded }
    }
}

impl Bound {
    /// No credential.
    pub(crate) fn nothing() -> Self {
        Self { kind: BoundKind::Nothing, overridden: Vec::new() }
    }

    /// True if it sends no credential.
    pub fn is_none(&self) -> bool {
        matches!(self.kind, BoundKind::Nothing)
    }

    /// The inputs that have to be obtained before the head is made.
    pub fn needs(&self) -> Needs {
        match &self.kind {
            BoundKind::Headers(_) => headers::NEEDS,
            BoundKind::Basic(_) => basic::NEEDS,
            BoundKind::AwsSigv4(kind) => kind.needs(),
            BoundKind::Nothing => Needs { body: BodyInput::Nothing },
        }
    }

    /// The indices of the section's values that it reads, beside the entry's `field`.
    pub(crate) fn reads(&self) -> Box<dyn Iterator<Item = u16> + '_> {
        match &self.kind {
            BoundKind::Headers(kind) => Box::new(kind.reads()),
            BoundKind::Basic(kind) => Box::new(kind.reads()),
            BoundKind::AwsSigv4(kind) => Box::new(kind.reads()),
            BoundKind::Nothing => Box::new(std::iter::empty()),
        }
    }

    /// True if it writes a header of this name.
    pub fn writes(&self, name: &str) -> bool {
        match &self.kind {
            BoundKind::Headers(kind) => kind.writes(name),
            BoundKind::Basic(kind) => kind.writes(name),
            BoundKind::AwsSigv4(kind) => kind.writes(name),
            BoundKind::Nothing => false,
        }
    }

    /// True if it writes query parameters.
    pub fn has_query(&self) -> bool {
        self.query().is_some()
    }

    /// The query parameters, and the index of the first among the outputs.
    fn query(&self) -> Option<(usize, &query::Bound)> {
        match &self.kind {
            BoundKind::Headers(kind) => Some(kind.query()).filter(|(_, query)| !query.is_empty()),
            BoundKind::Basic(_) | BoundKind::AwsSigv4(_) | BoundKind::Nothing => None,
        }
    }

    /// Adds its query parameters to the path and query at the upstream, and reports each with its index. The step before an
    /// egress wraps the URL; [`Self::apply`] is the last one.
    pub fn apply_query(
        &self,
        target: &mut String,
        inputs: &Inputs<'_>,
        mut wrote: impl FnMut(usize, Place<'_>),
    ) -> Result<(), Malformed> {
        let Some((first, query)) = self.query() else { return Ok(()) };
        query.apply(target, inputs, |index, place| wrote(first + index, place))
    }

    /// The query parameters with secrets that it writes, not encoded.
    pub fn secret_query(&self, inputs: &Inputs<'_>) -> Vec<WrittenParameter<'_>> {
        let query = self.query().into_iter();
        query.flat_map(|(_, query)| query.secrets(inputs)).collect()
    }

    /// Headers that it does not write since a gateway or an egress removes or replaces them.
    pub fn overridden(&self) -> &[Overridden] {
        &self.overridden
    }

    /// Authenticates the finished head, and reports each place that it writes with its index. On an error the request
    /// must not be sent.
    pub fn apply(
        &self,
        head: FinishedHead<'_>,
        inputs: &Inputs<'_>,
        wrote: impl FnMut(usize, Place<'_>),
    ) -> Result<(), Malformed> {
        match &self.kind {
            BoundKind::Headers(kind) => kind.apply(head, inputs, wrote),
            BoundKind::Basic(kind) => kind.apply(head, inputs, wrote),
            BoundKind::AwsSigv4(kind) => kind.apply(head, inputs, wrote),
            BoundKind::Nothing => Ok(()),
        }
    }
}

/// Reports keys beside `none` that would send a credential.
fn check_none(compiler: &mut Compiler<'_>, pointer: &str, spec: &syntax::Auth) {
    let syntax::Auth { field, token, r#match, endpoints: _, none, set, add, query, basic, sign } = spec;
    if *none == Some(false) {
        let at = compiler.value(&format!("{pointer}/none"));
        compiler.report_with_help(Code::Condition, at, "`none = false` says nothing", "drop the line");
        return;
    }
    let keys = [
        ("field", field.is_some()),
        ("token", token.is_some()),
        ("match", r#match.is_some()),
        ("set", set.is_some()),
        ("add", add.is_some()),
        ("query", query.is_some()),
        ("basic", basic.is_some()),
        ("sign", sign.is_some()),
    ];
    if let Some((key, _)) = keys.into_iter().find(|(_, is_written)| *is_written) {
        let at = compiler.key(&format!("{pointer}/{key}"));
        let message = format!("`{key}` beside `none`: the entry sends no credential");
        let help = "write an entry of its own for the credential, before this one";
        compiler.report_with_help(Code::Condition, at, message, help);
    }
}

/// The message about an entry with the keys of several kinds.
fn several_kinds(spec: &syntax::Auth) -> Option<String> {
    let written = |keys: &[(&'static str, bool)]| -> Vec<&'static str> {
        keys.iter().filter(|(_, is_written)| *is_written).map(|(key, _)| *key).collect()
    };
    let is_static =
        [("set", spec.set.is_some()), ("add", spec.add.is_some()), ("query", spec.query.is_some())];
    let kinds = [
        written(&is_static),
        written(&[("basic", spec.basic.is_some())]),
        written(&[("sign", spec.sign.is_some())]),
    ];
    let several = kinds.iter().filter(|keys| !keys.is_empty()).count() > 1;
    let all = || kinds.concat().join("` and `");
    several.then(|| format!("an auth entry has `{}`: a credential is sent in one way", all()))
}

/// The headers that an `[[auth]]` entry sets, as unparsed templates. `tollgate new` writes a test from them.
pub(crate) fn templates(spec: &syntax::Auth) -> impl Iterator<Item = (&String, &String)> {
    spec.set.iter().flatten()
}

/// The names of the lists that an entry adds to.
pub(crate) fn added(spec: &syntax::Auth) -> impl Iterator<Item = &String> {
    spec.add.iter().flat_map(headers::Syntax::keys)
}

/// The query parameters that an entry writes, as unparsed templates.
pub(crate) fn parameters(spec: &syntax::Auth) -> impl Iterator<Item = (&String, &String)> {
    spec.query.iter().flatten()
}

/// True if the entry's templates name no other value than `field`, by its name or as `{secret}`.
pub(crate) fn reads_field_alone(spec: &syntax::Auth) -> bool {
    let own = spec.field.as_deref().unwrap_or_default();
    let basic = spec.basic.iter().flat_map(|basic| [&basic.username, &basic.password]);
    let signed = spec.sign.iter().flat_map(sigv4::Syntax::templates);
    let added = spec.add.iter().chain(&spec.query).flat_map(headers::Syntax::values);
    let texts = templates(spec).map(|(_, text)| text).chain(added).chain(basic).chain(signed);
    let names = texts.flat_map(|text| text.split('{').skip(1));
    let mut names = names.filter_map(|rest| rest.split(['}', '|']).next());
    names.all(|name| name == "secret" || name == own)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod guide_tests;
