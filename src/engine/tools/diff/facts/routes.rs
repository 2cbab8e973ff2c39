//! Facts about the way to the upstream: gateways, egresses, and the vars that switch them on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{Fact, Listing, canonical, masked};
use crate::{
    base::suggest::backticked,
    language::{
        compile::{ClientCertificate, Egress, Gateway, GatewayUse, Located, PemVar, Tls, Var, Vars},
        syntax::Roots,
    },
    tools::{
        diff::{
            Subject,
            values::{Names, Use, Value, source},
        },
        upstream_routes,
    },
};

impl Listing<'_> {
    pub(super) fn gateway(&mut self, used: &GatewayUse) {
        let GatewayUse { gateway, strip, path, when, order, at: _ } = used;
        let Gateway { name, file: _, vars, base_url, overlay } = &**gateway;
        let own = vars.keys().map(|var| format!("{name}.{var}"));
        let base = canonical(&upstream_routes::shown(&base_url.value, &[]));
        let mut value = format!("`{}`, path `{}`", masked(&base), upstream_routes::shown(path, &[]));
        if !strip.is_empty() {
            write!(value, ", strip `{strip}`").expect("a string takes all that is written to it");
        }
        if let Some(order) = order {
            write!(value, ", order {order}").expect("a string takes all that is written to it");
        }
        let names = Names::of(self.provider);
        let own_names = names.vars(vars);
        let needed = format!("needs {} {}", own_names.sources(vars.keys()), names.sources(when));
        let detail = [canonical(&own_names.exact(&base_url.value)), names.exact(path), needed];
        let mut sent = own_names.values(&base_url.value);
        sent.extend(names.values(path));
        let fact = Fact {
            value: conditional(&value, when.iter().cloned().chain(own)),
            detail: detail.join(" "),
            values: sent,
            added: Some("requests go through it to another URL"),
            removed: Some("requests that went through it go to another URL"),
            changed: Some("requests go through it to another URL, or under other vars"),
            ..Fact::default()
        };
        self.add(Subject::Gateway, name.as_str(), fact);
        let owner = (Subject::Gateway, name.to_string());
        self.overlay(&format!("gateway {name}: "), &owner, overlay, vars);
        self.vars(&format!("{name}."), vars);
    }

    pub(super) fn tls(&mut self, tls: &Tls) {
        let Tls { ca, roots, client, at: _ } = tls;
        let from = |PemVar { var: _, source: of, declared: _ }: &PemVar| source(&of.source);
        if let Some(ca) = ca {
            let fact = Fact {
                added: Some("servers with a certificate of another authority are trusted"),
                changed: Some("servers with a certificate of another authority are trusted"),
                ..Fact::of(from(ca))
            };
            self.add(Subject::Tls, "ca", fact);
        }
        match roots {
            Roots::System => {}
            Roots::Only => {
                let removed = Some("the authorities of the system are trusted, too");
                self.add(Subject::Tls, "roots", Fact { removed, ..Fact::of("`ca` only".to_owned()) });
            }
        }
        if let Some(ClientCertificate { certificate, key }) = client {
            let fact = Fact {
                added: Some("the upstream gets a client certificate"),
                changed: Some("the upstream gets another client certificate"),
                ..Fact::of(format!("{}, its key {}", from(certificate), from(key)))
            };
            self.add(Subject::Tls, "certificate", fact);
        }
    }

    pub(super) fn egresses(&mut self, egresses: &[Egress]) {
        let mut order = Vec::new();
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for Egress { when, url, overlay, at: _ } in egresses {
            let shown = url.as_ref().map(|url| format!("`{}`", masked(&upstream_routes::shown(url, &[]))));
            let mut name = shown.unwrap_or_else(|| "headers".into());
            let times = times.entry(name.clone()).or_default();
            *times += 1;
            if *times > 1 {
                write!(name, " ({times})").expect("a string takes all that is written to it");
            }
            let names = Names::of(self.provider);
            let detail = [url.as_ref().map(|url| names.exact(url)).unwrap_or_default(), names.sources(when)];
            let fact = Fact {
                value: conditional("", when.iter().cloned()),
                detail: detail.join(" "),
                values: url.as_ref().map(|url| names.values(url)).unwrap_or_default(),
                added: Some("requests go another way"),
                removed: Some("requests go another way"),
                changed: Some("requests go another way, or under other vars"),
                ..Fact::default()
            };
            let owner = (Subject::Egress, name.clone());
            self.overlay(&format!("egress {name}: "), &owner, overlay, &self.provider.vars);
            order.push(name.clone());
            self.add(Subject::Egress, name, fact);
        }
        // The headers of a later one replace those of an earlier one.
        if order.len() > 1 {
            let changed = Some("the headers of another egress replace the others");
            self.add(Subject::Egress, "order", Fact { changed, ..Fact::of(order.join(", ")) });
        }
    }

    pub(super) fn vars(&mut self, front: &str, vars: &Vars) {
        for (name, Located { value: var, at: _ }) in vars {
            // Where a PEM text is used is a fact of `tls`.
            let Var { source: from, optional, secret, default, is_pem: _ } = var;
            let read = source(from);
            let optional = if *optional { ", optional" } else { "" };
            let default = default.as_ref().map(|text| format!(", `{}` by default", masked(text)));
            let default = default.unwrap_or_default();
            let value = format!("{read}{optional}{default}{}", if *secret { ", secret" } else { "" });
            // Without the value of a gateway's var, requests go past the gateway.
            let is_required = front.is_empty() && !var.optional && var.default.is_none();
            let fact = Fact {
                values: [Value::of(read.clone(), Use::Sent)].into(),
                is_secret: *secret,
                fixed: var.default.clone(),
                requires: is_required.then_some(read).into_iter().collect(),
                ..Fact::of(value)
            };
            self.add(Subject::Var, format!("{front}{name}"), fact);
        }
    }
}

/// The value of a fact that holds only if vars are set.
fn conditional(value: &str, when: impl Iterator<Item = String>) -> String {
    let needed: BTreeSet<String> = when.collect();
    let list: Vec<&String> = needed.iter().collect();
    let when = if list.is_empty() { "always".to_owned() } else { format!("when {} set", backticked(&list)) };
    if value.is_empty() { when } else { format!("{value}, {when}") }
}
