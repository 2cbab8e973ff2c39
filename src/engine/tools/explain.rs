//! What would come of a request: the endpoint, the credential, each header with the rule that decided about it and
//! where that stands, gateway and egress, the URL. The request goes through the functions that all requests go
//! through; a witness listens.
//!
//! Pure: nothing is sent, nothing is looked up. Secrets never get in: the request is made with stand-ins for them,
//! which are shown as `***`.

mod document;
mod hide;
mod places;
mod show;
mod words;

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderName, request::Parts};

use crate::{
    base::{
        diag::Sources,
        fault::Fault,
        name::{FileName, Owner, Scope},
        secret::Secret,
    },
    language::{
        bind::{self, Lookup, OverlaySource},
        compile::{self, Files, Tree, Var},
    },
    request::{
        decide::{self, Begun, Bound, CallerFacts, Candidate, ListenerRole, Login, TokenKind},
        rewrite::{self, Chosen, Fate, TokenLocation, Witness},
        table::{self, Hit, Table},
    },
};

pub use document::*;
pub use hide::SHOWN;

use hide::{HIDDEN, HIDDEN_SECRET, Mask};
use places::Finder;

/// The time of all explained requests: what has expired says so itself.
const NOW_MS: u64 = 0;

/// The files that a request is held against.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The files as written.
    pub files: &'a Files,
    /// Their texts.
    pub sources: &'a Sources,
    /// The table that they make.
    pub table: &'a Table,
    /// The providers of the table, before their vars were filled in.
    pub providers: &'a [Arc<compile::Provider>],
    /// For a shared file's own test: its file, and which of its tests it is.
    pub fixture: Option<(&'a str, usize)>,
}

/// What a caller has stored in a field.
#[derive(Debug, Clone)]
pub enum Held {
    /// This.
    Value(Secret),
    /// Something: what it is makes no difference.
    Something,
    /// A login that has expired.
    Expired,
    /// Something that does not open, and why.
    Unreadable(String),
}

/// What is stored in a field.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What it is.
    pub held: Held,
    /// The origins that it was saved for.
    pub origins: Vec<String>,
}

/// What one owner has stored.
#[derive(Debug, Clone)]
pub struct Owned {
    /// Whose it is; nobody's, if it is given for this request alone. Then it may go anywhere.
    pub owner: Option<Owner>,
    /// By field of the provider's credentials section.
    pub fields: BTreeMap<String, Kept>,
}

/// What decides about a caller beside the credentials, as [`CallerFacts`] does.
#[derive(Debug, Clone)]
pub struct Access {
    /// All tokens of the user are refused for now.
    pub disabled: bool,
    /// What the token is for.
    pub kind: TokenKind,
    /// The provider whose paste token it is.
    pub paste: Option<FileName>,
    /// What the token is narrowed to; every provider, if absent.
    pub scopes: Option<Vec<Scope>>,
}

/// The caller of a request.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// What there is for the caller: the owner that goes first stands first.
    pub owners: Vec<Owned>,
    /// What the user is called, if one is named.
    pub user: String,
    /// What else decides about the caller.
    pub access: Access,
    /// Why nothing is there of a field that is not.
    pub otherwise: String,
}

impl Caller {
    /// A caller for whom these fields are given, for this request alone.
    pub fn given(fields: impl IntoIterator<Item = (String, Held)>, otherwise: impl Into<String>) -> Self {
        let kept = |(field, held)| (field, Kept { held, origins: Vec::new() });
        let owned = Owned { owner: None, fields: fields.into_iter().map(kept).collect() };
        Self {
            owners: vec![owned],
            user: String::new(),
            access: Access::default(),
            otherwise: otherwise.into(),
        }
    }

    /// By owner: what a request may be sent with of a field.
    fn candidates<'c>(&'c self) -> impl Iterator<Item = impl Fn(&str) -> Option<Candidate<'c>>> {
        self.owners.iter().map(|owned| move |field: &str| owned.candidate(field))
    }
}

