//! The upstream request's head, in this order: the client's headers that may be sent, the file's rules, gateway and
//! egress, the stored credential.

use std::{borrow::Cow, fmt};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use zeroize::Zeroizing;

use super::{
    EngineHeader, Fate, Reason, RuleKind, RuleTable, TokenSearch, Witness, is_nominated, query,
    takes_trailers,
};
use crate::{
    base::{
        fault::{Fault, FaultKind},
        header_list,
        header_name::{FoldedName, is_same},
        origin::Origin,
        secret::Secret,
        websocket,
    },
    language::{
        auth::{BodyHash, BodyInput, FieldValues, FinishedHead, Inputs, Malformed, Overridden, Place},
        bind::{self, Auth, Headers, RequestInputs, Value},
        compile::{
            HeaderGlob, TokenLocations, is_dots,
            safety::{self, HeaderClass},
        },
        generator::RandomBytes,
    },
    request::table::{Hit, Table},
};

/// The credential that was chosen for a request.
#[derive(Debug, Clone)]
pub struct Chosen<'c> {
    /// The owner's position among the owners.
    pub owner: usize,
    /// The entry that uses it.
    pub auth: &'c Auth,
    /// The key or access token in the entry's `field`, or the made token; none for an entry without either.
    pub secret: Option<&'c Secret>,
    /// The fields of the made token's reply.
    pub reply: &'c [(Box<str>, Secret)],
    /// The values that the request reads.
    pub values: FieldValues<'c>,
    /// The time of the choice, in milliseconds since 1970.
    pub now_ms: u64,
    /// The hash of the body, once it is known.
    pub body: Option<BodyHash>,
}

impl Chosen<'_> {
    /// The same with the hash of a body in memory, if its kind needs it.
    #[must_use]
    pub fn with_body(mut self, body: &[u8]) -> Self {
        self.body = match self.auth.kind.needs().body {
            BodyInput::Nothing => None,
            BodyInput::Sha256 => Some(BodyHash::of(body)),
        };
        self
    }
}

impl Chosen<'_> {
    /// The inputs of its kind.
    pub(super) fn inputs(&self) -> Inputs<'_> {
        let Self { owner: _, auth: _, secret, reply, values, now_ms, body } = self;
        Inputs { secret: *secret, reply, values, now_ms: *now_ms, body: *body }
    }

    /// The stored values that are sent.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let reply = self.reply.iter().map(|(_, text)| text);
        self.secret.into_iter().chain(reply).chain(self.values.stored())
    }
}

/// The head of an upstream request.
pub struct Outgoing<'h> {
    /// The method.
    pub method: Method,
    /// The destination of the connection.
    pub origin: Cow<'h, Origin>,
    /// The upstream's origin, if a user entered it as a whole. Behind an egress, the connection goes elsewhere.
    pub entered: Option<Origin>,
    /// Path and query in origin form (RFC 9112, section 3.2.1).
    pub target: String,
    /// All headers with `Host`, without framing: the sender adds it.
    pub headers: HeaderMap,
}

/// Without the query, which may hold a credential.
impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, origin, entered, target, headers } = self;
        let path = target.split('?').next();
        let mut shown = formatter.debug_struct("Outgoing");
        shown.field("method", method).field("origin", origin).field("entered", entered).field("path", &path);
        shown.field("headers", headers).finish()
    }
}

impl Outgoing<'_> {
    /// The whole URL.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin, self.target)
    }
}

/// Values of a request that come from outside, since the engine has neither randomness nor a clock.
#[derive(Debug, Clone, Copy)]
pub struct Fresh<'f> {
    /// Random bytes, for each value that the endpoint generates.
    pub random: &'f [RandomBytes],
    /// The time in milliseconds since 1970.
    pub now_ms: u64,
}

impl Fresh<'_> {
    /// Stand-ins, for tools: zeros.
    pub const STAND_IN: Fresh<'static> = Fresh { random: &[], now_ms: 0 };
}

/// The client's values that are never sent upstream, besides those of `compile::safety`.
#[derive(Debug, Clone, Copy)]
pub struct Withheld<'w> {
    /// The token locations of all files.
    pub locations: &'w TokenLocations,
    /// The caller's token without a vendor's prefix, in any header and query parameter. None is expected in the path:
    /// `decide` refuses that.
    pub token: Option<&'w Secret>,
}

