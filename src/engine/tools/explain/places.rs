//! Where the rules stand that a witness was told of: a rule is known by its place in the bound provider, and the
//! files know where that is written.

use http::HeaderName;

use super::{Action, Place, Scene, Step, Timeout, Timeouts, words};
use crate::{
    base::{
        diag::{Location, Sources},
        header_name::is_same,
    },
    language::{
        bind::OverlaySource,
        compile::{self, SourceMap},
        syntax::pointer_step,
    },
    request::{
        rewrite::{Fate, Reason, Rule, RuleKind, RuleTable},
        table::Hit,
    },
};

/// A place by line and column.
pub(super) fn place(sources: &Sources, at: &Location) -> Option<Place> {
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
    pub(super) fn place(&self, at: &Location) -> Option<Place> {
        place(self.scene.sources, at)
    }

    fn own(&self) -> Option<SourceMap<'_>> {
        match self.scene.fixture {
            Some((file, index)) => SourceMap::of_fixture(self.scene.files, file, index),
            None => SourceMap::of_provider(self.scene.files, &self.provider.name),
        }
    }

    fn gateway(&self) -> Option<SourceMap<'_>> {
        SourceMap::of_gateway(self.scene.files, self.hit.provider.gateway.as_ref()?)
    }

    fn endpoint(&self) -> String {
        format!("/endpoint/{}", pointer_step(&self.hit.endpoint().name))
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
                Some(OverlaySource::Egress(index)) => format!("/egress/{index}/headers"),
                Some(OverlaySource::Gateway) | None => "/headers".to_owned(),
            },
        }
    }

    fn is_gateways(&self, table: RuleTable) -> bool {
        let RuleTable::Overlay(index) = table else { return false };
        self.hit.provider.overlays.get(index).is_some_and(|one| one.of == OverlaySource::Gateway)
    }

    pub(super) fn header_step(&self, name: &HeaderName, fate: Fate) -> Step {
        let text = name.as_str();
        match fate {
            Fate::Kept => engine(Action::Kept, "no rule is about it"),
            Fate::Engine(own) => engine(Action::Set, words::own(own)),
            Fate::Dropped(reason) => {
                let at = match reason {
                    Reason::Claimed => self.claimed_at(name),
                    Reason::TokenLocation => self.token_location_at("headers", text),
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
            Fate::Dropped(Reason::TokenLocation) => {
                let at = self.token_location_at("query", name);
                Step { at, ..engine(Action::Removed, words::dropped(name, Reason::TokenLocation)) }
            }
            Fate::Dropped(reason) => {
                let set = format!("{table}/set/{}", pointer_step(name));
                let at = self.own().and_then(|own| own.key_in_any_case(&set));
                let at = at.and_then(|at| self.place(&at));
                Step { at, ..engine(Action::Removed, words::dropped(name, reason)) }
            }
            Fate::Kept | Fate::Engine(_) => engine(Action::Kept, "no rule is about it"),
        }
    }

    fn ruled(&self, table: &str, rule: Rule, name: &str) -> Step {
        let places = if self.is_gateways(rule.table) { self.gateway() } else { self.own() };
        let (action, pointer, at) = match rule.kind {
            RuleKind::Pass => self.listed(Action::LetThrough, table, "pass", rule.index, places),
            RuleKind::Remove => self.listed(Action::Removed, table, "remove", rule.index, places),
            RuleKind::Default => {
                self.keyed(Action::Added, format!("{table}/default/{}", pointer_step(name)), places)
            }
            RuleKind::Set => self.keyed(Action::Set, self.set_pointer(table, rule, name), places),
        };
        let gateway = self.hit.provider.gateway.as_ref().filter(|_| self.is_gateways(rule.table));
        let rule = gateway.map_or_else(String::new, |name| format!("gateway `{name}`: ")) + &dotted(&pointer);
        Step { action, rule: Some(rule), reason: None, at }
    }

    /// The pointer of a rule that sets a header or a query parameter.
    fn set_pointer(&self, table: &str, rule: Rule, name: &str) -> String {
        let entry = self.auth.filter(|_| rule.table == RuleTable::Auth);
        let kind = entry.and_then(|index| self.provider.auth.get(index)).map(|entry| &entry.kind);
        let header = kind.and_then(|kind| kind.outputs().get(rule.index).map(|one| kind.pointer(one.header)));
        header.map_or_else(
            || format!("{table}/set/{}", pointer_step(name)),
            |pointer| format!("{table}{pointer}"),
        )
    }

    fn listed(
        &self,
        action: Action,
        table: &str,
        list: &str,
        index: usize,
        places: Option<SourceMap<'_>>,
    ) -> (Action, String, Option<Place>) {
        let pointer = format!("{table}/{list}/{index}");
        let at = places.and_then(|places| places.key(&pointer));
        (action, pointer, at.and_then(|at| self.place(&at)))
    }

    fn keyed(
        &self,
        action: Action,
        pointer: String,
        places: Option<SourceMap<'_>>,
    ) -> (Action, String, Option<Place>) {
        let at = places.and_then(|places| places.key_in_any_case(&pointer));
        (action, pointer, at.and_then(|at| self.place(&at)))
    }

    /// The rule that makes a header the file's own: one that is used here, if there is one.
    fn claimed_at(&self, name: &HeaderName) -> Option<Place> {
        let own = self.own()?;
        let at = self.claims()?.into_iter().find(|(_, claimed)| is_same(claimed, name));
        let at = at.and_then(|(pointer, _)| own.key_in_any_case(&pointer));
        let gateway = || {
            let (gateway, pointer) = self.provider.gateways.iter().find_map(|used| {
                let claims = sets("/headers", &used.gateway.overlay.set);
                let (pointer, _) = claims.into_iter().find(|(_, claimed)| is_same(claimed, name))?;
                Some((&used.gateway.name, pointer))
            })?;
            SourceMap::of_gateway(self.scene.files, gateway)?.key_in_any_case(&pointer)
        };
        self.place(&at.or_else(gateway)?)
    }

    /// The headers that the provider's own file sets, with the pointers of the keys; those of the endpoint first.
    fn claims(&self) -> Option<Vec<(String, &HeaderName)>> {
        let provider = self.provider;
        let endpoint = provider.endpoints.get(self.hit.index())?;
        let mut claims = sets(&format!("{}/headers", self.endpoint()), &endpoint.headers.set);
        claims.extend(sets("/headers", &provider.headers.set));
        for (index, entry) in provider.auth.iter().enumerate() {
            let headers = entry.kind.outputs().into_iter().map(|output| output.header);
            claims.extend(headers.map(|name| (format!("/auth/{index}{}", entry.kind.pointer(name)), name)));
        }
        for (index, egress) in provider.egress.iter().enumerate() {
            claims.extend(sets(&format!("/egress/{index}/headers"), &egress.overlay.set));
        }
        for one in &provider.endpoints {
            claims.extend(sets(&format!("/endpoint/{}/headers", pointer_step(&one.name)), &one.headers.set));
        }
        Some(claims)
    }

    /// Where a file says that clients may put their token there; the provider's own, if it does.
    fn token_location_at(&self, list: &str, name: &str) -> Option<Place> {
        let position = |provider: &compile::Provider| match list {
            "headers" => provider.caller.headers.iter().position(|known| known.as_str() == name),
            _ => provider.caller.query.iter().position(|known| known == name),
        };
        let at =
            |index: usize, places: Option<SourceMap<'_>>| places?.key(&format!("/caller/{list}/{index}"));
        let own = position(self.provider).and_then(|index| at(index, self.own()));
        let other = || {
            let all = self.scene.providers.iter();
            all.filter(|_| self.scene.fixture.is_none())
                .find_map(|one| at(position(one)?, SourceMap::of_provider(self.scene.files, &one.name)))
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

/// The headers of a table's `set`, with the pointers of their keys.
fn sets<'r>(
    table: &str,
    rules: &'r [(HeaderName, compile::ProviderTemplate)],
) -> Vec<(String, &'r HeaderName)> {
    rules.iter().map(|(name, _)| (format!("{table}/set/{}", pointer_step(name.as_str())), name)).collect()
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
