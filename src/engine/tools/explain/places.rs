//! Where the rules stand that a witness was told of: a rule is known by its place in the bound provider, and the
//! files know where that is written.

use http::HeaderName;

use super::{Action, Place, Scene, Step, Timeout, Timeouts, words};
use crate::{
    base::diag::{At, Sources},
    language::{
        bind::Whose,
        compile::{self, Places},
        syntax::step,
    },
    request::{
        rewrite::{Fate, Reason, Rule, RuleKind, RuleTable},
        table::Hit,
    },
};

/// A place by line and column.
pub(super) fn place(sources: &Sources, at: &At) -> Option<Place> {
    let (line, column) = sources.line_column(at);
    sources.has(&at.file).then(|| Place { file: at.file.to_string(), line, column })
}

/// Finds the places of a provider's rules.
pub(super) struct Finder<'a> {
    pub(super) scene: Scene<'a>,
    pub(super) provider: &'a compile::Provider,
    pub(super) hit: &'a Hit,
    /// The entry that is used.
    pub(super) auth: Option<usize>,
}

impl Finder<'_> {
    pub(super) fn place(&self, at: &At) -> Option<Place> {
        place(self.scene.sources, at)
    }

    fn own(&self) -> Option<Places<'_>> {
        match self.scene.fixture {
            Some((file, index)) => Places::of_fixture(self.scene.files, file, index),
            None => Places::of_provider(self.scene.files, &self.provider.name),
        }
    }

    fn gateway(&self) -> Option<Places<'_>> {
        Places::of_gateway(self.scene.files, self.hit.provider.gateway.as_ref()?)
    }

    fn endpoint(&self) -> String {
        format!("/endpoint/{}", step(&self.hit.endpoint().name))
    }

    /// Where the endpoint's path is written.
    pub(super) fn endpoint_at(&self) -> Option<Place> {
        self.place(&self.provider.endpoints.get(self.hit.index())?.at)
    }

    /// The pointer of a table of header rules, in its file.
    fn table(&self, table: RuleTable) -> String {
        match table {
            RuleTable::Provider => "/headers".to_owned(),
            RuleTable::Endpoint => format!("{}/headers", self.endpoint()),
            RuleTable::Auth => format!("/auth/{}", self.auth.unwrap_or_default()),
            RuleTable::Overlay(index) => match self.hit.provider.overlays.get(index).map(|one| one.of) {
                Some(Whose::Egress(index)) => format!("/egress/{index}/headers"),
                Some(Whose::Gateway) | None => "/headers".to_owned(),
            },
        }
    }

    fn is_gateways(&self, table: RuleTable) -> bool {
        let RuleTable::Overlay(index) = table else { return false };
        self.hit.provider.overlays.get(index).is_some_and(|one| one.of == Whose::Gateway)
    }

    pub(super) fn header_step(&self, name: &HeaderName, fate: Fate) -> Step {
        let text = name.as_str();
        match fate {
            Fate::Kept => engine(Action::Kept, "no rule is about it"),
            Fate::Own(own) => engine(Action::Set, words::own(own)),
            Fate::Dropped(reason) => {
                let at = match reason {
                    Reason::Claimed => self.claimed_at(name),
                    Reason::Carrier => self.carrier_at("headers", text),
                    Reason::Managed | Reason::Stripped | Reason::Unpassed | Reason::Nominated => None,
                };
                Step { at, ..engine(Action::Removed, words::dropped(text, reason)) }
            }
            Fate::Ruled(rule) => self.ruled(&self.table(rule.table), rule, text),
        }
    }

    pub(super) fn query_step(&self, name: &str, fate: Fate) -> Step {
        let table = format!("{}/query", self.endpoint());
        match fate {
            Fate::Ruled(rule) => self.ruled(&table, rule, name),
            Fate::Dropped(Reason::Carrier) => {
                let at = self.carrier_at("query", name);
                Step { at, ..engine(Action::Removed, words::dropped(name, Reason::Carrier)) }
            }
            Fate::Dropped(reason) => {
                let at = self.own().and_then(|own| own.key_in(&format!("{table}/set"), name));
                let at = at.and_then(|at| self.place(&at));
                Step { at, ..engine(Action::Removed, words::dropped(name, reason)) }
            }
            Fate::Kept | Fate::Own(_) => engine(Action::Kept, "no rule is about it"),
        }
    }

    fn ruled(&self, table: &str, rule: Rule, name: &str) -> Step {
        let places = if self.is_gateways(rule.table) { self.gateway() } else { self.own() };
        let (action, pointer, at) = match rule.kind {
            RuleKind::Pass => self.listed(Action::LetThrough, table, "pass", rule.index, places),
            RuleKind::Remove => self.listed(Action::Removed, table, "remove", rule.index, places),
            RuleKind::Default => self.keyed(Action::Added, table, "default", name, places),
            RuleKind::Set => self.keyed(Action::Set, table, self.set_key(rule.table), name, places),
        };
        let gateway = self.hit.provider.gateway.as_ref().filter(|_| self.is_gateways(rule.table));
        let rule = gateway.map_or_else(String::new, |name| format!("gateway `{name}`: ")) + &dotted(&pointer);
        Step { action, rule: Some(rule), reason: None, at }
    }

    /// The key of a table under which its headers are set.
    fn set_key(&self, table: RuleTable) -> &'static str {
        let entry = self.auth.filter(|_| table == RuleTable::Auth);
        entry.and_then(|index| self.provider.auth.get(index)).map_or("set", |entry| entry.kind.key())
    }

    fn listed(
        &self,
        action: Action,
        table: &str,
        list: &str,
        index: usize,
        places: Option<Places<'_>>,
    ) -> (Action, String, Option<Place>) {
        let pointer = format!("{table}/{list}/{index}");
        let at = places.and_then(|places| places.key(&pointer));
        (action, pointer, at.and_then(|at| self.place(&at)))
    }

    fn keyed(
        &self,
        action: Action,
        table: &str,
        list: &str,
        name: &str,
        places: Option<Places<'_>>,
    ) -> (Action, String, Option<Place>) {
        let table = format!("{table}/{list}");
        let at = places.and_then(|places| places.key_in(&table, name));
        (action, format!("{table}/{}", step(name)), at.and_then(|at| self.place(&at)))
    }

    /// The rule that makes a header the file's own: one that is used here, if there is one.
    fn claimed_at(&self, name: &HeaderName) -> Option<Place> {
        let own = self.own()?;
        let provider = self.provider;
        let set = |pointer: String, rules: &[(HeaderName, compile::Text)]| {
            (format!("{pointer}/set"), rules.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())
        };
        let endpoint = &provider.endpoints.get(self.hit.index())?.headers.set;
        let mut tables = vec![set(format!("{}/headers", self.endpoint()), endpoint)];
        tables.push(set("/headers".to_owned(), &provider.headers.set));
        tables.extend(provider.auth.iter().enumerate().map(|(index, one)| {
            let names = one.kind.outputs().map(|output| output.header.clone());
            (format!("/auth/{index}/{}", one.kind.key()), names.collect())
        }));
        let egress = provider.egress.iter().enumerate();
        tables.extend(egress.map(|(index, one)| set(format!("/egress/{index}/headers"), &one.overlay.set)));
        let endpoints = provider.endpoints.iter();
        tables.extend(
            endpoints.map(|one| set(format!("/endpoint/{}/headers", step(&one.name)), &one.headers.set)),
        );
        let spelt =
            |names: &[HeaderName]| names.iter().find(|known| same(known, name)).map(ToString::to_string);
        let at = tables.iter().find_map(|(table, names)| Some((table, spelt(names)?)));
        let at = at.and_then(|(table, name)| own.key_in(table, &name));
        let gateway = || {
            let set = |one: &compile::GatewayUse| set(String::new(), &one.gateway.overlay.set).1;
            let (gateway, name) = provider.gateways.iter().find_map(|one| Some((one, spelt(&set(one))?)))?;
            Places::of_gateway(self.scene.files, &gateway.gateway.name)?.key_in("/headers/set", &name)
        };
        self.place(&at.or_else(gateway)?)
    }

    /// Where a file says that clients may put their token there; the provider's own, if it does.
    fn carrier_at(&self, list: &str, name: &str) -> Option<Place> {
        let position = |provider: &compile::Provider| match list {
            "headers" => provider.caller.headers.iter().position(|known| known.as_str() == name),
            _ => provider.caller.query.iter().position(|known| known == name),
        };
        let at = |index: usize, places: Option<Places<'_>>| places?.key(&format!("/caller/{list}/{index}"));
        let own = position(self.provider).and_then(|index| at(index, self.own()));
        let other = || {
            let all = self.scene.providers.iter();
            all.filter(|_| self.scene.fixture.is_none())
                .find_map(|one| at(position(one)?, Places::of_provider(self.scene.files, &one.name)))
        };
        self.place(&own.or_else(other)?)
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        let timeouts = self.hit.endpoint().timeouts;
        let own = self.own();
        let at = |key: &str| {
            let own = own.as_ref()?;
            let nearer = own.key(&format!("{}/timeouts/{key}", self.endpoint()));
            self.place(&nearer.or_else(|| own.key(&format!("/timeouts/{key}")))?)
        };
        Timeouts {
            connect: Timeout { ms: timeouts.connect.as_millis(), at: at("connect") },
            first_byte: Timeout { ms: timeouts.first_byte.as_millis(), at: at("first_byte") },
            idle: Timeout { ms: timeouts.idle.as_millis(), at: at("idle") },
        }
    }
}

fn same(known: &HeaderName, name: &HeaderName) -> bool {
    known.as_str().replace('_', "-") == name.as_str().replace('_', "-")
}

fn engine(action: Action, reason: &str) -> Step {
    Step { action, rule: None, reason: Some(reason.to_owned()), at: None }
}

/// A pointer as TOML writes the way to a key: `/auth/0/set/x-key` is `auth[0].set.x-key`.
fn dotted(pointer: &str) -> String {
    let mut out = String::new();
    for one in pointer.split('/').skip(1) {
        let one = one.replace("~1", "/").replace("~0", "~");
        if one.bytes().all(|byte| byte.is_ascii_digit()) {
            out.extend(["[", &one, "]"]);
        } else {
            out.extend([if out.is_empty() { "" } else { "." }, &one]);
        }
    }
    out
}
