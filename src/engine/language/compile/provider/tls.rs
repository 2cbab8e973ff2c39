//! Compiles the `tls` table: which vars hold the PEM texts.
//!
//! The texts themselves are checked when they are bound.

use super::Compiler;
use crate::{
    base::{
        diag::Code,
        suggest::{backticked, nearest},
    },
    language::{
        compile::{ClientCertificate, Located, PemVar, ProviderTemplate, Tls, VarSource, Vars},
        syntax::{self, Roots},
    },
};

impl Compiler<'_> {
    /// Compiles the table, and marks the vars that it names: their texts have several lines and stand in no template.
    pub(super) fn tls(&mut self, spec: Option<&syntax::Tls>, vars: &mut Vars) -> Option<Tls> {
        let syntax::Tls { ca, roots, certificate, key } = spec?;
        let before = self.found.len();
        self.check_tls_keys(spec?);
        let ca = ca.as_deref().and_then(|name| self.pem_var("/tls/ca", name, vars));
        let certificate =
            certificate.as_deref().and_then(|name| self.pem_var("/tls/certificate", name, vars));
        let key = key.as_deref().and_then(|name| self.pem_var("/tls/key", name, vars));
        if let Some(key) = key.as_ref().filter(|key| !vars.get(&key.var).is_some_and(|var| var.value.secret))
        {
            let message = format!("var `{}` holds a private key, and is not `secret`", key.var);
            let help = "add `secret = true` to the var: what is secret is never shown";
            self.report_with_help(Code::Var, key.declared.clone(), message, help);
        }
        for named in ca.iter().chain(&certificate).chain(&key) {
            if let Some(var) = vars.get_mut(&named.var) {
                var.value.is_pem = true;
            }
        }
        if self.found.len() > before {
            return None;
        }
        let client = certificate.zip(key).map(|(certificate, key)| ClientCertificate { certificate, key });
        Some(Tls { ca, roots: roots.unwrap_or_default(), client, at: self.key("/tls") })
    }

    /// Checks that the keys make sense beside each other.
    fn check_tls_keys(&mut self, spec: &syntax::Tls) {
        let syntax::Tls { ca, roots, certificate, key } = spec;
        match (certificate, key) {
            (Some(_), None) => self.report_with_help(
                Code::MissingKey,
                self.key("/tls/certificate"),
                "a client certificate without its private key",
                "add `key`, the var with the private key; one file may hold both",
            ),
            (None, Some(_)) => self.report_with_help(
                Code::MissingKey,
                self.key("/tls/key"),
                "a private key without its certificate",
                "add `certificate`, the var with the client certificate; one file may hold both",
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if *roots == Some(Roots::Only) && ca.is_none() {
            let message = "`roots` is `only`, and no `ca` is trusted";
            let help = "add `ca`, the var with the authorities, or drop `roots`";
            self.report_with_help(Code::Condition, self.value("/tls/roots"), message, help);
        } else if ca.is_none() && certificate.is_none() && key.is_none() {
            let help = "give it a `ca`, or a `certificate` with its `key`";
            self.report_with_help(
                Code::Condition,
                self.key("/tls"),
                "a `tls` table that changes nothing",
                help,
            );
        }
    }

    /// A var that holds a PEM text: read from a file, and always set.
    fn pem_var(&mut self, pointer: &str, name: &str, vars: &Vars) -> Option<PemVar> {
        let Some(var) = vars.get(name) else {
            self.report_unknown_pem(pointer, name, vars);
            return None;
        };
        let problem = match &var.value.source {
            VarSource::Env(env) => Some((
                format!("var `{name}` reads the environment variable `{env}`, and `tls` takes files alone"),
                format!("for example: {name} = {{ file = \"{name}.pem\" }}"),
            )),
            VarSource::File(_) if var.value.optional => Some((
                format!("var `{name}` is optional, and `tls` needs it"),
                "drop `optional`: without its value, the provider would be called with other TLS".to_owned(),
            )),
            VarSource::File(_) => None,
        };
        if let Some((message, help)) = problem {
            self.report_with_help(Code::Var, self.value(pointer), message, help);
            return None;
        }
        Some(PemVar { var: name.to_owned(), source: var.value.clone(), declared: var.at.clone() })
    }

    fn report_unknown_pem(&mut self, pointer: &str, name: &str, vars: &Vars) {
        let bare = name.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        let help = if let Some(bare) = bare.filter(|bare| vars.contains_key(*bare)) {
            format!("write the name without braces: \"{bare}\"")
        } else if name.contains("-----BEGIN") {
            "a PEM text stands in a file: declare a var with `file`, and name the var here".to_owned()
        } else if name.contains(['/', '.']) {
            "a file is named by a var: declare it under `[vars]`, as ca = { file = \"ca.pem\" }, and name the var here"
                .to_owned()
        } else if let Some(near) = nearest(name, vars.keys().map(String::as_str)) {
            format!("did you mean `{near}`?")
        } else if vars.is_empty() {
            format!("declare it under `[vars]`: {name} = {{ file = \"{name}.pem\" }}")
        } else {
            let known: Vec<_> = vars.keys().collect();
            format!("known vars: {}", backticked(&known))
        };
        let message = if name.contains("-----BEGIN") {
            "this is a PEM text, and no name of a var".to_owned()
        } else {
            format!("there is no var `{name}`")
        };
        self.report_with_help(Code::Reference, self.value(pointer), message, help);
    }

    /// TLS of one's own is for `https`. `bind` checks a scheme that a var decides.
    pub(super) fn check_tls_scheme(&mut self, tls: Option<&Tls>, base: Option<&Located<ProviderTemplate>>) {
        let is_plain = base.is_some_and(|base| base.value.leading_text().starts_with("http://"));
        if let Some(tls) = tls.filter(|_| is_plain) {
            let help = "write `https://` in `base_url`, or remove the table";
            self.report_with_help(
                Code::Condition,
                tls.at.clone(),
                "a `tls` table, and `base_url` begins with `http://`",
                help,
            );
        }
    }
}
