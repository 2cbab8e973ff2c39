//! Facts about rules: headers, query parameters and responses.

use http::HeaderName;

use super::{Fact, Key, Listing, masked};
use crate::{
    base::header_name::FoldedName,
    language::compile::{
        HeaderGlob, HeaderRules, Overlay, ProviderTemplate, QueryRules, ResponseRule, Vars,
        safety::{self, HeaderClass},
    },
    tools::{
        diff::{Subject, values::Names},
        upstream_routes,
    },
};

const NO_CLIENT: &str = "the upstream gets a header that no client can send";
const NO_CLIENT_PARAMETER: &str = "the upstream gets a parameter that no client can send";

impl Listing<'_> {
    pub(super) fn query(&mut self, front: &str, owner: &Key, rules: &QueryRules, captures: &[String]) {
        let QueryRules { remove, default, set } = rules;
        let removed = Some("the client's value reaches the upstream");
        for parameter in remove {
            let fact = Fact { removed, owner: Some(owner.clone()), ..Fact::default() };
            self.add(Subject::Query, format!("{front}remove `{parameter}`"), fact);
        }
        // A client's own is removed, so that none can send it.
        let added =
            |parameter: &str| remove.iter().any(|one| one == parameter).then_some(NO_CLIENT_PARAMETER);
        for (parameter, text) in default {
            let added = added(parameter);
            let fact = Fact { added, owner: Some(owner.clone()), ..self.text(text, captures) };
            self.add(Subject::Query, format!("{front}default `{parameter}`"), fact);
        }
        for (parameter, text) in set {
            let fact = self.text(text, captures);
            let fixed = Some(fact.detail.clone());
            let fact = Fact { fixed, added: added(parameter), removed, owner: Some(owner.clone()), ..fact };
            self.add(Subject::Query, format!("{front}set `{parameter}`"), fact);
        }
    }

    pub(super) fn responses(&mut self, front: &str, rules: &[ResponseRule]) {
        let mut order = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let ResponseRule { status, content_type, reply_status, message } = rule;
            let status = status.map_or_else(|| "any status".to_owned(), |status| status.to_string());
            let kind = content_type.as_ref().map(|glob| format!(" `{}`", glob.as_str())).unwrap_or_default();
            let value = format!("{}: {}", reply_status.as_u16(), upstream_routes::shown(message, &[]));
            let mut name = format!("{front}{status}{kind}");
            if self.facts.contains_key(&(Subject::Response, name.clone())) {
                name = format!("{name} ({})", index + 1);
            }
            order.push(name.clone());
            let fact = Fact { detail: value.clone(), ..Fact::of(masked(&value)) };
            self.add(Subject::Response, name, fact);
        }
        // The first that matches applies.
        if order.len() > 1 {
            self.add(Subject::Response, format!("{front}order"), Fact::of(order.join(", ")));
        }
    }

    pub(super) fn headers(
        &mut self,
        front: &str,
        owner: Option<&Key>,
        rules: &HeaderRules,
        captures: &[String],
    ) {
        let HeaderRules { at: _, pass, remove, default, set, add } = rules;
        for glob in pass {
            let added = Some("headers that the engine removes reach the upstream");
            let kind = Some((format!("{front}pass"), glob.folded().as_str().to_owned()));
            let fact = Fact { added, glob: kind, owner: owner.cloned(), ..Fact::default() };
            self.add(Subject::Headers, format!("{front}pass `{}`", glob.as_str()), fact);
        }
        self.removes(front, owner, remove);
        for (name, text) in default {
            let fact = self.text(text, captures);
            let added = self.no_client_sends(name, remove);
            let fixed = added.map(|_| fact.detail.clone());
            let fact = Fact { fixed, added, owner: owner.cloned(), ..fact };
            self.add(Subject::Headers, format!("{front}default `{name}`"), fact);
        }
        for (name, text) in set {
            let fact = set_header(name, self.text(text, captures));
            let fact = Fact { added: self.no_client_sends(name, remove), owner: owner.cloned(), ..fact };
            self.add(Subject::Headers, format!("{front}set `{name}`"), fact);
        }
        for (name, text) in add {
            let fact = self.text(text, captures);
            let added = self.no_client_sends(name, remove);
            let fixed = added.map(|_| fact.detail.clone());
            let fact = Fact { fixed, added, owner: owner.cloned(), ..fact };
            self.add(Subject::Headers, format!("{front}add `{name}`"), fact);
        }
    }

    /// The reason why a header exposes something new if a file writes it: no client can send it, since the engine, or `remove`
    /// there or for all endpoints, removes a client's own. A client can send any other header itself.
    fn no_client_sends(&self, name: &HeaderName, remove: &[HeaderGlob]) -> Option<&'static str> {
        let folded = FoldedName::from(name);
        let mut removed = remove.iter().chain(&self.provider.headers.remove);
        (!is_plain(name) || removed.any(|glob| glob.matches(&folded))).then_some(NO_CLIENT)
    }

    pub(super) fn removes(&mut self, front: &str, owner: Option<&Key>, globs: &[HeaderGlob]) {
        let removed = Some("headers that were removed reach the upstream");
        for glob in globs {
            let kind = Some((format!("{front}remove"), glob.folded().as_str().to_owned()));
            let fact = Fact { removed, glob: kind, owner: owner.cloned(), ..Fact::default() };
            self.add(Subject::Headers, format!("{front}remove `{}`", glob.as_str()), fact);
        }
    }

    pub(super) fn overlay(&mut self, front: &str, owner: &Key, overlay: &Overlay, vars: &Vars) {
        let Overlay { remove, set } = overlay;
        self.removes(front, Some(owner), remove);
        for (name, text) in set {
            let fact = set_header(name, Fact::text(text, Names::of(self.provider).vars(vars), &[]));
            self.add(
                Subject::Headers,
                format!("{front}set `{name}`"),
                Fact { owner: Some(owner.clone()), ..fact },
            );
        }
    }

    pub(super) fn text(&self, text: &ProviderTemplate, captures: &[String]) -> Fact {
        Fact::text(text, Names::of(self.provider), captures)
    }
}

/// The fact of a header that is set. A client's own header of its name is removed: `set` closes it.
fn set_header(name: &HeaderName, fact: Fact) -> Fact {
    let removed = Some("the client's value reaches the upstream").filter(|_| is_plain(name));
    let added = Some(NO_CLIENT).filter(|_| !is_plain(name));
    let fixed = Some(fact.detail.clone());
    let glob = Some(("set".to_owned(), name.to_string()));
    Fact { fixed, added, removed, glob, ..fact }
}

pub(super) fn is_plain(name: &HeaderName) -> bool {
    safety::request(&name.into()) == HeaderClass::Plain
}
