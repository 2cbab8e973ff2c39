//! Facts about the way to the upstream: gateways, egresses, and the vars that switch them on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{Fact, Listing, canonical, masked};
use crate::{
    base::suggest::backticked,
    language::compile::{Egress, Gateway, GatewayUse, Located, Var, Vars},
    tools::{
        diff::{
            Subject,
            reached::{exact, source, sources, values},
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
        let needed = sources(vars.keys(), vars) + &sources(when, &self.provider.vars);
        let detail = [canonical(&exact(&base_url.value, vars)), exact(path, &self.provider.vars), needed];
        let mut sent = values(&base_url.value, vars);
        sent.extend(values(path, &self.provider.vars));
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
            let vars = &self.provider.vars;
            let detail = url.as_ref().map(|url| exact(url, vars)).unwrap_or_default() + &sources(when, vars);
            let fact = Fact {
                value: conditional("", when.iter().cloned()),
                detail,
                values: url.as_ref().map(|url| values(url, vars)).unwrap_or_default(),
                added: Some("requests go another way"),
                removed: Some("requests go another way"),
                changed: Some("requests go another way, or under other vars"),
                ..Fact::default()
            };
            let owner = (Subject::Egress, name.clone());
            self.overlay(&format!("egress {name}: "), &owner, overlay, vars);
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
            let Var { source: from, optional, secret } = var;
            let read = source(from);
            let optional = if *optional { ", optional" } else { "" };
            let value = format!("{read}{optional}{}", if *secret { ", secret" } else { "" });
            let values = BTreeSet::from([read]);
            let fact = Fact { values, is_secret: *secret, ..Fact::of(value) };
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
