//! HTTP Basic authentication (RFC 7617): `basic = { username = "{login}", password = "{password}" }`.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{AuthInput, BodyInput, FinishedHead, Inputs, Malformed, Needs, Output, Place, rendered};
use crate::{
    base::diag::Code,
    language::{
        bind::Filler,
        compile::{Compiler, ProviderTemplate, Template, TemplateScope},
    },
};

/// Its key in an entry.
const KEY: &str = "basic";
/// The only header that it writes.
static HEADER: HeaderName = header::AUTHORIZATION;

pub(super) const NEEDS: Needs = Needs { body: BodyInput::Nothing };

/// User name and password of HTTP Basic authentication.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Basic")]
pub struct Syntax {
    /// The user name, without `:`. A template over the fields of the section and vars.
    #[schemars(example = &"{login}")]
    pub username: String,
    /// The password. A template as `username`.
    #[schemars(example = &"{password}")]
    pub password: String,
}

/// Compiled: user name, `:` and password.
#[derive(Debug, Clone)]
pub struct Compiled(ProviderTemplate);

/// Bound to the vars.
#[derive(Debug)]
pub struct Bound {
    text: Template<AuthInput>,
    /// True if an active gateway or egress removes or replaces the header.
    overridden: bool,
}

pub(super) fn pointer() -> String {
    format!("/{KEY}")
}

impl Compiled {
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        pointer: &str,
        spec: &Syntax,
        scope: TemplateScope<'_>,
    ) -> Self {
        let pointer = format!("{pointer}/{KEY}");
        let at = format!("{pointer}/username");
        if spec.username.contains(':') {
            // RFC 7617, section 2: the first colon ends the user name.
            compiler.report(Code::BadValue, compiler.value(&at), "a user name cannot contain `:`");
        }
        let username = compiler.template(&at, &spec.username, scope);
        let password = compiler.template(&format!("{pointer}/password"), &spec.password, scope);
        let mut joined = username.unwrap_or_else(|| Template::text(""));
        joined.append(&Template::text(":"), false);
        if let Some(password) = password {
            joined.append(&password, false);
        }
        Self(joined)
    }

    pub(super) fn outputs(&self) -> Vec<Output<'_>> {
        vec![Output { place: Place::Header(&HEADER), text: &self.0, reveals: true, signs: 0 }]
    }

    pub(super) fn bind(&self, filler: &Filler<'_>, overridden: impl Fn(&HeaderName) -> bool) -> Bound {
        Bound { text: filler.auth_input(&self.0), overridden: overridden(&HEADER) }
    }
}

impl Bound {
    pub(super) fn writes(&self, name: &str) -> bool {
        HEADER == name && !self.overridden
    }

    pub(super) fn reads(&self) -> impl Iterator<Item = u16> {
        self.text.placeholders().filter_map(|name| name.field())
    }

    pub(super) fn apply(
        &self,
        FinishedHead { headers, .. }: FinishedHead<'_>,
        inputs: &Inputs<'_>,
        mut wrote: impl FnMut(usize, Place<'_>),
    ) -> Result<(), Malformed> {
        const SCHEME: &str = "Basic ";
        let text = rendered(&self.text, inputs).ok_or(Malformed)?;
        let mut value = Zeroizing::new(String::with_capacity(SCHEME.len() + text.len().div_ceil(3) * 4));
        value.push_str(SCHEME);
        BASE64_STANDARD.encode_string(text.as_bytes(), &mut value);
        let mut value = HeaderValue::from_str(&value).map_err(|_| Malformed)?;
        if !self.overridden {
            value.set_sensitive(true);
            headers.insert(HEADER.clone(), value);
            wrote(0, Place::Header(&HEADER));
        }
        Ok(())
    }
}