impl Default for Access {
    fn default() -> Self {
        let CallerFacts { disabled, kind, paste: _, scopes: _ } = CallerFacts::UNRESTRICTED;
        Self { disabled, kind, paste: None, scopes: None }
    }
}

impl Access {
    fn facts(&self) -> CallerFacts<'_> {
        let Self { disabled, kind, paste, scopes } = self;
        CallerFacts { disabled: *disabled, kind: *kind, paste: paste.as_ref(), scopes: scopes.as_deref() }
    }
}

impl Owned {
    /// What a request may be sent with of a field. A value that decides nothing is not asked for.
    fn candidate(&self, field: &str) -> Option<Candidate<'_>> {
        let kept = self.fields.get(field)?;
        let expired = Login { expires_at_ms: Some(NOW_MS), refresh_token: None, attempt: None };
        let (secret, login) = match &kept.held {
            Held::Value(secret) => (secret, None),
            Held::Something => (&*HIDDEN_SECRET, None),
            Held::Expired => (&*HIDDEN_SECRET, Some(expired)),
            // A server knows nothing of it.
            Held::Unreadable(_) => return None,
        };
        let bound = self.owner.as_ref().map(|owner| Bound { owner, origins: &kept.origins });
        Some(Candidate { secret, login, bound })
    }
}

/// A var's value: whose it is, its name, the var.
pub type Values<'a> = &'a dyn Fn(bind::VarOwner<'_>, &str, &Var) -> Lookup;

/// Says what would come of a request.
pub fn explain(scene: Scene<'_>, head: &Parts, values: Values<'_>, caller: &Caller) -> Explained {
    let request = Request { method: head.method.to_string(), path: head.uri.path().to_owned() };
    let token = rewrite::token_at(head, scene.table).map(|(_, token_location)| match token_location {
        TokenLocation::Header(name) => Token { r#in: "header", name: name.to_owned() },
        TokenLocation::Query(name) => Token { r#in: "query", name: name.to_owned() },
    });
    let fault = decided(scene, head, caller).err().map(|fault| told(&fault));
    let (way, miss) = match (words::own_answer(head), endpoint(scene, head)) {
        (Some(own), _) => (None, Some(Miss { own: Some(own), fault, nearest: None })),
        (None, Some((hit, provider))) => {
            (Some(Traveller { scene, head, hit: &hit, provider, values, caller }.way(fault)), None)
        }
        (None, None) => (None, Some(miss(scene, head, fault))),
    };
    Explained { request, token, caller: shown(caller), way, miss }
}

/// The endpoint, and its provider before its vars were filled in.
fn endpoint<'a>(scene: Scene<'a>, head: &Parts) -> Option<(Hit, &'a compile::Provider)> {
    let hit = scene.table.find_canonical(&head.method, head.uri.path())?;
    let provider = scene.providers.iter().find(|one| one.name == hit.provider.name)?;
    Some((hit, provider))
}

fn shown(caller: &Caller) -> CallerShown {
    let Access { disabled, kind, paste, scopes } = &caller.access;
    CallerShown {
        user: Some(&caller.user).filter(|user| !user.is_empty()).cloned(),
        disabled: *disabled,
        kind: kind.as_str(),
        paste: paste.as_ref().map(FileName::to_string),
        scopes: scopes.as_ref().map(|scopes| scopes.iter().map(Scope::to_string).collect()),
    }
}

/// What [`decide`] says, without waiting: the token counts as good, and a login that can be refreshed as fresh.
fn decided(scene: Scene<'_>, head: &Parts, caller: &Caller) -> Result<(), Fault> {
    let facts = caller.access.facts();
    match decide::begin(head, scene.table, ListenerRole::All)? {
        Begun::Own(_) | Begun::Admin(_) => Ok(()),
        Begun::SelfService(call) => call.authenticated(facts).map(drop),
        Begun::Provider(call) => {
            let authorized = call.authenticated(facts)?.in_scope()?;
            let sendable = authorized.credential(caller.candidates(), NOW_MS)?.without_refresh();
            sendable.request(decide::body_bytes(head)).map(drop)
        }
    }
}

/// A request on its way.
struct Traveller<'a> {
    scene: Scene<'a>,
    head: &'a Parts,
    hit: &'a Hit,
    provider: &'a compile::Provider,
    values: Values<'a>,
    caller: &'a Caller,
}

/// What a witness heard of headers and of the query, by name, in the order of the names' first mention.
#[derive(Default)]
struct Heard {
    headers: Vec<(HeaderName, Vec<Fate>)>,
    query: Vec<(String, Vec<Fate>)>,
}

impl Witness for Heard {
    fn header(&mut self, name: &HeaderName, fate: Fate) {
        hear(&mut self.headers, name, fate);
    }

    fn query(&mut self, name: &str, fate: Fate) {
        hear(&mut self.query, &name.to_owned(), fate);
    }
}

/// Once, if the same is said of each of several lines.
fn hear<N: Clone + PartialEq>(heard: &mut Vec<(N, Vec<Fate>)>, name: &N, fate: Fate) {
    let at = heard.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
        heard.push((name.clone(), Vec::new()));
        heard.len() - 1
    });
    let fates = &mut heard[at].1;
    if fates.last() != Some(&fate) {
        fates.push(fate);
    }
}