impl<'w> Withheld<'w> {
    /// Those of a request with this token.
    pub fn of(table: &'w Table, token: Option<&'w Secret>) -> Self {
        Self { locations: &table.token_locations, token }
    }
}

/// The upstream request's head. Fails if a value makes no valid header.
pub fn request<'h>(
    hit: &'h Hit,
    head: &Parts,
    chosen: Option<&Chosen<'_>>,
    withheld: Withheld<'_>,
    fresh: Fresh<'_>,
) -> Result<Outgoing<'h>, Fault> {
    request_observed(hit, head, chosen, withheld, fresh, &mut ())
}

/// The same as [`request`], with an observer.
pub fn request_observed<'h>(
    hit: &'h Hit,
    head: &Parts,
    chosen: Option<&Chosen<'_>>,
    withheld: Withheld<'_>,
    fresh: Fresh<'_>,
    witness: &mut impl Witness,
) -> Result<Outgoing<'h>, Fault> {
    let (provider, endpoint) = (&*hit.provider, hit.endpoint());
    let path = head.uri.path();
    let none = FieldValues::default();
    let values = chosen.map_or(&none, |chosen| &chosen.values);
    let inputs = RequestInputs { path, captures: &hit.captures, values };
    let mut target = upstream_path(endpoint, inputs).ok_or_else(|| unusable(provider, "path"))?;
    let (token_locations, token) = (withheld.locations, TokenSearch::new(withheld.token));
    let removed =
        query::Removed { token_locations: &token_locations.query, claimed: &provider.claimed_query, token };
    let query = query::rewrite(head.uri.query(), &endpoint.query, removed, inputs, witness);
    if !query.is_empty() {
        target.push('?');
        target.push_str(&query);
    }
    if let Some(chosen) = chosen {
        add_parameters(&mut target, chosen, witness)
            .map_err(|Malformed| unusable(provider, "query parameter"))?;
    }
    let mut headers = passed(hit, &head.headers, (token_locations, token), witness);
    let value = |value: &Value| made(value, inputs, hit, fresh);
    apply(&mut headers, &provider.headers, RuleTable::Provider, value, witness)?;
    apply(&mut headers, &endpoint.headers, RuleTable::Endpoint, value, witness)?;
    if let Some(chosen) = chosen {
        leave_to_overlays(&mut headers, chosen, witness);
    }
    for (index, overlay) in provider.overlays.iter().enumerate() {
        let table = RuleTable::Overlay(index);
        remove(&mut headers, &overlay.remove, table, witness);
        for (index, (name, value)) in overlay.set.iter().enumerate() {
            headers.insert(name.clone(), value.clone());
            witness.header(name, table.rule(RuleKind::Set, index));
        }
    }
    let destination = provider.destination_of(endpoint);
    let upstream = destination.origin(values).map_err(|bind::NoOrigin| unsendable(provider, "its host"))?;
    // A default is the file's.
    let is_entered = destination.is_entered()
        && values.stored_at(|index| destination.reads().any(|one| one == index)).next().is_some();
    let entered = is_entered.then(|| upstream.clone().into_owned());
    let origin = match &provider.egress {
        None => upstream,
        Some(egress) => {
            target = wrapped(egress, &upstream.to_string(), &Zeroizing::new(target));
            Cow::Borrowed(&egress.origin)
        }
    };
    if endpoint.upgrade.is_some() {
        handshake(&mut headers, &head.headers, token, witness);
    }
    let host = match provider.host_header_of(endpoint) {
        Some(host) => host.clone(),
        None => HeaderValue::try_from(origin.authority()).map_err(|_| unsendable(provider, "its host"))?,
    };
    headers.insert(header::HOST, host);
    witness.header(&header::HOST, Fate::Engine(EngineHeader::Host));
    if let Some(chosen) = chosen {
        let head =
            FinishedHead { method: &head.method, origin: &origin, target: &target, headers: &mut headers };
        authenticate(head, chosen, witness).map_err(|Malformed| unusable(provider, "header"))?;
    }
    Ok(Outgoing { method: head.method.clone(), origin, entered, target, headers })
}

