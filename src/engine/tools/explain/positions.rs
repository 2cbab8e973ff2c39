//! Positions of rules in files. A decision names its rule by index in the bound provider; the files' source maps give
//! the position.

use http::{HeaderName, header};

use super::{
    Action, Context, Inserted, Metering, Position, ReturnedHeader, Step, TakenOut, Telemetry, TelemetryName,
    Timeout, Timeouts, reasons,
};
use crate::{
    base::{
        diag::{Location, Sources},
        header_name::is_same,
    },
    language::{
        auth::Place,
        bind::{OverlaySource, TelemetryNames},
        compile::{self, SourceMap, metering::Ask},
        syntax::pointer_step,
    },
    request::{
        rewrite::{Fate, Reason, Rule, RuleKind, RuleTable},
        table::Hit,
    },
};

/// The position of a location. None if the file's text is not known.
pub(super) fn position(sources: &Sources, at: &Location) -> Option<Position> {
    let (line, column) = sources.line_column(at);
    sources.has(&at.file).then(|| Position { file: at.file.to_string(), line, column })
}

/// Locates a provider's rules.
pub(super) struct RuleLocator<'a> {
    pub(super) context: Context<'a>,
    pub(super) provider: &'a compile::Provider,
    pub(super) hit: &'a Hit,
    /// The index of the `[[auth]]` entry that is used.
    pub(super) auth: Option<usize>,
}