/// The credential that is used: which `[[auth]]` entry's, and which owner's.
#[derive(Clone, Copy)]
struct Used {
    entry: usize,
    owner: usize,
}

/// A request as it would go up.
struct Made {
    url: String,
    headers: HeaderMap,
    heard: Heard,
}

impl Traveller<'_> {
    /// What would be sent, also where a fault keeps it back.
    fn way(&self, fault: Option<Told>) -> Way {
        let used = self.unbound();
        let made = make(self.hit, self.head, used.as_ref(), self.scene.table);
        let used = used.map(|used| Used { entry: self.auth_index(&used), owner: used.owner });
        let entry = used.map(|used| used.entry);
        let finder = Finder { scene: self.scene, provider: self.provider, hit: self.hit, auth: entry };
        let (mask, made) = self.masked(entry, made.ok());
        let made = made.unwrap_or_else(|| Made {
            url: HIDDEN.to_owned(),
            headers: HeaderMap::new(),
            heard: Heard::default(),
        });
        Way {
            endpoint: self.endpoint(&finder),
            auth: self.auth(&finder, used),
            owner: used.and_then(|used| self.owner(used)).map(Owner::to_string),
            gateways: self.gateways(&finder),
            egresses: self.egresses(&finder),
            method: self.head.method.to_string(),
            url: mask.shown(&made.url),
            headers: headers(&made, &mask, &finder),
            query: query(&made, &finder),
            timeouts: finder.timeouts(),
            max_body: self.hit.provider.max_body,
            fault,
        }
    }

    /// The credential that would be sent if it had been saved for where the provider leads.
    fn unbound(&self) -> Option<Chosen<'_>> {
        let unbound = self.caller.candidates().map(|stored| {
            move |field: &str| stored(field).map(|candidate| Candidate { bound: None, ..candidate })
        });
        decide::choose(self.hit, &self.scene.table.fields, unbound, NOW_MS).ok().flatten()
    }

    /// Whose the credential is that is used.
    fn owner(&self, used: Used) -> Option<&Owner> {
        self.caller.owners.get(used.owner)?.owner.as_ref()
    }

    fn auth_index(&self, chosen: &Chosen<'_>) -> usize {
        let auth = &self.hit.provider.auth;
        auth.iter().position(|one| std::ptr::eq(one, chosen.auth)).unwrap_or(auth.len())
    }

    /// The request with a stand-in for each secret; if they cannot stand there, as it is, with all of it hidden.
    fn masked(&self, used: Option<usize>, made: Option<Made>) -> (Mask, Option<Made>) {
        let value = |owner: bind::VarOwner<'_>, name: &str, var: &Var| {
            (self.values)(owner, name, var).map(|value| value.map(|value| hide::stand_in(var, value)))
        };
        let (bound, _) = bind::try_bind(self.provider, value);
        let masked = bound.and_then(|bound| {
            let table = Table::new(vec![Arc::new(bound)], Vec::new(), &[]);
            let hit = table.find(&self.head.method, self.head.uri.path())?;
            let auth = used.and_then(|index| hit.provider.auth.get(index));
            let chosen = auth.map(|auth| Chosen { owner: 0, auth, secret: &HIDDEN_SECRET, now_ms: NOW_MS });
            make(&hit, self.head, chosen.as_ref(), self.scene.table).ok()
        });
        match masked {
            Some(masked) => (Mask::StandIns, Some(masked)),
            None => (Mask::All, made),
        }
    }

    fn endpoint(&self, finder: &Finder<'_>) -> Endpoint {
        let endpoint = self.hit.endpoint();
        let path = self.head.uri.path();
        let matched = endpoint.paths.iter().find(|one| {
            let mut tree = Tree::default();
            tree.insert(&one.pattern, ());
            tree.find(path, |()| Some(())).is_some()
        });
        // Captures are counted by the endpoint's own path; an alias has the same ones.
        let names = endpoint.paths.first().map(|one| one.pattern.captures()).unwrap_or_default();
        let slot = |index: usize| u8::try_from(index).unwrap_or_default();
        let capture = |index| bind::capture(path, &self.hit.captures, slot(index)).to_owned();
        Endpoint {
            provider: self.provider.name.to_string(),
            name: endpoint.name.clone(),
            method: endpoint.method.to_string(),
            path: matched.map(|one| one.text.clone()).unwrap_or_default(),
            captures: names.iter().enumerate().map(|(index, name)| (name.clone(), capture(index))).collect(),
            at: finder.endpoint_at().or_else(|| matched.and_then(|one| finder.place(&one.at))),
        }
    }

    fn auth(&self, finder: &Finder<'_>, used: Option<Used>) -> Vec<Choice> {
        let one = |(index, auth): (usize, &compile::Auth)| Choice {
            name: auth.field.clone(),
            used: used.is_some_and(|used| used.entry == index),
            reason: match used {
                Some(used) if used.entry == index => words::fits(auth, self.owner(used), &self.caller.user),
                Some(_) | None => self.passed_over(index, auth, used),
            },
            at: finder.place(&auth.at),
        };
        self.provider.auth.iter().enumerate().map(one).collect()
    }

    /// Why what there is for an entry is not used, or that there is nothing.
    fn passed_over(&self, index: usize, auth: &compile::Auth, used: Option<Used>) -> String {
        let looked_at = |owner| used.is_none_or(|used| (owner, index) < (used.owner, used.entry));
        let owners = self.caller.owners.iter().enumerate().filter(|(owner, _)| looked_at(*owner));
        let kept = owners.filter_map(|(_, owned)| owned.fields.get(&auth.field)).map(|kept| &kept.held);
        match kept.into_iter().next() {
            Some(Held::Expired) => words::EXPIRED.to_owned(),
            Some(Held::Unreadable(why)) => format!("what is stored does not open: {why}"),
            Some(Held::Value(_) | Held::Something) => words::does_not_match(auth),
            None if used.is_some_and(|used| used.entry < index) => words::NOT_REACHED.to_owned(),
            None => used
                .and_then(|used| self.outranked(auth, used))
                .unwrap_or_else(|| self.caller.otherwise.clone()),
        }
    }

    /// That an owner further down has something for an entry, if one does.
    fn outranked(&self, auth: &compile::Auth, used: Used) -> Option<String> {
        let mut below = self.caller.owners.iter().skip(used.owner + 1);
        let owner = below.find(|owned| owned.fields.contains_key(&auth.field))?.owner.as_ref()?;
        Some(words::after(owner, self.owner(used)?, &self.caller.user))
    }

    fn gateways(&self, finder: &Finder<'_>) -> Vec<Choice> {
        let used = self.hit.provider.gateway.as_ref();
        let one = |gateway: &compile::GatewayUse| {
            let name = &gateway.gateway.name;
            let mut unset = self.unset(Some(name), gateway.gateway.vars.keys());
            unset.extend(self.unset(None, &gateway.when));
            Choice {
                name: name.to_string(),
                used: used == Some(name),
                reason: words::gateway(used.map(FileName::as_str), name.as_str(), &unset),
                at: finder.place(&gateway.at),
            }
        };
        self.provider.gateways.iter().map(one).collect()
    }

    fn egresses(&self, finder: &Finder<'_>) -> Vec<Choice> {
        let one = |(index, egress): (usize, &compile::Egress)| {
            let unset = self.unset(None, &egress.when);
            let whose = OverlaySource::Egress(index);
            Choice {
                name: (index + 1).to_string(),
                used: self.hit.provider.overlays.iter().any(|overlay| overlay.of == whose),
                reason: words::egress(&egress.when, &unset),
                at: finder.place(&egress.at),
            }
        };
        self.provider.egress.iter().enumerate().map(one).collect()
    }

    /// Which of these vars are not set.
    fn unset<'n>(
        &self,
        owner: bind::VarOwner<'_>,
        names: impl IntoIterator<Item = &'n String>,
    ) -> Vec<String> {
        let gateway = |name: &FileName| {
            self.provider.gateways.iter().find(|one| one.gateway.name == *name).map(|one| &one.gateway.vars)
        };
        let vars = owner.map_or(Some(&self.provider.vars), gateway);
        let is_set = |name: &&String| {
            let var = vars.and_then(|vars| vars.get(*name));
            let value = var.and_then(|var| (self.values)(owner, name, &var.value).ok().flatten());
            value.is_some_and(|value| !value.is_empty())
        };
        names.into_iter().filter(|name| !is_set(name)).cloned().collect()
    }
}