/// The path at the upstream; none if a value that it names is absent or makes a dot segment.
fn upstream_path(endpoint: &bind::Endpoint, inputs: RequestInputs<'_>) -> Option<String> {
    let mut target = String::with_capacity(inputs.path.len() + 64);
    endpoint.target.render(&mut target, |input| inputs.get(*input).unwrap_or_default());
    let is_good = || {
        let mut fields = endpoint.target.placeholders().filter(|input| input.field().is_some());
        fields.all(|input| inputs.get(*input).is_some()) && !target.split('/').any(is_dots)
    };
    // Captures are never dot segments.
    (inputs.values.is_empty() || is_good()).then_some(target)
}

/// The client's headers that may be sent upstream.
fn passed(
    hit: &Hit,
    sent: &HeaderMap,
    (token_locations, token): (&TokenLocations, TokenSearch<'_>),
    witness: &mut impl Witness,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(sent.len() + 8);
    // Several lines of a name are one value, and follow each other here.
    let mut with_token: Option<&HeaderName> = None;
    for (name, value) in sent {
        let mut fate = fate(hit, name, sent, token_locations);
        if is_same(name, &header::SEC_WEBSOCKET_PROTOCOL) && !matches!(fate, Fate::Dropped(_)) {
            let witness = &mut *witness;
            subprotocols(&mut headers, (name, value), (token_locations, token), witness);
            continue;
        }
        if !matches!(fate, Fate::Dropped(_))
            && (with_token == Some(name) || token.is_in_header(name, value.as_bytes()))
        {
            with_token = Some(name);
            headers.remove(name);
            fate = Fate::Dropped(Reason::CallerToken);
        }
        witness.header(name, fate);
        if !matches!(fate, Fate::Dropped(_)) {
            headers.append(name.clone(), value.clone());
        }
    }
    if takes_trailers(sent) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        witness.header(&header::TE, Fate::Engine(EngineHeader::Trailers));
        witness.header(&header::CONNECTION, Fate::Engine(EngineHeader::Trailers));
    }
    headers
}

