//! The upstream request's head, in this order: the client's headers that may be sent, the file's rules, gateway and
//! egress, the stored credential.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};

use super::{
    EngineHeader, Fate, Reason, RuleKind, RuleTable, TokenSearch, Witness, is_nominated, query,
    takes_trailers,
};
use crate::{
    base::{
        fault::{Fault, FaultKind},
        header_name::{FoldedName, is_same},
        origin::Origin,
        secret::Secret,
    },
    language::{
        auth::{FinishedHead, Inputs, Malformed},
        bind::{self, Auth, Headers, Value, capture},
        compile::{
            HeaderGlob, TokenLocations,
            safety::{self, HeaderClass},
        },
    },
    request::table::{Hit, Table},
};

/// The credential that was chosen for a request.
#[derive(Debug, Clone, Copy)]
pub struct Chosen<'c> {
    /// The owner's position among the owners.
    pub owner: usize,
    /// The entry that uses it.
    pub auth: &'c Auth,
    /// The key or access token.
    pub secret: &'c Secret,
    /// The time of the choice, in milliseconds since 1970.
    pub now_ms: u64,
}

/// The head of an upstream request.
#[derive(Debug)]
pub struct Outgoing<'h> {
    /// The method.
    pub method: Method,
    /// The destination of the connection.
    pub origin: &'h Origin,
    /// Path and query in origin form (RFC 9112, section 3.2.1).
    pub target: String,
    /// All headers with `Host`, without framing: the sender adds it.
    pub headers: HeaderMap,
}

impl Outgoing<'_> {
    /// The whole URL.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin, self.target)
    }
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
) -> Result<Outgoing<'h>, Fault> {
    request_observed(hit, head, chosen, withheld, &mut ())
}

/// The same as [`request`], with an observer.
pub fn request_observed<'h>(
    hit: &'h Hit,
    head: &Parts,
    chosen: Option<&Chosen<'_>>,
    withheld: Withheld<'_>,
    witness: &mut impl Witness,
) -> Result<Outgoing<'h>, Fault> {
    let (provider, endpoint) = (&*hit.provider, hit.endpoint());
    let path = head.uri.path();
    let mut target = String::with_capacity(path.len() + 64);
    endpoint.target.render(&mut target, |index| capture(path, &hit.captures, *index));
    let captures = (path, &hit.captures);
    let (token_locations, token) = (withheld.locations, TokenSearch::new(withheld.token));
    let tokens = (token_locations.query.as_slice(), token);
    let query = query::rewrite(head.uri.query(), &endpoint.query, tokens, captures, witness);
    if !query.is_empty() {
        target.push('?');
        target.push_str(&query);
    }
    let mut headers = passed(hit, &head.headers, (token_locations, token), witness);
    let values = |value: &Value| made(value, path, hit);
    apply(&mut headers, &provider.headers, RuleTable::Provider, values, witness)?;
    apply(&mut headers, &endpoint.headers, RuleTable::Endpoint, values, witness)?;
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
    let origin = match &provider.egress {
        None => &provider.origin,
        Some(egress) => {
            let url = format!("{}{target}", provider.origin);
            target.clear();
            egress.target.render(&mut target, |bind::UrlPlaceholder| &url);
            &egress.origin
        }
    };
    headers.insert(header::HOST, provider.host_header.clone());
    witness.header(&header::HOST, Fate::Engine(EngineHeader::Host));
    if let Some(chosen) = chosen {
        let head = FinishedHead { method: &head.method, origin, target: &target, headers: &mut headers };
        authenticate(head, chosen, witness)
            .map_err(|Malformed| unsendable(provider, "the stored credential"))?;
    }
    Ok(Outgoing { method: head.method.clone(), origin, target, headers })
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
    value: impl Fn(&Value) -> Result<HeaderValue, Fault>,
    witness: &mut impl Witness,
) -> Result<(), Fault> {
    remove(headers, &rules.remove, table, witness);
    for (index, (name, default)) in rules.default.iter().enumerate() {
        if !headers.contains_key(name) && !headers.keys().any(|known| is_same(known, name)) {
            headers.insert(name.clone(), value(default)?);
            witness.header(name, table.rule(RuleKind::Default, index));
        }
    }
    for (index, (name, set)) in rules.set.iter().enumerate() {
        headers.insert(name.clone(), value(set)?);
        witness.header(name, table.rule(RuleKind::Set, index));
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

fn made(value: &Value, path: &str, hit: &Hit) -> Result<HeaderValue, Fault> {
    match value {
        Value::Fixed(value) => Ok(value.clone()),
        Value::Made(template) => {
            let mut text = String::new();
            template.render(&mut text, |index| capture(path, &hit.captures, *index));
            HeaderValue::from_str(&text).map_err(|_| unsendable(&hit.provider, "a header made from the path"))
        }
    }
}

/// Inserts placeholders for the credential's headers that gateway and egress override, so that `explain` sees both rules.
/// An overlay removes or replaces each of them (`bind::Overlay::overrides`).
fn leave_to_overlays(headers: &mut HeaderMap, chosen: &Chosen<'_>, witness: &mut impl Witness) {
    for (index, name) in chosen.auth.kind.overridden() {
        headers.insert(name.clone(), HeaderValue::from_static(""));
        witness.header(name, RuleTable::Auth.rule(RuleKind::Set, *index));
    }
}

/// Applies the credential. The last step, so that nothing changes after a signature.
fn authenticate(
    head: FinishedHead<'_>,
    chosen: &Chosen<'_>,
    witness: &mut impl Witness,
) -> Result<(), Malformed> {
    let inputs = Inputs { secret: chosen.secret, now_ms: chosen.now_ms };
    let wrote = |index, name: &HeaderName| witness.header(name, RuleTable::Auth.rule(RuleKind::Set, index));
    chosen.auth.kind.apply(head, inputs, wrote)
}

fn unsendable(provider: &bind::Provider, what: &str) -> Fault {
    let message: Cow<'static, str> =
        format!("The request to {} cannot be sent: {what} is malformed", provider.name).into();
    Fault::new(FaultKind::RewriteFailed, message)
}
