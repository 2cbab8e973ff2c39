//! Compiles `origins`, further base URLs of a vendor, and checks the endpoints that name them.

use std::collections::BTreeMap;

use super::{Compiler, endpoints::Entries};
use crate::{
    base::{
        diag::{Code, Diagnostic},
        suggest::{backticked, nearest},
    },
    language::{
        compile::{GatewayUse, Located, ProviderTemplate, Section, Tls, Vars},
        syntax::{self, EndpointEntry, pointer_step},
    },
};

/// Base URLs by name.
type Origins = BTreeMap<String, Located<ProviderTemplate>>;

impl Compiler<'_> {
    pub(super) fn origins(
        &mut self,
        spec: &syntax::Provider,
        vars: &Vars,
        fields: Option<&Section>,
    ) -> Origins {
        let mut origins = Origins::new();
        for (name, text) in spec.origins.iter().flatten() {
            let pointer = format!("/origins/{}", pointer_step(name));
            let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.bytes().all(word) {
                let message = format!("`{}` cannot be an origin's name", name.escape_debug());
                let help = "a name is of lower-case letters, digits, `_` and `-`, and begins with a letter";
                self.report_with_help(Code::Name, self.key(&pointer), message, help);
            }
            let url = self.base_url_at(&pointer, text, vars, fields);
            origins.extend(url.map(|url| (name.clone(), url)));
        }
        origins
    }

    /// Checks the `origin` of each endpoint, and that each origin of the file has an endpoint.
    pub(super) fn check_origins(
        &mut self,
        spec: &syntax::Provider,
        known: &Origins,
        gateways: &[GatewayUse],
    ) {
        let Some(endpoints) = &spec.endpoint else { return };
        for (endpoint, name) in named(endpoints) {
            let pointer = format!("/endpoint/{}/origin", pointer_step(endpoint));
            let declared = spec.origins.iter().flatten().any(|(known, _)| known == name);
            if !declared {
                let help = match nearest(name, known.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => {
                        format!(
                            "declare it: origins = {{ {} = \"https://example.com\" }}",
                            syntax::toml_key(name)
                        )
                    }
                    None => format!("known origins: {}", backticked(known.keys())),
                };
                let message = format!("there is no origin `{}`", name.escape_debug());
                self.report_with_help(Code::Reference, self.value(&pointer), message, help);
            } else if let Some(used) = gateways.first() {
                let gateway = &used.gateway.name;
                let message = format!(
                    "endpoint `{endpoint}` has an origin of its own, and gateway `{gateway}` leads to one upstream alone"
                );
                let help =
                    "write the endpoints of another origin into a provider of their own, or drop the gateway";
                let finding = Diagnostic::new(Code::Condition, self.value(&pointer), message);
                self.add(finding.related(used.at.clone(), "the gateway").help(help));
            }
        }
        for name in spec.origins.iter().flatten().map(|(name, _)| name) {
            let pointer = format!("/origins/{}", pointer_step(name));
            // That of a preset is for other files too.
            if self.is_own(&pointer) && !named(endpoints).any(|(_, used)| used == name) {
                let message = format!("no endpoint has the origin `{name}`");
                let help = format!(
                    "write `origin = \"{name}\"` into an endpoint, or drop it: keys may be sent there"
                );
                self.report_with_help(Code::Condition, self.key(&pointer), message, help);
            }
        }
    }

    /// The `tls` table holds for all origins. `bind` checks a scheme that a var decides.
    pub(super) fn check_tls_schemes(&mut self, tls: Option<&Tls>, origins: &Origins) {
        let Some(tls) = tls else { return };
        let plain = origins.iter().find(|(_, url)| url.value.leading_text().starts_with("http://"));
        if let Some((name, url)) = plain {
            let message = format!("a `tls` table, and the origin `{name}` begins with `http://`");
            let help = "write `https://`, or remove the table";
            let finding = Diagnostic::new(Code::Condition, tls.at.clone(), message);
            self.add(finding.related(url.at.clone(), "the origin").help(help));
        }
    }
}

/// The endpoints with an `origin`, and that.
fn named(endpoints: &Entries) -> impl Iterator<Item = (&String, &String)> {
    endpoints.iter().filter_map(|(name, entry)| match entry {
        EndpointEntry::Table(table) => Some((name, table.origin.as_ref()?)),
        EndpointEntry::Removed => None,
    })
}