/// Passes a line of subprotocols on, without the items that hold a token of the client. A line that is no text may
/// hold one too, and does not pass.
fn subprotocols(
    headers: &mut HeaderMap,
    (name, line): (&HeaderName, &HeaderValue),
    (token_locations, token): (&TokenLocations, TokenSearch<'_>),
    witness: &mut impl Witness,
) {
    let Ok(text) = line.to_str() else {
        witness.header(name, Fate::Dropped(Reason::TokenLocation));
        return;
    };
    let held =
        |item: &str| token_locations.subprotocol.iter().any(|prefix| item.starts_with(prefix.as_str()));
    let is_secret = |text: &str| token.is_in_header(name, text.as_bytes());
    let items = || text.split(',').map(|item| item.trim_matches([' ', '\t']));
    if !is_secret(text) && !items().any(held) {
        witness.header(name, Fate::Kept);
        headers.append(name.clone(), line.clone());
        return;
    }
    let is_declared = items().any(held);
    let reason = if is_declared { Reason::TokenLocation } else { Reason::CallerToken };
    witness.header(name, Fate::Dropped(reason));
    let rest: Vec<&str> =
        items().filter(|item| !item.is_empty() && !held(item) && !is_secret(item)).collect();
    let rest = rest.join(", ");
    if !rest.is_empty()
        && !is_secret(&rest)
        && let Ok(value) = HeaderValue::from_str(&rest)
    {
        witness.header(name, Fate::Engine(EngineHeader::Subprotocols));
        headers.append(name.clone(), value);
    }
}

/// Puts the handshake of a WebSocket in place (RFC 6455, section 4.1): with the client's key, which the upstream's answer is for.
fn handshake(headers: &mut HeaderMap, sent: &HeaderMap, token: TokenSearch<'_>, witness: &mut impl Witness) {
    if headers.remove(header::TE).is_some() {
        witness.header(&header::TE, Fate::Dropped(Reason::Managed));
    }
    let fixed = HeaderValue::from_static;
    let is_secret = |key: &&HeaderValue| token.is_in_header(&header::SEC_WEBSOCKET_KEY, key.as_bytes());
    let key = sent.get(header::SEC_WEBSOCKET_KEY).filter(|key| !is_secret(key)).cloned();
    let lines = [
        (header::CONNECTION, Some(fixed("Upgrade"))),
        (header::UPGRADE, Some(fixed("websocket"))),
        (header::SEC_WEBSOCKET_VERSION, Some(fixed(websocket::VERSION))),
        (header::SEC_WEBSOCKET_KEY, key),
    ];
    for (name, value) in lines {
        let Some(value) = value else { continue };
        witness.header(&name, Fate::Engine(EngineHeader::Handshake));
        headers.insert(name, value);
    }
}

/// The decision about a client's header, before the rules that remove and set.
fn fate(hit: &Hit, name: &HeaderName, sent: &HeaderMap, token_locations: &TokenLocations) -> Fate {
    // Many servers treat `_` as `-`, so `x_api_key` is checked as `x-api-key`.
    let folded = FoldedName::from(name);
    let fate = match safety::request(&folded) {
        HeaderClass::Plain => Fate::Kept,
        HeaderClass::Passable => let_through(hit, &folded).unwrap_or(Fate::Dropped(Reason::Unpassed)),
        HeaderClass::Stripped => Fate::Dropped(Reason::Stripped),
        HeaderClass::Managed => Fate::Dropped(Reason::Managed),
    };
    if matches!(fate, Fate::Dropped(_)) {
        fate
    } else if hit.provider.claimed.iter().any(|known| is_same(known, name)) {
        Fate::Dropped(Reason::Claimed)
    } else if token_locations.headers.iter().any(|known| is_same(known, name)) {
        Fate::Dropped(Reason::TokenLocation)
    } else if is_nominated(sent, folded.as_str()) {
        Fate::Dropped(Reason::Nominated)
    } else {
        fate
    }
}

/// The `pass` rule that allows a name.
fn let_through(hit: &Hit, name: &FoldedName<'_>) -> Option<Fate> {
    let tables = [
        (RuleTable::Provider, &hit.provider.headers.pass),
        (RuleTable::Endpoint, &hit.endpoint().headers.pass),
    ];
    tables.into_iter().find_map(|(table, globs)| {
        let index = globs.iter().position(|glob| glob.matches(name))?;
        Some(table.rule(RuleKind::Pass, index))
    })
}

fn apply(
    headers: &mut HeaderMap,
    rules: &Headers,
    table: RuleTable,
    value: impl Fn(&Value) -> Result<Option<HeaderValue>, Fault>,
    witness: &mut impl Witness,
) -> Result<(), Fault> {
    remove(headers, &rules.remove, table, witness);
    for (index, (name, default)) in rules.default.iter().enumerate() {
        if !headers.contains_key(name) && !headers.keys().any(|known| is_same(known, name)) {
            let Some(value) = value(default)? else { continue };
            headers.insert(name.clone(), value);
            witness.header(name, table.rule(RuleKind::Default, index));
        }
    }
    for (index, (name, set)) in rules.set.iter().enumerate() {
        let Some(value) = value(set)? else { continue };
        headers.insert(name.clone(), value);
        witness.header(name, table.rule(RuleKind::Set, index));
    }
    for (index, (name, members)) in rules.add.iter().enumerate() {
        let Some(members) = value(members)? else { continue };
        if header_list::add(headers, name, &members) {
            witness.header(name, table.rule(RuleKind::Add, index));
        }
    }
    Ok(())
}

/// Removes the headers that the globs match, except those that the engine sets for the connection.
fn remove(headers: &mut HeaderMap, globs: &[HeaderGlob], table: RuleTable, witness: &mut impl Witness) {
    if globs.is_empty() {
        return;
    }
    let hit = |name: &HeaderName| {
        let folded = FoldedName::from(name);
        let index = globs.iter().position(|glob| glob.matches(&folded))?;
        if safety::request(&folded) == HeaderClass::Managed {
            return None;
        }
        Some((name.clone(), index))
    };
    let names: Vec<(HeaderName, usize)> = headers.keys().filter_map(hit).collect();
    for (name, index) in names {
        witness.header(&name, table.rule(RuleKind::Remove, index));
        headers.remove(name);
    }
}

/// A header's value; none if it names a field that is absent.
fn made(
    value: &Value,
    inputs: RequestInputs<'_>,
    hit: &Hit,
    fresh: Fresh<'_>,
) -> Result<Option<HeaderValue>, Fault> {
    match value {
        Value::Fixed(value) => Ok(Some(value.clone())),
        Value::Made(template) => {
            let Some(text) = inputs.rendered(template) else { return Ok(None) };
            let value = HeaderValue::from_str(&text);
            let has_field = template.placeholders().any(|input| input.field().is_some());
            let mut value = value.map_err(|_| {
                if has_field {
                    unusable(&hit.provider, "header")
                } else {
                    unsendable(&hit.provider, "a header made from the path")
                }
            })?;
            value.set_sensitive(has_field);
            Ok(Some(value))
        }
        Value::Generated { prefix, generator, slot } => {
            let random = fresh.random.get(*slot).copied().unwrap_or_default();
            let text = format!("{prefix}{}", generator.text(random, fresh.now_ms));
            let value = HeaderValue::from_str(&text).map(Some);
            value.map_err(|_| unsendable(&hit.provider, "a generated header"))
        }
    }
}

/// Inserts placeholders for the credential's headers that gateway and egress override, so that `explain` sees both rules.
/// An overlay removes or replaces each of them (`bind::Overlay::overrides`).
fn leave_to_overlays(headers: &mut HeaderMap, chosen: &Chosen<'_>, witness: &mut impl Witness) {
    for Overridden { index, header, is_list } in chosen.auth.kind.overridden() {
        headers.insert(header.clone(), HeaderValue::from_static(""));
        let kind = if *is_list { RuleKind::Add } else { RuleKind::Set };
        witness.header(header, RuleTable::Auth.rule(kind, *index));
    }
}

/// The path and query of an egress that wraps an upstream URL. The URL may hold a credential: no copy of it stays behind in memory.
fn wrapped(egress: &bind::EgressUrl, origin: &str, target: &str) -> String {
    let mut url = Zeroizing::new(String::with_capacity(origin.len() + target.len()));
    url.push_str(origin);
    url.push_str(target);
    let mut wrapped = String::with_capacity(egress.target.max_len(|bind::UrlPlaceholder| url.len()));
    egress.target.render(&mut wrapped, |bind::UrlPlaceholder| &url);
    wrapped
}

/// Adds the query parameters of the credential.
fn add_parameters(
    target: &mut String,
    chosen: &Chosen<'_>,
    witness: &mut impl Witness,
) -> Result<(), Malformed> {
    let wrote = |index, place: Place<'_>| report(index, place, witness);
    chosen.auth.kind.apply_query(target, &chosen.inputs(), wrote)
}

/// Reports a place that the credential wrote.
fn report(index: usize, place: Place<'_>, witness: &mut impl Witness) {
    match place {
        Place::Header(name) => witness.header(name, RuleTable::Auth.rule(RuleKind::Set, index)),
        Place::List(name) => witness.header(name, RuleTable::Auth.rule(RuleKind::Add, index)),
        Place::Query(name) => witness.query(name, RuleTable::Auth.rule(RuleKind::Set, index)),
    }
}

/// Applies the credential. The last step, so that nothing changes after a signature.
fn authenticate(
    head: FinishedHead<'_>,
    chosen: &Chosen<'_>,
    witness: &mut impl Witness,
) -> Result<(), Malformed> {
    let wrote = |index, place: Place<'_>| report(index, place, witness);
    chosen.auth.kind.apply(head, &chosen.inputs(), wrote)
}

/// The fault of a stored credential that makes no valid part of the request. Only its owner can mend that.
fn unusable(provider: &bind::Provider, what: &str) -> Fault {
    let message =
        format!("The credential stored for {} makes no valid {what}: store it again", provider.name);
    Fault::new(FaultKind::CredentialMissing, message)
}

fn unsendable(provider: &bind::Provider, what: &str) -> Fault {
    let message: Cow<'static, str> =
        format!("The request to {} cannot be sent: {what} is malformed", provider.name).into();
    Fault::new(FaultKind::RewriteFailed, message)
}