fn make(hit: &Hit, head: &Parts, chosen: Option<&Chosen<'_>>, table: &Table) -> Result<Made, Fault> {
    let mut witness = Heard::default();
    let out = rewrite::request_observed(hit, head, chosen, &table.token_locations, &mut witness)?;
    Ok(Made { url: out.url(), headers: out.headers, heard: witness })
}

/// Those that go up first, each by name.
fn headers(made: &Made, mask: &Mask, finder: &Finder<'_>) -> Vec<Header> {
    let one = |(name, fates): &(HeaderName, Vec<Fate>)| {
        let values = made.headers.get_all(name).iter();
        Header {
            name: name.to_string(),
            values: values.map(|value| mask.shown(&String::from_utf8_lossy(value.as_bytes()))).collect(),
            steps: fates.iter().map(|fate| finder.header_step(name, *fate)).collect(),
        }
    };
    let mut headers: Vec<Header> = made.heard.headers.iter().map(one).collect();
    headers.sort_by(|a, b| (a.values.is_empty(), &a.name).cmp(&(b.values.is_empty(), &b.name)));
    headers
}

fn query(made: &Made, finder: &Finder<'_>) -> Vec<Parameter> {
    let one = |(name, fates): &(String, Vec<Fate>)| Parameter {
        name: name.clone(),
        steps: fates.iter().map(|fate| finder.query_step(name, *fate)).collect(),
    };
    made.heard.query.iter().map(one).collect()
}

fn told(fault: &Fault) -> Told {
    Told {
        status: fault.kind.status().as_u16(),
        code: fault.kind.code(),
        message: fault.message.clone().into_owned(),
    }
}

/// Why a request has no endpoint.
fn miss(scene: Scene<'_>, head: &Parts, fault: Option<Told>) -> Miss {
    let path = head.uri.path();
    let rejected = scene.table.rejected_at(path).filter(|_| table::is_canonical(path));
    let nearest = scene.table.nearest(&head.method, path).filter(|_| rejected.is_none());
    let nearest = nearest.map(|near| words::nearest(&near, head, scene.sources));
    Miss { own: None, fault, nearest }
}

#[cfg(test)]
mod tests;