impl RuleLocator<'_> {
    pub(super) fn position(&self, at: &Location) -> Option<Position> {
        position(self.context.sources, at)
    }

    fn own(&self) -> Option<SourceMap<'_>> {
        match self.context.fixture {
            Some((file, index)) => SourceMap::of_fixture(self.context.files, file, index),
            None => SourceMap::of_provider(self.context.files, &self.provider.name),
        }
    }

    fn gateway(&self) -> Option<SourceMap<'_>> {
        SourceMap::of_gateway(self.context.files, self.hit.provider.gateway.as_ref()?)
    }

    fn endpoint(&self) -> String {
        format!("/endpoint/{}", pointer_step(&self.hit.endpoint().name))
    }

    /// The position of the endpoint's path.
    pub(super) fn endpoint_at(&self) -> Option<Position> {
        self.position(&self.provider.endpoints.get(self.hit.index())?.at)
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
            Fate::Kept => engine_step(Action::Kept, "no rule is about it"),
            Fate::Engine(own) => engine_step(Action::Set, reasons::own(own)),
            Fate::Dropped(reason) => {
                let at = match reason {
                    Reason::Claimed => self.claimed_at(name),
                    Reason::TokenLocation if is_same(name, &header::SEC_WEBSOCKET_PROTOCOL) => {
                        self.subprotocol_at()
                    }
                    Reason::TokenLocation => self.token_location_at("headers", text),
                    Reason::Managed
                    | Reason::Stripped
                    | Reason::Unpassed
                    | Reason::Nominated
                    | Reason::CallerToken => None,
                };
                Step { at, ..engine_step(Action::Removed, reasons::dropped(text, reason)) }
            }
            Fate::Ruled(rule) => self.rule_step(&self.table(rule.table), rule, text),
        }
    }

    pub(super) fn query_step(&self, name: &str, fate: Fate) -> Step {
        let table = format!("{}/query", self.endpoint());
        match fate {
            Fate::Ruled(rule) if rule.table == RuleTable::Auth => {
                self.rule_step(&self.table(rule.table), rule, name)
            }
            Fate::Ruled(rule) => self.rule_step(&table, rule, name),
            Fate::Dropped(Reason::TokenLocation) => {
                let at = self.token_location_at("query", name);
                Step { at, ..engine_step(Action::Removed, reasons::dropped(name, Reason::TokenLocation)) }
            }
            Fate::Dropped(Reason::CallerToken) => {
                engine_step(Action::Removed, reasons::dropped(name, Reason::CallerToken))
            }
            Fate::Dropped(reason) => {
                let set = format!("{table}/set/{}", pointer_step(name));
                let by_auth = |own: &SourceMap<'_>| own.key(&self.claimed_parameter(name)?);
                let at = self.own().and_then(|own| own.key_in_any_case(&set).or_else(|| by_auth(&own)));
                let at = at.and_then(|at| self.position(&at));
                Step { at, ..engine_step(Action::Removed, reasons::dropped(name, reason)) }
            }
            Fate::Kept | Fate::Engine(_) => engine_step(Action::Kept, "no rule is about it"),
        }
    }

    fn rule_step(&self, table: &str, rule: Rule, name: &str) -> Step {
        let places = if self.is_gateways(rule.table) { self.gateway() } else { self.own() };
        let (action, pointer, at) = match rule.kind {
            RuleKind::Pass => self.listed(Action::LetThrough, table, "pass", rule.index, places),
            RuleKind::Remove => self.listed(Action::Removed, table, "remove", rule.index, places),
            RuleKind::Add => {
                self.keyed(Action::Appended, format!("{table}/add/{}", pointer_step(name)), places)
            }
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
        let written = kind.and_then(|kind| kind.outputs().get(rule.index).map(|one| kind.pointer(one.place)));
        written.map_or_else(
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
    ) -> (Action, String, Option<Position>) {
        let pointer = format!("{table}/{list}/{index}");
        let at = places.and_then(|places| places.key(&pointer));
        (action, pointer, at.and_then(|at| self.position(&at)))
    }

    fn keyed(
        &self,
        action: Action,
        pointer: String,
        places: Option<SourceMap<'_>>,
    ) -> (Action, String, Option<Position>) {
        let at = places.and_then(|places| places.key_in_any_case(&pointer));
        (action, pointer, at.and_then(|at| self.position(&at)))
    }

    /// The rule that sets a header: the endpoint's first, then the provider's, then a gateway's.
    fn claimed_at(&self, name: &HeaderName) -> Option<Position> {
        let own = self.own()?;
        let at = self.claims()?.into_iter().find(|(_, claimed)| is_same(claimed, name));
        let at = at.and_then(|(pointer, _)| own.key_in_any_case(&pointer));
        let gateway = || {
            let (gateway, pointer) = self.provider.gateways.iter().find_map(|used| {
                let claims = sets("/headers", &used.gateway.overlay.set);
                let (pointer, _) = claims.into_iter().find(|(_, claimed)| is_same(claimed, name))?;
                Some((&used.gateway.name, pointer))
            })?;
            SourceMap::of_gateway(self.context.files, gateway)?.key_in_any_case(&pointer)
        };
        self.position(&at.or_else(gateway)?)
    }

    /// The pointer of the entry that sets a query parameter.
    fn claimed_parameter(&self, name: &str) -> Option<String> {
        let place = Place::Query(name);
        self.provider.auth.iter().enumerate().find_map(|(index, entry)| {
            entry.kind.outputs().iter().find(|output| output.place == place)?;
            Some(format!("/auth/{index}{}", entry.kind.pointer(place)))
        })
    }

    /// The headers that the provider's own file sets, with their keys' pointers. Those of the endpoint come first.
    fn claims(&self) -> Option<Vec<(String, &HeaderName)>> {
        let provider = self.provider;
        let endpoint = provider.endpoints.get(self.hit.index())?;
        let mut claims = sets(&format!("{}/headers", self.endpoint()), &endpoint.headers.set);
        claims.extend(sets("/headers", &provider.headers.set));
        for (index, entry) in provider.auth.iter().enumerate() {
            let outputs = entry.kind.outputs().into_iter();
            let replaced = outputs.filter_map(|output| Some((output.place, output.place.replaced_header()?)));
            let pointer = |place| format!("/auth/{index}{}", entry.kind.pointer(place));
            claims.extend(replaced.map(|(place, name)| (pointer(place), name)));
        }
        for (index, egress) in provider.egress.iter().enumerate() {
            claims.extend(sets(&format!("/egress/{index}/headers"), &egress.overlay.set));
        }
        for one in &provider.endpoints {
            claims.extend(sets(&format!("/endpoint/{}/headers", pointer_step(&one.name)), &one.headers.set));
        }
        Some(claims)
    }

    /// The position of a token location: in the provider's own file, else in another's.
    fn token_location_at(&self, list: &str, name: &str) -> Option<Position> {
        let position = |provider: &compile::Provider| match list {
            "headers" => provider.caller.headers.iter().position(|known| known.as_str() == name),
            _ => provider.caller.query.iter().position(|known| known == name),
        };
        let at =
            |index: usize, places: Option<SourceMap<'_>>| places?.key(&format!("/caller/{list}/{index}"));
        let own = position(self.provider).and_then(|index| at(index, self.own()));
        let other = || {
            let all = self.context.providers.iter();
            all.filter(|_| self.context.fixture.is_none())
                .find_map(|one| at(position(one)?, SourceMap::of_provider(self.context.files, &one.name)))
        };
        self.position(&own.or_else(other)?)
    }

    /// The position of the prefixes of subprotocols, in the provider's own file.
    fn subprotocol_at(&self) -> Option<Position> {
        self.position(&self.own()?.key("/caller/subprotocol")?)
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        let timeouts = self.hit.endpoint().timeouts;
        let own = self.own();
        let at = |key: &str| {
            let own = own.as_ref()?;
            let nearer = own.key(&format!("{}/timeouts/{key}", self.endpoint()));
            self.position(&nearer.or_else(|| own.key(&format!("/timeouts/{key}")))?)
        };
        Timeouts {
            connect: Timeout { ms: timeouts.connect.as_millis(), at: at("connect") },
            first_byte: Timeout { ms: timeouts.first_byte.as_millis(), at: at("first_byte") },
            idle: Timeout { ms: timeouts.idle.as_millis(), at: at("idle") },
        }
    }

    /// The headers of the response whose URLs come back.
    pub(super) fn returned_urls(&self) -> Vec<ReturnedHeader> {
        let own = self.own();
        let one = |(index, name): (usize, &HeaderName)| {
            let at = own.as_ref().and_then(|own| own.key(&format!("/response_headers/rewrite_urls/{index}")));
            ReturnedHeader { name: name.to_string(), at: at.and_then(|at| self.position(&at)) }
        };
        self.provider.rewrite_urls.iter().enumerate().map(one).collect()
    }

    /// `ask`: the key that the request asks with.
    pub(super) fn metering(&self, ask: Option<&Ask>) -> Metering {
        let endpoint = self.hit.endpoint();
        let own = self.own();
        let keys = ["when_missing", "metered", "api"].map(|key| format!("{}/{key}", self.endpoint()));
        let at = keys.iter().find_map(|key| self.position(&own.as_ref()?.key(key)?));
        let Some(metering) = &endpoint.metering else {
            let reason = Some(reasons::unmetered(endpoint));
            return Metering { api: None, when_missing: None, inserts: None, takes_out: None, reason, at };
        };
        Metering {
            api: endpoint.api.as_ref().map(|api| api.name.to_string()),
            when_missing: Some(metering.when_missing.name().into()),
            inserts: ask.map(|ask| Inserted {
                at: ask.at.to_string(),
                value: ask.value.clone(),
                when: ask.when.as_ref().map(ToString::to_string),
            }),
            takes_out: ask.and_then(|ask| ask.extra.as_ref()).map(|extra| TakenOut {
                at: extra.at.to_string(),
                empty: extra.empty.to_string(),
                with: extra.with.iter().map(ToString::to_string).collect(),
            }),
            reason: None,
            at,
        }
    }

    /// The names in OpenTelemetry.
    pub(super) fn telemetry(&self) -> Telemetry {
        let TelemetryNames { provider, operation, is_metered: _ } = &*self.hit.endpoint().telemetry;
        let own = self.own();
        let at = |key: &str| self.position(&own.as_ref()?.key(key)?);
        let of_api = || {
            let api = self.hit.endpoint().api.as_ref().filter(|_| self.hit.endpoint().metering.is_some())?;
            api.operation.as_ref().and_then(|_| at(&format!("{}/api", self.endpoint())))
        };
        let operation_at = at(&format!("{}/operation", self.endpoint())).or_else(of_api);
        Telemetry {
            operation: TelemetryName { name: operation.to_string(), at: operation_at },
            provider: TelemetryName { name: provider.to_string(), at: at("/telemetry_name") },
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

pub(super) fn engine_step(action: Action, reason: &str) -> Step {
    Step { action, rule: None, reason: Some(reason.to_owned()), at: None }
}

/// A pointer as a TOML key path: `/auth/0/set/x-key` is `auth[0].set.x-key`.
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
